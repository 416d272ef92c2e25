//! Waiting for a condition, within bounds.

use std::time::{Duration, Instant};

/// Longest that any test waits for a condition; a healthy machine needs a fraction.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Looks again and again until there is an answer. What was seen instead is told when patience ends.
pub async fn until<T, S: std::fmt::Debug>(what: &str, mut look: impl AsyncFnMut() -> Result<T, S>) -> T {
    let started = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        match look().await {
            Ok(answer) => return answer,
            Err(seen) => assert!(started.elapsed() < PATIENCE, "waited in vain for {what}: {seen:#?}"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
