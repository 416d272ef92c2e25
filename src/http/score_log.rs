//! `/api/v1/score_log`: what became of scored interactions, told by the routing strategy.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::ProblemBody;
use super::idempotency::Idempotency;
use super::json::{ApiPath, ApiQuery, HashedJson};
use super::lists::{ListBody, ListParams, ListQuery};
use super::predictors;
use super::score::CallerParams;
use super::score::context::read as read_context;
use super::{ApiError, ApiResult, AppState, Session};
use crate::domain::Timestamp;
use crate::domain::predictor::{MetricKind, PredictorDefinition};
use crate::domain::score_log::{MetricValue, Mode, Outcome, ScoreLogEntry, StoredEntry};
use crate::store::{Batch, Collection, Condition, Key, Path, Query, StoreExt, Stored};

/// Beyond this a number is a mistake, and sums of its square leave their range.
const LARGEST: f64 = 1e15;
/// Collisions with another writer of the same interaction after which a client is asked to try again itself.
const ATTEMPTS: usize = 10;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(record, list)).routes(routes!(show))
}

/// What is told of one interaction; the same `interaction_id` again updates what is given.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScoreLogBody {
    pub interaction_id: String,
    /// The customer's id.
    pub context_id: Option<String>,
    /// Id or name of the predictor.
    pub predictor: String,
    /// The agent that was chosen.
    pub agent_id: Option<String>,
    pub score: Option<f64>,
    /// The prediction behind the score, as scoring answered it: tells calibration apart from a score expression.
    pub p_score: Option<f64>,
    /// 1 is the best of those that were scored.
    #[schema(minimum = 1)]
    pub rank: Option<u32>,
    pub mode: Mode,
    pub outcome: Outcome,
    /// The metric's value, when it is known: often much later.
    #[schema(value_type = Option<MetricValue>)]
    pub metric: Option<Value>,
    /// The `request_id` that scoring answered: finds the feature values that were scored, for as long as they are kept
    /// (`SCORED_CONTEXT_DAYS`).
    pub request_id: Option<String>,
    /// Id of the model that scored, as the answer had it.
    pub model_id: Option<String>,
    /// Feature values of the interaction; they win over those that were kept.
    #[serde(default, deserialize_with = "read_context")]
    #[schema(value_type = Option<Object>)]
    pub context: Option<Map<String, Value>>,
}

/// The answer to a report.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Recorded {
    pub interaction_id: String,
    /// False when an earlier report of this interaction was updated.
    pub created: bool,
}

/// Stores what became of an interaction. Repeating a report changes nothing.
#[utoipa::path(post, path = "/api/v1/score_log", tag = "scores", params(CallerParams), request_body = ScoreLogBody,
    responses(
        (status = ACCEPTED, body = Recorded),
        (status = NOT_FOUND, body = ProblemBody, description = "`predictor_not_found`"),
        (status = CONFLICT, body = ProblemBody, description = "`other_predictor`"),
        (status = UNPROCESSABLE_ENTITY, body = ProblemBody)))]
async fn record(
    State(app): State<AppState>,
    session: Session,
    mut idem: Idempotency,
    ApiQuery(caller): ApiQuery<CallerParams>,
    HashedJson(body, hash): HashedJson<ScoreLogBody>,
) -> ApiResult<Response> {
    if let Some(saved) = idem.replay(&app, &session, &hash).await? {
        return Ok(saved);
    }
    check(&app, &body)?;
    let view = app.live.account(&session.account_id);
    let predictor = match view.predictor(&body.predictor) {
        Some(live) => live.predictor.clone(),
        None => predictors::load(&app, &session.account_id, &body.predictor).await?.value,
    };
    check_numbers(&body, &predictor.definition)?;
    let predictor_id = predictor.id;
    let key = Key::new(session.account_id.as_str(), body.interaction_id.as_str());
    for attempt in 1.. {
        let before = app.ctx.store.load::<StoredEntry>(&key).await?;
        let created = before.is_none();
        let now = app.ctx.clock.now();
        let earlier = before.as_ref().map(|stored| stored.value.entry.clone());
        if earlier.as_ref().is_some_and(|earlier| earlier.predictor_id != predictor_id.as_str()) {
            let text = format!(
                "{:?} is the interaction of another predictor: an interaction is told of for the predictor by which it was routed. Name that \
                 one, or send an id of its own.",
                body.interaction_id
            );
            return Err(ApiError::conflict("other_predictor", text));
        }
        let entry = merge(&body, caller.connection_ids.clone(), predictor_id.to_string(), earlier.as_ref(), now);
        let recorded = Recorded { interaction_id: body.interaction_id.clone(), created };
        let unchanged = earlier.as_ref().is_some_and(|earlier| {
            serde_json::to_value(ScoreLogEntry { updated_at: earlier.updated_at, ..entry.clone() }).ok()
                == serde_json::to_value(earlier).ok()
        });
        let value = StoredEntry { account_id: session.account_id.clone(), entry };
        let mut batch = Batch::new();
        match before {
            _ if unchanged => {}
            Some(before) => {
                batch.replace(&Stored { value, revision: before.revision });
            }
            None => {
                batch.insert(&value);
            }
        }
        idem.record(&mut batch, StatusCode::ACCEPTED, &recorded);
        let result = if batch.is_empty() { Ok(()) } else { app.ctx.store.commit(batch).await };
        match result {
            Err(error) if error.is_conflict() && !idem.lost(&error) && attempt < ATTEMPTS => continue,
            Err(error) => return Err(idem.explain(error)),
            Ok(()) => return Ok((StatusCode::ACCEPTED, Json(recorded)).into_response()),
        }
    }
    Err(ApiError::internal("the loop above ends by returning"))
}

