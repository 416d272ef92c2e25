//! The shapes of predictors in requests and answers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::Timestamp;
use crate::domain::id::{DatasetId, ModelId, PredictorId};
use crate::domain::predictor::{AgentSource, CustomerSource, Features, Metric, Predictor, PredictorDefinition};
use crate::domain::rotation::Rotation;
use crate::http::json::optional_time;

/// A predictor to create or to replace: either a simple one (`dataset_id`, `metric`, `features`, …) or a composite
/// one (`combine` alone).
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PredictorBody {
    /// Letters, digits, underscore, starting with a letter or underscore; unique in the account.
    pub name: String,
    #[schema(value_type = Option<String>)]
    pub dataset_id: Option<DatasetId>,
    /// Only interactions from this time on: a day, which begins at 00:00 UTC, or a time (RFC 3339).
    #[serde(default, deserialize_with = "optional_time")]
    #[schema(value_type = Option<String>, example = "2026-01-31")]
    pub from: Option<Timestamp>,
    /// Only interactions before this time.
    #[serde(default, deserialize_with = "optional_time")]
    #[schema(value_type = Option<String>, example = "2026-01-31")]
    pub to: Option<Timestamp>,
    pub metric: Option<Metric>,
    /// `profile` when absent.
    pub agent_source: Option<AgentSource>,
    /// `none` when absent.
    pub customer_source: Option<CustomerSource>,
    pub features: Option<Features>,
    /// Over `p_score`: `+ - * /`, parentheses, `min`, `max`.
    pub score_expression: Option<String>,
    /// Over the names of simple predictors, whose scores it combines, such as `0.7*fcr + 0.3*nps`.
    pub combine: Option<String>,
    /// How several active models take turns; by share when absent.
    #[serde(default)]
    pub rotation: Rotation,
}

/// A predictor as it is answered.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PredictorAnswer {
    #[schema(value_type = String)]
    pub id: PredictorId,
    pub name: String,
    /// `simple` or `composite`.
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub dataset_id: Option<DatasetId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub from: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub to: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<Metric>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_source: Option<AgentSource>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_source: Option<CustomerSource>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<Features>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score_expression: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub combine: Option<String>,
    pub rotation: Rotation,
    /// The models that answer scores now.
    #[schema(value_type = Vec<String>)]
    pub active_models: Vec<ModelId>,
    /// What to know about the definition, such as features that come from today's profile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

impl PredictorAnswer {
    pub fn new(predictor: Predictor, active_models: Vec<ModelId>) -> Self {
        let mut answer = Self {
            id: predictor.id,
            name: predictor.name,
            kind: String::new(),
            dataset_id: None,
            from: None,
            to: None,
            metric: None,
            agent_source: None,
            customer_source: None,
            features: None,
            score_expression: None,
            combine: None,
            rotation: predictor.rotation,
            active_models,
            warnings: Vec::new(),
            created_at: predictor.created_at,
            updated_at: predictor.updated_at,
        };
        match predictor.definition {
            PredictorDefinition::Composite { combine } => {
                answer.kind = "composite".to_owned();
                answer.combine = Some(combine);
            }
            PredictorDefinition::Simple {
                dataset_id,
                from,
                to,
                metric,
                agent_source,
                customer_source,
                features,
                score_expression,
            } => {
                answer.kind = "simple".to_owned();
                answer.dataset_id = Some(dataset_id);
                answer.from = from;
                answer.to = to;
                answer.metric = Some(metric);
                answer.agent_source = Some(agent_source);
                answer.customer_source = Some(customer_source);
                answer.features = Some(features);
                answer.score_expression = score_expression;
            }
        }
        answer
    }
}
