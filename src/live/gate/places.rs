//! Places for what takes longer than a moment: one for each processor.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;

use super::Counted;

pub(super) struct Places {
    lanes: u64,
    free: Semaphore,
    waiting: AtomicU64,
    /// A moving average of what one takes.
    typical_us: AtomicU64,
}

impl Places {
    pub(super) fn new(lanes: usize) -> Self {
        let (waiting, typical_us) = Default::default();
        Self { lanes: lanes as u64, free: Semaphore::new(lanes), waiting, typical_us }
    }

    /// How long one more would wait.
    pub(super) fn expected_us(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed) * self.typical_us.load(Ordering::Relaxed) / self.lanes
    }

    pub(super) async fn compute<T>(&self, work: impl FnOnce() -> T) -> T {
        let waiting = Counted::one_more(&self.waiting);
        let _place = self.free.acquire().await.expect("the semaphore is never closed");
        drop(waiting);
        let started = Instant::now();
        let result = elsewhere(work);
        let took_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let before_us = self.typical_us.load(Ordering::Relaxed);
        // Races lose a sample at worst.
        self.typical_us.store((before_us * 7 + took_us.min(1_000_000)) / 8, Ordering::Relaxed);
        result
    }

    #[cfg(test)]
    pub(super) fn wait_for(&self, waiting: u64) {
        self.waiting.store(waiting, Ordering::Relaxed);
        self.typical_us.store(1_000_000, Ordering::Relaxed);
    }
}

/// Only a runtime of several threads has an elsewhere for what waits behind this.
fn elsewhere<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}
