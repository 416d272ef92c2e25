//! How good a model is for each agent and for each value of what is known before routing.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::held_out::HeldOut;
use super::measure::{auc, log_loss};
use super::part::FitPart;
use super::quality::Estimate;
use super::target::NO_AGENT;
use crate::domain::predictor::MetricKind;
use crate::domain::schema::FieldType;
use crate::score::encoding::{Derive, Levels, Side};

/// Values of one field that are listed, by falling number of rows; the others are one group.
const MAX_VALUES: usize = 30;
/// Fields that are listed, in the order of the features.
const MAX_FIELDS: usize = 50;

/// The measures of some rows of the holdout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct GroupQuality {
    pub rows: u64,
    /// Share of positives, or mean of the metric, with its 95 % interval: by Wilson (JASA 22, 1927) for a share, by the
    /// normal distribution for a mean.
    pub observed: Estimate,
    /// Mean prediction. Outside of the interval of `observed`, the model is too high or too low for this group.
    pub predicted: f64,
    /// Within the group, with an interval by Hanley & McNeil (Radiology 143, 1982); none when a class is missing, and for
    /// regressions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auc: Option<Estimate>,
    /// Classification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_loss: Option<f64>,
    /// Regression: mean absolute error in the metric's unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mae: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AgentQuality {
    pub agent_id: String,
    /// The measured model, which was fitted without the holdout, had a local part for the agent.
    pub local: bool,
    #[serde(flatten)]
    pub quality: GroupQuality,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ValueQuality {
    /// Null where the value is missing.
    pub value: Option<String>,
    #[serde(flatten)]
    pub quality: GroupQuality,
}

/// One context or customer field with values that repeat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FieldQuality {
    pub field: String,
    /// By falling number of rows, at most 30.
    pub values: Vec<ValueQuality>,
    /// All further values, the rare and those that training did not see among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub others: Option<GroupQuality>,
}

/// The holdout's rows by agent and by context value.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Breakdown {
    /// By agent id: agents with rows in the holdout.
    pub by_agent: Vec<AgentQuality>,
    /// Categorical context and customer fields, at most 50.
    pub by_context: Vec<FieldQuality>,
}

impl HeldOut<'_> {
    pub fn breakdown(&self) -> Breakdown {
        let rows = self.outcomes.len() as f64;
        let mean = self.outcomes.iter().sum::<f64>() / rows;
        let overall = self.outcomes.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / rows;
        Breakdown { by_agent: self.by_agent(overall), by_context: self.by_context(overall) }
    }

    fn by_agent(&self, overall: f64) -> Vec<AgentQuality> {
        let target = self.task.target;
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); target.agent_ids.len()];
        for (row, position) in self.parts.holdout.iter().enumerate() {
            match target.agents[*position as usize] {
                NO_AGENT => {}
                agent => rows[agent as usize].push(row as u32),
            }
        }
        rows.iter()
            .enumerate()
            .filter(|(_, rows)| !rows.is_empty())
            .map(|(agent, rows)| AgentQuality {
                agent_id: target.agent_ids[agent].to_string(),
                local: self.fit.local[agent],
                quality: self.group(rows, overall),
            })
            .collect()
    }

    fn by_context(&self, overall: f64) -> Vec<FieldQuality> {
        categories(&self.fit)
            .into_iter()
            .take(MAX_FIELDS)
            .map(|category| {
                let mut by_level: HashMap<u32, Vec<u32>> = HashMap::new();
                for (row, level) in self.holdout.columns[category.input].levels.iter().enumerate() {
                    by_level.entry(*level).or_default().push(row as u32);
                }
                let mut groups: Vec<(u32, Vec<u32>)> = by_level.into_iter().collect();
                groups.sort_by_key(|(level, rows)| (std::cmp::Reverse(rows.len()), *level));
                let (mut values, mut others) = (Vec::new(), Vec::new());
                for (level, rows) in groups {
                    match category.label(level) {
                        Some(value) if values.len() < MAX_VALUES => {
                            values.push(ValueQuality { value, quality: self.group(&rows, overall) });
                        }
                        _ => others.extend(rows),
                    }
                }
                let others = (!others.is_empty()).then(|| self.group(&others, overall));
                FieldQuality { field: category.field.to_owned(), values, others }
            })
            .collect()
    }

    /// `rows` are positions in the holdout, at least one; `overall` is the variance of all of its outcomes.
    fn group(&self, rows: &[u32], overall: f64) -> GroupQuality {
        let pick = |values: &[f64]| rows.iter().map(|row| values[*row as usize]).collect::<Vec<f64>>();
        let (outcomes, predicted) = (pick(&self.outcomes), pick(&self.predicted));
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let classification = self.task.spec.kind == MetricKind::Classification;
        let paired = |loss: fn(f64, f64) -> f64| {
            outcomes.iter().zip(&predicted).map(|(y, p)| loss(*y, *p)).sum::<f64>() / rows.len() as f64
        };
        let observed =
            if classification { share(outcomes.iter().sum(), rows.len()) } else { normal_mean(&outcomes, overall) };
        GroupQuality {
            rows: rows.len() as u64,
            observed,
            predicted: mean(&predicted),
            auc: if classification { auc_with_interval(&outcomes, &predicted) } else { None },
            log_loss: classification.then(|| paired(log_loss)),
            mae: (!classification).then(|| paired(|y, p| (y - p).abs())),
        }
    }
}

