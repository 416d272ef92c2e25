//! Partial pooling: how much groups truly differ, when each was measured with an error of known variance, and what to think of
//! each one then.
//!
//! The variance is the one at which the measurements are most likely, group means restricted away (REML: Patterson & Thompson,
//! Biometrika 58, 1971), with the profile likelihood's 95 % interval (Hardy & Thompson, Statistics in Medicine 15, 1996). Each
//! value is shrunk towards its mean (empirical Bayes: Efron & Morris, JASA 70, 1975), its interval widened for the variance
//! being an estimate (Morris, JASA 78, 1983).

use super::quality::Estimate;

/// A value that was measured with an error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Measured {
    pub value: f64,
    /// Variance of the error, above 0.
    pub error: f64,
}

/// Half of the 95 % quantile of χ² with one degree of freedom.
const DROP: f64 = 1.920_729;
const GRID: usize = 40;
const STEPS: usize = 40;

/// The variance between values of the same group around the group's own mean, which is free. Groups of one value tell
/// nothing; none when there are no others.
pub(super) fn variance_between(groups: &[Vec<Measured>]) -> Option<Estimate> {
    let groups: Vec<&Vec<Measured>> = groups.iter().filter(|group| group.len() > 1).collect();
    let degrees: usize = groups.iter().map(|group| group.len() - 1).sum();
    if degrees == 0 {
        return None;
    }
    let likelihood = |variance: f64| groups.iter().map(|group| restricted(group, variance)).sum::<f64>();
    let spread: f64 = groups
        .iter()
        .map(|group| {
            let mean = group.iter().map(|one| one.value).sum::<f64>() / group.len() as f64;
            group.iter().map(|one| (one.value - mean).powi(2)).sum::<f64>()
        })
        .sum::<f64>();
    let raw = spread / degrees as f64;
    if raw <= 0.0 {
        return Some(Estimate { value: 0.0, low: 0.0, high: 0.0 });
    }
    // By logarithm from next to nothing up to far beyond what was seen.
    let at = |step: f64| raw * (10f64).powf(-7.0 + 9.0 * step / GRID as f64);
    let best = (0..=GRID)
        .map(|step| (step, likelihood(at(step as f64))))
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map_or(0, |(step, _)| step);
    let (mut low, mut high) = (best as f64 - 1.0, best as f64 + 1.0);
    for _ in 0..STEPS {
        let (one, other) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
        if likelihood(at(one)) < likelihood(at(other)) {
            low = one;
        } else {
            high = other;
        }
    }
    let mut value = at(0.5 * (low + high));
    let (mut most, nothing) = (likelihood(value), likelihood(0.0));
    if nothing >= most {
        (value, most) = (0.0, nothing);
    }
    let bound = |mut inside: f64, mut outside: f64| {
        for _ in 0..STEPS {
            let middle = 0.5 * (inside + outside);
            if most - likelihood(middle) < DROP {
                inside = middle;
            } else {
                outside = middle;
            }
        }
        0.5 * (inside + outside)
    };
    let lower = if most - nothing < DROP { 0.0 } else { bound(value, 0.0) };
    let far = at(GRID as f64);
    let upper = if most - likelihood(far) < DROP { far } else { bound(value, far) };
    Some(Estimate { value, low: lower, high: upper })
}

/// The restricted log likelihood of one group.
fn restricted(group: &[Measured], variance: f64) -> f64 {
    let (mut weights, mut sum, mut logs) = (0.0, 0.0, 0.0);
    for one in group {
        let whole = variance + one.error;
        weights += 1.0 / whole;
        sum += one.value / whole;
        logs += whole.ln();
    }
    let mean = sum / weights;
    let squares: f64 = group.iter().map(|one| (one.value - mean).powi(2) / (variance + one.error)).sum();
    -0.5 * (logs + weights.ln() + squares)
}

/// A value after shrinking, relative to the mean of all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shrunken {
    pub effect: Estimate,
    /// The share of the measured deviation that is kept, 0 to 1.
    pub kept: f64,
}

