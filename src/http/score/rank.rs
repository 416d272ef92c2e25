//! From a request to ranked agents: what happens between the extractors and the engine.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::body::{Component, Format, ModelName, PredictorName, ScoreAnswer, ScoreBody, Scores};
use crate::domain::Timestamp;
use crate::domain::id::AccountId;
use crate::filter::CompiledFilter;
use crate::http::{ApiError, ApiResult, AppState, request_id};
use crate::live::{AccountView, ActiveModel, Agent, Customer, LivePredictor};
use crate::production::{ScoredRequest, Tally};
use crate::score::artifact::held;
use crate::score::{AgentScore, Eligible, Explanation, ScoreInput, ScoreOutput, ScoreSource, rank, summarize};
use crate::store::StoreError;

/// Longest that a score waits for a customer who is not in memory. Usually it takes some milliseconds.
const CUSTOMER_PATIENCE: Duration = Duration::from_millis(500);
/// Most agents whose scores one call explains.
const MAX_EXPLAINED: usize = 100;
const CUSTOMER_MISSED: &str =
    "context_id: the customer profile cannot be read at the moment; scored as if there were no such customer";

/// The name under which a score expression reads the model's prediction is known to the checker; every name is it.
type Models = Vec<(Arc<LivePredictor>, Arc<ActiveModel>)>;

/// A request whose parts are all found: nothing that follows can fail.
pub struct Prepared {
    pub body: ScoreBody,
    predictor: Arc<LivePredictor>,
    /// One, or the components of a composite in the order of their names in it.
    models: Models,
    eligible: Vec<Arc<str>>,
    /// Why nobody may be eligible.
    filter_warnings: Vec<String>,
    customer: Customer,
    /// The store could not say in time who the customer is.
    customer_missed: bool,
    now: Timestamp,
    started: Instant,
    pub filter_took: Duration,
    pub customer_took: Duration,
}

/// What the engine answers, before the answer is cut to `top` and put in form.
pub struct Ranked {
    pub output: ScoreOutput,
    /// Of the scores that will be answered, in their order; empty unless asked for.
    explanations: Vec<Option<Explanation>>,
    prepared: Prepared,
    tally: Tally,
}

/// The predictor, or 404. A name that this node has not followed yet counts as unknown.
pub fn find_predictor(view: &AccountView, id_or_name: &str) -> ApiResult<Arc<LivePredictor>> {
    view.predictor(id_or_name).cloned().ok_or_else(|| ApiError::not_found("predictor", id_or_name))
}

/// Checks a request and gathers what it needs. `path` is put before the names of fields in problems.
pub async fn prepare(
    app: &AppState,
    account: &AccountId,
    view: &AccountView,
    predictor: &Arc<LivePredictor>,
    body: ScoreBody,
    path: &str,
) -> ApiResult<Prepared> {
    let started = Instant::now();
    check(app, &body, path)?;
    let (eligible, filter_warnings) = eligible(app, account, view, &body, path)?;
    let filter_took = started.elapsed();
    let models = choose_models(view, predictor, &body)?;
    check_explain(predictor, &body, eligible.len(), path)?;
    let before_customer = Instant::now();
    let (customer, customer_missed) = match body.context_id.as_deref().filter(|id| !id.is_empty()) {
        // Also looked up when no model reads it: the answer says whether the customer was found.
        Some(id) => match tokio::time::timeout(CUSTOMER_PATIENCE, app.live.customer(account, id)).await {
            Ok(Ok(customer)) => (customer, false),
            // A ranking without the customer is worth more than none: the interaction waits.
            Ok(Err(StoreError::Unavailable(_))) | Err(_) => (None, true),
            Ok(Err(error)) => return Err(error.into()),
        },
        None => (None, false),
    };
    Ok(Prepared {
        body,
        predictor: Arc::clone(predictor),
        models,
        eligible,
        filter_warnings,
        customer,
        customer_missed,
        now: app.ctx.clock.now(),
        started,
        filter_took,
        customer_took: before_customer.elapsed(),
    })
}

