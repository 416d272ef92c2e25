//! The model card: what a person wants to know of a trained version before using it (Mitchell et al., FAT* 2019).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::coverage::Coverage;
use super::quality::Quality;
use crate::domain::Timestamp;
use crate::domain::id::{ModelId, PredictorId};
use crate::domain::model::{ArtifactInfo, Model, ModelSettings, ModelType};
use crate::domain::predictor::PredictorDefinition;
use crate::domain::predictor::{AgentSource, CustomerSource, Features, Goal, Metric, MetricKind, Predictor};

/// What training chose within the settings, without having seen the holdout.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ChoicesMade {
    /// Trees that the model uses.
    pub trees: u32,
    /// Fields crossed with the agent.
    pub crosses: Vec<String>,
    /// Factor of the estimated ridge strengths: of all, and additionally of crosses. 1: as estimated.
    pub ridge: f64,
    pub cross_ridge: f64,
    /// Features of which only values seen in training are used, since their size moves on with time.
    pub drifting: Vec<String>,
}

/// How many agents have a local part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CardCoverage {
    pub local: u64,
    pub global: u64,
    pub samples_without_agent: u64,
}

/// A trained version as it was when its training ended; later changes of the predictor or the settings don't reach it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ModelCard {
    #[schema(value_type = String)]
    pub model_id: ModelId,
    pub name: String,
    #[serde(rename = "type")]
    pub model_type: ModelType,
    pub version: u32,
    #[schema(value_type = String, format = DateTime)]
    pub trained_at: Timestamp,
    /// Of the program that trained it.
    pub program_version: String,
    #[schema(value_type = String)]
    pub predictor_id: PredictorId,
    pub predictor: String,
    pub metric: Metric,
    /// What it is for, and what it is not for.
    pub intended_use: String,
    /// Dataset, its version, rows and period.
    #[schema(value_type = Object)]
    pub data: Value,
    pub features: Features,
    pub agent_source: AgentSource,
    pub customer_source: CustomerSource,
    pub settings: ModelSettings,
    pub seed: u64,
    pub choices: ChoicesMade,
    /// Measured on the holdout by a model fitted without it.
    pub quality: Quality,
    pub coverage: CardCoverage,
    pub warnings: Vec<String>,
    /// SHA-256 of the artifact, in hexadecimal digits.
    pub artifact_sha256: String,
    pub artifact_bytes: u64,
}

/// What a training adds to what the model and its predictor say.
pub struct CardFacts<'a> {
    pub trained_at: Timestamp,
    pub data: Value,
    pub choices: &'a ChoicesMade,
    pub quality: &'a Quality,
    pub coverage: &'a Coverage,
    pub warnings: &'a [String],
    pub artifact: &'a ArtifactInfo,
}

impl ModelCard {
    /// Of the model in its new version. None for a composite predictor, which has no models.
    pub fn new(model: &Model, predictor: &Predictor, facts: CardFacts<'_>) -> Option<ModelCard> {
        let PredictorDefinition::Simple { metric, agent_source, customer_source, features, .. } = &predictor.definition
        else {
            return None;
        };
        Some(ModelCard {
            model_id: model.id.clone(),
            name: model.name.clone(),
            model_type: model.model_type,
            version: model.version,
            trained_at: facts.trained_at,
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
            predictor_id: predictor.id.clone(),
            predictor: predictor.name.clone(),
            metric: metric.clone(),
            intended_use: intended_use(metric),
            data: facts.data,
            features: model.features.clone().unwrap_or_else(|| features.clone()),
            agent_source: *agent_source,
            customer_source: *customer_source,
            settings: model.settings.clone(),
            seed: model.seed,
            choices: facts.choices.clone(),
            quality: facts.quality.clone(),
            coverage: CardCoverage {
                local: facts.coverage.local,
                global: facts.coverage.global,
                samples_without_agent: facts.coverage.samples_without_agent,
            },
            warnings: facts.warnings.to_vec(),
            artifact_sha256: facts.artifact.sha256.clone(),
            artifact_bytes: facts.artifact.size_bytes,
        })
    }
}

fn intended_use(metric: &Metric) -> String {
    let (what, field) = match metric.kind {
        MetricKind::Classification => ("how likely", &metric.field),
        MetricKind::Regression => ("how large", &metric.field),
    };
    let wish = if metric.goal == Goal::Maximize { "raise" } else { "lower" };
    format!(
        "To rank the agents who are eligible for a waiting interaction by {what} {field} is expected to be with each, in order to \
         {wish} it. It compares agents within one interaction, under the conditions of the data's period; it is no judgement of a \
         person's work, and not made for decisions on pay or employment."
    )
}
