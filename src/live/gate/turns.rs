//! Turns for what takes a moment.
//!
//! A score takes less than handing it to another thread and back is worth, so it is computed by the task that read its request, and at once as
//! long as nobody waits. After each millisecond of work for each processor requests *queue*: they are read, and then wait for their turn, first
//! come, first served. An *usher* gives some turns, walks to the end of the runtime's queue, past everything that has arrived meanwhile, and gives
//! the next ones, until nobody waits any more. So it is known how many wait, and at what pace they go on. (Without that they would wait
//! where nobody can count them, in the runtime's queue and in their sockets.)

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Instant;

use tokio::sync::{Notify, Semaphore};

use super::Counted;

/// Work for each processor after which requests queue; and the turns that are given at once take as long, but are not more than [`FEW`].
const AT_ONCE_NS: u64 = 1_000_000;

/// So few that wait for each processor are no queue, even if the machine stands still for a moment.
const FEW: u64 = 32;

/// Samples in a moving average, and what the first ones may be at most.
const SAMPLES: u64 = 256;
const FIRST_NS: u64 = 64_000;

pub(super) struct Turns {
    lanes: u64,
    /// Who comes waits for a turn.
    queueing: AtomicBool,
    waiting: AtomicU64,
    turns: Semaphore,
    /// Turns that have not ended.
    given: AtomicU64,
    usher: Notify,
    /// Work since requests queued last.
    done_ns: AtomicU64,
    /// Moving averages: what a computation takes, and the time between the ends of two while requests queue.
    typical_ns: AtomicU64,
    pace_ns: AtomicU64,
    began: Instant,
    /// When the last one ended, after `began`.
    ended_ns: AtomicU64,
}

impl Turns {
    pub(super) fn new(lanes: u64) -> Self {
        let (queueing, began) = (AtomicBool::new(false), Instant::now());
        let (turns, usher) = (Semaphore::new(0), Notify::new());
        let (waiting, given, done_ns, typical_ns, pace_ns, ended_ns) = Default::default();
        Self { lanes, queueing, waiting, turns, given, usher, done_ns, typical_ns, pace_ns, began, ended_ns }
    }

    /// How long one more would wait.
    pub(super) fn expected_us(&self) -> u64 {
        match self.waiting.load(Ordering::Relaxed) {
            waiting if waiting < FEW * self.lanes => 0,
            waiting => waiting * self.pace_ns.load(Ordering::Relaxed) / 1_000,
        }
    }

    pub(super) async fn compute<T>(&self, work: impl FnOnce() -> T) -> T {
        let turn = self.turn().await;
        let started_ns = self.now_ns();
        let result = work();
        let ended_ns = self.now_ns();
        let took_ns = ended_ns - started_ns;
        average(&self.typical_ns, took_ns);
        let before_ns = self.ended_ns.swap(ended_ns, Ordering::Relaxed);
        match turn {
            // With nobody behind, the time between two is not the pace, but that of their arrivals.
            Some(_) if self.waiting.load(Ordering::Relaxed) >= self.lanes => {
                average(&self.pace_ns, ended_ns.saturating_sub(before_ns));
            }
            Some(_) => {}
            None => self.count_direct(took_ns),
        }
        result
    }

    /// Since the beginning.
    fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Work that nobody waited for. After much of it, it is time to look who waits.
    fn count_direct(&self, took_ns: u64) {
        let done_ns = self.done_ns.fetch_add(took_ns, Ordering::Relaxed) + took_ns;
        if done_ns >= self.lanes * AT_ONCE_NS && !self.queueing.swap(true, Ordering::SeqCst) {
            self.usher.notify_one();
        }
    }

