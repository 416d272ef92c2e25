//! What a score request asks and what it is answered.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::Timestamp;

/// Where a score comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScoreSource {
    /// The agent's own model had a part in it.
    Local,
    /// Context, customer and agent features only.
    Global,
    /// The agent is known neither to the profile nor to training.
    Default,
}

/// What an unknown agent is given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub enum DefaultPolicy {
    #[serde(rename = "max")]
    Max,
    #[serde(rename = "median")]
    Median,
    #[default]
    #[serde(rename = "global")]
    Global,
    #[serde(rename = "min")]
    Min,
    #[serde(rename = "0")]
    Zero,
}

/// Who may take the interaction.
#[derive(Debug, Clone, Copy)]
pub enum Eligible<'i, 'a> {
    /// Agent ids; each is scored once, unknown ones get the default.
    Ids(&'i [&'a str]),
    /// Positions of the agent set (see [`super::AgentSet::position`]); those that are vacant are left out.
    Positions(&'i [u32]),
}

/// One waiting interaction and who could take it. The answer keeps none of it but ids.
pub struct ScoreInput<'i, 'a> {
    /// Feature values; they win over the customer's and the agents' own.
    pub context: &'i Map<String, Value>,
    /// The customer's profile fields, when the customer was found.
    pub customer: Option<&'i Map<String, Value>>,
    /// The time of the request: the interaction's own time unless the context gives it.
    pub now: Timestamp,
    pub eligible: Eligible<'i, 'a>,
    /// Only the best so many are answered; `median`, `max`, `min` and `eligible` still cover all.
    pub top: Option<usize>,
    pub default: DefaultPolicy,
    /// Turns `p_score` into `score`, such as a predictor's score expression; the default scale when absent.
    /// What it gives is held to finite and ≥ 0.
    pub expression: Option<&'i (dyn Fn(f64) -> f64 + Sync)>,
}

/// One agent's score.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentScore<'a> {
    pub agent_id: &'a str,
    /// Finite, ≥ 0, higher is better.
    pub score: f64,
    /// Probability of the positive class, or the predicted metric; none when `source` is `default`.
    pub p_score: Option<f64>,
    pub source: ScoreSource,
    /// 1 is best; ties break by agent id.
    pub rank: u32,
}

/// The answer, best first. Ids are those of the agent set and of the request.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreOutput<'a> {
    pub scores: Vec<AgentScore<'a>>,
    /// Over the agents that the model scored (over the defaults when there is none); none when nobody is eligible.
    pub median: Option<f64>,
    pub max: Option<f64>,
    pub min: Option<f64>,
    /// The score with every agent input missing.
    pub global: f64,
    /// Agents considered, before `top`.
    pub eligible: usize,
    /// Of them, those with a local model.
    pub local: usize,
    /// What the model predicted for each agent that it scored, before `top`, in no particular order.
    pub predicted: Vec<f64>,
    /// In words for people: values that were scored as missing, names that the model does not know.
    pub warnings: Vec<String>,
}
