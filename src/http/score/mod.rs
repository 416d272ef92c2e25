//! `POST /api/v1/predictors/{id or name}/score`, and many interactions at once.

pub mod body;
mod rank;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::IntoResponse;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::body::{Assigned, BatchAnswer, BatchBody, ScoreAnswer, ScoreBody};
use self::rank::{Ranked, find_predictor, prepare};
use super::error::ProblemBody;
use super::json::{ApiBytes, ApiPath, ApiQuery, parse_json};
use super::{ApiError, ApiResult, AppState, Session};
use crate::live::Overloaded;
use crate::score::assignment;

/// Most pairs of interaction and agent that one call may assign: about a second of work.
const MAX_ASSIGNED_PAIRS: usize = 1_000_000;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(score)).routes(routes!(score_batch))
}

/// What routing strategies add to the address.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CallerParams {
    /// The caller's own ids of this interaction; written to the log.
    pub connection_ids: Option<String>,
}

/// Ranks the eligible agents for one waiting interaction.
#[utoipa::path(post, path = "/predictors/{predictor}/score", tag = "scores",
    params(("predictor" = String, Path, description = "Id or name"), CallerParams),
    request_body = ScoreBody,
    responses(
        (status = OK, body = ScoreAnswer),
        (status = NOT_FOUND, body = ProblemBody, description = "`predictor_not_found`"),
        (status = CONFLICT, body = ProblemBody, description = "`no_active_model`"),
        (status = UNPROCESSABLE_ENTITY, body = ProblemBody,
            description = "`no_action_set`, `bad_filter` (with `position`), `too_many_context_fields`, `not_explainable`"),
        (status = TOO_MANY_REQUESTS, body = ProblemBody, description = "`overloaded`")))]
async fn score(
    State(app): State<AppState>,
    session: Session,
    ApiPath(predictor): ApiPath<String>,
    ApiQuery(caller): ApiQuery<CallerParams>,
    headers: HeaderMap,
    ApiBytes(body): ApiBytes,
) -> ApiResult<impl IntoResponse> {
    if let Some(connection_ids) = &caller.connection_ids {
        tracing::debug!(connection_ids, predictor, "score");
    }
    let view = app.live.account(&session.account_id);
    // Before the body: a predictor that does not exist is told whatever was sent.
    let found = find_predictor(&view, &predictor)?;
    let body: ScoreBody = parse_json(&headers, &body)?;
    let prepared = prepare(&app, &session.account_id, &view, &found, body, "").await?;
    let before = Instant::now();
    let ranked = app.live.gate.compute(move || {
        let started = Instant::now();
        (prepared.compute(), started.elapsed())
    });
    let (mut ranked, engine) = ranked.await.map_err(overloaded)?;
    ranked.record(&app, &session.account_id);
    let (filter, customer) = ranked.filter_and_customer_took();
    let queue = before.elapsed().saturating_sub(engine);
    metrics::histogram!(crate::telemetry::SCORE_SECONDS).record(engine.as_secs_f64());
    let header = server_timing(&[("filter", filter), ("customer", customer), ("queue", queue), ("engine", engine)]);
    Ok(([(HeaderName::from_static("server-timing"), header)], Json(ranked.into_answer())))
}

/// Scores many waiting interactions and, on request, assigns each to an agent so that the total is greatest.
#[utoipa::path(post, path = "/predictors/{predictor}/score/batch", tag = "scores",
    params(("predictor" = String, Path, description = "Id or name"), CallerParams),
    request_body = BatchBody,
    responses(
        (status = OK, body = BatchAnswer),
        (status = NOT_FOUND, body = ProblemBody),
        (status = UNPROCESSABLE_ENTITY, body = ProblemBody, description = "As for one score; `too_many_pairs`")))]
