//! Starting, serving, draining, stopping.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// From the moment draining ends, work that is under way has this long to finish.
pub const HARD_DEADLINE: Duration = Duration::from_secs(30);

/// Where a process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Not warm yet: `/login` and `/readyz` answer 503.
    Starting,
    Ready,
    /// Asked to stop: `/login` and `/readyz` answer 503, everything else still works, a request a connection.
    Draining,
    /// No new connections; what is under way finishes.
    Stopping,
}

impl Phase {
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Ready => "ready",
            Phase::Draining => "draining",
            Phase::Stopping => "stopping",
        }
    }
}

/// Shared by everything that has to know when to stop. Cheap to clone; every request asks it for the phase.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    /// A [`Phase`].
    phase: Arc<AtomicU8>,
    stop: CancellationToken,
}

impl Lifecycle {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn phase(&self) -> Phase {
        let phase = self.phase.load(Ordering::Acquire);
        let reached = |reached: &Phase| *reached as u8 <= phase;
        [Phase::Stopping, Phase::Draining, Phase::Ready].into_iter().find(reached).unwrap_or(Phase::Starting)
    }

    /// True while this node should get traffic.
    pub fn is_ready(&self) -> bool {
        self.phase() == Phase::Ready
    }

    /// Warm: starting → ready. Later phases are not left.
    pub fn set_ready(&self) {
        self.advance(Phase::Ready);
    }

    pub fn start_draining(&self) {
        self.advance(Phase::Draining);
    }

    /// Tells background work to come to an end.
    pub fn stop(&self) {
        self.advance(Phase::Stopping);
        self.stop.cancel();
    }

    /// Fires when background work has to come to an end.
    pub fn stopped(&self) -> CancellationToken {
        self.stop.clone()
    }

    fn advance(&self, to: Phase) {
        self.phase.fetch_max(to as u8, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_only_go_forward() {
        let lifecycle = Lifecycle::new();
        assert!(!lifecycle.is_ready());
        lifecycle.set_ready();
        assert!(lifecycle.is_ready());
        lifecycle.start_draining();
        lifecycle.set_ready();
        assert_eq!(lifecycle.phase(), Phase::Draining);
        lifecycle.stop();
        assert!(lifecycle.stopped().is_cancelled());
    }
}