fn check(app: &AppState, body: &ScoreLogBody) -> ApiResult<()> {
    let limit = app.ctx.config.limits.max_id_bytes;
    let ids = [
        ("interaction_id", Some(&body.interaction_id)),
        ("context_id", body.context_id.as_ref()),
        ("agent_id", body.agent_id.as_ref()),
        ("request_id", body.request_id.as_ref()),
        ("model_id", body.model_id.as_ref()),
    ];
    for (path, id) in ids {
        if id.is_some_and(|id| id.len() > limit) {
            let text = format!(
                "{path} has more than {limit} bytes (MAX_ID_BYTES). Send the id that your system uses, not its data."
            );
            return Err(ApiError::unprocessable("id_too_long", text).field(path, "too long"));
        }
        if id.is_some_and(|id| id.contains('\0')) {
            let text = format!("{path} holds a NUL character. Send the id as your system shows it.");
            return Err(ApiError::unprocessable("invalid_body", text).field(path, "holds a NUL character"));
        }
    }
    if body.score.is_some_and(|score| score < 0.0) {
        let text = "score is negative: scores are at least 0. Send the agent's score as scoring answered it.";
        return Err(ApiError::unprocessable("invalid_body", text).field("score", "at least 0"));
    }
    if body.rank == Some(0) {
        let text = "rank is 0: the best agent has rank 1. Leave it out when it is not known.";
        return Err(ApiError::unprocessable("invalid_body", text).field("rank", "at least 1"));
    }
    if body.interaction_id.is_empty() {
        let text = "interaction_id is empty: send the id under which you will tell of this interaction again.";
        return Err(ApiError::unprocessable("invalid_body", text).field("interaction_id", "empty"));
    }
    let fields = body.context.as_ref().map_or(0, Map::len);
    let most = app.ctx.config.limits.max_context_fields;
    if fields > most {
        let text = format!(
            "`context` has {fields} fields; at most {most} are allowed (MAX_CONTEXT_FIELDS). Send only the fields that the \
             predictor's features name."
        );
        return Err(ApiError::unprocessable("too_many_context_fields", text).field("context", "too many fields"));
    }
    let single = |value: &Value| matches!(value, Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Null);
    if body.metric.as_ref().is_some_and(|metric| !single(metric)) {
        let text = "metric is a list or an object; send the outcome's value: true or false, a number, or a text.";
        return Err(ApiError::unprocessable("invalid_body", text).field("metric", "not a single value"));
    }
    Ok(())
}

/// Numbers that no score and no metric of this predictor can be would spoil every mean that they are part of.
fn check_numbers(body: &ScoreLogBody, definition: &PredictorDefinition) -> ApiResult<()> {
    let refuse = |path: &'static str, text: String| {
        Err(ApiError::unprocessable("invalid_body", text).field(path, "out of range"))
    };
    let metric = body.metric.as_ref().and_then(Value::as_f64);
    for (path, number) in [("score", body.score), ("p_score", body.p_score), ("metric", metric)] {
        if let Some(number) = number.filter(|number| number.abs() > LARGEST) {
            return refuse(
                path,
                format!(
                    "{path} is {number:e}: at most {LARGEST:e} is possible. Send what scoring answered, and the metric as it is."
                ),
            );
        }
    }
    let PredictorDefinition::Simple { metric: of, .. } = definition else { return Ok(()) };
    if of.kind != MetricKind::Classification {
        return Ok(());
    }
    if let Some(p_score) = body.p_score.filter(|p_score| !(0.0..=1.0).contains(p_score)) {
        return refuse(
            "p_score",
            format!("p_score is {p_score}: it is a probability, from 0 to 1, as scoring answered it."),
        );
    }
    let flags = [None, Some(0.0), Some(1.0)];
    let positive = of.positive.as_ref().and_then(|positive| positive.as_f64().or(positive.as_bool().map(f64::from)));
    match metric {
        Some(metric) if flags.contains(&positive) && !flags.contains(&Some(metric)) => {
            refuse("metric", format!("metric is {metric}: {:?} is reached or not, true or false, 1 or 0.", of.field))
        }
        _ => Ok(()),
    }
}

