//! A running job's lease: heartbeats while it runs, and the reasons to stop it.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::JobRun;
use crate::domain::job::{Job, JobState, Progress};
use crate::store::{Batch, Record, StoreExt, Stored};

/// How often progress is written while it changes.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Why a run was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopReason {
    /// A person asked for it.
    Cancelled,
    /// Another worker has the job.
    Lost,
    /// This process ends.
    Shutdown,
}

/// What a worker keeps of a job that it runs. Cheap to clone.
#[derive(Clone)]
pub(super) struct Lease {
    pub cancel: CancellationToken,
    reason: Arc<OnceLock<StopReason>>,
    /// The job's document changed: look at it now.
    changed: Arc<Notify>,
}

impl Lease {
    pub(super) fn new() -> Self {
        Self { cancel: CancellationToken::new(), reason: Arc::default(), changed: Arc::default() }
    }

    /// The first reason counts.
    pub(super) fn stop(&self, reason: StopReason) {
        // A second reason changes nothing.
        let _ = self.reason.set(reason);
        self.cancel.cancel();
    }

    pub(super) fn reason(&self) -> Option<StopReason> {
        self.reason.get().copied()
    }

    pub(super) fn look(&self) {
        self.changed.notify_one();
    }
}

/// Keeps a job's lease until the lease is lost or the task is aborted. A heartbeat is a growing number
/// in the job's document: who claims jobs compares it with what it saw one lease before, by its own clock.
pub(super) async fn keep(run: JobRun, lease: Lease) {
    let lease_time = Duration::from_millis(run.job.lease_ms);
    let heartbeat_every = lease_time / 3;
    let tick = heartbeat_every.min(PROGRESS_EVERY);
    let mut last_write = Instant::now();
    let mut written = run.job.progress.clone();
    loop {
        tokio::select! {
            () = tokio::time::sleep(tick) => {}
            () = lease.changed.notified() => {}
        }
        let progress = current(&run.progress);
        let due = last_write.elapsed() >= heartbeat_every || (progress != written && last_write.elapsed() >= tick);
        match look(&run, &lease, due.then_some(&progress)).await {
            Ok(Look::Kept { wrote: true }) => {
                last_write = Instant::now();
                written = progress;
            }
            Ok(Look::Kept { wrote: false }) => {}
            Ok(Look::Over) => return,
            Err(error) => {
                tracing::debug!(
                    job = run.job.id.as_str(),
                    error = &error as &dyn std::error::Error,
                    "a heartbeat was not written"
                );
                // By now somebody else may have taken the job over: effects would be refused anyway.
                if last_write.elapsed() > lease_time {
                    lease.stop(StopReason::Lost);
                    return;
                }
            }
        }
    }
}

fn current(progress: &Mutex<Progress>) -> Progress {
    progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

enum Look {
    Kept { wrote: bool },
    Over,
}

/// Reads the job's document; notices a cancellation or a lost lease; writes a heartbeat when one is due.
async fn look(run: &JobRun, lease: &Lease, heartbeat: Option<&Progress>) -> crate::store::Result<Look> {
    loop {
        let stored: Option<Stored<Job>> = run.ctx.store.load(&run.job.key()).await?;
        let Some(mut stored) = stored.filter(|stored| is_held(&stored.value, run)) else {
            lease.stop(StopReason::Lost);
            return Ok(Look::Over);
        };
        if stored.value.cancel_requested {
            lease.stop(StopReason::Cancelled);
        }
        let Some(progress) = heartbeat else { return Ok(Look::Kept { wrote: false }) };
        stored.value.heartbeat += 1;
        stored.value.progress = progress.clone();
        let phases = run.note_phases(&mut stored.value);
        stored.value.updated_at = run.ctx.clock.now();
        let mut batch = Batch::new();
        batch.replace(&stored);
        match run.ctx.store.commit(batch).await {
            Ok(()) => {
                run.phases_are_noted(phases);
                return Ok(Look::Kept { wrote: true });
            }
            // Somebody asked for cancellation in between.
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether this run still owns the job as it is stored.
pub(super) fn is_held(job: &Job, run: &JobRun) -> bool {
    job.state == JobState::Running && job.fence == run.job.fence
}
