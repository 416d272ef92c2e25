//! Encoding of columns: which inputs a field gives is learned here; what they mean is in `score::encoding`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rayon::prelude::*;

use super::error::TrainError;
use super::spec::{TrainingSpec, TrainingTable, field_type};
use super::target::{Target, column};
use crate::domain::column::{Column, MISSING_CODE};
use crate::domain::model::{Direction, ModelType};
use crate::domain::schema::FieldType;
use crate::score::encoding::{Derive, EncodedField, Encoding, Input, Levels, Scale, Side, TreeInput, derived_time};

/// Most levels of one input; rarer ones are "other".
const MAX_LEVELS: usize = 65_000;
/// Whole numbers with at most so many distinct values are levels as they are.
const FEW: usize = 32;
/// Numbers beyond this are taken for missing: a mark that somebody has put in their place.
const LARGEST: f64 = f32::MAX as f64;
/// Numbers that are so many times as far from 0 as from each other are kept as differences from their mean.
const FAR: f64 = 256.0;
/// Ranges into which the regression cuts a number.
const RANGES: usize = 20;
/// Most keys of a list or dictionary that become inputs, most frequent first.
pub(super) const MAX_KEYS: usize = 100;

/// The values of one input, one a row.
#[derive(Debug, Clone, Default)]
pub(super) struct InputColumn {
    /// NaN is missing; empty when the input has levels only.
    pub numbers: Vec<f32>,
    /// Empty when the input has no levels.
    pub levels: Vec<u32>,
}

/// A field's column with its meaning.
struct Source<'a> {
    column: &'a Column,
    field: EncodedField,
}

/// A number whose values move on with time (a month, a running count, the age of the interaction): what was learned of
/// its size says nothing about tomorrow's. Only its single values are used, and an unseen one is "other".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Drifting {
    pub field: u32,
    pub derive: Derive,
}

/// Learns the encoding from the rows at `positions` of the target.
pub(super) fn fit(
    table: &TrainingTable,
    target: &Target,
    positions: &[u32],
    spec: &TrainingSpec,
    drifting: &[Drifting],
    warnings: &mut Vec<String>,
) -> Result<Encoding, TrainError> {
    let sources = sources(table)?;
    check_monotone(&sources, &spec.settings.monotone)?;
    let reference_time = positions.iter().filter_map(|at| target.times.get(*at as usize)).max().copied();
    let found: Vec<Vec<Input>> = sources
        .par_iter()
        .enumerate()
        .map(|(index, source)| field_inputs(source, index as u32, target, positions, reference_time))
        .collect();
    let mut encoding = Encoding { reference_time, ..Encoding::default() };
    for (source, inputs) in sources.iter().zip(found) {
        if inputs.is_empty() {
            warnings.push(format!(
                "feature {:?} has at most one value in the training data and is not used",
                source.field.name
            ));
        }
        if let Some(count) = too_large(source.column, target, positions) {
            warnings.push(format!(
                "{count} values of {:?} are beyond ±{LARGEST:.1e} and are taken for missing: marks for a missing value are better left empty",
                source.field.name
            ));
        }
        let monotone = spec.settings.monotone.contains_key(&source.field.name);
        let kept = |input| if monotone { number_alone(input) } else { steady(input, drifting) };
        encoding.inputs.extend(inputs.into_iter().filter_map(kept));
    }
    encoding.fields = sources.into_iter().map(|source| source.field).collect();
    for (index, input) in encoding.inputs.iter().enumerate() {
        let index = index as u32;
        if input.scale.is_some() {
            encoding.tree_inputs.push(TreeInput::Number { input: index });
        } else if !drifting.iter().any(|key| key.field == input.field && key.derive == input.derive) {
            encoding.tree_inputs.push(TreeInput::Target { input: index });
        }
    }
    if spec.model_type == ModelType::Hybrid {
        encoding.tree_inputs.push(TreeInput::Agent);
    }
    Ok(encoding)
}

/// How many numbers of these rows are taken for missing though they are none; none when there are none.
fn too_large(column: &Column, target: &Target, positions: &[u32]) -> Option<usize> {
    let Column::Float(values) = column else { return None };
    let row = |at: &u32| values[target.rows[*at as usize] as usize];
    Some(positions.iter().filter(|at| row(at).abs() > LARGEST).count()).filter(|count| *count > 0)
}

