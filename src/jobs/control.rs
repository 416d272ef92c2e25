//! What a person can do to a job: cancel it, run it again.

use crate::context::Context;
use crate::domain::Timestamp;
use crate::domain::id::{AccountId, JobId};
use crate::domain::job::{Job, JobState, Progress};
use crate::domain::job_log::Event;
use crate::store::{Batch, Key, StoreError, StoreExt, Stored};

/// Why a job stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("there is no such job")]
    NotFound,
    /// Cancelling what has ended otherwise, retrying what has not ended.
    #[error("the job is {}", .0.as_str())]
    WrongState(JobState),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Asks for a job's end. A queued job is cancelled by the next worker that sees it, a running one as
/// soon as its code looks (its worker hears of it within milliseconds). Cancelling twice is fine.
pub async fn cancel(ctx: &Context, account: &AccountId, id: &JobId) -> Result<Job, ControlError> {
    let now = ctx.clock.now();
    change(ctx, account, id, |job| match job.state {
        JobState::Queued | JobState::Running => {
            if !job.cancel_requested {
                job.note(now, Event::CancelAsked, None);
            }
            job.cancel_requested = true;
            // A job that waits for its next attempt need not wait to be cancelled.
            job.not_before = None;
            Ok(())
        }
        JobState::Cancelled => Ok(()),
        state => Err(ControlError::WrongState(state)),
    })
    .await
}

/// Queues a failed, cancelled or dead job again, with all its attempts.
pub async fn retry(ctx: &Context, account: &AccountId, id: &JobId) -> Result<Job, ControlError> {
    let now = ctx.clock.now();
    change(ctx, account, id, |job| {
        if !matches!(job.state, JobState::Failed | JobState::Cancelled | JobState::Dead) {
            return Err(ControlError::WrongState(job.state));
        }
        queue_again(job, now);
        Ok(())
    })
    .await
}

/// Queues every dead job of the account again (what ended them has been put right); how many.
pub async fn redrive(ctx: &Context, account: &AccountId) -> Result<u64, ControlError> {
    use crate::store::{Collection, Condition, Path, Query};
    let dead = Query::new(Collection::Jobs, account.as_str())
        .filter(Condition::equal(Path::key("state"), JobState::Dead.as_str()));
    let mut queued = 0;
    for stored in ctx.store.list_all::<Job>(dead).await? {
        match retry(ctx, account, &stored.value.id).await {
            Ok(_) => queued += 1,
            // Somebody else retried or removed it meanwhile.
            Err(ControlError::NotFound | ControlError::WrongState(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(queued)
}

fn queue_again(job: &mut Job, now: Timestamp) {
    job.state = JobState::Queued;
    job.attempt = 0;
    job.failures = 0;
    job.fence += 1;
    job.cancel_requested = false;
    job.not_before = None;
    job.worker = None;
    job.progress = Progress::default();
    job.error = None;
    job.result = None;
    job.note(now, Event::Queued, None);
}

/// Reads, changes and replaces, again when somebody (a heartbeat) was first.
async fn change(
    ctx: &Context,
    account: &AccountId,
    id: &JobId,
    apply: impl Fn(&mut Job) -> Result<(), ControlError>,
) -> Result<Job, ControlError> {
    loop {
        let key = Key::new(account.as_str(), id.as_str());
        let mut stored: Stored<Job> = ctx.store.load(&key).await?.ok_or(ControlError::NotFound)?;
        apply(&mut stored.value)?;
        stored.value.updated_at = ctx.clock.now();
        let mut batch = Batch::new();
        batch.replace(&stored);
        match ctx.store.commit(batch).await {
            Ok(()) => return Ok(stored.value),
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error.into()),
        }
    }
}
