//! Predictors: what is to be predicted, from which data, for whom.

use serde::{Deserialize, Serialize};

use super::Timestamp;
use super::id::{AccountId, DatasetId, PredictorId};
use super::rotation::Rotation;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    Classification,
    Regression,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    Maximize,
    Minimize,
}

/// The outcome that the business wants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    pub field: String,
    pub kind: MetricKind,
    pub goal: Goal,
    /// The value that counts as success of a classification; true or 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positive: Option<serde_json::Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentSource {
    Profile,
    Dataset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CustomerSource {
    Profile,
    None,
}

/// The chosen features by the side they belong to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Features {
    #[serde(default)]
    pub context: Vec<String>,
    #[serde(default)]
    pub customer: Vec<String>,
    #[serde(default)]
    pub agent: Vec<String>,
}

/// A simple predictor learns from one dataset; a composite one combines others by an expression.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PredictorDefinition {
    Simple {
        dataset_id: DatasetId,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        metric: Metric,
        agent_source: AgentSource,
        customer_source: CustomerSource,
        features: Features,
        /// Over `p_score`; the default scale when absent.
        score_expression: Option<String>,
    },
    Composite {
        /// Over predictor names, such as `0.7*fcr + 0.3*nps`.
        combine: String,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Predictor {
    pub id: PredictorId,
    pub account_id: AccountId,
    pub name: String,
    pub definition: PredictorDefinition,
    /// How its active models take turns.
    #[serde(default)]
    pub rotation: Rotation,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A name: letters, digits, underscore, starting with a letter or underscore, at most 100 characters.
pub fn is_predictor_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 100
        && bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
