//! Outcome datasets: a predictor's score log as data to learn from, refreshed on a schedule.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{DatasetBody, StartedJob, load};
use crate::domain::Timestamp;
use crate::domain::dataset::{Dataset, DatasetSchema, DatasetState, OutcomeSource};
use crate::domain::id::{DatasetId, JobId};
use crate::domain::predictor::PredictorDefinition;
use crate::domain::profile::ProfileKind;
use crate::domain::schedule::{MAX_MINUTES, Schedule, Task, refresh_id};
use crate::http::error::ProblemBody;
use crate::http::idempotency::Idempotency;
use crate::http::json::{ApiBytes, ApiJson, ApiPath, BodyHash, HashedJson, parse};
use crate::http::{ApiError, ApiResult, AppState, Session, predictors, schedules};
use crate::jobs::dataset_change::load_schema;
use crate::jobs::dataset_outcomes::RefreshOutcomes;
use crate::jobs::{enqueue, outcome_rows};
use crate::profiles::{self, Profile};
use crate::store::{Batch, Key, StoreExt};

/// The most characters of a dataset's name.
const MAX_NAME_CHARACTERS: usize = 200;

/// A dataset to be made of a predictor's score log.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OutcomeDatasetBody {
    /// `<predictor> outcomes` when absent.
    pub name: Option<String>,
    /// 1 to 527040 (a year). Without it the dataset is refreshed only by POST …/refresh.
    #[schema(minimum = 1, maximum = 527040)]
    pub refresh_minutes: Option<u32>,
}

/// The dataset, and the job that fills it for the first time.
#[derive(Debug, Serialize, ToSchema)]
pub struct OutcomeDatasetAnswer {
    pub dataset: DatasetBody,
    pub job_id: String,
}

/// Where an outcome dataset comes from, and how it is kept fresh.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SourceBody {
    pub predictor_id: String,
    /// None: only when asked for. Told of a single dataset, not in lists.
    pub refresh_minutes: Option<u32>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_refresh_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub refreshed_at: Option<Timestamp>,
    /// Of the last refresh.
    pub last_rows_added: u64,
    pub last_rows_updated: u64,
}

impl SourceBody {
    pub fn new(source: OutcomeSource, schedule: Option<&Schedule>) -> Self {
        let schedule = schedule.filter(|schedule| schedule.enabled);
        Self {
            predictor_id: source.predictor_id.to_string(),
            refresh_minutes: schedule.map(|schedule| schedule.every_minutes),
            next_refresh_at: schedule.map(|schedule| schedule.next_due),
            refreshed_at: source.refreshed_at,
            last_rows_added: source.last_rows_added,
            last_rows_updated: source.last_rows_updated,
        }
    }
}

/// The dataset with its refresh.
pub async fn describe(app: &AppState, dataset: Dataset) -> ApiResult<DatasetBody> {
    let source = dataset.source.clone();
    let key = Key::new(dataset.account_id.as_str(), refresh_id(&dataset.id));
    let mut body = DatasetBody::from(dataset);
    if let Some(source) = source {
        let schedule = app.ctx.store.load::<Schedule>(&key).await?;
        body.source = Some(SourceBody::new(source, schedule.as_ref().map(|stored| &stored.value)));
    }
    Ok(body)
}

fn check_minutes(minutes: u32) -> ApiResult<()> {
    if (1..=MAX_MINUTES).contains(&minutes) {
        return Ok(());
    }
    let text =
        format!("`refresh_minutes` is {minutes}; it is 1 to {MAX_MINUTES}. Leave it out to refresh only when asked.");
    Err(ApiError::unprocessable("bad_schedule", text).field("refresh_minutes", format!("1 to {MAX_MINUTES}")))
}

