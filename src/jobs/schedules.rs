//! Starts what is due. Any number of nodes may look: who replaces the schedule's document, in the revision that was read and together
//! with the new job, has started it; the others get a conflict and go on.
//!
//! When something is due is told by wall clocks, which may be minutes apart: that moves a run by as much, and makes it neither two nor none,
//! since the next due time is counted from the last.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::dataset_outcomes::RefreshOutcomes;
use super::train_model::TrainModel;
use super::{RunJob, enqueue};
use crate::context::Context;
use crate::domain::dataset::Dataset;
use crate::domain::id::{AccountId, JobId};
use crate::domain::job::Job;
use crate::domain::model::{Model, ModelState};
use crate::domain::schedule::{Schedule, Task};
use crate::store::{Batch, Collection, Condition, Key, Path, Query, Result, StoreError, StoreExt, Stored};

const EVERY: Duration = Duration::from_secs(5);

/// What became of an attempt to start a schedule's task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    Started(JobId),
    /// An earlier run, or another training of the model, is not over.
    Busy(Option<JobId>),
    /// What it was for is gone, and now the schedule is.
    Gone,
    /// Another node was first.
    Lost,
}

/// Runs until `stop`.
pub async fn keep(ctx: Context, stop: CancellationToken) {
    loop {
        if let Err(error) = run_due(&ctx).await {
            tracing::warn!(%error, "schedules could not be looked at, trying again");
        }
        if stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
            return;
        }
    }
}

/// Starts everything that is due; the jobs that this call started.
pub async fn run_due(ctx: &Context) -> Result<Vec<JobId>> {
    let now = ctx.clock.now();
    let enabled = Condition::equal(Path::key("enabled"), true);
    let query = Query::everywhere(Collection::Schedules).filter(enabled).limit(500);
    let mut started = Vec::new();
    for schedule in ctx.store.list_all::<Schedule>(query).await? {
        if !schedule.value.is_due(now) {
            continue;
        }
        if let Start::Started(job) = start(ctx, schedule).await? {
            started.push(job);
        }
    }
    Ok(started)
}

/// What it takes to start a schedule's task.
pub enum Plan {
    /// This batch starts it: the job, and the schedule that names it in the revision that was read.
    Ready {
        batch: Batch,
        job: JobId,
    },
    Busy(Option<JobId>),
    /// What it was for is gone: this batch removes the schedule.
    Gone(Batch),
}

/// Starts a schedule's task now, due or not, unless it is under way.
pub async fn start(ctx: &Context, schedule: Stored<Schedule>) -> Result<Start> {
    let (batch, done) = match plan(ctx, schedule).await? {
        Plan::Ready { batch, job } => (batch, Start::Started(job)),
        Plan::Gone(batch) => (batch, Start::Gone),
        Plan::Busy(job) => return Ok(Start::Busy(job)),
    };
    match ctx.store.commit(batch).await {
        Ok(()) => Ok(done),
        Err(error) if error.is_conflict() => Ok(Start::Lost),
        Err(error) => Err(error),
    }
}

/// Looks whether the task can start now, due or not, and says what to commit.
pub async fn plan(ctx: &Context, mut schedule: Stored<Schedule>) -> Result<Plan> {
    let account = schedule.value.account_id.clone();
    if let Some(job) = &schedule.value.last_job
        && is_under_way(ctx, &account, job).await?
    {
        return Ok(Plan::Busy(Some(job.clone())));
    }
    let mut batch = Batch::new();
    let job = match schedule.value.task.clone() {
        Task::RefreshOutcomes { dataset_id } => {
            let key = Key::new(account.as_str(), dataset_id.as_str());
            let dataset = ctx.store.load::<Dataset>(&key).await?;
            if dataset.is_none_or(|dataset| dataset.value.deleted_at.is_some()) {
                return Ok(forget(&schedule));
            }
            add(&mut batch, ctx, &account, &RefreshOutcomes { dataset_id })?
        }
        Task::Retrain { model_id, activate, .. } => {
            let key = Key::new(account.as_str(), model_id.as_str());
            let Some(mut model) = ctx.store.load::<Model>(&key).await? else { return Ok(forget(&schedule)) };
            if matches!(model.value.state, ModelState::Queued | ModelState::Training) {
                return Ok(Plan::Busy(model.value.job_id));
            }
            let job = add(&mut batch, ctx, &account, &TrainModel { model_id, activate: Some(activate) })?;
            model.value.state = ModelState::Queued;
            model.value.error = None;
            model.value.job_id = Some(job.clone());
            model.value.updated_at = ctx.clock.now();
            batch.replace(&model);
            job
        }
    };
    schedule.value.ran(job.clone(), ctx.clock.now());
    batch.replace(&schedule);
    Ok(Plan::Ready { batch, job })
}

fn add<J: RunJob>(batch: &mut Batch, ctx: &Context, account: &AccountId, job: &J) -> Result<JobId> {
    enqueue(batch, ctx, account, job).map_err(|error| StoreError::Failed(error.into()))
}

async fn is_under_way(ctx: &Context, account: &AccountId, job: &JobId) -> Result<bool> {
    let job = ctx.store.load::<Job>(&Key::new(account.as_str(), job.as_str())).await?;
    Ok(job.is_some_and(|job| !job.value.state.is_final()))
}

fn forget(schedule: &Stored<Schedule>) -> Plan {
    let mut batch = Batch::new();
    batch.delete(schedule);
    Plan::Gone(batch)
}
