//! What a column's values look like: for people who get to know their data. Values are counted from rows in memory,
//! which may be a sample.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::domain::column::{Column, MISSING_CODE, Table};

const BINS: usize = 24;
const TOP: usize = 10;
/// Groups of rows by which an association is measured.
const GROUPS: usize = 20;
/// More frequent texts make a group each.
const LEVELS: usize = 200;

/// Rows with `from` ≤ value < `to`; the outer bins also hold what lies beyond.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HistogramBin {
    pub from: f64,
    pub to: f64,
    pub rows: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FrequentValue {
    pub value: Value,
    pub rows: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Quantiles {
    pub p05: f64,
    pub p25: f64,
    pub median: f64,
    pub p75: f64,
    pub p95: f64,
}

/// A column's values in the rows that were looked at. Times are seconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ColumnSummary {
    pub rows: u64,
    pub missing: u64,
    /// Of a list, its elements; of a dictionary, its keys.
    pub distinct: u64,
    /// Of numbers and times.
    pub mean: Option<f64>,
    pub quantiles: Option<Quantiles>,
    pub histogram: Vec<HistogramBin>,
    /// The most frequent values, or the most frequent elements or keys.
    pub top: Vec<FrequentValue>,
    /// Share of the target's variance that differs between this column's values (the adjusted correlation ratio, 0 to 1);
    /// null without a target that is a number or yes or no.
    pub association: Option<f64>,
}

/// A column in one of several equal periods.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PeriodSummary {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub from: f64,
    pub to: f64,
    pub rows: u64,
    pub missing: u64,
    pub distinct: u64,
    /// Distinct values up to here.
    pub distinct_so_far: u64,
    pub mean: Option<f64>,
}

/// Describes a column; `target` is a column of the same rows.
pub fn describe(column: &Column, target: Option<&Column>) -> ColumnSummary {
    let association = target.and_then(|target| association(column, target));
    let mut summary = match column {
        Column::Text { codes, dictionary } => describe_texts(codes, dictionary),
        Column::List(values) => {
            describe_sets(values.len(), values.iter().map(|value| value.as_deref().map(<[Arc<str>]>::to_vec)))
        }
        Column::Dict(values) => describe_sets(
            values.len(),
            values.iter().map(|value| value.as_deref().map(|it| it.iter().map(|(key, _)| key.clone()).collect())),
        ),
        Column::Boolean(_) | Column::Integer(_) | Column::Float(_) | Column::Timestamp(_) => {
            describe_numbers(&numbers(column), column)
        }
    };
    summary.association = association;
    summary
}

/// A column by the time of its rows, in so many equal periods. Rows without a time are left out.
pub fn over_time(column: &Column, time: &Column, periods: usize) -> Vec<PeriodSummary> {
    let times = numbers(time);
    let known = times.iter().copied().filter(|time| time.is_finite());
    let (low, high) =
        known.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), time| (low.min(time), high.max(time)));
    if low > high || periods == 0 {
        return Vec::new();
    }
    let width = ((high - low) / periods as f64).max(1.0);
    let mut rows_of: Vec<Vec<usize>> = vec![Vec::new(); periods];
    for (row, time) in times.iter().enumerate().filter(|(_, time)| time.is_finite()) {
        rows_of[(((time - low) / width) as usize).min(periods - 1)].push(row);
    }
    let values = numbers(column);
    let is_number = matches!(column, Column::Integer(_) | Column::Float(_) | Column::Boolean(_));
    let mut so_far: HashSet<u64> = HashSet::new();
    rows_of
        .into_iter()
        .enumerate()
        .map(|(period, rows)| {
            let mut here = HashSet::new();
            let mut missing = 0;
            for row in &rows {
                let before = here.len();
                keys(column, *row, |key| {
                    here.insert(key);
                });
                missing += u64::from(here.len() == before && is_missing(column, *row));
            }
            so_far.extend(&here);
            let known: Vec<f64> = rows.iter().map(|row| values[*row]).filter(|value| value.is_finite()).collect();
            let mean = (is_number && !known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64);
            let from = low + width * period as f64;
            PeriodSummary {
                from,
                to: from + width,
                rows: rows.len() as u64,
                missing,
                distinct: here.len() as u64,
                distinct_so_far: so_far.len() as u64,
                mean,
            }
        })
        .collect()
}

/// The column of a table, described.
pub fn describe_column(table: &Table, name: &str, target: Option<&str>) -> Option<ColumnSummary> {
    let target = target.filter(|target| *target != name).and_then(|target| table.column(target));
    table.column(name).map(|column| describe(column, target))
}

