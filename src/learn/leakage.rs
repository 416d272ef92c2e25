//! Features that may know the outcome: what a model would learn from them is not there when an interaction waits.
//!
//! Names are no evidence; values are. A warning says what was seen and what to do, and changes nothing: what is known
//! before routing, only people know.

use std::collections::HashMap;

use rayon::prelude::*;

use super::held_out::HeldOut;
use super::spec::{FeatureColumn, TrainingTable};
use super::target::Target;
use super::univariate::{Univariate, univariate};
use crate::domain::column::{Column, MISSING_CODE};
use crate::domain::predictor::MetricKind;

/// AUC, and R², from which on a single feature is suspected, and below which all others have to be.
const PERFECT_AUC: (f64, f64) = (0.98, 0.93);
const PERFECT_R2: (f64, f64) = (0.95, 0.85);
/// From this on it is suspected whatever the others are: an outcome is not that easy, and there may be several that know it.
const WHATEVER_OTHERS_AUC: f64 = 0.995;
const WHATEVER_OTHERS_R2: f64 = 0.99;
/// Rows of one outcome alone that are more than an accident, if by chance they would be so at most this often.
const MIN_PURE_ROWS: u64 = 50;
const CHANCE: f64 = 1e-9;
/// Later than the interaction: the least share of the present times, and the least number.
const LATER_SHARE: f64 = 0.01;
const MIN_LATER: u64 = 10;
/// Values of a field that are looked at.
const MAX_VALUES: usize = 200;

impl HeldOut<'_> {
    /// In words for people.
    pub fn leakage_warnings(&self) -> Vec<String> {
        let kind = self.task.spec.kind;
        let alone = univariate(kind, &self.fit, &self.holdout);
        let name = |field: usize| self.fit.encoding.fields[field].name.as_str();
        let mut warnings = almost_perfect(kind, &alone, name);
        warnings.extend(known_later(self.task.table, self.task.target));
        if kind == MetricKind::Classification {
            warnings.extend(one_class_only(self.task.table, self.task.target));
        }
        warnings
    }
}

fn almost_perfect<'a>(kind: MetricKind, alone: &[Univariate], name: impl Fn(usize) -> &'a str) -> Vec<String> {
    let (measure, (mut least, others), whatever) = match kind {
        MetricKind::Classification => ("AUC", PERFECT_AUC, WHATEVER_OTHERS_AUC),
        MetricKind::Regression => ("R²", PERFECT_R2, WHATEVER_OTHERS_R2),
    };
    let best =
        |least: f64| alone.iter().filter(|one| one.strength < least).max_by(|a, b| a.strength.total_cmp(&b.strength));
    if best(least).is_some_and(|next| next.strength >= others) {
        if !alone.iter().any(|one| one.strength >= whatever) {
            return Vec::new();
        }
        // Beside one that knows the outcome, those that are nearly as good are suspects, too.
        least = others;
    }
    let perfect = alone.iter().filter(|one| one.strength >= least);
    let compared = match best(least) {
        Some(next) => format!("the next best, {:?}, has {:.2}", name(next.field), next.strength),
        None => "there is no other to compare it with".to_owned(),
    };
    perfect
        .map(|one| {
            format!(
                "{:?} alone predicts the outcome almost perfectly on the holdout ({measure} {:.3}; {compared}): it may be the \
                 outcome in other words, or be written down after it (leakage). {}",
                name(one.field),
                one.strength,
                LEAVE_OUT
            )
        })
        .collect()
}

const LEAVE_OUT: &str = "Leave it out of the features unless its value is known while the interaction waits";

