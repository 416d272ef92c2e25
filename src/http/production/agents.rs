//! Who served in the period, against who served in the training data: new people, and people who are gone.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use utoipa::ToSchema;

use super::body::{DriftBin, ModelProduction};
use crate::domain::id::ModelId;
use crate::http::{ApiResult, AppState};
use crate::learn::Coverage;
use crate::learn::monitor::{Stability, stability};
use crate::live::artifacts::{self, Part};

/// Agents with a bin of their own, those with most interactions in training first.
const MOST: usize = 30;

/// Agents of the routed interactions in the score log against those of the training data. Routing by scores changes who
/// serves by itself; agents whom the model has never seen are the part that a new training mends.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AgentDrift {
    /// The newest version that answered in the period: the training data are its.
    #[schema(value_type = String)]
    pub model_id: ModelId,
    pub version: u32,
    /// Routed interactions that name an agent.
    pub interactions: u64,
    /// Agents who served and are not in the training data.
    pub new_agents: u64,
    /// Their share of the interactions.
    pub new_agents_share: f64,
    /// Agents of the training data who did not serve.
    pub absent_agents: u64,
    #[serde(flatten)]
    pub stability: Stability,
    /// By agent, most training rows first; then the others together, then those who are new. `requests` are interactions.
    pub bins: Vec<DriftBin>,
}

/// None while no version answered, nobody is named, or the version's training kept no list of agents.
pub async fn drift(
    app: &AppState,
    models: &[ModelProduction],
    served: &HashMap<String, u64>,
) -> ApiResult<Option<AgentDrift>> {
    let (Some(model), false) = (models.first(), served.is_empty()) else { return Ok(None) };
    let bytes = artifacts::read_part(&app.ctx.store, &model.model_id, model.version, Part::Coverage).await?;
    let coverage: Option<Coverage> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    Ok(coverage.and_then(|coverage| compare(model.model_id.clone(), model.version, &coverage, served)))
}

fn compare(model_id: ModelId, version: u32, coverage: &Coverage, served: &HashMap<String, u64>) -> Option<AgentDrift> {
    let mut trained: Vec<(&str, u64)> =
        coverage.agents.iter().map(|agent| (agent.agent_id.as_str(), agent.samples)).collect();
    trained.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    let place: BTreeMap<&str, usize> = trained.iter().enumerate().map(|(at, (id, _))| (*id, at.min(MOST))).collect();
    let mut bins: Vec<DriftBin> = trained.iter().take(MOST).map(|(id, _)| (*id).to_owned()).map(empty).collect();
    let (others, new) = (bins.len(), bins.len() + 1);
    bins.extend(["(others)", "(new)"].map(|name| empty(name.to_owned())));
    for (id, samples) in &trained {
        bins[place[id].min(others)].training_rows += samples;
    }
    let mut new_agents = 0;
    for (id, interactions) in served {
        let at = place.get(id.as_str()).map_or(new, |at| (*at).min(others));
        new_agents += u64::from(at == new);
        bins[at].requests += interactions;
    }
    let rows: Vec<u64> = bins.iter().map(|bin| bin.training_rows).collect();
    let requests: Vec<u64> = bins.iter().map(|bin| bin.requests).collect();
    let interactions = requests.iter().sum::<u64>();
    Some(AgentDrift {
        model_id,
        version,
        interactions,
        new_agents,
        new_agents_share: requests[new] as f64 / interactions as f64,
        absent_agents: trained.iter().filter(|(id, _)| !served.contains_key(*id)).count() as u64,
        stability: stability(&rows, &requests)?,
        bins,
    })
}

fn empty(value: String) -> DriftBin {
    DriftBin { value, training_rows: 0, requests: 0 }
}
