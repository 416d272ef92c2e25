//! A trained model: everything that scoring needs and nothing that names where or when it was made.
//!
//! The same data, settings and seed give the same bytes: no id, name, time, host or thread count is inside.

use std::sync::Arc;

use pulp::Arch;
use serde::{Deserialize, Serialize};

use super::container::{self, Reader, Writer};
use super::encoding::Encoding;
use super::forest::Forest;
use super::linear::LinearPart;
use super::logistic::{logistic, logistic_of_all};
use crate::domain::model::ModelType;
use crate::domain::predictor::{AgentSource, Goal, MetricKind};

/// Why bytes are not a usable artifact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArtifactError {
    #[error("these bytes are not a model artifact")]
    NotAnArtifact,
    #[error(
        "the artifact has format {found}, this program reads up to {supported}: update the program or train the model again"
    )]
    Newer { found: u32, supported: u32 },
    #[error("the artifact's checksum is wrong: it was damaged; train the model again")]
    Checksum,
    #[error("the artifact is damaged ({0}): train the model again")]
    Corrupt(String),
}

/// What is predicted and how the prediction becomes a score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub kind: MetricKind,
    pub goal: Goal,
    /// Regression: predictions are `mean + deviation × margin`. Classification: 0 and 1.
    pub mean: f64,
    pub deviation: f64,
    /// Regression, minimise: the training data's 99.9th percentile of the metric.
    pub high: f64,
}

impl Outcome {
    /// The margin (log-odds, or standardised metric) as probability or metric.
    pub fn p_score(&self, margin: f64) -> f64 {
        match self.kind {
            MetricKind::Classification => logistic(margin),
            MetricKind::Regression => self.mean + self.deviation * margin,
        }
    }

    /// The same of many, in place.
    pub fn p_scores(&self, margins: &mut [f64]) {
        match self.kind {
            MetricKind::Classification => logistic_of_all(margins),
            MetricKind::Regression => margins.iter_mut().for_each(|margin| *margin = self.p_score(*margin)),
        }
    }

    /// [`Outcome::score`] of many.
    pub fn scores(&self, p_scores: &[f64]) -> Vec<f64> {
        Arch::new().dispatch(
            #[inline(always)]
            || p_scores.iter().map(|p_score| self.score(*p_score)).collect(),
        )
    }

    /// The score without a score expression: higher is better, finite, ≥ 0.
    #[inline(always)]
    pub fn score(&self, p_score: f64) -> f64 {
        let score = match (self.kind, self.goal) {
            (MetricKind::Classification, Goal::Maximize) => 1000.0 * p_score,
            (MetricKind::Classification, Goal::Minimize) => 1000.0 * (1.0 - p_score),
            (MetricKind::Regression, Goal::Maximize) => p_score,
            (MetricKind::Regression, Goal::Minimize) => self.high - p_score,
        };
        held(score)
    }
}

/// Finite and ≥ 0, whatever an expression gave: what is no number is 0.
#[inline(always)]
pub fn held(score: f64) -> f64 {
    // What is no number is less than nothing here: `max` gives the other one.
    f64::min(score.max(0.0), f64::MAX)
}

/// The agents that training saw.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrainedAgents {
    /// Ascending.
    pub ids: Vec<Arc<str>>,
    /// True where the agent has a local model.
    pub local: Vec<bool>,
    /// Per agent: the smoothed mean of the target, for [`super::encoding::TreeInput::Agent`]; empty when not used.
    pub target_means: Vec<f32>,
    /// Agent features that come from the dataset (each agent's latest values): per agent, per agent-side input, the
    /// number and the level. Empty when features come from the profile.
    pub latest_numbers: Vec<f32>,
    pub latest_levels: Vec<u32>,
}

/// A trained model. See [`super::CompiledModel`] for its use.
#[derive(Debug, Clone, PartialEq)]
pub struct Artifact {
    pub model_type: ModelType,
    pub outcome: Outcome,
    pub agent_source: AgentSource,
    pub encoding: Encoding,
    /// Per input: the smoothed mean of the target per level, for target-encoded tree inputs; empty for others.
    pub target_means: Vec<Vec<f32>>,
    /// What [`super::encoding::TreeInput::Agent`] is for an agent without a local model.
    pub prior: f32,
    pub agents: TrainedAgents,
    pub linear: LinearPart,
    pub forest: Forest,
}

