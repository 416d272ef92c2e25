//! The rows of any format, checked value by value against a schema and handed to a target.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use super::columns::{Cell, ColumnBuilder, cell_at, text_of};
use super::delimited::{DelimitedRows, RowView};
use super::ndjson::{Entries, JsonRows};
use super::parquet_input::ParquetRows;
use super::source::{self, Content};
use super::text::TextReader;
use super::values::MissingValues;
use super::{IngestError, IngestOptions, InputFile, RejectedRow, Result, UnknownColumns};
use crate::config::Limits;
use crate::domain::job::{Progress, Reporter};
use crate::domain::schema::{FieldType, Schema};
use crate::domain::upload::FileFormat;

/// Rows between two reports of progress, and looks at cancellation.
const REPORT_ROWS: u64 = 8_192;
/// From here on an upload with too many refused rows ends early.
const EARLY_END_ROWS: u64 = 10_000;
/// A refused value is shown up to so many characters.
const MAX_SHOWN_CHARS: usize = 200;

/// An opened file of any format.
pub(super) enum AnyRows {
    Delimited(DelimitedRows),
    Json(JsonRows),
    Parquet(ParquetRows),
}

/// A file whose rows can be read.
pub(super) struct OpenedRows {
    pub rows: AnyRows,
    pub container: &'static str,
    pub read_bytes: Arc<AtomicU64>,
    pub size_bytes: u64,
}

/// Opens a file: container, encoding, format, header.
pub(super) fn open_rows(file: InputFile<'_>, limits: &Limits) -> Result<OpenedRows> {
    let (format, filename, size_bytes) = (file.format.clone(), file.filename.to_owned(), file.size_bytes);
    let opened = source::open(file, limits)?;
    let chosen = format.format.as_deref();
    let rows = match opened.content {
        Content::Parquet(stored) => match chosen {
            None | Some("parquet") => AnyRows::Parquet(ParquetRows::open(stored, limits)?),
            Some(other) => return Err(wrong_format(other, "a Parquet file")),
        },
        Content::Text(reader) => {
            let text = TextReader::open(reader, format.encoding.as_deref())?;
            match chosen {
                Some("csv") => AnyRows::Delimited(open_delimited(text, &format, &filename, limits)?),
                Some("ndjson") => AnyRows::Json(JsonRows::open(text, limits)),
                Some("parquet") => return Err(wrong_format("parquet", "no Parquet file")),
                None if text.starts_with_json() => AnyRows::Json(JsonRows::open(text, limits)),
                None => AnyRows::Delimited(open_delimited(text, &format, &filename, limits)?),
                Some(other) => {
                    return Err(IngestError::input(
                        "unknown_format",
                        format!("The format {other:?} is not known. Use csv, ndjson or parquet."),
                    ));
                }
            }
        }
    };
    Ok(OpenedRows { rows, container: opened.container, read_bytes: opened.read_bytes, size_bytes })
}

fn wrong_format(chosen: &str, is: &str) -> IngestError {
    IngestError::input("wrong_format", format!("The format {chosen:?} was chosen, but the file is {is}."))
}

fn open_delimited(text: TextReader, format: &FileFormat, filename: &str, limits: &Limits) -> Result<DelimitedRows> {
    let separator = match format.separator.as_deref() {
        None => None,
        Some("\\t" | "tab") => Some(b'\t'),
        Some(text) => match text.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r' | 0) => Some(*byte),
            _ => {
                return Err(IngestError::input(
                    "bad_separator",
                    format!("The separator {text:?} cannot be used. Use one character: , ; | or a tab."),
                ));
            }
        },
    };
    DelimitedRows::open(text, separator, filename, limits)
}

/// Takes rows. Values of up to `room` rows are pushed to `columns`; then the rows are accepted, or undone and rejected.
pub(super) trait RowTarget {
    fn columns(&mut self) -> &mut [ColumnBuilder];
    /// How many rows can be accepted together; at least one.
    fn room(&self) -> usize;
    /// Takes back what was pushed since the last rows were accepted.
    fn undo(&mut self);
    /// The rows that start on these lines have all their values.
    fn accept(&mut self, lines: impl IntoIterator<Item = u64>) -> Result<()>;
    fn reject(&mut self, row: RejectedRow) -> Result<()>;
}

/// What a feed read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub rows: u64,
    pub rejected: u64,
    pub uncompressed_bytes: u64,
    pub read_time: std::time::Duration,
}

