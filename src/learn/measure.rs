//! Measures of predictions against outcomes, with bootstrap intervals.

use super::bootstrap::{bootstrap, mean_with_interval};
use super::curves::{ascending, average_precision, calibration, calibration_error, gains, lift, precision_recall};
use super::quality::{ClassificationQuality, Estimate, RegressionQuality, ResidualBin, Residuals};

/// Bins of the residuals' histogram.
const RESIDUAL_BINS: usize = 20;

/// Area under the ROC curve; ties count half. None when a class is missing.
pub fn auc(outcomes: &[f64], predictions: &[f64]) -> Option<f64> {
    let order = ascending(predictions);
    weighted_auc(outcomes, predictions, &order, |_| 1.0)
}

/// Natural logarithm; probabilities are held away from 0 and 1 by 1e-15.
pub fn log_loss(outcome: f64, p: f64) -> f64 {
    let p = p.clamp(1e-15, 1.0 - 1e-15);
    -(outcome * p.ln() + (1.0 - outcome) * (1.0 - p).ln())
}

/// `outcomes` are 0 or 1, `predictions` probabilities.
pub(super) fn classification(outcomes: &[f64], predictions: &[f64], prior: f64, seed: u64) -> ClassificationQuality {
    let rows = outcomes.len() as f64;
    let order = ascending(predictions);
    let losses: Vec<f64> = outcomes.iter().zip(predictions).map(|(y, p)| log_loss(*y, *p)).collect();
    let squares: Vec<f64> = outcomes.iter().zip(predictions).map(|(y, p)| (y - p).powi(2)).collect();
    let auc = weighted_auc(outcomes, predictions, &order, |_| 1.0).map(|value| {
        bootstrap(value, outcomes.len(), seed, |weights| {
            weighted_auc(outcomes, predictions, &order, |row| f64::from(weights[row]))
        })
    });
    let average_precision = average_precision(outcomes, predictions, &order, |_| 1.0).map(|value| {
        bootstrap(value, outcomes.len(), seed, |weights| {
            average_precision(outcomes, predictions, &order, |row| f64::from(weights[row]))
        })
    });
    let base_rate = outcomes.iter().sum::<f64>() / rows;
    let calibration = calibration(outcomes, predictions, &order);
    let (calibration_error, calibration_error_by_chance) = calibration_error(&calibration);
    let gains = gains(outcomes, &order);
    ClassificationQuality {
        auc,
        average_precision,
        log_loss: mean_with_interval(&losses, seed),
        brier: mean_with_interval(&squares, seed),
        base_rate,
        baseline_log_loss: outcomes.iter().map(|y| log_loss(*y, prior)).sum::<f64>() / rows,
        calibration_error,
        calibration_error_by_chance,
        calibration,
        lift: lift(&gains),
        gains,
        precision_recall: precision_recall(outcomes, predictions, &order),
    }
}

/// In the metric's unit.
pub(super) fn regression(outcomes: &[f64], predictions: &[f64], prior: f64, seed: u64) -> RegressionQuality {
    let rows = outcomes.len() as f64;
    let absolute: Vec<f64> = outcomes.iter().zip(predictions).map(|(y, p)| (y - p).abs()).collect();
    let squares: Vec<f64> = outcomes.iter().zip(predictions).map(|(y, p)| (y - p).powi(2)).collect();
    let mean = outcomes.iter().sum::<f64>() / rows;
    let spread: Vec<f64> = outcomes.iter().map(|y| (y - mean).powi(2)).collect();
    let total: f64 = spread.iter().sum();
    let root = |estimate: Estimate| Estimate {
        value: estimate.value.sqrt(),
        low: estimate.low.max(0.0).sqrt(),
        high: estimate.high.max(0.0).sqrt(),
    };
    let r2 = (total > 0.0).then(|| {
        bootstrap(1.0 - squares.iter().sum::<f64>() / total, outcomes.len(), seed, |weights| {
            let weighted = |values: &[f64]| values.iter().zip(weights).map(|(v, w)| v * f64::from(*w)).sum::<f64>();
            let total = weighted(&spread);
            (total > 0.0).then(|| 1.0 - weighted(&squares) / total)
        })
    });
    RegressionQuality {
        mae: mean_with_interval(&absolute, seed),
        rmse: root(mean_with_interval(&squares, seed)),
        r2,
        mean,
        baseline_mae: outcomes.iter().map(|y| (y - prior).abs()).sum::<f64>() / rows,
        residuals: residuals(outcomes, predictions),
    }
}

