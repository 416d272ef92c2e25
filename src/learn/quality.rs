//! How good a model is on data that it has not seen.

use serde::{Deserialize, Serialize};

use crate::domain::Timestamp;
use crate::domain::model::Holdout;

/// A measured value with its 95 % bootstrap interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Estimate {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// One tenth of the holdout by predicted probability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CalibrationBin {
    /// Mean predicted probability.
    pub predicted: f64,
    /// Share of positives.
    pub observed: f64,
    pub rows: u64,
}

/// Of all positives, the share that the best-scored `share` of the rows holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct GainPoint {
    pub share: f64,
    pub captured: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ClassificationQuality {
    /// Area under the ROC curve; none when the holdout has one class.
    pub auc: Option<Estimate>,
    /// Natural logarithm.
    pub log_loss: Estimate,
    pub brier: Estimate,
    /// Share of positives in the holdout.
    pub base_rate: f64,
    /// Log loss of always predicting the training data's share of positives.
    pub baseline_log_loss: f64,
    pub calibration: Vec<CalibrationBin>,
    pub gains: Vec<GainPoint>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RegressionQuality {
    /// In the metric's unit.
    pub mae: Estimate,
    /// In the metric's unit.
    pub rmse: Estimate,
    /// 1 − squared error ÷ squared error of the holdout's mean; none when the holdout's metric is constant.
    pub r2: Option<Estimate>,
    pub mean: f64,
    /// Mean absolute error of always predicting the training data's mean.
    pub baseline_mae: f64,
}

/// Measured on the holdout by a model fitted without it; the artifact is then fitted to all rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Quality {
    pub train_rows: u64,
    pub holdout_rows: u64,
    pub holdout: Holdout,
    /// Holdout by time: its first time.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub holdout_from: Option<Timestamp>,
    /// Trees that the model uses.
    pub trees: u32,
    /// Fields crossed with the agent.
    pub crosses: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classification: Option<ClassificationQuality>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regression: Option<RegressionQuality>,
}