/// Every row as a number, `NaN` where there is none: truth values as 0 and 1, times as seconds, texts as their codes.
fn numbers(column: &Column) -> Vec<f64> {
    let or_nan = |value: Option<f64>| value.unwrap_or(f64::NAN);
    match column {
        Column::Boolean(values) => values.iter().map(|it| or_nan(it.map(f64::from))).collect(),
        Column::Integer(values) => values.iter().map(|it| or_nan(it.map(|it| it as f64))).collect(),
        Column::Float(values) => values.clone(),
        Column::Timestamp(values) => values.iter().map(|it| or_nan(it.map(|it| it as f64 / 1e6))).collect(),
        Column::Text { codes, .. } => {
            codes.iter().map(|code| if *code == MISSING_CODE { f64::NAN } else { f64::from(*code) }).collect()
        }
        Column::List(values) => vec![f64::NAN; values.len()],
        Column::Dict(values) => vec![f64::NAN; values.len()],
    }
}

fn is_missing(column: &Column, row: usize) -> bool {
    match column {
        Column::Boolean(values) => values[row].is_none(),
        Column::Integer(values) | Column::Timestamp(values) => values[row].is_none(),
        Column::Float(values) => values[row].is_nan(),
        Column::Text { codes, .. } => codes[row] == MISSING_CODE,
        Column::List(values) => values[row].is_none(),
        Column::Dict(values) => values[row].is_none(),
    }
}

/// What distinguishes a row's values, one key a value.
fn keys(column: &Column, row: usize, mut each: impl FnMut(u64)) {
    match column {
        Column::Boolean(values) => values[row].into_iter().for_each(|it| each(u64::from(it))),
        Column::Integer(values) | Column::Timestamp(values) => values[row].into_iter().for_each(|it| each(it as u64)),
        Column::Float(values) if values[row].is_nan() => {}
        Column::Float(values) => each(values[row].to_bits()),
        Column::Text { codes, .. } if codes[row] == MISSING_CODE => {}
        Column::Text { codes, .. } => each(u64::from(codes[row])),
        Column::List(values) => {
            values[row].iter().flatten().for_each(|it| each(xxhash_rust::xxh3::xxh3_64(it.as_bytes())));
        }
        Column::Dict(values) => {
            values[row].iter().flatten().for_each(|(key, _)| each(xxhash_rust::xxh3::xxh3_64(key.as_bytes())));
        }
    }
}

fn describe_numbers(values: &[f64], column: &Column) -> ColumnSummary {
    let mut known: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    known.sort_by(f64::total_cmp);
    let (distinct, top) = match column {
        Column::Boolean(_) => frequent_numbers(&known, |value| json!(value != 0.0)),
        Column::Integer(values) => frequent_numbers(&in_order(values), |value| json!(value)),
        Column::Timestamp(values) => frequent_numbers(&in_order(values), |micros| {
            let time = chrono::DateTime::from_timestamp_micros(micros).unwrap_or_default();
            json!(crate::domain::profile::timestamp_text(time))
        }),
        _ => frequent_numbers(&known, |value| json!(value)),
    };
    let histogram = if matches!(column, Column::Boolean(_)) { Vec::new() } else { histogram(&known) };
    let at = |share: f64| known[(share * (known.len() - 1) as f64).round() as usize];
    let quantiles = (!known.is_empty()).then(|| Quantiles {
        p05: at(0.05),
        p25: at(0.25),
        median: at(0.5),
        p75: at(0.75),
        p95: at(0.95),
    });
    ColumnSummary {
        rows: values.len() as u64,
        missing: (values.len() - known.len()) as u64,
        distinct,
        mean: (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64),
        quantiles,
        histogram,
        top,
        association: None,
    }
}

/// Whole numbers as they are: as floating-point numbers, many beyond 2^53 would be one.
fn in_order(values: &[Option<i64>]) -> Vec<i64> {
    let mut known: Vec<i64> = values.iter().copied().flatten().collect();
    known.sort_unstable();
    known
}

/// Of sorted values: how many are distinct, and the most frequent, of equally frequent ones the smallest.
fn frequent_numbers<T: Copy + PartialEq>(sorted: &[T], shown: impl Fn(T) -> Value) -> (u64, Vec<FrequentValue>) {
    let mut runs: Vec<(T, u64)> = Vec::new();
    for value in sorted {
        match runs.last_mut() {
            Some((last, count)) if last == value => *count += 1,
            _ => runs.push((*value, 1)),
        }
    }
    let distinct = runs.len() as u64;
    runs.sort_by_key(|(_, rows)| std::cmp::Reverse(*rows));
    let top = runs.iter().take(TOP).map(|(value, rows)| FrequentValue { value: shown(*value), rows: *rows });
    (distinct, top.collect())
}

