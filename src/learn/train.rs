//! Training from a table to an artifact.
//!
//! Three rounds: settings are chosen on a validation part inside the training part; a model with these settings is
//! fitted to the training part and measured on the holdout; the artifact is fitted to all rows with the same settings,
//! since the newest interactions tell most about tomorrow's.

use super::breakdown::Breakdown;
use super::card::ChoicesMade;
use super::course::Course;
use super::coverage::{AgentCoverage, ClassCounts, Coverage, MIN_LOCAL_SAMPLES, NotLocal};
use super::error::TrainError;
use super::fit::{Choices, Fitted, LinearFit, Trees, finish};
use super::held_out::Plan;
use super::part::{FitPart, Task, agent_samples};
use super::quality::Quality;
use super::reference::{ReferenceInput, reference};
use super::spec::{TrainingSpec, TrainingTable, check_settings};
use super::target::{self, NO_AGENT, Target};
use crate::background;
use crate::domain::job::{Progress, Reporter};
use crate::domain::model::ModelType;
use crate::domain::predictor::{AgentSource, Goal, MetricKind};
use crate::score::{Artifact, Outcome, TrainedAgents};

/// What a training gives.
#[derive(Debug, Clone)]
pub struct Trained {
    pub artifact: Artifact,
    pub quality: Quality,
    /// The holdout by agent and by context value.
    pub breakdown: Breakdown,
    pub choices: ChoicesMade,
    pub coverage: Coverage,
    /// Training rows by input and bin, for the comparison with production.
    pub reference: Vec<ReferenceInput>,
    /// In words for people.
    pub warnings: Vec<String>,
}

/// Learns a model. `threads` limits the threads (all cores when `None`) and changes no result.
/// Reports progress by phase, and ends with [`TrainError::Cancelled`] soon after the reporter says so.
pub fn train(
    table: &TrainingTable,
    spec: &TrainingSpec,
    reporter: &dyn Reporter,
    threads: Option<usize>,
) -> Result<Trained, TrainError> {
    check_settings(&spec.settings)?;
    in_pool(threads, || train_in_pool(table, spec, reporter))
}

/// Runs work that uses threads on so many (all cores when `None`).
pub(super) fn in_pool<T: Send>(
    threads: Option<usize>,
    work: impl FnOnce() -> Result<T, TrainError> + Send,
) -> Result<T, TrainError> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads.unwrap_or(0))
        .thread_name(|at| format!("training-{at}"))
        .start_handler(|_| background::give_way())
        .build()
        .map_err(|error| TrainError::Internal(error.to_string()))?;
    pool.install(work)
}

fn train_in_pool(table: &TrainingTable, spec: &TrainingSpec, reporter: &dyn Reporter) -> Result<Trained, TrainError> {
    let mut warnings = Vec::new();
    check_features(table, spec)?;
    let course = Course::new(spec, reporter);
    let reporter: &dyn Reporter = &course;
    let round = |done: u64, phase: &str| -> Result<(), TrainError> {
        if reporter.is_cancelled() {
            return Err(TrainError::Cancelled);
        }
        reporter.report(Progress {
            done,
            total: Some(3),
            unit: "rounds".into(),
            phase: phase.into(),
            ..Progress::default()
        });
        Ok(())
    };
    round(0, "reading the outcomes")?;
    let target = target::read(table, spec, &mut warnings)?;
    let task = Task { table, spec, target: &target };
    let all = target.positions();
    let plan = Plan::make(task, reporter, &mut warnings)?;
    course.chose(plan.choices.trees);
    round(1, "measuring on the holdout")?;
    let held_out = plan.fit(reporter)?;
    let (quality, breakdown, choices) = (held_out.quality(), held_out.breakdown(), held_out.choices_made());
    warnings.extend(held_out.evidence_warnings());
    warnings.extend(held_out.leakage_warnings());
    drop(held_out);
    course.measured(quality.headline());
    round(2, "fitting to all rows")?;
    let fit = task.fit_part(&all, &plan.choices.drifting, &mut warnings)?;
    let fitted = fit_with(&task, &fit, &plan.choices, reporter)?;
    let coverage = coverage(&task, &all, &fit, &fitted);
    let reference = reference(&fit);
    let artifact = artifact(&task, &fit, fitted);
    Ok(Trained { artifact, quality, breakdown, choices, coverage, reference, warnings })
}

pub(super) fn check_features(table: &TrainingTable, spec: &TrainingSpec) -> Result<(), TrainError> {
    if table.features.is_empty() && spec.model_type == ModelType::Global {
        return Err(TrainError::unusable(
            "no_features",
            "a GLOBAL model needs at least one context, customer or agent feature",
        ));
    }
    if table.agent_id.is_none() && spec.model_type != ModelType::Global {
        return Err(TrainError::unusable(
            "no_agent_id",
            "DISJOINT and HYBRID models need to know who served each interaction: give a field of the dataset the role agent_id, or choose GLOBAL",
        ));
    }
    Ok(())
}

