//! What a score request asks and what it is answered.

use std::sync::Arc;

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
pub enum Eligible<'a> {
    /// Agent ids; each is scored once, unknown ones get the default.
    Ids(&'a [&'a str]),
    /// Positions of the agent set (see [`super::AgentSet::position`]); those that are vacant are left out.
    Positions(&'a [u32]),
}

/// One waiting interaction and who could take it.
pub struct ScoreInput<'a> {
    /// Feature values; they win over the customer's and the agents' own.
    pub context: &'a Map<String, Value>,
    /// The customer's profile fields, when the customer was found.
    pub customer: Option<&'a Map<String, Value>>,
    /// The time of the request: the interaction's own time unless the context gives it.
    pub now: Timestamp,
    pub eligible: Eligible<'a>,
    /// Only the best so many are answered; `median`, `max`, `min` and `eligible` still cover all.
    pub top: Option<usize>,
    pub default: DefaultPolicy,
    /// Turns `p_score` into `score`, such as a predictor's score expression; the default scale when absent.
    /// What it gives is held to finite and ≥ 0.
    pub expression: Option<&'a (dyn Fn(f64) -> f64 + Sync)>,
}

/// One agent's score.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AgentScore {
    pub agent_id: Arc<str>,
    /// Finite, ≥ 0, higher is better.
    pub score: f64,
    /// Probability of the positive class, or the predicted metric; none when `source` is `default`.
    pub p_score: Option<f64>,
    pub source: ScoreSource,
    /// 1 is best; ties break by agent id.
    pub rank: u32,
}

/// The answer, best first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScoreOutput {
    pub scores: Vec<AgentScore>,
    /// Over the agents that the model scored (over the defaults when there is none); none when nobody is eligible.
    pub median: Option<f64>,
    pub max: Option<f64>,
    pub min: Option<f64>,
    /// The score with every agent input missing.
    pub global: f64,
    /// Agents considered, before `top`.
    pub eligible: usize,
    /// In words for people: values that were scored as missing, names that the model does not know.
    pub warnings: Vec<String>,
}
