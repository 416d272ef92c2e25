//! What became of scored interactions, as the routing strategy tells it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Timestamp;
use super::id::AccountId;

/// Whether the interaction was routed by scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    On,
    Off,
    /// Scored, but routed as if it had not been.
    DryRun,
}

/// How the routing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Routed,
    Abandoned,
    Failed,
}

impl Mode {
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::On => "on",
            Mode::Off => "off",
            Mode::DryRun => "dry_run",
        }
    }
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Routed => "routed",
            Outcome::Abandoned => "abandoned",
            Outcome::Failed => "failed",
        }
    }
}

/// The outcome's value, as the predictor's metric has it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum MetricValue {
    Boolean(bool),
    Number(f64),
    Text(String),
}

/// One interaction as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ScoreLogEntry {
    pub interaction_id: String,
    pub context_id: Option<String>,
    pub predictor_id: String,
    pub agent_id: Option<String>,
    pub score: Option<f64>,
    /// The model's prediction for the chosen agent: probability or predicted metric.
    #[serde(default)]
    pub p_score: Option<f64>,
    pub rank: Option<u32>,
    pub mode: Mode,
    pub outcome: Outcome,
    #[schema(value_type = Option<MetricValue>)]
    pub metric: Option<Value>,
    /// The `request_id` of the score.
    #[serde(default)]
    pub request_id: Option<String>,
    /// The model that scored.
    #[serde(default)]
    pub model_id: Option<String>,
    /// Feature values as they were when the interaction was scored.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub context: Option<Map<String, Value>>,
    pub connection_ids: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// An entry with the account that it belongs to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredEntry {
    pub account_id: AccountId,
    #[serde(flatten)]
    pub entry: ScoreLogEntry,
}
