//! How many scores are computed at once, and when one more is refused.
//!
//! Most scores take a moment: they get [turns](turns). What takes longer lets the thread's other work go elsewhere first, and needs a
//! [place](places). Who would wait for too long for either is refused.
//!
//! A refused request is answered a little later. Who asks again at once would be there again before the queue is any shorter, and refusing
//! would take the time that scores need.

mod places;
mod turns;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use self::places::Places;
use self::turns::Turns;

/// The hundredths of `SCORE_QUEUE_MS` for which a request may wait for its turn. Before that it waited to be read, and afterwards its answer waits to
/// be sent: under load this takes longer than the turn.
const WAITING: u64 = 12;

/// The hundredths of `SCORE_QUEUE_MS` after which a refused request is answered; and one that was prepared before, which took a while. It is
/// no more than a second in all, after which clients are told to ask again.
const REFUSING: u64 = 80;
const REFUSING_READ: u64 = 40;
const REFUSING_AT_MOST: Duration = Duration::from_secs(1);

/// How many are kept so long at most.
const REFUSED: u64 = 4_096;

/// The queue is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overloaded;

/// How long a computation takes, as far as its size tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// About a millisecond at most.
    Short,
    Long,
}

/// The way into the engine.
pub struct Gate {
    queue_us: u64,
    turns: Turns,
    places: Places,
    /// Refused requests whose answers wait.
    refused: AtomicU64,
}

impl Gate {
    pub(super) fn new(queue_ms: u64) -> Self {
        let lanes = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let queue_us = queue_ms.saturating_mul(1_000);
        Self { queue_us, turns: Turns::new(lanes as u64), places: Places::new(lanes), refused: AtomicU64::new(0) }
    }

    /// Refuses a request that would wait for too long for its turn, before anything is done for it.
    pub async fn admit(&self) -> Result<(), Overloaded> {
        if self.turns.expected_us() > hundredths(self.queue_us, WAITING) {
            return Err(self.refuse(REFUSING).await);
        }
        Ok(())
    }

    /// Computes what was admitted, unless it would wait for too long: it takes long, or many that had to wait for something else before all come
    /// at once.
    pub async fn compute<T>(&self, size: Work, work: impl FnOnce() -> T) -> Result<T, Overloaded> {
        let expected_us = match size {
            Work::Short => self.turns.expected_us(),
            Work::Long => self.places.expected_us(),
        };
        if expected_us > self.queue_us {
            return Err(self.refuse(REFUSING_READ).await);
        }
        Ok(self.compute_patiently(size, work).await)
    }

    /// Computes, however long it has to wait: for batches, which are not waited for in the middle of a call.
    pub async fn compute_patiently<T>(&self, size: Work, work: impl FnOnce() -> T) -> T {
        match size {
            Work::Short => self.turns.compute(work).await,
            Work::Long => self.places.compute(work).await,
        }
    }

    /// Gives turns to those that wait for them. Never returns; when it is dropped, everybody goes on.
    pub(super) async fn usher(&self) {
        self.turns.usher().await;
    }

    async fn refuse(&self, after: u64) -> Overloaded {
        let refused = Counted::one_more(&self.refused);
        if refused.count() <= REFUSED {
            let after = Duration::from_micros(hundredths(self.queue_us, after));
            tokio::time::sleep(after.min(REFUSING_AT_MOST)).await;
        }
        Overloaded
    }
}

fn hundredths(whole_us: u64, hundredths: u64) -> u64 {
    whole_us.saturating_mul(hundredths) / 100
}

/// Counts a request while it waits, also one whose client hangs up.
struct Counted<'a>(&'a AtomicU64);

impl<'a> Counted<'a> {
    fn one_more(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }

    /// With this one.
    fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn long_work_that_would_wait_too_long_is_refused_and_patient_work_is_not() {
        let gate = Gate::new(5);
        assert_eq!(gate.compute(Work::Long, || 7).await, Ok(7));
        gate.places.wait_for(0);
        assert_eq!(gate.compute(Work::Long, || 7).await, Ok(7), "nobody waits, so nothing is refused");
        gate.places.wait_for(1_000);
        assert_eq!(gate.compute(Work::Long, || 7).await, Err(Overloaded));
        assert_eq!(gate.compute(Work::Short, || 7).await, Ok(7));
        assert_eq!(gate.compute_patiently(Work::Long, || 7).await, 7);
    }

    #[tokio::test]
    async fn who_would_wait_too_long_for_a_turn_is_refused_after_a_while() {
        let gate = Gate::new(5);
        assert_eq!(gate.admit().await, Ok(()));
        gate.turns.wait_for(600_000, 1);
        assert_eq!(gate.admit().await, Ok(()), "it may be 12 % of 5 ms");
        gate.turns.wait_for(601_000, 1);
        assert_eq!(gate.compute(Work::Short, || 7).await, Ok(7), "it was admitted");
        let asked = Instant::now();
        assert_eq!(gate.admit().await, Err(Overloaded));
        assert!(asked.elapsed() >= Duration::from_millis(4));
        gate.turns.wait_for(5_001_000, 1);
        assert_eq!(gate.compute(Work::Short, || 7).await, Err(Overloaded), "too many came at once");
        // Of more than can be kept the others are answered at once.
        gate.refused.store(REFUSED, Ordering::SeqCst);
        assert_eq!(gate.admit().now_or_never(), Some(Err(Overloaded)));
        assert_eq!(gate.refused.load(Ordering::SeqCst), REFUSED, "nobody is left in the count");
    }
}
