//! Whether what was predicted happens as often as predicted.

use serde::Serialize;

use super::Interval;
use crate::learn::curves::calibration_error;
use crate::learn::quality::{CalibrationBin, Z};
use crate::learn::random::Random;

const BINS: usize = 10;
/// Fewer outcomes say nothing.
const LEAST: usize = 200;
const DRAWS: usize = 2_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CalibrationVerdict {
    /// Fewer than 200 outcomes with a prediction.
    TooFewOutcomes,
    /// Not worse than at training, or not more than chance does.
    AsExpected,
    /// Worse than at training and more than chance does: train again.
    Drifted,
}

/// A tenth of the outcomes, by prediction.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct ObservedBin {
    pub outcomes: u64,
    pub predicted: f64,
    pub observed: f64,
    /// 95 % interval of what is observed.
    pub interval: Interval,
}

/// Predictions against outcomes.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Calibration {
    /// Outcomes whose prediction is known.
    pub outcomes: u64,
    /// Mean observed less mean predicted, with its 95 % interval.
    pub bias: Option<f64>,
    pub bias_interval: Option<Interval>,
    /// Expected calibration error: the mean distance of observed from predicted over the bins (Naeini, Cooper & Hauskrecht, AAAI 2015).
    pub error: Option<f64>,
    /// Its 95 % interval, by a parametric bootstrap of the bins.
    pub error_interval: Option<Interval>,
    /// What 95 of 100 perfectly calibrated models stay below with as many outcomes.
    pub error_by_chance: Option<f64>,
    /// The error on the holdout when the model was trained.
    pub error_at_training: Option<f64>,
    pub verdict: CalibrationVerdict,
    pub bins: Vec<ObservedBin>,
}

/// The expected calibration error of a model's quality.
pub fn training_error(bins: &[CalibrationBin]) -> Option<f64> {
    (!bins.is_empty()).then(|| calibration_error(bins).0)
}

/// `pairs`: prediction and outcome (0 or 1, or the metric) of each interaction.
pub fn calibration(mut pairs: Vec<(f64, f64)>, error_at_training: Option<f64>) -> Calibration {
    pairs.retain(|(predicted, outcome)| predicted.is_finite() && outcome.is_finite());
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let rows = pairs.len();
    let parts: Vec<Part> = (0..BINS)
        .map(|bin| &pairs[bin * rows / BINS..(bin + 1) * rows / BINS])
        .filter(|rows| !rows.is_empty())
        .map(Part::of)
        .collect();
    let bins = parts.iter().map(Part::shown).collect();
    let nothing = Calibration {
        outcomes: rows as u64,
        bias: None,
        bias_interval: None,
        error: None,
        error_interval: None,
        error_by_chance: None,
        error_at_training,
        verdict: CalibrationVerdict::TooFewOutcomes,
        bins,
    };
    if rows < LEAST {
        return nothing;
    }
    let off: Vec<f64> = pairs.iter().map(|(predicted, outcome)| outcome - predicted).collect();
    let bias = off.iter().sum::<f64>() / rows as f64;
    let variance = off.iter().map(|d| (d - bias).powi(2)).sum::<f64>() / (rows as f64 - 1.0);
    let weighted = |distances: &mut dyn Iterator<Item = f64>| {
        parts.iter().zip(distances).map(|(part, distance)| part.rows * distance.abs()).sum::<f64>() / rows as f64
    };
    let error = weighted(&mut parts.iter().map(|part| part.observed - part.predicted));
    let mut random = Random::new(0x00ca_11b7);
    let mut drawn = |centre: fn(&Part) -> f64| -> Vec<f64> {
        let mut errors: Vec<f64> = (0..DRAWS)
            .map(|_| weighted(&mut parts.iter().map(|part| centre(part) + part.deviation * normal(&mut random))))
            .collect();
        errors.sort_unstable_by(f64::total_cmp);
        errors
    };
    let around = drawn(|part| part.observed - part.predicted);
    let by_chance = drawn(|_| 0.0)[DRAWS * 95 / 100];
    let interval = Interval { low: around[DRAWS / 40].min(error), high: around[DRAWS - 1 - DRAWS / 40].max(error) };
    let drifted = error > by_chance && error_at_training.is_none_or(|before| interval.low > before);
    Calibration {
        bias: Some(bias),
        bias_interval: Some(Interval::around(bias, Z * (variance / rows as f64).sqrt())),
        error: Some(error),
        error_interval: Some(interval),
        error_by_chance: Some(by_chance),
        verdict: if drifted { CalibrationVerdict::Drifted } else { CalibrationVerdict::AsExpected },
        ..nothing
    }
}

