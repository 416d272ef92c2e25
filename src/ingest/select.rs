//! Pages of rows that pass a filter: what the directory, postings and page indexes rule out is not read.

use std::borrow::Borrow;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::columns::{ColumnBuilder, cell_at};
use super::postings::{bucket_range, rows_in_bucket};
use super::row_filter::{BoundTest, RowComparison, RowFilter};
use super::scan::chosen_fields;
use super::segment_builder::time_field;
use super::segment_reader::{Meter, OpenSegment};
use super::{IngestError, Result, SegmentSource};
use crate::config::Limits;
use crate::domain::column::Table;
use crate::domain::schema::{Field, Schema};
use crate::domain::segment::Segment;

/// Rows whose tested columns are read at a time.
const WINDOW_ROWS: usize = 65_536;
/// After so many examined rows a page ends, full or not, so that a request's work is bounded.
const MAX_EXAMINED_ROWS: u64 = 2_000_000;

/// Where a page of rows ends: the segment's position in the list, and the next row in it.
/// Use it with the same list (the same version of the dataset).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RowCursor {
    pub segment: usize,
    pub row: u64,
}

/// What a read cost: bytes that came from memory are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadCost {
    pub bytes: u64,
    pub reads: u64,
    pub segments_opened: u64,
    pub segments_pruned: u64,
    pub rows_examined: u64,
}

/// A page of rows. `next` is `None` at the end; a page can be short (even empty) and have a next one when few of many
/// rows pass.
#[derive(Debug, Clone)]
pub struct RowPage {
    pub table: Table,
    pub next: Option<RowCursor>,
    pub cost: ReadCost,
}

/// Rows that pass the filter, in the order of the segments. `columns` empty: all of the schema's.
pub fn read_rows<S: Borrow<Segment>>(
    source: &dyn SegmentSource,
    segments: &[S],
    schema: &Schema,
    filter: &RowFilter,
    columns: &[String],
    after: Option<RowCursor>,
    limit: usize,
) -> Result<RowPage> {
    let fields = chosen_fields(schema, columns)?;
    let meter = Meter::new(source);
    let mut reader = PageReader {
        meter: &meter,
        tests: bound_tests(schema, filter)?,
        builders: fields.iter().map(|field| ColumnBuilder::new(field.field_type, &unlimited())).collect(),
        fields,
        rows: 0,
        limit: limit.max(1),
        cost: ReadCost::default(),
    };
    let start = after.unwrap_or_default();
    let mut next = None;
    for (at, segment) in segments.iter().map(Borrow::borrow).enumerate().skip(start.segment) {
        let first = if at == start.segment { start.row } else { 0 };
        if first >= segment.directory.rows {
            continue;
        }
        if let Some(row) = reader.segment(segment, first)? {
            next = Some(RowCursor { segment: at, row });
            break;
        }
    }
    // A cursor at the end of a segment points at the next one; nothing is after the last.
    let next = next.map(|cursor| match segments.get(cursor.segment) {
        Some(segment) if cursor.row >= segment.borrow().directory.rows => {
            RowCursor { segment: cursor.segment + 1, row: 0 }
        }
        _ => cursor,
    });
    let next = next.filter(|cursor| cursor.segment < segments.len());
    reader.meter.add_to(&mut reader.cost);
    let named = reader
        .fields
        .into_iter()
        .map(|field| field.name)
        .zip(reader.builders.into_iter().map(ColumnBuilder::into_column));
    Ok(RowPage { table: Table { rows: reader.rows, columns: named.collect() }, next, cost: reader.cost })
}

fn unlimited() -> Limits {
    Limits { max_dict_keys: usize::MAX, ..Limits::default() }
}

