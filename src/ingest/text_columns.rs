//! Columns of text files → typed values, one column of a block at a time: what a column's values have in common (their
//! type, mostly their length) is decided once, or by a branch that the processor foresees.

use super::columns::{ColumnBuilder, Values, boolean_of, float_of, integer_of, time_of};
use super::delimited::ColumnTexts;
use super::numerals::{short_float, short_integer};
use super::values::{MISSING, MissingValues, parse_clock, parse_date};
use crate::domain::column::MISSING_CODE;

impl ColumnBuilder {
    /// Adds a column's texts; false when one of them does not fit. Then an unknown number of them was added: take them
    /// away, and push one by one to find out which it is and why.
    #[must_use]
    pub fn push_texts(&mut self, texts: &ColumnTexts<'_>, missing: &MissingValues) -> bool {
        let buffer = texts.buffer;
        match &mut self.values {
            Values::Integer(values) => extend(values, texts, missing, MISSING, |start, end| {
                short_integer(buffer, start, end).or_else(|| integer_of(&buffer[start..end]))
            }),
            Values::Float(values) => extend(values, texts, missing, f64::NAN, |start, end| {
                short_float(buffer, start, end).or_else(|| float_of(&buffer[start..end]))
            }),
            Values::Text { codes, texts: known } => {
                extend(codes, texts, missing, MISSING_CODE, |start, end| Some(known.intern_at(buffer, start, end)))
            }
            Values::Boolean(values) => extend(values, texts, missing, 2, |start, end| match &buffer[start..end] {
                b"true" => Some(1),
                b"false" => Some(0),
                other => boolean_of(other).map(u8::from),
            }),
            Values::Timestamp(values) => {
                // The day is mostly that of the time before.
                let mut last: Option<([u8; 10], i64)> = None;
                extend(values, texts, missing, MISSING, |start, end| {
                    let text = &buffer[start..end];
                    let Some((date, clock)) = text.split_first_chunk() else { return time_of(text) };
                    let day = match last {
                        Some((known, day)) if known == *date => Some(day),
                        _ => parse_date(date),
                    };
                    match (day, parse_clock(clock)) {
                        (Some(day), Some(clock)) => {
                            last = Some((*date, day));
                            Some(day + clock)
                        }
                        _ => time_of(text),
                    }
                })
            }
            Values::List(_) | Values::Dict(_) => texts.spans().all(|span| {
                let text = &buffer[span.range()];
                if missing.is_missing(text) {
                    self.push_missing();
                    return true;
                }
                self.push_text(text).is_ok()
            }),
        }
    }
}

#[inline]
fn extend<T: Copy>(
    values: &mut Vec<T>,
    texts: &ColumnTexts<'_>,
    missing: &MissingValues,
    absent: T,
    mut parse: impl FnMut(usize, usize) -> Option<T>,
) -> bool {
    values.reserve(texts.len());
    for span in texts.spans() {
        let range = span.range();
        if missing.is_missing(&texts.buffer[range.clone()]) {
            values.push(absent);
            continue;
        }
        match parse(range.start, range.end) {
            Some(value) => values.push(value),
            None => return false,
        }
    }
    true
}