/// Makes a dataset of the predictor's score log: one row an interaction, with the features that were scored and the metric under its
/// name. Later refreshes add new interactions and update those of which more was told, each refresh as one version.
#[utoipa::path(post, path = "/api/v1/predictors/{predictor}/outcome_dataset", tag = "datasets",
    params(("predictor" = String, Path, description = "Id or name")), request_body = OutcomeDatasetBody,
    responses(
        (status = CREATED, body = OutcomeDatasetAnswer),
        (status = NOT_FOUND, body = ProblemBody, description = "`predictor_not_found`"),
        (status = UNPROCESSABLE_ENTITY, body = ProblemBody, description = "`bad_schedule`, `bad_name`, `composite_predictor`")))]
pub async fn create(
    State(app): State<AppState>,
    session: Session,
    mut idem: Idempotency,
    ApiPath(predictor): ApiPath<String>,
    HashedJson(body, hash): HashedJson<OutcomeDatasetBody>,
) -> ApiResult<Response> {
    if let Some(saved) = idem.replay(&app, &session, &hash).await? {
        return Ok(saved);
    }
    let account = &session.account_id;
    let predictor = predictors::load(&app, account, &predictor).await?.value;
    body.refresh_minutes.map_or(Ok(()), check_minutes)?;
    let name = body.name.unwrap_or_else(|| format!("{} outcomes", predictor.name));
    if !(1..=MAX_NAME_CHARACTERS).contains(&name.trim().chars().count()) {
        let text = format!("A dataset's name has 1 to {MAX_NAME_CHARACTERS} characters.");
        return Err(ApiError::unprocessable("bad_name", text).field("name", "too short or too long"));
    }
    let PredictorDefinition::Simple { dataset_id, .. } = &predictor.definition else {
        let text = "A composite predictor has no metric: make outcome datasets of the predictors that it combines.";
        return Err(ApiError::unprocessable("composite_predictor", text));
    };
    let of_dataset = app.ctx.store.load::<Dataset>(&Key::new(account.as_str(), dataset_id.as_str())).await?;
    let of_dataset = of_dataset.ok_or_else(|| ApiError::not_found("dataset", dataset_id))?.value;
    let known = load_schema(&app.ctx, dataset_id, of_dataset.schema_version).await.map_err(super::problem)?;
    let customers =
        profiles::schema::load(&app.ctx.store, &Profile::new(account.clone(), ProfileKind::Customers)).await?;
    let schema = outcome_rows::schema(&predictor.definition, &known, &customers.value.schema)
        .ok_or_else(|| ApiError::internal("a simple predictor has a schema of outcomes"))?;
    let now = app.ctx.clock.now();
    let id = DatasetId::generate(now);
    let mut batch = Batch::new();
    let job = enqueue(&mut batch, &app.ctx, account, &RefreshOutcomes { dataset_id: id.clone() })
        .map_err(ApiError::internal)?;
    let dataset = Dataset {
        schema_version: schema.version,
        last_job: Some(job.clone()),
        source: Some(OutcomeSource {
            predictor_id: predictor.id,
            read_from: None,
            refreshed_at: None,
            last_rows_added: 0,
            last_rows_updated: 0,
        }),
        ..Dataset::new(id.clone(), account.clone(), name, DatasetState::Ready, now)
    };
    batch.insert(&dataset);
    batch.insert(&DatasetSchema { dataset_id: id.clone(), schema, created_at: now });
    let schedule = body.refresh_minutes.map(|minutes| {
        let task = Task::RefreshOutcomes { dataset_id: id };
        Schedule { last_job: Some(job.clone()), ..Schedule::new(account.clone(), task, minutes, true, now) }
    });
    if let Some(schedule) = &schedule {
        batch.insert(schedule);
    }
    let source = dataset.source.clone().map(|source| SourceBody::new(source, schedule.as_ref()));
    let dataset = DatasetBody { source, ..dataset.into() };
    let answer = OutcomeDatasetAnswer { dataset, job_id: job.to_string() };
    idem.record(&mut batch, StatusCode::CREATED, &answer);
    app.ctx.store.commit(batch).await.map_err(|error| idem.explain(error))?;
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// How often an outcome dataset is refreshed.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshSchedule {
    /// Null: only when asked for.
    #[schema(minimum = 1, maximum = 527040)]
    pub refresh_minutes: Option<u32>,
}