fn bound_tests(schema: &Schema, filter: &RowFilter) -> Result<Vec<BoundTest>> {
    let mut tests = Vec::new();
    for test in &filter.tests {
        tests.push(BoundTest::bind(schema, test).ok_or_else(|| {
            IngestError::input(
                "unknown_column",
                format!("The dataset has no field {:?}. See its schema for the names.", test.column),
            )
        })?);
    }
    if filter.from.is_some() || filter.to.is_some() {
        let field = time_field(schema).map(|at| &schema.fields[at]).ok_or_else(|| {
            IngestError::input(
                "no_timestamp_field",
                "The dataset has no timestamp field, so a time range cannot be used.",
            )
        })?;
        tests.extend(filter.from.map(|from| BoundTest::time(field, RowComparison::GreaterOrEqual, from)));
        tests.extend(filter.to.map(|to| BoundTest::time(field, RowComparison::Less, to)));
    }
    Ok(tests)
}

struct PageReader<'a> {
    meter: &'a Meter<'a>,
    tests: Vec<BoundTest>,
    fields: Vec<Field>,
    builders: Vec<ColumnBuilder>,
    rows: usize,
    limit: usize,
    cost: ReadCost,
}

impl PageReader<'_> {
    /// Reads a segment from a row on; the row after the last one looked at when the page ends within it.
    fn segment(&mut self, segment: &Segment, first: u64) -> Result<Option<u64>> {
        let directory = &segment.directory;
        let pruned = self.tests.iter().any(|test| {
            directory.column(&test.field.name).is_some_and(|column| !test.may_pass(directory.rows, column))
        });
        if pruned {
            self.cost.segments_pruned += 1;
            return Ok(None);
        }
        #[expect(clippy::cast_possible_truncation, reason = "a segment has far fewer rows than 2^32")]
        let all = first as u32..directory.rows as u32;
        let mut candidates = match self.rows_by_postings(segment)? {
            Some(rows) => as_ranges(rows.into_iter().filter(|row| all.contains(row))),
            None => vec![all],
        };
        if candidates.is_empty() {
            self.cost.segments_pruned += 1;
            return Ok(None);
        }
        self.cost.segments_opened += 1;
        self.open_segment(segment, &mut candidates)
    }

    fn open_segment(&mut self, segment: &Segment, candidates: &mut Vec<Range<u32>>) -> Result<Option<u64>> {
        let open = OpenSegment::open(self.meter, segment, true)?;
        if candidates.iter().map(|range| range.len()).sum::<usize>() > WINDOW_ROWS / 16 {
            self.prune_pages(&open, candidates)?;
        }
        for window in windows(candidates) {
            let matched = self.matches(&open, &window)?;
            let room = self.limit - self.rows;
            let full = matched.len() >= room;
            let taken = &matched[..matched.len().min(room)];
            self.take(&open, taken)?;
            self.cost.rows_examined += window.iter().map(|range| range.len() as u64).sum::<u64>();
            if full || self.cost.rows_examined >= MAX_EXAMINED_ROWS {
                let last = if full { taken.last().copied() } else { window.last().map(|range| range.end - 1) };
                return Ok(last.map(|row| u64::from(row) + 1));
            }
        }
        Ok(None)
    }

    /// Rows that hold the values of equality tests, by postings: one small read a test.
    fn rows_by_postings(&self, segment: &Segment) -> Result<Option<Vec<u32>>> {
        let mut rows: Option<Vec<u32>> = None;
        for test in &self.tests {
            let Some(hash) = test.lookup_hash() else { continue };
            let column = segment.directory.column(&test.field.name);
            let Some(location) = column.and_then(|column| column.postings.as_ref()) else { continue };
            let damaged = || IngestError::Corrupt(format!("the postings of {} are damaged", segment.object_key));
            let range = bucket_range(location, hash).ok_or_else(damaged)?;
            let found = rows_in_bucket(&self.meter.read(segment, range)?, hash).ok_or_else(damaged)?;
            rows = Some(match rows {
                None => found,
                Some(rows) => rows.into_iter().filter(|row| found.binary_search(row).is_ok()).collect(),
            });
        }
        Ok(rows)
    }

    /// Leaves pages out whose bounds no test's value lies in.
    fn prune_pages(&self, open: &OpenSegment<'_>, candidates: &mut Vec<Range<u32>>) -> Result<()> {
        #[expect(clippy::cast_possible_truncation, reason = "a segment has far fewer rows than 2^32")]
        let rows = open.segment.directory.rows as u32;
        for test in &self.tests {
            let Some(starts) = open.page_starts(&test.field) else { continue };
            let Some(index) = open.column_index(&test.field)? else { continue };
            let pages = test.pages_that_may_pass(&index);
            if pages.len() != starts.len() {
                continue;
            }
            let ends = starts.iter().skip(1).copied().chain([rows]);
            let kept: Vec<Range<u32>> = starts
                .iter()
                .zip(ends)
                .zip(&pages)
                .filter(|(_, keep)| **keep)
                .map(|((start, end), _)| *start..end)
                .collect();
            *candidates = intersect(candidates, &kept);
        }
        Ok(())
    }

    /// The rows of a window that pass every test.
    fn matches(&self, open: &OpenSegment<'_>, window: &[Range<u32>]) -> Result<Vec<u32>> {
        let mut rows = window.iter().cloned().flatten();
        if self.tests.is_empty() {
            return Ok(rows.collect());
        }
        let mut columns: Vec<&Field> = Vec::new();
        for test in &self.tests {
            if !columns.iter().any(|field| field.name == test.field.name) {
                columns.push(&test.field);
            }
        }
        let mut matched = Vec::new();
        for table in open.read(&columns, Some(window), WINDOW_ROWS)? {
            let table = table?;
            let tested: Vec<_> =
                self.tests.iter().filter_map(|test| Some((test, table.column(&test.field.name)?))).collect();
            for row in 0..table.rows {
                let Some(number) = rows.next() else { break };
                if tested.iter().all(|(test, column)| test.passes(&cell_at(column, row))) {
                    matched.push(number);
                }
            }
        }
        Ok(matched)
    }

    /// Adds rows to the page.
    fn take(&mut self, open: &OpenSegment<'_>, rows: &[u32]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let ranges = as_ranges(rows.iter().copied());
        for table in open.read(&self.fields.iter().collect::<Vec<_>>(), Some(&ranges), WINDOW_ROWS)? {
            let table = table?;
            self.rows += table.rows;
            for ((name, column), builder) in table.columns.iter().zip(&mut self.builders) {
                for row in 0..table.rows {
                    builder.push_cell(&cell_at(column, row)).map_err(|reason| {
                        IngestError::Corrupt(format!(
                            "the column {name:?} of {} has a wrong type: {reason}",
                            open.segment.object_key
                        ))
                    })?;
                }
            }
        }
        Ok(())
    }
}

