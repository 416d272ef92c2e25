//! The shapes of models in requests and answers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::Timestamp;
use crate::domain::comparison::Comparison;
use crate::domain::id::{JobId, ModelId, PredictorId};
use crate::domain::model::{Model, ModelSettings, ModelState, ModelType};
use crate::domain::predictor::Features;

/// A model to create.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelBody {
    /// 1 to 100 characters.
    pub name: String,
    #[serde(rename = "type")]
    pub model_type: ModelType,
    /// A part of the predictor's features; all of them when absent.
    pub features: Option<Features>,
    pub settings: Option<ModelSettings>,
    /// The same data, settings and seed give the same model.
    pub seed: Option<u64>,
}

/// A model as it is answered.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ModelAnswer {
    #[schema(value_type = String)]
    pub id: ModelId,
    #[schema(value_type = String)]
    pub predictor_id: PredictorId,
    pub name: String,
    #[serde(rename = "type")]
    pub model_type: ModelType,
    pub state: ModelState,
    /// Grows with every training; 0 before the first.
    pub version: u32,
    /// All of the predictor's when absent.
    pub features: Option<Features>,
    pub settings: ModelSettings,
    pub seed: u64,
    pub active: bool,
    /// Share of the score requests among the predictor's active models.
    pub share: Option<f64>,
    /// When it last stopped answering scores.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub retired_at: Option<Timestamp>,
    /// Why the last training failed, and what to do.
    pub error: Option<String>,
    #[schema(value_type = Option<String>)]
    pub job_id: Option<JobId>,
    /// Dataset version, rows and period.
    #[schema(value_type = Option<Object>)]
    pub trained_on: Option<serde_json::Value>,
    /// How the last training compared with the version before, on rows that neither had seen: of an active model, and of scheduled
    /// trainings.
    pub comparison: Option<Comparison>,
    /// Size of the artifact in bytes.
    pub artifact_bytes: Option<u64>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

impl From<Model> for ModelAnswer {
    fn from(model: Model) -> Self {
        Self {
            id: model.id,
            predictor_id: model.predictor_id,
            name: model.name,
            model_type: model.model_type,
            state: model.state,
            version: model.version,
            features: model.features,
            settings: model.settings,
            seed: model.seed,
            active: model.active,
            share: model.share,
            retired_at: model.retired_at,
            error: model.error,
            job_id: model.job_id,
            trained_on: model.trained_on,
            comparison: model.comparison,
            artifact_bytes: model.artifact.map(|artifact| artifact.size_bytes),
            created_at: model.created_at,
            updated_at: model.updated_at,
        }
    }
}

/// How to activate. Without a body the model answers alone.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivateBody {
    /// Above 0 and at most 1: the model's share of the requests; the other active models share the rest as before. The choice is the
    /// same whenever the same `context_id` is asked about (without one: the same `context`).
    /// Absent: 1.
    pub share: Option<f64>,
}

/// The job that was started.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Started {
    #[schema(value_type = String)]
    pub job_id: JobId,
}