fn check(app: &AppState, body: &ScoreBody, path: &str) -> ApiResult<()> {
    if body.agents.is_some() == body.action_filters.is_some() {
        let text =
            "Say who is eligible by exactly one of `agents` (a list of ids) and `action_filters` (an expression).";
        return Err(
            ApiError::unprocessable("no_action_set", text).field(format!("{path}agents"), "give one of the two")
        );
    }
    if body.explain && body.format == Format::Map {
        let text = "Explanations go with a list: leave `format` out, or set it to \"list\".";
        return Err(
            ApiError::unprocessable("invalid_body", text).field(format!("{path}format"), "map has no room for it")
        );
    }
    if body.top == Some(0) {
        let text = "`top` is at least 1: leave it out to get every eligible agent.";
        return Err(ApiError::unprocessable("invalid_body", text).field(format!("{path}top"), "at least 1"));
    }
    let fields = body.context.as_ref().map_or(0, Map::len);
    let limit = app.ctx.config.limits.max_context_fields;
    if fields > limit {
        let text = format!(
            "`context` has {fields} fields; at most {limit} are allowed (MAX_CONTEXT_FIELDS). Send only the fields that \
             the predictor's features name."
        );
        return Err(ApiError::unprocessable("too_many_context_fields", text)
            .field(format!("{path}context"), format!("{fields} fields"))
            .with("limit", limit));
    }
    Ok(())
}

/// Explanations cost some hundred times as much as scores.
fn check_explain(predictor: &LivePredictor, body: &ScoreBody, eligible: usize, path: &str) -> ApiResult<()> {
    if !body.explain {
        return Ok(());
    }
    let refuse = |text: String| {
        Err(ApiError::unprocessable("not_explainable", text).field(format!("{path}explain"), "not possible here"))
    };
    if !path.is_empty() {
        return refuse(
            "Explanations are for one interaction at a time: POST /api/v1/predictors/{id}/score.".to_owned(),
        );
    }
    if predictor.is_composite() {
        return refuse(
            "The scores of a composite predictor do not add up from features: ask each predictor that it combines."
                .to_owned(),
        );
    }
    let answered = body.top.unwrap_or(eligible).min(eligible);
    if answered > MAX_EXPLAINED {
        return refuse(format!(
            "{answered} scores would be explained; at most {MAX_EXPLAINED} are possible in one call. Set `top`, or send fewer agents."
        ));
    }
    Ok(())
}

/// Ids of the agents to score, each once, and warnings.
fn eligible(
    app: &AppState,
    account: &AccountId,
    view: &AccountView,
    body: &ScoreBody,
    path: &str,
) -> ApiResult<(Vec<Arc<str>>, Vec<String>)> {
    let Some(text) = &body.action_filters else {
        return Ok((body.agents.iter().flatten().map(|id| Arc::from(id.as_str())).collect(), Vec::new()));
    };
    let filter = app.live.filter(account, view, text).map_err(|error| {
        let text = format!("`action_filters` cannot be used: at position {}, {}.", error.position, error.message);
        ApiError::unprocessable("bad_filter", text)
            .field(format!("{path}action_filters"), error.message)
            .with("position", error.position)
    })?;
    let matching = view.agents.iter().filter(|(id, agent)| filter.matches(id, agent.fields()));
    let eligible: Vec<Arc<str>> = matching.map(|(id, _)| Arc::clone(id)).collect();
    let warnings = if eligible.is_empty() { names_of_nobody(view, &filter) } else { Vec::new() };
    Ok((eligible, warnings))
}

/// Skills and groups that a filter names and no agent has: a letter may be missing.
fn names_of_nobody(view: &AccountView, filter: &CompiledFilter) -> Vec<String> {
    let has = |agent: &Agent, field: &str, entry: &str| match agent.fields().get(field) {
        Some(Value::Array(elements)) => elements.iter().any(|element| element == entry),
        Some(Value::Object(entries)) => entries.contains_key(entry),
        _ => false,
    };
    let nobodys = filter
        .entries()
        .into_iter()
        .filter(|(field, entry)| !view.agents.values().any(|agent| has(agent, field, entry)));
    nobodys.map(|(field, entry)| format!("action_filters: no agent has {entry:?} in {field}")).collect()
}

