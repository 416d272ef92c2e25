//! Choices made on a validation part: how strongly to shrink, what to cross with agents, how many trees.

use super::error::TrainError;
use super::fit::{Choices, CrossKey, LinearFit, Trees, cross_candidates, finish};
use super::inputs::Drifting;
use super::part::{FitPart, Part, Task, linear_margins};
use super::regression::{mean_loss, sigmoid};
use super::target::{NO_AGENT, Parts};
use crate::domain::job::Reporter;
use crate::domain::model::{Holdout, ModelType};
use crate::domain::predictor::MetricKind;
use crate::score::LinearPart;
use crate::score::encoding::Derive;

/// Below so many validation rows, chance would choose.
const MIN_VALIDATION: usize = 50;
/// Factors of the estimated ridge strengths that are tried.
const FACTORS: [f64; 4] = [1.0, 0.3, 4.0, 16.0];
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
        Choices { ridge: 1.0, agent_ridge: 1.0, crosses: fixed.clone().unwrap_or_default(), drifting, trees: 0 };
    if !settings.early_stop {
        choices.trees = wanted_trees;
    }
    if parts.holdout.len() < MIN_VALIDATION {
        return Ok(choices);
    }
    let validation = task.other_part(&parts.holdout, &fit)?;
    let try_out = |estimate: &mut LinearFit<'_>, choices: &Choices| -> Result<f64, TrainError> {
        let linear = estimate.refit(task, &fit, choices, reporter)?;
        let margins = linear_margins(&linear, &fit.encoding, &validation);
        Ok(mean_loss(task.spec.kind, &validation.outcomes, &validation.weights, &margins))
    };
    let mut estimate = LinearFit::estimate(task, &fit, &choices.crosses, reporter)?;
    let mut best = try_out(&mut estimate, &choices)?;
    if task.spec.model_type != ModelType::Global && fixed.is_none() {
        let plain = estimate.refit(task, &fit, &choices, reporter)?;
        let crosses = automatic_crosses(task, &fit, &plain);
        if !crosses.is_empty() {
            let mut crossed = LinearFit::estimate(task, &fit, &crosses, reporter)?;
            let tried = Choices { crosses, ..choices.clone() };
            let loss = try_out(&mut crossed, &tried)?;
            // DISJOINT is a model per agent by definition; shrinkage takes care of crosses that tell nothing.
            if loss < best || task.spec.model_type == ModelType::Disjoint {
                (best, choices, estimate) = (loss, tried, crossed);
            }
        }
    }
    for ridge in FACTORS.into_iter().skip(1) {
        let tried = Choices { ridge, ..choices.clone() };
        let loss = try_out(&mut estimate, &tried)?;
        if loss < best {
            (best, choices) = (loss, tried);
        }
    }
    if task.spec.model_type != ModelType::Global {
        for agent_ridge in FACTORS.into_iter().skip(1) {
            let tried = Choices { agent_ridge, ..choices.clone() };
            let loss = try_out(&mut estimate, &tried)?;
            if loss < best {
                (best, choices) = (loss, tried);
            }
        }
    }
    if settings.early_stop && wanted_trees > 0 {
        let trees = Trees::Judged { most: wanted_trees, part: &validation };
        choices.trees = finish(task, &fit, estimate, &choices, &trees, reporter)?.forest.trees();
    }
    tracing::debug!(?choices, loss = best, "chosen on the validation part");
    Ok(choices)
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
