//! The outcome, the agents, the weights and the parts of the rows that can be learned from.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::error::TrainError;
use super::random::Random;
use super::spec::{TrainingSpec, TrainingTable};
use crate::domain::column::{Column, MISSING_CODE};
use crate::domain::model::Holdout;
use crate::domain::predictor::MetricKind;

/// Fewest rows with an outcome that a training takes.
pub(super) const MIN_ROWS: usize = 20;
/// Rows of the same weight below which it is said how few they are.
const FEW_ROWS: f64 = 300.0;
/// In [`Target::agents`]: no agent.
pub(super) const NO_AGENT: u32 = u32::MAX;

/// One entry a usable row.
pub(super) struct Target {
    /// Rows of the table that have an outcome, ascending.
    pub rows: Vec<u32>,
    /// 0 or 1, or the metric.
    pub outcomes: Vec<f64>,
    /// Of one row to another's: by their age. Each part of the rows is weighed anew, see [`Target::weights_of`].
    pub weights: Vec<f32>,
    /// Index into `agent_ids`, or [`NO_AGENT`].
    pub agents: Vec<u32>,
    /// Ascending.
    pub agent_ids: Vec<Arc<str>>,
    /// Microseconds; empty without a timestamp column. A missing time counts as the earliest.
    pub times: Vec<i64>,
}

impl Target {
    /// Of all rows that can be learned from.
    pub fn positions(&self) -> Vec<u32> {
        (0..self.rows.len() as u32).collect()
    }

    /// Weights of some of the rows, in number as many as these tell (Kish, Survey Sampling, 1965): a few late rows that weigh most are not
    /// taken for many, and an earlier part is not weighed as if it were old.
    pub fn weights_of(&self, positions: &[u32]) -> Vec<f32> {
        let raw = || positions.iter().map(|at| f64::from(self.weights[*at as usize]));
        let scale = raw().sum::<f64>() / raw().map(|weight| weight * weight).sum::<f64>();
        raw().map(|weight| (weight * scale) as f32).collect()
    }
}

/// Positions into [`Target`].
pub(super) struct Parts {
    pub train: Vec<u32>,
    pub holdout: Vec<u32>,
    pub kind: Holdout,
}

pub(super) fn column<'a>(table: &'a TrainingTable, name: &str, what: &str) -> Result<&'a Column, TrainError> {
    table.table.column(name).ok_or_else(|| {
        TrainError::unusable("unknown_field", format!("the data has no field {name:?}, which is named as {what}"))
    })
}

/// Reads the outcome and leaves out rows that have none.
pub(super) fn read(
    table: &TrainingTable,
    spec: &TrainingSpec,
    warnings: &mut Vec<String>,
) -> Result<Target, TrainError> {
    let metric = column(table, &table.metric, "the metric")?;
    let outcomes = match spec.kind {
        MetricKind::Classification => classes(metric, &table.metric, spec.positive.as_ref())?,
        MetricKind::Regression => numbers(metric, &table.metric)?,
    };
    let rows: Vec<u32> = (0..outcomes.len() as u32).filter(|row| outcomes[*row as usize].is_finite()).collect();
    let dropped = outcomes.len() - rows.len();
    if dropped > 0 {
        warnings.push(format!(
            "{dropped} of {} rows have no value of {:?} and were left out",
            outcomes.len(),
            table.metric
        ));
    }
    if rows.len() < MIN_ROWS {
        return Err(TrainError::unusable(
            "too_few_rows",
            format!(
                "{} rows have a value of {:?}, at least {MIN_ROWS} are needed: add data or widen the date range",
                rows.len(),
                table.metric
            ),
        ));
    }
    let outcomes: Vec<f64> = rows.iter().map(|row| outcomes[*row as usize]).collect();
    check_variation(&outcomes, &table.metric, spec.kind)?;
    let times = match &table.timestamp {
        None => Vec::new(),
        Some(name) => match column(table, name, "the timestamp")? {
            Column::Timestamp(values) => {
                let earliest = values.iter().flatten().min().copied().unwrap_or(0);
                rows.iter().map(|row| values[*row as usize].unwrap_or(earliest)).collect()
            }
            _ => {
                return Err(TrainError::unusable(
                    "unknown_field",
                    format!("the field {name:?} is named as the timestamp but is not of type Timestamp"),
                ));
            }
        },
    };
    let (agents, agent_ids) = match &table.agent_id {
        None => (vec![NO_AGENT; rows.len()], Vec::new()),
        Some(name) => agents(column(table, name, "the agent id")?, name, &rows)?,
    };
    let weights = weights(&times, spec.settings.half_life_days, rows.len());
    let target = Target { rows, outcomes, weights, agents, agent_ids, times };
    check_half_life(&target, spec.settings.half_life_days, warnings)?;
    Ok(target)
}