/// Times after the interaction's own.
fn known_later(table: &TrainingTable, target: &Target) -> Vec<String> {
    let mut warnings = Vec::new();
    if target.times.is_empty() {
        return warnings;
    }
    for feature in table.features.iter().filter(|feature| table.timestamp.as_ref() != Some(&feature.column)) {
        let Some(Column::Timestamp(values)) = table.table.column(&feature.column) else { continue };
        let present = target.rows.iter().zip(&target.times).filter_map(|(row, at)| Some((values[*row as usize]?, *at)));
        let (mut all, mut later) = (0u64, 0u64);
        for (value, at) in present {
            all += 1;
            later += u64::from(value > at);
        }
        if later >= MIN_LATER && later as f64 >= LATER_SHARE * all as f64 {
            warnings.push(format!(
                "{:?} is later than the interaction itself in {later} of the {all} rows that have it: it may be known only \
                 after the interaction (leakage). {LEAVE_OUT}, as the date of an appointment is",
                feature.name
            ));
        }
    }
    warnings
}

/// Features that are there, or missing, or have one value, only where the outcome is one and the same.
fn one_class_only(table: &TrainingTable, target: &Target) -> Vec<String> {
    let share = target.outcomes.iter().sum::<f64>() / target.rows.len() as f64;
    let warning = |feature: &FeatureColumn| {
        let groups = values(table.table.column(&feature.column)?, target);
        groups.into_iter().find_map(|(what, seen)| {
            let (count, share, class) = match seen {
                [0, hits] => (hits, share, "a success"),
                [others, 0] => (others, 1.0 - share, "no success"),
                _ => return None,
            };
            let surprising = count >= MIN_PURE_ROWS && count as f64 * share.ln() < CHANCE.ln();
            surprising.then(|| {
                format!(
                    "{:?} {what} in {count} rows, and every one of them is {class} (of all rows {:.0} % are): it may be \
                     filled in once the outcome is known (leakage). {LEAVE_OUT}",
                    feature.name,
                    100.0 * share
                )
            })
        })
    };
    table.features.par_iter().filter_map(warning).collect()
}

/// What a field is in which rows, and how many of them are no success and success. Few values are told apart; of fields
/// with many only whether there is one.
fn values(column: &Column, target: &Target) -> Vec<(String, [u64; 2])> {
    let mut missing = [0u64; 2];
    let mut present = [0u64; 2];
    let mut by_value: Vec<(String, [u64; 2])> = Vec::new();
    let mut places: HashMap<u64, usize> = HashMap::new();
    let mut many = false;
    for (row, outcome) in target.rows.iter().zip(&target.outcomes) {
        let class = usize::from(*outcome > 0.5);
        let row = *row as usize;
        let Some(key) = key(column, row) else {
            missing[class] += 1;
            continue;
        };
        present[class] += 1;
        if many {
            continue;
        }
        let place = *places.entry(key).or_insert_with(|| {
            by_value.push((format!("is {}", text(column, row)), [0; 2]));
            by_value.len() - 1
        });
        by_value[place].1[class] += 1;
        many = by_value.len() > MAX_VALUES;
    }
    let mut found = vec![("is missing".to_owned(), missing), ("is there".to_owned(), present)];
    if !many && by_value.len() > 1 {
        found.extend(by_value);
    }
    found
}

/// Equal for equal values of a column; none when the value is missing. Times, lists and dictionaries are only there or not.
fn key(column: &Column, row: usize) -> Option<u64> {
    match column {
        Column::Boolean(values) => values[row].map(u64::from),
        Column::Integer(values) => values[row].map(|value| value as u64),
        Column::Float(values) => (!values[row].is_nan()).then(|| values[row].to_bits()),
        Column::Text { codes, .. } => (codes[row] != MISSING_CODE).then(|| u64::from(codes[row])),
        Column::Timestamp(values) => values[row].map(|_| 0),
        Column::List(values) => values[row].as_ref().map(|_| 0),
        Column::Dict(values) => values[row].as_ref().map(|_| 0),
    }
}

