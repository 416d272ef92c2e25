//! How a run ends: one batch that holds the job's new state and everything that goes with it.

use std::time::Duration;

use chrono::TimeDelta;

use super::lease::{Lease, StopReason, is_held};
use super::registry::AnyJob;
use super::{Done, JobError, JobRun};
use crate::domain::Timestamp;
use crate::domain::job::{Job, JobState};
use crate::domain::job_log::Event;
use crate::store::{Batch, Conflict, Record, StoreError, StoreExt, Stored};

/// How often an end is tried while the store is unavailable; then the lease runs out and another
/// worker runs the job again.
const TRIES: u32 = 8;
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);
/// For space on a disk, for the object store: what ends such a wait is not the job, which should go on soon after.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What becomes of the job.
pub(super) enum Ending {
    Succeeded(Done),
    /// Failed, cancelled or dead.
    Ended(JobState, JobError),
    /// Another attempt after a pause.
    Again(JobError, Duration),
    /// Back to the queue as if it had not been claimed: the process ends.
    Released,
    Lost,
}

/// Decides what the outcome of a run means.
pub(super) fn ending(run: &JobRun, lease: &Lease, outcome: Result<Done, JobError>, backoff: Duration) -> Ending {
    match (outcome, lease.reason()) {
        (_, Some(StopReason::Lost)) | (Err(JobError::LostLease), _) => Ending::Lost,
        (Ok(done), _) => Ending::Succeeded(done),
        (Err(JobError::Failed(text)), _) => Ending::Ended(JobState::Failed, JobError::Failed(text)),
        (Err(_), Some(StopReason::Shutdown)) => Ending::Released,
        (Err(_), Some(StopReason::Cancelled)) | (Err(JobError::Cancelled), _) => {
            Ending::Ended(JobState::Cancelled, JobError::Cancelled)
        }
        (Err(error @ JobError::Retry(_)), None) => again(run, error, pause(run.job.failures, backoff)),
        (Err(error @ (JobError::NoSpace | JobError::ObjectsAway(_))), None) => {
            let pause = pause(run.job.failures, backoff).min(LONGEST_WAIT);
            Ending::Again(error, pause)
        }
    }
}

/// Another attempt, or the end when this was the last one.
fn again(run: &JobRun, error: JobError, pause: Duration) -> Ending {
    if run.job.failures + 1 >= run.job.max_attempts {
        Ending::Ended(JobState::Dead, error)
    } else {
        Ending::Again(error, pause)
    }
}

/// Doubles with each failure, up to a limit, and varies by a quarter so that jobs that failed
/// together do not come back together.
fn pause(failures: u32, first: Duration) -> Duration {
    let doubled = first.saturating_mul(1 << failures.min(16)).min(LONGEST_BACKOFF);
    // Without a random source the pause is merely the longest.
    let random = getrandom::u32().unwrap_or(u32::MAX);
    doubled.mul_f64(0.75 + 0.25 * f64::from(random) / f64::from(u32::MAX))
}

/// Writes the end of a run, and says it once in the log.
pub(super) async fn finish(run: &JobRun, job: &dyn AnyJob, ending: Ending) {
    log(run, &ending);
    // After any other failure a commit may still turn out to have happened.
    if let Ending::Ended(_, error) | Ending::Again(error, _) = &ending
        && !matches!(error, JobError::Retry(_))
    {
        run.drop_unreferenced().await;
    }
    let outcome = match &ending {
        Ending::Lost => return,
        Ending::Succeeded(done) => match settle(run, &ending, &done.effects).await {
            Err(StoreError::Conflict(Conflict { op })) if op >= FIRST_EFFECT => {
                // What the job read has changed since: its next attempt reads again.
                let error = JobError::Retry(anyhow::anyhow!(
                    "documents changed while the job ran (operation {} of its effects)",
                    op - FIRST_EFFECT
                ));
                return Box::pin(finish(run, job, again(run, error, Duration::ZERO))).await;
            }
            outcome => outcome,
        },
        Ending::Ended(_, error) => settle_failed(run, job, &ending, error).await,
        Ending::Again(..) | Ending::Released => settle(run, &ending, &Batch::new()).await,
    };
    if let Err(error) = outcome {
        // The lease runs out, and another attempt follows.
        tracing::error!(
            job = run.job.id.as_str(),
            error = &error as &dyn std::error::Error,
            "the end of a job was not written"
        );
    }
}

/// The final state goes with the job's own batch; when that cannot be committed, without it.
async fn settle_failed(run: &JobRun, job: &dyn AnyJob, ending: &Ending, error: &JobError) -> crate::store::Result<()> {
    for _ in 0..3 {
        let effects = job.on_failure(run, error).await;
        match settle(run, ending, &effects).await {
            Err(StoreError::Conflict(Conflict { op })) if op >= FIRST_EFFECT => {}
            outcome => return outcome,
        }
    }
    tracing::error!(
        job = run.job.id.as_str(),
        "what should follow the failure of a job conflicts with other changes and is left out"
    );
    settle(run, ending, &Batch::new()).await
}

