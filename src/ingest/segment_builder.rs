//! Rows → a segment: typed columns up to a bound, sorted by time, examined, indexed, encoded.

use std::time::Instant;

use super::bloom;
use super::columns::{ColumnBuilder, Values};
use super::encode::{EncodeColumn, Order, encode};
use super::facts::{Facts, examine};
use super::postings::{self, Postings};
use super::value_rows::ValueRows;
use super::{EncodedSegment, IngestError, IngestOptions, Result, StageTimes};
use crate::domain::Timestamp;
use crate::domain::schema::{Field, FieldType, Role, Schema};
use crate::domain::segment::{ColumnDirectory, SegmentDirectory};
use crate::sketch::{Bound, CardinalityState, FieldCounter};

/// Rows between two looks at the memory used.
const MEMORY_CHECK_ROWS: usize = 1_024;
/// A bloom filter in the directory serves up to so many values.
const MAX_BLOOM_VALUES: usize = 8_192;
/// Bounds of texts are kept to so many characters in the directory.
const MAX_BOUND_CHARS: usize = 64;

/// Builds segments one after the other.
pub(super) struct SegmentBuilder {
    fields: Vec<Field>,
    pub columns: Vec<ColumnBuilder>,
    rows: usize,
    time: Option<usize>,
    options: IngestOptions,
    /// Time spent so far in counting, indexing and encoding.
    pub times: StageTimes,
}

impl SegmentBuilder {
    pub fn new(schema: &Schema, options: &IngestOptions) -> Self {
        let mut builder = Self {
            fields: schema.fields.clone(),
            columns: Vec::new(),
            rows: 0,
            time: time_field(schema),
            options: options.clone(),
            times: StageTimes::default(),
        };
        builder.columns = builder.new_columns();
        builder
    }

    fn new_columns(&self) -> Vec<ColumnBuilder> {
        self.fields.iter().map(|field| ColumnBuilder::new(field.field_type, &self.options.limits)).collect()
    }

    /// How many rows may be added before the next look at the segment's bounds.
    pub fn room(&self) -> usize {
        let to_check = MEMORY_CHECK_ROWS - self.rows % MEMORY_CHECK_ROWS;
        to_check.min(self.options.segment_rows.saturating_sub(self.rows)).max(1)
    }

    /// Every column has got the values of at most [`Self::room`] rows more; true when the segment should be finished.
    pub fn end_rows(&mut self, rows: usize) -> bool {
        self.rows += rows;
        self.rows >= self.options.segment_rows
            || (self.rows.is_multiple_of(MEMORY_CHECK_ROWS)
                && self.columns.iter().map(ColumnBuilder::memory_bytes).sum::<usize>()
                    >= self.options.segment_memory_bytes)
    }

    /// Takes back values of rows that did not end.
    pub fn undo_rows(&mut self) {
        self.columns.iter_mut().for_each(|column| column.truncate(self.rows));
    }

