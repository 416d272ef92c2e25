//! What a score sees: one immutable picture of an account, swapped as a whole.

use std::sync::Arc;

use super::agents::{AgentChange, Agents};
use crate::domain::Timestamp;
use crate::domain::id::{ModelId, PredictorId};
use crate::domain::model::{ArtifactInfo, ModelType};
use crate::domain::predictor::{Predictor, PredictorDefinition};
use crate::domain::rotation::Whose;
use crate::domain::schema::Schema;
use crate::domain::score_log::Mode;
use crate::expression::Expression;
use crate::quick_map::QuickMap;
use crate::score::{AgentInput, AgentSet, CompiledModel, Roster};

/// Everything of an account that scores need. A request takes one and sees nothing change.
#[derive(Clone)]
pub struct AccountView {
    /// What filters are resolved against.
    pub agent_schema: Arc<Schema>,
    pub agents: Agents,
    predictors: Arc<QuickMap<PredictorId, Arc<LivePredictor>>>,
    names: Arc<QuickMap<String, PredictorId>>,
}

/// A predictor with the models that answer for it now.
#[derive(Clone)]
pub struct LivePredictor {
    pub predictor: Predictor,
    /// Of a simple predictor: the score expression. Of a composite: how it combines.
    pub expression: Option<Expression>,
    /// By model id, so that every node cuts the shares in the same order.
    pub models: Vec<Arc<ActiveModel>>,
    /// Why one that is active cannot answer, in words.
    pub unusable: Option<String>,
}

/// A model that is ready to score, with the agents encoded for it.
pub struct ActiveModel {
    pub id: ModelId,
    pub version: u32,
    pub model_type: ModelType,
    pub artifact: ArtifactInfo,
    /// Above 0; relative to the shares of the other active models.
    pub share: f64,
    pub compiled: Arc<CompiledModel>,
    pub agents: AgentSet,
}

impl AccountView {
    pub fn empty(agent_schema: Arc<Schema>) -> Self {
        Self { agent_schema, agents: Agents::default(), predictors: Arc::default(), names: Arc::default() }
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
        let mut predictors = QuickMap::clone(&self.predictors);
        predictors.insert(predictor.predictor.id.clone(), Arc::new(predictor));
        self.with_predictors(predictors)
    }

    pub(super) fn without_predictor(&self, id: &PredictorId) -> Self {
        let mut predictors = QuickMap::clone(&self.predictors);
        predictors.remove(id);
        self.with_predictors(predictors)
    }

    fn with_predictors(&self, predictors: QuickMap<PredictorId, Arc<LivePredictor>>) -> Self {
        if !predictors.is_empty() {
            // Now rather than in somebody's score.
            for (_, agent) in self.agents.iter() {
                agent.fields();
            }
        }
        let names = predictors.values().map(|p| (p.predictor.name.clone(), p.predictor.id.clone())).collect();
        Self { predictors: Arc::new(predictors), names: Arc::new(names), ..self.clone() }
    }

    /// The view after agents changed or were removed. Only what a model reads is encoded anew.
    pub(super) fn with_agents(&self, changes: &[AgentChange]) -> Self {
        let view = Self { agents: self.agents.with_changes(changes), ..self.clone() };
        if self.predictors.is_empty() { view } else { view.with_agents_encoded(changes) }
    }

    fn with_agents_encoded(self, changes: &[AgentChange]) -> Self {
        let (mut changed, mut removed) = (Vec::new(), Vec::new());
        for (id, agent) in changes {
            match agent {
                Some(agent) => changed.push(AgentInput { id, fields: agent.fields() }),
                None => removed.push(id.as_str()),
            }
        }
        let roster = self.agents.roster();
        let mut predictors = QuickMap::clone(&self.predictors);
        for predictor in predictors.values_mut().filter(|predictor| !predictor.models.is_empty()) {
            let models = predictor.models.iter().map(|model| model.with_agents(roster, &changed, &removed)).collect();
            *predictor = Arc::new(LivePredictor { models, ..LivePredictor::clone(predictor) });
        }
        Self { predictors: Arc::new(predictors), ..self }
    }

