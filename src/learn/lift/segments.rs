//! The values of a context or customer feature by which the estimate is split.

use std::collections::HashMap;

use super::super::error::TrainError;
use super::super::spec::{FeatureColumn, TrainingTable};
use super::super::target::column;
use crate::domain::column::{Column, MISSING_CODE};
use crate::score::encoding::Side;

/// Values of their own, most frequent first; all others are one segment.
const MOST: usize = 20;
/// Numbers with more distinct values are cut into so many ranges of equal size.
const RANGES: usize = 5;

/// A value of the field, and its places among the rows that were asked for.
pub(super) struct Segment {
    pub value: String,
    pub rows: Vec<u32>,
}

/// Splits rows of the table by a context or customer feature.
pub(super) fn split(table: &TrainingTable, field: &str, rows: &[u32]) -> Result<Vec<Segment>, TrainError> {
    let feature = features(table).find(|feature| feature.name == field).ok_or_else(|| unknown(table, field))?;
    let column = column(table, &feature.column, "segment_by")?;
    let texts: Vec<Option<String>> = match column {
        Column::Text { codes, dictionary } => {
            let text = |row: &u32| match codes[*row as usize] {
                MISSING_CODE => None,
                code => Some(dictionary[code as usize].to_string()),
            };
            rows.iter().map(text).collect()
        }
        Column::Boolean(values) => rows.iter().map(|row| values[*row as usize].map(|v| v.to_string())).collect(),
        Column::Integer(values) => {
            let numbers: Vec<f64> =
                rows.iter().map(|row| values[*row as usize].map_or(f64::NAN, |v| v as f64)).collect();
            return Ok(of_numbers(&numbers));
        }
        Column::Float(values) => {
            return Ok(of_numbers(&rows.iter().map(|row| values[*row as usize]).collect::<Vec<f64>>()));
        }
        Column::Timestamp(_) | Column::List(_) | Column::Dict(_) => {
            return Err(TrainError::unusable(
                "bad_segment",
                format!(
                    "segment_by names {field:?}, which is a time, a list or a dictionary: name a text, number or Boolean"
                ),
            ));
        }
    };
    Ok(of_texts(&texts))
}

fn features(table: &TrainingTable) -> impl Iterator<Item = &FeatureColumn> {
    table.features.iter().filter(|feature| feature.side != Side::Agent)
}

fn unknown(table: &TrainingTable, field: &str) -> TrainError {
    let known: Vec<&str> = features(table).map(|feature| feature.name.as_str()).collect();
    TrainError::unusable(
        "unknown_field",
        format!(
            "segment_by names {field:?}, which is no context or customer feature of the model; these are: {}",
            known.join(", ")
        ),
    )
}

fn of_texts(texts: &[Option<String>]) -> Vec<Segment> {
    let mut places: HashMap<&str, Vec<u32>> = HashMap::new();
    let mut missing = Vec::new();
    for (at, text) in texts.iter().enumerate() {
        match text {
            Some(text) => places.entry(text).or_default().push(at as u32),
            None => missing.push(at as u32),
        }
    }
    let mut found: Vec<Segment> =
        places.into_iter().map(|(value, rows)| Segment { value: value.to_owned(), rows }).collect();
    found.sort_by(|a, b| b.rows.len().cmp(&a.rows.len()).then_with(|| a.value.cmp(&b.value)));
    if found.len() > MOST {
        let others: Vec<Segment> = found.split_off(MOST - 1);
        let mut rows: Vec<u32> = others.iter().flat_map(|segment| &segment.rows).copied().collect();
        rows.sort_unstable();
        found.push(Segment { value: format!("{} other values", others.len()), rows });
    }
    if !missing.is_empty() {
        found.push(Segment { value: "missing".to_owned(), rows: missing });
    }
    found
}

fn of_numbers(numbers: &[f64]) -> Vec<Segment> {
    let mut sorted: Vec<f64> = numbers.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let mut distinct = sorted.clone();
    distinct.dedup();
    let mut segments: Vec<Segment> = if distinct.len() <= MOST {
        distinct.iter().map(|value| Segment { value: value.to_string(), rows: Vec::new() }).collect()
    } else {
        let mut starts: Vec<f64> = (0..RANGES).map(|range| sorted[range * sorted.len() / RANGES]).collect();
        starts.dedup();
        distinct = starts;
        let end = |at: usize| distinct.get(at + 1).map_or_else(String::new, |next| format!(" to below {next}"));
        let name = |at: usize| if at + 1 < distinct.len() { end(at) } else { " and more".to_owned() };
        distinct
            .iter()
            .enumerate()
            .map(|(at, start)| Segment { value: format!("{start}{}", name(at)), rows: Vec::new() })
            .collect()
    };
    let mut missing = Vec::new();
    for (at, number) in numbers.iter().enumerate() {
        let range = distinct.partition_point(|start| start <= number);
        match segments.get_mut(range.wrapping_sub(1)) {
            Some(segment) if number.is_finite() => segment.rows.push(at as u32),
            _ => missing.push(at as u32),
        }
    }
    if !missing.is_empty() {
        segments.push(Segment { value: "missing".to_owned(), rows: missing });
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(segments: &[Segment]) -> Vec<(&str, usize)> {
        segments.iter().map(|segment| (segment.value.as_str(), segment.rows.len())).collect()
    }

    #[test]
    fn texts_are_values_and_numbers_are_ranges() {
        let texts: Vec<Option<String>> =
            (0..50).map(|at| (at % 5 > 0).then(|| ["b", "a"][at % 2].to_owned())).collect();
        assert_eq!(sizes(&of_texts(&texts)), [("a", 20), ("b", 20), ("missing", 10)]);
        let many: Vec<Option<String>> = (0..60).map(|at| Some(format!("v{:02}", at % 30))).collect();
        let found = of_texts(&many);
        assert_eq!((found.len(), sizes(&found)[19]), (20, ("11 other values", 22)));
        assert_eq!(sizes(&of_numbers(&[2.0, 1.0, 2.0, f64::NAN])), [("1", 1), ("2", 2), ("missing", 1)]);
        let numbers: Vec<f64> = (0..100).map(f64::from).collect();
        let found = of_numbers(&numbers);
        assert_eq!(sizes(&found)[0], ("0 to below 20", 20));
        assert_eq!(sizes(&found)[4], ("80 and more", 20));
    }
}
