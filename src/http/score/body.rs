//! The shapes of score requests and answers.

use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::domain::id::{ModelId, PredictorId, RequestId};
use crate::domain::model::ModelType;
use crate::score::{AgentScore, DefaultPolicy, Explanation, ScoreSource};

/// One waiting interaction and who could take it. Exactly one of `agents` and `action_filters`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScoreBody {
    /// The customer's id; looked up in the customer profile. May be unknown, empty or absent.
    #[serde(default)]
    pub context_id: Option<String>,
    /// Feature values by name; they win over the customer's and the agents' profiles.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub context: Option<Map<String, Value>>,
    /// Agent ids; each is scored once, whatever its login state.
    #[serde(default)]
    pub agents: Option<Vec<String>>,
    /// Agents of the profile that match, such as `English>3 & (loginStatus=4|loginStatus=9)`.
    #[serde(default)]
    pub action_filters: Option<String>,
    /// Answer only the best so many; the summary still covers all.
    #[serde(default)]
    pub top: Option<usize>,
    #[serde(default)]
    pub format: Format,
    /// The score of agents that are known nowhere.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub default: DefaultPolicy,
    /// Also answer what each feature adds to the score of each agent that is answered; at most 100 of them, in a list.
    #[serde(default)]
    pub explain: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A list, best first.
    #[default]
    List,
    /// An object: agent id to score.
    Map,
}

/// Many waiting interactions in one call.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchBody {
    pub interactions: Vec<ScoreBody>,
    /// Also answer which interaction to give to which agent, so that the total score is greatest.
    #[serde(default)]
    pub assign: bool,
}

/// The answer to one interaction.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ScoreAnswer {
    #[schema(value_type = Option<String>)]
    pub request_id: Option<RequestId>,
    pub context_id: Option<String>,
    pub customer_found: bool,
    pub predictor: PredictorName,
    /// None for a composite predictor: see `components`.
    pub model: Option<ModelName>,
    /// The predictors and models behind a composite.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<Component>,
    pub scores: Scores,
    /// Over the agents that the model scored, or over all when it scored none; null when nobody is eligible.
    pub median: Option<f64>,
    pub max: Option<f64>,
    pub min: Option<f64>,
    /// The score with every agent input missing.
    pub global: f64,
    /// Agents considered, before `top`.
    pub eligible: usize,
    /// Values that were scored as missing, names that the model does not know.
    pub warnings: Vec<String>,
    pub took_us: u64,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PredictorName {
    #[schema(value_type = String)]
    pub id: PredictorId,
    pub name: String,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ModelName {
    #[schema(value_type = String)]
    pub id: ModelId,
    pub version: u32,
    #[serde(rename = "type")]
    pub model_type: ModelType,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Component {
    pub predictor: PredictorName,
    pub model: ModelName,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Scores {
    List(Vec<ListedScore>),
    #[schema(value_type = Object)]
    Map(IndexMap<Arc<str>, f64>),
}

/// One agent's score in a list.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ListedScore {
    #[schema(value_type = String)]
    pub agent_id: Arc<str>,
    /// Finite, at least 0, higher is better.
    pub score: f64,
    /// Probability of the positive class or the predicted metric; the combined score of a
    /// composite. Null when `source` is `default`.
    pub p_score: Option<f64>,
    pub source: ScoreSource,
    /// 1 is best; ties break by agent id.
    pub rank: u32,
    /// On request; none when `source` is `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct BatchAnswer {
    pub results: Vec<ScoreAnswer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assignment: Option<Vec<Assigned>>,
    /// The sum of the assigned scores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<f64>,
}

/// One interaction given to one agent.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Assigned {
    /// Position in `interactions`.
    pub interaction: usize,
    #[schema(value_type = String)]
    pub agent_id: Arc<str>,
    pub score: f64,
}

impl Scores {
    /// Explanations, if any, are those of the first scores.
    pub fn new(format: Format, scores: Vec<AgentScore>, explanations: Vec<Option<Explanation>>) -> Self {
        let mut explanations = explanations.into_iter();
        match format {
            Format::Map => Scores::Map(scores.into_iter().map(|score| (score.agent_id, score.score)).collect()),
            Format::List => Scores::List(
                scores
                    .into_iter()
                    .map(|score| ListedScore {
                        agent_id: score.agent_id,
                        score: score.score,
                        p_score: score.p_score,
                        source: score.source,
                        rank: score.rank,
                        explanation: explanations.next().flatten(),
                    })
                    .collect(),
            ),
        }
    }
}
