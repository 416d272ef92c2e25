//! Measures of predictions against outcomes, with bootstrap intervals.

use super::quality::{CalibrationBin, ClassificationQuality, Estimate, GainPoint, RegressionQuality};
use super::random::Random;

const REPLICATES: usize = 200;
/// Rows × replicates, at most: large holdouts have narrow intervals anyway.
const BOOTSTRAP_WORK: usize = 30_000_000;
const BINS: usize = 10;
const GAINS: usize = 20;

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
    let base_rate = outcomes.iter().sum::<f64>() / rows;
    ClassificationQuality {
        auc,
        log_loss: mean_with_interval(&losses, seed),
        brier: mean_with_interval(&squares, seed),
        base_rate,
        baseline_log_loss: outcomes.iter().map(|y| log_loss(*y, prior)).sum::<f64>() / rows,
        calibration: calibration(outcomes, predictions, &order),
        gains: gains(outcomes, &order),
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
    }
}

fn ascending(predictions: &[f64]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..predictions.len() as u32).collect();
    order.sort_by(|a, b| predictions[*a as usize].total_cmp(&predictions[*b as usize]));
    order
}

fn weighted_auc(outcomes: &[f64], predictions: &[f64], order: &[u32], weight: impl Fn(usize) -> f64) -> Option<f64> {
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

/// 95 % percentile interval by Poisson weights (Oza & Russell, AISTATS 2001), which sum to about the rows.
fn bootstrap(value: f64, rows: usize, seed: u64, mut measure: impl FnMut(&[u8]) -> Option<f64>) -> Estimate {
    let replicates = (BOOTSTRAP_WORK / rows.max(1)).clamp(20, REPLICATES);
    let mut random = Random::new(seed ^ 0x0b00_7572);
    let mut weights = vec![0u8; rows];
    let mut values: Vec<f64> = Vec::with_capacity(replicates);
    for _ in 0..replicates {
        weights.iter_mut().for_each(|weight| *weight = poisson(&mut random));
        values.extend(measure(&weights));
    }
    values.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| {
        values.get((share * (values.len().saturating_sub(1)) as f64).round() as usize).copied().unwrap_or(value)
    };
    Estimate { value, low: at(0.025).min(value), high: at(0.975).max(value) }
}

/// A Poisson number with mean 1, by its distribution function.
fn poisson(random: &mut Random) -> u8 {
    const CUMULATIVE: [f64; 7] = [0.367879, 0.735759, 0.919699, 0.981012, 0.996340, 0.999406, 0.999917];
    let u = (random.next() >> 11) as f64 / (1u64 << 53) as f64;
    CUMULATIVE.iter().take_while(|edge| u >= **edge).count() as u8
}

fn mean_with_interval(values: &[f64], seed: u64) -> Estimate {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    bootstrap(mean, values.len(), seed, |weights| {
        let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
        let sum: f64 = values.iter().zip(weights).map(|(v, w)| v * f64::from(*w)).sum();
        (total > 0.0).then(|| sum / total)
    })
}

fn calibration(outcomes: &[f64], predictions: &[f64], order: &[u32]) -> Vec<CalibrationBin> {
    (0..BINS)
        .map(|bin| &order[bin * order.len() / BINS..(bin + 1) * order.len() / BINS])
        .filter(|rows| !rows.is_empty())
        .map(|rows| {
            let mean = |values: &[f64]| rows.iter().map(|row| values[*row as usize]).sum::<f64>() / rows.len() as f64;
            CalibrationBin { predicted: mean(predictions), observed: mean(outcomes), rows: rows.len() as u64 }
        })
        .collect()
}

fn gains(outcomes: &[f64], order: &[u32]) -> Vec<GainPoint> {
    let total: f64 = outcomes.iter().sum();
    if total == 0.0 {
        return Vec::new();
    }
    (1..=GAINS)
        .map(|point| {
            let best = order.len() * point / GAINS;
            let captured: f64 = order.iter().rev().take(best).map(|row| outcomes[*row as usize]).sum();
            GainPoint { share: point as f64 / GAINS as f64, captured: captured / total }
        })
        .collect()
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
}