/// One bin's means.
struct Part {
    rows: f64,
    predicted: f64,
    observed: f64,
    /// Of `observed`, if the predictions are right.
    deviation: f64,
    classes: bool,
}

impl Part {
    fn of(pairs: &[(f64, f64)]) -> Part {
        let rows = pairs.len() as f64;
        let mean = |value: fn(&(f64, f64)) -> f64| pairs.iter().map(value).sum::<f64>() / rows;
        let classes = pairs.iter().all(|(p, y)| (*y == 0.0 || *y == 1.0) && (0.0..=1.0).contains(p));
        let variance = if classes {
            mean(|(p, _)| p * (1.0 - p))
        } else {
            let off = mean(|(p, y)| y - p);
            pairs.iter().map(|(p, y)| (y - p - off).powi(2)).sum::<f64>() / rows
        };
        Part {
            rows,
            predicted: mean(|pair| pair.0),
            observed: mean(|pair| pair.1),
            deviation: (variance / rows).sqrt(),
            classes,
        }
    }

    fn shown(&self) -> ObservedBin {
        let interval = if self.classes {
            wilson(self.observed, self.rows)
        } else {
            Interval::around(self.observed, Z * self.deviation)
        };
        ObservedBin { outcomes: self.rows as u64, predicted: self.predicted, observed: self.observed, interval }
    }
}

/// Wilson's score interval of a share (JASA 1927).
fn wilson(share: f64, rows: f64) -> Interval {
    let z2 = Z * Z;
    let centre = (share + z2 / (2.0 * rows)) / (1.0 + z2 / rows);
    let radius = Z / (1.0 + z2 / rows) * (share * (1.0 - share) / rows + z2 / (4.0 * rows * rows)).sqrt();
    Interval::around(centre, radius)
}

/// Box and Muller, Annals of Mathematical Statistics 1958.
fn normal(random: &mut Random) -> f64 {
    let mut uniform = || ((random.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    let (radius, angle) = (uniform(), uniform());
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(rows: usize, seed: u64, truth: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        let mut random = Random::new(seed);
        let mut uniform = || random.unit();
        (0..rows)
            .map(|_| {
                let predicted = 0.2 + 0.6 * uniform();
                (predicted, f64::from(u8::from(uniform() < truth(predicted))))
            })
            .collect()
    }

    #[test]
    fn right_predictions_are_as_expected_and_wrong_ones_have_drifted() {
        let mut drifted = 0;
        for seed in 0..200 {
            let found = calibration(pairs(1_000, seed, |p| p), None);
            drifted += u32::from(found.verdict == CalibrationVerdict::Drifted);
        }
        assert!((1..=25).contains(&drifted), "{drifted} of 200 by chance");
        let found = calibration(pairs(5_000, 3, |p| p - 0.1), Some(0.01));
        assert_eq!(found.verdict, CalibrationVerdict::Drifted);
        assert!((found.error.unwrap() - 0.1).abs() < 0.03 && found.bias_interval.unwrap().has(-0.1), "{found:?}");
        assert!(found.error_interval.unwrap().has(found.error.unwrap()) && found.error_by_chance.unwrap() < 0.05);
        assert_eq!(found.bins.iter().map(|bin| bin.outcomes).sum::<u64>(), 5_000);
        // As wrong as it was when it was trained: known, and no drift.
        assert_eq!(calibration(pairs(5_000, 3, |p| p - 0.1), Some(0.1)).verdict, CalibrationVerdict::AsExpected);
        let few = calibration(pairs(199, 3, |p| p), None);
        assert_eq!((few.verdict, few.error), (CalibrationVerdict::TooFewOutcomes, None));
        assert_eq!(calibration(Vec::new(), None).bins, Vec::new());
    }

    #[test]
    fn a_metric_is_measured_in_its_unit() {
        let pairs: Vec<(f64, f64)> =
            (0..1_000).map(|row| (f64::from(row), f64::from(row) + 10.0 + f64::from(row % 3))).collect();
        let found = calibration(pairs, None);
        assert!((found.bias.unwrap() - 11.0).abs() < 0.01 && (found.error.unwrap() - 11.0).abs() < 0.01, "{found:?}");
        assert_eq!(found.verdict, CalibrationVerdict::Drifted);
    }

    #[test]
    fn the_error_at_training_weighs_bins_by_their_rows() {
        let bin = |predicted, observed, rows| CalibrationBin { predicted, observed, rows };
        let error = training_error(&[bin(0.2, 0.3, 30), bin(0.7, 0.6, 10), bin(0.5, 0.5, 60)]).unwrap();
        assert!((error - 0.04).abs() < 1e-12);
        assert_eq!(training_error(&[]), None);
    }
}
