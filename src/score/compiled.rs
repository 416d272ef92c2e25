//! A model ready to score: an artifact with its lookups and its factorised forest.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::agents::{AgentPart, AgentSet};
use super::artifact::{Artifact, held};
use super::encoding::{Encoded, Raw, Side, TreeInput, read_value};
use super::forest::FactorisedForest;
use super::ranking::{Scored, answer};
use super::request::{Eligible, ScoreInput, ScoreOutput, ScoreSource};
use crate::domain::predictor::AgentSource;

/// Most names that one warning lists.
const NAMES_IN_WARNING: usize = 10;

/// A model that scores. Immutable; share it by `Arc`.
#[derive(Debug)]
pub struct CompiledModel {
    artifact: Arc<Artifact>,
    /// Per input, texts to levels.
    texts: Vec<HashMap<Arc<str>, u32>>,
    /// Field names to the fields that have them (one a side).
    fields: HashMap<String, Vec<usize>>,
    /// Per field, its inputs.
    field_inputs: Vec<Vec<usize>>,
    /// The agent-side inputs in order, and the place of each input among them.
    pub(super) agent_inputs: Vec<usize>,
    agent_slots: Vec<Option<usize>>,
    /// Per cross, where an agent's coefficients for it begin in [`AgentPart::crosses`].
    pub(super) cross_starts: Vec<usize>,
    pub(super) forest: FactorisedForest,
}

/// The waiting interaction, encoded.
pub(super) struct ContextPart {
    /// Per input; what is there for agent inputs means nothing.
    pub values: Vec<Encoded>,
    /// Intercept and context-side terms.
    linear: f64,
    /// Per cross, the level.
    pub cross_levels: Vec<u32>,
    masks: Vec<u64>,
    pub tree_inputs: Vec<f32>,
    /// Agent inputs that the context overrides, by slot.
    pub overrides: Vec<(usize, Encoded)>,
    warnings: Vec<String>,
}

