//! The outcome model of the direct method: the choosing model, recalibrated on the holdout.
//!
//! A model that chooses the agent whom it expects most of chooses by its errors, too, and so expects too much of its
//! choices. How much its differences between agents are worth is therefore measured where it did not choose: a regression of the
//! holdout's outcomes on its mean over an interaction's agents and on the actual agent's difference from that mean (as Platt
//! scaling, Advances in Large Margin Classifiers, 1999, but with a slope each). Fitted five times, each fold of the holdout by the
//! others, so that no outcome helps to predict itself.

use super::super::random::folds;
use super::super::regression::sigmoid;
use crate::domain::predictor::MetricKind;

const FOLDS: usize = 5;
/// Intercept, mean over the interaction's agents, an agent's difference from it.
pub(super) const TERMS: usize = 3;
/// The choosing model as it is, and how many interactions that is worth.
const PRIOR: [f64; TERMS] = [0.0, 1.0, 1.0];
const PRIOR_ROWS: f64 = 1.0;
const STEPS: usize = 30;

pub(super) type Terms = [f64; TERMS];

/// One interaction, for the agent who took it. `outcome` is 0 or 1, or standardised.
#[derive(Debug, Clone, Copy)]
pub(super) struct Observed {
    pub terms: Terms,
    pub outcome: f64,
}

/// The fitted model.
pub(super) struct OutcomeModel {
    kind: MetricKind,
    /// Per row.
    fold: Vec<u8>,
    by_fold: Vec<Terms>,
    /// Fitted to all rows: for people to look at.
    pub whole: Terms,
    /// Of the mean loss over all rows.
    inverse_hessian: [Terms; TERMS],
}

impl OutcomeModel {
    /// `None` leaves a row out of the fit.
    pub fn fit(kind: MetricKind, observed: &[Option<Observed>], seed: u64) -> OutcomeModel {
        let fold = folds(observed.len(), FOLDS, seed ^ 0x0007_11f7);
        let of = |left_out: Option<u8>| -> Vec<Observed> {
            let kept = observed.iter().zip(&fold).filter(|(_, own)| Some(**own) != left_out);
            kept.filter_map(|(row, _)| *row).collect()
        };
        let by_fold = (0..FOLDS as u8).map(|fold| minimize(kind, &of(Some(fold)))).collect();
        let all = of(None);
        let whole = minimize(kind, &all);
        let (_, hessian) = derivatives(kind, &all, &whole);
        let rows = all.len().max(1) as f64;
        let inverse_hessian = inverse(&hessian.map(|line| line.map(|value| value / rows)));
        OutcomeModel { kind, fold, by_fold, whole, inverse_hessian }
    }

    /// What is expected (a probability, or standardised), and its derivative by the linear predictor.
    pub fn expected(&self, row: usize, terms: &Terms) -> (f64, f64) {
        mean(self.kind, dot(&self.by_fold[usize::from(self.fold[row])], terms))
    }

    /// How an interaction's outcome moves a mean of expectations whose gradient by the coefficients is `gradient`
    /// (the influence function of an M-estimator: van der Vaart, Asymptotic Statistics, chapter 5).
    pub fn influence(&self, row: usize, observed: &Observed, gradient: &Terms) -> f64 {
        let residual = observed.outcome - self.expected(row, &observed.terms).0;
        let moved: f64 =
            self.inverse_hessian.iter().zip(gradient).map(|(line, g)| g * dot(line, &observed.terms)).sum();
        residual * moved
    }
}

fn dot(a: &Terms, b: &Terms) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn mean(kind: MetricKind, linear: f64) -> (f64, f64) {
    match kind {
        MetricKind::Classification => {
            let p = sigmoid(linear);
            (p, p * (1.0 - p))
        }
        MetricKind::Regression => (linear, 1.0),
    }
}

/// Gradient and Hessian of the summed loss with its prior.
fn derivatives(kind: MetricKind, rows: &[Observed], at: &Terms) -> (Terms, [Terms; TERMS]) {
    let mut gradient: Terms = std::array::from_fn(|term| PRIOR_ROWS * (at[term] - PRIOR[term]));
    let mut hessian = [[0.0; TERMS]; TERMS];
    (0..TERMS).for_each(|term| hessian[term][term] = PRIOR_ROWS);
    for row in rows {
        let (expected, slope) = mean(kind, dot(at, &row.terms));
        for ((total, line), own) in gradient.iter_mut().zip(&mut hessian).zip(row.terms) {
            *total += (expected - row.outcome) * own;
            for (cell, other) in line.iter_mut().zip(row.terms) {
                *cell += slope * own * other;
            }
        }
    }
    (gradient, hessian)
}

/// Newton's method from the choosing model as it is; steps are halved until they do not lead uphill.
fn minimize(kind: MetricKind, rows: &[Observed]) -> Terms {
    let mut at = PRIOR;
    for _ in 0..STEPS {
        let (gradient, hessian) = derivatives(kind, rows, &at);
        let inverse = inverse(&hessian);
        let step: Terms = std::array::from_fn(|term| dot(&inverse[term], &gradient));
        let size = step.iter().fold(0.0, |most: f64, own| most.max(own.abs()));
        // A step of more than 1 would leave the region where the loss is near its parabola.
        let held = 1.0 / size.max(1.0);
        at = std::array::from_fn(|term| at[term] - held * step[term]);
        if size < 1e-9 {
            break;
        }
    }
    at
}

/// Of a symmetric positive definite matrix, by Gauss and Jordan; needs no pivot.
fn inverse(matrix: &[Terms; TERMS]) -> [Terms; TERMS] {
    let mut left = *matrix;
    let mut right: [Terms; TERMS] = std::array::from_fn(|a| std::array::from_fn(|b| f64::from(u8::from(a == b))));
    for pivot in 0..TERMS {
        let scale = 1.0 / left[pivot][pivot].max(1e-12);
        left[pivot] = left[pivot].map(|value| value * scale);
        right[pivot] = right[pivot].map(|value| value * scale);
        for line in (0..TERMS).filter(|line| *line != pivot) {
            let factor = left[line][pivot];
            for column in 0..TERMS {
                left[line][column] -= factor * left[pivot][column];
                right[line][column] -= factor * right[pivot][column];
            }
        }
    }
    right
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::random::Random;

    #[test]
    fn a_model_that_overstates_agents_is_found_out() {
        let mut random = Random::new(5);
        let mut uniform = move || random.unit();
        let rows: Vec<Option<Observed>> = (0..40_000)
            .map(|_| {
                let (contact, agent) = (4.0 * uniform() - 2.0, 4.0 * uniform() - 2.0);
                let outcome = f64::from(u8::from(uniform() < sigmoid(0.2 + contact + 0.5 * agent)));
                Some(Observed { terms: [1.0, contact, agent], outcome })
            })
            .collect();
        let model = OutcomeModel::fit(MetricKind::Classification, &rows, 1);
        let [intercept, contact, agent] = model.whole;
        assert!((intercept - 0.2).abs() < 0.05 && (contact - 1.0).abs() < 0.05 && (agent - 0.5).abs() < 0.05);
        assert!(model.by_fold.iter().all(|own| *own != model.whole));
        let (p, slope) = model.expected(0, &[1.0, 0.0, 0.0]);
        assert!((p - sigmoid(0.2)).abs() < 0.02 && (slope - p * (1.0 - p)).abs() < 1e-12);
    }
}
