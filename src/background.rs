//! Work that takes long and that nobody waits for in the middle of a call: on threads that give way to those that answer requests.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// The niceness of such threads: beside one that answers requests, a quarter of a processor is theirs; alone they have all of it.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;

/// Makes the calling thread one that gives way, for as long as it lives.
pub fn give_way() {
    // For Linux a thread's is its own. Elsewhere it would be the whole process's.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::debug!(%error, "a thread in the background has the priority of all others");
    }
}

/// Short pauses in long work. A thread that gives way still finishes its turn of a millisecond or more before another gets the processor:
/// with these it is soon free.
#[derive(Debug)]
pub struct Pauses {
    since: Instant,
}

/// Work between two pauses, and a pause.
const PAUSE: Duration = Duration::from_micros(200);

impl Pauses {
    pub fn begin() -> Self {
        Self { since: Instant::now() }
    }

    /// Call it often: pauses when it is time.
    pub fn now_and_then(&mut self) {
        if self.since.elapsed() >= PAUSE {
            std::thread::sleep(PAUSE);
            self.since = Instant::now();
        }
    }
}

/// Does some work on a thread that gives way; it may use the runtime.
///
/// # Errors
/// There is no thread to be had, or the work panicked.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<T> {
    let (sender, result) = oneshot::channel();
    let runtime = Handle::current();
    let thread = move || {
        let _entered = runtime.enter();
        give_way();
        // Nobody may be waiting any more.
        let _ = sender.send(work());
    };
    std::thread::Builder::new().name("background".to_owned()).spawn(thread).context("no thread is to be had")?;
    result.await.context("the work in the background panicked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_it_gives_comes_back_and_a_panic_is_an_error() {
        assert_eq!(run(|| 7).await.unwrap(), 7);
        assert!(run(|| -> u8 { panic!("on purpose") }).await.is_err());
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn its_thread_gives_way_and_no_other() {
        let own = || rustix::process::getpriority_process(None).unwrap();
        let before = own();
        assert_eq!(run(own).await.unwrap(), (before + NICENESS).min(19));
        assert_eq!(own(), before);
    }
}
