//! `/api/v1/predictors/{id or name}/retraining`: trains a model again on a schedule, and replaces only a version that is beaten.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::ProblemBody;
use super::idempotency::Idempotency;
use super::json::{ApiJson, ApiPath, BodyHash};
use super::models::{self, Started};
use super::{ApiError, ApiResult, AppState, Session, predictors, schedules};
use crate::domain::Timestamp;
use crate::domain::dataset::{Dataset, DatasetSchema};
use crate::domain::id::{AccountId, JobId, ModelId};
use crate::domain::predictor::{Predictor, PredictorDefinition};
use crate::domain::schedule::{Activate, MAX_MINUTES, Schedule, Task, retraining_id};
use crate::domain::schema::Role;
use crate::store::{Batch, Key, StoreExt, Stored};

const MINUTES_PER_HOUR: u32 = 60;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(put, show, remove)).routes(routes!(run))
}

/// When and how to train again.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetrainingBody {
    /// 1 to 8784 (a year).
    #[schema(minimum = 1, maximum = 8784)]
    pub every_hours: u32,
    /// A model of the predictor that has been trained before.
    pub model_id: String,
    /// `if_better` when absent.
    pub activate: Option<Activate>,
    /// True when absent.
    pub enabled: Option<bool>,
}

/// A predictor's retraining as it stands. What its last run found is the model's `comparison`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RetrainingAnswer {
    pub every_hours: u32,
    #[schema(value_type = String)]
    pub model_id: ModelId,
    pub activate: Activate,
    pub enabled: bool,
    /// Null while it is not enabled.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_due: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_run: Option<Timestamp>,
    #[schema(value_type = Option<String>)]
    pub last_job_id: Option<JobId>,
}

impl RetrainingAnswer {
    fn of(schedule: &Schedule) -> Option<Self> {
        let Task::Retrain { model_id, activate, .. } = &schedule.task else { return None };
        Some(Self {
            every_hours: schedule.every_minutes / MINUTES_PER_HOUR,
            model_id: model_id.clone(),
            activate: *activate,
            enabled: schedule.enabled,
            next_due: schedule.enabled.then_some(schedule.next_due),
            last_run: schedule.last_run,
            last_job_id: schedule.last_job.clone(),
        })
    }
}

/// Sets or changes the schedule. Each run trains with the model's settings on the dataset as it then is. The new version replaces the one
/// before only when it predicts the newest rows better, which neither has seen, and the whole 95 % interval of the difference is above 0.
#[utoipa::path(put, path = "/api/v1/predictors/{predictor}/retraining", tag = "models",
    params(("predictor" = String, Path, description = "Id or name")), request_body = RetrainingBody,
    responses(
        (status = OK, body = RetrainingAnswer),
        (status = NOT_FOUND, body = ProblemBody, description = "`predictor_not_found`, `model_not_found`"),
        (status = CONFLICT, body = ProblemBody, description = "`not_trained`"),
        (status = UNPROCESSABLE_ENTITY, body = ProblemBody,
            description = "`bad_schedule`, `composite_predictor`, `model_of_other_predictor`, `no_timestamp_field`")))]
async fn put(
    State(app): State<AppState>,
    session: Session,
    ApiPath(predictor): ApiPath<String>,
    ApiJson(body): ApiJson<RetrainingBody>,
) -> ApiResult<Json<RetrainingAnswer>> {
    let predictor = predictors::load(&app, &session.account_id, &predictor).await?.value;
    let most = MAX_MINUTES / MINUTES_PER_HOUR;
    if !(1..=most).contains(&body.every_hours) {
        let text =
            format!("`every_hours` is {}; it is 1 to {most}. To stop, set `enabled` to false.", body.every_hours);
        return Err(ApiError::unprocessable("bad_schedule", text).field("every_hours", format!("1 to {most}")));
    }
    let model_id = check_model(&app, &session.account_id, &predictor, &body.model_id).await?;
    check_times(&app, &predictor).await?;
    let task = Task::Retrain {
        predictor_id: predictor.id.clone(),
        model_id,
        activate: body.activate.unwrap_or(Activate::IfBetter),
    };
    let (every_minutes, enabled) = (body.every_hours * MINUTES_PER_HOUR, body.enabled.unwrap_or(true));
    let schedule = schedules::set(&app, &session.account_id, task, every_minutes, enabled).await?;
    answer(&schedule)
}

fn answer(schedule: &Schedule) -> ApiResult<Json<RetrainingAnswer>> {
    let found = RetrainingAnswer::of(schedule);
    found.map(Json).ok_or_else(|| ApiError::internal("a retraining's schedule is of another kind"))
}