/// A field whose values repeat: one input with levels.
pub(super) struct Category<'a> {
    pub field: &'a str,
    pub input: usize,
    levels: &'a Levels,
    boolean: bool,
}

/// Context and customer fields that are texts, Booleans, or whole numbers with at most 32 values.
pub(super) fn categories(fit: &FitPart) -> Vec<Category<'_>> {
    let mut found: Vec<Category<'_>> = Vec::new();
    for (index, input) in fit.encoding.inputs.iter().enumerate() {
        let field = &fit.encoding.fields[input.field as usize];
        let Some(levels) = &input.levels else { continue };
        // The single values of a number that is cut into ranges, too, are too many to be read one by one.
        let few = matches!(levels, Levels::Texts(_)) || matches!(levels, Levels::Integers(_)) && input.scale.is_some();
        if few && field.side != Side::Agent && input.derive == Derive::Value {
            let boolean = field.field_type == FieldType::Boolean;
            found.push(Category { field: &field.name, input: index, levels, boolean });
        }
    }
    found
}

impl Category<'_> {
    /// The value as text, `Some(None)` when it is missing, none for "other".
    pub fn label(&self, level: u32) -> Option<Option<String>> {
        if level == self.levels.missing() {
            return Some(None);
        }
        match self.levels {
            Levels::Texts(texts) => texts.get(level as usize).map(|text| Some(text.to_string())),
            Levels::Integers(values) => values
                .get(level as usize)
                .map(|value| Some(if self.boolean { (*value == 1).to_string() } else { value.to_string() })),
            Levels::Cuts(_) => None,
        }
    }
}

/// A share with Wilson's interval.
pub(super) fn share(positives: f64, rows: usize) -> Estimate {
    const Z: f64 = 1.96;
    let n = rows as f64;
    let p = positives / n;
    let middle = p + Z * Z / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    Estimate { value: p, low: ((middle - half) / scale).max(0.0), high: ((middle + half) / scale).min(1.0) }
}

/// A mean with a normal interval. `overall` is the variance of all rows: it counts as one row of the group, since two equal
/// rows do not make a certain mean.
fn normal_mean(values: &[f64], overall: f64) -> Estimate {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() + overall) / n;
    let half = 1.96 * (variance / n).sqrt();
    Estimate { value: mean, low: mean - half, high: mean + half }
}

fn auc_with_interval(outcomes: &[f64], predictions: &[f64]) -> Option<Estimate> {
    let value = auc(outcomes, predictions)?;
    let positives: f64 = outcomes.iter().sum();
    let negatives = outcomes.len() as f64 - positives;
    let (q1, q2) = (value / (2.0 - value), 2.0 * value * value / (1.0 + value));
    let square = value * value;
    let variance = (value * (1.0 - value) + (positives - 1.0) * (q1 - square) + (negatives - 1.0) * (q2 - square))
        / (positives * negatives);
    let half = 1.96 * variance.max(0.0).sqrt();
    Some(Estimate { value, low: (value - half).max(0.0), high: (value + half).min(1.0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_the_books() {
        // Wilson's interval of 8 in 10, and Hanley & McNeil's of an AUC of one half.
        let found = share(8.0, 10);
        assert!((found.low - 0.4902).abs() < 1e-3 && (found.high - 0.9433).abs() < 1e-3, "{found:?}");
        assert_eq!((share(0.0, 5).low, share(5.0, 5).high), (0.0, 1.0));
        let outcomes: Vec<f64> = (0..200).map(|row| f64::from(u8::from(row % 2 == 0))).collect();
        let half = auc_with_interval(&outcomes, &vec![0.5; 200]).unwrap();
        // √((n₁ + n₂ + 1) / (12 n₁ n₂)) = 0.0409
        assert!((half.value - 0.5).abs() < 1e-12 && (half.high - half.value - 1.96 * 0.0409).abs() < 1e-3, "{half:?}");
        let one = normal_mean(&[3.0], 4.0);
        assert!((one.low - (3.0 - 1.96 * 2.0)).abs() < 1e-12 && one.value == 3.0, "{one:?}");
    }
}
