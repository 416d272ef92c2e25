//! What a score sees: one immutable picture of an account, swapped as a whole.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::domain::id::{ModelId, PredictorId};
use crate::domain::model::ModelType;
use crate::domain::predictor::{Predictor, PredictorDefinition};
use crate::domain::schema::Schema;
use crate::expression::Expression;
use crate::score::{AgentInput, AgentSet, CompiledModel};

/// An agent's fields as the profile has them, ready for filters.
pub type AgentFields = Arc<Map<String, Value>>;

/// Everything of an account that scores need. A request takes one and sees nothing change.
#[derive(Clone)]
pub struct AccountView {
    /// What filters are resolved against.
    pub agent_schema: Arc<Schema>,
    pub agents: Arc<HashMap<Arc<str>, AgentFields>>,
    predictors: Arc<HashMap<PredictorId, Arc<LivePredictor>>>,
    names: Arc<HashMap<String, PredictorId>>,
}

/// A predictor with the models that answer for it now.
#[derive(Clone)]
pub struct LivePredictor {
    pub predictor: Predictor,
    /// Of a simple predictor: the score expression. Of a composite: how it combines.
    pub expression: Option<Expression>,
    /// By model id, so that every node cuts the shares in the same order.
    pub models: Vec<Arc<ActiveModel>>,
}

/// A model that is ready to score, with the agents encoded for it.
pub struct ActiveModel {
    pub id: ModelId,
    pub version: u32,
    pub model_type: ModelType,
    /// Above 0; relative to the shares of the other active models.
    pub share: f64,
    pub compiled: Arc<CompiledModel>,
    pub agents: AgentSet,
}

impl AccountView {
    pub fn empty(agent_schema: Arc<Schema>) -> Self {
        Self { agent_schema, agents: Arc::default(), predictors: Arc::default(), names: Arc::default() }
    }

    pub(super) fn with_schema(&self, agent_schema: Schema) -> Self {
        Self { agent_schema: Arc::new(agent_schema), ..self.clone() }
    }

    /// By id, or by name.
    pub fn predictor(&self, id_or_name: &str) -> Option<&Arc<LivePredictor>> {
        let by_id = PredictorId::parse(id_or_name).ok().and_then(|id| self.predictors.get(&id));
        by_id.or_else(|| self.predictors.get(self.names.get(id_or_name)?))
    }

    pub fn predictor_by_id(&self, id: &PredictorId) -> Option<&Arc<LivePredictor>> {
        self.predictors.get(id)
    }

    pub fn predictors(&self) -> impl Iterator<Item = &Arc<LivePredictor>> {
        self.predictors.values()
    }

    /// The predictor to which an active model belongs.
    pub(super) fn owner_of(&self, model: &str) -> Option<&PredictorId> {
        let has = |predictor: &LivePredictor| predictor.models.iter().any(|active| active.id.as_str() == model);
        self.predictors.values().find(|predictor| has(predictor)).map(|predictor| &predictor.predictor.id)
    }

    pub(super) fn with_predictor(&self, predictor: LivePredictor) -> Self {
        let mut predictors = HashMap::clone(&self.predictors);
        predictors.insert(predictor.predictor.id.clone(), Arc::new(predictor));
        self.with_predictors(predictors)
    }

    pub(super) fn without_predictor(&self, id: &PredictorId) -> Self {
        let mut predictors = HashMap::clone(&self.predictors);
        predictors.remove(id);
        self.with_predictors(predictors)
    }

    fn with_predictors(&self, predictors: HashMap<PredictorId, Arc<LivePredictor>>) -> Self {
        let names = predictors.values().map(|p| (p.predictor.name.clone(), p.predictor.id.clone())).collect();
        Self { predictors: Arc::new(predictors), names: Arc::new(names), ..self.clone() }
    }

    /// The view after agents changed (`Some`) or were removed (`None`). Only what a model reads is encoded anew.
    pub(super) fn with_agents(&self, changes: &[(String, Option<AgentFields>)]) -> Self {
        let mut agents = HashMap::clone(&self.agents);
        for (id, fields) in changes {
            match fields {
                Some(fields) => agents.insert(Arc::from(id.as_str()), Arc::clone(fields)),
                None => agents.remove(id.as_str()),
            };
        }
        let changed: Vec<AgentInput<'_>> =
            changes.iter().filter_map(|(id, fields)| fields.as_ref().map(|fields| AgentInput { id, fields })).collect();
        let removed: Vec<&str> =
            changes.iter().filter(|(_, fields)| fields.is_none()).map(|(id, _)| id.as_str()).collect();
        let mut predictors = HashMap::clone(&self.predictors);
        for predictor in predictors.values_mut().filter(|predictor| !predictor.models.is_empty()) {
            let models = predictor.models.iter().map(|model| model.with_agents(&changed, &removed)).collect();
            *predictor = Arc::new(LivePredictor { models, ..LivePredictor::clone(predictor) });
        }
        Self { agents: Arc::new(agents), predictors: Arc::new(predictors), ..self.clone() }
    }

    pub(super) fn encode_agents(&self, model: &CompiledModel) -> AgentSet {
        AgentSet::build(model, self.agents.iter().map(|(id, fields)| AgentInput { id, fields }))
    }
}

impl ActiveModel {
    fn with_agents(&self, changed: &[AgentInput<'_>], removed: &[&str]) -> Arc<Self> {
        Arc::new(Self {
            id: self.id.clone(),
            version: self.version,
            model_type: self.model_type,
            share: self.share,
            compiled: Arc::clone(&self.compiled),
            agents: self.agents.with_changes(&self.compiled, changed, removed),
        })
    }
}

impl LivePredictor {
    /// A stored predictor, its expression parsed. One that no longer parses is served without it: the
    /// default scale is better than no answer.
    pub(super) fn new(predictor: Predictor, models: Vec<Arc<ActiveModel>>) -> Self {
        let text = match &predictor.definition {
            PredictorDefinition::Simple { score_expression, .. } => score_expression.as_deref(),
            PredictorDefinition::Composite { combine } => Some(combine.as_str()),
        };
        let expression = text.and_then(|text| match Expression::parse(text) {
            Ok(expression) => Some(expression),
            Err(error) => {
                tracing::error!(predictor = %predictor.id, %error, "a stored expression cannot be parsed; it is left out");
                None
            }
        });
        Self { predictor, expression, models }
    }

    pub fn is_composite(&self) -> bool {
        matches!(self.predictor.definition, PredictorDefinition::Composite { .. })
    }

    /// The model that answers for this interaction: `point` in 0 to 1 picks by share, so that the same
    /// interaction meets the same model on every node.
    pub fn choose(&self, point: f64) -> Option<&Arc<ActiveModel>> {
        let total: f64 = self.models.iter().map(|model| model.share).sum();
        let mut rest = point.clamp(0.0, 1.0) * total;
        for model in &self.models {
            if rest < model.share {
                return Some(model);
            }
            rest -= model.share;
        }
        self.models.last()
    }
}
