//! What a lift estimation says.

use serde::{Deserialize, Serialize};

use crate::domain::Timestamp;
use crate::domain::model::Holdout;
use crate::domain::predictor::Goal;

/// An estimate and its 95 % interval, low and high.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Interval {
    pub estimate: f64,
    pub interval: [f64; 2],
}

/// What one estimator says the metric would have been, and what that is worth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Estimated {
    /// The mean of the metric: a probability, or in its unit.
    pub estimate: f64,
    pub interval: [f64; 2],
    /// The difference from the mean of what happened; above 0 is better, also when the metric is to be low. With one agent free
    /// it is 0 by construction.
    pub against_actual: Interval,
    /// Likewise from any one of the free agents, by the same estimator.
    pub against_random: Interval,
}

/// Estimates for a number of agents that are free at the moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FreeAgentsPoint {
    pub agents_free: u32,
    /// How many different agents these are in the mean: where few take such contacts, the same one is drawn again.
    pub distinct_agents: f64,
    /// Mean outcome of the interactions that went to the agent whom the model would have chosen from one drawn free set.
    pub replay: Estimated,
    /// Inverse propensity score: the mean of outcomes weighted by how much likelier the model's choice makes their agent.
    pub ips: Estimated,
    /// Self-normalised: the same, divided by the mean weight.
    pub snips: Estimated,
    /// The mean of what the outcome model expects of the choices.
    pub direct_method: Estimated,
    /// The direct method, corrected by the weighted errors of the outcome model on what happened.
    pub doubly_robust: Estimated,
    /// What the choosing model itself expects of its choices: too much, since it chooses by its own errors, too.
    pub model_expects: f64,
    /// Kish: so many interactions of equal weight would say as much.
    pub effective_sample_size: f64,
    /// About 1 when the propensities are right.
    pub mean_weight: f64,
    pub largest_weight: f64,
    /// Interactions of the replay.
    pub matched: u64,
}

/// One value of the field by which the estimate is split, at the headline's number of free agents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LiftSegment {
    /// The value, or a range of numbers.
    pub value: String,
    pub rows: u64,
    /// Mean of what happened.
    pub actual: Interval,
    pub doubly_robust: Estimated,
    pub effective_sample_size: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LiftSegments {
    pub field: String,
    pub agents_free: u32,
    /// Most interactions first (ranges in their order).
    pub values: Vec<LiftSegment>,
}

/// Pairs of interaction and agent by estimated probability that the interaction goes to the agent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PropensityBin {
    /// Mean estimated probability.
    pub predicted: f64,
    /// The share that did go to the agent.
    pub observed: f64,
    pub pairs: u64,
}

/// Who usually takes what, as it was estimated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PropensitySummary {
    /// Fields that decide, the strongest first; `period` tells the holdout from the time before.
    pub fields: Vec<String>,
    /// Kinds of contacts that these fields tell apart in the holdout.
    pub cells: u64,
    /// Agents who took contacts in the holdout.
    pub agents: u64,
    /// Mean number of agents who usually take an interaction's kind of contact.
    pub agents_per_interaction: f64,
    /// Of the agents who took the interactions.
    pub smallest: f64,
    /// At 1, 5, 25, 50, 75, 95 and 99 % of the interactions.
    pub quantiles: Vec<f64>,
    /// Mean negative natural logarithm of these.
    pub log_loss: f64,
    /// Likewise by each agent's share of all contacts alone.
    pub log_loss_without_context: f64,
    pub calibration: Vec<PropensityBin>,
    /// Share of interactions whose agent stood in each tenth of those who usually take such contacts, by the model's
    /// ranking, worst first: a tenth each when the routing did not prefer whom the model prefers.
    pub actual_by_rank: Vec<f64>,
    /// Share of interactions that went to an agent who hardly ever takes such contacts: they have no weight.
    pub clipped_share: f64,
    /// The estimated probability of such agents, which is left out: at most so much an interaction.
    pub trimmed: f64,
}

/// How the outcome model follows from the choosing model: `link(expected) = intercept + contact · m + agent · d`, where `m`
/// is the choosing model's mean over the agents who usually take such contacts, and `d` an agent's difference from it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Recalibration {
    pub intercept: f64,
    pub contact: f64,
    /// Below 1: the model overstates how much agents differ.
    pub agent: f64,
}

/// What the metric would have been in the holdout had the model chosen among the agents who were free.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LiftEstimation {
    pub metric: String,
    pub goal: Goal,
    /// Interactions of the holdout that were evaluated.
    pub rows: u64,
    pub train_rows: u64,
    pub holdout: Holdout,
    /// Holdout by time: its first time.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub holdout_from: Option<Timestamp>,
    /// Mean of what happened.
    pub actual: Interval,
    /// Any one of the agents who usually take such contacts; doubly robust.
    pub random: Interval,
    /// The middle one of the numbers of free agents that were asked for.
    #[serde(flatten)]
    pub headline: FreeAgentsPoint,
    /// One point a number of free agents, ascending.
    pub curve: Vec<FreeAgentsPoint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segments: Option<LiftSegments>,
    pub propensities: PropensitySummary,
    pub outcome_model: Recalibration,
    /// What has to hold for the estimates to be right, in words for people.
    pub assumptions: Vec<String>,
    pub warnings: Vec<String>,
}
