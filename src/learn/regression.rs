//! Ridge-shrunk logistic or linear regression on a sparse design, by L-BFGS.
//!
//! Minimises `Σ w·loss(y, margin) + ½ Σ λ_g β²` (the intercept is free). Limited-memory BFGS (Liu & Nocedal,
//! Mathematical Programming 45, 1989) on coefficients scaled by the diagonal of the Hessian, so that a level with ten
//! rows and one with a hundred thousand converge together. Each group's λ is estimated as the ratio of the noise to the
//! variance of its true coefficients (empirical Bayes: Efron & Morris, JASA 70, 1975, with the diagonal of the Hessian): a
//! field that tells nothing shrinks to nothing by itself.

use std::collections::VecDeque;

use rayon::prelude::*;

use super::design::Design;
use super::error::TrainError;
use crate::domain::job::Reporter;
use crate::domain::predictor::MetricKind;

const HISTORY: usize = 8;
const LARGEST_RIDGE: f64 = 1e7;
const SMALLEST_RIDGE: f64 = 0.05;
/// A ridge strength that leaves nothing of a coefficient.
const HELD: f64 = 1e15;

/// What is fitted: outcomes (0/1, or standardised), weights (0 leaves a row out), offsets (empty: none).
pub(super) struct Problem<'a> {
    pub design: &'a Design<'a>,
    pub kind: MetricKind,
    pub outcomes: &'a [f32],
    pub weights: &'a [f32],
    pub offset: &'a [f64],
}

/// `ln(1 + e^x)` without overflow.
pub(super) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Loss of one row: log loss, or half the squared error.
pub(super) fn loss(kind: MetricKind, outcome: f64, margin: f64) -> f64 {
    match kind {
        MetricKind::Classification => softplus(margin) - outcome * margin,
        MetricKind::Regression => 0.5 * (outcome - margin).powi(2),
    }
}

/// Weighted mean loss.
pub(super) fn mean_loss(kind: MetricKind, outcomes: &[f32], weights: &[f32], margins: &[f64]) -> f64 {
    let (mut sum, mut weight) = (0.0, 0.0);
    for ((outcome, w), margin) in outcomes.iter().zip(weights).zip(margins) {
        sum += f64::from(*w) * loss(kind, f64::from(*outcome), *margin);
        weight += f64::from(*w);
    }
    sum / weight
}

