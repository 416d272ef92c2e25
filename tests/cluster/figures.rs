//! What a scenario measures: sizes, durations and the table line in which a figure is printed.

use std::fmt::Display;
use std::time::Duration;

/// The small size that always runs, or the whole one (`TANGO_CHAOS=full`).
pub fn sized<T>(small: T, full: T) -> T {
    if std::env::var("TANGO_CHAOS").is_ok_and(|size| size == "full") { full } else { small }
}

/// Prints a line of the table: what was measured, the figure, what is promised.
pub fn figure(what: &str, measured: impl Display, promised: &str) {
    println!("| {what} | {measured} | {promised} |");
}

/// A promised figure is held to in the whole size only: a small run on a busy machine says nothing of it but a line.
pub fn promise(kept: bool, seen: impl Display) {
    assert!(kept || !sized(false, true), "the promise is not kept: {seen}");
    if !kept {
        println!("not kept in this run: {seen}");
    }
}

/// Durations, sorted.
pub struct Spread(Vec<Duration>);

impl Spread {
    /// Of at least one.
    pub fn of(durations: impl IntoIterator<Item = Duration>) -> Self {
        let mut sorted: Vec<Duration> = durations.into_iter().collect();
        assert!(!sorted.is_empty(), "nothing was measured");
        sorted.sort_unstable();
        Self(sorted)
    }

    /// The smallest duration that `share` (0 to 1) of all do not exceed.
    pub fn quantile(&self, share: f64) -> Duration {
        let position = (share * self.0.len() as f64).ceil() as usize;
        self.0[position.clamp(1, self.0.len()) - 1]
    }

    pub fn median(&self) -> Duration {
        self.quantile(0.5)
    }

    pub fn max(&self) -> Duration {
        self.quantile(1.0)
    }
}

impl Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [median, p99, max] = [self.median(), self.quantile(0.99), self.max()].map(milliseconds);
        write!(f, "median {median}, p99 {p99}, max {max} of {}", self.0.len())
    }
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

#[test]
fn quantiles_are_values_that_were_measured() {
    let spread = Spread::of((1..=100).map(Duration::from_millis));
    assert_eq!(spread.median(), Duration::from_millis(50));
    assert_eq!(spread.quantile(0.99), Duration::from_millis(99));
    assert_eq!(spread.max(), Duration::from_millis(100));
    assert_eq!(Spread::of([Duration::from_millis(7)]).quantile(0.0), Duration::from_millis(7));
    assert_eq!(spread.to_string(), "median 50.0 ms, p99 99.0 ms, max 100.0 ms of 100");
}