/// What was told last wins; what is left out stays.
fn merge(
    body: &ScoreLogBody,
    connection_ids: Option<String>,
    predictor_id: String,
    earlier: Option<&ScoreLogEntry>,
    now: Timestamp,
) -> ScoreLogEntry {
    ScoreLogEntry {
        interaction_id: body.interaction_id.clone(),
        context_id: body.context_id.clone().or_else(|| earlier?.context_id.clone()),
        predictor_id,
        agent_id: body.agent_id.clone().or_else(|| earlier?.agent_id.clone()),
        score: body.score.or_else(|| earlier?.score),
        p_score: body.p_score.or_else(|| earlier?.p_score),
        rank: body.rank.or_else(|| earlier?.rank),
        mode: body.mode,
        outcome: body.outcome,
        metric: body.metric.clone().or_else(|| earlier?.metric.clone()),
        request_id: body.request_id.clone().or_else(|| earlier?.request_id.clone()),
        model_id: body.model_id.clone().or_else(|| earlier?.model_id.clone()),
        context: body.context.clone().or_else(|| earlier?.context.clone()),
        connection_ids: connection_ids.or_else(|| earlier?.connection_ids.clone()),
        created_at: earlier.map_or(now, |earlier| earlier.created_at),
        updated_at: now,
    }
}

/// Filters of the list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct LogFilters {
    /// Id of a predictor.
    predictor_id: Option<String>,
    agent_id: Option<String>,
    context_id: Option<String>,
    #[param(inline)]
    mode: Option<Mode>,
    #[param(inline)]
    outcome: Option<Outcome>,
}

/// Lists what was stored, by interaction id or by time.
#[utoipa::path(get, path = "/api/v1/score_log", tag = "scores", params(ListParams, LogFilters),
    responses((status = OK, body = ListBody<ScoreLogEntry>)))]
async fn list(
    State(app): State<AppState>,
    session: Session,
    ListQuery(params, filters): ListQuery<LogFilters>,
) -> ApiResult<Json<ListBody<ScoreLogEntry>>> {
    let mut query = Query::new(Collection::ScoreLog, session.account_id.as_str());
    let wanted = [
        ("predictor_id", filters.predictor_id.map(Value::from)),
        ("agent_id", filters.agent_id.map(Value::from)),
        ("context_id", filters.context_id.map(Value::from)),
        ("mode", filters.mode.and_then(|mode| serde_json::to_value(mode).ok())),
        ("outcome", filters.outcome.and_then(|outcome| serde_json::to_value(outcome).ok())),
    ];
    for (name, value) in wanted {
        if let Some(value) = value {
            query = query.filter(Condition::equal(Path::key(name), value));
        }
    }
    let query = params.apply(query, &["created_at", "updated_at"])?;
    let (entries, next) = app.ctx.store.list::<StoredEntry>(&query).await?;
    Ok(Json(ListBody { items: entries.into_iter().map(|stored| stored.value.entry).collect(), next }))
}

#[utoipa::path(get, path = "/api/v1/score_log/{interaction_id}", tag = "scores", params(("interaction_id" = String, Path)),
    responses((status = OK, body = ScoreLogEntry), (status = NOT_FOUND, body = ProblemBody)))]
async fn show(
    State(app): State<AppState>,
    session: Session,
    ApiPath(interaction_id): ApiPath<String>,
) -> ApiResult<Json<ScoreLogEntry>> {
    let key = Key::new(session.account_id.as_str(), interaction_id.as_str());
    let found = app.ctx.store.load::<StoredEntry>(&key).await?;
    let missing = || ApiError::not_found("score log entry", &interaction_id);
    Ok(Json(found.ok_or_else(missing)?.value.entry))
}
