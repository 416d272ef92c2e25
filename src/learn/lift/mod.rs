//! Lift estimation: what the metric would have been in the holdout had the model chosen among the agents who were free.
//!
//! A log tells who took an interaction, not who else could have. The free set is therefore taken to be `k` draws from those who
//! usually take such contacts (`propensity`), the actual agent one of them. Under that reading everything else is exact: how
//! likely the model chooses whom (`choice`), hence how much each outcome says about the model's routing (`estimators`).
//! The outcome model is the choosing model, recalibrated where it did not choose (`outcome`).

mod choice;
mod estimators;
mod outcome;
mod policy;
mod propensity;
mod result;
mod segments;
mod summary;
mod words;

use choice::{Chosen, Interactions, Truth, terms};
use estimators::{Evidence, effective_sample_size};
use outcome::{Observed, OutcomeModel};
use policy::Ranked;
use propensity::Propensities;
pub use result::{
    Estimated, FreeAgentsPoint, Interval, LiftEstimation, LiftSegment, LiftSegments, PropensityBin, PropensitySummary,
    Recalibration,
};

use super::error::TrainError;
use super::held_out::{HeldOut, Plan};
use super::part::{Standard, Task};
use super::random::Random;
use super::regression::sigmoid;
use super::spec::{TrainingSpec, TrainingTable, check_settings};
use super::target::{self, NO_AGENT};
use super::train::in_pool;
use crate::domain::Timestamp;
use crate::domain::job::Reporter;
use crate::domain::model::Holdout;
use crate::domain::predictor::{Goal, MetricKind};

/// Pairs of interaction and agent that are kept in memory (8 bytes each): of larger holdouts a part is evaluated.
const MOST_PAIRS: f64 = 30e6;
/// Fewest interactions of a holdout that are evaluated.
const LEAST_ROWS: usize = 50;
/// Most agents free at the moment, and most points of a curve.
const MOST_FREE: u32 = 1_000;
const MOST_POINTS: usize = 20;

/// What to estimate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiftOptions {
    /// Numbers of agents that are free at the moment: 1 to 1000 each, at most 20; in any order.
    pub agents_free: Vec<u32>,
    /// A context or customer feature (text, number or Boolean) by whose values the estimate is split.
    pub segment_by: Option<String>,
}

impl Default for LiftOptions {
    fn default() -> Self {
        Self { agents_free: vec![1, 2, 3, 5, 10, 20], segment_by: None }
    }
}

impl LiftOptions {
    /// Checks ranges before anything is stored: the text names the option and its range.
    pub fn check(&self) -> Result<(), TrainError> {
        let fine = (1..=MOST_POINTS).contains(&self.agents_free.len())
            && self.agents_free.iter().all(|free| (1..=MOST_FREE).contains(free));
        if fine {
            return Ok(());
        }
        Err(TrainError::unusable(
            "bad_agents_free",
            format!("agents_free must be 1 to {MOST_POINTS} numbers, each 1 to {MOST_FREE}"),
        ))
    }
}

/// In a simulation: what is true of what was estimated, point by point.
#[derive(Debug, Clone, PartialEq)]
pub struct TrueValues {
    pub actual: f64,
    pub random: f64,
    /// One an entry of the curve.
    pub curve: Vec<f64>,
}

/// Estimates the lift of the model that `spec` describes. `threads` limits the threads (all cores when `None`) and changes
/// no result. Ends with [`TrainError::Cancelled`] soon after the reporter says so.
pub fn estimate_lift(
    table: &TrainingTable,
    spec: &TrainingSpec,
    options: &LiftOptions,
    reporter: &dyn Reporter,
    threads: Option<usize>,
) -> Result<LiftEstimation, TrainError> {
    in_pool(threads, || estimate(table, spec, options, None, reporter)).map(|(estimation, _)| estimation)
}

