//! Schedules as requests change them: set, started now, removed. What may be scheduled is each task's own business.

use axum::http::StatusCode;
use serde::Serialize;

use super::idempotency::Idempotency;
use super::{ApiError, ApiResult, AppState};
use crate::domain::id::{AccountId, JobId};
use crate::domain::schedule::{Schedule, Task};
use crate::jobs::schedules::{Plan, plan};
use crate::store::{Batch, Key, StoreExt, Stored};

/// Creates or changes a schedule. A changed one is next due a period from now.
pub(super) async fn set(
    app: &AppState,
    account: &AccountId,
    task: Task,
    every_minutes: u32,
    enabled: bool,
) -> ApiResult<Schedule> {
    loop {
        let mut wanted = Schedule::new(account.clone(), task.clone(), every_minutes, enabled, app.ctx.clock.now());
        let mut batch = Batch::new();
        match app.ctx.store.load::<Schedule>(&Key::new(account.as_str(), task.id())).await? {
            None => batch.insert(&wanted),
            Some(before) => {
                let same = before.value.every_minutes == every_minutes && before.value.enabled == enabled;
                wanted = Schedule {
                    next_due: if same { before.value.next_due } else { wanted.next_due },
                    last_run: before.value.last_run,
                    last_job: before.value.last_job,
                    created_at: before.value.created_at,
                    ..wanted
                };
                batch.replace(&Stored { value: wanted.clone(), revision: before.revision })
            }
        };
        match app.ctx.store.commit(batch).await {
            Err(error) if error.is_conflict() => {}
            result => {
                result?;
                return Ok(wanted);
            }
        }
    }
}

/// Starts a schedule's task together with `also`, or says why not. The answer is saved under the request's `Idempotency-Key`.
pub(super) async fn start_now<T: Serialize>(
    app: &AppState,
    schedule: Stored<Schedule>,
    also: Batch,
    idem: &mut Idempotency,
    answer: impl FnOnce(JobId) -> T,
) -> ApiResult<T> {
    let (mut batch, job) = match plan(&app.ctx, schedule).await? {
        Plan::Ready { batch, job } => (batch, job),
        Plan::Busy(job) => {
            let job = job.map(String::from).unwrap_or_default();
            let text =
                format!("It is under way: {job}. Wait for that job, or cancel it: POST /api/v1/jobs/{job}/cancel.");
            return Err(ApiError::conflict("already_running", text).with("job_id", job));
        }
        Plan::Gone(batch) => {
            app.ctx.store.commit(batch).await?;
            let text = "What it was for does not exist any more: the schedule was removed.";
            return Err(ApiError::new(StatusCode::NOT_FOUND, "schedule_not_found", text));
        }
    };
    batch.ops.extend(also.ops);
    let answer = answer(job);
    idem.record(&mut batch, StatusCode::ACCEPTED, &answer);
    match app.ctx.store.commit(batch).await {
        Ok(()) => Ok(answer),
        Err(error) if error.is_conflict() && !idem.lost(&error) => {
            Err(ApiError::conflict("already_running", "Another request has just started it."))
        }
        Err(error) => Err(idem.explain(error)),
    }
}

pub(super) async fn remove(app: &AppState, schedule: &Stored<Schedule>) -> ApiResult<()> {
    let mut batch = Batch::new();
    batch.delete(schedule);
    Ok(app.ctx.store.commit(batch).await?)
}
