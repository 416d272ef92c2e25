//! How many scores are computed at once, and when one more is refused.
//!
//! Scores are computed on threads of their own, one for each processor; the threads that talk to clients stay
//! free to say no. A request is refused when it would have to wait longer than `SCORE_QUEUE_MS`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::Semaphore;

/// The queue is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overloaded;

/// The way into the engine.
pub struct Gate {
    permits: Arc<Semaphore>,
    lanes: u64,
    queue_us: u64,
    waiting: AtomicU64,
    /// A moving average of what one computation takes.
    typical_us: AtomicU64,
}

impl Gate {
    pub(super) fn new(queue_ms: u64) -> Self {
        let lanes = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            permits: Arc::new(Semaphore::new(lanes)),
            lanes: lanes as u64,
            queue_us: queue_ms.saturating_mul(1_000),
            waiting: AtomicU64::new(0),
            typical_us: AtomicU64::new(0),
        }
    }

    /// Computes when it is this request's turn; refuses at once when that would be too late.
    pub async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Overloaded> {
        let expected_us = self.waiting.load(Ordering::Relaxed) * self.typical_us.load(Ordering::Relaxed) / self.lanes;
        if expected_us > self.queue_us {
            return Err(Overloaded);
        }
        Ok(self.compute_patiently(work).await)
    }

    /// Computes when it is this request's turn, however long that takes: for batches, which are not waited for in
    /// the middle of a call.
    pub async fn compute_patiently<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let waiting = Waiting::one_more(&self.waiting);
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        drop(waiting);
        let (result, took_us) = tokio::task::spawn_blocking(move || {
            // Held by the thread, so that a client who hangs up does not let one more thread in.
            let _permit = permit;
            let started = Instant::now();
            let result = work();
            (result, u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX))
        })
        .await
        .expect("a computation panics only by a defect, which the caller's catch-panic layer reports");
        let before = self.typical_us.load(Ordering::Relaxed);
        // Races lose a sample at worst.
        self.typical_us.store((before * 7 + took_us.min(1_000_000)) / 8, Ordering::Relaxed);
        result
    }
}

/// Counts a request while it waits, also one whose client hangs up.
struct Waiting<'a>(&'a AtomicU64);

impl<'a> Waiting<'a> {
    fn one_more(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_that_would_wait_too_long_is_refused_and_a_patient_one_is_not() {
        let gate = Gate::new(5);
        assert_eq!(gate.compute(|| 7).await, Ok(7));
        gate.typical_us.store(1_000_000, Ordering::Relaxed);
        assert_eq!(gate.compute(|| 7).await, Ok(7), "nobody waits, so nothing is refused");
        gate.typical_us.store(1_000_000, Ordering::Relaxed);
        gate.waiting.store(gate.lanes, Ordering::Relaxed);
        assert_eq!(gate.compute(|| 7).await, Err(Overloaded));
        assert_eq!(gate.compute_patiently(|| 7).await, 7);
    }
}
