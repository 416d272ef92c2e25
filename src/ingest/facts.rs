//! What one pass over a column finds out: bounds, nulls, distinct values. It feeds the cardinalities and decides how
//! the column is stored.

use std::collections::HashMap;

use super::columns::{Nested, Values};
use super::interner::Interner;
use super::values::MISSING;
use crate::domain::column::MISSING_CODE;
use crate::sketch::{Bound, FieldCounter, HashSet64, MAX_FEW, hash_float, hash_integer};

/// Above so many distinct numbers a column counts as having many.
const MANY: usize = 8_192;
/// A range of integers up to this size is counted by an array.
const DENSE_RANGE: i64 = 1 << 16;

/// What is known of a segment's column.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub nulls: usize,
    pub min: Option<Bound>,
    pub max: Option<Bound>,
    /// Distinct values; `None`: more than [`MANY`].
    pub distinct: Option<usize>,
    /// So many different values that a value points at few rows.
    pub identifying: bool,
}

/// Looks at a whole column and adds it to the field's counts.
pub(super) fn examine(values: &Values, rows: usize, counter: &mut FieldCounter) -> Facts {
    let facts = match values {
        Values::Boolean(values) => booleans(values, counter),
        Values::Integer(values) => integers(values, counter, Bound::Integer),
        Values::Timestamp(values) => Facts { identifying: false, ..integers(values, counter, Bound::Time) },
        Values::Float(values) => floats(values, counter),
        Values::Text { codes, texts } => texts_of(codes, texts, counter),
        Values::List(nested) | Values::Dict(nested) => nested_of(nested, counter),
    };
    counter.rows += rows as u64;
    counter.nulls += facts.nulls as u64;
    if let Some(bound) = &facts.min {
        counter.widen(bound);
    }
    if let Some(bound) = &facts.max {
        counter.widen(bound);
    }
    facts
}

fn booleans(values: &[u8], counter: &mut FieldCounter) -> Facts {
    let mut counts = [0u64; 3];
    values.iter().for_each(|value| counts[usize::from(*value).min(2)] += 1);
    for (value, count) in [false, true].into_iter().zip(counts) {
        if count > 0 {
            counter.add(Bound::Boolean(value), count);
        }
    }
    let bound = |first: usize, second: usize| {
        [first, second].into_iter().find(|i| counts[*i] > 0).map(|i| Bound::Boolean(i == 1))
    };
    Facts {
        nulls: counts[2] as usize,
        min: bound(0, 1),
        max: bound(1, 0),
        distinct: Some(counts[..2].iter().filter(|count| **count > 0).count()),
        identifying: false,
    }
}

fn integers(values: &[i64], counter: &mut FieldCounter, bound: fn(i64) -> Bound) -> Facts {
    let (mut min, mut max, mut nulls) = (i64::MAX, MISSING, 0usize);
    for value in values {
        if *value == MISSING {
            nulls += 1;
        } else {
            min = min.min(*value);
            max = max.max(*value);
        }
    }
    if max == MISSING {
        return Facts { nulls, distinct: Some(0), ..Facts::default() };
    }
    let mut facts = Facts { nulls, min: Some(bound(min)), max: Some(bound(max)), ..Facts::default() };
    let range = max.checked_sub(min).filter(|range| *range < DENSE_RANGE);
    if let Some(range) = range {
        let mut counts = vec![0u32; usize::try_from(range).unwrap_or(0) + 1];
        for value in values.iter().filter(|value| **value != MISSING) {
            counts[(value - min) as usize] += 1;
        }
        let distinct = counts.iter().filter(|count| **count > 0).count();
        if distinct > MAX_FEW {
            counter.stop_counting_values();
        }
        for (value, count) in (min..).zip(counts).filter(|(_, count)| *count > 0) {
            counter.distinct.insert(hash_integer(value));
            if counter.counts_values() {
                counter.add_few(bound(value), u64::from(count));
            }
        }
        facts.distinct = (distinct <= MANY).then_some(distinct);
        facts.identifying = distinct > MANY && distinct * 2 > values.len() - nulls;
    } else {
        let present = values.iter().copied().filter(|value| *value != MISSING);
        let (distinct, identifying) = scattered(present, counter, hash_integer, bound);
        facts.distinct = distinct;
        facts.identifying = identifying;
    }
    facts
}

