//! From a request to ranked agents: what happens between the extractors and the engine.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::body::{Component, Format, ModelName, PredictorName, ScoreAnswer, ScoreBody, Scores};
use crate::domain::Timestamp;
use crate::domain::id::AccountId;
use crate::domain::predictor::PredictorDefinition;
use crate::domain::score_log::Mode;
use crate::filter::CompiledFilter;
use crate::http::{ApiError, ApiResult, AppState, request_id};
use crate::live::{AccountView, ActiveModel, Agent, Customer, LivePredictor, Work};
use crate::production::{SampledAgent, SampledScore, ScoreSample, ScoredRequest, Tally};
use crate::score::artifact::held;
use crate::score::encoding::Side;
use crate::score::{AgentScore, Eligible, Explanation, ScoreInput, ScoreOutput, ScoreSource, rank, summarize};
use crate::store::StoreError;

/// Longest that a score waits for a customer who is not in memory. Usually it takes some milliseconds.
const CUSTOMER_PATIENCE: Duration = Duration::from_millis(500);
/// Most agents whose scores one call explains.
pub const MAX_EXPLAINED: usize = 100;
/// What explaining a score costs, in scores; and what an agent costs besides its trees, in trees.
const EXPLAINED_COSTS: usize = 200;
const REST_IN_TREES: usize = 100;
/// Pairs of agent and tree that take about a millisecond.
const LONG_PAIRS: usize = 6_000_000;
static NO_FIELDS: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
const CUSTOMER_MISSED: &str =
    "context_id: the customer profile cannot be read at the moment; scored as if there were no such customer";

/// The name under which a score expression reads the model's prediction is known to the checker; every name is it.
type Models = Vec<Answering>;
/// A predictor and the model that answers for it.
type Answering = (Arc<LivePredictor>, Arc<ActiveModel>);

/// A request whose parts are all found: nothing that follows can fail.
pub struct Prepared<'b> {
    body: ScoreBody<'b>,
    predictor: Arc<LivePredictor>,
    /// One, or the components of a composite in the order of their names in it.
    models: Models,
    eligible: EligibleAgents,
    /// Why nobody may be eligible.
    filter_warnings: Vec<String>,
    customer: Customer,
    /// The store could not say in time who the customer is.
    customer_missed: bool,
    now: Timestamp,
    mode: Mode,
    started: Instant,
    pub filter_took: Duration,
    pub customer_took: Duration,
}

/// Who may take the interaction.
enum EligibleAgents {
    /// Those that the body names.
    Named,
    /// Positions of the profile's agents.
    Found(Vec<u32>),
}

impl EligibleAgents {
    /// How many, one that is named twice counted twice.
    fn count(&self, body: &ScoreBody<'_>) -> usize {
        match self {
            EligibleAgents::Named => body.agents.as_ref().map_or(0, Vec::len),
            EligibleAgents::Found(positions) => positions.len(),
        }
    }
}

/// What the engine answers.
pub struct Ranked<'a> {
    pub output: ScoreOutput<'a>,
    /// Of the scores, in their order; empty unless asked for.
    explanations: Vec<Option<Explanation>>,
    prepared: &'a Prepared<'a>,
}

/// The predictor, or 404. A name that this node has not followed yet counts as unknown.
pub fn find_predictor(view: &AccountView, id_or_name: &str) -> ApiResult<Arc<LivePredictor>> {
    view.predictor(id_or_name).cloned().ok_or_else(|| ApiError::not_found("predictor", id_or_name))
}

/// Checks a request and gathers what it needs. `path` is put before the names of fields in problems.
pub async fn prepare<'b>(
    app: &AppState,
    account: &AccountId,
    view: &AccountView,
    predictor: &Arc<LivePredictor>,
    body: ScoreBody<'b>,
    path: &str,
) -> ApiResult<Prepared<'b>> {
    let started = Instant::now();
    check(app, &body, path)?;
    let (eligible, filter_warnings) = eligible(app, account, view, &body, path)?;
    let filter_took = started.elapsed();
    let now = app.ctx.clock.now();
    let (models, mode) = choose_models(view, predictor, &body, now)?;
    check_explain(predictor, &body, eligible.count(&body), path)?;
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
        now,
        mode,
        started,
        filter_took,
        customer_took: before_customer.elapsed(),
    })
}