fn choose_models(view: &AccountView, predictor: &Arc<LivePredictor>, body: &ScoreBody) -> ApiResult<Models> {
    let choose = |predictor: &Arc<LivePredictor>| {
        let model = predictor.choose(share_point(predictor, body)).ok_or_else(|| {
            let name = &predictor.predictor.name;
            let text = format!("The predictor {name} has no active model. Train one and activate it: POST /api/v1/models/{{id}}/activate.");
            ApiError::conflict("no_active_model", text)
        })?;
        Ok((Arc::clone(predictor), Arc::clone(model)))
    };
    if !predictor.is_composite() {
        return Ok(vec![choose(predictor)?]);
    }
    let names = predictor.expression.as_ref().map(|expression| expression.names()).unwrap_or_default();
    names
        .into_iter()
        .map(|name| match view.predictor(name).filter(|component| !component.is_composite()) {
            Some(component) => choose(component),
            None => {
                let text = format!(
                    "The composite predictor combines {name}, which does not exist any more. Change its expression."
                );
                Err(ApiError::conflict("no_active_model", text))
            }
        })
        .collect()
}

/// Where an interaction falls between 0 and 1 when several models share a predictor: the same on every
/// node and on every repetition, as it comes from the request alone.
fn share_point(predictor: &LivePredictor, body: &ScoreBody) -> f64 {
    let seed = xxh3_64_with_seed(predictor.predictor.id.as_str().as_bytes(), 0);
    let hash = match body.context_id.as_deref().filter(|id| !id.is_empty()) {
        Some(id) => xxh3_64_with_seed(id.as_bytes(), seed),
        None => {
            let context =
                body.context.as_ref().and_then(|context| serde_json::to_vec(context).ok()).unwrap_or_default();
            xxh3_64_with_seed(&context, seed)
        }
    };
    (hash >> 11) as f64 / (1u64 << 53) as f64
}

impl Prepared {
    /// Computes every score: pure, and the only expensive part.
    pub fn compute(self) -> Ranked {
        let output = match self.models.as_slice() {
            [(predictor, model)] if !self.predictor.is_composite() => self.score(predictor, model),
            _ => self.combine(),
        };
        let explanations = self.explanations(&output);
        let outcome = match self.models.as_slice() {
            [(_, model)] if !self.predictor.is_composite() => Some(&model.compiled.artifact().outcome),
            _ => None,
        };
        let tally = Tally::of(&output.scores, outcome);
        Ranked { output, explanations, prepared: self, tally }
    }

    fn explanations(&self, output: &ScoreOutput) -> Vec<Option<Explanation>> {
        let (true, Some((predictor, model))) = (self.body.explain, self.models.first()) else { return Vec::new() };
        let answered = output.scores.iter().take(self.body.top.unwrap_or(usize::MAX));
        let ids: Vec<&str> = answered.map(|score| score.agent_id.as_ref()).collect();
        self.with_input(predictor, &ids, |input| model.compiled.explain(input, &model.agents, &ids))
    }

    fn score(&self, predictor: &LivePredictor, model: &ActiveModel) -> ScoreOutput {
        let ids: Vec<&str> = self.eligible.iter().map(AsRef::as_ref).collect();
        self.with_input(predictor, &ids, |input| model.compiled.score(input, &model.agents))
    }

