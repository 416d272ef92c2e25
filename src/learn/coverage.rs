//! Which agents have a local model, and why others have none.

use serde::{Deserialize, Serialize};

/// Fewest interactions of an agent with a local model.
pub(super) const MIN_LOCAL_SAMPLES: u64 = 10;

/// Why an agent is scored by the global part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotLocal {
    /// Every interaction had the same outcome.
    OneOutcome,
    /// Fewer than 10 interactions.
    TooFewInteractions,
    /// The model type has no local part.
    GlobalModel,
}

/// An agent's interactions by the class of their outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ClassCounts {
    pub positive: u64,
    pub negative: u64,
}

/// One agent of the training data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AgentCoverage {
    pub agent_id: String,
    pub local: bool,
    /// Set when `local` is false.
    pub reason: Option<NotLocal>,
    /// Interactions.
    pub samples: u64,
    /// Distinct outcomes (classification: at most 2; regression: counted up to 2).
    pub outcomes: u64,
    /// Mean outcome: the share of positives, or the mean of the metric.
    pub mean: f64,
    /// Classification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<ClassCounts>,
    /// How much of the deviation of its own outcomes the local part keeps, 0 (none: the agent is scored as the others are)
    /// to 1 (all of it). It grows with the agent's interactions, and with how much agents differ at all. None without a
    /// local model.
    #[serde(default)]
    pub shrinkage: Option<f64>,
}

/// Agents of the training data by id. Agents that are not listed were not seen: they are scored by the global part.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Coverage {
    pub local: u64,
    pub global: u64,
    /// Interactions without an agent id.
    pub samples_without_agent: u64,
    pub agents: Vec<AgentCoverage>,
}
