//! A newly trained version of a model against the one before.

use serde::{Deserialize, Serialize};

use super::Timestamp;
use super::id::JobId;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ComparisonVerdict {
    /// The new version predicts better: the whole interval of the difference is above 0.
    Better,
    /// The new version predicts worse: the whole interval is below 0.
    Worse,
    /// The interval has 0 inside.
    NoDifference,
    /// Too few rows are later than all that the version before learned from.
    TooFewNewRows,
    /// There is nothing to compare them on; `detail` says why.
    NotComparable,
}

/// How two versions predict the same rows, which neither has seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Compared {
    pub verdict: ComparisonVerdict,
    /// In words for people.
    pub detail: String,
    /// Rows later than all that the version before learned from.
    pub new_rows: u64,
    /// The last of them, on which both were measured: at most half, so that the new version has new rows to learn from.
    pub compared_rows: u64,
    /// Time of the first compared row.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub compared_from: Option<Timestamp>,
    /// What was measured: `log_loss`, or `squared_error`.
    pub loss: String,
    /// Mean loss of the version before.
    pub before: Option<f64>,
    /// Mean loss of a model with the new version's settings, fitted to all rows before the compared ones.
    pub after: Option<f64>,
    /// `before` less `after`, paired row by row: above 0 when the new version is better. With its 95 % interval.
    pub difference: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
}

/// The comparison as it stays with the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Comparison {
    /// The version that was there.
    pub version_before: u32,
    /// Whether the new version took its place.
    pub replaced: bool,
    /// A schedule asked for it, not a person.
    pub scheduled: bool,
    #[serde(flatten)]
    pub compared: Compared,
    #[schema(value_type = String)]
    pub job_id: JobId,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

impl Compared {
    /// A comparison that could not be made.
    pub fn without(verdict: ComparisonVerdict, detail: impl Into<String>, new_rows: u64) -> Self {
        Self {
            verdict,
            detail: detail.into(),
            new_rows,
            compared_rows: 0,
            compared_from: None,
            loss: String::new(),
            before: None,
            after: None,
            difference: None,
            low: None,
            high: None,
        }
    }
}