/// A half-life may leave next to nothing to learn from.
fn check_half_life(target: &Target, half_life_days: Option<f64>, warnings: &mut Vec<String>) -> Result<(), TrainError> {
    let Some(half_life) = half_life_days.filter(|_| !target.times.is_empty()) else { return Ok(()) };
    let size: f64 = target.weights_of(&target.positions()).iter().map(|weight| f64::from(*weight)).sum();
    let told = format!(
        "with a half-life of {half_life} days the {} rows tell as much as {size:.0} of the same weight",
        target.rows.len()
    );
    if size < MIN_ROWS as f64 {
        return Err(TrainError::unusable(
            "too_few_rows",
            format!("{told}, at least {MIN_ROWS} are needed: raise settings.half_life_days"),
        ));
    }
    if size < FEW_ROWS {
        warnings.push(format!("{told}: a longer settings.half_life_days learns from more"));
    }
    Ok(())
}

/// Outcome 1 where the value is the positive one; NaN where it is missing.
fn classes(column: &Column, name: &str, positive: Option<&Value>) -> Result<Vec<f64>, TrainError> {
    let flag = |hit: bool| f64::from(u8::from(hit));
    let bad = |detail: String| Err(TrainError::unusable("metric_values", detail));
    match column {
        Column::Boolean(values) => {
            let wanted = match positive {
                None => true,
                Some(Value::Bool(wanted)) => *wanted,
                Some(value) if value.as_f64() == Some(1.0) => true,
                Some(value) if value.as_f64() == Some(0.0) => false,
                Some(value) => {
                    return bad(format!(
                        "the metric {name:?} is Boolean, so metric.positive cannot be {value}: give true or false"
                    ));
                }
            };
            Ok(values.iter().map(|v| v.map_or(f64::NAN, |v| flag(v == wanted))).collect())
        }
        Column::Text { codes, dictionary } => {
            let Some(Value::String(wanted)) = positive else {
                let seen: Vec<&str> = dictionary.iter().take(5).map(AsRef::as_ref).collect();
                return bad(format!(
                    "the metric {name:?} is text: give metric.positive, the text that counts as success (values are such as {seen:?})"
                ));
            };
            let hits: Vec<bool> = dictionary.iter().map(|text| text.as_ref() == wanted.as_str()).collect();
            Ok(codes
                .iter()
                .map(|code| if *code == MISSING_CODE { f64::NAN } else { flag(hits[*code as usize]) })
                .collect())
        }
        Column::Integer(_) | Column::Float(_) => {
            let values = numbers(column, name)?;
            let wanted = match positive {
                Some(value) => match value.as_f64().or(value.as_bool().map(flag)) {
                    Some(wanted) => wanted,
                    None => {
                        return bad(format!(
                            "the metric {name:?} is a number, so metric.positive cannot be {value}: give a number"
                        ));
                    }
                },
                None => match values.iter().find(|v| v.is_finite() && **v != 0.0 && **v != 1.0) {
                    Some(other) => {
                        return bad(format!(
                            "the metric {name:?} has values other than 0 and 1 (such as {other}): give metric.positive, or choose regression"
                        ));
                    }
                    None => 1.0,
                },
            };
            Ok(values.iter().map(|v| if v.is_finite() { flag(*v == wanted) } else { f64::NAN }).collect())
        }
        _ => bad(format!("the metric {name:?} must be Boolean, a number or text to be classified")),
    }
}

fn numbers(column: &Column, name: &str) -> Result<Vec<f64>, TrainError> {
    Ok(match column {
        Column::Boolean(values) => values.iter().map(|v| v.map_or(f64::NAN, |v| f64::from(u8::from(v)))).collect(),
        Column::Integer(values) => values.iter().map(|v| v.map_or(f64::NAN, |v| v as f64)).collect(),
        // Beyond the range of 32 bits it is a mark that somebody has put in its place.
        Column::Float(values) => {
            values.iter().map(|v| if v.abs() <= f64::from(f32::MAX) { *v } else { f64::NAN }).collect()
        }
        _ => {
            return Err(TrainError::unusable(
                "metric_values",
                format!("the metric {name:?} must be a number for a regression"),
            ));
        }
    })
}