/// The same, with the true values beside it: `truth` is the expected outcome of a row of the table with an agent.
/// For simulations, the only place where it is known.
pub fn estimate_lift_beside_truth(
    table: &TrainingTable,
    spec: &TrainingSpec,
    options: &LiftOptions,
    truth: &(dyn Fn(usize, &str) -> f64 + Sync),
    reporter: &dyn Reporter,
    threads: Option<usize>,
) -> Result<(LiftEstimation, TrueValues), TrainError> {
    in_pool(threads, || {
        let (estimation, values) = estimate(table, spec, options, Some(truth), reporter)?;
        values.map(|values| (estimation, values)).ok_or_else(|| TrainError::Internal("no true values".to_owned()))
    })
}

type NamedTruth<'a> = &'a (dyn Fn(usize, &str) -> f64 + Sync);

fn estimate(
    table: &TrainingTable,
    spec: &TrainingSpec,
    options: &LiftOptions,
    truth: Option<NamedTruth<'_>>,
    reporter: &dyn Reporter,
) -> Result<(LiftEstimation, Option<TrueValues>), TrainError> {
    check_settings(&spec.settings)?;
    options.check()?;
    if table.agent_id.is_none() {
        return Err(TrainError::unusable(
            "no_agent_id",
            "a lift estimation needs to know who served each interaction: give a field of the dataset the role agent_id",
        ));
    }
    if let Some(field) = &options.segment_by {
        segments::split(table, field, &[])?;
    }
    let mut warnings = Vec::new();
    let target = target::read(table, spec, &mut warnings)?;
    let plan = Plan::make(Task { table, spec, target: &target }, reporter, &mut warnings)?;
    let held = plan.fit(reporter)?;
    let agents: Vec<u32> =
        held.parts.train.iter().chain(&held.parts.holdout).map(|at| target.agents[*at as usize]).collect();
    let propensities = propensity::estimate(&held, &agents, reporter)?;
    let rows = evaluated_rows(&held, &propensities, spec.seed, &mut warnings)?;
    let (parts, standard) = (held.parts, held.fit.standard);
    let outcomes: Vec<f64> = rows.iter().map(|row| held.outcomes[*row as usize]).collect();
    let ranked = policy::rank(held, &propensities, &rows, reporter)?;
    let observed = observed(&ranked, &outcomes, standard);
    let model = OutcomeModel::fit(spec.kind, &observed, spec.seed);
    let interactions = Interactions {
        rows: &ranked,
        propensities: &propensities,
        model: &model,
        inside: observed.iter().flatten().count() as f64 / observed.len() as f64,
        seed: spec.seed,
        own_mean: if spec.kind == MetricKind::Classification { sigmoid } else { |link| link },
        mean: standard.mean,
        deviation: standard.deviation,
    };
    let table_row = |row: u32| target.rows[parts.holdout[row as usize] as usize];
    let by_index = |row: u32, agent: u32| {
        truth.map_or(0.0, |truth| truth(table_row(row) as usize, &target.agent_ids[agent as usize]))
    };
    let mut free = options.agents_free.clone();
    free.sort_unstable();
    free.dedup();
    let chosen = interactions.choose(&free, truth.map(|_| &by_index as Truth<'_>));
    let random = interactions.choose(&[1], truth.map(|_| &by_index as Truth<'_>)).remove(0);
    let evidence = Evidence {
        outcomes: &outcomes,
        observed: &observed,
        model: &model,
        mean: standard.mean,
        deviation: standard.deviation,
        sign: if spec.goal == Goal::Maximize { 1.0 } else { -1.0 },
    };
    let everything: Vec<u32> = (0..rows.len() as u32).collect();
    let at_random = evidence.estimate(&random, &everything);
    let curve: Vec<FreeAgentsPoint> = chosen.iter().map(|chosen| evidence.point(chosen, &at_random)).collect();
    let middle = free.len() / 2;
    let table_rows: Vec<u32> = rows.iter().map(|row| table_row(*row)).collect();
    let segments = options
        .segment_by
        .as_ref()
        .map(|field| by_segment(&evidence, table, field, &table_rows, &chosen[middle], &random))
        .transpose()?;
    let first = parts.holdout.iter().filter_map(|at| target.times.get(*at as usize)).min();
    let [intercept, contact, agent] = model.whole;
    let mut estimation = LiftEstimation {
        metric: table.metric.clone(),
        goal: spec.goal,
        rows: rows.len() as u64,
        train_rows: parts.train.len() as u64,
        holdout: parts.kind,
        holdout_from: first
            .filter(|_| parts.kind == Holdout::Time)
            .and_then(|at| Timestamp::from_timestamp_micros(*at)),
        actual: evidence.actual(&everything),
        random: at_random.random(),
        headline: curve[middle].clone(),
        curve,
        segments,
        propensities: summary::of(&interactions, parts, &target),
        outcome_model: Recalibration { intercept, contact, agent },
        assumptions: Vec::new(),
        warnings,
    };
    estimation.assumptions = words::assumptions(&estimation, &propensities);
    words::warn(&mut estimation, &ranked);
    let average = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let values = truth.map(|_| TrueValues {
        actual: average(
            &rows
                .iter()
                .map(|row| by_index(*row, target.agents[parts.holdout[*row as usize] as usize]))
                .collect::<Vec<_>>(),
        ),
        random: average(&random.truth),
        curve: chosen.iter().map(|chosen| average(&chosen.truth)).collect(),
    });
    Ok((estimation, values))
}

/// Rows of the holdout whose agent is known; at random when all would not fit into memory.
fn evaluated_rows(
    held: &HeldOut<'_>,
    propensities: &Propensities,
    seed: u64,
    warnings: &mut Vec<String>,
) -> Result<Vec<u32>, TrainError> {
    let (holdout, target) = (&held.parts.holdout, held.task.target);
    let known = |row: &u32| target.agents[holdout[*row as usize] as usize] != NO_AGENT;
    let mut rows: Vec<u32> = (0..holdout.len() as u32).filter(known).collect();
    if rows.len() < holdout.len() {
        warnings.push(format!(
            "{} of {} interactions of the holdout name no agent and were left out",
            holdout.len() - rows.len(),
            holdout.len()
        ));
    }
    if rows.len() < LEAST_ROWS {
        return Err(TrainError::unusable(
            "too_few_rows",
            format!(
                "{} interactions are held back to estimate the lift, at least {LEAST_ROWS} are needed: add data, widen the \
                 date range or raise settings.holdout_share",
                rows.len()
            ),
        ));
    }
    let agents = |row: &u32| propensities.cells[propensities.of_row[*row as usize] as usize].agents.len() as f64;
    let pairs: f64 = rows.iter().map(agents).sum();
    if pairs > MOST_PAIRS {
        let all = rows.len();
        Random::new(seed ^ 0x11f7).shuffle(&mut rows);
        rows.truncate(((all as f64 * MOST_PAIRS / pairs) as usize).max(LEAST_ROWS));
        rows.sort_unstable();
        warnings.push(format!("{} of {all} interactions of the holdout were evaluated, chosen at random", rows.len()));
    }
    Ok(rows)
}

/// What happened, for the outcome model; none where the actual agent hardly ever takes such contacts.
fn observed(ranked: &[Ranked], outcomes: &[f64], standard: Standard) -> Vec<Option<Observed>> {
    let of_row = |(ranked, outcome): (&Ranked, &f64)| {
        ranked.actual.map(|actual| Observed {
            terms: terms(f64::from(ranked.links[actual as usize]), ranked.mean_link),
            outcome: (outcome - standard.mean) / standard.deviation,
        })
    };
    ranked.iter().zip(outcomes).map(of_row).collect()
}

fn by_segment(
    evidence: &Evidence<'_>,
    table: &TrainingTable,
    field: &str,
    table_rows: &[u32],
    chosen: &Chosen,
    random: &Chosen,
) -> Result<LiftSegments, TrainError> {
    let values = segments::split(table, field, table_rows)?
        .into_iter()
        .map(|segment| {
            let weights: Vec<f64> = segment.rows.iter().map(|at| chosen.weight[*at as usize]).collect();
            LiftSegment {
                value: segment.value,
                rows: segment.rows.len() as u64,
                actual: evidence.actual(&segment.rows),
                doubly_robust: evidence.doubly_robust(chosen, random, &segment.rows),
                effective_sample_size: effective_sample_size(&weights),
            }
        })
        .collect();
    Ok(LiftSegments { field: field.to_owned(), agents_free: chosen.agents_free, values })
}
