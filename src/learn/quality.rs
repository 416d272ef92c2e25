//! How good a model is on data that it has not seen.

use serde::{Deserialize, Serialize};

use crate::domain::Timestamp;
use crate::domain::job::LiveMetric;
use crate::domain::model::Holdout;

/// 97.5 % of a standard normal distribution lies below.
pub(super) const Z: f64 = 1.959_963_984_540_054;

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

/// How much richer in positives the best-scored `share` of the rows is than all rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LiftPoint {
    pub share: f64,
    pub lift: f64,
}

/// Of the rows predicted at or above the threshold: the share of positives (precision), and the share of all positives that
/// they hold (recall).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PrecisionRecallPoint {
    pub threshold: f64,
    pub precision: f64,
    pub recall: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ClassificationQuality {
    /// Area under the ROC curve; none when the holdout has one class.
    pub auc: Option<Estimate>,
    /// Area under the precision-recall curve; chance gives the base rate. None without a positive.
    #[serde(default)]
    pub average_precision: Option<Estimate>,
    /// Natural logarithm.
    pub log_loss: Estimate,
    pub brier: Estimate,
    /// Share of positives in the holdout.
    pub base_rate: f64,
    /// Log loss of always predicting the training data's share of positives.
    pub baseline_log_loss: f64,
    /// Mean distance of the observed from the predicted share over tenths of the rows by prediction.
    #[serde(default)]
    pub calibration_error: f64,
    /// What that distance would be by chance if every probability were exact: a larger one is the model's.
    #[serde(default)]
    pub calibration_error_by_chance: f64,
    pub calibration: Vec<CalibrationBin>,
    pub gains: Vec<GainPoint>,
    #[serde(default)]
    pub lift: Vec<LiftPoint>,
    /// From the highest threshold down, at most 50 points.
    #[serde(default)]
    pub precision_recall: Vec<PrecisionRecallPoint>,
}

/// Rows by their residual.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ResidualBin {
    pub from: f64,
    pub to: f64,
    pub rows: u64,
}

/// Observed less predicted, in the metric's unit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Residuals {
    /// Far from 0: the model is too low (above) or too high (below) on the whole.
    pub mean: f64,
    pub deviation: f64,
    pub p05: f64,
    pub p25: f64,
    pub median: f64,
    pub p75: f64,
    pub p95: f64,
    /// Between the 1st and the 99th percentile; the outer bins also hold what lies beyond.
    pub histogram: Vec<ResidualBin>,
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
    #[serde(default)]
    pub residuals: Residuals,
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

impl Quality {
    /// What a training's progress tells of it: log loss or RMSE.
    pub fn headline(&self) -> Option<LiveMetric> {
        let (name, value) = match (&self.classification, &self.regression) {
            (Some(found), _) => ("log loss", found.log_loss.value),
            (None, Some(found)) => ("RMSE", found.rmse.value),
            (None, None) => return None,
        };
        Some(LiveMetric { name: format!("{name} on the holdout"), value })
    }
}