/// Each value's deviation from the mean of all, shrunk by `variance`, the variance of the true values.
pub(super) fn shrink(values: &[Measured], variance: f64) -> Vec<Shrunken> {
    let weight = |one: &Measured| 1.0 / (variance + one.error);
    let weights: f64 = values.iter().map(weight).sum();
    let mean = values.iter().map(|one| weight(one) * one.value).sum::<f64>() / weights;
    let count = values.len() as f64;
    values
        .iter()
        .map(|one| {
            let kept = variance / (variance + one.error);
            let (pooled, deviation) = (1.0 - kept, one.value - mean);
            let unsure = if count > 3.0 { 2.0 / (count - 3.0) * (pooled * deviation).powi(2) } else { 0.0 };
            let half = 1.96 * (one.error * kept + pooled * pooled / weights + unsure).sqrt();
            let value = kept * deviation;
            Shrunken { effect: Estimate { value, low: value - half, high: value + half }, kept }
        })
        .collect()
}

/// The expected largest of `count` standard normal numbers.
pub(super) fn expected_best(count: u32) -> f64 {
    const STEP: f64 = 0.002;
    let density = |x: f64| (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let (mut below, mut sum) = (0.0, 0.0);
    for step in 0..8_000 {
        let x = -8.0 + STEP * (f64::from(step) + 0.5);
        let mass = density(x) * STEP;
        sum += x * f64::from(count) * mass * (below + 0.5 * mass).powi(count as i32 - 1);
        below += mass;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::random::Random;

    #[test]
    fn the_variance_between_is_found_and_its_interval_holds_the_truth() {
        let mut random = Random::new(11);
        for truth in [0.0, 0.04, 1.0] {
            let mut held = 0;
            for _ in 0..100 {
                let group: Vec<Measured> = (0..60)
                    .map(|at| {
                        let error = [0.01, 0.1, 0.5][at % 3];
                        let value = 5.0 + f64::sqrt(truth) * random.normal() + f64::sqrt(error) * random.normal();
                        Measured { value, error }
                    })
                    .collect();
                let found = variance_between(&[group]).unwrap();
                assert!(found.low <= found.value && found.value <= found.high);
                held += u32::from(found.low <= truth && truth <= found.high);
            }
            // 95 of 100 are expected, with a standard deviation of 2.2.
            assert!(held >= 88, "{held} of 100 intervals hold {truth}");
        }
        assert_eq!(variance_between(&[vec![Measured { value: 1.0, error: 1.0 }]]), None);
    }

    #[test]
    fn groups_with_means_of_their_own_are_compared_within() {
        let mut random = Random::new(4);
        let groups: Vec<Vec<Measured>> = (0..300)
            .map(|group| {
                let own = f64::from(group) * 3.0;
                (0..4)
                    .map(|_| Measured { value: own + 0.5 * random.normal() + 0.3 * random.normal(), error: 0.09 })
                    .collect()
            })
            .collect();
        let found = variance_between(&groups).unwrap();
        assert!((found.value - 0.25).abs() < 0.04 && found.low > 0.18 && found.high < 0.33, "{found:?}");
    }

    #[test]
    fn shrunken_values_are_nearer_to_the_truth_and_their_intervals_hold_it() {
        let mut random = Random::new(8);
        let truth: Vec<f64> = (0..2_000).map(|_| random.normal()).collect();
        let measured: Vec<Measured> = truth
            .iter()
            .enumerate()
            .map(|(at, own)| {
                let error = if at % 2 == 0 { 0.1 } else { 4.0 };
                Measured { value: own + f64::sqrt(error) * random.normal(), error }
            })
            .collect();
        let shrunken = shrink(&measured, variance_between(std::slice::from_ref(&measured)).unwrap().value);
        let distance = |values: Vec<f64>| values.iter().zip(&truth).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        let (raw, pooled) = (
            distance(measured.iter().map(|one| one.value).collect()),
            distance(shrunken.iter().map(|one| one.effect.value).collect()),
        );
        assert!(pooled < 0.35 * raw, "{pooled} {raw}");
        let held = shrunken.iter().zip(&truth).filter(|(s, t)| s.effect.low <= **t && **t <= s.effect.high).count();
        assert!((0.93..0.97).contains(&(held as f64 / 2_000.0)), "{held}");
        assert!(shrunken[0].kept > 0.85 && shrunken[1].kept < 0.25);
    }

    #[test]
    fn the_best_of_several_is_known() {
        // Harter, Biometrika 48, 1961.
        for (count, expected) in [(1, 0.0), (2, 0.56419), (5, 1.16296), (10, 1.53875), (50, 2.24907)] {
            assert!((expected_best(count) - expected).abs() < 1e-4, "{count}: {}", expected_best(count));
        }
    }
}
