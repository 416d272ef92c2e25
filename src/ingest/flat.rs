//! Flat columns → pages: integers and times as deltas, texts and floats by a dictionary where values repeat, texts that
//! do not as lengths and bytes, other floats as they are.

use std::ops::Range;

use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::errors::Result;
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnDescPtr;

use super::chunk::{Chunk, Dictionary, PageFacts, write_chunk};
use super::columns::Values;
use super::encode::{MAX_BOUND_BYTES, MAX_DICTIONARY_BYTES, Order};
use super::facts::Facts;
use super::interner::Interner;
use super::packing::{bits_of, push_bits, push_deltas, push_hybrid, push_levels};
use super::values::MISSING;
use crate::domain::column::MISSING_CODE;
use crate::sketch::Bound;

/// Texts that bound a column are named in the footer up to this length.
const MAX_FOOTER_BOUND_BYTES: usize = 64;

/// The pages of a column that is neither list nor dictionary.
pub(super) fn write_flat(
    values: &Values,
    facts: &Facts,
    leaf: ColumnDescPtr,
    order: Order<'_>,
    zstd: &mut zstd::bulk::Compressor<'_>,
) -> Result<(Bytes, ColumnCloseResult)> {
    let repeats = facts.distinct.is_some_and(|distinct| distinct * 4 <= order.rows.max(64));
    let mut present = Present { optional: facts.nulls > 0, levels: Vec::new() };
    let write = |encoding, dictionary, page: &mut dyn FnMut(Range<usize>, &mut Vec<u8>) -> PageFacts| {
        let statistics = statistics_of(values, facts);
        write_chunk(Chunk { column: leaf, rows: order.rows, encoding, dictionary, statistics, page }, zstd)
    };
    match values {
        Values::Boolean(values) => {
            let mut bits = Vec::new();
            write(Encoding::PLAIN, None, &mut |rows, page| {
                present.gather(order, rows, page, &mut bits, |row| Some(values[row]).filter(|value| *value != 2));
                push_bits(page, &bits);
                present.facts(bits.iter().min().zip(bits.iter().max()), |bound| vec![*bound])
            })
        }
        Values::Integer(values) | Values::Timestamp(values) => {
            let mut integers = Vec::new();
            write(Encoding::DELTA_BINARY_PACKED, None, &mut |rows, page| {
                present.gather(order, rows, page, &mut integers, |row| Some(values[row]).filter(|v| *v != MISSING));
                push_deltas(page, &integers);
                present.facts(integers.iter().min().zip(integers.iter().max()), |bound| bound.to_le_bytes().to_vec())
            })
        }
        Values::Float(values) if repeats => {
            // Their bits are texts of eight bytes.
            let mut known = Interner::default();
            let codes = (0..order.rows).map(|at| match values[order.row(at)] {
                value if value.is_nan() => MISSING_CODE,
                value => known.intern(&value.to_le_bytes()),
            });
            let codes: Vec<u32> = codes.collect();
            let dictionary = Dictionary { bytes: known.all_bytes().to_vec(), values: known.len() };
            let width = index_bits(known.len());
            let mut indices = Vec::new();
            write(Encoding::RLE_DICTIONARY, Some(dictionary), &mut |rows, page| {
                let unordered = Order { rows: order.rows, order: None };
                let floats = rows.clone().map(|at| values[order.row(at)]).filter(|value| !value.is_nan());
                let bounds = float_bounds(floats);
                present
                    .gather(unordered, rows, page, &mut indices, |at| Some(codes[at]).filter(|c| *c != MISSING_CODE));
                page.push(width as u8);
                push_hybrid(page, &indices, width);
                present.facts(bounds, |bound| bound.to_le_bytes().to_vec())
            })
        }
        Values::Float(values) => {
            let mut floats: Vec<f64> = Vec::new();
            write(Encoding::PLAIN, None, &mut |rows, page| {
                present.gather(order, rows, page, &mut floats, |row| Some(values[row]).filter(|value| !value.is_nan()));
                page.reserve(floats.len() * 8);
                floats.iter().for_each(|value| page.extend_from_slice(&value.to_le_bytes()));
                present.facts(float_bounds(floats.iter().copied()), |bound| bound.to_le_bytes().to_vec())
            })
        }
        Values::Text { codes, texts } => {
            let sorter = TextSorter::new(texts);
            let mut chosen: Vec<u32> = Vec::new();
            let code_at = |row: usize| Some(codes[row]).filter(|code| *code != MISSING_CODE);
            if repeats && texts.all_bytes().len() + texts.len() * 4 <= MAX_DICTIONARY_BYTES {
                let (dictionary, index_of) = dictionary_of(codes, texts, order);
                let width = index_bits(dictionary.values);
                let mut indices: Vec<u32> = Vec::new();
                return write(Encoding::RLE_DICTIONARY, Some(dictionary), &mut |rows, page| {
                    present.gather(order, rows, page, &mut chosen, code_at);
                    indices.clear();
                    indices.extend(chosen.iter().map(|code| index_of[*code as usize]));
                    page.push(width as u8);
                    push_hybrid(page, &indices, width);
                    sorter.facts(&present, &chosen)
                });
            }
            let mut lengths: Vec<i64> = Vec::new();
            write(Encoding::DELTA_LENGTH_BYTE_ARRAY, None, &mut |rows, page| {
                present.gather(order, rows, page, &mut chosen, code_at);
                lengths.clear();
                lengths.extend(chosen.iter().map(|code| texts.bytes(*code).len() as i64));
                push_deltas(page, &lengths);
                chosen.iter().for_each(|code| page.extend_from_slice(texts.bytes(*code)));
                sorter.facts(&present, &chosen)
            })
        }
        Values::List(_) | Values::Dict(_) => {
            Err(parquet::errors::ParquetError::General("a list is not a flat column".to_owned()))
        }
    }
}

