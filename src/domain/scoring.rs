//! What scoring leaves behind: counts by the hour, and what was scored.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::id::{AccountId, ModelId, PredictorId};

/// What one process counted of one version of a model in one hour. It alone writes this document, so it writes whole sums: writing them
/// again changes nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoringHour {
    pub account_id: AccountId,
    pub predictor_id: PredictorId,
    /// None for a composite predictor.
    pub model_id: Option<ModelId>,
    pub model_version: u32,
    /// Milliseconds since 1970 at which the hour began.
    pub hour_ms: i64,
    /// Unique for each start of a process.
    pub process: String,
    #[serde(flatten)]
    pub counts: ScoringCounts,
}

/// Sums over requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScoringCounts {
    pub requests: u64,
    /// Scores by source.
    pub local: u64,
    pub global: u64,
    pub default: u64,
    /// Requests by what became of `context_id`.
    pub customers_found: u64,
    pub customers_unknown: u64,
    pub customers_not_given: u64,
    /// Requests with at least one warning.
    pub with_warnings: u64,
    /// Requests for which nobody was eligible.
    pub nobody_eligible: u64,
    /// Requests that were too many to be looked at: they are in no other sum than `requests`.
    pub not_looked_at: u64,
    /// Scores by predicted value, see `score::bins`.
    pub predicted: Vec<u64>,
    /// Requests by input and bin, see `score::bins`.
    pub inputs: Vec<Vec<u64>>,
}

impl ScoringCounts {
    /// Adds another process's or hour's sums. Those of the same version have the same bins.
    pub fn add(&mut self, other: &ScoringCounts) {
        self.requests += other.requests;
        self.local += other.local;
        self.global += other.global;
        self.default += other.default;
        self.customers_found += other.customers_found;
        self.customers_unknown += other.customers_unknown;
        self.customers_not_given += other.customers_not_given;
        self.with_warnings += other.with_warnings;
        self.nobody_eligible += other.nobody_eligible;
        self.not_looked_at += other.not_looked_at;
        add_each(&mut self.predicted, &other.predicted);
        if self.inputs.len() < other.inputs.len() {
            self.inputs.resize_with(other.inputs.len(), Vec::new);
        }
        for (sum, more) in self.inputs.iter_mut().zip(&other.inputs) {
            add_each(sum, more);
        }
    }
}

fn add_each(sums: &mut Vec<u64>, more: &[u64]) {
    if sums.len() < more.len() {
        sums.resize(more.len(), 0);
    }
    for (sum, more) in sums.iter_mut().zip(more) {
        *sum += more;
    }
}

/// Some scored interactions of a predictor, kept for the outcomes that arrive later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoredPack {
    pub account_id: AccountId,
    pub predictor_id: PredictorId,
    pub process: String,
    /// Counts the packs of the process.
    pub number: u64,
    /// Milliseconds since 1970 of the first and the last request, as their ids say.
    pub first_ms: i64,
    pub last_ms: i64,
    pub scored: Vec<Scored>,
}

/// The values of the predictor's context and customer features, as one request had them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    pub request_id: String,
    /// Tells the interactions of a batch apart.
    pub context_id: Option<String>,
    pub context: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_the_same_bins_add_up_whichever_is_longer() {
        let one = ScoringCounts { requests: 2, predicted: vec![1, 1], inputs: vec![vec![2]], ..Default::default() };
        let other = ScoringCounts {
            requests: 1,
            predicted: vec![0, 0, 4],
            inputs: vec![vec![1, 1], vec![1]],
            ..Default::default()
        };
        let (mut a, mut b) = (one.clone(), other.clone());
        a.add(&other);
        b.add(&one);
        assert_eq!(a, b);
        assert_eq!((a.requests, a.predicted, a.inputs), (3, vec![1, 1, 4], vec![vec![3, 1], vec![1]]));
    }
}