    /// Waits for a turn while requests queue.
    async fn turn(&self) -> Option<Turn<'_>> {
        if !self.queueing.load(Ordering::SeqCst) {
            return None;
        }
        let waiting = Counted::one_more(&self.waiting);
        // The usher, who looks whether anybody waits before it goes and after, may have gone in between.
        if !self.queueing.load(Ordering::SeqCst) {
            return None;
        }
        // Without an usher everybody goes on.
        let turn = self.turns.acquire().await.ok()?;
        turn.forget();
        drop(waiting);
        Some(Turn(self))
    }

    /// Gives turns while requests queue. Never returns; when it is dropped, nobody waits for a turn any more.
    pub(super) async fn usher(&self) {
        let _until_dropped = Leaving(&self.turns);
        loop {
            self.usher.notified().await;
            to_the_end_of_the_queue().await;
            if self.waiting.load(Ordering::SeqCst) == 0 {
                self.done_ns.store(0, Ordering::Relaxed);
                self.queueing.store(false, Ordering::SeqCst);
                if self.waiting.load(Ordering::SeqCst) == 0 {
                    continue;
                }
                self.queueing.store(true, Ordering::SeqCst);
            }
            let (given, waiting) = (self.given.load(Ordering::SeqCst), self.waiting.load(Ordering::SeqCst));
            // Who was given a turn waits until the runtime comes to them.
            let turns = self.at_once().min(waiting).saturating_sub(given);
            if self.given.fetch_add(turns, Ordering::SeqCst) + turns == 0 {
                // Who waited has left meanwhile. No turn will end, so the usher has to look once more by itself.
                self.usher.notify_one();
            }
            self.turns.add_permits(turns as usize);
        }
    }

    /// As many turns as take [`AT_ONCE_NS`].
    fn at_once(&self) -> u64 {
        let typical_ns = self.typical_ns.load(Ordering::Relaxed).max(1);
        self.lanes * (AT_ONCE_NS / typical_ns).clamp(2, FEW)
    }

    #[cfg(test)]
    pub(super) fn wait_for(&self, waiting: u64, pace_ns: u64) {
        self.waiting.store(waiting, Ordering::SeqCst);
        self.pace_ns.store(pace_ns, Ordering::SeqCst);
    }
}

/// The usher, until it leaves for good.
struct Leaving<'a>(&'a Semaphore);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Somebody's turn, until it ends. Before the last ones of those that were given end, the usher comes again.
struct Turn<'a>(&'a Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let left = self.0.given.fetch_sub(1, Ordering::SeqCst) - 1;
        if left <= self.0.at_once() / 2 {
            self.0.usher.notify_one();
        }
    }
}

