//! The shapes of the production report.

use serde::Serialize;
use utoipa::ToSchema;

use super::agents::AgentDrift;
use crate::domain::Timestamp;
use crate::domain::id::{ModelId, PredictorId};
use crate::domain::scoring::ScoringCounts;
use crate::learn::monitor::{Calibration, Lift, Stability, StabilityVerdict};

/// What a reader has to believe.
pub const ASSUMPTIONS: [&str; 3] = [
    "Lift compares interactions with scores (mode on) to those without (mode off). It is the effect of the scores only when \
     the two alternate at random or in short slices of time: otherwise whatever differed between the times is in it, too.",
    "Interactions whose outcome is not known are left out: that is fair only when it is missing alike with and without scores.",
    "Calibration looks at the agents who were chosen, with the prediction that the score log gave (p_score, or score where \
     there is no score expression).",
];

/// What production says of a predictor.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ProductionAnswer {
    #[schema(value_type = String)]
    pub predictor_id: PredictorId,
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub to: Timestamp,
    /// All score requests of the period, on every server.
    pub scoring: ScoringBody,
    /// The same for each model version that answered, with the drift of its inputs; empty for a composite predictor.
    pub models: Vec<ModelProduction>,
    /// None while no version answered, or the score log names no agents.
    pub agent_drift: Option<AgentDrift>,
    pub score_log: ScoreLogCounts,
    /// None for a composite predictor, which has no metric.
    pub lift: Option<Lift>,
    pub calibration: Option<Calibration>,
    pub assumptions: Vec<String>,
}

/// Requests and scores, counted.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ScoringBody {
    pub requests: u64,
    /// Scores given, by source.
    pub local: u64,
    pub global: u64,
    pub default: u64,
    /// Share of the scores in which the agent's own model had no part.
    pub global_share: Option<f64>,
    /// Share of the scores of agents that nobody knows.
    pub default_share: Option<f64>,
    pub customers_found: u64,
    pub customers_unknown: u64,
    pub customers_not_given: u64,
    /// Of the requests that named a customer, the share whose customer was found.
    pub customer_coverage: Option<f64>,
    /// Requests with at least one warning.
    pub with_warnings: u64,
    pub nobody_eligible: u64,
    /// Requests that are in `requests` only, since too many came at once.
    pub not_looked_at: u64,
}

impl From<&ScoringCounts> for ScoringBody {
    fn from(counts: &ScoringCounts) -> Self {
        let share = |part: u64, of: u64| (of > 0).then(|| part as f64 / of as f64);
        let scores = counts.local + counts.global + counts.default;
        Self {
            requests: counts.requests,
            local: counts.local,
            global: counts.global,
            default: counts.default,
            global_share: share(counts.global, scores),
            default_share: share(counts.default, scores),
            customers_found: counts.customers_found,
            customers_unknown: counts.customers_unknown,
            customers_not_given: counts.customers_not_given,
            customer_coverage: share(counts.customers_found, counts.customers_found + counts.customers_unknown),
            with_warnings: counts.with_warnings,
            nobody_eligible: counts.nobody_eligible,
            not_looked_at: counts.not_looked_at,
        }
    }
}

/// One version of a model in production.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ModelProduction {
    #[schema(value_type = String)]
    pub model_id: ModelId,
    pub version: u32,
    pub scoring: ScoringBody,
    /// Scores by predicted value: twentieths of probability, or quarters of a standard deviation of the training data's metric
    /// from 2.5 below its mean to 2.5 above.
    pub predicted: Vec<u64>,
    /// The worst of `drift`.
    pub verdict: StabilityVerdict,
    /// Context and customer inputs against the training data, the most shifted first. Empty for a version that an earlier release
    /// trained.
    pub drift: Vec<Drift>,
}

/// One input.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Drift {
    /// The feature, with what is read of it, such as `start_time (hour)`.
    pub input: String,
    pub field: String,
    #[serde(flatten)]
    pub stability: Stability,
    pub bins: Vec<DriftBin>,
}

/// How often the input had a value.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DriftBin {
    /// A text, a number, a range, `(other)` or `(missing)`.
    pub value: String,
    pub training_rows: u64,
    pub requests: u64,
}

/// Score log entries of the period, by their first report.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct ScoreLogCounts {
    pub entries: u64,
    pub on: u64,
    pub off: u64,
    pub dry_run: u64,
    pub routed: u64,
    pub abandoned: u64,
    pub failed: u64,
    /// Routed entries whose metric is not known, or not one of the predictor's.
    pub routed_without_outcome: u64,
    /// Their share of the routed ones.
    pub missing_outcome_share: Option<f64>,
}
