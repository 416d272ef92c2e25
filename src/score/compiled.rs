//! A model ready to score: an artifact with its lookups and its factorised forest.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::agents::{AgentPart, AgentSet, Together, margins};
use super::artifact::{Artifact, held};
use super::bytes::GROUP;
use super::context::ContextPart;
use super::encoding::{Encoded, Raw, Side, TextLevels, TreeInput, read_value};
use super::factorised::{AgentTrees, FactorisedForest, TreeCounts};
use super::ranking::{Scored, answer};
use super::request::{ScoreInput, ScoreOutput};
use super::wide::ByteInstructions;
use crate::domain::predictor::AgentSource;
use crate::quick_map::QuickMap;

/// A model that scores. Immutable; share it by `Arc`.
#[derive(Debug)]
pub struct CompiledModel {
    artifact: Arc<Artifact>,
    /// Per input, texts to levels.
    pub(super) texts: Vec<TextLevels>,
    /// Field names to the fields that have them (one a side).
    pub(super) fields: QuickMap<String, Vec<usize>>,
    /// Per field, its inputs.
    pub(super) field_inputs: Vec<Vec<usize>>,
    /// The agent-side inputs in order, and the place of each input among them.
    pub(super) agent_inputs: Vec<usize>,
    pub(super) agent_slots: Vec<Option<usize>>,
    /// Per cross, where an agent's coefficients for it begin in [`AgentPart::crosses`].
    pub(super) cross_starts: Vec<usize>,
    pub(super) forest: FactorisedForest,
    /// An agent of whom nothing is known.
    nobody: (AgentPart, AgentTrees),
}

impl CompiledModel {
    pub fn new(artifact: Arc<Artifact>) -> CompiledModel {
        Self::with(artifact, ByteInstructions::new())
    }

    /// The same model with agents by their masks, as for processors without the instructions for bytes: what those are measured and
    /// tested against.
    pub fn by_masks(artifact: Arc<Artifact>) -> CompiledModel {
        Self::with(artifact, None)
    }

    fn with(artifact: Arc<Artifact>, bytes: Option<ByteInstructions>) -> CompiledModel {
        let encoding = &artifact.encoding;
        let mut fields = QuickMap::<_, Vec<usize>>::default();
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
        let forest = FactorisedForest::new(&artifact.forest, encoding, bytes);
        let texts = encoding.text_index();
        let nobody = (
            AgentPart { local: false, trained: None, linear: 0.0, crosses: Vec::new(), inputs: Vec::new() },
            AgentTrees::default(),
        );
        let mut model =
            Self { artifact, texts, fields, field_inputs, agent_inputs, agent_slots, cross_starts, forest, nobody };
        let nothing = model.nobody_part().inputs;
        model.nobody = model.agent(None, nothing);
        model
    }

    /// How many trees there are of each kind.
    pub fn tree_counts(&self) -> TreeCounts {
        self.forest.counts()
    }

    pub fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    /// True when the model reads a field of this name: of the context, the customer or the agent.
    pub fn reads(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }

    /// The fields that the model reads of this side.
    pub fn fields_of(&self, side: Side) -> impl Iterator<Item = &str> {
        self.artifact.encoding.fields.iter().filter(move |field| field.side == side).map(|field| field.name.as_str())
    }

    /// Index among the trained agents.
    pub fn trained_agent(&self, id: &str) -> Option<u32> {
        self.artifact.agents.ids.binary_search_by(|other| other.as_ref().cmp(id)).ok().map(|at| at as u32)
    }