/// Of sorted values. Far outliers do not squeeze the rest into one bin.
fn histogram(known: &[f64]) -> Vec<HistogramBin> {
    let (Some(first), Some(last)) = (known.first(), known.last()) else { return Vec::new() };
    let at = |share: f64| known[(share * (known.len() - 1) as f64).round() as usize];
    let (inner_low, inner_high) = (at(0.005), at(0.995));
    let spread = inner_high - inner_low;
    let (low, high) =
        if spread > 0.0 && last - first > 3.0 * spread { (inner_low, inner_high) } else { (*first, *last) };
    let whole = known.iter().all(|value| value.fract() == 0.0) && high - low < BINS as f64;
    let (bins, width) = match () {
        // One bar a whole number.
        () if whole => ((high - low) as usize + 1, 1.0),
        () if high > low => (BINS, (high - low) / BINS as f64),
        () => (1, 1.0),
    };
    let mut rows = vec![0; bins];
    for value in known {
        rows[(((value - low) / width).max(0.0) as usize).min(bins - 1)] += 1;
    }
    let bin = |(at, rows): (usize, u64)| {
        let from = low + width * at as f64;
        HistogramBin { from, to: from + width, rows }
    };
    rows.into_iter().enumerate().map(bin).collect()
}

fn describe_texts(codes: &[u32], dictionary: &[Arc<str>]) -> ColumnSummary {
    let mut counts = vec![0_u64; dictionary.len()];
    let mut missing = 0;
    for code in codes {
        match counts.get_mut(*code as usize) {
            Some(count) => *count += 1,
            None => missing += 1,
        }
    }
    let found = counts.into_iter().enumerate().filter(|(_, rows)| *rows > 0);
    let found: Vec<(Arc<str>, u64)> = found.map(|(code, rows)| (dictionary[code].clone(), rows)).collect();
    frequent(codes.len(), missing, found)
}

fn describe_sets(rows: usize, values: impl Iterator<Item = Option<Vec<Arc<str>>>>) -> ColumnSummary {
    let mut counts: HashMap<Arc<str>, u64> = HashMap::new();
    let mut missing = 0;
    for value in values {
        match value {
            None => missing += 1,
            Some(elements) => elements.into_iter().for_each(|element| *counts.entry(element).or_default() += 1),
        }
    }
    frequent(rows, missing, counts.into_iter().collect())
}

fn frequent(rows: usize, missing: u64, mut found: Vec<(Arc<str>, u64)>) -> ColumnSummary {
    found.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let top =
        found.iter().take(TOP).map(|(value, rows)| FrequentValue { value: json!(**value), rows: *rows }).collect();
    ColumnSummary {
        rows: rows as u64,
        missing,
        distinct: found.len() as u64,
        mean: None,
        quantiles: None,
        histogram: Vec::new(),
        top,
        association: None,
    }
}

