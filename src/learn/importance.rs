//! Permutation importance: how much worse a model predicts the holdout when one field's values are dealt to other rows
//! (Breiman, Machine Learning 45, 2001; Fisher, Rudin & Dominici, JMLR 20, 2019). All inputs of a field are dealt together, so
//! that its hour still fits its weekday.

use rayon::prelude::*;

use super::bootstrap::mean_with_interval;
use super::error::TrainError;
use super::fit::predictions;
use super::held_out::HeldOut;
use super::inputs::InputColumn;
use super::measure::{auc, log_loss};
use super::part::Part;
use super::quality::Estimate;
use super::random::Random;
use crate::domain::job::{Progress, Reporter};
use crate::domain::predictor::MetricKind;

/// Rows of the holdout that are dealt, at most.
const MAX_ROWS: usize = 20_000;
const REPEATS: usize = 5;

/// What a field is worth to a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Importance {
    /// Mean increase of the log loss (classification), or of the squared error in the metric's unit squared.
    pub loss_increase: Estimate,
    /// Mean decrease of the AUC; classification only.
    pub auc_decrease: Option<f64>,
}

/// What is dealt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dealt {
    /// Index into the encoding's fields.
    Field(usize),
    /// Who served the interaction, as the model's local parts know it.
    Agent,
}

/// One entry a wanted field, in their order. Deterministic: the same seed deals the same rows.
pub(super) fn importances(
    held: &HeldOut<'_>,
    wanted: &[Dealt],
    reporter: &dyn Reporter,
) -> Result<Vec<Importance>, TrainError> {
    let (kind, seed) = (held.task.spec.kind, held.task.spec.seed);
    let mut rows: Vec<u32> = (0..held.outcomes.len() as u32).collect();
    if rows.len() > MAX_ROWS {
        Random::new(seed ^ 0x000d_ea17).shuffle(&mut rows);
        rows.truncate(MAX_ROWS);
        rows.sort_unstable();
    }
    let outcomes: Vec<f64> = rows.iter().map(|row| held.outcomes[*row as usize]).collect();
    let part = pick(&held.holdout, &rows);
    let predict = |part: &Part| predictions(kind, &held.fit, &held.fitted.margins(&held.fit, part));
    let loss = |predicted: &[f64]| -> Vec<f64> {
        let one = |(y, p): (&f64, &f64)| match kind {
            MetricKind::Classification => log_loss(*y, *p),
            MetricKind::Regression => (y - p).powi(2),
        };
        outcomes.iter().zip(predicted).map(one).collect()
    };
    let before = predict(&part);
    let (losses, ranking) = (loss(&before), auc(&outcomes, &before));
    let mut found = Vec::with_capacity(wanted.len());
    for (done, dealt) in wanted.iter().enumerate() {
        if reporter.is_cancelled() {
            return Err(TrainError::Cancelled);
        }
        reporter.report(Progress {
            done: done as u64,
            total: Some(wanted.len() as u64),
            unit: "features".into(),
            phase: "dealing each feature's values to other rows".into(),
            ..Progress::default()
        });
        let repeats: Vec<(Vec<f64>, Option<f64>)> = (0..REPEATS)
            .into_par_iter()
            .map(|repeat| {
                let mut order: Vec<u32> = (0..rows.len() as u32).collect();
                Random::new(seed.wrapping_add(repeat as u64) ^ 0x0000_5f1e).shuffle(&mut order);
                let predicted = predict(&deal(held, &part, *dealt, &order));
                (loss(&predicted), auc(&outcomes, &predicted))
            })
            .collect();
        let increases: Vec<f64> = (0..rows.len())
            .map(|row| repeats.iter().map(|(after, _)| after[row]).sum::<f64>() / REPEATS as f64 - losses[row])
            .collect();
        let rankings: Option<f64> = repeats.iter().map(|(_, auc)| *auc).sum::<Option<f64>>();
        found.push(Importance {
            loss_increase: mean_with_interval(&increases, seed),
            auc_decrease: ranking
                .zip(rankings)
                .filter(|_| kind == MetricKind::Classification)
                .map(|(before, after)| before - after / REPEATS as f64),
        });
    }
    Ok(found)
}

fn pick(part: &Part, rows: &[u32]) -> Part {
    Part {
        columns: part.columns.iter().map(|column| pick_column(column, rows)).collect(),
        outcomes: pick_values(&part.outcomes, rows),
        weights: pick_values(&part.weights, rows),
        agents: pick_values(&part.agents, rows),
    }
}

fn pick_column(column: &InputColumn, rows: &[u32]) -> InputColumn {
    InputColumn { numbers: pick_values(&column.numbers, rows), levels: pick_values(&column.levels, rows) }
}

/// An input without levels, or without numbers, has no values of them.
fn pick_values<T: Copy>(values: &[T], rows: &[u32]) -> Vec<T> {
    if values.is_empty() { Vec::new() } else { rows.iter().map(|row| values[*row as usize]).collect() }
}

/// The part with the values of one field in another order.
fn deal(held: &HeldOut<'_>, part: &Part, dealt: Dealt, order: &[u32]) -> Part {
    let inputs = held.fit.encoding.inputs.iter().zip(&part.columns);
    let columns = inputs.map(|(input, column)| match dealt {
        Dealt::Field(field) if input.field as usize == field => pick_column(column, order),
        _ => column.clone(),
    });
    Part {
        columns: columns.collect(),
        outcomes: part.outcomes.clone(),
        weights: part.weights.clone(),
        agents: if dealt == Dealt::Agent { pick_values(&part.agents, order) } else { part.agents.clone() },
    }
}