/// Takes one more into a moving average. An outlier counts as some times what is usual, so that a moment in which the machine stood still
/// is soon forgotten. Races lose a sample at worst.
fn average(average_ns: &AtomicU64, sample_ns: u64) {
    let before_ns = average_ns.load(Ordering::Relaxed);
    let sample_ns = sample_ns.min(4 * before_ns + FIRST_NS);
    average_ns.store((before_ns * (SAMPLES - 1) + sample_ns) / SAMPLES, Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures::FutureExt as _;
    use futures::future::join_all;

    use super::*;

    fn queueing(lanes: u64) -> Turns {
        let turns = Turns::new(lanes);
        turns.queueing.store(true, Ordering::SeqCst);
        turns
    }

    /// Computes as many, and then gives turns until nobody waits; in what order they went on.
    async fn with_usher(turns: &Turns, scores: usize) -> Vec<usize> {
        let order = Mutex::new(Vec::new());
        let scores = (0..scores).map(|number| {
            turns.compute({
                let order = &order;
                move || order.lock().unwrap().push(number)
            })
        });
        turns.usher.notify_one();
        tokio::select! {
            () = turns.usher() => unreachable!("it never returns"),
            _ = join_all(scores) => {}
        }
        order.into_inner().unwrap()
    }

    #[tokio::test]
    async fn with_little_to_do_nobody_waits_and_after_much_work_in_a_row_everybody_does() {
        let turns = Turns::new(2);
        assert_eq!(turns.compute(|| 7).now_or_never(), Some(7));
        assert!(!turns.queueing.load(Ordering::SeqCst));
        turns.done_ns.store(2 * AT_ONCE_NS, Ordering::SeqCst);
        assert_eq!(turns.compute(|| 7).now_or_never(), Some(7));
        assert_eq!(turns.compute(|| 7).now_or_never(), None);
        assert_eq!(turns.waiting.load(Ordering::SeqCst), 0, "who hangs up waits no more");
        // With nobody there the usher goes, and all is as before.
        tokio::select! {
            biased;
            () = turns.usher() => unreachable!("it never returns"),
            () = async { while turns.queueing.load(Ordering::SeqCst) { tokio::task::yield_now().await } } => {}
        }
        assert_eq!(turns.compute(|| 7).now_or_never(), Some(7));
    }

    #[tokio::test]
    async fn turns_come_in_order_and_all_of_them() {
        let turns = queueing(2);
        assert_eq!(with_usher(&turns, 500).await, (0..500).collect::<Vec<_>>());
        assert_eq!((turns.waiting.load(Ordering::SeqCst), turns.given.load(Ordering::SeqCst)), (0, 0));
        assert!(turns.pace_ns.load(Ordering::SeqCst) > 0);
    }

    #[tokio::test]
    async fn nobody_is_given_two_turns() {
        let turns = queueing(2);
        let mut waiting: Vec<_> = (0..3).map(|number| Box::pin(turns.compute(move || number))).collect();
        assert!(waiting.iter_mut().all(|one| one.as_mut().now_or_never().is_none()));
        let mut usher = Box::pin(turns.usher());
        for _ in 0..3 {
            turns.usher.notify_one();
            // Once to be told, once more from the end of the queue.
            assert!((0..2).all(|_| usher.as_mut().now_or_never().is_none()));
        }
        assert_eq!(turns.given.load(Ordering::SeqCst), 3);
        assert_eq!(join_all(waiting).await, [0, 1, 2]);
        assert_eq!(turns.given.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn when_the_usher_leaves_everybody_goes_on() {
        let turns = queueing(1);
        let mut usher = Box::pin(turns.usher());
        assert_eq!(usher.as_mut().now_or_never(), None);
        let mut waiting = Box::pin(turns.compute(|| 7));
        assert_eq!(waiting.as_mut().now_or_never(), None);
        drop(usher);
        assert_eq!(waiting.await, 7);
        assert_eq!((turns.compute(|| 8).now_or_never(), turns.waiting.load(Ordering::SeqCst)), (Some(8), 0));
    }

    #[tokio::test]
    async fn a_turn_of_one_who_hung_up_is_the_next_ones() {
        let turns = queueing(1);
        let mut gone = Box::pin(turns.compute(|| 1));
        assert_eq!(gone.as_mut().now_or_never(), None);
        turns.given.store(1, Ordering::SeqCst);
        turns.turns.add_permits(1);
        drop(gone);
        assert_eq!(turns.compute(|| 2).now_or_never(), Some(2));
        assert_eq!((turns.waiting.load(Ordering::SeqCst), turns.given.load(Ordering::SeqCst)), (0, 0));
    }

    #[tokio::test]
    async fn a_computation_that_panics_gives_its_turn_back() {
        let turns = queueing(1);
        turns.given.store(1, Ordering::SeqCst);
        turns.turns.add_permits(1);
        let panicking = std::panic::AssertUnwindSafe(turns.compute(|| panic!("as it must"))).catch_unwind();
        assert!(panicking.await.is_err());
        assert_eq!(turns.given.load(Ordering::SeqCst), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn on_several_threads_nobody_is_forgotten() {
        let turns = Arc::new(Turns::new(2));
        let usher = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move { turns.usher().await }
        });
        let client = |turns: Arc<Turns>| async move {
            for number in 0..200 {
                // Every one of them is much work, so that requests queue and stop to all the time.
                turns.done_ns.fetch_add(AT_ONCE_NS, Ordering::SeqCst);
                assert_eq!(turns.compute(|| number).await, number);
            }
        };
        let clients: Vec<_> = (0..50).map(|_| tokio::spawn(client(Arc::clone(&turns)))).collect();
        for client in clients {
            client.await.unwrap();
        }
        assert_eq!(turns.waiting.load(Ordering::SeqCst), 0);
        usher.abort();
    }

    #[test]
    fn few_are_no_queue_however_slow_and_many_are() {
        let turns = Turns::new(2);
        turns.wait_for(2 * FEW - 1, 1_000_000_000);
        assert_eq!(turns.expected_us(), 0);
        turns.wait_for(2 * FEW, 100_000);
        assert_eq!(turns.expected_us(), 2 * FEW * 100);
    }

    #[test]
    fn a_moment_in_which_the_machine_stood_still_is_no_pace() {
        let pace = AtomicU64::new(100_000);
        average(&pace, 50_000_000);
        assert_eq!(pace.load(Ordering::Relaxed), 101_421, "not 294,921");
        for _ in 0..1_000 {
            average(&pace, 100_000);
        }
        assert!((99_900..=100_064).contains(&pace.load(Ordering::Relaxed)), "{pace:?}");
    }
}