/// Bits of an index into a dictionary.
fn index_bits(values: usize) -> u32 {
    bits_of(values.saturating_sub(1) as u64).max(1)
}

/// Which values of a page are there.
struct Present {
    optional: bool,
    levels: Vec<u32>,
}

impl Present {
    /// Collects a page's values and begins the page: with its levels where some of the column's values are missing.
    #[inline]
    fn gather<T>(
        &mut self,
        order: Order<'_>,
        rows: Range<usize>,
        page: &mut Vec<u8>,
        values: &mut Vec<T>,
        value: impl Fn(usize) -> Option<T>,
    ) {
        values.clear();
        self.levels.clear();
        match order.order {
            None => self.extend(rows, values, value),
            Some(order) => self.extend(order[rows].iter().map(|row| *row as usize), values, value),
        }
        if self.optional {
            push_levels(page, &self.levels);
        }
    }

    #[inline]
    fn extend<T>(
        &mut self,
        rows: impl Iterator<Item = usize>,
        values: &mut Vec<T>,
        value: impl Fn(usize) -> Option<T>,
    ) {
        if self.optional {
            for row in rows {
                let value = value(row);
                self.levels.push(u32::from(value.is_some()));
                values.extend(value);
            }
        } else {
            values.extend(rows.filter_map(value));
        }
    }

    fn facts<T>(&self, bounds: Option<(T, T)>, bytes: impl Fn(T) -> Vec<u8>) -> PageFacts {
        let nulls = self.levels.iter().filter(|level| **level == 0).count();
        PageFacts { nulls, bounds: bounds.map(|(min, max)| (bytes(min), bytes(max))) }
    }
}

/// Least and largest; zeros of either sign lie between both.
fn float_bounds(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (min, max) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), value| {
        (if value < min { value } else { min }, if value > max { value } else { max })
    });
    let signed = |bound: f64, zero: f64| if bound == 0.0 { zero } else { bound };
    (min <= max).then(|| (signed(min, -0.0), signed(max, 0.0)))
}

/// The texts that occur, in the order of their first rows, and each code's place among them.
fn dictionary_of(codes: &[u32], texts: &Interner, order: Order<'_>) -> (Dictionary, Vec<u32>) {
    let mut index_of = vec![MISSING_CODE; texts.len()];
    let mut dictionary = Dictionary { bytes: Vec::new(), values: 0 };
    for at in 0..order.rows {
        let code = codes[order.row(at)];
        if code != MISSING_CODE && index_of[code as usize] == MISSING_CODE {
            index_of[code as usize] = dictionary.values as u32;
            dictionary.values += 1;
            let text = texts.bytes(code);
            dictionary.bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
            dictionary.bytes.extend_from_slice(text);
        }
    }
    (dictionary, index_of)
}

/// Compares texts, most of them by their first eight bytes.
struct TextSorter<'a> {
    texts: &'a Interner,
    starts: Vec<u64>,
}