    /// All agents for a model that is new; `at_each` is called before each of them.
    pub(super) fn encode_agents(&self, model: &CompiledModel, mut at_each: impl FnMut()) -> AgentSet {
        let profile = self.agents.iter().map(|(id, agent)| {
            at_each();
            AgentInput { id, fields: agent.fields() }
        });
        AgentSet::of_roster(model, self.agents.roster().clone(), profile)
    }
}

impl ActiveModel {
    fn with_agents(&self, roster: &Roster, changed: &[AgentInput<'_>], removed: &[&str]) -> Arc<Self> {
        Arc::new(Self {
            id: self.id.clone(),
            version: self.version,
            model_type: self.model_type,
            artifact: self.artifact.clone(),
            share: self.share,
            compiled: Arc::clone(&self.compiled),
            agents: self.agents.with_changes(&self.compiled, roster, changed, removed),
        })
    }
}

impl LivePredictor {
    /// A stored predictor, its expression parsed. One that no longer parses is served without it: the
    /// default scale is better than no answer.
    pub(super) fn new(predictor: Predictor, models: Vec<Arc<ActiveModel>>, unusable: Option<String>) -> Self {
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
        Self { predictor, expression, models, unusable }
    }

    pub fn is_composite(&self) -> bool {
        matches!(self.predictor.definition, PredictorDefinition::Composite { .. })
    }

    /// The model that answers for this interaction, and whether scores are to be followed now: `point` in 0 to 1 picks by share, so that the
    /// same interaction meets the same model on every node, and is asked for when there is a choice; `at` picks when the models take turns in time.
    pub fn choose(&self, point: impl FnOnce() -> f64, at: Timestamp) -> Option<(&Arc<ActiveModel>, Mode)> {
        match self.predictor.rotation.whose(at, self.models.len()) {
            Whose::ByShare => Some((self.by_share(point)?, Mode::On)),
            Whose::Model(place) => Some((self.models.get(place)?, Mode::On)),
            Whose::Off => Some((self.models.first()?, Mode::Off)),
        }
    }

    fn by_share(&self, point: impl FnOnce() -> f64) -> Option<&Arc<ActiveModel>> {
        if let [only] = self.models.as_slice() {
            return Some(only);
        }
        let total: f64 = self.models.iter().map(|model| model.share).sum();
        let mut rest = point().clamp(0.0, 1.0) * total;
        for model in &self.models {
            if rest < model.share {
                return Some(model);
            }
            rest -= model.share;
        }
        self.models.last()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::Timestamp;
    use crate::domain::id::AccountId;
    use crate::live::agents::Agent;
    use crate::live::follow::first_agent_schema;

    #[test]
    fn agents_are_read_as_soon_as_somebody_could_score() {
        let change = |site: &str| {
            let body = json!({"id": "ann", "fields": {"site": site}}).to_string();
            [("ann".to_owned(), Some(Agent::new(body)))]
        };
        let is_read = |view: &AccountView| view.agents.get("ann").unwrap().is_read();
        let nobody = AccountView::empty(Arc::new(first_agent_schema())).with_agents(&change("Oslo"));
        assert!(!is_read(&nobody));
        let now = Timestamp::UNIX_EPOCH;
        let predictor = Predictor {
            id: PredictorId::generate(now),
            account_id: AccountId::generate(now),
            name: "p".to_owned(),
            definition: PredictorDefinition::Composite { combine: "a + b".to_owned() },
            rotation: Default::default(),
            created_at: now,
            updated_at: now,
        };
        let somebody = nobody.with_predictor(LivePredictor::new(predictor, Vec::new(), None));
        assert!(is_read(&somebody));
        let later = somebody.with_agents(&change("Rome"));
        assert!(is_read(&later));
        assert_eq!(later.agents.get("ann").unwrap().fields()["site"], "Rome");
    }

    #[test]
    fn an_agent_that_cannot_be_read_has_no_values() {
        assert!(Agent::new(r#"{"id": "ann"}"#).fields().is_empty());
    }
}