impl Problem<'_> {
    /// The objective and its gradient.
    fn evaluate(&self, coefficients: &[f64], ridge: &[f64]) -> (f64, Vec<f64>) {
        let margins = self.design.margins(coefficients, self.offset);
        let mut value = 0.0;
        let residuals: Vec<f64> = margins
            .iter()
            .zip(self.outcomes)
            .zip(self.weights)
            .map(|((margin, outcome), weight)| {
                let (outcome, weight) = (f64::from(*outcome), f64::from(*weight));
                if weight == 0.0 {
                    return 0.0;
                }
                value += weight * loss(self.kind, outcome, *margin);
                let predicted = match self.kind {
                    MetricKind::Classification => sigmoid(*margin),
                    MetricKind::Regression => *margin,
                };
                weight * (predicted - outcome)
            })
            .collect();
        let mut gradient = self.design.gradient(&residuals);
        for ((slot, coefficient), ridge) in gradient.iter_mut().zip(coefficients).zip(ridge) {
            value += 0.5 * ridge * coefficient * coefficient;
            *slot += ridge * coefficient;
        }
        (value, gradient)
    }

    /// The diagonal of the loss's Hessian at these coefficients, without the ridge.
    pub fn curvature(&self, coefficients: &[f64]) -> Vec<f64> {
        let margins = match self.kind {
            MetricKind::Classification => self.design.margins(coefficients, self.offset),
            MetricKind::Regression => Vec::new(),
        };
        let weights: Vec<f64> = self
            .weights
            .iter()
            .enumerate()
            .map(|(row, weight)| {
                let curvature = margins.get(row).map_or(1.0, |margin| {
                    let p = sigmoid(*margin);
                    (p * (1.0 - p)).max(1e-6)
                });
                f64::from(*weight) * curvature
            })
            .collect();
        self.design.diagonal(&weights)
    }

    /// One ridge strength a coefficient from one a group; 0 for the intercept.
    pub fn spread(&self, groups: &[f64]) -> Vec<f64> {
        let mut ridge = vec![0.0; self.design.coefficients];
        for block in &self.design.blocks {
            ridge[block.start..block.start + block.count].fill(groups[block.group]);
        }
        ridge
    }

    /// Minimises from `start` on. Ends when an iteration gains less than `tolerance` of the objective.
    pub fn minimize(
        &self,
        start: &[f64],
        ridge: &[f64],
        tolerance: f64,
        iterations: usize,
        reporter: &dyn Reporter,
    ) -> Result<Vec<f64>, TrainError> {
        let scale: Vec<f64> =
            self.curvature(start).iter().zip(ridge).map(|(h, ridge)| 1.0 / (h + ridge).max(1e-6).sqrt()).collect();
        let mut coefficients = start.to_vec();
        let (mut value, mut gradient) = self.evaluate(&coefficients, ridge);
        let mut history: VecDeque<(Vec<f64>, Vec<f64>, f64)> = VecDeque::new();
        for iteration in 0..iterations {
            if reporter.is_cancelled() {
                return Err(TrainError::Cancelled);
            }
            let scaled: Vec<f64> = gradient.iter().zip(&scale).map(|(g, s)| g * s).collect();
            let direction = direction(&scaled, &history);
            let slope = dot(&direction, &scaled);
            if slope >= 0.0 || !slope.is_finite() {
                break;
            }
            let mut step = 1.0;
            let next = loop {
                let moved: Vec<f64> =
                    coefficients.iter().zip(&direction).zip(&scale).map(|((c, d), s)| c + step * d * s).collect();
                let (moved_value, moved_gradient) = self.evaluate(&moved, ridge);
                if moved_value <= value + 1e-4 * step * slope {
                    break Some((moved, moved_value, moved_gradient));
                }
                step *= 0.5;
                if step < 1e-6 {
                    break None;
                }
            };
            let Some((moved, moved_value, moved_gradient)) = next else { break };
            let moves: Vec<f64> = moved.iter().zip(&coefficients).zip(&scale).map(|((a, b), s)| (a - b) / s).collect();
            let changes: Vec<f64> =
                moved_gradient.iter().zip(&gradient).zip(&scale).map(|((a, b), s)| (a - b) * s).collect();
            let curvature = dot(&moves, &changes);
            if curvature > 1e-12 {
                if history.len() == HISTORY {
                    history.pop_front();
                }
                history.push_back((moves, changes, 1.0 / curvature));
            }
            let gain = value - moved_value;
            (coefficients, value, gradient) = (moved, moved_value, moved_gradient);
            if gain < tolerance * value.abs() && iteration > 2 {
                break;
            }
        }
        Ok(coefficients)
    }

    /// As [`Problem::minimize`], with some coefficients held to a sign (`(coefficient, 1 or -1)`): one that would cross 0
    /// stays there, and the others are fitted without it.
    pub fn minimize_signed(
        &self,
        start: &[f64],
        ridge: &[f64],
        signs: &[(usize, f64)],
        tolerance: f64,
        iterations: usize,
        reporter: &dyn Reporter,
    ) -> Result<Vec<f64>, TrainError> {
        let (mut start, mut ridge) = (start.to_vec(), ridge.to_vec());
        let mut held = Vec::new();
        loop {
            let mut found = self.minimize(&start, &ridge, tolerance, iterations, reporter)?;
            for at in &held {
                found[*at] = 0.0;
            }
            let crossing: Vec<usize> =
                signs.iter().filter(|(at, sign)| found[*at] * sign < 0.0).map(|(at, _)| *at).collect();
            if crossing.is_empty() {
                return Ok(found);
            }
            for at in crossing {
                (found[at], ridge[at]) = (0.0, HELD);
                held.push(at);
            }
            start = found;
        }
    }

    /// Each group's ridge strength at these coefficients: the noise over the variance of the group's true coefficients, at
    /// which the coefficients as the data alone would have them (a Newton step without ridge, the others held) are most
    /// likely.
    pub fn estimate_ridge(&self, coefficients: &[f64]) -> Vec<f64> {
        let curvature = self.curvature(coefficients);
        let (_, gradient) = self.evaluate(coefficients, &vec![0.0; coefficients.len()]);
        let noise = match self.kind {
            MetricKind::Classification => 1.0,
            MetricKind::Regression => {
                let margins = self.design.margins(coefficients, self.offset);
                2.0 * mean_loss(self.kind, self.outcomes, self.weights, &margins)
            }
        };
        let mut groups: Vec<Vec<(f64, f64)>> = vec![Vec::new(); self.design.groups];
        for block in &self.design.blocks {
            let own = (block.start..block.start + block.count).filter(|at| curvature[*at] > 1e-6);
            groups[block.group]
                .extend(own.map(|at| (coefficients[at] - gradient[at] / curvature[at], noise / curvature[at])));
        }
        groups.par_iter().map(|group| (noise / variance(group)).clamp(SMALLEST_RIDGE, LARGEST_RIDGE)).collect()
    }
}

/// The variance around zero at which values measured with known variances of error, `(value, variance)`, are most likely;
/// found between 1e-8 and 1e4.
fn variance(measured: &[(f64, f64)]) -> f64 {
    let (mut low, mut high) = (1e-8f64.ln(), 1e4f64.ln());
    for _ in 0..24 {
        let middle = 0.5 * (low + high);
        let own = middle.exp();
        // The derivative of twice the log likelihood.
        let slope: f64 = measured
            .iter()
            .map(|(value, error)| {
                let whole = own + error;
                (value * value - whole) / (whole * whole)
            })
            .sum();
        if slope > 0.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    (0.5 * (low + high)).exp()
}

/// The two-loop recursion.
fn direction(gradient: &[f64], history: &VecDeque<(Vec<f64>, Vec<f64>, f64)>) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut factors = Vec::with_capacity(history.len());
    for (moves, changes, inverse) in history.iter().rev() {
        let factor = inverse * dot(moves, &direction);
        for (slot, change) in direction.iter_mut().zip(changes) {
            *slot -= factor * change;
        }
        factors.push(factor);
    }
    if let Some((moves, changes, _)) = history.back() {
        let size = dot(moves, changes) / dot(changes, changes);
        direction.iter_mut().for_each(|slot| *slot *= size);
    }
    for ((moves, changes, inverse), factor) in history.iter().zip(factors.iter().rev()) {
        let correction = factor - inverse * dot(changes, &direction);
        for (slot, m) in direction.iter_mut().zip(moves) {
            *slot += correction * m;
        }
    }
    direction
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::random::Random;

    #[test]
    fn the_variance_of_what_is_measured_with_errors_is_found() {
        let mut random = Random::new(3);
        for truth in [0.0f64, 0.05, 1.0] {
            let measured: Vec<(f64, f64)> = (0..5_000)
                .map(|at| {
                    let error = [0.02, 0.1, 2.0][at % 3];
                    (truth.sqrt() * random.normal() + f64::sqrt(error) * random.normal(), error)
                })
                .collect();
            let found = variance(&measured);
            assert!((found - truth).abs() < 0.1 * truth + 0.002, "{found} for {truth}");
        }
        assert!(variance(&[]) < 1e-7);
    }
}
