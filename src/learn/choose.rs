//! Choices made on a validation part: how strongly to shrink, what to cross with agents, how many trees.

use super::course::{self, live_metric};
use super::error::TrainError;
use super::fit::{Choices, CrossKey, LinearFit, Trees, cross_candidates, finish};
use super::inputs::Drifting;
use super::part::{FitPart, Part, Task, linear_margins};
use super::regression::{loss, mean_loss, sigmoid};
use super::target::{NO_AGENT, Parts};
use crate::domain::job::{Progress, Reporter};
use crate::domain::model::{Holdout, ModelType};
use crate::domain::predictor::MetricKind;
use crate::score::LinearPart;
use crate::score::encoding::Derive;

/// Below so many validation rows, chance would choose.
const MIN_VALIDATION: usize = 50;
/// Factors of the estimated ridge strengths that are tried, besides 1: of crosses, and then of all.
const FACTORS: [f64; 2] = [0.3, 3.0];
/// Most inputs crossed with agents when the choice is automatic.
const MAX_AUTOMATIC: usize = 8;
const MAX_DISJOINT: usize = 20;

/// Fits to the train part, measures on the holdout of `parts` (both lie inside the training rows).
pub(super) fn choose(task: &Task<'_>, parts: &Parts, reporter: &dyn Reporter) -> Result<Choices, TrainError> {
    let settings = &task.spec.settings;
    let mut fit = task.fit_part(&parts.train, &[], &mut Vec::new())?;
    let mut drifting = Vec::new();
    if parts.kind == Holdout::Time {
        drifting = drifting_inputs(&fit, &task.other_part(&parts.holdout, &fit)?);
        if !drifting.is_empty() {
            fit = task.fit_part(&parts.train, &drifting, &mut Vec::new())?;
        }
    }
    let fixed = fixed_crosses(task, &fit)?;
    let wanted_trees = if task.spec.model_type == ModelType::Disjoint { 0 } else { settings.trees as usize };
    let mut choices =
        Choices { ridge: 1.0, cross_ridge: 1.0, crosses: fixed.clone().unwrap_or_default(), drifting, trees: 0 };
    if !settings.early_stop {
        choices.trees = wanted_trees;
    }
    if parts.holdout.len() < MIN_VALIDATION {
        return Ok(choices);
    }
    let validation = task.other_part(&parts.holdout, &fit)?;
    let trial = Trial { task, fit: &fit, validation: &validation, reporter };
    let mut best = trial.tuned(choices.clone())?;
    if task.spec.model_type != ModelType::Global && fixed.is_none() {
        let plain = best.regression.refit(task, &fit, &best.choices, reporter)?;
        let crosses = automatic_crosses(task, &fit, &plain);
        if !crosses.is_empty() {
            let crossed = trial.tuned(Choices { crosses, ..choices })?;
            // DISJOINT is a model per agent by definition; shrinkage takes care of crosses that tell nothing.
            if trial.mean(&crossed.losses) < trial.mean(&best.losses) || task.spec.model_type == ModelType::Disjoint {
                best = crossed;
            }
        }
    }
    for (done, ridge) in FACTORS.into_iter().enumerate() {
        trial.report(done + FACTORS.len(), &best);
        let choices = Choices { ridge, ..best.choices.clone() };
        trial.try_out(&mut best, choices)?;
    }
    tracing::debug!(choices = ?best.choices, loss = trial.mean(&best.losses), "chosen on the validation part");
    let Tuned { regression, mut choices, .. } = best;
    if settings.early_stop && wanted_trees > 0 {
        let trees = Trees::Judged { most: wanted_trees, part: &validation };
        choices.trees = finish(task, &fit, regression, &choices, &trees, reporter)?.forest.trees();
    }
    Ok(choices)
}

/// What regressions are tried on.
struct Trial<'a> {
    task: &'a Task<'a>,
    fit: &'a FitPart,
    validation: &'a Part,
    reporter: &'a dyn Reporter,
}

/// A regression with the strengths that are best for it, and its loss of each row of the validation part.
struct Tuned<'a> {
    regression: LinearFit<'a>,
    choices: Choices,
    losses: Vec<f64>,
}

impl<'a> Trial<'a> {
    /// Estimates the strengths and tunes that of crosses. Regressions are compared only once each is at its best: strengths
    /// are estimated as if no cross shared its rows with another.
    fn tuned(&self, start: Choices) -> Result<Tuned<'a>, TrainError> {
        let regression = LinearFit::estimate(self.task, self.fit, &start.crosses, self.reporter)?;
        let mut tuned = Tuned { regression, choices: start, losses: Vec::new() };
        tuned.losses = self.losses(&mut tuned.regression, &tuned.choices)?;
        if !tuned.choices.crosses.is_empty() {
            for (done, cross_ridge) in FACTORS.into_iter().enumerate() {
                self.report(done, &tuned);
                let choices = Choices { cross_ridge, ..tuned.choices.clone() };
                self.try_out(&mut tuned, choices)?;
            }
        }
        Ok(tuned)
    }

    fn report(&self, done: usize, best: &Tuned<'_>) {
        let deviation = self.fit.standard.deviation;
        let metric = live_metric(self.task.spec.kind, self.mean(&best.losses), deviation, "validation part");
        self.reporter.report(Progress {
            done: done as u64,
            total: Some(2 * FACTORS.len() as u64),
            unit: "fits".into(),
            phase: course::SHRINKAGE.into(),
            metric: Some(metric),
            ..Progress::default()
        });
    }

    /// Keeps other choices if they lower the loss by more than a standard error: the estimated strengths are good, and of
    /// factors that differ by chance the estimate is to stay.
    fn try_out(&self, tuned: &mut Tuned<'a>, choices: Choices) -> Result<(), TrainError> {
        let losses = self.losses(&mut tuned.regression, &choices)?;
        let gains: Vec<f64> = tuned.losses.iter().zip(&losses).map(|(before, after)| before - after).collect();
        let gain = self.mean(&gains);
        let squares: Vec<f64> = gains.iter().map(|own| (own - gain).powi(2)).collect();
        let error = (self.mean(&squares) / gains.len() as f64).sqrt();
        if gain > error {
            (tuned.choices, tuned.losses) = (choices, losses);
        }
        Ok(())
    }

    /// Of each row of the validation part.
    fn losses(&self, regression: &mut LinearFit<'_>, choices: &Choices) -> Result<Vec<f64>, TrainError> {
        let linear = regression.refit(self.task, self.fit, choices, self.reporter)?;
        let margins = linear_margins(&linear, &self.fit.encoding, self.validation);
        let kind = self.task.spec.kind;
        Ok(margins
            .iter()
            .zip(&self.validation.outcomes)
            .map(|(margin, y)| loss(kind, f64::from(*y), *margin))
            .collect())
    }

    /// Weighted by the validation part's rows.
    fn mean(&self, values: &[f64]) -> f64 {
        let weights = &self.validation.weights;
        let sum: f64 = values.iter().zip(weights).map(|(value, weight)| value * f64::from(*weight)).sum();
        sum / weights.iter().map(|weight| f64::from(*weight)).sum::<f64>()
    }
}