fn floats(values: &[f64], counter: &mut FieldCounter) -> Facts {
    let (mut min, mut max, mut nulls) = (f64::INFINITY, f64::NEG_INFINITY, 0usize);
    for value in values {
        nulls += usize::from(value.is_nan());
        // A comparison with NaN is false.
        if *value < min {
            min = *value;
        }
        if *value > max {
            max = *value;
        }
    }
    if nulls == values.len() {
        return Facts { nulls, distinct: Some(0), ..Facts::default() };
    }
    let present = values.iter().copied().filter(|value| !value.is_nan());
    let (distinct, _) = scattered(present, counter, hash_float, Bound::Float);
    Facts { nulls, min: Some(Bound::Float(min)), max: Some(Bound::Float(max)), distinct, identifying: false }
}

/// Counts numbers without an order that helps: first in a set of this segment's, so that repeated values cost
/// little, then (when they turn out to be many) straight into the field's.
fn scattered<T: Copy + PartialEq>(
    values: impl Iterator<Item = T>,
    counter: &mut FieldCounter,
    hash: fn(T) -> u64,
    bound: fn(T) -> Bound,
) -> (Option<usize>, bool) {
    let mut seen = HashSet64::default();
    let mut few: HashMap<u64, (T, u64)> = HashMap::new();
    let mut examined = 0usize;
    let mut identifying = false;
    let mut last = None;
    for value in values {
        let hashed = hash(value);
        if counter.counts_values() {
            few.entry(hashed).or_insert((value, 0)).1 += 1;
            if few.len() > MAX_FEW {
                counter.stop_counting_values();
            }
        }
        if seen.len() > MANY {
            if last != Some(hashed) {
                counter.distinct.insert(hashed);
                last = Some(hashed);
            }
            continue;
        }
        examined += 1;
        seen.insert(hashed);
        if seen.len() > MANY {
            identifying = examined < MANY * 2;
            seen.iter().for_each(|hash| counter.distinct.insert(hash));
        }
    }
    if seen.len() > MANY {
        return (None, identifying);
    }
    seen.iter().for_each(|hash| counter.distinct.insert(hash));
    if counter.counts_values() {
        few.into_values().for_each(|(value, count)| counter.add_few(bound(value), count));
    }
    (Some(seen.len()), false)
}

/// Counts by code, then each distinct text once.
fn count_texts(codes: &[u32], texts: &Interner, counter: &mut FieldCounter) -> (usize, Option<Bound>, Option<Bound>) {
    let mut counts = vec![0u32; texts.len()];
    for code in codes {
        if let Some(count) = counts.get_mut(*code as usize) {
            *count += 1;
        }
    }
    let distinct = counts.iter().filter(|count| **count > 0).count();
    if distinct > MAX_FEW {
        counter.stop_counting_values();
    }
    let (mut min, mut max): (Option<&[u8]>, Option<&[u8]>) = (None, None);
    for (code, count) in (0u32..).zip(counts).filter(|(_, count)| *count > 0) {
        counter.distinct.insert(texts.hash(code));
        let text = texts.bytes(code);
        if min.is_none_or(|min| text < min) {
            min = Some(text);
        }
        if max.is_none_or(|max| text > max) {
            max = Some(text);
        }
        if counter.counts_values() {
            counter.add_few(Bound::Text(texts.text(code).into_owned()), u64::from(count));
        }
    }
    let bound = |text: &[u8]| Bound::Text(String::from_utf8_lossy(text).into_owned());
    (distinct, min.map(bound), max.map(bound))
}

fn texts_of(codes: &[u32], texts: &Interner, counter: &mut FieldCounter) -> Facts {
    let (distinct, min, max) = count_texts(codes, texts, counter);
    let nulls = codes.iter().filter(|code| **code == MISSING_CODE).count();
    let present = codes.len() - nulls;
    Facts { nulls, min, max, distinct: Some(distinct), identifying: distinct > 256 && distinct * 100 > present }
}

fn nested_of(nested: &Nested, counter: &mut FieldCounter) -> Facts {
    let nulls = nested.missing.iter().filter(|missing| **missing).count();
    if nested.numbers.is_empty() {
        let (_, min, max) = count_texts(&nested.codes, &nested.texts, counter);
        min.iter().chain(&max).for_each(|bound| counter.widen(bound));
    } else {
        for (code, value) in nested.codes.iter().zip(&nested.numbers) {
            counter.add_entry(&nested.texts.text(*code), *value, 1);
        }
    }
    Facts { nulls, ..Facts::default() }
}