/// Only numbers have an order.
fn check_monotone(sources: &[Source<'_>], monotone: &BTreeMap<String, Direction>) -> Result<(), TrainError> {
    for name in monotone.keys() {
        let text = match sources.iter().find(|source| source.field.name == *name).map(|source| source.column) {
            Some(Column::Boolean(_) | Column::Integer(_) | Column::Float(_)) => continue,
            Some(_) => format!("settings.monotone names {name:?}, which is neither a number nor Boolean: leave it out"),
            None => format!("settings.monotone names {name:?}, which is not among the model's features: leave it out"),
        };
        return Err(TrainError::unusable("bad_settings", text));
    }
    Ok(())
}

/// What is left of an input by which the prediction is to be monotone: one slope, and splits that all go one way.
fn number_alone(input: Input) -> Option<Input> {
    input.scale.is_some().then_some(Input { levels: None, ..input })
}

/// What is left of an input when its number drifts.
fn steady(input: Input, drifting: &[Drifting]) -> Option<Input> {
    if !drifting.iter().any(|key| key.field == input.field && key.derive == input.derive) {
        return Some(input);
    }
    match input.levels {
        Some(Levels::Integers(_) | Levels::Texts(_)) => Some(Input { scale: None, ..input }),
        _ => None,
    }
}

fn sources(table: &TrainingTable) -> Result<Vec<Source<'_>>, TrainError> {
    table
        .features
        .iter()
        .map(|feature| {
            let column = column(table, &feature.column, "a feature")?;
            if feature.column == table.metric {
                return Err(TrainError::unusable(
                    "unknown_field",
                    format!("the metric {:?} cannot be a feature too", table.metric),
                ));
            }
            let is_request_time = feature.side == Side::Context && table.timestamp.as_ref() == Some(&feature.column);
            let field = EncodedField {
                name: feature.name.clone(),
                side: feature.side,
                field_type: field_type(column),
                is_request_time,
            };
            Ok(Source { column, field })
        })
        .collect()
}

fn field_inputs(
    source: &Source<'_>,
    field: u32,
    target: &Target,
    positions: &[u32],
    reference: Option<i64>,
) -> Vec<Input> {
    let rows = || positions.iter().map(|at| target.rows[*at as usize] as usize);
    let numeric = |derive: Derive| {
        let values = numbers(source, &derive, target, positions, reference);
        number_inputs(field, derive, &values, source.field.field_type)
    };
    match source.column {
        Column::Boolean(_) | Column::Integer(_) | Column::Float(_) => numeric(Derive::Value),
        Column::Timestamp(_) => {
            [Derive::Hour, Derive::Weekday, Derive::AgeDays].into_iter().flat_map(numeric).collect()
        }
        Column::Text { codes, dictionary } => {
            let mut counts = vec![0u32; dictionary.len()];
            for row in rows().filter(|row| codes[*row] != MISSING_CODE) {
                counts[codes[row] as usize] += 1;
            }
            let least = if positions.len() >= 1_000 { 5 } else { 2 };
            let any_missing = rows().any(|row| codes[row] == MISSING_CODE);
            let mut by_text: BTreeMap<&Arc<str>, u32> = BTreeMap::new();
            for (text, count) in dictionary.iter().zip(&counts).filter(|(_, count)| **count > 0) {
                *by_text.entry(text).or_default() += count;
            }
            if by_text.len() + usize::from(any_missing) < 2 {
                return Vec::new();
            }
            let frequent =
                most_frequent(by_text.into_iter().map(|(text, count)| (Arc::clone(text), count)), least, MAX_LEVELS);
            vec![Input {
                field,
                derive: Derive::Value,
                offset: 0.0,
                scale: None,
                levels: Some(Levels::Texts(frequent)),
            }]
        }
        Column::List(values) => {
            let mut counts: HashMap<&Arc<str>, u32> = HashMap::new();
            for item in rows().filter_map(|row| values[row].as_ref()).flatten() {
                *counts.entry(item).or_default() += 1;
            }
            let keys = most_frequent(counts.into_iter().map(|(key, count)| (Arc::clone(key), count)), 2, MAX_KEYS);
            keys.into_iter().flat_map(|key| numeric(Derive::ListItem(key.to_string()))).collect()
        }
        Column::Dict(values) => {
            let mut counts: HashMap<&Arc<str>, u32> = HashMap::new();
            for (key, _) in rows().filter_map(|row| values[row].as_ref()).flatten() {
                *counts.entry(key).or_default() += 1;
            }
            let keys = most_frequent(counts.into_iter().map(|(key, count)| (Arc::clone(key), count)), 2, MAX_KEYS);
            keys.into_iter().flat_map(|key| numeric(Derive::DictKey(key.to_string()))).collect()
        }
    }
}

/// By falling count, then text; at least `least` each and at most `limit`.
fn most_frequent(counts: impl Iterator<Item = (Arc<str>, u32)>, least: u32, limit: usize) -> Vec<Arc<str>> {
    let mut counts: Vec<(Arc<str>, u32)> = counts.filter(|(_, count)| *count >= least).collect();
    counts.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counts.truncate(limit);
    counts.into_iter().map(|(text, _)| text).collect()
}

