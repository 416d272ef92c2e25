//! How many scores are computed at once, and when one more is refused.
//!
//! A score takes less than handing it to another thread and back is worth, so it is computed where its request was read. Requests then wait
//! where nobody counts them: in the runtime's queue, or in their sockets. Now and then, after some milliseconds of work, a task goes to the
//! end of that queue. As long as its turn does not come, everything behind what was there has waited since: when that takes longer than
//! `SCORE_QUEUE_MS`, further requests are refused, which takes next to nothing; so the end of the queue comes at once.
//!
//! What takes longer than a moment lets the thread's other work go elsewhere first. As many such computations run at once as there are
//! processors; others wait in order.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Instant;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Notify, Semaphore};

/// The share of the longest wait, in work, after which the queue's end is looked for.
const EARLY: u64 = 8;

/// The share of the longest wait in which what was there before is accepted: refusing the others takes the rest, in which the next ones wait.
const ACCEPTING: u64 = 2;

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
    lanes: u64,
    queue_us: u64,
    /// Work that was done since somebody last came to the queue's end.
    done_us: AtomicU64,
    /// Somebody is on the way there, since so long after `began`.
    looking: AtomicBool,
    looking_since_us: AtomicU64,
    began: Instant,
    look: Notify,
    long: Semaphore,
    /// Long computations that wait, and a moving average of what one takes.
    waiting: AtomicU64,
    typical_us: AtomicU64,
}

impl Gate {
    pub(super) fn new(queue_ms: u64) -> Self {
        let lanes = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            lanes: lanes as u64,
            queue_us: queue_ms.saturating_mul(1_000),
            done_us: AtomicU64::new(0),
            looking: AtomicBool::new(false),
            looking_since_us: AtomicU64::new(0),
            began: Instant::now(),
            look: Notify::new(),
            long: Semaphore::new(lanes),
            waiting: AtomicU64::new(0),
            typical_us: AtomicU64::new(0),
        }
    }

    /// Computes, or refuses at once when the request has waited too long or would have to.
    pub async fn compute<T>(&self, size: Work, work: impl FnOnce() -> T) -> Result<T, Overloaded> {
        let too_long = match size {
            Work::Short => self.is_late(),
            Work::Long => {
                let waiting = self.waiting.load(Ordering::Relaxed);
                waiting * self.typical_us.load(Ordering::Relaxed) / self.lanes > self.queue_us
            }
        };
        if too_long {
            return Err(Overloaded);
        }
        Ok(self.compute_patiently(size, work).await)
    }

    /// Whether requests have waited too long: further ones are refused, and need not even be read.
    pub fn is_late(&self) -> bool {
        self.waited_us().is_some_and(|waited_us| waited_us >= self.queue_us / ACCEPTING)
    }

    /// Computes, however long it has to wait: for batches, which are not waited for in the middle of a call.
    pub async fn compute_patiently<T>(&self, size: Work, work: impl FnOnce() -> T) -> T {
        match size {
            Work::Short => {
                let (result, took_us) = timed(work);
                let done_us = self.done_us.fetch_add(took_us, Ordering::Relaxed) + took_us;
                // Early enough for the answer to come before it is needed.
                if done_us >= self.lanes * self.queue_us / EARLY && !self.looking.load(Ordering::Acquire) {
                    self.looking_since_us.store(self.now_us(), Ordering::Relaxed);
                    if !self.looking.swap(true, Ordering::AcqRel) {
                        self.look.notify_one();
                    }
                }
                result
            }
            Work::Long => {
                let waiting = Waiting::one_more(&self.waiting);
                let _permit = self.long.acquire().await.expect("the semaphore is never closed");
                drop(waiting);
                let (result, took_us) = timed(|| elsewhere(work));
                let before = self.typical_us.load(Ordering::Relaxed);
                // Races lose a sample at worst.
                self.typical_us.store((before * 7 + took_us.min(1_000_000)) / 8, Ordering::Relaxed);
                result
            }
        }
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// How long the one who is on the way to the queue's end has been so.
    fn waited_us(&self) -> Option<u64> {
        let looking = self.looking.load(Ordering::Acquire);
        looking.then(|| self.now_us().saturating_sub(self.looking_since_us.load(Ordering::Relaxed)))
    }

    /// Goes to the end of the queue whenever there has been much work. Never returns.
    pub(super) async fn watch(&self) {
        loop {
            self.look.notified().await;
            to_the_end_of_the_queue().await;
            self.done_us.store(0, Ordering::Relaxed);
            self.looking.store(false, Ordering::Release);
        }
    }
}

/// Behind everything that this thread of the runtime knows of already. (Who yields comes back before that, once the runtime has looked for
/// what came from outside.)
async fn to_the_end_of_the_queue() {
    let mut been_there = false;
    poll_fn(|context| match std::mem::replace(&mut been_there, true) {
        true => Poll::Ready(()),
        false => {
            // Woken while it runs, a task is put at the end.
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let started = Instant::now();
    let result = work();
    (result, u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX))
}

/// Only a runtime of several threads has an elsewhere for what waits behind this.
fn elsewhere<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
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
    async fn long_work_that_would_wait_too_long_is_refused_and_patient_work_is_not() {
        let gate = Gate::new(5);
        assert_eq!(gate.compute(Work::Long, || 7).await, Ok(7));
        gate.typical_us.store(1_000_000, Ordering::Relaxed);
        assert_eq!(gate.compute(Work::Long, || 7).await, Ok(7), "nobody waits, so nothing is refused");
        gate.typical_us.store(1_000_000, Ordering::Relaxed);
        gate.waiting.store(gate.lanes, Ordering::Relaxed);
        assert_eq!(gate.compute(Work::Long, || 7).await, Err(Overloaded));
        assert_eq!(gate.compute_patiently(Work::Long, || 7).await, 7);
    }

    #[tokio::test]
    async fn short_work_is_refused_until_the_queue_was_seen_through() {
        // Without patience every look is too long.
        let gate = std::sync::Arc::new(Gate::new(0));
        assert_eq!(gate.compute(Work::Short, || 7).await, Ok(7));
        assert_eq!(gate.compute(Work::Short, || 7).await, Err(Overloaded));
        assert_eq!(gate.compute_patiently(Work::Short, || 7).await, 7);
        // It has sent for somebody who looks.
        assert!(gate.looking.load(Ordering::Relaxed));
        let watching = tokio::spawn({
            let gate = gate.clone();
            async move { gate.watch().await }
        });
        while gate.looking.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
        assert_eq!(gate.compute(Work::Short, || 7).await, Ok(7));
        watching.abort();
    }
}