async fn score_batch(
    State(app): State<AppState>,
    session: Session,
    ApiPath(predictor): ApiPath<String>,
    ApiQuery(caller): ApiQuery<CallerParams>,
    headers: HeaderMap,
    ApiBytes(body): ApiBytes,
) -> ApiResult<Json<BatchAnswer>> {
    let view = app.live.account(&session.account_id);
    let found = find_predictor(&view, &predictor)?;
    let body: BatchBody = parse_json(&headers, &body)?;
    if let Some(connection_ids) = &caller.connection_ids {
        tracing::debug!(connection_ids, predictor, interactions = body.interactions.len(), "score batch");
    }
    let limit = app.ctx.config.limits.max_records_per_call;
    if body.interactions.len() > limit {
        let text = format!(
            "{} interactions in one call; at most {limit} are allowed (MAX_RECORDS_PER_CALL). Send them in several calls.",
            body.interactions.len()
        );
        return Err(ApiError::unprocessable("too_many_records", text).field("interactions", "too many"));
    }
    let mut ranked = Vec::with_capacity(body.interactions.len());
    for (index, interaction) in body.interactions.into_iter().enumerate() {
        let path = format!("interactions[{index}].");
        let prepared = prepare(&app, &session.account_id, &view, &found, interaction, &path).await?;
        ranked.push(app.live.gate.compute_patiently(move || prepared.compute()).await);
    }
    let (assignment, total) = match body.assign {
        false => (None, None),
        true => {
            check_pairs(&ranked)?;
            let (back, assigned) = app
                .live
                .gate
                .compute_patiently(move || {
                    let assigned = assign(&ranked);
                    (ranked, assigned)
                })
                .await;
            ranked = back;
            // Begun with 0: the sum of nothing would be -0.
            let total = assigned.iter().fold(0.0, |sum, pair| sum + pair.score);
            (Some(assigned), Some(total))
        }
    };
    ranked.iter_mut().for_each(|ranked| ranked.record(&app, &session.account_id));
    Ok(Json(BatchAnswer { results: ranked.into_iter().map(Ranked::into_answer).collect(), assignment, total }))
}

fn check_pairs(ranked: &[Ranked]) -> ApiResult<()> {
    let mut agents: Vec<&str> =
        ranked.iter().flat_map(|r| r.output.scores.iter().map(|s| s.agent_id.as_ref())).collect();
    agents.sort_unstable();
    agents.dedup();
    let pairs = ranked.len() * agents.len();
    if pairs <= MAX_ASSIGNED_PAIRS {
        return Ok(());
    }
    let text = format!(
        "An assignment of {} interactions to {} agents has {pairs} pairs; at most {MAX_ASSIGNED_PAIRS} are possible in one \
         call. Send fewer interactions, or narrow down who is eligible.",
        ranked.len(),
        agents.len()
    );
    Err(ApiError::unprocessable("too_many_pairs", text).field("interactions", "too many pairs"))
}

fn assign(ranked: &[Ranked]) -> Vec<Assigned> {
    let mut columns: HashMap<&str, usize> = HashMap::new();
    let mut agents: Vec<&Arc<str>> = Vec::new();
    for score in ranked.iter().flat_map(|one| &one.output.scores) {
        columns.entry(score.agent_id.as_ref()).or_insert_with(|| {
            agents.push(&score.agent_id);
            agents.len() - 1
        });
    }
    let mut scores = vec![None; ranked.len() * agents.len()];
    for (row, one) in ranked.iter().enumerate() {
        for score in &one.output.scores {
            scores[row * agents.len() + columns[score.agent_id.as_ref()]] = Some(score.score);
        }
    }
    assignment::maximize(&scores, ranked.len(), agents.len())
        .into_iter()
        .enumerate()
        .filter_map(|(interaction, column)| {
            let column = column?;
            let score = scores[interaction * agents.len() + column]?;
            Some(Assigned { interaction, agent_id: Arc::clone(agents[column]), score })
        })
        .collect()
}

fn overloaded(_: Overloaded) -> ApiError {
    let text = "More scores are being asked for than this node can compute in time. Send the request again in a moment, \
                or to another node.";
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "overloaded", text).retry_after(1)
}

/// Stages with their milliseconds, as browsers and proxies show them.
fn server_timing(stages: &[(&str, Duration)]) -> HeaderValue {
    let text: Vec<String> =
        stages.iter().map(|(name, took)| format!("{name};dur={:.3}", took.as_secs_f64() * 1e3)).collect();
    HeaderValue::from_str(&text.join(", ")).unwrap_or_else(|_| HeaderValue::from_static(""))
}
