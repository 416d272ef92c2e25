//! `/api/v1/models/{id}/quality`: how good a model is on data that it has not seen, overall and for whom.

use std::cmp::Reverse;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::super::error::ProblemBody;
use super::super::json::{ApiPath, ApiQuery};
use super::super::lists::{ListBody, ListParams};
use super::super::{ApiError, ApiResult, AppState, Session};
use super::{load, not_trained, read_part};
use crate::domain::model::Model;
use crate::learn::{AgentQuality, Breakdown, FieldQuality, Quality};
use crate::live::artifacts::Part;

/// The measures of the whole holdout, and of its rows by context value.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct QualityAnswer {
    #[serde(flatten)]
    pub quality: Quality,
    /// Categorical context and customer fields, at most 50, each with at most 30 values.
    pub by_context: Vec<FieldQuality>,
}

/// Overall, by agent and by context value: the content of a report.
pub(in crate::http) async fn whole_quality(app: &AppState, model: &Model, quality: Value) -> ApiResult<Value> {
    let breakdown: Breakdown = read_part(app, model, Part::Breakdown).await?;
    let mut whole = quality;
    whole["by_agent"] = json!(breakdown.by_agent);
    whole["by_context"] = json!(breakdown.by_context);
    Ok(whole)
}

/// How good the model is on data that it has not seen: overall and by context value. By agent: `…/quality/agents`.
#[utoipa::path(get, path = "/api/v1/models/{id}/quality", tag = "models", params(("id" = String, Path)),
    responses(
        (status = OK, body = QualityAnswer),
        (status = NOT_FOUND, body = ProblemBody),
        (status = CONFLICT, body = ProblemBody, description = "`not_trained`, `trained_before`")))]
pub(super) async fn quality(
    State(app): State<AppState>,
    session: Session,
    ApiPath(id): ApiPath<String>,
) -> ApiResult<Json<QualityAnswer>> {
    let model = load(&app, &session.account_id, &id).await?.value;
    let Some(quality) = model.quality.clone() else { return Err(not_trained()) };
    let breakdown: Breakdown = read_part(&app, &model, Part::Breakdown).await?;
    let quality = serde_json::from_value(quality).map_err(ApiError::internal)?;
    Ok(Json(QualityAnswer { quality, by_context: breakdown.by_context }))
}

/// How good the model is for each agent with interactions in the holdout, by agent id; `sort=rows` and `sort=-rows` order by
/// their number.
#[utoipa::path(get, path = "/api/v1/models/{id}/quality/agents", tag = "models",
    params(("id" = String, Path), ListParams),
    responses(
        (status = OK, body = ListBody<AgentQuality>),
        (status = NOT_FOUND, body = ProblemBody),
        (status = CONFLICT, body = ProblemBody, description = "`not_trained`, `trained_before`")))]
pub(super) async fn agents(
    State(app): State<AppState>,
    session: Session,
    ApiPath(id): ApiPath<String>,
    ApiQuery(params): ApiQuery<ListParams>,
) -> ApiResult<Json<ListBody<AgentQuality>>> {
    let limit = params.limit()?;
    let model = load(&app, &session.account_id, &id).await?.value;
    let breakdown: Breakdown = read_part(&app, &model, Part::Breakdown).await?;
    let mut agents = breakdown.by_agent;
    // They are stored by id; a stable sort keeps that order among equals.
    match params.sort.as_deref() {
        None | Some("agent_id") => {}
        Some("rows") => agents.sort_by_key(|agent| agent.quality.rows),
        Some("-rows") => agents.sort_by_key(|agent| Reverse(agent.quality.rows)),
        Some(other) => {
            let text = format!("sort={other} is not possible: this list is ordered by agent_id, rows, -rows.");
            return Err(ApiError::bad_request("bad_query", text));
        }
    }
    let start = match &params.after {
        None => 0,
        Some(last) => {
            let place = agents.iter().position(|agent| agent.agent_id == *last);
            place.map(|place| place + 1).ok_or_else(|| {
                let text = "after names no agent of this list: the model was trained again, begin with the first page.";
                ApiError::bad_request("bad_query", text)
            })?
        }
    };
    let more = agents.len() > start + limit;
    let items: Vec<AgentQuality> = agents.into_iter().skip(start).take(limit).collect();
    let next = items.last().filter(|_| more).map(|agent| agent.agent_id.clone());
    Ok(Json(ListBody { items, next }))
}
