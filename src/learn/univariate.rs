//! How well each feature predicts the outcome alone, on rows that it was not fitted to.

use rayon::prelude::*;

use super::bootstrap::bootstrap;
use super::curves::ascending;
use super::inputs::InputColumn;
use super::means::means;
use super::measure::{auc, weighted_auc};
use super::part::{FOLDS, FitPart, Part};
use super::quality::Estimate;
use crate::domain::predictor::MetricKind;

/// A field's best model of one input: the mean outcome of each level, or a straight line.
pub(super) struct Univariate {
    /// Index into the encoding's fields.
    pub field: usize,
    /// The input that predicts best in the training rows.
    pub input: usize,
    /// Per row of the holdout: a value that rises with the expected outcome (classification), or the expected outcome in
    /// standardised units (regression).
    pub predicted: Vec<f64>,
    /// On the holdout, see [`strength`].
    pub strength: f64,
}

/// Classification: the AUC (0.5 is chance; ties count half). Regression: R², at least 0.
pub(super) fn strength(kind: MetricKind, outcomes: &[f64], predicted: &[f64]) -> f64 {
    match kind {
        MetricKind::Classification => auc(outcomes, predicted).unwrap_or(0.5),
        MetricKind::Regression => r2(outcomes, predicted, |_| 1.0),
    }
}

/// [`strength`] with its 95 % bootstrap interval over rows.
pub(super) fn strength_with_interval(kind: MetricKind, outcomes: &[f64], predicted: &[f64], seed: u64) -> Estimate {
    let value = strength(kind, outcomes, predicted);
    match kind {
        MetricKind::Classification => {
            let order = ascending(predicted);
            bootstrap(value, outcomes.len(), seed, |weights| {
                weighted_auc(outcomes, predicted, &order, |row| f64::from(weights[row]))
            })
        }
        MetricKind::Regression => bootstrap(value, outcomes.len(), seed, |weights| {
            Some(r2(outcomes, predicted, |row| f64::from(weights[row])))
        }),
    }
}

fn r2(outcomes: &[f64], predicted: &[f64], weight: impl Fn(usize) -> f64) -> f64 {
    let (mut rows, mut sum) = (0.0, 0.0);
    for (row, outcome) in outcomes.iter().enumerate() {
        rows += weight(row);
        sum += weight(row) * outcome;
    }
    let mean = sum / rows;
    let (mut total, mut left) = (0.0, 0.0);
    for (row, (outcome, predicted)) in outcomes.iter().zip(predicted).enumerate() {
        total += weight(row) * (outcome - mean).powi(2);
        left += weight(row) * (outcome - predicted).powi(2);
    }
    if total > 0.0 { (1.0 - left / total).max(0.0) } else { 0.0 }
}

/// One entry a field that has inputs, in the order of the fields. Which of a field's inputs speaks for it is decided by the
/// training rows alone.
pub(super) fn univariate(kind: MetricKind, fit: &FitPart, holdout: &Part) -> Vec<Univariate> {
    let outcomes = |part: &Part| part.outcomes.iter().map(|y| f64::from(*y)).collect::<Vec<f64>>();
    let (fitted, held) = (outcomes(&fit.part), outcomes(holdout));
    let tried: Vec<Option<(f64, Vec<f64>)>> = (0..fit.encoding.inputs.len())
        .into_par_iter()
        .map(|input| {
            let (own, other) = (&fit.part.columns[input], &holdout.columns[input]);
            let count = fit.encoding.inputs[input].levels.as_ref().map_or(0, |levels| levels.len());
            let by_level = (count > 0).then(|| by_level(fit, own, other, count));
            let by_line = (!own.numbers.is_empty()).then(|| by_line(kind, fit, own, other));
            [by_level, by_line]
                .into_iter()
                .flatten()
                .map(|(inside, outside)| (strength(kind, &fitted, &inside), outside))
                .max_by(|a, b| a.0.total_cmp(&b.0))
        })
        .collect();
    let mut best: Vec<Option<(f64, usize, Vec<f64>)>> = (0..fit.encoding.fields.len()).map(|_| None).collect();
    for (input, found) in tried.into_iter().enumerate() {
        let Some((inside, outside)) = found else { continue };
        let slot = &mut best[fit.encoding.inputs[input].field as usize];
        if slot.as_ref().is_none_or(|(before, ..)| inside > *before) {
            *slot = Some((inside, input, outside));
        }
    }
    best.into_iter()
        .enumerate()
        .filter_map(|(field, found)| {
            let (_, input, predicted) = found?;
            let strength = strength(kind, &held, &predicted);
            Some(Univariate { field, input, predicted, strength })
        })
        .collect()
}

/// Shrunken means of the levels: of the fitted rows out of fold, of the others by all fitted rows.
fn by_level(fit: &FitPart, own: &InputColumn, other: &InputColumn, count: usize) -> (Vec<f64>, Vec<f64>) {
    let part = &fit.part;
    let found = means(&own.levels, count, &part.outcomes, &part.weights, fit.folds(), FOLDS);
    let inside = found.out_of_fold.iter().map(|mean| f64::from(*mean)).collect();
    (inside, other.levels.iter().map(|level| f64::from(found.full[*level as usize])).collect())
}

/// The least-squares line; a missing number counts as the mean. The order of a classification is the number's own, by the
/// line's direction.
fn by_line(kind: MetricKind, fit: &FitPart, own: &InputColumn, other: &InputColumn) -> (Vec<f64>, Vec<f64>) {
    let (mut weight, mut x, mut y) = (0.0, 0.0, 0.0);
    let rows = || own.numbers.iter().zip(&fit.part.outcomes).zip(&fit.part.weights).filter(|((v, _), _)| !v.is_nan());
    for ((value, outcome), w) in rows() {
        weight += f64::from(*w);
        x += f64::from(*w) * f64::from(*value);
        y += f64::from(*w) * f64::from(*outcome);
    }
    let (x, y) = (x / f64::max(weight, 1e-12), y / f64::max(weight, 1e-12));
    let (mut across, mut along) = (0.0, 0.0);
    for ((value, outcome), w) in rows() {
        let distance = f64::from(*value) - x;
        across += f64::from(*w) * distance * (f64::from(*outcome) - y);
        along += f64::from(*w) * distance * distance;
    }
    let slope = match kind {
        MetricKind::Regression if along > 0.0 => across / along,
        MetricKind::Regression => 0.0,
        MetricKind::Classification => across.signum(),
    };
    let line = |column: &InputColumn| {
        let predict = |value: &f32| if value.is_nan() { y } else { y + slope * (f64::from(*value) - x) };
        column.numbers.iter().map(predict).collect()
    };
    (line(own), line(other))
}
