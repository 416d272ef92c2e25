//! A few score requests kept whole, so that a score can be looked into afterwards, and computed again to the same numbers.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::Timestamp;
use crate::domain::id::{AccountId, ModelId, PredictorId};
use crate::domain::model::ArtifactInfo;
use crate::domain::score_log::Mode;
use crate::expression::Expression;
use crate::score::{
    AgentInput, AgentSet, CompiledModel, DefaultPolicy, Eligible, ScoreInput, ScoreOutput, ScoreSource,
};
use crate::store::{Collection, Key, Record};

/// Everything that the scores of one request came from, and the scores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreSample {
    pub account_id: AccountId,
    pub request_id: String,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    pub at: Timestamp,
    pub predictor_id: PredictorId,
    pub predictor_name: String,
    pub model_id: ModelId,
    pub model_version: u32,
    pub artifact: ArtifactInfo,
    pub mode: Mode,
    pub score_expression: Option<String>,
    pub context_id: Option<String>,
    pub context: Map<String, Value>,
    /// The fields that the model reads, when the customer was found.
    pub customer: Option<Map<String, Value>>,
    pub action_filters: Option<String>,
    pub default: DefaultPolicy,
    pub top: Option<usize>,
    pub agents: Vec<SampledAgent>,
    pub scores: Vec<SampledScore>,
    pub global: f64,
}

/// An eligible agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SampledAgent {
    pub id: String,
    /// The profile's values that the model reads; none for an agent who is not in the profile.
    #[schema(value_type = Option<Object>)]
    pub fields: Option<Map<String, Value>>,
}

/// A score as it was answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SampledScore {
    pub agent_id: String,
    pub score: f64,
    pub p_score: Option<f64>,
    pub source: ScoreSource,
    pub rank: u32,
}

impl Record for ScoreSample {
    const COLLECTION: Collection = Collection::ScoreSamples;
    fn key(&self) -> Key {
        Key::new(self.account_id.as_str(), self.request_id.clone())
    }
}

impl SampledScore {
    pub fn all(output: &ScoreOutput<'_>) -> Vec<SampledScore> {
        let sampled = |score: &crate::score::AgentScore<'_>| SampledScore {
            agent_id: score.agent_id.to_owned(),
            score: score.score,
            p_score: score.p_score,
            source: score.source,
            rank: score.rank,
        };
        output.scores.iter().map(sampled).collect()
    }
}

impl ScoreSample {
    /// The same request once more, by the same version of the model: scores and the global score.
    pub fn compute_again(&self, model: &CompiledModel) -> (Vec<SampledScore>, f64) {
        let profile =
            self.agents.iter().filter_map(|agent| Some(AgentInput { id: &agent.id, fields: agent.fields.as_ref()? }));
        let agents = AgentSet::build(model, profile);
        let ids: Vec<&str> = self.agents.iter().map(|agent| agent.id.as_str()).collect();
        // As when it was answered: one that cannot be read is left out.
        let expression = self.score_expression.as_deref().and_then(|text| Expression::parse(text).ok());
        let expression = expression.as_ref().map(|expression| move |p_score: f64| expression.eval(&|_| p_score));
        let output = model.score(
            &ScoreInput {
                context: &self.context,
                customer: self.customer.as_ref(),
                now: self.at,
                eligible: Eligible::Ids(&ids),
                top: self.top,
                default: self.default,
                expression: expression.as_ref().map(|expression| expression as &(dyn Fn(f64) -> f64 + Sync)),
            },
            &agents,
        );
        (SampledScore::all(&output), output.global)
    }
}