/// Changes how often an outcome dataset is refreshed.
#[utoipa::path(put, path = "/api/v1/datasets/{id}/refresh", tag = "datasets", params(("id" = String, Path)),
    request_body = RefreshSchedule,
    responses((status = OK, body = DatasetBody),
        (status = NOT_FOUND, body = ProblemBody, description = "`dataset_not_found`"),
        (status = CONFLICT, body = ProblemBody, description = "`no_outcome_dataset`"),
        (status = UNPROCESSABLE_ENTITY, body = ProblemBody, description = "`bad_schedule`")))]
pub async fn put_refresh(
    State(app): State<AppState>,
    session: Session,
    ApiPath(id): ApiPath<String>,
    ApiJson(body): ApiJson<RefreshSchedule>,
) -> ApiResult<Json<DatasetBody>> {
    let dataset = load(&app, &session, &id).await?.value;
    check_source(&dataset)?;
    let task = Task::RefreshOutcomes { dataset_id: dataset.id.clone() };
    match body.refresh_minutes {
        Some(minutes) => {
            check_minutes(minutes)?;
            schedules::set(&app, &session.account_id, task, minutes, true).await?;
        }
        None => {
            let key = Key::new(session.account_id.as_str(), task.id());
            if let Some(schedule) = app.ctx.store.load::<Schedule>(&key).await? {
                schedules::remove(&app, &schedule).await?;
            }
        }
    }
    Ok(Json(describe(&app, dataset).await?))
}

/// How to refresh.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    /// Read the whole score log again, not only what was told since the last refresh: brings back rows that a revert or a deleted
    /// period took away.
    #[serde(default)]
    pub all: bool,
}

/// Refreshes an outcome dataset now.
#[utoipa::path(post, path = "/api/v1/datasets/{id}/refresh", tag = "datasets", params(("id" = String, Path)),
    request_body(content = Option<Refresh>),
    responses((status = ACCEPTED, body = StartedJob),
        (status = NOT_FOUND, body = ProblemBody, description = "`dataset_not_found`"),
        (status = CONFLICT, body = ProblemBody, description = "`no_outcome_dataset`, `already_running`")))]
pub async fn refresh(
    State(app): State<AppState>,
    session: Session,
    mut idem: Idempotency,
    ApiPath(id): ApiPath<String>,
    ApiBytes(bytes): ApiBytes,
) -> ApiResult<Response> {
    if let Some(saved) = idem.replay(&app, &session, &BodyHash::of(&bytes)).await? {
        return Ok(saved);
    }
    let body: Refresh = if bytes.is_empty() { Refresh::default() } else { parse(&bytes)? };
    let mut dataset = load(&app, &session, &id).await?;
    check_source(&dataset.value)?;
    let key = Key::new(session.account_id.as_str(), refresh_id(&dataset.value.id));
    let mut batch = Batch::new();
    if body.all
        && let Some(source) = &mut dataset.value.source
    {
        source.read_from = None;
        dataset.value.updated_at = app.ctx.clock.now();
        batch.replace(&dataset);
    }
    let started = |job: JobId| StartedJob { job_id: job.to_string() };
    let answer = match app.ctx.store.load::<Schedule>(&key).await? {
        // Through the schedule, so that the two never run side by side.
        Some(schedule) => schedules::start_now(&app, schedule, batch, &mut idem, started).await?,
        None => {
            let job = RefreshOutcomes { dataset_id: dataset.value.id };
            let answer = started(enqueue(&mut batch, &app.ctx, &session.account_id, &job).map_err(ApiError::internal)?);
            idem.record(&mut batch, StatusCode::ACCEPTED, &answer);
            app.ctx.store.commit(batch).await.map_err(|error| idem.explain(error))?;
            answer
        }
    };
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

fn check_source(dataset: &Dataset) -> ApiResult<()> {
    if dataset.source.is_some() {
        return Ok(());
    }
    let text = "The dataset is not made from a score log, so there is nothing to refresh. POST \
                /api/v1/predictors/{id}/outcome_dataset makes one that is.";
    Err(ApiError::conflict("no_outcome_dataset", text))
}