/// Neighbouring rows joined; the rows are sorted.
fn as_ranges(rows: impl Iterator<Item = u32>) -> Vec<Range<u32>> {
    let mut ranges: Vec<Range<u32>> = Vec::new();
    for row in rows {
        match ranges.last_mut() {
            Some(last) if last.end == row => last.end += 1,
            _ => ranges.push(row..row + 1),
        }
    }
    ranges
}

fn intersect(a: &[Range<u32>], b: &[Range<u32>]) -> Vec<Range<u32>> {
    let (mut i, mut j) = (0, 0);
    let mut both = Vec::new();
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        let overlap = x.start.max(y.start)..x.end.min(y.end);
        if !overlap.is_empty() {
            both.push(overlap);
        }
        if x.end < y.end { i += 1 } else { j += 1 }
    }
    both
}

/// The ranges in groups of at most [`WINDOW_ROWS`] rows.
fn windows(ranges: &[Range<u32>]) -> Vec<Vec<Range<u32>>> {
    let mut windows: Vec<Vec<Range<u32>>> = Vec::new();
    let mut room = 0;
    for range in ranges {
        let mut rest = range.clone();
        while !rest.is_empty() {
            if room == 0 {
                windows.push(Vec::new());
                room = WINDOW_ROWS;
            }
            let end = rest.start + u32::try_from(rest.len().min(room)).unwrap_or(u32::MAX);
            if let Some(window) = windows.last_mut() {
                window.push(rest.start..end);
            }
            room -= (end - rest.start) as usize;
            rest.start = end;
        }
    }
    windows
}