struct Feed<'a, T: RowTarget> {
    target: &'a mut T,
    schema: &'a Schema,
    options: &'a IngestOptions,
    reporter: &'a dyn Reporter,
    read_bytes: Arc<AtomicU64>,
    size_bytes: u64,
    totals: Totals,
    first_rejected: Option<RejectedRow>,
}

/// Reads all rows of a file into the target.
pub(super) fn feed<T: RowTarget>(
    file: InputFile<'_>,
    schema: &Schema,
    options: &IngestOptions,
    target: &mut T,
    reporter: &dyn Reporter,
) -> Result<Totals> {
    let missing = MissingValues::new(file.format.missing_values.as_deref());
    let markers_chosen = file.format.missing_values.is_some();
    let opened = open_rows(file, &options.limits)?;
    let mut feed = Feed {
        target,
        schema,
        options,
        reporter,
        read_bytes: opened.read_bytes,
        size_bytes: opened.size_bytes,
        totals: Totals::default(),
        first_rejected: None,
    };
    match opened.rows {
        AnyRows::Delimited(rows) => feed.delimited(rows, &missing)?,
        AnyRows::Json(rows) => feed.json(rows, markers_chosen.then_some(&missing))?,
        AnyRows::Parquet(rows) => feed.parquet(rows)?,
    }
    if feed.totals.rows == 0 {
        return Err(no_rows());
    }
    feed.check_share()?;
    feed.report();
    Ok(feed.totals)
}

pub(super) fn no_rows() -> IngestError {
    IngestError::input(
        "no_rows",
        "The file has a header and no rows. Upload a text or Parquet file with at least one row, plain, with gzip, or in a zip file.",
    )
}

