//! `POST /api/v1/predictors/{id or name}/score`, and many interactions at once.

mod batch;
pub mod body;
pub mod context;
mod rank;
mod samples;
mod write;

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::body::{Format, ScoreAnswer, ScoreBody};
use self::rank::{MAX_EXPLAINED, Prepared, find_predictor, prepare};
use super::error::ProblemBody;
use super::json::{ApiBytes, ApiPath, ApiQuery, SaysJson, parse_flat};
use super::{ApiError, ApiResult, AppState, Session};
use crate::live::{AccountView, Overloaded, Work};
use crate::production::{ScoreSample, Tally};
use crate::telemetry;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// An answer's headers in the end, at most.
const HEADERS: usize = 12;

/// Bytes from which on a body is a large one.
const LARGE_BODY: usize = 256 << 10;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(score))
        .routes(routes!(batch::score_batch))
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
#[utoipa::path(post, path = "/api/v1/predictors/{predictor}/score", tag = "scores",
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
    SaysJson(says_json): SaysJson,
    ApiBytes(body): ApiBytes,
) -> ApiResult<Response> {
    if let Some(connection_ids) = &caller.connection_ids {
        tracing::debug!(connection_ids, predictor, "score");
    }
    let view = app.live.account(&session.account_id);
    // Before the body: a predictor that does not exist is told whatever was sent.
    let found = find_predictor(&view, &predictor)?;
    says_json?;
    app.live.gate.admit().await.map_err(overloaded)?;
    let body: ScoreBody<'_> = read_body(&app, &body, parse_flat).await?;
    let prepared = prepare(&app, &session.account_id, &view, &found, body, "").await?;
    let wants_sample = app.production.wants_sample(prepared.now());
    let computed = compute(&app, &session, &view, &prepared, wants_sample).await?;
    if let Some(sample) = computed.sample {
        app.production.keep_sample(sample);
    }
    prepared.record(&app, &session.account_id, computed.tally);
    Ok(computed.response)
}

/// Ranks agents as a score does, for a person who looks: explained, kept whole (see `GET /scores/{request_id}`), and counted nowhere. At
/// most the best 100 are answered.
#[utoipa::path(post, path = "/api/v1/predictors/{predictor}/score/playground", tag = "scores",
    params(("predictor" = String, Path, description = "Id or name")),
    request_body = ScoreBody<'static>,
    responses(
        (status = OK, body = ScoreAnswer<'static>),
        (status = NOT_FOUND, body = ProblemBody, description = "`predictor_not_found`"),
        (status = CONFLICT, body = ProblemBody, description = "`no_active_model`"),
        (status = UNPROCESSABLE_ENTITY, body = ProblemBody, description = "As for a score"),
        (status = TOO_MANY_REQUESTS, body = ProblemBody, description = "`overloaded`")))]
async fn playground(
    State(app): State<AppState>,
    session: Session,
    ApiPath(predictor): ApiPath<String>,
    SaysJson(says_json): SaysJson,
    ApiBytes(body): ApiBytes,
) -> ApiResult<Response> {
    let view = app.live.account(&session.account_id);
    let found = find_predictor(&view, &predictor)?;
    says_json?;
    let mut body: ScoreBody<'_> = read_body(&app, &body, parse_flat).await?;
    body.top = Some(body.top.unwrap_or(MAX_EXPLAINED).min(MAX_EXPLAINED));
    body.explain = !found.is_composite() && body.format == Format::List;
    let prepared = prepare(&app, &session.account_id, &view, &found, body, "").await?;
    let computed = compute(&app, &session, &view, &prepared, true).await?;
    if let Some(sample) = computed.sample {
        app.production.store_sample(&sample).await?;
    }
    Ok(computed.response)
}

/// Reads a body. A large one takes long and much memory: it is read where that keeps nobody waiting, as many at once as are computed.
async fn read_body<'b, T>(
    app: &AppState,
    bytes: &'b [u8],
    read: impl FnOnce(&'b [u8]) -> ApiResult<T>,
) -> ApiResult<T> {
    if bytes.len() <= LARGE_BODY {
        return read(bytes);
    }
    app.live.gate.compute_patiently(Work::Long, || read(bytes)).await
}

struct Computed {
    response: Response,
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
        let answer = ranked.into_answer().to_json();
        (tally, sample, answer, started - before, engine, writing.elapsed())
    };
    let (tally, sample, answer, queue, engine, write) =
        app.live.gate.compute(prepared.work(), work).await.map_err(overloaded)?;
    telemetry::scored(engine);
    let (filter, customer) = prepared.filter_and_customer_took();
    let stages = [("filter", filter), ("customer", customer), ("queue", queue), ("engine", engine), ("write", write)];
    let mut response = Response::new(Body::from(answer.map_err(ApiError::internal)?));
    let headers = response.headers_mut();
    headers.reserve(HEADERS);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(SERVER_TIMING, server_timing(&stages));
    Ok(Computed { response, tally, sample })
}

fn overloaded(_: Overloaded) -> ApiError {
    let text = "More scores are being asked for than this node can compute in time. Send the request again in a moment, \
                or to another node.";
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "overloaded", text).retry_after(1)
}

/// Stages with their milliseconds, as browsers and proxies show them.
fn server_timing(stages: &[(&str, Duration)]) -> HeaderValue {
    let mut text = String::with_capacity(32 * stages.len());
    let mut digits = itoa::Buffer::new();
    for (at, (name, took)) in stages.iter().enumerate() {
        let us = took.as_micros();
        for part in [if at > 0 { ", " } else { "" }, name, ";dur=", digits.format(us / 1_000), "."] {
            text.push_str(part);
        }
        // With the zeros in front.
        text.push_str(&digits.format(1_000 + us % 1_000)[1..]);
    }
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}
