//! `POST /api/v1/predictors/{id or name}/score`, and many interactions at once.

pub mod body;
mod rank;
mod samples;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::body::{Assigned, BatchAnswer, BatchBody, Format, ScoreAnswer, ScoreBody};
use self::rank::{MAX_EXPLAINED, Prepared, Ranked, find_predictor, prepare};
use super::error::ProblemBody;
use super::json::{ApiBytes, ApiPath, ApiQuery, check_content_type, parse, parse_flat};
use super::{ApiError, ApiResult, AppState, Session};
use crate::live::{AccountView, Overloaded, Work};
use crate::production::{ScoreSample, Tally};
use crate::score::assignment;

/// Most pairs of interaction and agent that one call may assign: about a second of work.
const MAX_ASSIGNED_PAIRS: usize = 1_000_000;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(score))
        .routes(routes!(score_batch))
        .routes(routes!(playground))
        .routes(routes!(samples::sample))
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
    request_body = ScoreBody<'static>,
    responses(
        (status = OK, body = ScoreAnswer<'static>),
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
    check_content_type(&headers)?;
    let body: ScoreBody<'_> = parse_flat(&body)?;
    let prepared = prepare(&app, &session.account_id, &view, &found, body, "").await?;
    let wants_sample = app.production.wants_sample(prepared.now());
    let computed = compute(&app, &session, &view, &prepared, wants_sample).await?;
    if let Some(sample) = computed.sample {
        app.production.keep_sample(sample);
    }
    prepared.record(&app, &session.account_id, computed.tally);
    Ok((computed.headers, computed.answer))
}

/// Ranks agents as a score does, for a person who looks: explained, kept whole (see `GET /scores/{request_id}`), and counted nowhere. At
/// most the best 100 are answered.
#[utoipa::path(post, path = "/predictors/{predictor}/score/playground", tag = "scores",
    params(("predictor" = String, Path, description = "Id or name")),
    request_body = ScoreBody<'static>,
    responses(
        (status = OK, body = ScoreAnswer<'static>),
        (status = NOT_FOUND, body = ProblemBody, description = "`predictor_not_found`"),
        (status = CONFLICT, body = ProblemBody, description = "`no_active_model`"),
        (status = UNPROCESSABLE_ENTITY, body = ProblemBody, description = "As for a score")))]
async fn playground(
    State(app): State<AppState>,
    session: Session,
    ApiPath(predictor): ApiPath<String>,
    headers: HeaderMap,
    ApiBytes(body): ApiBytes,
) -> ApiResult<impl IntoResponse> {
    let view = app.live.account(&session.account_id);
    let found = find_predictor(&view, &predictor)?;
    check_content_type(&headers)?;
    let mut body: ScoreBody<'_> = parse_flat(&body)?;
    body.top = Some(body.top.unwrap_or(MAX_EXPLAINED).min(MAX_EXPLAINED));
    body.explain = !found.is_composite() && body.format == Format::List;
    let prepared = prepare(&app, &session.account_id, &view, &found, body, "").await?;
    let computed = compute(&app, &session, &view, &prepared, true).await?;
    if let Some(sample) = computed.sample {
        app.production.store_sample(&sample).await?;
    }
    Ok((computed.headers, computed.answer))
}

struct Computed {
    headers: [(HeaderName, HeaderValue); 2],
    answer: Vec<u8>,
    tally: (Tally, bool),
    sample: Option<ScoreSample>,
}

/// Waits for its turn, computes, and writes the answer.
async fn compute(
    app: &AppState,
    session: &Session,
    view: &AccountView,
    prepared: &Prepared<'_>,
    wants_sample: bool,
) -> ApiResult<Computed> {
    let before = Instant::now();
    let work = || {
        let started = Instant::now();
        let ranked = prepared.compute(prepared.top());
        let (tally, engine) = (ranked.tally(), started.elapsed());
        let sample = wants_sample.then(|| ranked.sample(&session.account_id, view)).flatten();
        let writing = Instant::now();
        let answer = serde_json::to_vec(&ranked.into_answer());
        (tally, sample, answer, started - before, engine, writing.elapsed())
    };
    let (tally, sample, answer, queue, engine, write) =
        app.live.gate.compute(prepared.work(), work).await.map_err(overloaded)?;
    metrics::histogram!(crate::telemetry::SCORE_SECONDS).record(engine.as_secs_f64());
    let (filter, customer) = prepared.filter_and_customer_took();
    let stages = [("filter", filter), ("customer", customer), ("queue", queue), ("engine", engine), ("write", write)];
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (HeaderName::from_static("server-timing"), server_timing(&stages)),
    ];
    Ok(Computed { headers, answer: answer.map_err(ApiError::internal)?, tally, sample })
}

