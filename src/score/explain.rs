//! Why an agent's score is what it is: additive contributions of the features to the model's raw output.
//!
//! The regression's terms are exact. The trees' are Shapley values (see `shapley.rs`), which add up to the trees' sum
//! exactly, too. Base and contributions add up to the raw output.

use serde::Serialize;

use super::agents::{AgentPart, AgentSet};
use super::compiled::CompiledModel;
use super::context::ContextPart;
use super::encoding::{Side, TreeInput};
use super::request::ScoreInput;
use crate::domain::predictor::MetricKind;

/// What a contribution comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContributionSide {
    Context,
    Customer,
    /// A feature of the agent.
    Agent,
    /// What training learned of this very agent: in general when there is no feature, else together with the feature.
    Identity,
}

/// What one feature adds.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Contribution {
    pub side: ContributionSide,
    pub feature: Option<String>,
    /// In the unit of the raw output; never 0.
    pub value: f64,
}

/// An agent's prediction, taken apart.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Explanation {
    /// What the model starts from.
    pub base: f64,
    /// Strongest first.
    pub contributions: Vec<Contribution>,
    /// Classification: log odds (natural logarithm) of the positive class. Regression: the predicted metric. Equal to
    /// base and contributions together.
    pub raw: f64,
}

impl CompiledModel {
    /// Explains the scores of these agents, in their order; none for an agent whom the set does not hold.
    /// `agents` must have been built for this model.
    pub fn explain(&self, input: &ScoreInput<'_, '_>, agents: &AgentSet, ids: &[&str]) -> Vec<Option<Explanation>> {
        let context = self.encode_context(input);
        let expected = self.artifact().forest.expected();
        let explain = |id: &&str| Some(self.explain_one(&context, expected, agents.part(agents.position(id)?)?));
        ids.iter().map(explain).collect()
    }

    fn explain_one(&self, context: &ContextPart, expected: f64, mut agent: AgentPart) -> Explanation {
        for (slot, value) in &context.overrides {
            agent.inputs[*slot] = *value;
        }
        let artifact = self.artifact();
        let (linear, encoding) = (&artifact.linear, &artifact.encoding);
        // One place a field, then one a field for the agent's crosses with it, then the agent itself.
        let fields = encoding.fields.len();
        let identity = 2 * fields;
        let mut values = vec![0.0; identity + 1];
        for (index, input) in encoding.inputs.iter().enumerate() {
            let field = input.field as usize;
            if encoding.fields[field].side != Side::Agent {
                let value = context.values[index];
                values[field] += linear.input(encoding, index, value.number, value.level);
            }
        }
        for (index, value) in self.agent_inputs.iter().zip(&agent.inputs) {
            values[encoding.inputs[*index].field as usize] += linear.input(encoding, *index, value.number, value.level);
        }
        if let Some(own) = agent.trained.filter(|_| agent.local) {
            values[identity] += linear.agents.get(own as usize).map_or(0.0, |value| f64::from(*value));
            for (cross, at) in linear.crosses.iter().zip(&context.crosses) {
                values[fields + encoding.inputs[cross.input as usize].field as usize] += f64::from(agent.crosses[*at]);
            }
        }
        let mut tree_inputs = context.tree_inputs.clone();
        self.agent_tree_inputs(&agent, &mut tree_inputs);
        let player = |tree_input: &TreeInput| match tree_input.input() {
            Some(input) => encoding.inputs[input].field as usize,
            None => identity,
        };
        let players: Vec<usize> = encoding.tree_inputs.iter().map(player).collect();
        artifact.forest.add_shapley(&tree_inputs, &players, &mut values);
        let raw = linear.intercept + expected + values.iter().sum::<f64>();
        self.in_units(linear.intercept + expected, values, raw)
    }

    /// From margins to the unit of the raw output, with names.
    fn in_units(&self, base: f64, values: Vec<f64>, raw: f64) -> Explanation {
        let artifact = self.artifact();
        let (shift, factor) = match artifact.outcome.kind {
            MetricKind::Classification => (0.0, 1.0),
            MetricKind::Regression => (artifact.outcome.mean, artifact.outcome.deviation),
        };
        let fields = &artifact.encoding.fields;
        let named = |(at, value): (usize, f64)| {
            let (side, feature) = match fields.get(at) {
                Some(field) => {
                    let side = match field.side {
                        Side::Context => ContributionSide::Context,
                        Side::Customer => ContributionSide::Customer,
                        Side::Agent => ContributionSide::Agent,
                    };
                    (side, Some(field.name.clone()))
                }
                None => (ContributionSide::Identity, fields.get(at - fields.len()).map(|field| field.name.clone())),
            };
            Contribution { side, feature, value: factor * value }
        };
        let told = values.into_iter().enumerate().filter(|(_, value)| *value != 0.0);
        let mut contributions: Vec<Contribution> = told.map(named).collect();
        contributions.sort_by(|a, b| b.value.abs().total_cmp(&a.value.abs()));
        Explanation { base: shift + factor * base, contributions, raw: shift + factor * raw }
    }
}
