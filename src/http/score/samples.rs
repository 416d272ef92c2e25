//! `GET /api/v1/scores/{request_id}`: what a recent score came from, computed once more.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::domain::Timestamp;
use crate::domain::id::{ModelId, PredictorId, RequestId};
use crate::domain::score_log::Mode;
use crate::http::error::ProblemBody;
use crate::http::json::ApiPath;
use crate::http::{ApiError, ApiResult, AppState, Session};
use crate::live::artifacts;
use crate::production::{SampledAgent, SampledScore, ScoreSample};
use crate::score::DefaultPolicy;
use crate::store::{Key, StoreExt};

/// A score request that was kept whole.
#[derive(Debug, Serialize, ToSchema)]
pub struct SampleAnswer {
    pub request_id: String,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    #[schema(value_type = String)]
    pub predictor_id: PredictorId,
    pub predictor_name: String,
    #[schema(value_type = String)]
    pub model_id: ModelId,
    pub model_version: u32,
    pub mode: Mode,
    pub score_expression: Option<String>,
    pub context_id: Option<String>,
    /// As the request had it.
    #[schema(value_type = Object)]
    pub context: Map<String, Value>,
    /// The customer's fields that the model read; null when there was no such customer.
    #[schema(value_type = Option<Object>)]
    pub customer: Option<Map<String, Value>>,
    pub action_filters: Option<String>,
    #[schema(value_type = String)]
    pub default: DefaultPolicy,
    pub top: Option<usize>,
    /// The eligible agents, with the fields that the model read.
    pub agents: Vec<SampledAgent>,
    /// As they were answered.
    pub scores: Vec<SampledScore>,
    pub global: f64,
    pub again: Again,
}

/// The same request computed once more, now.
#[derive(Debug, Serialize, ToSchema)]
pub struct Again {
    /// Whether every number is the same, to the last digit; null when it could not be computed. False
    /// after an upgrade to a version that computes otherwise, as its changelog says.
    pub equal: Option<bool>,
    pub scores: Vec<SampledScore>,
    /// Why it could not be computed.
    pub reason: Option<String>,
}

/// Shows what a recent score came from, and computes it again. Of all requests one every `SCORE_SAMPLE_SECONDS` is kept by
/// each server, and every one of the playground, for `SCORED_CONTEXT_DAYS`.
#[utoipa::path(get, path = "/api/v1/scores/{request_id}", tag = "scores",
    params(("request_id" = String, Path, description = "As the score's answer had it")),
    responses((status = OK, body = SampleAnswer), (status = NOT_FOUND, body = ProblemBody, description = "`score_not_found`")))]
pub async fn sample(
    State(app): State<AppState>,
    session: Session,
    ApiPath(request_id): ApiPath<String>,
) -> ApiResult<Json<SampleAnswer>> {
    let missing = || {
        let text = "No score request with this id is kept. One every SCORE_SAMPLE_SECONDS is, and each of the playground's, for \
                    SCORED_CONTEXT_DAYS; it can be shown some seconds after it was answered.";
        ApiError::new(axum::http::StatusCode::NOT_FOUND, "score_not_found", text)
    };
    let id = RequestId::parse(&request_id).map_err(|_| missing())?;
    let key = Key::new(session.account_id.as_str(), id.as_str());
    let sample = app.ctx.store.load::<ScoreSample>(&key).await?.ok_or_else(missing)?.value;
    let bytes = artifacts::read_version(&app.ctx.store, &sample.model_id, sample.model_version, &sample.artifact).await;
    let (sample, again) = match bytes {
        Ok(bytes) => {
            tokio::task::spawn_blocking(move || compute_again(sample, &bytes)).await.map_err(ApiError::internal)?
        }
        Err(error) => {
            tracing::debug!(error = format!("{error:#}"), "a sample's model is gone");
            let reason = format!("version {} of the model is not kept any more", sample.model_version);
            (sample, Again { equal: None, scores: Vec::new(), reason: Some(reason) })
        }
    };
    Ok(Json(SampleAnswer {
        request_id: sample.request_id,
        at: sample.at,
        predictor_id: sample.predictor_id,
        predictor_name: sample.predictor_name,
        model_id: sample.model_id,
        model_version: sample.model_version,
        mode: sample.mode,
        score_expression: sample.score_expression,
        context_id: sample.context_id,
        context: sample.context,
        customer: sample.customer,
        action_filters: sample.action_filters,
        default: sample.default,
        top: sample.top,
        agents: sample.agents,
        scores: sample.scores,
        global: sample.global,
        again,
    }))
}

fn compute_again(sample: ScoreSample, artifact: &[u8]) -> (ScoreSample, Again) {
    let again = match artifacts::compile_bytes(artifact) {
        Ok(model) => {
            let (scores, global) = sample.compute_again(&model);
            Again { equal: Some(scores == sample.scores && global == sample.global), scores, reason: None }
        }
        Err(error) => {
            Again { equal: None, scores: Vec::new(), reason: Some(format!("the model cannot be read: {error}")) }
        }
    };
    (sample, again)
}
