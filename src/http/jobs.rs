//! Jobs as people and programs see them: `/api/v1/jobs`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::ProblemBody;
use super::json::ApiPath;
use super::lists::{ListBody, ListParams, ListQuery};
use super::{ApiError, ApiResult, AppState, Session};
use crate::domain::Timestamp;
use crate::domain::id::JobId;
use crate::domain::job::{Curve, Job, JobState, Progress, Topic};
use crate::domain::job_log;
use crate::jobs::{self, ControlError};
use crate::store::{Collection, Condition, Key, Path, Query, StoreExt};

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
    /// What became of it, oldest first, at most 50 entries; of a single job alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<Vec<job_log::Entry>>,
    /// Of a single training: how what it measures goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub curves: Option<Vec<Curve>>,
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
            log: None,
            curves: None,
            created_at: job.created_at,
            updated_at: job.updated_at,
        }
    }
}

impl JobBody {
    fn with_log(mut job: Job) -> Self {
        let (log, curves) = (std::mem::take(&mut job.log), std::mem::take(&mut job.curves));
        Self { log: Some(log), curves: (!curves.is_empty()).then_some(curves), ..job.into() }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filters {
    state: Option<JobState>,
    topic: Option<Topic>,
}

/// Jobs of the account; `sort=-created_at` shows the newest first.
#[utoipa::path(get, path = "/api/v1/jobs", tag = "jobs", params(ListParams, Filters),
    responses((status = 200, body = ListBody<JobBody>)))]
async fn list(
    State(app): State<AppState>,
    session: Session,
    ListQuery(params, filters): ListQuery<Filters>,
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

#[utoipa::path(get, path = "/api/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = JobBody), (status = 404, body = ProblemBody, description = "`job_not_found`")))]
async fn get(State(app): State<AppState>, session: Session, ApiPath(id): ApiPath<String>) -> ApiResult<Json<JobBody>> {
    let key = Key::new(session.account_id.as_str(), parse(&id)?.as_str());
    let job = app.ctx.store.load::<Job>(&key).await?.ok_or_else(|| ApiError::not_found("job", &id))?;
    Ok(Json(JobBody::with_log(job.value)))
}

/// Asks a job to stop. It ends as `cancelled` soon after.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/cancel", tag = "jobs", params(("id" = String, Path)),
    responses((status = 202, body = JobBody), (status = 409, body = ProblemBody, description = "`job_finished`")))]
async fn cancel(
    State(app): State<AppState>,
    session: Session,
    ApiPath(id): ApiPath<String>,
) -> ApiResult<(StatusCode, Json<JobBody>)> {
    let job = jobs::cancel(&app.ctx, &session.account_id, &parse(&id)?).await.map_err(|error| refused(error, &id))?;
    Ok((StatusCode::ACCEPTED, Json(job.into())))
}

/// Queues a job that failed, was cancelled or is dead once more, with all its attempts.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/retry", tag = "jobs", params(("id" = String, Path)),
    responses((status = 202, body = JobBody), (status = 409, body = ProblemBody, description = "`job_not_finished`, `job_finished`")))]
async fn retry(
    State(app): State<AppState>,
    session: Session,
    ApiPath(id): ApiPath<String>,
) -> ApiResult<(StatusCode, Json<JobBody>)> {
    let job = jobs::retry(&app.ctx, &session.account_id, &parse(&id)?).await.map_err(|error| refused(error, &id))?;
    Ok((StatusCode::ACCEPTED, Json(job.into())))
}

fn parse(id: &str) -> ApiResult<JobId> {
    JobId::parse(id).map_err(|_| ApiError::not_found("job", id))
}

fn refused(error: ControlError, id: &str) -> ApiError {
    match error {
        ControlError::NotFound => ApiError::not_found("job", id),
        ControlError::WrongState(JobState::Queued | JobState::Running) => {
            ApiError::conflict("job_not_finished", "This job is queued or running. Cancel it first to start it anew.")
        }
        ControlError::WrongState(state) => {
            ApiError::conflict("job_finished", format!("This job has ended already: it is {}.", state.as_str()))
        }
        ControlError::Store(error) => error.into(),
    }
}

/// The word that a unit variant is stored as.
fn word<T: Serialize>(value: &T) -> ApiResult<serde_json::Value> {
    serde_json::to_value(value).map_err(ApiError::internal)
}