impl CompiledModel {
    pub fn new(artifact: Arc<Artifact>) -> CompiledModel {
        let encoding = &artifact.encoding;
        let mut fields: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, field) in encoding.fields.iter().enumerate() {
            fields.entry(field.name.clone()).or_default().push(index);
        }
        let mut field_inputs = vec![Vec::new(); encoding.fields.len()];
        for (index, input) in encoding.inputs.iter().enumerate() {
            field_inputs[input.field as usize].push(index);
        }
        let agent_inputs: Vec<usize> = encoding.agent_inputs().collect();
        let mut agent_slots = vec![None; encoding.inputs.len()];
        for (slot, input) in agent_inputs.iter().enumerate() {
            agent_slots[*input] = Some(slot);
        }
        let mut cross_starts = Vec::new();
        let mut start = 0;
        for cross in &artifact.linear.crosses {
            cross_starts.push(start);
            start += levels_of(&artifact, cross.input as usize);
        }
        let forest = FactorisedForest::new(&artifact.forest, encoding);
        let texts = encoding.text_index();
        Self { artifact, texts, fields, field_inputs, agent_inputs, agent_slots, cross_starts, forest }
    }

    pub fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    /// True when the model reads a field of this name: of the context, the customer or the agent.
    pub fn reads(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }

    /// Index among the trained agents.
    pub fn trained_agent(&self, id: &str) -> Option<u32> {
        self.artifact.agents.ids.binary_search_by(|other| other.as_ref().cmp(id)).ok().map(|at| at as u32)
    }

    /// Scores the eligible agents, best first. `agents` must have been built for this model.
    pub fn score(&self, input: &ScoreInput<'_>, agents: &AgentSet) -> ScoreOutput {
        self.score_by(input, agents, false)
    }

    /// The same answer by walking every tree for every agent: what the factorised form is measured and tested against.
    pub fn score_plainly(&self, input: &ScoreInput<'_>, agents: &AgentSet) -> ScoreOutput {
        self.score_by(input, agents, true)
    }

    fn score_by(&self, input: &ScoreInput<'_>, agents: &AgentSet, plainly: bool) -> ScoreOutput {
        let context = self.encode_context(input);
        let mut unknown: Vec<Arc<str>> = Vec::new();
        let positions = match input.eligible {
            Eligible::Positions(positions) => {
                let mut kept: Vec<u32> = positions.iter().copied().filter(|at| agents.id(*at).is_some()).collect();
                kept.sort_unstable();
                kept.dedup();
                kept
            }
            Eligible::Ids(ids) => {
                let mut seen = HashSet::with_capacity(ids.len());
                let mut kept = Vec::with_capacity(ids.len());
                for id in ids.iter().filter(|id| seen.insert(**id)) {
                    match agents.position(id) {
                        Some(position) => kept.push(position),
                        None => unknown.push(Arc::from(*id)),
                    }
                }
                kept
            }
        };
        let margins: Vec<f64> = if context.overrides.is_empty() && !plainly {
            self.margins(&context, agents, &positions)
        } else {
            positions.iter().map(|at| self.plain_margin(&context, agents.part(*at).clone())).collect()
        };
        let finish = |margin: f64| {
            let p_score = self.artifact.outcome.p_score(margin);
            let score = match input.expression {
                Some(expression) => held(expression(p_score)),
                None => self.artifact.outcome.score(p_score),
            };
            (p_score, score)
        };
        let scored = positions
            .iter()
            .zip(margins)
            .map(|(at, margin)| {
                let (p_score, score) = finish(margin);
                let source = if agents.part(*at).local { ScoreSource::Local } else { ScoreSource::Global };
                // The position was taken from this very set.
                let agent_id = agents.id(*at).cloned().unwrap_or_else(|| Arc::from(""));
                Scored { agent_id, score, p_score, source }
            })
            .collect();
        let (_, global) = finish(self.global_margin(&context));
        answer(scored, unknown, global, input, context.warnings)
    }

    /// Margins of the agents at these positions, in their order, for an interaction whose inputs are encoded already (one
    /// an input of the encoding; those of the agent's side are not read). What [`CompiledModel::score`] ranks by, for evaluations
    /// of many thousand interactions.
    pub fn margins_of_encoded(&self, inputs: Vec<Encoded>, agents: &AgentSet, positions: &[u32]) -> Vec<f64> {
        let context = self.context_part(inputs, Vec::new(), Vec::new());
        self.margins(&context, agents, positions)
    }

    fn margins(&self, context: &ContextPart, agents: &AgentSet, positions: &[u32]) -> Vec<f64> {
        let sums = agents.tree_sums(self, &context.masks, positions);
        positions.iter().zip(sums).map(|(at, trees)| self.margin(context, agents.part(*at), trees)).collect()
    }

    /// Intercept and terms of both sides, the crosses, the trees, in this order.
    fn margin(&self, context: &ContextPart, agent: &AgentPart, trees: f64) -> f64 {
        let mut sum = context.linear + agent.linear;
        if !agent.crosses.is_empty() {
            for (start, level) in self.cross_starts.iter().zip(&context.cross_levels) {
                sum += f64::from(agent.crosses[start + *level as usize]);
            }
        }
        sum + trees
    }

    fn global_margin(&self, context: &ContextPart) -> f64 {
        let inputs: Vec<Encoded> = self.agent_inputs.iter().map(|input| self.missing(*input)).collect();
        let nobody = AgentPart { local: false, trained: None, linear: 0.0, crosses: Vec::new(), inputs };
        self.plain_margin(context, nobody)
    }

    /// The margin by walking the trees, with the context's overrides of agent inputs.
    fn plain_margin(&self, context: &ContextPart, mut agent: AgentPart) -> f64 {
        for (slot, value) in &context.overrides {
            agent.inputs[*slot] = *value;
        }
        agent.linear = self.agent_linear(agent.local.then_some(agent.trained).flatten(), &agent.inputs);
        let mut tree_inputs = context.tree_inputs.clone();
        self.agent_tree_inputs(&agent, &mut tree_inputs);
        let trees = self.artifact.forest.sum(&tree_inputs);
        self.margin(context, &agent, trees)
    }

    /// Everything of an agent that does not depend on the interaction, and its masks.
    pub(super) fn agent_part(&self, id: &str, fields: &Map<String, Value>) -> (AgentPart, Vec<u64>) {
        let trained = self.trained_agent(id);
        let local = trained.is_some_and(|agent| self.artifact.agents.local[agent as usize]);
        let inputs = match (self.artifact.agent_source, trained) {
            (AgentSource::Dataset, Some(agent)) => self.latest_inputs(agent as usize),
            (AgentSource::Dataset, None) => self.agent_inputs.iter().map(|input| self.missing(*input)).collect(),
            (AgentSource::Profile, _) => self.profile_inputs(fields),
        };
        let mut crosses = Vec::new();
        if let Some(agent) = trained.filter(|_| local) {
            for (at, cross) in self.artifact.linear.crosses.iter().enumerate() {
                let levels = levels_of(&self.artifact, cross.input as usize);
                crosses.extend(self.artifact.linear.cross_row(at, agent, levels));
            }
        }
        let linear = self.agent_linear(trained.filter(|_| local), &inputs);
        let part = AgentPart { local, trained, linear, crosses, inputs };
        let mut tree_inputs = vec![f32::NAN; self.artifact.encoding.tree_inputs.len()];
        self.agent_tree_inputs(&part, &mut tree_inputs);
        let mut masks = vec![0; self.forest.trees()];
        self.forest.masks(true, &tree_inputs, &mut masks);
        (part, masks)
    }

    fn missing(&self, input: usize) -> Encoded {
        self.artifact.encoding.encode(input, &self.texts[input], &Raw::Missing, 0)
    }

    fn latest_inputs(&self, agent: usize) -> Vec<Encoded> {
        let agents = &self.artifact.agents;
        let width = self.agent_inputs.len();
        (agent * width..(agent + 1) * width)
            .map(|at| Encoded { number: agents.latest_numbers[at], level: agents.latest_levels[at] })
            .collect()
    }

    fn profile_inputs(&self, fields: &Map<String, Value>) -> Vec<Encoded> {
        let encoding = &self.artifact.encoding;
        let until = encoding.reference_time.unwrap_or(0);
        self.agent_inputs
            .iter()
            .map(|input| {
                let field = &encoding.fields[encoding.inputs[*input].field as usize];
                let raw = fields.get(&field.name).and_then(|value| read_value(field.field_type, value).ok());
                encoding.encode(*input, &self.texts[*input], &raw.unwrap_or(Raw::Missing), until)
            })
            .collect()
    }

    fn agent_linear(&self, local: Option<u32>, inputs: &[Encoded]) -> f64 {
        let (linear, encoding) = (&self.artifact.linear, &self.artifact.encoding);
        let own = local.and_then(|agent| linear.agents.get(agent as usize)).map_or(0.0, |value| f64::from(*value));
        let pairs = self.agent_inputs.iter().zip(inputs);
        own + pairs.map(|(input, value)| linear.input(encoding, *input, value.number, value.level)).sum::<f64>()
    }

    pub(super) fn agent_tree_inputs(&self, agent: &AgentPart, tree_inputs: &mut [f32]) {
        let artifact = &self.artifact;
        for (slot, tree_input) in tree_inputs.iter_mut().zip(&artifact.encoding.tree_inputs) {
            match tree_input {
                TreeInput::Agent => {
                    let known = agent.trained.filter(|_| agent.local);
                    *slot = known.map_or(artifact.prior, |at| artifact.agents.target_means[at as usize]);
                }
                TreeInput::Number { input } => {
                    if let Some(at) = self.agent_slots[*input as usize] {
                        *slot = agent.inputs[at].number;
                    }
                }
                TreeInput::Target { input } => {
                    if let Some(at) = self.agent_slots[*input as usize] {
                        *slot = artifact.target_means[*input as usize][agent.inputs[at].level as usize];
                    }
                }
            }
        }
    }

    pub(super) fn encode_context(&self, request: &ScoreInput<'_>) -> ContextPart {
        let artifact = &self.artifact;
        let encoding = &artifact.encoding;
        let mut warnings = Warnings::default();
        let now = self.interaction_time(request);
        let mut values = vec![Encoded { number: f32::NAN, level: 0 }; encoding.inputs.len()];
        let mut overrides = Vec::new();
        for (index, field) in encoding.fields.iter().enumerate() {
            let given = request.context.get(&field.name);
            let raw = match (field.side, given) {
                (Side::Agent, None) => continue,
                (_, Some(value)) => read_value(field.field_type, value).unwrap_or_else(|_| {
                    warnings.wrong_type(&field.name);
                    Raw::Missing
                }),
                (Side::Customer, None) => {
                    let known = request.customer.and_then(|fields| fields.get(&field.name));
                    known.and_then(|value| read_value(field.field_type, value).ok()).unwrap_or(Raw::Missing)
                }
                (Side::Context, None) if field.is_request_time => Raw::Time(now),
                (Side::Context, None) => Raw::Missing,
            };
            for input in &self.field_inputs[index] {
                let value = encoding.encode(*input, &self.texts[*input], &raw, now);
                if let (Raw::Text(text), Some(_)) = (&raw, given) {
                    let known = self.texts[*input].is_empty() || self.texts[*input].contains_key(*text);
                    if !known {
                        warnings.unknown_category(&field.name);
                    }
                }
                match self.agent_slots[*input] {
                    Some(slot) => overrides.push((slot, value)),
                    None => values[*input] = value,
                }
            }
        }
        for name in request.context.keys().filter(|name| !self.fields.contains_key(*name)) {
            warnings.unused(name);
        }
        self.context_part(values, overrides, warnings.into_texts())
    }

    fn context_part(
        &self,
        values: Vec<Encoded>,
        overrides: Vec<(usize, Encoded)>,
        warnings: Vec<String>,
    ) -> ContextPart {
        let artifact = &self.artifact;
        let encoding = &artifact.encoding;
        let linear = (0..encoding.inputs.len())
            .filter(|input| self.agent_slots[*input].is_none())
            .map(|input| artifact.linear.input(encoding, input, values[input].number, values[input].level))
            .sum::<f64>();
        let tree_inputs: Vec<f32> = encoding
            .tree_inputs
            .iter()
            .map(|tree_input| match tree_input {
                TreeInput::Agent => f32::NAN,
                TreeInput::Number { input } => values[*input as usize].number,
                TreeInput::Target { input } if self.agent_slots[*input as usize].is_some() => f32::NAN,
                TreeInput::Target { input } => {
                    artifact.target_means[*input as usize][values[*input as usize].level as usize]
                }
            })
            .collect();
        let mut masks = vec![0; self.forest.trees()];
        self.forest.masks(false, &tree_inputs, &mut masks);
        let cross_levels = artifact.linear.crosses.iter().map(|cross| values[cross.input as usize].level).collect();
        ContextPart {
            values,
            linear: artifact.linear.intercept + linear,
            cross_levels,
            masks,
            tree_inputs,
            overrides,
            warnings,
        }
    }

    /// The request's time, unless the context gives the interaction's own.
    fn interaction_time(&self, request: &ScoreInput<'_>) -> i64 {
        let own = self.artifact.encoding.fields.iter().find(|field| field.is_request_time);
        let given = own.and_then(|field| request.context.get(&field.name).map(|value| (field.field_type, value)));
        match given.map(|(field_type, value)| read_value(field_type, value)) {
            Some(Ok(Raw::Time(at))) => at,
            _ => request.now.timestamp_micros(),
        }
    }
}