fn check(app: &AppState, body: &ScoreBody<'_>, path: &str) -> ApiResult<()> {
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
fn check_explain(predictor: &LivePredictor, body: &ScoreBody<'_>, eligible: usize, path: &str) -> ApiResult<()> {
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

/// The agents to score, and warnings.
fn eligible(
    app: &AppState,
    account: &AccountId,
    view: &AccountView,
    body: &ScoreBody<'_>,
    path: &str,
) -> ApiResult<(EligibleAgents, Vec<String>)> {
    let Some(text) = &body.action_filters else { return Ok((EligibleAgents::Named, Vec::new())) };
    let filter = app.live.filter(account, view, text).map_err(|error| {
        let text = format!("`action_filters` cannot be used: at position {}, {}.", error.position, error.message);
        ApiError::unprocessable("bad_filter", text)
            .field(format!("{path}action_filters"), error.message)
            .with("position", error.position)
    })?;
    let positions = view.agents.matching(&filter);
    let warnings = if positions.is_empty() { names_of_nobody(view, &filter) } else { Vec::new() };
    Ok((EligibleAgents::Found(positions), warnings))
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
        .filter(|(field, entry)| !view.agents.iter().any(|(_, agent)| has(agent, field, entry)));
    nobodys.map(|(field, entry)| format!("action_filters: no agent has {entry:?} in {field}")).collect()
}

fn choose_models(
    view: &AccountView,
    predictor: &Arc<LivePredictor>,
    body: &ScoreBody<'_>,
    now: Timestamp,
) -> ApiResult<(Models, Mode)> {
    let choose = |predictor: &Arc<LivePredictor>| -> ApiResult<(Answering, Mode)> {
        let (model, mode) = predictor.choose(|| share_point(predictor, body), now).ok_or_else(|| {
            let name = &predictor.predictor.name;
            let text = match &predictor.unusable {
                Some(why) => format!("The predictor {name} cannot answer, {why}. Train that model again, or activate another one."),
                None => format!("The predictor {name} has no active model. Train one and activate it: POST /api/v1/models/{{id}}/activate."),
            };
            ApiError::conflict("no_active_model", text)
        })?;
        Ok(((Arc::clone(predictor), Arc::clone(model)), mode))
    };
    if !predictor.is_composite() {
        let (model, mode) = choose(predictor)?;
        return Ok((vec![model], mode));
    }
    let names = predictor.expression.as_ref().map(|expression| expression.names()).unwrap_or_default();
    let mut mode = Mode::On;
    let models = names
        .into_iter()
        .map(|name| match view.predictor(name).filter(|component| !component.is_composite()) {
            Some(component) => {
                let (model, its_mode) = choose(component)?;
                // What one of its components says not to follow, the whole does not either.
                if its_mode == Mode::Off {
                    mode = Mode::Off;
                }
                Ok(model)
            }
            None => {
                let text = format!(
                    "The composite predictor combines {name}, which does not exist any more. Change its expression."
                );
                Err(ApiError::conflict("no_active_model", text))
            }
        })
        .collect::<ApiResult<Models>>()?;
    Ok((models, mode))
}

/// Where an interaction falls between 0 and 1 when several models share a predictor: the same on every
/// node and on every repetition, as it comes from the request alone.
fn share_point(predictor: &LivePredictor, body: &ScoreBody<'_>) -> f64 {
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

impl Prepared<'_> {
    /// What computing costs, about.
    pub fn work(&self) -> Work {
        let agents = self.eligible.count(&self.body);
        let trees: usize = self.models.iter().map(|(_, model)| model.compiled.artifact().forest.trees()).sum();
        let explained = if self.body.explain { EXPLAINED_COSTS } else { 1 };
        if agents * (trees + REST_IN_TREES) * explained > LONG_PAIRS { Work::Long } else { Work::Short }
    }

    /// Computes every score, `top` of them in order: pure, and the only expensive part.
    pub fn compute(&self, top: Option<usize>) -> Ranked<'_> {
        let names: Vec<&str> = self.body.agents.iter().flatten().map(|id| id.0.as_ref()).collect();
        let eligible = match &self.eligible {
            EligibleAgents::Named => Eligible::Ids(&names),
            EligibleAgents::Found(positions) => Eligible::Positions(positions),
        };
        let output = match self.models.as_slice() {
            [(predictor, model)] if !self.predictor.is_composite() => {
                self.with_input(predictor, eligible, top, |input| model.compiled.score(input, &model.agents))
            }
            _ => self.combine(eligible, top),
        };
        let explanations = self.explanations(&output);
        Ranked { output, explanations, prepared: self }
    }

    fn explanations(&self, output: &ScoreOutput<'_>) -> Vec<Option<Explanation>> {
        let (true, Some((predictor, model))) = (self.body.explain, self.models.first()) else { return Vec::new() };
        let ids: Vec<&str> = output.scores.iter().map(|score| score.agent_id).collect();
        self.with_input(predictor, Eligible::Ids(&ids), None, |input| {
            model.compiled.explain(input, &model.agents, &ids)
        })
    }

    /// The engine's input for these agents.
    fn with_input<'a, T>(
        &self,
        predictor: &LivePredictor,
        eligible: Eligible<'_, 'a>,
        top: Option<usize>,
        work: impl FnOnce(&ScoreInput<'_, 'a>) -> T,
    ) -> T {
        let expression =
            predictor.expression.as_ref().map(|expression| move |p_score: f64| expression.eval(&|_| p_score));
        let input = ScoreInput {
            context: self.body.context.as_ref().unwrap_or(&NO_FIELDS),
            customer: self.customer.as_deref(),
            now: self.now,
            eligible,
            top,
            default: self.body.default,
            expression: expression.as_ref().map(|expression| expression as &(dyn Fn(f64) -> f64 + Sync)),
        };
        work(&input)
    }

    /// A composite: every component scores every agent, the expression combines the scores.
    fn combine<'a>(&'a self, eligible: Eligible<'_, 'a>, top: Option<usize>) -> ScoreOutput<'a> {
        let score = |(predictor, model): &'a Answering| {
            let work = |input: &ScoreInput<'_, 'a>| model.compiled.score(input, &model.agents);
            (predictor.predictor.name.as_str(), self.with_input(predictor, eligible, None, work))
        };
        let outputs: Vec<(&str, ScoreOutput<'a>)> = self.models.iter().map(score).collect();
        let by_agent: Vec<(&str, HashMap<&str, &AgentScore<'a>>)> = outputs
            .iter()
            .map(|(name, output)| (*name, output.scores.iter().map(|score| (score.agent_id, score)).collect()))
            .collect();
        let combine = |value: &dyn Fn(&str) -> Option<f64>| match &self.predictor.expression {
            Some(expression) => held(expression.eval(&|name| value(name).unwrap_or(f64::NAN))),
            None => 0.0,
        };
        let find = |name: &str, agent: &str| {
            by_agent.iter().find(|(known, _)| *known == name).and_then(|(_, scores)| scores.get(agent)).copied()
        };
        let agents = outputs.first().map(|(_, output)| output.scores.as_slice()).unwrap_or_default();
        let mut scores: Vec<AgentScore<'a>> = agents
            .iter()
            .map(|first| {
                let agent = first.agent_id;
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
                AgentScore { agent_id: agent, score, p_score, source, rank: 0 }
            })
            .collect();
        let global = combine(&|name| outputs.iter().find(|(known, _)| *known == name).map(|(_, output)| output.global));
        let predicted: Vec<f64> = scores.iter().filter_map(|score| score.p_score).collect();
        let known = summarize(predicted.iter().copied());
        // The best of what the expression gives is not what it gives for the best of each.
        let default = self.body.default.score(known, global);
        scores.iter_mut().filter(|score| score.p_score.is_none()).for_each(|score| score.score = default);
        let summary = known.or_else(|| summarize(scores.iter().map(|score| score.score)));
        let mut warnings: Vec<String> = Vec::new();
        for (name, output) in &outputs {
            warnings.extend(output.warnings.iter().map(|warning| format!("{name}: {warning}")));
        }
        let eligible = scores.len();
        let local = scores.iter().filter(|score| score.source == ScoreSource::Local).count();
        rank(&mut scores, top);
        ScoreOutput {
            scores,
            median: summary.map(|summary| summary.median),
            max: summary.map(|summary| summary.max),
            min: summary.map(|summary| summary.min),
            global,
            eligible,
            local,
            predicted,
            warnings,
        }
    }

    /// The time of the request.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// How many agents may take it, one that is named twice counted twice.
    pub fn eligible(&self) -> usize {
        self.eligible.count(&self.body)
    }

    /// Who may take it; positions are those of the view that the request was prepared with.
    pub fn agent_ids<'a>(&'a self, view: &'a AccountView) -> impl Iterator<Item = &'a str> {
        let named = self.body.agents.iter().flatten().map(|id| id.0.as_ref());
        let positions: &[u32] = match &self.eligible {
            EligibleAgents::Named => &[],
            EligibleAgents::Found(positions) => positions,
        };
        named.chain(positions.iter().filter_map(|at| view.agents.roster().id(*at)))
    }

    /// The best so many that are answered.
    pub fn top(&self) -> Option<usize> {
        self.body.top
    }

    pub fn filter_and_customer_took(&self) -> (Duration, Duration) {
        (self.filter_took, self.customer_took)
    }

    /// Hands the request to those who count, with what [`Ranked::tally`] said of it.
    pub fn record(self, app: &AppState, account: &AccountId, (tally, warned): (Tally, bool)) {
        let composite = self.predictor.is_composite();
        app.production.record(ScoredRequest {
            account: account.clone(),
            predictor: self.predictor,
            model: self.models.into_iter().next().filter(|_| !composite).map(|(_, model)| model),
            at: self.now,
            request_id: request_id::current(),
            context: self.body.context,
            customer: self.customer,
            context_id: self.body.context_id.filter(|id| !id.is_empty()),
            warned,
            tally,
        });
    }
}