/// Operations of the batch before the effects: the guard and the job itself.
const FIRST_EFFECT: usize = 2;

/// Commits the job's new state and the effects. A job that is not ours any more is left alone.
async fn settle(run: &JobRun, ending: &Ending, effects: &Batch) -> crate::store::Result<()> {
    let mut tries = 0;
    loop {
        let outcome = settle_once(run, ending, effects).await;
        match outcome {
            // A heartbeat or a cancellation came in between: read again.
            Err(StoreError::Conflict(Conflict { op })) if op < FIRST_EFFECT => {}
            Err(StoreError::Unavailable(_) | StoreError::Full(_)) if tries < TRIES => {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(100 << tries.min(4))).await;
            }
            outcome => return outcome,
        }
    }
}

async fn settle_once(run: &JobRun, ending: &Ending, effects: &Batch) -> crate::store::Result<()> {
    let stored: Option<Stored<Job>> = run.ctx.store.load(&run.job.key()).await?;
    let Some(mut stored) = stored.filter(|stored| is_held(&stored.value, run)) else {
        tracing::info!(job = run.job.id.as_str(), "the job has another owner or has ended: this run changes nothing");
        return Ok(());
    };
    describe(&mut stored.value, run, ending);
    let mut batch = Batch::new();
    batch.push(run.guard());
    batch.replace(&stored);
    debug_assert_eq!(batch.len(), FIRST_EFFECT);
    batch.ops.extend(effects.ops.iter().cloned());
    run.ctx.store.commit(batch).await
}

/// The job as it is after the run. Its fence grows, so that nothing left over from the run can write.
fn describe(job: &mut Job, run: &JobRun, ending: &Ending) {
    let now = run.ctx.clock.now();
    job.updated_at = now;
    job.fence += 1;
    run.note_phases(job);
    note(job, ending, now);
    job.worker = None;
    job.progress = run.progress.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    match ending {
        Ending::Succeeded(done) => {
            job.state = JobState::Succeeded;
            job.error = None;
            job.result = (!done.result.is_null()).then(|| done.result.clone());
        }
        Ending::Ended(state, error) => {
            job.state = *state;
            job.error = Some(error.to_string());
        }
        Ending::Again(error, pause) => {
            job.state = JobState::Queued;
            job.failures += 1;
            // A full disk or a store that is away is nothing that a job could run out of attempts over.
            job.max_attempts += u32::from(is_a_wait(error));
            job.error = Some(error.to_string());
            job.not_before = TimeDelta::from_std(*pause).ok().map(|pause| now + pause);
        }
        Ending::Released | Ending::Lost => {
            job.state = JobState::Queued;
            job.attempt = job.attempt.saturating_sub(1);
        }
    }
}

/// The end of the run, in the job's log.
fn note(job: &mut Job, ending: &Ending, now: Timestamp) {
    match ending {
        Ending::Succeeded(_) => job.note(now, Event::Succeeded, None),
        Ending::Ended(JobState::Cancelled, _) => job.note(now, Event::Cancelled, None),
        Ending::Ended(JobState::Dead, error) => job.note(now, Event::Dead, Some(&error.to_string())),
        Ending::Ended(_, error) => job.note(now, Event::Failed, Some(&error.to_string())),
        Ending::Again(error, _) => job.note(now, Event::WillRetry, Some(&error.to_string())),
        Ending::Released => job.note(now, Event::Released, None),
        Ending::Lost => {}
    }
}

fn is_a_wait(error: &JobError) -> bool {
    matches!(error, JobError::NoSpace | JobError::ObjectsAway(_))
}

fn log(run: &JobRun, ending: &Ending) {
    let job = &run.job;
    let (id, kind, attempt) = (job.id.as_str(), job.kind.as_str(), job.attempt);
    match ending {
        Ending::Succeeded(_) => tracing::info!(job = id, kind, attempt, "job done"),
        Ending::Ended(JobState::Cancelled, _) => tracing::info!(job = id, kind, attempt, "job cancelled"),
        Ending::Ended(state, error) => {
            tracing::error!(job = id, kind, attempt, state = state.as_str(), error = %error, "job failed");
        }
        Ending::Again(error, pause) => {
            tracing::warn!(job = id, kind, attempt, pause_ms = pause.as_millis(), error = %error, "job failed, will try again");
        }
        Ending::Released => tracing::info!(job = id, kind, attempt, "job released: the process ends"),
        Ending::Lost => tracing::warn!(job = id, kind, attempt, "another worker took the job over"),
    }
}