impl<'a> TextSorter<'a> {
    fn new(texts: &'a Interner) -> Self {
        let start = |code: usize| {
            let text = &texts.all_bytes()[texts.range(code)];
            let mut start = [0; 8];
            let length = text.len().min(8);
            start[..length].copy_from_slice(&text[..length]);
            u64::from_be_bytes(start)
        };
        Self { texts, starts: (0..texts.len()).map(start).collect() }
    }

    #[inline]
    fn is_less(&self, a: u32, b: u32) -> bool {
        let (first, second) = (self.starts[a as usize], self.starts[b as usize]);
        first < second || (first == second && a != b && self.texts.bytes(a) < self.texts.bytes(b))
    }

    fn facts(&self, present: &Present, codes: &[u32]) -> PageFacts {
        let bounds = codes.first().map(|first| {
            codes.iter().fold((*first, *first), |(min, max), code| {
                if self.is_less(*code, min) {
                    (*code, max)
                } else if self.is_less(max, *code) {
                    (min, *code)
                } else {
                    (min, max)
                }
            })
        });
        let mut facts = present.facts(bounds, |code| self.texts.bytes(code).to_vec());
        if let Some((min, max)) = &mut facts.bounds {
            shorten_lower(min);
            shorten_upper(max);
        }
        facts
    }
}

/// Cuts a lower bound between two characters.
fn shorten_lower(bound: &mut Vec<u8>) {
    if bound.len() > MAX_BOUND_BYTES {
        let is_start = |at: &usize| bound[*at] & 0xc0 != 0x80;
        bound.truncate((0..=MAX_BOUND_BYTES).rev().find(is_start).unwrap_or(0));
    }
}

/// Cuts an upper bound, so that it still is one; a bound for which there is no shorter one stays whole.
fn shorten_upper(bound: &mut Vec<u8>) {
    if bound.len() <= MAX_BOUND_BYTES {
        return;
    }
    // The next larger of the starts that end in a byte that can grow.
    if let Some(last) = bound[..MAX_BOUND_BYTES].iter().rposition(|byte| *byte < 0x7f) {
        bound.truncate(last + 1);
        bound[last] += 1;
    }
}

fn statistics_of(values: &Values, facts: &Facts) -> Statistics {
    let nulls = Some(facts.nulls as u64);
    let integer = |bound: &Option<Bound>| match bound {
        Some(Bound::Integer(value) | Bound::Time(value)) => Some(*value),
        _ => None,
    };
    let boolean = |bound: &Option<Bound>| match bound {
        Some(Bound::Boolean(value)) => Some(*value),
        _ => None,
    };
    let float = |bound: &Option<Bound>, zero: f64| match bound {
        Some(Bound::Float(value)) => Some(if *value == 0.0 { zero } else { *value }),
        _ => None,
    };
    let text = |bound: &Option<Bound>| match bound {
        Some(Bound::Text(text)) if text.len() <= MAX_FOOTER_BOUND_BYTES => Some(ByteArray::from(text.as_str())),
        _ => None,
    };
    let (min, max) = (&facts.min, &facts.max);
    match values {
        Values::Boolean(_) => Statistics::boolean(boolean(min), boolean(max), None, nulls, false),
        Values::Float(_) => Statistics::double(float(min, -0.0), float(max, 0.0), None, nulls, false),
        Values::Text { .. } => Statistics::byte_array(text(min), text(max), None, nulls, false),
        _ => Statistics::int64(integer(min), integer(max), None, nulls, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_bounds_still_bound() {
        for text in ["a".repeat(32), "a".repeat(40), "é".repeat(20), format!("a{}", "é".repeat(20)), "~é".repeat(20)]
        {
            let text = text.into_bytes();
            let (mut lower, mut upper) = (text.clone(), text.clone());
            shorten_lower(&mut lower);
            shorten_upper(&mut upper);
            assert!(lower <= text && text <= upper, "{lower:?} {upper:?}");
            assert!(lower.len() <= MAX_BOUND_BYTES);
            assert!(std::str::from_utf8(&lower).is_ok() && std::str::from_utf8(&upper).is_ok());
        }
    }

    #[test]
    fn zeros_of_either_sign_are_within_bounds() {
        let (min, max) = float_bounds([0.0, 0.0].into_iter()).unwrap();
        assert!(min.is_sign_negative() && max.is_sign_positive());
        assert_eq!(float_bounds([2.5, -1.0].into_iter()), Some((-1.0, 2.5)));
        assert_eq!(float_bounds(std::iter::empty()), None);
    }
}