fn levels_of(artifact: &Artifact, input: usize) -> usize {
    artifact.encoding.inputs[input].levels.as_ref().map_or(0, |levels| levels.len())
}

/// Names by what is odd about them; bounded, and honest about what it leaves out.
#[derive(Default)]
struct Warnings {
    wrong_type: Vec<String>,
    unknown_category: Vec<String>,
    unused: (Vec<String>, usize),
}

impl Warnings {
    fn wrong_type(&mut self, name: &str) {
        self.wrong_type.push(name.to_owned());
    }

    fn unknown_category(&mut self, name: &str) {
        self.unknown_category.push(name.to_owned());
    }

    fn unused(&mut self, name: &str) {
        self.unused.1 += 1;
        if self.unused.0.len() < NAMES_IN_WARNING {
            self.unused.0.push(name.chars().take(100).collect());
        }
    }

    fn into_texts(self) -> Vec<String> {
        let mut texts = Vec::new();
        texts.extend(
            self.wrong_type
                .iter()
                .map(|name| format!("context field {name:?} has a value of the wrong type: it was scored as missing")),
        );
        texts.extend(self.unknown_category.iter().map(|name| {
            format!("context field {name:?} has a value that training did not see (or too seldom): it was scored as \"other\"")
        }));
        let (names, count) = self.unused;
        if count > 0 {
            let rest = count - names.len();
            let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
            texts.push(format!("the model does not use these context fields: {}{more}", names.join(", ")));
        }
        texts
    }
}