impl<T: RowTarget> Feed<'_, T> {
    fn delimited(&mut self, mut rows: DelimitedRows, missing: &MissingValues) -> Result<()> {
        let fields = self.fields_of(&rows.header)?;
        let max_value_bytes = self.options.limits.max_value_bytes;
        while rows.next_block()? {
            let mut start = 0;
            if rows.is_regular(max_value_bytes) {
                while start < rows.len() {
                    let end = rows.len().min(start + self.target.room());
                    if !self.push_columns(&rows, start..end, &fields, missing) {
                        break;
                    }
                    self.begin_rows((end - start) as u64)?;
                    self.target.accept(rows.lines(start..end))?;
                    start = end;
                }
            }
            // Row by row where something has to be refused.
            for at in start..rows.len() {
                self.delimited_row(rows.row(at), &rows.header, &fields, missing)?;
            }
        }
        self.totals.uncompressed_bytes = rows.bytes_read();
        self.totals.read_time = rows.text().elapsed();
        Ok(())
    }

    /// Adds the values of some rows of a regular block; adds none and gives false when one of them does not fit.
    fn push_columns(
        &mut self,
        rows: &DelimitedRows,
        chosen: Range<usize>,
        fields: &[Option<usize>],
        missing: &MissingValues,
    ) -> bool {
        let columns = self.target.columns();
        for (at, field) in fields.iter().enumerate() {
            let Some(field) = field else { continue };
            if !columns[*field].push_texts(&rows.column(at, chosen.clone()), missing) {
                self.target.undo();
                return false;
            }
        }
        true
    }

    fn delimited_row(
        &mut self,
        row: RowView<'_>,
        header: &[String],
        fields: &[Option<usize>],
        missing: &MissingValues,
    ) -> Result<()> {
        self.begin_rows(1)?;
        if let Some((column, value, reason)) = malformed_row(row, header.len(), self.options.limits.max_value_bytes) {
            let column = column.and_then(|at| header.get(at)).map_or("", String::as_str);
            return self.reject(row.line, column, &value, reason);
        }
        let columns = self.target.columns();
        for (at, field) in fields.iter().enumerate() {
            let Some(field) = field else { continue };
            let text = row.value(at);
            if missing.is_missing(text) {
                columns[*field].push_missing();
            } else if let Err(reason) = columns[*field].push_text(text) {
                self.target.undo();
                return self.reject(row.line, &header[at], &String::from_utf8_lossy(text), reason);
            }
        }
        self.target.accept([row.line])
    }

    fn json(&mut self, mut rows: JsonRows, markers: Option<&MissingValues>) -> Result<()> {
        while let Some(row) = rows.next_row()? {
            self.begin_rows(1)?;
            let refused = match &row {
                Err(bad) => Some((String::new(), bad.value.clone(), bad.reason.clone())),
                Ok(entries) => self.push_entries(entries, markers).err(),
            };
            match refused {
                None => self.target.accept([rows.line()])?,
                Some((column, value, reason)) => {
                    self.target.undo();
                    self.reject(rows.line(), &column, &value, reason)?;
                }
            }
        }
        self.totals.uncompressed_bytes = rows.bytes_read();
        self.totals.read_time = rows.text().elapsed();
        Ok(())
    }

    fn push_entries(
        &mut self,
        entries: &Entries,
        markers: Option<&MissingValues>,
    ) -> Result<(), (String, String, String)> {
        let mut values: Vec<Option<&Value>> = vec![None; self.schema.fields.len()];
        for (name, value) in &entries.0 {
            let refuse = |reason: &str| Err((name.clone(), shown_value(value), reason.to_owned()));
            match self.schema.fields.iter().position(|field| field.name == *name) {
                Some(field) if values[field].is_some() => return refuse("the key is in the object twice"),
                Some(field) => values[field] = Some(value),
                None if self.options.unknown_columns == UnknownColumns::LeaveOut => {}
                None => return refuse("the schema has no such field"),
            }
            let text_bytes = value.as_str().map_or(0, str::len);
            if text_bytes > self.options.limits.max_value_bytes {
                return refuse("the value is longer than the limit MAX_VALUE_BYTES");
            }
        }
        let columns = self.target.columns();
        for ((field, value), column) in self.schema.fields.iter().zip(values).zip(columns) {
            match value {
                None => column.push_missing(),
                Some(Value::String(text))
                    if text.is_empty() || markers.is_some_and(|m| m.is_missing(text.as_bytes())) =>
                {
                    column.push_missing();
                }
                // A file's first reader decides that a mixed column is text; later a text is a text.
                Some(value)
                    if !self.options.json_as_text && field.field_type == FieldType::String && !is_text(value) =>
                {
                    let reason = "it is not a text: put it in quotes".to_owned();
                    return Err((field.name.clone(), shown_value(value), reason));
                }
                Some(value) => column
                    .push_cell(&Cell::Json(value))
                    .map_err(|reason| (field.name.clone(), shown_value(value), reason))?,
            }
        }
        Ok(())
    }

    fn parquet(&mut self, mut rows: ParquetRows) -> Result<()> {
        let names: Vec<String> = rows.columns.iter().map(|(name, _)| name.clone()).collect();
        let fields = self.fields_of(&names)?;
        self.totals.uncompressed_bytes = rows.uncompressed_bytes;
        let mut line = 0;
        while let Some(table) = rows.next_batch()? {
            for row in 0..table.rows {
                line += 1;
                self.begin_rows(1)?;
                let columns = self.target.columns();
                let mut refused = None;
                for (at, field) in fields.iter().enumerate() {
                    let Some(field) = field else { continue };
                    let cell = cell_at(&table.columns[at].1, row);
                    let long = matches!(cell, Cell::Text(text) if text.len() > self.options.limits.max_value_bytes);
                    let pushed = if long {
                        Err("the value is longer than the limit MAX_VALUE_BYTES".to_owned())
                    } else {
                        columns[*field].push_cell(&cell)
                    };
                    if let Err(reason) = pushed {
                        refused = Some((at, String::from_utf8_lossy(&text_of(&cell)).into_owned(), reason));
                        break;
                    }
                }
                match refused {
                    None => self.target.accept([line])?,
                    Some((at, value, reason)) => {
                        self.target.undo();
                        self.reject(line, &names[at], &value, reason)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Each column's field. The file must have every field, and no other column unless those are to be left out.
    fn fields_of(&self, names: &[String]) -> Result<Vec<Option<usize>>> {
        let position: std::collections::HashMap<&str, usize> =
            self.schema.fields.iter().enumerate().map(|(at, field)| (field.name.as_str(), at)).collect();
        let found: Vec<Option<usize>> = names.iter().map(|name| position.get(name.as_str()).copied()).collect();
        let unknown: Vec<&str> =
            names.iter().zip(&found).filter(|(_, f)| f.is_none()).map(|(name, _)| name.as_str()).collect();
        if !unknown.is_empty() && self.options.unknown_columns == UnknownColumns::Refuse {
            return Err(IngestError::input(
                "unknown_column",
                format!(
                    "The file has columns that the schema does not have: {}. Remove them, or add fields to the schema.",
                    listed(&unknown)
                ),
            ));
        }
        let absent: Vec<&str> = self
            .schema
            .fields
            .iter()
            .map(|field| field.name.as_str())
            .filter(|field| !names.iter().any(|name| name == field))
            .collect();
        if !absent.is_empty() {
            return Err(IngestError::input(
                "missing_column",
                format!(
                    "The file lacks columns that the schema has: {}. Add them (values may be empty).",
                    listed(&absent)
                ),
            ));
        }
        Ok(found)
    }

    fn begin_rows(&mut self, rows: u64) -> Result<()> {
        let reports = self.totals.rows / REPORT_ROWS;
        self.totals.rows += rows;
        if self.totals.rows / REPORT_ROWS > reports {
            if self.reporter.is_cancelled() {
                return Err(IngestError::Cancelled);
            }
            self.report();
        }
        Ok(())
    }

    /// The share of bytes read, which is always known, and the rows done in the phase's text.
    fn report(&self) {
        self.reporter.report(Progress {
            done: self.read_bytes.load(Ordering::Relaxed).min(self.size_bytes),
            total: Some(self.size_bytes),
            unit: "bytes".to_owned(),
            phase: format!("{} rows read", self.totals.rows),
            ..Progress::default()
        });
    }

    fn reject(&mut self, line: u64, column: &str, value: &str, reason: String) -> Result<()> {
        let row = RejectedRow { line, column: column.to_owned(), value: shown(value), reason };
        self.totals.rejected += 1;
        if self.first_rejected.is_none() {
            self.first_rejected = Some(row.clone());
        }
        self.target.reject(row)?;
        if self.totals.rows >= EARLY_END_ROWS { self.check_share() } else { Ok(()) }
    }

    fn check_share(&self) -> Result<()> {
        let Some(first) = &self.first_rejected else { return Ok(()) };
        let limit = self.options.limits.max_rejected_share;
        if self.totals.rejected as f64 <= limit * self.totals.rows as f64 {
            return Ok(());
        }
        let place = if first.column.is_empty() && first.value.is_empty() {
            String::new()
        } else if first.column.is_empty() {
            format!(": {:?}", first.value)
        } else {
            format!(", column {:?}: {:?}", first.column, first.value)
        };
        Err(IngestError::at_line(
            "too_many_rejected",
            first.line,
            format!(
                "{} of {} rows were refused, more than the limit MAX_REJECTED_SHARE of {} %; nothing was added. \
                 The first{place}: {}.",
                self.totals.rejected,
                self.totals.rows,
                limit * 100.0,
                first.reason
            ),
        ))
    }
}

/// What is wrong with a row as a whole: the column it shows in, the value, the reason.
pub(super) fn malformed_row(
    row: RowView<'_>,
    width: usize,
    max_value_bytes: usize,
) -> Option<(Option<usize>, String, String)> {
    if row.len() != width {
        return Some((None, String::new(), format!("the row has {} values, the header has {width}", row.len())));
    }
    if let Some(at) = row.malformed {
        let value = String::from_utf8_lossy(row.value(at)).into_owned();
        return Some((Some(at), value, "text follows the closing quote".to_owned()));
    }
    if row.size_bytes() > max_value_bytes
        && let Some((at, bytes)) = row.longest()
        && bytes > max_value_bytes
    {
        let value = String::from_utf8_lossy(&row.value(at)[..MAX_SHOWN_CHARS]).into_owned();
        let reason = format!("the value has {bytes} bytes; the limit MAX_VALUE_BYTES is {max_value_bytes}");
        return Some((Some(at), value + "…", reason));
    }
    None
}

fn is_text(value: &Value) -> bool {
    matches!(value, Value::String(_) | Value::Null)
}

pub(super) fn shown(value: &str) -> String {
    if value.chars().count() <= MAX_SHOWN_CHARS {
        return value.to_owned();
    }
    value.chars().take(MAX_SHOWN_CHARS).chain(['…']).collect()
}

fn shown_value(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn listed(names: &[&str]) -> String {
    let list: Vec<String> = names.iter().take(10).map(|name| format!("{name:?}")).collect();
    let more = names.len().saturating_sub(10);
    if more > 0 { format!("{} and {more} more", list.join(", ")) } else { list.join(", ") }
}
