//! The shapes of score requests and answers.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::domain::id::{ModelId, PredictorId, RequestId};
use crate::domain::model::ModelType;
use crate::domain::score_log::Mode;
use crate::score::{AgentScore, DefaultPolicy, Explanation, ScoreSource};

/// One waiting interaction and who could take it. Exactly one of `agents` and `action_filters`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScoreBody<'a> {
    /// The customer's id; looked up in the customer profile. May be unknown, empty or absent.
    #[serde(default)]
    pub context_id: Option<String>,
    /// Feature values by name; they win over the customer's and the agents' profiles.
    #[serde(default, deserialize_with = "super::context::read")]
    #[schema(value_type = Option<Object>)]
    pub context: Option<Map<String, Value>>,
    /// Agent ids; each is scored once, whatever its login state.
    #[serde(borrow, default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub agents: Option<Vec<Text<'a>>>,
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

/// A text that stays where it came, unless it had to be unescaped.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

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
pub struct BatchBody<'a> {
    /// Still as they came: how many there are is known before much is made of them.
    #[serde(borrow)]
    #[schema(value_type = Vec<ScoreBody<'static>>)]
    pub interactions: Vec<&'a RawValue>,
    /// Also answer which interaction to give to which agent: as many as possible and, among those choices, with the greatest total score.
    #[serde(default)]
    pub assign: bool,
}

/// A batch without its interactions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "says what is wrong with a batch")]
pub struct BatchShape {
    interactions: Vec<IgnoredAny>,
    #[serde(default)]
    assign: bool,
}

/// The answer to one interaction.
#[derive(Debug, Clone, ToSchema)]
pub struct ScoreAnswer<'a> {
    #[schema(value_type = Option<String>)]
    pub request_id: Option<RequestId>,
    pub context_id: Option<&'a str>,
    pub customer_found: bool,
    /// `off` while the predictor's rotation says that scores are not to be followed, for comparison: route without them, and say so in the
    /// score log.
    pub mode: Mode,
    pub predictor: PredictorName<'a>,
    /// None for a composite predictor: see `components`.
    pub model: Option<ModelName<'a>>,
    /// The predictors and models behind a composite.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<Component<'a>>,
    #[schema(value_type = ListOrMap)]
    pub scores: Scores<'a>,
    /// Over the agents that the model scored, or over all when it scored none; null when nobody is eligible.
    pub median: Option<f64>,
    pub max: Option<f64>,
    pub min: Option<f64>,
    /// The score with every agent input missing.
    pub global: f64,
    /// Agents considered, before `top`.
    pub eligible: usize,
    /// Values that were scored as missing, names that the model does not know.
    pub warnings: Vec<Cow<'a, str>>,
    pub took_us: u64,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PredictorName<'a> {
    #[schema(value_type = String)]
    pub id: &'a PredictorId,
    pub name: &'a str,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ModelName<'a> {
    #[schema(value_type = String)]
    pub id: &'a ModelId,
    pub version: u32,
    #[serde(rename = "type")]
    pub model_type: ModelType,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Component<'a> {
    pub predictor: PredictorName<'a>,
    pub model: ModelName<'a>,
}

/// Scores, best first, written as they are asked for.
#[derive(Debug, Clone)]
pub struct Scores<'a> {
    pub format: Format,
    pub scores: Vec<AgentScore<'a>>,
    /// Of the first scores, when asked for.
    pub explanations: Vec<Option<Explanation>>,
}

/// How `scores` looks.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what Scores writes")]
enum ListOrMap<'a> {
    List(Vec<ListedScore<'a>>),
    Map(BTreeMap<String, f64>),
}

/// One agent's score in a list.
#[derive(ToSchema)]
pub struct ListedScore<'a> {
    pub agent_id: &'a str,
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
    pub explanation: Option<&'a Explanation>,
}

#[derive(Debug, Clone, ToSchema)]
pub struct BatchAnswer<'a> {
    pub results: Vec<ScoreAnswer<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assignment: Option<Vec<Assigned<'a>>>,
    /// The sum of the assigned scores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<f64>,
    /// How far `total` may be below the greatest possible one of as many pairs, at most; 0: it is the greatest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<f64>,
}

/// One interaction given to one agent.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Assigned<'a> {
    /// Position in `interactions`.
    pub interaction: usize,
    pub agent_id: &'a str,
    pub score: f64,
}
