//! Reports: what can be said of data, predictors and models.

use serde::{Deserialize, Serialize};

use super::Timestamp;
use super::id::{AccountId, JobId, ModelId, PredictorId, ReportId};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReportKind {
    /// Which features tell something of the outcome. Of a model, or of a predictor with all its features.
    FeatureAnalysis,
    /// How much agents differ once the context is accounted for. Of a predictor.
    AgentVariance,
    /// What the metric would have been by the model's choices. Of a model.
    LiftEstimation,
    /// How good a model is on its holdout.
    ModelQuality,
    /// Which agents have a local model.
    AgentCoverage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReportState {
    Queued,
    Running,
    Ready,
    Failed,
}

/// What a report is to look at, beside its subject.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct ReportOptions {
    /// Lift estimation: numbers of agents free at a moment, 1 to 1,000 each, at most 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agents_free: Option<Vec<u32>>,
    /// A context or customer field by whose values the report is broken down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment_by: Option<String>,
}

/// A report's document. Its content is stored in chunks beside it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    pub id: ReportId,
    pub account_id: AccountId,
    pub kind: ReportKind,
    pub predictor_id: PredictorId,
    pub model_id: Option<ModelId>,
    /// The version of the model at that time.
    pub model_version: Option<u32>,
    #[serde(default)]
    pub options: ReportOptions,
    pub state: ReportState,
    /// Why it failed.
    pub error: Option<String>,
    /// The job that computes it; of quality and coverage, the training that did.
    pub job_id: Option<JobId>,
    /// How many chunks its content has.
    pub chunks: u32,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}