    /// Scores the eligible agents, best first. `agents` must have been built for this model.
    pub fn score<'a>(&self, input: &ScoreInput<'_, 'a>, agents: &'a AgentSet) -> ScoreOutput<'a> {
        self.score_by(input, agents, false)
    }

    /// The same answer by walking every tree for every agent: what the factorised form is measured and tested against.
    pub fn score_plainly<'a>(&self, input: &ScoreInput<'_, 'a>, agents: &'a AgentSet) -> ScoreOutput<'a> {
        self.score_by(input, agents, true)
    }

    fn score_by<'a>(&self, input: &ScoreInput<'_, 'a>, agents: &'a AgentSet, plainly: bool) -> ScoreOutput<'a> {
        let context = self.encode_context(input);
        let (positions, unknown) = agents.find(input.eligible);
        let together = agents.together(&positions);
        let parts = || positions.iter().filter_map(|at| agents.part(*at)).chain([self.nobody_part()]);
        // The last one is that of an agent of whom nothing is known.
        let mut p_scores: Vec<f64> = if plainly {
            parts().map(|agent| self.plain_margin(&context, agent)).collect()
        } else if context.overrides.is_empty() {
            self.margins(&context, agents, &positions, &together)
        } else {
            self.overridden_margins(&context, parts())
        };
        self.artifact.outcome.p_scores(&mut p_scores);
        let mut scores = match input.expression {
            Some(expression) => p_scores.iter().map(|p_score| held(expression(*p_score))).collect(),
            None => self.artifact.outcome.scores(&p_scores),
        };
        p_scores.pop();
        let global = scores.pop().unwrap_or_default();
        let local = together.iter().map(Together::locals).sum();
        let scored = Scored { positions: &positions, scores, p_scores, local };
        answer(scored, agents, &unknown, global, input, context.warnings)
    }

    /// Margins of the agents at these positions (each once), in their order, for an interaction whose inputs are encoded already (one
    /// an input of the encoding; those of the agent's side are not read). What [`CompiledModel::score`] ranks by, for evaluations
    /// of many thousand interactions.
    pub fn margins_of_encoded(&self, inputs: Vec<Encoded>, agents: &AgentSet, positions: &[u32]) -> Vec<f64> {
        let context = self.context_part(inputs, Vec::new(), Vec::new());
        let mut margins = self.margins(&context, agents, positions, &agents.together(positions));
        margins.pop();
        margins
    }

    /// Of the agents in their order, and last of one of whom nothing is known.
    fn margins(
        &self,
        context: &ContextPart,
        agents: &AgentSet,
        positions: &[u32],
        together: &[Together<'_, '_>],
    ) -> Vec<f64> {
        let (nobody, trees) = &self.nobody;
        let mut sums = agents.sums(self, &context.trees, positions, together, trees);
        let sum = sums.pop().unwrap_or_default();
        let mut margins = margins(self, context.linear, &context.crosses, &sums, together);
        margins.push(self.margin(context, nobody, self.forest.in_margin(sum + trees.alone)));
        margins
    }

    /// Intercept and terms of both sides, the crosses, the trees, in this order.
    fn margin(&self, context: &ContextPart, agent: &AgentPart, trees: f64) -> f64 {
        let mut sum = context.linear + agent.linear;
        if !agent.crosses.is_empty() {
            for cross in &context.crosses {
                sum += f64::from(agent.crosses[*cross]);
            }
        }
        sum + trees
    }

    /// An agent of whom nothing is known.
    fn nobody_part(&self) -> AgentPart {
        let inputs = self.agent_inputs.iter().map(|input| self.missing(*input)).collect();
        self.part_of(None, inputs)
    }

    /// With the context's values of agent inputs in place of the agents' own.
    fn overridden_margins(&self, context: &ContextPart, mut agents: impl Iterator<Item = AgentPart>) -> Vec<f64> {
        let mut margins = Vec::new();
        loop {
            let some = agents.by_ref().take(GROUP).map(|agent| {
                let (agent, tree_inputs) = self.overridden(context, agent);
                (agent, self.forest.agent(&tree_inputs))
            });
            let (parts, trees): (Vec<_>, Vec<_>) = some.unzip();
            if parts.is_empty() {
                return margins;
            }
            let sums = self.forest.sums(&context.trees, &trees);
            for (agent, sum) in parts.iter().zip(sums) {
                margins.push(self.margin(context, agent, self.forest.in_margin(sum)));
            }
        }
    }

    /// The margin by walking the trees.
    fn plain_margin(&self, context: &ContextPart, agent: AgentPart) -> f64 {
        let (agent, tree_inputs) = self.overridden(context, agent);
        self.margin(context, &agent, self.artifact.forest.sum(&tree_inputs))
    }

    /// The agent and the tree inputs of both sides, with what the context overrides.
    fn overridden(&self, context: &ContextPart, mut agent: AgentPart) -> (AgentPart, Vec<f32>) {
        for (slot, value) in &context.overrides {
            agent.inputs[*slot] = *value;
        }
        agent.linear = self.agent_linear(agent.trained.filter(|_| agent.local), &agent.inputs);
        let mut tree_inputs = context.tree_inputs.clone();
        self.agent_tree_inputs(&agent, &mut tree_inputs);
        (agent, tree_inputs)
    }

    /// The agent's index among the trained ones, and its inputs.
    pub(super) fn agent_inputs_of(&self, id: &str, fields: &Map<String, Value>) -> (Option<u32>, Vec<Encoded>) {
        let trained = self.trained_agent(id);
        let inputs = match (self.artifact.agent_source, trained) {
            (AgentSource::Dataset, Some(agent)) => self.latest_inputs(agent as usize),
            (AgentSource::Dataset, None) => self.agent_inputs.iter().map(|input| self.missing(*input)).collect(),
            (AgentSource::Profile, _) => self.profile_inputs(fields),
        };
        (trained, inputs)
    }

    /// Everything of an agent that does not depend on the interaction: for the regression, and for the trees.
    pub(super) fn agent(&self, trained: Option<u32>, inputs: Vec<Encoded>) -> (AgentPart, AgentTrees) {
        let part = self.part_of(trained, inputs);
        let mut tree_inputs = vec![f32::NAN; self.artifact.encoding.tree_inputs.len()];
        self.agent_tree_inputs(&part, &mut tree_inputs);
        (part, self.forest.agent(&tree_inputs))
    }

    fn part_of(&self, trained: Option<u32>, inputs: Vec<Encoded>) -> AgentPart {
        let local = trained.is_some_and(|agent| self.artifact.agents.local[agent as usize]);
        let mut crosses = Vec::new();
        if let Some(agent) = trained.filter(|_| local) {
            crosses.reserve(self.cross_width());
            for (at, cross) in self.artifact.linear.crosses.iter().enumerate() {
                let levels = levels_of(&self.artifact, cross.input as usize);
                crosses.extend(self.artifact.linear.cross_row(at, agent, levels));
            }
        }
        let linear = self.agent_linear(trained.filter(|_| local), &inputs);
        AgentPart { local, trained, linear, crosses, inputs }
    }

    /// Coefficients of an agent's crosses.
    pub(super) fn cross_width(&self) -> usize {
        let crosses = &self.artifact.linear.crosses;
        crosses.iter().map(|cross| levels_of(&self.artifact, cross.input as usize)).sum()
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
}

fn levels_of(artifact: &Artifact, input: usize) -> usize {
    artifact.encoding.inputs[input].levels.as_ref().map_or(0, |levels| levels.len())
}