    /// Encodes what was collected and starts anew; `None` without rows.
    pub fn finish(&mut self, counts: &mut CardinalityState) -> Result<Option<EncodedSegment>> {
        let rows = std::mem::take(&mut self.rows);
        if rows == 0 {
            return Ok(None);
        }
        let started = Instant::now();
        let fresh = self.new_columns();
        let columns: Vec<Values> = std::mem::replace(&mut self.columns, fresh).into_iter().map(|c| c.values).collect();
        let order = self.time.and_then(|time| time_order(&columns[time]));
        let order = Order { rows, order: order.as_deref() };
        let mut facts = Vec::with_capacity(columns.len());
        for (field, values) in self.fields.iter().zip(&columns) {
            let counter =
                counts.fields.entry(field.name.clone()).or_insert_with(|| FieldCounter::new(field.field_type));
            facts.push(examine(values, rows, counter));
        }
        counts.records += rows as u64;
        let counted = Instant::now();
        let mut directory = SegmentDirectory {
            rows: rows as u64,
            size_bytes: 0,
            from: None,
            to: None,
            rows_without_time: rows as u64,
            indexed: self.options.indexes,
            column_index_start: 0,
            offset_index_start: 0,
            footer_start: 0,
            columns: Vec::with_capacity(columns.len()),
        };
        let mut blobs = Vec::new();
        let mut indexed: Vec<(usize, Postings)> = Vec::new();
        for (at, (field, values)) in self.fields.iter().zip(&columns).enumerate() {
            let facts = &facts[at];
            let mut entry = column_directory(field, facts);
            if self.options.indexes && identifies(field, facts) {
                let rows = ValueRows::of(values, order);
                if rows.hashes().len() <= MAX_BLOOM_VALUES {
                    entry.bloom = Some(bloom::build(rows.hashes()));
                }
                let mut postings = postings::build(rows.len(), rows.iter());
                blobs.push(std::mem::take(&mut postings.bytes));
                indexed.push((at, postings));
            }
            directory.columns.push(entry);
        }
        if let Some(time) = self.time {
            directory.rows_without_time = facts[time].nulls as u64;
            directory.from = time_of(facts[time].min.as_ref());
            directory.to = time_of(facts[time].max.as_ref());
        }
        let indexed_at = Instant::now();
        let encode_columns = self.fields.iter().zip(columns).zip(&facts).map(|((field, values), facts)| EncodeColumn {
            name: &field.name,
            field_type: field.field_type,
            values,
            facts,
        });
        let encoded = encode(encode_columns.collect(), order, &blobs).map_err(IngestError::from)?;
        for (((at, mut postings), start), blob) in indexed.into_iter().zip(&encoded.blob_starts).zip(blobs) {
            postings.bytes = blob;
            directory.columns[at].postings = Some(postings.location(*start));
        }
        self.times.count += counted - started;
        self.times.index += indexed_at - counted;
        self.times.encode += indexed_at.elapsed();
        directory.size_bytes = encoded.bytes.len() as u64;
        directory.column_index_start = encoded.column_index_start;
        directory.offset_index_start = encoded.offset_index_start;
        directory.footer_start = encoded.footer_start;
        Ok(Some(EncodedSegment { directory, bytes: encoded.bytes }))
    }
}

/// The position of the field by which segments are sorted.
pub(super) fn time_field(schema: &Schema) -> Option<usize> {
    schema.fields.iter().position(|f| f.role == Some(Role::Timestamp) && f.field_type == FieldType::Timestamp)
}

/// Rows by time, missing ones first; `None` when they are in order already. Equal times keep their order.
#[expect(clippy::cast_possible_truncation, reason = "a segment has far fewer rows than 2^32")]
fn time_order(values: &Values) -> Option<Vec<u32>> {
    let Values::Timestamp(times) = values else { return None };
    if times.is_sorted() {
        return None;
    }
    let mut order: Vec<u32> = (0..times.len() as u32).collect();
    order.sort_unstable_by_key(|row| (times[*row as usize], *row));
    Some(order)
}

fn identifies(field: &Field, facts: &Facts) -> bool {
    let by_type = matches!(field.field_type, FieldType::String | FieldType::Integer);
    by_type && (facts.identifying || matches!(field.role, Some(Role::AgentId | Role::CustomerId)))
}

fn column_directory(field: &Field, facts: &Facts) -> ColumnDirectory {
    let shorten = |bound: &Option<Bound>, upper: bool| match bound {
        Some(Bound::Text(text)) if text.chars().count() > MAX_BOUND_CHARS => {
            // A prefix still is a lower bound, and no upper one.
            (!upper).then(|| serde_json::Value::from(text.chars().take(MAX_BOUND_CHARS).collect::<String>()))
        }
        Some(Bound::Time(micros)) => Some(serde_json::Value::from(super::columns::rfc3339(*micros))),
        Some(bound) => Some(bound.to_json()),
        None => None,
    };
    ColumnDirectory {
        name: field.name.clone(),
        field_type: field.field_type,
        nulls: facts.nulls as u64,
        min: shorten(&facts.min, false),
        max: shorten(&facts.max, true),
        bloom: None,
        postings: None,
    }
}

fn time_of(bound: Option<&Bound>) -> Option<Timestamp> {
    match bound {
        Some(Bound::Time(micros)) => Timestamp::from_timestamp_micros(*micros),
        _ => None,
    }
}