/// `order` is [`ascending`].
pub(super) fn weighted_auc(
    outcomes: &[f64],
    predictions: &[f64],
    order: &[u32],
    weight: impl Fn(usize) -> f64,
) -> Option<f64> {
    let (mut below, mut pairs, mut positives) = (0.0, 0.0, 0.0);
    for tied in order.chunk_by(|a, b| predictions[*a as usize] == predictions[*b as usize]) {
        let (mut tied_positive, mut tied_negative) = (0.0, 0.0);
        for row in tied {
            let w = weight(*row as usize);
            tied_positive += w * outcomes[*row as usize];
            tied_negative += w * (1.0 - outcomes[*row as usize]);
        }
        pairs += tied_positive * (below + 0.5 * tied_negative);
        below += tied_negative;
        positives += tied_positive;
    }
    (positives > 0.0 && below > 0.0).then(|| pairs / (positives * below))
}

/// What predictions left over; in the metric's unit.
fn residuals(outcomes: &[f64], predictions: &[f64]) -> Residuals {
    let mut left: Vec<f64> = outcomes.iter().zip(predictions).map(|(y, p)| y - p).collect();
    left.sort_unstable_by(f64::total_cmp);
    let rows = left.len();
    let mean = left.iter().sum::<f64>() / rows as f64;
    let variance = left.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / rows as f64;
    let at = |share: f64| left[(share * (rows - 1) as f64).round() as usize];
    let (low, high) = (at(0.01), at(0.99));
    let width = (high - low) / RESIDUAL_BINS as f64;
    let mut histogram = Vec::new();
    if width > 0.0 {
        histogram = (0..RESIDUAL_BINS)
            .map(|bin| ResidualBin { from: low + width * bin as f64, to: low + width * (bin + 1) as f64, rows: 0 })
            .collect();
        for residual in &left {
            let bin = ((residual - low) / width).clamp(0.0, (RESIDUAL_BINS - 1) as f64) as usize;
            histogram[bin].rows += 1;
        }
    }
    Residuals {
        mean,
        deviation: variance.sqrt(),
        p05: at(0.05),
        p25: at(0.25),
        median: at(0.5),
        p75: at(0.75),
        p95: at(0.95),
        histogram,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auc_counts_ties_half() {
        assert_eq!(auc(&[0.0, 1.0, 0.0, 1.0], &[0.1, 0.9, 0.2, 0.8]), Some(1.0));
        assert_eq!(auc(&[0.0, 1.0], &[0.5, 0.5]), Some(0.5));
        assert_eq!(auc(&[1.0, 0.0, 1.0], &[0.3, 0.2, 0.1]), Some(0.5));
        assert_eq!(auc(&[1.0, 1.0], &[0.3, 0.2]), None);
    }

    #[test]
    fn intervals_hold_the_value_and_perfect_predictions_measure_so() {
        let outcomes: Vec<f64> = (0..500).map(|row| f64::from(u8::from(row % 3 == 0))).collect();
        let predictions: Vec<f64> = outcomes.iter().map(|y| 0.1 + 0.8 * y).collect();
        let quality = classification(&outcomes, &predictions, 1.0 / 3.0, 7);
        assert_eq!(quality.auc.unwrap().value, 1.0);
        assert!(quality.log_loss.low <= quality.log_loss.value && quality.log_loss.value <= quality.log_loss.high);
        assert!((quality.log_loss.value - -(0.9f64.ln())).abs() < 1e-9);
        assert_eq!(quality.calibration.iter().map(|bin| bin.rows).sum::<u64>(), 500);
        assert!((quality.gains.last().unwrap().captured - 1.0).abs() < 1e-12);
        let perfect = regression(&outcomes, &outcomes, 0.3, 7);
        assert_eq!((perfect.mae.value, perfect.r2.unwrap().value), (0.0, 1.0));
    }

    #[test]
    fn residuals_are_what_happened_less_what_was_predicted() {
        let outcomes: Vec<f64> = (0..=100).map(f64::from).collect();
        let left = regression(&outcomes, &vec![40.0; 101], 50.0, 1).residuals;
        assert_eq!((left.mean, left.median, left.p05, left.p95), (10.0, 10.0, -35.0, 55.0));
        assert_eq!(left.histogram.iter().map(|bin| bin.rows).sum::<u64>(), 101);
        assert_eq!((left.histogram[0].from, left.histogram[19].to), (-39.0, 59.0));
    }
}