    /// The engine's input for these agents.
    fn with_input<T>(&self, predictor: &LivePredictor, ids: &[&str], work: impl FnOnce(&ScoreInput<'_>) -> T) -> T {
        let empty = Map::new();
        let expression =
            predictor.expression.as_ref().map(|expression| move |p_score: f64| expression.eval(&|_| p_score));
        let input = ScoreInput {
            context: self.body.context.as_ref().unwrap_or(&empty),
            customer: self.customer.as_deref(),
            now: self.now,
            eligible: Eligible::Ids(ids),
            // Cut later: an assignment needs every pair.
            top: None,
            default: self.body.default,
            expression: expression.as_ref().map(|expression| expression as &(dyn Fn(f64) -> f64 + Sync)),
        };
        work(&input)
    }

    /// A composite: every component scores every agent, the expression combines the scores.
    fn combine(&self) -> ScoreOutput {
        let outputs: Vec<(&str, ScoreOutput)> = self
            .models
            .iter()
            .map(|(predictor, model)| (predictor.predictor.name.as_str(), self.score(predictor, model)))
            .collect();
        let by_agent: Vec<(&str, HashMap<&str, &AgentScore>)> = outputs
            .iter()
            .map(|(name, output)| (*name, output.scores.iter().map(|score| (score.agent_id.as_ref(), score)).collect()))
            .collect();
        let combine = |value: &dyn Fn(&str) -> Option<f64>| match &self.predictor.expression {
            Some(expression) => held(expression.eval(&|name| value(name).unwrap_or(f64::NAN))),
            None => 0.0,
        };
        let find = |name: &str, agent: &str| {
            by_agent.iter().find(|(known, _)| *known == name).and_then(|(_, scores)| scores.get(agent)).copied()
        };
        let agents = outputs.first().map(|(_, output)| output.scores.as_slice()).unwrap_or_default();
        let mut scores: Vec<AgentScore> = agents
            .iter()
            .map(|first| {
                let agent = first.agent_id.as_ref();
                let sources = || by_agent.iter().filter_map(|(name, _)| find(name, agent)).map(|score| score.source);
                let source = if sources().all(|source| source == ScoreSource::Default) {
                    ScoreSource::Default
                } else if sources().any(|source| source == ScoreSource::Local) {
                    ScoreSource::Local
                } else {
                    ScoreSource::Global
                };
                let score = combine(&|name| find(name, agent).map(|score| score.score));
                let p_score = (source != ScoreSource::Default).then_some(score);
                AgentScore { agent_id: Arc::clone(&first.agent_id), score, p_score, source, rank: 0 }
            })
            .collect();
        rank(&mut scores);
        let known = summarize(scores.iter().filter(|s| s.source != ScoreSource::Default).map(|s| s.score));
        let summary = known.or_else(|| summarize(scores.iter().map(|score| score.score)));
        let mut warnings: Vec<String> = Vec::new();
        for (name, output) in &outputs {
            warnings.extend(output.warnings.iter().map(|warning| format!("{name}: {warning}")));
        }
        ScoreOutput {
            eligible: scores.len(),
            scores,
            median: summary.map(|summary| summary.median),
            max: summary.map(|summary| summary.max),
            min: summary.map(|summary| summary.min),
            global: combine(&|name| outputs.iter().find(|(known, _)| *known == name).map(|(_, output)| output.global)),
            warnings,
        }
    }
}

impl Ranked {
    pub fn filter_and_customer_took(&self) -> (Duration, Duration) {
        (self.prepared.filter_took, self.prepared.customer_took)
    }

    /// Hands the request to those who count. Takes its context along: the answer does without.
    pub fn record(&mut self, app: &AppState, account: &AccountId) {
        let prepared = &mut self.prepared;
        let composite = prepared.predictor.is_composite();
        app.production.record(ScoredRequest {
            account: account.clone(),
            predictor: Arc::clone(&prepared.predictor),
            model: prepared.models.first().filter(|_| !composite).map(|(_, model)| Arc::clone(model)),
            at: prepared.now,
            request_id: request_id::current(),
            context: prepared.body.context.take(),
            customer: prepared.customer.clone(),
            context_id: prepared.body.context_id.clone().filter(|id| !id.is_empty()),
            warned: prepared.customer_missed
                || !prepared.filter_warnings.is_empty()
                || !self.output.warnings.is_empty(),
            tally: self.tally,
        });
    }

    /// Cuts to `top` and puts the answer in form.
    pub fn into_answer(self) -> ScoreAnswer {
        let Ranked { mut output, explanations, prepared, .. } = self;
        if prepared.customer_missed {
            output.warnings.push(CUSTOMER_MISSED.to_owned());
        }
        output.warnings.extend(prepared.filter_warnings);
        let mut scores = output.scores;
        scores.truncate(prepared.body.top.unwrap_or(usize::MAX));
        let name = |predictor: &LivePredictor| PredictorName {
            id: predictor.predictor.id.clone(),
            name: predictor.predictor.name.clone(),
        };
        let model = |model: &ActiveModel| ModelName {
            id: model.id.clone(),
            version: model.version,
            model_type: model.model_type,
        };
        let composite = prepared.predictor.is_composite();
        let component = |(predictor, active): &(Arc<LivePredictor>, Arc<ActiveModel>)| Component {
            predictor: name(predictor),
            model: model(active),
        };
        ScoreAnswer {
            request_id: request_id::current(),
            context_id: prepared.body.context_id,
            customer_found: prepared.customer.is_some(),
            predictor: name(&prepared.predictor),
            model: if composite { None } else { prepared.models.first().map(|(_, active)| model(active)) },
            components: if composite { prepared.models.iter().map(component).collect() } else { Vec::new() },
            scores: Scores::new(prepared.body.format, scores, explanations),
            median: output.median,
            max: output.max,
            min: output.min,
            global: output.global,
            eligible: output.eligible,
            warnings: output.warnings,
            took_us: u64::try_from(prepared.started.elapsed().as_micros()).unwrap_or(u64::MAX),
        }
    }
}