impl<'a> Ranked<'a> {
    /// The scores counted, and whether anything was warned of.
    pub fn tally(&self) -> (Tally, bool) {
        let prepared = self.prepared;
        let outcome = match prepared.models.as_slice() {
            [(_, model)] if !prepared.predictor.is_composite() => Some(&model.compiled.artifact().outcome),
            _ => None,
        };
        let warned =
            prepared.customer_missed || !prepared.filter_warnings.is_empty() || !self.output.warnings.is_empty();
        (Tally::of(&self.output, outcome), warned)
    }

    /// The request with everything that it came from; none for a composite predictor.
    pub fn sample(&self, account: &AccountId, view: &AccountView) -> Option<ScoreSample> {
        let prepared = self.prepared;
        let ([(_, model)], false) = (prepared.models.as_slice(), prepared.predictor.is_composite()) else {
            return None;
        };
        let read = |fields: &Map<String, Value>, side: Side| -> Map<String, Value> {
            let known = |name: &str| Some((name.to_owned(), fields.get(name)?.clone()));
            model.compiled.fields_of(side).filter_map(known).collect()
        };
        let agent = |id: &str| SampledAgent {
            id: id.to_owned(),
            fields: view.agents.get(id).map(|agent| read(agent.fields(), Side::Agent)),
        };
        let agents = match &prepared.eligible {
            EligibleAgents::Named => prepared.body.agents.iter().flatten().map(|id| agent(&id.0)).collect(),
            EligibleAgents::Found(positions) => {
                positions.iter().filter_map(|at| view.agents.roster().id(*at)).map(agent).collect()
            }
        };
        Some(ScoreSample {
            account_id: account.clone(),
            request_id: request_id::current()?.to_string(),
            at_ms: prepared.now.timestamp_millis(),
            at: prepared.now,
            predictor_id: prepared.predictor.predictor.id.clone(),
            predictor_name: prepared.predictor.predictor.name.clone(),
            model_id: model.id.clone(),
            model_version: model.version,
            artifact: model.artifact.clone(),
            mode: prepared.mode,
            score_expression: match &prepared.predictor.predictor.definition {
                PredictorDefinition::Simple { score_expression, .. } => score_expression.clone(),
                PredictorDefinition::Composite { .. } => None,
            },
            context_id: prepared.body.context_id.clone(),
            context: prepared.body.context.clone().unwrap_or_default(),
            customer: prepared.customer.as_deref().map(|fields| read(fields, Side::Customer)),
            action_filters: prepared.body.action_filters.clone(),
            default: prepared.body.default,
            top: prepared.body.top,
            agents,
            scores: SampledScore::all(&self.output),
            global: self.output.global,
        })
    }