async fn check_model(app: &AppState, account: &AccountId, predictor: &Predictor, id: &str) -> ApiResult<ModelId> {
    if matches!(predictor.definition, PredictorDefinition::Composite { .. }) {
        let text =
            "A composite predictor has no models of its own: set the retraining of the predictors that it combines.";
        return Err(ApiError::unprocessable("composite_predictor", text));
    }
    let model = models::load(app, account, id).await?.value;
    if model.predictor_id != predictor.id {
        let text = format!("The model {id} belongs to another predictor ({}).", model.predictor_id);
        return Err(ApiError::unprocessable("model_of_other_predictor", text).field("model_id", "of another predictor"));
    }
    if model.artifact.is_none() {
        return Err(models::not_trained());
    }
    Ok(model.id)
}

/// Without times nobody knows which rows are new.
async fn check_times(app: &AppState, predictor: &Predictor) -> ApiResult<()> {
    let PredictorDefinition::Simple { dataset_id, .. } = &predictor.definition else { return Ok(()) };
    let key = Key::new(predictor.account_id.as_str(), dataset_id.as_str());
    let Some(dataset) = app.ctx.store.load::<Dataset>(&key).await? else { return Ok(()) };
    let key = Key::new(dataset_id.as_str(), format!("{:012}", dataset.value.schema_version));
    let schema = app.ctx.store.load::<DatasetSchema>(&key).await?;
    if schema.is_none_or(|schema| schema.value.schema.with_role(Role::Timestamp).is_some()) {
        return Ok(());
    }
    let text = "No field of the predictor's dataset has the role timestamp, so new rows cannot be told from those that the \
                model has learned from: give it to one first (PUT /api/v1/datasets/{id}/schema).";
    Err(ApiError::unprocessable("no_timestamp_field", text))
}

async fn load(app: &AppState, account: &AccountId, predictor: &str) -> ApiResult<Stored<Schedule>> {
    let predictor = predictors::load(app, account, predictor).await?.value;
    let found = app.ctx.store.load::<Schedule>(&Key::new(account.as_str(), retraining_id(&predictor.id))).await?;
    found.ok_or_else(|| {
        let text = format!(
            "The predictor {} has no retraining: PUT /api/v1/predictors/{}/retraining sets it.",
            predictor.name, predictor.id
        );
        ApiError::new(StatusCode::NOT_FOUND, "schedule_not_found", text)
    })
}

/// The schedule.
#[utoipa::path(get, path = "/api/v1/predictors/{predictor}/retraining", tag = "models",
    params(("predictor" = String, Path, description = "Id or name")),
    responses(
        (status = OK, body = RetrainingAnswer),
        (status = NOT_FOUND, body = ProblemBody, description = "`predictor_not_found`, `schedule_not_found`")))]
async fn show(
    State(app): State<AppState>,
    session: Session,
    ApiPath(predictor): ApiPath<String>,
) -> ApiResult<Json<RetrainingAnswer>> {
    answer(&load(&app, &session.account_id, &predictor).await?.value)
}

/// Ends the schedule. A run that is under way goes on.
#[utoipa::path(delete, path = "/api/v1/predictors/{predictor}/retraining", tag = "models",
    params(("predictor" = String, Path, description = "Id or name")),
    responses(
        (status = NO_CONTENT),
        (status = NOT_FOUND, body = ProblemBody, description = "`predictor_not_found`, `schedule_not_found`")))]
async fn remove(
    State(app): State<AppState>,
    session: Session,
    ApiPath(predictor): ApiPath<String>,
) -> ApiResult<StatusCode> {
    let schedule = load(&app, &session.account_id, &predictor).await?;
    schedules::remove(&app, &schedule).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Trains and compares now, without waiting for the due time.
#[utoipa::path(post, path = "/api/v1/predictors/{predictor}/retraining/run", tag = "models",
    params(("predictor" = String, Path, description = "Id or name")),
    responses(
        (status = ACCEPTED, body = Started),
        (status = NOT_FOUND, body = ProblemBody, description = "`predictor_not_found`, `schedule_not_found`"),
        (status = CONFLICT, body = ProblemBody, description = "`already_running`, `schedule_disabled`")))]
async fn run(
    State(app): State<AppState>,
    session: Session,
    mut idem: Idempotency,
    ApiPath(predictor): ApiPath<String>,
) -> ApiResult<Response> {
    if let Some(saved) = idem.replay(&app, &session, &BodyHash::default()).await? {
        return Ok(saved);
    }
    let schedule = load(&app, &session.account_id, &predictor).await?;
    if !schedule.value.enabled {
        let text = "The retraining is not enabled: PUT it with `enabled` true first, or train by POST /api/v1/models/{id}/train.";
        return Err(ApiError::conflict("schedule_disabled", text));
    }
    let started = |job_id| Started { job_id };
    let answer = schedules::start_now(&app, schedule, Batch::new(), &mut idem, started).await?;
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}
