//! Segments made from segments: a schema change, compaction, a deleted date range.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use super::columns::{cell_at, text_of};
use super::segment_builder::{SegmentBuilder, time_field};
use super::segment_reader::{Meter, OpenSegment, TableReader};
use super::{EncodedSegment, IngestError, IngestOptions, Result, SegmentSink, SegmentSource};
use crate::config::Limits;
use crate::domain::Timestamp;
use crate::domain::column::{Column, Table};
use crate::domain::schema::{Field, Schema};
use crate::domain::segment::Segment;
use crate::sketch::CardinalityState;

/// Rows decoded at a time of each segment.
const BATCH_ROWS: usize = 4_096;

/// One segment in, one out: no bounds but those that the segment was made with.
fn unbounded(options: &IngestOptions) -> IngestOptions {
    IngestOptions {
        segment_rows: usize::MAX,
        segment_memory_bytes: usize::MAX,
        limits: Limits { max_dict_keys: usize::MAX, ..options.limits.clone() },
        ..options.clone()
    }
}

fn open(source: &dyn SegmentSource, segment: &Segment, fields: &[Field]) -> Result<TableReader> {
    let meter = Meter::new(source);
    OpenSegment::open(&meter, segment, false)?.read(&fields.iter().collect::<Vec<_>>(), None, BATCH_ROWS)
}

/// Rewrites a segment by another schema: types are converted (a value that does not fit is an input error that names
/// it), new fields are missing, fields that the schema no longer has go.
pub fn convert_segment(
    source: &dyn SegmentSource,
    segment: &Segment,
    from: &Schema,
    to: &Schema,
    options: &IngestOptions,
) -> Result<EncodedSegment> {
    // Read as what it is, pushed as what it shall be.
    let stored: Vec<Field> = to.fields.iter().map(|field| from.field(&field.name).unwrap_or(field).clone()).collect();
    let mut builder = SegmentBuilder::new(to, &unbounded(options));
    for table in open(source, segment, &stored)? {
        push_table(&mut builder, &table?, |_| true)?;
    }
    finish_one(&mut builder)?.ok_or_else(|| IngestError::Corrupt("a segment has no rows".to_owned()))
}

/// A segment without the rows whose time is in `from..to`; `None` when no row remains.
/// Call it for segments whose own range meets this one. Rows without a time stay.
pub fn filter_range(
    source: &dyn SegmentSource,
    segment: &Segment,
    schema: &Schema,
    from: Timestamp,
    to: Timestamp,
    options: &IngestOptions,
) -> Result<Option<EncodedSegment>> {
    let time = time_field(schema).ok_or_else(no_time)?;
    let gone = from.timestamp_micros()..to.timestamp_micros();
    let mut builder = SegmentBuilder::new(schema, &unbounded(options));
    for table in open(source, segment, &schema.fields)? {
        let table = table?;
        let Column::Timestamp(times) = &table.columns[time].1 else { return Err(no_time()) };
        push_table(&mut builder, &table, |row| times[row].is_none_or(|time| !gone.contains(&time)))?;
    }
    finish_one(&mut builder)
}

/// A segment without the rows whose text in a field is one of `gone`; `None` when no row remains.
pub fn filter_texts(
    source: &dyn SegmentSource,
    segment: &Segment,
    schema: &Schema,
    field: &str,
    gone: &HashSet<String>,
    options: &IngestOptions,
) -> Result<Option<EncodedSegment>> {
    let no_text = || IngestError::input("no_text_field", format!("The dataset has no text field {field:?}."));
    let at = schema.fields.iter().position(|known| known.name == field).ok_or_else(no_text)?;
    let mut builder = SegmentBuilder::new(schema, &unbounded(options));
    for table in open(source, segment, &schema.fields)? {
        let table = table?;
        let Column::Text { codes, dictionary } = &table.columns[at].1 else { return Err(no_text()) };
        let goes: Vec<bool> = dictionary.iter().map(|text| gone.contains(text.as_ref())).collect();
        push_table(&mut builder, &table, |row| !goes.get(codes[row] as usize).copied().unwrap_or(false))?;
    }
    finish_one(&mut builder)
}

fn no_time() -> IngestError {
    IngestError::input("no_timestamp_field", "The dataset has no timestamp field, so a time range cannot be deleted.")
}

fn finish_one(builder: &mut SegmentBuilder) -> Result<Option<EncodedSegment>> {
    builder.finish(&mut CardinalityState::default())
}

fn push_table(builder: &mut SegmentBuilder, table: &Table, keep: impl Fn(usize) -> bool) -> Result<()> {
    for row in (0..table.rows).filter(|row| keep(*row)) {
        push_row(builder, table, row)?;
    }
    Ok(())
}

/// True when the segment should be finished.
fn push_row(builder: &mut SegmentBuilder, table: &Table, row: usize) -> Result<bool> {
    for ((name, column), target) in table.columns.iter().zip(&mut builder.columns) {
        let cell = cell_at(column, row);
        if let Err(reason) = target.push_cell(&cell) {
            let value = String::from_utf8_lossy(&text_of(&cell)).into_owned();
            return Err(IngestError::input(
                "value_does_not_fit",
                format!("The field {name:?} cannot change its type: of its value {value:?}, {reason}."),
            ));
        }
    }
    Ok(builder.end_rows(1))
}

/// Where the merge is in one of its segments.
struct Cursor {
    tables: TableReader,
    table: Table,
    row: usize,
    time: Option<usize>,
}

impl Cursor {
    /// The time of the current row, missing ones first; `None` at the end.
    fn key(&mut self) -> Result<Option<i64>> {
        while self.row == self.table.rows {
            match self.tables.next() {
                None => return Ok(None),
                Some(table) => self.table = table?,
            }
            self.row = 0;
        }
        Ok(Some(match self.time.map(|at| &self.table.columns[at].1) {
            Some(Column::Timestamp(times)) => times[self.row].unwrap_or(i64::MIN),
            _ => i64::MIN,
        }))
    }
}

/// Merges small segments by time into few large ones (compaction). The compressed columns of all the segments are in
/// memory meanwhile: choose segments of together at most some 100 MB.
pub fn merge_segments(
    source: &dyn SegmentSource,
    segments: &[Segment],
    schema: &Schema,
    options: &IngestOptions,
    sink: &mut dyn SegmentSink,
) -> Result<()> {
    let time = time_field(schema);
    let mut builder = SegmentBuilder::new(schema, options);
    let mut counts = CardinalityState::default();
    let mut cursors = Vec::with_capacity(segments.len());
    let mut next: BinaryHeap<Reverse<(i64, usize)>> = BinaryHeap::new();
    for segment in segments {
        let tables = open(source, segment, &schema.fields)?;
        let mut cursor = Cursor { tables, table: Table::default(), row: 0, time };
        if let Some(key) = cursor.key()? {
            next.push(Reverse((key, cursors.len())));
        }
        cursors.push(cursor);
    }
    // Equal times keep the order of the segments.
    while let Some(Reverse((_, at))) = next.pop() {
        let cursor = &mut cursors[at];
        let full = push_row(&mut builder, &cursor.table, cursor.row)?;
        cursor.row += 1;
        if let Some(key) = cursor.key()? {
            next.push(Reverse((key, at)));
        }
        if full && let Some(segment) = builder.finish(&mut counts)? {
            sink.put(segment).map_err(IngestError::Sink)?;
        }
    }
    match builder.finish(&mut counts)? {
        Some(segment) => sink.put(segment).map_err(IngestError::Sink),
        None => Ok(()),
    }
}