/// The inputs of one number: itself with ranges, and its single values when they repeat often enough.
fn number_inputs(field: u32, derive: Derive, values: &[f64], field_type: FieldType) -> Vec<Input> {
    let mut present: Vec<f64> = values.iter().copied().filter(|v| v.abs() <= LARGEST).collect();
    present.sort_unstable_by(f64::total_cmp);
    let any_missing = present.len() < values.len();
    let (Some(first), Some(last)) = (present.first(), present.last()) else { return Vec::new() };
    if first == last && !any_missing {
        return Vec::new();
    }
    let mean = present.iter().sum::<f64>() / present.len() as f64;
    let variance = present.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / present.len() as f64;
    let deviation = if variance > 0.0 { variance.sqrt() } else { 1.0 };
    let offset = if mean.abs() > FAR * deviation { mean.round() } else { 0.0 };
    let scale = Some(Scale { mean: (mean - offset) as f32, deviation: (deviation as f32).max(f32::MIN_POSITIVE) });
    let mut distinct = present.clone();
    distinct.dedup();
    let whole = field_type != FieldType::Float
        && derive != Derive::AgeDays
        && distinct.iter().all(|v| v.fract() == 0.0 && v.abs() < 9e15);
    let integers = || Levels::Integers(distinct.iter().map(|v| *v as i64).collect());
    if whole && distinct.len() <= FEW {
        return vec![Input { field, derive, offset, scale, levels: Some(integers()) }];
    }
    let mut cuts: Vec<f32> = (1..RANGES).map(|k| (present[k * present.len() / RANGES] - offset) as f32).collect();
    cuts.dedup();
    let mut inputs = vec![Input { field, derive: derive.clone(), offset, scale, levels: Some(Levels::Cuts(cuts)) }];
    // Numbers that name something (a line, a branch, a customer) repeat; their single values matter.
    if whole && derive == Derive::Value && distinct.len() <= MAX_LEVELS && present.len() >= 4 * distinct.len() {
        inputs.push(Input { field, derive, offset: 0.0, scale: None, levels: Some(integers()) });
    }
    inputs
}

/// One number a row of a field that is no text; NaN is missing.
fn numbers(
    source: &Source<'_>,
    derive: &Derive,
    target: &Target,
    positions: &[u32],
    reference: Option<i64>,
) -> Vec<f64> {
    let value = |position: u32| -> f64 {
        let row = target.rows[position as usize] as usize;
        match (source.column, derive) {
            (Column::Boolean(values), _) => values[row].map_or(f64::NAN, |v| f64::from(u8::from(v))),
            (Column::Integer(values), _) => values[row].map_or(f64::NAN, |v| v as f64),
            (Column::Float(values), _) => values[row],
            (Column::Timestamp(values), _) => values[row].map_or(f64::NAN, |at| {
                let own = source.field.is_request_time;
                let until = match (own, target.times.get(position as usize)) {
                    (false, Some(interaction)) if source.field.side != Side::Agent => *interaction,
                    _ => reference.unwrap_or(at),
                };
                f64::from(derived_time(derive, at, until))
            }),
            (Column::List(values), Derive::ListItem(item)) => values[row]
                .as_ref()
                .map_or(f64::NAN, |items| f64::from(u8::from(items.iter().any(|v| v.as_ref() == item.as_str())))),
            (Column::Dict(values), Derive::DictKey(key)) => {
                let pairs = values[row].as_deref().unwrap_or(&[]);
                pairs.iter().find(|(k, _)| k.as_ref() == key.as_str()).map_or(f64::NAN, |(_, v)| *v)
            }
            _ => f64::NAN,
        }
    };
    positions.iter().map(|position| value(*position)).collect()
}

/// Encodes rows with an encoding that was fitted before, perhaps to others.
pub(super) fn encode(
    table: &TrainingTable,
    target: &Target,
    positions: &[u32],
    encoding: &Encoding,
) -> Result<Vec<InputColumn>, TrainError> {
    let sources = sources(table)?;
    let encode_input = |input: &Input| -> InputColumn {
        let source = &sources[input.field as usize];
        if let (Column::Text { codes, dictionary }, Some(levels)) = (source.column, &input.levels) {
            let Levels::Texts(texts) = levels else { return InputColumn::default() };
            let index: HashMap<&str, u32> =
                texts.iter().enumerate().map(|(at, text)| (text.as_ref(), at as u32)).collect();
            let by_code: Vec<u32> =
                dictionary.iter().map(|text| index.get(text.as_ref()).copied().unwrap_or(levels.other())).collect();
            let level = |at: &u32| match codes[target.rows[*at as usize] as usize] {
                MISSING_CODE => levels.missing(),
                code => by_code[code as usize],
            };
            return InputColumn { numbers: Vec::new(), levels: positions.iter().map(level).collect() };
        }
        let values = numbers(source, &input.derive, target, positions, encoding.reference_time);
        let levels = match &input.levels {
            Some(_) => values.iter().map(|value| input.level(*value)).collect(),
            None => Vec::new(),
        };
        let numbers = match input.scale {
            Some(_) => values.iter().map(|value| input.number(*value)).collect(),
            None => Vec::new(),
        };
        InputColumn { numbers, levels }
    };
    Ok(encoding.inputs.par_iter().map(encode_input).collect())
}