/// Numbers that lie outside of what was fitted for most of the later rows, and the interaction's own age, which is always
/// the newest when it is scored.
fn drifting_inputs(fit: &FitPart, later: &Part) -> Vec<Drifting> {
    let mut found: Vec<Drifting> = Vec::new();
    for (index, input) in fit.encoding.inputs.iter().enumerate().filter(|(_, input)| input.scale.is_some()) {
        let own_age = input.derive == Derive::AgeDays && fit.encoding.fields[input.field as usize].is_request_time;
        let fitted = fit.part.columns[index].numbers.iter().filter(|v| !v.is_nan());
        let (low, high) = fitted.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)));
        let present = later.columns[index].numbers.iter().filter(|v| !v.is_nan());
        let (mut all, mut outside) = (0, 0);
        for value in present {
            all += 1;
            outside += usize::from(*value < low || *value > high);
        }
        if own_age || outside * 2 > all {
            found.push(Drifting { field: input.field, derive: input.derive.clone() });
        }
    }
    found
}

/// The crosses that the settings name; none when the choice is automatic.
fn fixed_crosses(task: &Task<'_>, fit: &FitPart) -> Result<Option<Vec<CrossKey>>, TrainError> {
    let Some(names) = &task.spec.settings.crosses else { return Ok(None) };
    let candidates = cross_candidates(&fit.encoding);
    let mut keys = Vec::new();
    for name in names {
        let before = keys.len();
        let fields = &fit.encoding.fields;
        let named = |key: &CrossKey| fields[key.field as usize].name == *name;
        keys.extend(candidates.iter().filter(|(_, key)| named(key)).map(|(_, key)| key.clone()));
        if keys.len() == before {
            return Err(TrainError::unusable(
                "unknown_field",
                format!(
                    "settings.crosses names {name:?}, which is no context or customer feature with 2 to 250 values"
                ),
            ));
        }
    }
    Ok(Some(keys))
}

/// Inputs whose pairs with agents leave most in the residuals, measured against chance. Whether they are worth it, and
/// how much each may say, is left to the ridge strengths and the validation part.
fn automatic_crosses(task: &Task<'_>, fit: &FitPart, plain: &LinearPart) -> Vec<CrossKey> {
    let disjoint = task.spec.model_type == ModelType::Disjoint;
    let margins = linear_margins(plain, &fit.encoding, &fit.part);
    let mut found: Vec<(f64, CrossKey)> = cross_candidates(&fit.encoding)
        .into_iter()
        .map(|(input, key)| (signal(task.spec.kind, &fit.part, &margins, &fit.part.columns[input].levels), key))
        .collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found.truncate(if disjoint { MAX_DISJOINT } else { MAX_AUTOMATIC });
    found.into_iter().map(|(_, key)| key).collect()
}

/// `Σ over pairs (g²/v − 1)` in standard errors, where `g` is a pair's summed residual and `v` its variance.
fn signal(kind: MetricKind, part: &Part, margins: &[f64], levels: &[u32]) -> f64 {
    let mut rows: Vec<(u64, u32)> = part
        .agents
        .iter()
        .zip(levels)
        .enumerate()
        .filter(|(_, (agent, _))| **agent != NO_AGENT)
        .map(|(row, (agent, level))| ((u64::from(*agent) << 32) | u64::from(*level), row as u32))
        .collect();
    rows.sort_unstable();
    let noise = match kind {
        MetricKind::Classification => 1.0,
        MetricKind::Regression => 2.0 * mean_loss(kind, &part.outcomes, &part.weights, margins),
    };
    let (mut sum, mut pairs) = (0.0, 0.0);
    for group in rows.chunk_by(|a, b| a.0 == b.0) {
        let (mut residual, mut variance) = (0.0, 0.0);
        for (_, row) in group {
            let (margin, outcome) = (margins[*row as usize], f64::from(part.outcomes[*row as usize]));
            match kind {
                MetricKind::Classification => {
                    let p = sigmoid(margin);
                    residual += outcome - p;
                    variance += p * (1.0 - p);
                }
                MetricKind::Regression => {
                    residual += outcome - margin;
                    variance += noise;
                }
            }
        }
        sum += residual * residual / f64::max(variance, 1e-9) - 1.0;
        pairs += 1.0;
    }
    sum / (2.0 * f64::max(pairs, 1.0)).sqrt()
}
