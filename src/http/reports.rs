//! `/api/v1/reports`: what can be said of data, predictors and models.
//!
//! Quality and coverage of a model are computed by its training, so their reports are ready when they are
//! asked for. A job makes the other kinds.

mod options;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::ProblemBody;
use super::idempotency::Idempotency;
use super::json::{ApiPath, HashedJson};
use super::lists::{ListBody, ListParams, ListQuery};
use super::{ApiError, ApiResult, AppState, Session, datasets, models, predictors};
use crate::domain::Timestamp;
use crate::domain::id::{JobId, ModelId, PredictorId, ReportId};
use crate::domain::model::Model;
use crate::domain::predictor::{Predictor, PredictorDefinition};
use crate::domain::report::{Report, ReportKind, ReportOptions, ReportState};
use crate::jobs::enqueue;
use crate::jobs::make_report::{self, MakeReport};
use crate::store::{Batch, Collection, Condition, Key, Op, Path, Query, StoreExt, Stored};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(show, remove))
}

/// A report to make.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportBody {
    pub kind: ReportKind,
    /// Of `model_quality`, `agent_coverage`, `lift_estimation`, and of a `feature_analysis` of one model's features.
    pub model_id: Option<String>,
    /// Id or name; of `agent_variance`, and of a `feature_analysis` of all the predictor's features.
    pub predictor_id: Option<String>,
    /// In place of `predictor_id` where one predictor alone learns from the dataset.
    pub dataset_id: Option<String>,
    /// Lift estimation: numbers of agents free at a moment, 1 to 1,000 each, at most 20.
    pub agents_free: Option<Vec<u32>>,
    /// Lift estimation and agent variance: a context or customer field by whose values the report is broken down.
    pub segment_by: Option<String>,
}

/// A report.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ReportAnswer {
    #[schema(value_type = String)]
    pub id: ReportId,
    pub kind: ReportKind,
    #[schema(value_type = String)]
    pub predictor_id: PredictorId,
    #[schema(value_type = Option<String>)]
    pub model_id: Option<ModelId>,
    /// The version that the model had when the report was asked for.
    pub model_version: Option<u32>,
    pub options: ReportOptions,
    pub state: ReportState,
    /// Why it failed.
    pub error: Option<String>,
    /// The job that computes it; of quality and coverage, the training that did (null for one trained before this was
    /// kept).
    #[schema(value_type = Option<String>)]
    pub job_id: Option<JobId>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// The report itself once it is ready; left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub content: Option<Value>,
}

impl From<Report> for ReportAnswer {
    fn from(report: Report) -> Self {
        Self {
            id: report.id,
            kind: report.kind,
            predictor_id: report.predictor_id,
            model_id: report.model_id,
            model_version: report.model_version,
            options: report.options,
            state: report.state,
            error: report.error,
            job_id: report.job_id,
            created_at: report.created_at,
            updated_at: report.updated_at,
            content: None,
        }
    }
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ReportStarted {
    #[schema(value_type = String)]
    pub id: ReportId,
    /// See the report's `job_id`.
    #[schema(value_type = Option<String>)]
    pub job_id: Option<JobId>,
}

/// Makes a report.
#[utoipa::path(post, path = "/api/v1/reports", tag = "reports", request_body = ReportBody,
    responses(
        (status = ACCEPTED, body = ReportStarted),
        (status = NOT_FOUND, body = ProblemBody, description = "`model_not_found`, `predictor_not_found`, `dataset_not_found`"),
        (status = CONFLICT, body = ProblemBody, description = "`not_trained`"),
        (status = UNPROCESSABLE_ENTITY, body = ProblemBody, description = "`invalid_body`, `no_models`")))]
