//! Models: a predictor's trained versions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Timestamp;
use super::comparison::Comparison;
use super::id::{AccountId, JobId, ModelId, PredictorId};
use super::predictor::Features;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum ModelType {
    /// One model over context, customer and agent features.
    Global,
    /// A local model per agent, shrunk to a pooled regression.
    Disjoint,
    /// The global prediction as the offset of each agent's local model.
    Hybrid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelState {
    Draft,
    Queued,
    Training,
    Trained,
    Failed,
}

/// How the last part of the data is held back to measure a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Holdout {
    Time,
    Random,
}

/// Which way a prediction may go as a feature's value grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Increasing,
    Decreasing,
}

/// Training settings; each has a default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSettings {
    /// At most so many trees (exactly, when `early_stop` is false); 0 leaves the trees out.
    pub trees: u32,
    /// 2 to 64.
    pub max_leaves: u32,
    pub learning_rate: f64,
    pub l2: f64,
    pub early_stop: bool,
    pub holdout: Holdout,
    /// Share of the rows held back, above 0 and at most 0.5.
    pub holdout_share: f64,
    /// Rows lose half their weight every so many days; none when absent.
    pub half_life_days: Option<f64>,
    /// Context fields crossed with the agent; chosen automatically when absent.
    pub crosses: Option<Vec<String>>,
    /// Numeric and Boolean features by which the predicted probability or metric may only rise (`increasing`) or fall
    /// (`decreasing`) while all else stays.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub monotone: BTreeMap<String, Direction>,
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            trees: 500,
            max_leaves: 64,
            learning_rate: 0.1,
            l2: 1.0,
            early_stop: true,
            holdout: Holdout::Time,
            holdout_share: 0.2,
            half_life_days: None,
            crosses: None,
            monotone: BTreeMap::new(),
        }
    }
}

/// A model's document. The artifact itself is stored in chunks beside it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Model {
    pub id: ModelId,
    pub account_id: AccountId,
    pub predictor_id: PredictorId,
    pub name: String,
    #[serde(rename = "type")]
    pub model_type: ModelType,
    pub state: ModelState,
    /// Grows with every training; names the artifact that is current.
    pub version: u32,
    pub features: Option<Features>,
    pub settings: ModelSettings,
    pub seed: u64,
    pub active: bool,
    /// Share of requests among the active models, above 0 and at most 1.
    pub share: Option<f64>,
    /// When it last stopped answering: of those that could answer, the latest is the one to go back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_at: Option<Timestamp>,
    pub error: Option<String>,
    pub job_id: Option<JobId>,
    /// Dataset version, rows and period that it was trained on.
    pub trained_on: Option<serde_json::Value>,
    pub quality: Option<serde_json::Value>,
    pub coverage: Option<serde_json::Value>,
    pub artifact: Option<ArtifactInfo>,
    /// The last training of a version that had another one to beat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Where a model's artifact is and how to check it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactInfo {
    pub chunks: u32,
    pub size_bytes: u64,
    pub sha256: String,
}
