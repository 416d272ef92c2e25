//! What a classification's ranking and probabilities look like along the holdout: calibration, gains, lift, precision and
//! recall.

use super::quality::{CalibrationBin, GainPoint, LiftPoint, PrecisionRecallPoint};

const BINS: usize = 10;
const GAINS: usize = 20;
/// Points of the precision-recall curve, at most.
const POINTS: usize = 50;

/// Rows by rising prediction; equal predictions in the order of the rows.
pub(super) fn ascending(predictions: &[f64]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..predictions.len() as u32).collect();
    order.sort_by(|a, b| predictions[*a as usize].total_cmp(&predictions[*b as usize]));
    order
}

/// Tenths of the rows by prediction. `order` is [`ascending`].
pub(super) fn calibration(outcomes: &[f64], predictions: &[f64], order: &[u32]) -> Vec<CalibrationBin> {
    (0..BINS)
        .map(|bin| &order[bin * order.len() / BINS..(bin + 1) * order.len() / BINS])
        .filter(|rows| !rows.is_empty())
        .map(|rows| {
            let mean = |values: &[f64]| rows.iter().map(|row| values[*row as usize]).sum::<f64>() / rows.len() as f64;
            CalibrationBin { predicted: mean(predictions), observed: mean(outcomes), rows: rows.len() as u64 }
        })
        .collect()
}

/// The mean distance of observed from predicted over bins of equal mass (Naeini, Cooper & Hauskrecht, AAAI 2015), and what it
/// would be by chance alone were every probability exact: within a bin of `n` rows the mean absolute error of its share, `√(2 Σ
/// p(1 − p) / π) / n`.
pub(super) fn calibration_error(bins: &[CalibrationBin]) -> (f64, f64) {
    let rows: f64 = bins.iter().map(|bin| bin.rows as f64).sum();
    let (mut error, mut chance) = (0.0, 0.0);
    for bin in bins {
        let (n, p) = (bin.rows as f64, bin.predicted);
        error += n / rows * (bin.observed - p).abs();
        chance += n / rows * (2.0 * p * (1.0 - p) / (std::f64::consts::PI * n)).sqrt();
    }
    (error, chance)
}

/// Empty without a positive.
pub(super) fn gains(outcomes: &[f64], order: &[u32]) -> Vec<GainPoint> {
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

/// The gains curve relative to a random order.
pub(super) fn lift(gains: &[GainPoint]) -> Vec<LiftPoint> {
    gains.iter().map(|point| LiftPoint { share: point.share, lift: point.captured / point.share }).collect()
}

/// From the highest threshold down; rows of equal prediction enter together. Empty without a positive.
pub(super) fn precision_recall(outcomes: &[f64], predictions: &[f64], order: &[u32]) -> Vec<PrecisionRecallPoint> {
    let total: f64 = outcomes.iter().sum();
    if total == 0.0 {
        return Vec::new();
    }
    let mut points = Vec::new();
    let (mut taken, mut hits) = (0usize, 0.0);
    for tied in falling_ties(order, predictions) {
        taken += tied.len();
        hits += tied.iter().map(|row| outcomes[*row as usize]).sum::<f64>();
        // One point whenever another fiftieth of the rows is in.
        let due = taken * POINTS / order.len() > points.len();
        if due {
            points.push(PrecisionRecallPoint {
                threshold: predictions[tied[0] as usize],
                precision: hits / taken as f64,
                recall: hits / total,
            });
        }
    }
    points
}

/// `Σ (recall − recall before) × precision` over falling thresholds (Davis & Goadrich, ICML 2006, on why not to interpolate
/// between them). `weight` is a row's. None without a positive.
pub(super) fn average_precision(
    outcomes: &[f64],
    predictions: &[f64],
    order: &[u32],
    weight: impl Fn(usize) -> f64,
) -> Option<f64> {
    let (mut taken, mut hits, mut sum) = (0.0, 0.0, 0.0);
    for tied in falling_ties(order, predictions) {
        let mut own = 0.0;
        for row in tied {
            let w = weight(*row as usize);
            taken += w;
            own += w * outcomes[*row as usize];
        }
        hits += own;
        if own > 0.0 {
            sum += own * hits / taken;
        }
    }
    (hits > 0.0).then(|| sum / hits)
}

/// Rows of equal prediction, highest first.
fn falling_ties<'a>(order: &'a [u32], predictions: &'a [f64]) -> impl Iterator<Item = &'a [u32]> {
    order.chunk_by(|a, b| predictions[*a as usize] == predictions[*b as usize]).rev()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_falls_as_recall_rises_and_ties_enter_together() {
        let outcomes = [1.0, 1.0, 0.0, 1.0, 0.0, 0.0];
        let predictions = [0.9, 0.8, 0.7, 0.4, 0.4, 0.1];
        let order = ascending(&predictions);
        let curve = precision_recall(&outcomes, &predictions, &order);
        let found: Vec<(f64, f64, f64)> = curve.iter().map(|p| (p.threshold, p.precision, p.recall)).collect();
        let third = 1.0 / 3.0;
        let expected = [(0.9, 1.0, third), (0.8, 1.0, 2.0 * third), (0.7, 2.0 * third, 2.0 * third), (0.4, 0.6, 1.0)];
        for (one, other) in found.iter().zip(expected) {
            assert!((one.0 - other.0).abs() + (one.1 - other.1).abs() + (one.2 - other.2).abs() < 1e-12, "{found:?}");
        }
        assert_eq!(found.len(), 5);
        let area = average_precision(&outcomes, &predictions, &order, |_| 1.0).unwrap();
        assert!((area - third * (1.0 + 1.0 + 0.6)).abs() < 1e-12, "{area}");
        assert_eq!(average_precision(&[0.0, 0.0], &[0.1, 0.2], &[0, 1], |_| 1.0), None);
    }

    #[test]
    fn exact_probabilities_have_the_calibration_error_of_chance() {
        let mut random = crate::learn::random::Random::new(5);
        let mut unit = || random.unit();
        let predictions: Vec<f64> = (0..20_000).map(|_| unit()).collect();
        let outcomes: Vec<f64> = predictions.iter().map(|p| f64::from(u8::from(unit() < *p))).collect();
        let order = ascending(&predictions);
        let (error, chance) = calibration_error(&calibration(&outcomes, &predictions, &order));
        assert!(error < 2.0 * chance && error > 0.3 * chance, "{error} {chance}");
        let halved: Vec<f64> = predictions.iter().map(|p| p / 2.0).collect();
        let (error, _) = calibration_error(&calibration(&outcomes, &halved, &order));
        assert!((error - 0.25).abs() < 0.01, "{error}");
    }

    #[test]
    fn lift_is_how_much_richer_the_best_rows_are() {
        let outcomes: Vec<f64> = (0..100).map(|row| f64::from(u8::from(row >= 80))).collect();
        let predictions: Vec<f64> = (0..100).map(f64::from).collect();
        let curve = lift(&gains(&outcomes, &ascending(&predictions)));
        let at = |share: f64| curve.iter().find(|p| (p.share - share).abs() < 1e-9).unwrap().lift;
        assert!((at(0.2) - 5.0).abs() < 1e-9 && (at(0.5) - 2.0).abs() < 1e-9 && (at(1.0) - 1.0).abs() < 1e-9);
    }
}