/// The adjusted correlation ratio of the target between groups of the column's values.
fn association(column: &Column, target: &Column) -> Option<f64> {
    if !matches!(target, Column::Boolean(_) | Column::Integer(_) | Column::Float(_)) {
        return None;
    }
    let target = numbers(target);
    let groups = groups(column)?;
    let mut sums: HashMap<usize, (f64, f64)> = HashMap::new();
    let (mut rows, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for (group, value) in groups.iter().zip(&target).filter(|(_, value)| value.is_finite()) {
        let entry = sums.entry(*group).or_default();
        entry.0 += 1.0;
        entry.1 += value;
        rows += 1.0;
        sum += value;
        squares += value * value;
    }
    let total = squares - sum * sum / rows;
    let count = sums.len() as f64;
    if rows <= count + 1.0 || total <= 0.0 {
        return None;
    }
    let between: f64 = sums.values().map(|(rows, sum)| sum * sum / rows).sum::<f64>() - sum * sum / rows;
    let within = (total - between) / (rows - count);
    Some((1.0 - within / (total / (rows - 1.0))).clamp(0.0, 1.0))
}

/// A group number a row: frequent texts, or ranges with about as many rows each; missing values are a group.
fn groups(column: &Column) -> Option<Vec<usize>> {
    match column {
        Column::List(_) | Column::Dict(_) => None,
        Column::Text { codes, dictionary } => {
            let mut counts = vec![0_u64; dictionary.len()];
            for code in codes {
                if let Some(count) = counts.get_mut(*code as usize) {
                    *count += 1;
                }
            }
            let mut order: Vec<usize> = (0..dictionary.len()).collect();
            order.sort_by_key(|code| std::cmp::Reverse(counts[*code]));
            let mut group = vec![LEVELS; dictionary.len()];
            order.iter().take(LEVELS).enumerate().for_each(|(rank, code)| group[*code] = rank);
            Some(codes.iter().map(|code| group.get(*code as usize).copied().unwrap_or(LEVELS + 1)).collect())
        }
        _ => {
            let values = numbers(column);
            let mut known: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
            known.sort_by(f64::total_cmp);
            let mut bounds: Vec<f64> =
                (1..GROUPS).filter_map(|at| known.get(at * known.len() / GROUPS).copied()).collect();
            bounds.dedup();
            let place = |value: &f64| match value.is_finite() {
                true => bounds.partition_point(|bound| bound <= value),
                false => GROUPS,
            };
            Some(values.iter().map(place).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(values: &[Option<&str>]) -> Column {
        let mut dictionary: Vec<Arc<str>> = Vec::new();
        let codes = values.iter().map(|value| {
            let Some(value) = value else { return MISSING_CODE };
            let known = dictionary.iter().position(|it| **it == **value);
            known.unwrap_or_else(|| {
                dictionary.push(Arc::from(*value));
                dictionary.len() - 1
            }) as u32
        });
        let codes = codes.collect();
        Column::Text { codes, dictionary }
    }

    #[test]
    fn numbers_have_quantiles_and_a_bar_for_each_whole_number() {
        let column = Column::Integer(vec![Some(1), Some(2), Some(2), Some(5), None]);
        let found = describe(&column, None);
        assert_eq!((found.rows, found.missing, found.distinct), (5, 1, 3));
        assert_eq!(found.histogram.iter().map(|bin| bin.rows).collect::<Vec<_>>(), [1, 2, 0, 0, 1]);
        assert_eq!(found.top[0], FrequentValue { value: json!(2), rows: 2 });
        assert_eq!(found.quantiles.unwrap().median, 2.0);
    }

    #[test]
    fn whole_numbers_beyond_2_to_the_53_stay_apart() {
        let id = 9_007_199_254_740_993;
        let found = describe(&Column::Integer(vec![Some(id), Some(id - 1), Some(id), None]), None);
        assert_eq!((found.missing, found.distinct), (1, 2));
        let of = |value: i64, rows| FrequentValue { value: json!(value), rows };
        assert_eq!(found.top, [of(id, 2), of(id - 1, 1)]);
    }

    #[test]
    fn an_outlier_does_not_hide_the_rest() {
        let mut values: Vec<f64> = (0..1_000).map(f64::from).collect();
        values.push(1e12);
        let bins = describe(&Column::Float(values), None).histogram;
        assert!(bins.len() == BINS && bins.iter().all(|bin| bin.rows > 0), "{bins:?}");
        assert_eq!(bins.iter().map(|bin| bin.rows).sum::<u64>(), 1_001);
    }

    #[test]
    fn nothing_is_described_without_panic() {
        for column in [Column::Float(vec![]), Column::Float(vec![f64::NAN]), texts(&[]), Column::List(vec![None])] {
            let found = describe(&column, Some(&Column::Boolean(vec![Some(true)])));
            assert_eq!(found.distinct, 0);
        }
    }

    #[test]
    fn what_decides_the_target_has_association_one_and_noise_none() {
        let target = Column::Boolean((0..400).map(|row| Some(row % 2 == 0)).collect());
        let same = texts(&(0..400).map(|row| Some(if row % 2 == 0 { "yes" } else { "no" })).collect::<Vec<_>>());
        let other = texts(&(0..400).map(|row| Some(if (row / 2) % 2 == 0 { "yes" } else { "no" })).collect::<Vec<_>>());
        assert_eq!(describe(&same, Some(&target)).association, Some(1.0));
        assert!(describe(&other, Some(&target)).association.unwrap() < 0.01);
    }

    #[test]
    fn distinct_values_grow_over_time() {
        let time = Column::Timestamp((0..100).map(|row| Some(row * 1_000_000_000)).collect());
        let column = Column::Integer((0..100).map(|row| Some(row / 10)).collect());
        let periods = over_time(&column, &time, 10);
        assert_eq!(periods.len(), 10);
        assert_eq!(periods.iter().map(|it| it.rows).sum::<u64>(), 100);
        assert_eq!(periods.last().unwrap().distinct_so_far, 10);
        assert!(periods.windows(2).all(|pair| pair[0].distinct_so_far <= pair[1].distinct_so_far));
    }
}