fn text(column: &Column, row: usize) -> String {
    match column {
        Column::Boolean(values) => values[row].map(|value| value.to_string()),
        Column::Integer(values) => values[row].map(|value| value.to_string()),
        Column::Float(values) => Some(values[row].to_string()),
        Column::Text { codes, dictionary } => dictionary.get(codes[row] as usize).map(|text| format!("{text:?}")),
        Column::Timestamp(_) | Column::List(_) | Column::Dict(_) => None,
    }
    .unwrap_or_else(|| "there".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::column::Table;
    use crate::domain::predictor::Features;
    use crate::learn::random::Random;

    const ROWS: usize = 2_000;

    /// An honest number, and one field for each kind of leakage.
    fn leaking() -> (TrainingTable, Target) {
        let mut random = Random::new(9);
        let mut unit = move || random.unit();
        let outcomes: Vec<f64> = (0..ROWS).map(|_| f64::from(u8::from(unit() < 0.6))).collect();
        let times: Vec<i64> = (0..ROWS as i64).map(|row| row * 1_000_000).collect();
        // Filled in for some failures only.
        let complaint = outcomes.iter().map(|y| if *y == 0.0 && unit() < 0.4 { 0 } else { MISSING_CODE }).collect();
        let closed = times.iter().map(|at| Some(at + 600_000_000)).collect();
        let registered = times.iter().map(|at| Some(at - 86_400_000_000)).collect();
        let code = outcomes.iter().map(|y| Some(if *y == 1.0 && unit() < 0.3 { 7 } else { 1 })).collect();
        let columns = vec![
            ("complaint".to_owned(), Column::Text { codes: complaint, dictionary: vec![Arc::from("rude")] }),
            ("closed".to_owned(), Column::Timestamp(closed)),
            ("registered".to_owned(), Column::Timestamp(registered)),
            ("code".to_owned(), Column::Integer(code)),
            ("wait".to_owned(), Column::Float((0..ROWS).map(|_| (unit() * 10.0).floor()).collect())),
        ];
        let context = columns.iter().map(|(name, _)| name.clone()).collect();
        let table = TrainingTable {
            table: Table { rows: ROWS, columns },
            features: TrainingTable::feature_columns(&Features { context, ..Features::default() }),
            ..TrainingTable::default()
        };
        let target = Target {
            rows: (0..ROWS as u32).collect(),
            outcomes,
            weights: vec![1.0; ROWS],
            agents: Vec::new(),
            agent_ids: Vec::new(),
            times,
        };
        (table, target)
    }

    #[test]
    fn what_is_filled_in_afterwards_is_named_and_what_is_honest_is_not() {
        let (table, target) = leaking();
        let found = one_class_only(&table, &target);
        assert_eq!(found.len(), 2, "{found:#?}");
        assert!(found[0].contains("\"complaint\" is there") && found[0].contains("no success"), "{}", found[0]);
        assert!(found[1].contains("\"code\" is 7") && found[1].contains("a success"), "{}", found[1]);
        let later = known_later(&table, &target);
        assert_eq!(later.len(), 1, "{later:#?}");
        assert!(later[0].contains("\"closed\"") && later[0].contains("2000 of the 2000"), "{}", later[0]);
    }

    #[test]
    fn one_perfect_feature_is_suspected_and_two_good_ones_are_not() {
        let one = |field: usize, strength: f64| Univariate { field, input: field, predicted: Vec::new(), strength };
        let name = |field: usize| ["a", "b", "c"][field];
        let kind = MetricKind::Classification;
        let found = almost_perfect(kind, &[one(0, 0.61), one(1, 0.995), one(2, 0.7)], name);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("\"b\" alone") && found[0].contains("\"c\", has 0.70"), "{}", found[0]);
        assert!(almost_perfect(kind, &[one(0, 0.96), one(1, 0.985)], name).is_empty(), "an easy outcome");
        assert!(almost_perfect(kind, &[one(0, 0.9), one(1, 0.5)], name).is_empty());
        let both = almost_perfect(kind, &[one(0, 0.953), one(1, 1.0), one(2, 0.6)], name);
        assert_eq!(both.len(), 2, "two that know it do not hide each other: {both:#?}");
        assert!(both[0].starts_with("\"a\" alone") && both[1].contains("\"c\", has 0.60"), "{both:#?}");
        assert_eq!(almost_perfect(MetricKind::Regression, &[one(0, 0.96)], name).len(), 1);
    }
}