/// Scores many waiting interactions and, on request, assigns each to an agent so that the total is greatest.
#[utoipa::path(post, path = "/predictors/{predictor}/score/batch", tag = "scores",
    params(("predictor" = String, Path, description = "Id or name"), CallerParams),
    request_body = BatchBody<'static>,
    responses(
        (status = OK, body = BatchAnswer<'static>),
        (status = NOT_FOUND, body = ProblemBody),
        (status = UNPROCESSABLE_ENTITY, body = ProblemBody, description = "As for one score; `too_many_pairs`")))]
async fn score_batch(
    State(app): State<AppState>,
    session: Session,
    ApiPath(predictor): ApiPath<String>,
    ApiQuery(caller): ApiQuery<CallerParams>,
    headers: HeaderMap,
    ApiBytes(body): ApiBytes,
) -> ApiResult<impl IntoResponse> {
    let view = app.live.account(&session.account_id);
    let found = find_predictor(&view, &predictor)?;
    check_content_type(&headers)?;
    let body: BatchBody<'_> = parse(&body)?;
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
    let mut interactions = Vec::with_capacity(body.interactions.len());
    for (index, interaction) in body.interactions.into_iter().enumerate() {
        let path = format!("interactions[{index}].");
        interactions.push(prepare(&app, &session.account_id, &view, &found, interaction, &path).await?);
    }
    let mut ranked = Vec::with_capacity(interactions.len());
    for prepared in &interactions {
        // An assignment needs every pair.
        let top = prepared.top().filter(|_| !body.assign);
        ranked.push(app.live.gate.compute_patiently(prepared.work(), || prepared.compute(top)).await);
        // Others are let by.
        tokio::task::yield_now().await;
    }
    let (assignment, total) = match body.assign {
        false => (None, None),
        true => {
            check_pairs(&ranked)?;
            let assigned = app.live.gate.compute_patiently(Work::Long, || assign(&ranked)).await;
            // Begun with 0: the sum of nothing would be -0.
            let total = assigned.iter().fold(0.0, |sum, pair| sum + pair.score);
            (Some(assigned), Some(total))
        }
    };
    let tallies: Vec<_> = ranked.iter().map(Ranked::tally).collect();
    let results = ranked.into_iter().map(Ranked::into_answer).collect();
    let answer = serde_json::to_vec(&BatchAnswer { results, assignment, total }).map_err(ApiError::internal)?;
    for (prepared, tally) in interactions.into_iter().zip(tallies) {
        prepared.record(&app, &session.account_id, tally);
    }
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], answer))
}

fn check_pairs(ranked: &[Ranked<'_>]) -> ApiResult<()> {
    let mut agents: Vec<&str> = ranked.iter().flat_map(|r| r.output.scores.iter().map(|s| s.agent_id)).collect();
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

fn assign<'a>(ranked: &[Ranked<'a>]) -> Vec<Assigned<'a>> {
    let mut columns: HashMap<&str, usize> = HashMap::new();
    let mut agents: Vec<&'a str> = Vec::new();
    for score in ranked.iter().flat_map(|one| &one.output.scores) {
        columns.entry(score.agent_id).or_insert_with(|| {
            agents.push(score.agent_id);
            agents.len() - 1
        });
    }
    let mut scores = vec![None; ranked.len() * agents.len()];
    for (row, one) in ranked.iter().enumerate() {
        for score in &one.output.scores {
            scores[row * agents.len() + columns[score.agent_id]] = Some(score.score);
        }
    }
    assignment::maximize(&scores, ranked.len(), agents.len())
        .into_iter()
        .enumerate()
        .filter_map(|(interaction, column)| {
            let column = column?;
            let score = scores[interaction * agents.len() + column]?;
            Some(Assigned { interaction, agent_id: agents[column], score })
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