async fn create(
    State(app): State<AppState>,
    session: Session,
    mut idem: Idempotency,
    HashedJson(body, hash): HashedJson<ReportBody>,
) -> ApiResult<Response> {
    if let Some(saved) = idem.replay(&app, &session, &hash).await? {
        return Ok(saved);
    }
    options::check(&body)?;
    let (predictor, model) = subject(&app, &session, &body).await?;
    if let Some(field) = &body.segment_by {
        options::check_segment(&app, body.kind, field, &predictor, model.as_ref()).await?;
    }
    let now = app.ctx.clock.now();
    let mut report = Report {
        id: ReportId::generate(now),
        account_id: session.account_id.clone(),
        kind: body.kind,
        predictor_id: predictor.id,
        model_version: model.as_ref().map(|model| model.version),
        model_id: model.as_ref().map(|model| model.id.clone()),
        options: ReportOptions { agents_free: body.agents_free, segment_by: body.segment_by },
        state: ReportState::Queued,
        error: None,
        job_id: None,
        chunks: 0,
        created_at: now,
        updated_at: now,
    };
    let mut batch = Batch::new();
    match (body.kind, &model) {
        (ReportKind::ModelQuality | ReportKind::AgentCoverage, Some(model)) => {
            let content = match &model.quality {
                None => return Err(models::not_trained()),
                Some(quality) if body.kind == ReportKind::ModelQuality => {
                    models::whole_quality(&app, model, quality.clone()).await?
                }
                Some(_) => json!(models::read_coverage(&app, model).await?),
            };
            make_report::put_content(&mut batch, &mut report, &content).map_err(ApiError::internal)?;
            // The model's own `job_id` is that of its last training, which may have failed or be under way.
            report.job_id = model.trained_on.as_ref().and_then(|on| JobId::parse(on["job_id"].as_str()?).ok());
        }
        _ => {
            let job = MakeReport { report_id: report.id.clone() };
            let job_id = enqueue(&mut batch, &app.ctx, &session.account_id, &job).map_err(ApiError::internal)?;
            report.job_id = Some(job_id);
        }
    }
    batch.insert(&report);
    let answer = ReportStarted { id: report.id, job_id: report.job_id };
    idem.record(&mut batch, StatusCode::ACCEPTED, &answer);
    app.ctx.store.commit(batch).await.map_err(|error| idem.explain(error))?;
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

/// The predictor, and the model when the report is about one.
async fn subject(app: &AppState, session: &Session, body: &ReportBody) -> ApiResult<(Predictor, Option<Model>)> {
    let refuse = |path: &str, text: &str| Err(ApiError::unprocessable("invalid_body", text).field(path, text));
    let (of_model, of_predictor) = match body.kind {
        ReportKind::ModelQuality | ReportKind::AgentCoverage | ReportKind::LiftEstimation => (true, false),
        ReportKind::AgentVariance => (false, true),
        ReportKind::FeatureAnalysis => (true, true),
    };
    let predictor = match (&body.model_id, &body.predictor_id, &body.dataset_id) {
        (Some(_), Some(_), _) => return refuse("predictor_id", "Give either model_id or predictor_id."),
        (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
            return refuse(
                "dataset_id",
                "A report is about one thing: give model_id, predictor_id or dataset_id alone.",
            );
        }
        (Some(id), None, None) if of_model => {
            let model = models::load(app, &session.account_id, id).await?.value;
            let predictor = predictors::load(app, &session.account_id, model.predictor_id.as_str()).await?.value;
            (predictor, Some(model))
        }
        (None, Some(id), None) if of_predictor => (predictors::load(app, &session.account_id, id).await?.value, None),
        (None, None, Some(id)) if of_predictor => (only_predictor(app, session, id).await?, None),
        _ if of_model && of_predictor => return refuse("model_id", "Give model_id or predictor_id."),
        _ if of_model => return refuse("model_id", "This kind of report is about a model: give model_id alone."),
        _ => return refuse("predictor_id", "This kind of report is about a predictor: give predictor_id alone."),
    };
    if matches!(predictor.0.definition, PredictorDefinition::Composite { .. }) {
        let text = "A composite predictor has no data of its own: ask for reports of the predictors that it combines.";
        return Err(ApiError::unprocessable("no_models", text));
    }
    Ok(predictor)
}

/// A dataset alone says neither what is to be predicted nor from what: its predictor does.
async fn only_predictor(app: &AppState, session: &Session, dataset: &str) -> ApiResult<Predictor> {
    let dataset = datasets::load(app, session, dataset).await?.value;
    let mut predictors = datasets::predictors_of(app, &dataset).await?;
    let text = match predictors.as_slice() {
        [_] => return Ok(predictors.remove(0)),
        [] => "No predictor learns from this dataset: create one, which says what is to be predicted and from what."
            .to_owned(),
        several => {
            let names: Vec<&str> = several.iter().map(|predictor| predictor.name.as_str()).collect();
            format!("Several predictors learn from this dataset: name one of {} as predictor_id.", names.join(", "))
        }
    };
    Err(ApiError::unprocessable("invalid_body", text.clone()).field("dataset_id", text))
}

/// Filters of the list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ReportFilters {
    #[param(inline)]
    kind: Option<ReportKind>,
    /// Only reports of the model with this id.
    model_id: Option<String>,
    /// Only reports of the predictor with this id, or of its models.
    predictor_id: Option<String>,
}