/// The part of the body that is JSON: small, and readable in a debugger.
#[derive(Serialize, Deserialize)]
struct Head {
    model_type: ModelType,
    outcome: Outcome,
    agent_source: AgentSource,
    encoding: Encoding,
    prior: f32,
    agents: Vec<Arc<str>>,
    crosses: Vec<u32>,
    intercept: f64,
}

impl Artifact {
    /// The container's bytes; equal artifacts give equal bytes.
    pub fn encode(&self) -> Result<Vec<u8>, ArtifactError> {
        let head = Head {
            model_type: self.model_type,
            outcome: self.outcome.clone(),
            agent_source: self.agent_source,
            encoding: self.encoding.clone(),
            prior: self.prior,
            agents: self.agents.ids.clone(),
            crosses: self.linear.crosses.iter().map(|cross| cross.input).collect(),
            intercept: self.linear.intercept,
        };
        let head = serde_json::to_vec(&head).map_err(|error| ArtifactError::Corrupt(error.to_string()))?;
        let mut writer = Writer::default();
        writer.bytes(&head);
        for means in &self.target_means {
            writer.f32s(means);
        }
        writer.bytes(&self.agents.local.iter().map(|local| u8::from(*local)).collect::<Vec<_>>());
        writer.f32s(&self.agents.target_means);
        writer.f32s(&self.agents.latest_numbers);
        writer.u32s(&self.agents.latest_levels);
        self.linear.write(&mut writer);
        self.forest.write(&mut writer);
        container::seal(&writer.0)
    }

    /// Reads what [`Artifact::encode`] wrote, and checks that every index inside is in range.
    pub fn decode(bytes: &[u8]) -> Result<Artifact, ArtifactError> {
        let (format, body) = container::open(bytes)?;
        let mut reader = Reader(&body);
        let head: Head =
            serde_json::from_slice(reader.bytes()?).map_err(|error| ArtifactError::Corrupt(error.to_string()))?;
        let target_means = head.encoding.inputs.iter().map(|_| reader.f32s()).collect::<Result<Vec<_>, _>>()?;
        let local = reader.bytes()?.iter().map(|flag| *flag != 0).collect();
        let agents = TrainedAgents {
            ids: head.agents,
            local,
            target_means: reader.f32s()?,
            latest_numbers: reader.f32s()?,
            latest_levels: reader.u32s()?,
        };
        let linear = LinearPart::read(&mut reader, head.intercept, &head.crosses, head.encoding.inputs.len())?;
        let forest = Forest::read(&mut reader, format)?;
        let artifact = Artifact {
            model_type: head.model_type,
            outcome: head.outcome,
            agent_source: head.agent_source,
            encoding: head.encoding,
            target_means,
            prior: head.prior,
            agents,
            linear,
            forest,
        };
        artifact.check().map_err(|what| ArtifactError::Corrupt(what.to_owned()))?;
        Ok(artifact)
    }

    /// Lengths and indexes that scoring relies on.
    fn check(&self) -> Result<(), &'static str> {
        let encoding = &self.encoding;
        let inputs = encoding.inputs.len();
        let agents = self.agents.ids.len();
        let agent_inputs = encoding.agent_inputs().count();
        let levels = |input: usize| encoding.inputs[input].levels.as_ref().map_or(0, |levels| levels.len());
        let ensure = |holds: bool, what: &'static str| if holds { Ok(()) } else { Err(what) };
        ensure(
            encoding.inputs.iter().all(|input| (input.field as usize) < encoding.fields.len()),
            "a field is missing",
        )?;
        for tree_input in &encoding.tree_inputs {
            let fine = match tree_input.input() {
                Some(input) => {
                    input < inputs && (!tree_input.is_target() || self.target_means[input].len() == levels(input))
                }
                None => self.agents.target_means.len() == agents,
            };
            ensure(fine, "a tree input is missing")?;
        }
        ensure(self.agents.local.len() == agents && self.agents.ids.is_sorted(), "the agents are incomplete")?;
        if self.agent_source == AgentSource::Dataset {
            let cells = agents * agent_inputs;
            let complete = self.agents.latest_numbers.len() == cells && self.agents.latest_levels.len() == cells;
            ensure(complete, "the agents' values are incomplete")?;
            let in_range = encoding.agent_inputs().enumerate().all(|(at, input)| {
                (0..agents)
                    .all(|agent| (self.agents.latest_levels[agent * agent_inputs + at] as usize) < levels(input).max(1))
            });
            ensure(in_range, "an agent's level is unknown")?;
        }
        self.linear.check(encoding, agents)?;
        self.forest.check(encoding.tree_inputs.len())
    }
}
