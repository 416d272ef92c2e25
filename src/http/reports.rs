//! `/api/v1/reports`: what can be said of data, predictors and models.
//!
//! Quality and coverage of a model are computed by its training, so their reports are ready when they are
//! asked for. The other kinds are refused until they are built: never accepted and ignored.

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
use super::models;
use super::{ApiError, ApiResult, AppState, Session};
use crate::domain::Timestamp;
use crate::domain::id::{AccountId, JobId, ModelId, ReportId};
use crate::store::{Batch, Collection, Condition, Key, Path, Query, Record, StoreExt};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(show))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReportKind {
    FeatureAnalysis,
    AgentVariance,
    LiftEstimation,
    ModelQuality,
    AgentCoverage,
}

/// A report to make.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportBody {
    pub kind: ReportKind,
    pub model_id: Option<String>,
    pub predictor_id: Option<String>,
    pub dataset_id: Option<String>,
}

/// A report. Quality and coverage are answered as the model has them now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ReportAnswer {
    #[schema(value_type = String)]
    pub id: ReportId,
    pub kind: ReportKind,
    #[schema(value_type = String)]
    pub model_id: ModelId,
    pub model_version: u32,
    /// `ready`.
    pub state: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// The report itself; left out of lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub content: Option<Value>,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ReportStarted {
    #[schema(value_type = String)]
    pub id: ReportId,
    /// The job that computed it: the training of the model's present version. Null for one trained before this was
    /// kept.
    #[schema(value_type = Option<String>)]
    pub job_id: Option<JobId>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredReport {
    account_id: AccountId,
    #[serde(flatten)]
    report: ReportAnswer,
}

impl Record for StoredReport {
    const COLLECTION: Collection = Collection::Reports;
    fn key(&self) -> Key {
        Key::new(self.account_id.as_str(), self.report.id.as_str())
    }
}

/// Makes a report.
#[utoipa::path(post, path = "/reports", tag = "reports", request_body = ReportBody,
    responses(
        (status = ACCEPTED, body = ReportStarted),
        (status = NOT_FOUND, body = ProblemBody, description = "`model_not_found`"),
        (status = CONFLICT, body = ProblemBody, description = "`not_trained`"),
        (status = UNPROCESSABLE_ENTITY, body = ProblemBody, description = "`not_available`")))]
async fn create(
    State(app): State<AppState>,
    session: Session,
    mut idem: Idempotency,
    HashedJson(body, hash): HashedJson<ReportBody>,
) -> ApiResult<Response> {
    if let Some(saved) = idem.replay(&app, &session, &hash).await? {
        return Ok(saved);
    }
    if !matches!(body.kind, ReportKind::ModelQuality | ReportKind::AgentCoverage) {
        let text = "Feature analysis, agent variance and lift estimation are not available in this version. \
                    Available kinds: model_quality, agent_coverage.";
        return Err(ApiError::unprocessable("not_available", text).field("kind", "not available"));
    }
    for (path, given) in [("predictor_id", &body.predictor_id), ("dataset_id", &body.dataset_id)] {
        if given.is_some() {
            let text = format!("This kind of report is about a model: give model_id and leave {path} out.");
            return Err(ApiError::unprocessable("invalid_body", text).field(path, "not for this kind"));
        }
    }
    let Some(model_id) = &body.model_id else {
        let text = "This kind of report is about a model: give model_id.";
        return Err(ApiError::unprocessable("invalid_body", text).field("model_id", "missing"));
    };
    let model = models::load(&app, &session.account_id, model_id).await?.value;
    let content = match body.kind {
        ReportKind::AgentCoverage => json!(models::read_coverage(&app, &model).await?),
        _ => match &model.quality {
            Some(quality) => quality.clone(),
            None => return Err(models::not_trained()),
        },
    };
    // The model's own `job_id` is that of its last training, which may have failed or be under way.
    let trained_by = model.trained_on.as_ref().and_then(|on| JobId::parse(on["job_id"].as_str()?).ok());
    let now = app.ctx.clock.now();
    let report = ReportAnswer {
        id: ReportId::generate(now),
        kind: body.kind,
        model_id: model.id,
        model_version: model.version,
        state: "ready".to_owned(),
        created_at: now,
        content: Some(content),
    };
    let answer = ReportStarted { id: report.id.clone(), job_id: trained_by };
    let mut batch = Batch::new();
    batch.insert(&StoredReport { account_id: session.account_id.clone(), report });
    idem.record(&mut batch, StatusCode::ACCEPTED, &answer);
    app.ctx.store.commit(batch).await.map_err(|error| idem.explain(error))?;
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

/// Filters of the list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ReportFilters {
    #[param(inline)]
    kind: Option<ReportKind>,
    /// Only reports of the model with this id.
    model_id: Option<String>,
}

/// Lists reports by id, which is by age.
#[utoipa::path(get, path = "/reports", tag = "reports", params(ListParams, ReportFilters),
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
    let query = params.apply(query, &["kind", "created_at"])?;
    let (reports, next) = app.ctx.store.list::<StoredReport>(&query).await?;
    let items = reports.into_iter().map(|stored| ReportAnswer { content: None, ..stored.value.report }).collect();
    Ok(Json(ListBody { items, next }))
}

#[utoipa::path(get, path = "/reports/{id}", tag = "reports", params(("id" = String, Path)),
    responses((status = OK, body = ReportAnswer), (status = NOT_FOUND, body = ProblemBody)))]
async fn show(
    State(app): State<AppState>,
    session: Session,
    ApiPath(id): ApiPath<String>,
) -> ApiResult<Json<ReportAnswer>> {
    let key = Key::new(session.account_id.as_str(), id.as_str());
    let found = app.ctx.store.load::<StoredReport>(&key).await?;
    Ok(Json(found.ok_or_else(|| ApiError::not_found("report", &id))?.value.report))
}
