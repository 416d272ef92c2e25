//! Jobs as people and programs see them: `/api/v1/jobs`.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::ProblemBody;
use super::json::{ApiPath, ApiQuery};
use super::lists::{ListBody, ListParams};
use super::{ApiError, ApiResult, AppState, Session};
use crate::domain::Timestamp;
use crate::domain::id::JobId;
use crate::domain::job::{Job, JobState, Progress, Topic};
use crate::store::{Batch, Collection, Condition, Key, Path, Query, StoreExt, Stored};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get)).routes(routes!(cancel)).routes(routes!(retry))
}

/// A job and how far it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobBody {
    pub id: String,
    pub topic: Topic,
    pub kind: String,
    pub state: JobState,
    /// Runs so far, the present one included.
    pub attempt: u32,
    pub max_attempts: u32,
    pub progress: Progress,
    /// A cancellation was asked for and has not taken effect yet.
    pub cancel_requested: bool,
    /// What went wrong and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<serde_json::Value>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

impl From<Job> for JobBody {
    fn from(job: Job) -> Self {
        Self {
            id: job.id.into(),
            topic: job.topic,
            kind: job.kind,
            state: job.state,
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            progress: job.progress,
            cancel_requested: job.cancel_requested && !job.state.is_final(),
            error: job.error,
            result: job.result,
            created_at: job.created_at,
            updated_at: job.updated_at,
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filters {
    state: Option<JobState>,
    topic: Option<Topic>,
}

/// Jobs of the account; `sort=-created_at` shows the newest first.
#[utoipa::path(get, path = "/jobs", tag = "jobs", params(ListParams, Filters),
    responses((status = 200, body = ListBody<JobBody>)))]
async fn list(
    State(app): State<AppState>,
    session: Session,
    ApiQuery(params): ApiQuery<ListParams>,
    ApiQuery(filters): ApiQuery<Filters>,
) -> ApiResult<Json<ListBody<JobBody>>> {
    let mut query = Query::new(Collection::Jobs, session.account_id.as_str());
    if let Some(state) = filters.state {
        query = query.filter(Condition::equal(Path::key("state"), word(&state)?));
    }
    if let Some(topic) = filters.topic {
        query = query.filter(Condition::equal(Path::key("topic"), topic.as_str()));
    }
    let query = params.apply(query, &["created_at", "updated_at", "state", "topic"])?;
    let (jobs, next) = app.ctx.store.list::<Job>(&query).await?;
    Ok(Json(ListBody { items: jobs.into_iter().map(|stored| stored.value.into()).collect(), next }))
}

#[utoipa::path(get, path = "/jobs/{id}", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = JobBody), (status = 404, body = ProblemBody, description = "`job_not_found`")))]
async fn get(State(app): State<AppState>, session: Session, ApiPath(id): ApiPath<String>) -> ApiResult<Json<JobBody>> {
    Ok(Json(load(&app, &session, &id).await?.value.into()))
}

/// Asks a job to stop. It ends as `cancelled` soon after.
#[utoipa::path(post, path = "/jobs/{id}/cancel", tag = "jobs", params(("id" = String, Path)),
    responses((status = 202, body = JobBody), (status = 409, body = ProblemBody, description = "`job_finished`")))]
async fn cancel(
    State(app): State<AppState>,
    session: Session,
    ApiPath(id): ApiPath<String>,
) -> ApiResult<(axum::http::StatusCode, Json<JobBody>)> {
    let job = change(&app, &session, &id, |job| {
        if job.state.is_final() {
            return Err(ApiError::conflict("job_finished", "This job has ended already: there is nothing to cancel."));
        }
        job.cancel_requested = true;
        Ok(())
    })
    .await?;
    Ok((axum::http::StatusCode::ACCEPTED, Json(job.into())))
}

/// Queues a job that failed, was cancelled or is dead once more, with all its attempts.
#[utoipa::path(post, path = "/jobs/{id}/retry", tag = "jobs", params(("id" = String, Path)),
    responses((status = 202, body = JobBody), (status = 409, body = ProblemBody, description = "`job_not_finished`, `job_succeeded`")))]
async fn retry(
    State(app): State<AppState>,
    session: Session,
    ApiPath(id): ApiPath<String>,
) -> ApiResult<(axum::http::StatusCode, Json<JobBody>)> {
    let job = change(&app, &session, &id, |job| match job.state {
        JobState::Queued | JobState::Running => Err(ApiError::conflict(
            "job_not_finished",
            "This job is queued or running. Cancel it first to start it anew.",
        )),
        JobState::Succeeded => Err(ApiError::conflict("job_succeeded", "This job has succeeded: it is not run twice.")),
        JobState::Failed | JobState::Cancelled | JobState::Dead => {
            job.state = JobState::Queued;
            job.attempt = 0;
            job.cancel_requested = false;
            job.not_before = None;
            job.error = None;
            job.progress = Progress::default();
            Ok(())
        }
    })
    .await?;
    Ok((axum::http::StatusCode::ACCEPTED, Json(job.into())))
}

async fn load(app: &AppState, session: &Session, id: &str) -> ApiResult<Stored<Job>> {
    let missing = || ApiError::not_found("job", id);
    let id = JobId::parse(id).map_err(|_| missing())?;
    app.ctx.store.load::<Job>(&Key::new(session.account_id.as_str(), id.as_str())).await?.ok_or_else(missing)
}

/// Applies a change to the job as it is, however often a worker's heartbeat comes between.
async fn change(
    app: &AppState,
    session: &Session,
    id: &str,
    edit: impl Fn(&mut Job) -> ApiResult<()>,
) -> ApiResult<Job> {
    loop {
        let mut stored = load(app, session, id).await?;
        edit(&mut stored.value)?;
        stored.value.updated_at = app.ctx.clock.now();
        let mut batch = Batch::new();
        batch.replace(&stored);
        match app.ctx.store.commit(batch).await {
            Ok(()) => return Ok(stored.value),
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The word that a unit variant is stored as.
fn word<T: Serialize>(value: &T) -> ApiResult<serde_json::Value> {
    serde_json::to_value(value).map_err(ApiError::internal)
}