fn check_variation(outcomes: &[f64], name: &str, kind: MetricKind) -> Result<(), TrainError> {
    if outcomes.iter().any(|outcome| *outcome != outcomes[0]) {
        return Ok(());
    }
    Err(match kind {
        MetricKind::Classification => TrainError::unusable(
            "one_class",
            format!(
                "every row has the same class of {name:?}, so there is nothing to tell apart: check metric.positive, or add data"
            ),
        ),
        MetricKind::Regression => TrainError::unusable(
            "constant_metric",
            format!("the metric {name:?} has the same value in every row, so there is nothing to predict"),
        ),
    })
}

/// The part that is learned from must vary, too: a model of one class would tell nobody apart.
pub(super) fn check_training_part(
    target: &Target,
    parts: &Parts,
    name: &str,
    kind: MetricKind,
) -> Result<(), TrainError> {
    let outcomes: Vec<f64> = parts.train.iter().map(|at| target.outcomes[*at as usize]).collect();
    if outcomes.is_empty() || check_variation(&outcomes, name, kind).is_ok() {
        return Ok(());
    }
    let code = if kind == MetricKind::Classification { "one_class" } else { "constant_metric" };
    let held = match parts.kind {
        Holdout::Time => "the latest rows are held back to measure the model, and",
        Holdout::Random => "some rows are held back to measure the model, and",
    };
    let what = if kind == MetricKind::Classification { "class" } else { "value" };
    Err(TrainError::unusable(
        code,
        format!(
            "{held} all {} rows before them have the same {what} of {name:?}, so there is nothing to learn: set \
             settings.holdout to \"random\" or another settings.holdout_share, or choose other dates or more data for the \
             predictor",
            outcomes.len()
        ),
    ))
}

fn agents(column: &Column, name: &str, rows: &[u32]) -> Result<(Vec<u32>, Vec<Arc<str>>), TrainError> {
    let (codes, names): (Vec<u32>, Vec<Arc<str>>) = match column {
        Column::Text { codes, dictionary } => {
            (rows.iter().map(|row| codes[*row as usize]).collect(), dictionary.clone())
        }
        Column::Integer(values) => {
            let mut seen: HashMap<i64, u32> = HashMap::new();
            let mut names = Vec::new();
            let mut code = |value: i64| {
                *seen.entry(value).or_insert_with(|| {
                    names.push(Arc::from(value.to_string()));
                    names.len() as u32 - 1
                })
            };
            let codes = rows.iter().map(|row| values[*row as usize].map_or(MISSING_CODE, &mut code)).collect();
            (codes, names)
        }
        _ => {
            return Err(TrainError::unusable(
                "unknown_field",
                format!("the agent id {name:?} must be text or a whole number"),
            ));
        }
    };
    // Only agents that occur in usable rows, in the order of their ids; equal texts under two codes are one agent.
    let mut used = vec![false; names.len()];
    for code in codes.iter().filter(|code| **code != MISSING_CODE) {
        used[*code as usize] = true;
    }
    let mut ids: Vec<Arc<str>> =
        names.iter().zip(&used).filter(|(_, used)| **used).map(|(id, _)| Arc::clone(id)).collect();
    ids.sort();
    ids.dedup();
    let place: Vec<u32> = names.iter().map(|name| ids.binary_search(name).map_or(NO_AGENT, |at| at as u32)).collect();
    let agents =
        codes.iter().map(|code| if *code == MISSING_CODE { NO_AGENT } else { place[*code as usize] }).collect();
    Ok((agents, ids))
}

fn weights(times: &[i64], half_life_days: Option<f64>, rows: usize) -> Vec<f32> {
    let (Some(half_life), Some(latest)) = (half_life_days, times.iter().max()) else { return vec![1.0; rows] };
    times.iter().map(|at| (-((latest - at) as f64 / 86_400e6) / half_life).exp2().max(1e-6) as f32).collect()
}

/// Holds back the last share of `positions` by time (or a random one). Both parts are in ascending order of position.
pub(super) fn split(target: &Target, positions: &[u32], kind: Holdout, share: f64, seed: u64) -> Parts {
    let first = positions.first().and_then(|at| target.times.get(*at as usize));
    let same = |at: &u32| target.times.get(*at as usize) == first;
    let by_time = kind == Holdout::Time && first.is_some() && !positions.iter().all(same);
    let held = ((positions.len() as f64 * share).round() as usize).clamp(1, positions.len() - 1);
    let mut order = positions.to_vec();
    if by_time {
        order.sort_by_key(|at| target.times[*at as usize]);
    } else {
        Random::new(seed).shuffle(&mut order);
    }
    let mut holdout = order.split_off(order.len() - held);
    holdout.sort_unstable();
    order.sort_unstable();
    Parts { train: order, holdout, kind: if by_time { Holdout::Time } else { Holdout::Random } }
}
