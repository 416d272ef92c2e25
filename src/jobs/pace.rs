//! How long a run still takes, by the share of its work that is done and its own monotonic clock.

use std::time::{Duration, Instant};

/// Before so much is done in so much time, nothing is told: it would be a guess.
const LEAST_SHARE: f64 = 0.02;
const LEAST_TIME: Duration = Duration::from_secs(1);

/// Where the pace is counted from.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    from: Option<(f64, Instant)>,
    last: f64,
}

impl Pace {
    /// Takes in how much is done. A share below an earlier one begins another piece of work.
    pub fn time_left(&mut self, share: f64, now: Instant) -> Option<Duration> {
        if share < self.last {
            self.from = None;
        }
        self.last = share;
        let (first, since) = *self.from.get_or_insert((share, now));
        let (done, took) = (share - first, now.saturating_duration_since(since));
        if done < LEAST_SHARE || took < LEAST_TIME {
            return None;
        }
        Some(took.mul_f64(((1.0 - share) / done).max(0.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_takes_as_long_as_the_pace_says() {
        let start = Instant::now();
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        let mut pace = Pace::default();
        assert_eq!(pace.time_left(0.1, start), None);
        assert_eq!(pace.time_left(0.101, after(5)), None, "too little to go by");
        assert_eq!(pace.time_left(0.3, after(10)), Some(Duration::from_secs(35)));
        assert_eq!(pace.time_left(1.0, after(40)), Some(Duration::ZERO));
        assert_eq!(pace.time_left(0.0, after(50)), None, "another piece of work");
        assert_eq!(pace.time_left(0.5, after(60)), Some(Duration::from_secs(10)));
    }
}
