//! Reading columns of many segments, for training and reports.

use std::borrow::Borrow;

use super::columns::{ColumnBuilder, cell_at};
use super::segment_builder::time_field;
use super::segment_reader::{Meter, OpenSegment, TableReader};
use super::{IngestError, Result, SegmentSource};
use crate::config::Limits;
use crate::domain::Timestamp;
use crate::domain::column::{Column, Table};
use crate::domain::schema::{Field, Schema};
use crate::domain::segment::Segment;

/// Rows of a table at most.
const BATCH_ROWS: usize = 65_536;

/// Tables of a scan; see [`scan()`].
pub struct Scan<'a> {
    source: &'a dyn SegmentSource,
    segments: std::vec::IntoIter<&'a Segment>,
    columns: Vec<Field>,
    /// Where the timestamp field is among the columns, when rows have to be told by it.
    time: Option<usize>,
    /// The timestamp field was not asked for and is taken out again.
    drop_time: bool,
    from: Option<i64>,
    to: Option<i64>,
    current: Option<(TableReader, bool)>,
}

/// Reads columns of segments as tables of at most 65,536 rows, in the order of the segments.
/// With a time range (`from` ≤ timestamp field < `to`), rows without a time are left out.
/// `columns` empty: all of the schema's. A text column's dictionary belongs to its table.
pub fn scan<'a, S: Borrow<Segment>>(
    source: &'a dyn SegmentSource,
    segments: &'a [S],
    schema: &Schema,
    columns: &[String],
    from: Option<Timestamp>,
    to: Option<Timestamp>,
) -> Result<Scan<'a>> {
    let mut fields = chosen_fields(schema, columns)?;
    let (mut time, mut drop_time) = (None, false);
    if from.is_some() || to.is_some() {
        let field = time_field(schema).map(|at| &schema.fields[at]).ok_or_else(|| {
            IngestError::input(
                "no_timestamp_field",
                "The dataset has no timestamp field, so a time range cannot be used.",
            )
        })?;
        time = Some(fields.iter().position(|f| f.name == field.name).unwrap_or_else(|| {
            drop_time = true;
            fields.push(field.clone());
            fields.len() - 1
        }));
    }
    Ok(Scan {
        source,
        segments: segments.iter().map(Borrow::borrow).collect::<Vec<_>>().into_iter(),
        columns: fields,
        time,
        drop_time,
        from: from.map(|t| t.timestamp_micros()),
        to: to.map(|t| t.timestamp_micros()),
        current: None,
    })
}

/// The schema's fields of these names, in this order; all when no name is given.
pub(super) fn chosen_fields(schema: &Schema, columns: &[String]) -> Result<Vec<Field>> {
    if columns.is_empty() {
        return Ok(schema.fields.clone());
    }
    let find = |name: &String| {
        schema.field(name).cloned().ok_or_else(|| {
            IngestError::input(
                "unknown_column",
                format!("The dataset has no field {name:?}. See its schema for the names."),
            )
        })
    };
    columns.iter().map(find).collect()
}

impl Scan<'_> {
    fn next_table(&mut self) -> Result<Option<Table>> {
        loop {
            if let Some((reader, whole)) = &mut self.current {
                match reader.next() {
                    Some(table) => {
                        let mut table = table?;
                        if !*whole {
                            table = self.within(table);
                        }
                        if self.drop_time {
                            table.columns.pop();
                        }
                        if table.rows > 0 {
                            return Ok(Some(table));
                        }
                        continue;
                    }
                    None => self.current = None,
                }
            }
            let Some(segment) = self.segments.next() else { return Ok(None) };
            let directory = &segment.directory;
            let first = directory.from.map(|t| t.timestamp_micros());
            let last = directory.to.map(|t| t.timestamp_micros());
            let (Some(first), Some(last)) = (first, last) else {
                if self.time.is_none() {
                    self.open(segment, true)?;
                }
                continue;
            };
            let outside = self.from.is_some_and(|from| last < from) || self.to.is_some_and(|to| first >= to);
            if self.time.is_some() && outside {
                continue;
            }
            let inside = self.from.is_none_or(|from| first >= from) && self.to.is_none_or(|to| last < to);
            self.open(segment, self.time.is_none() || (inside && directory.rows_without_time == 0))?;
        }
    }

    fn open(&mut self, segment: &Segment, whole: bool) -> Result<()> {
        let meter = Meter::new(self.source);
        let columns: Vec<&Field> = self.columns.iter().collect();
        let reader = OpenSegment::open(&meter, segment, false)?.read(&columns, None, BATCH_ROWS)?;
        self.current = Some((reader, whole));
        Ok(())
    }

    /// Keeps the rows in the time range.
    fn within(&self, table: Table) -> Table {
        let Some(Column::Timestamp(times)) = self.time.map(|at| &table.columns[at].1) else { return table };
        let keep: Vec<usize> = (0..table.rows)
            .filter(|row| {
                times[*row]
                    .is_some_and(|time| self.from.is_none_or(|from| time >= from) && self.to.is_none_or(|to| time < to))
            })
            .collect();
        if keep.len() == table.rows { table } else { rows_of(&table, &self.columns, &keep) }
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<Table>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_table().transpose()
    }
}

/// A table of some rows of another; `fields` gives the columns' types.
pub(super) fn rows_of(table: &Table, fields: &[Field], rows: &[usize]) -> Table {
    let columns = table.columns.iter().zip(fields).map(|((name, column), field)| {
        let kept = match column {
            Column::Boolean(values) => Column::Boolean(rows.iter().map(|row| values[*row]).collect()),
            Column::Integer(values) => Column::Integer(rows.iter().map(|row| values[*row]).collect()),
            Column::Timestamp(values) => Column::Timestamp(rows.iter().map(|row| values[*row]).collect()),
            Column::Float(values) => Column::Float(rows.iter().map(|row| values[*row]).collect()),
            Column::Text { codes, dictionary } => {
                Column::Text { codes: rows.iter().map(|row| codes[*row]).collect(), dictionary: dictionary.clone() }
            }
            nested => {
                let mut builder =
                    ColumnBuilder::new(field.field_type, &Limits { max_dict_keys: usize::MAX, ..Limits::default() });
                for row in rows {
                    if builder.push_cell(&cell_at(nested, *row)).is_err() {
                        builder.push_missing();
                    }
                }
                builder.into_column()
            }
        };
        (name.clone(), kept)
    });
    Table { rows: rows.len(), columns: columns.collect() }
}