    /// Cuts to `top` and puts the answer in form.
    pub fn into_answer(self) -> ScoreAnswer<'a> {
        let Ranked { output, explanations, prepared } = self;
        let mut scores = output.scores;
        scores.truncate(prepared.body.top.unwrap_or(usize::MAX));
        let mut warnings: Vec<Cow<'a, str>> = output.warnings.into_iter().map(Cow::Owned).collect();
        if prepared.customer_missed {
            warnings.push(Cow::Borrowed(CUSTOMER_MISSED));
        }
        warnings.extend(prepared.filter_warnings.iter().map(|warning| Cow::Borrowed(warning.as_str())));
        let composite = prepared.predictor.is_composite();
        let component = |(predictor, active): &'a Answering| Component {
            predictor: predictor_name(predictor),
            model: model_name(active),
        };
        ScoreAnswer {
            request_id: request_id::current(),
            context_id: prepared.body.context_id.as_deref(),
            customer_found: prepared.customer.is_some(),
            mode: prepared.mode,
            predictor: predictor_name(&prepared.predictor),
            model: if composite { None } else { prepared.models.first().map(|(_, active)| model_name(active)) },
            components: if composite { prepared.models.iter().map(component).collect() } else { Vec::new() },
            scores: Scores { format: prepared.body.format, scores, explanations },
            median: output.median,
            max: output.max,
            min: output.min,
            global: output.global,
            eligible: output.eligible,
            warnings,
            took_us: u64::try_from(prepared.started.elapsed().as_micros()).unwrap_or(u64::MAX),
        }
    }
}

fn predictor_name(live: &LivePredictor) -> PredictorName<'_> {
    PredictorName { id: &live.predictor.id, name: &live.predictor.name }
}

fn model_name(active: &ActiveModel) -> ModelName<'_> {
    ModelName { id: &active.id, version: active.version, model_type: active.model_type }
}