pub(super) fn fit_with(
    task: &Task<'_>,
    fit: &FitPart,
    choices: &Choices,
    reporter: &dyn Reporter,
) -> Result<Fitted, TrainError> {
    let estimate = LinearFit::estimate(task, fit, &choices.crosses, reporter)?;
    finish(task, fit, estimate, choices, &Trees::Exactly(choices.trees), reporter)
}

fn coverage(task: &Task<'_>, positions: &[u32], fit: &FitPart, fitted: &Fitted) -> Coverage {
    let target = task.target;
    let mut coverage = Coverage {
        samples_without_agent: positions.iter().filter(|at| target.agents[**at as usize] == NO_AGENT).count() as u64,
        ..Coverage::default()
    };
    let classification = task.spec.kind == MetricKind::Classification;
    let agents = target.agent_ids.iter().zip(agent_samples(target, positions)).zip(&fit.local);
    for (agent, ((id, seen), local)) in agents.enumerate() {
        let outcomes = u64::from(seen.samples > 0) + u64::from(seen.low < seen.high);
        let reason = match (local, task.spec.model_type) {
            (true, _) => None,
            (false, ModelType::Global) => Some(NotLocal::GlobalModel),
            (false, _) if seen.samples < MIN_LOCAL_SAMPLES => Some(NotLocal::TooFewInteractions),
            (false, _) => Some(NotLocal::OneOutcome),
        };
        if *local {
            coverage.local += 1;
        } else {
            coverage.global += 1;
        }
        let mean = if seen.samples > 0 { seen.sum / seen.samples as f64 } else { 0.0 };
        coverage.agents.push(AgentCoverage {
            agent_id: id.to_string(),
            local: *local,
            reason,
            samples: seen.samples,
            outcomes,
            mean,
            classes: classification.then(|| {
                let positive = seen.sum.round() as u64;
                ClassCounts { positive, negative: seen.samples - positive }
            }),
            shrinkage: fitted.kept.get(agent).copied().filter(|_| *local),
        });
    }
    coverage
}

pub(super) fn artifact(task: &Task<'_>, fit: &FitPart, mut fitted: Fitted) -> Artifact {
    fitted.forest.round_leaves();
    let (spec, target) = (task.spec, task.target);
    let high = match (spec.kind, spec.goal) {
        (MetricKind::Regression, Goal::Minimize) => high_percentile(&target.outcomes),
        _ => 0.0,
    };
    let (latest_numbers, latest_levels) = match spec.agent_source {
        AgentSource::Dataset => latest_values(target, fit),
        AgentSource::Profile => (Vec::new(), Vec::new()),
    };
    Artifact {
        model_type: spec.model_type,
        outcome: Outcome {
            kind: spec.kind,
            goal: spec.goal,
            mean: fit.standard.mean,
            deviation: fit.standard.deviation,
            high,
        },
        agent_source: spec.agent_source,
        encoding: fit.encoding.clone(),
        target_means: fitted.trees.target_means,
        prior: fitted.trees.prior,
        agents: TrainedAgents {
            ids: target.agent_ids.clone(),
            local: fit.local.clone(),
            target_means: fitted.trees.agent_means,
            latest_numbers,
            latest_levels,
        },
        linear: fitted.linear,
        forest: fitted.forest,
    }
}

/// The 99.9th percentile.
fn high_percentile(outcomes: &[f64]) -> f64 {
    let mut sorted = outcomes.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * 0.999).round() as usize]
}

/// Each agent's agent-side inputs in its latest row.
fn latest_values(target: &Target, fit: &FitPart) -> (Vec<f32>, Vec<u32>) {
    let mut latest: Vec<Option<usize>> = vec![None; target.agent_ids.len()];
    for (row, agent) in target.agents.iter().enumerate().filter(|(_, agent)| **agent != NO_AGENT) {
        let slot = &mut latest[*agent as usize];
        let newer = slot.is_none_or(|other| target.times.get(row) >= target.times.get(other));
        if newer {
            *slot = Some(row);
        }
    }
    let (mut numbers, mut levels) = (Vec::new(), Vec::new());
    for row in latest {
        for input in fit.encoding.agent_inputs() {
            let column = &fit.part.columns[input];
            let missing = fit.encoding.inputs[input].levels.as_ref().map_or(0, |levels| levels.missing());
            numbers.push(row.and_then(|row| column.numbers.get(row)).copied().unwrap_or(f32::NAN));
            levels.push(row.map_or(missing, |row| column.levels.get(row).copied().unwrap_or(0)));
        }
    }
    (numbers, levels)
}