/// Lists reports by id, which is by age.
#[utoipa::path(get, path = "/api/v1/reports", tag = "reports", params(ListParams, ReportFilters),
    responses((status = OK, body = ListBody<ReportAnswer>)))]
async fn list(
    State(app): State<AppState>,
    session: Session,
    ListQuery(params, filters): ListQuery<ReportFilters>,
) -> ApiResult<Json<ListBody<ReportAnswer>>> {
    let mut query = Query::new(Collection::Reports, session.account_id.as_str());
    if let Some(kind) = filters.kind {
        let word = serde_json::to_value(kind).map_err(ApiError::internal)?;
        query = query.filter(Condition::equal(Path::key("kind"), word));
    }
    if let Some(model) = filters.model_id {
        query = query.filter(Condition::equal(Path::key("model_id"), model));
    }
    if let Some(predictor) = filters.predictor_id {
        query = query.filter(Condition::equal(Path::key("predictor_id"), predictor));
    }
    let query = params.apply(query, &["kind", "created_at"])?;
    let (reports, next) = app.ctx.store.list::<Report>(&query).await?;
    Ok(Json(ListBody { items: reports.into_iter().map(|stored| stored.value.into()).collect(), next }))
}

#[utoipa::path(get, path = "/api/v1/reports/{id}", tag = "reports", params(("id" = String, Path)),
    responses((status = OK, body = ReportAnswer), (status = NOT_FOUND, body = ProblemBody)))]
async fn show(
    State(app): State<AppState>,
    session: Session,
    ApiPath(id): ApiPath<String>,
) -> ApiResult<Json<ReportAnswer>> {
    let report = load(&app, &session, &id).await?.value;
    let content = match report.state {
        ReportState::Ready => match make_report::read_content(&app.ctx.store, &report).await? {
            Some(content) => Some(content),
            None => return Err(ApiError::internal(format!("{} has no content", report.id))),
        },
        _ => None,
    };
    Ok(Json(ReportAnswer { content, ..report.into() }))
}

/// Deletes a report. One that is being made is cancelled by its job, not here.
#[utoipa::path(delete, path = "/api/v1/reports/{id}", tag = "reports", params(("id" = String, Path)),
    responses(
        (status = NO_CONTENT),
        (status = NOT_FOUND, body = ProblemBody),
        (status = CONFLICT, body = ProblemBody, description = "`report_in_progress`")))]
async fn remove(State(app): State<AppState>, session: Session, ApiPath(id): ApiPath<String>) -> ApiResult<StatusCode> {
    let report = load(&app, &session, &id).await?;
    if matches!(report.value.state, ReportState::Queued | ReportState::Running) {
        let job = report.value.job_id.as_ref().map(ToString::to_string).unwrap_or_default();
        let text = format!(
            "The report is being made by {job}. Wait for that job, or cancel it: POST /api/v1/jobs/{job}/cancel."
        );
        return Err(ApiError::conflict("report_in_progress", text).with("job_id", job));
    }
    let mut batch = Batch::new();
    batch.delete(&report);
    let scope = make_report::content_scope(&report.value.id);
    for id in app.ctx.store.list_blobs(&scope).await? {
        batch.push(Op::DeleteBlob { key: Key::new(scope.clone(), id) });
    }
    app.ctx.store.commit(batch).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn load(app: &AppState, session: &Session, id: &str) -> ApiResult<Stored<Report>> {
    let key = Key::new(session.account_id.as_str(), id);
    app.ctx.store.load::<Report>(&key).await?.ok_or_else(|| ApiError::not_found("report", id))
}
