//! Discovery: a schema proposed from the whole file.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use serde_json::Value;

use super::delimited::DelimitedRows;
use super::ndjson::JsonRows;
use super::parquet_input::ParquetRows;
use super::roles;
use super::rows::{AnyRows, OpenedRows, malformed_row, no_rows, open_rows, shown};
use super::text::TextReader;
use super::values::{DEFAULT_MISSING, Kind, MissingValues, classify, dict_entries, parse_timestamp};
use super::{Discovery, IngestError, InputFile, RejectedRow, RejectedSink, Result, TypeHint};
use crate::config::Limits;
use crate::domain::job::{Progress, Reporter};
use crate::domain::schema::{Field, FieldType};

const REPORT_ROWS: u64 = 8_192;
/// Samples are taken from so many rows at the start.
const SAMPLE_ROWS: u64 = 1_000;
const SAMPLES: usize = 5;
/// A hint is given when so large a share fits a narrower type.
const HINT_SHARE: f64 = 0.9;

/// Reads the whole file once and proposes a schema.
///
/// A type is proposed only when every present value fits it, else String. `confidence` is 1 when that is so; for a
/// String where a share of the values looks like something narrower it is one less that share; 0 without values.
/// Malformed rows go to `rejected`, whatever becomes of the file.
pub fn discover(
    file: InputFile<'_>,
    limits: &Limits,
    rejected: &mut dyn RejectedSink,
    reporter: &dyn Reporter,
) -> Result<Discovery> {
    let missing = MissingValues::new(file.format.missing_values.as_deref());
    let mut format = file.format.clone();
    let opened = open_rows(file, limits)?;
    format.missing_values.get_or_insert_with(|| DEFAULT_MISSING.iter().map(|text| (*text).to_owned()).collect());
    let container = opened.container;
    let mut run = Run {
        missing,
        limits,
        reporter,
        rejected,
        rows: 0,
        malformed: 0,
        first_malformed: None,
        found: Vec::new(),
        opened_bytes: 0,
    };
    let (columns, fields) = match opened {
        OpenedRows { rows: AnyRows::Delimited(mut rows), read_bytes, size_bytes, .. } => {
            format.format = Some("csv".to_owned());
            format.separator = Some(char::from(rows.separator()).to_string());
            format.encoding = Some(encoding_of(rows.text()));
            let columns = run.delimited(&mut rows, || (read_bytes.load(Ordering::Relaxed), size_bytes))?;
            (columns, None)
        }
        OpenedRows { rows: AnyRows::Json(mut rows), read_bytes, size_bytes, .. } => {
            format.format = Some("ndjson".to_owned());
            format.encoding = Some(encoding_of(rows.text()));
            let columns = run.json(&mut rows, || (read_bytes.load(Ordering::Relaxed), size_bytes))?;
            (columns, None)
        }
        OpenedRows { rows: AnyRows::Parquet(mut rows), .. } => {
            format.format = Some("parquet".to_owned());
            let fields = run.parquet(&mut rows)?;
            (Vec::new(), Some(fields))
        }
    };
    if run.rows == 0 {
        return Err(no_rows());
    }
    if let Some((line, reason)) = &run.first_malformed
        && run.malformed as f64 > limits.max_rejected_share * run.rows as f64
    {
        let advice = match format.format.as_deref() {
            Some("csv") => "Check the separator and the quotes.",
            _ => "Put one JSON object on each line.",
        };
        let text = format!(
            "{} of {} rows are malformed, more than the limit MAX_REJECTED_SHARE of {} %; nothing was added. \
             The first: {reason}. {advice}",
            run.malformed,
            run.rows,
            limits.max_rejected_share * 100.0
        );
        return Err(IngestError::at_line("too_many_rejected", *line, text));
    }
    let mut hints = Vec::new();
    let mut fields = fields.unwrap_or_else(|| columns.into_iter().map(|column| column.propose(&mut hints)).collect());
    roles::propose(&mut fields);
    Ok(Discovery {
        missing_values_found: run.found,
        format,
        container,
        rows: run.rows,
        malformed_rows: run.malformed,
        uncompressed_bytes: run.opened_bytes,
        fields,
        hints,
    })
}

fn encoding_of(text: &TextReader) -> String {
    text.encoding_name().to_ascii_lowercase()
}

/// What the values of a column look like.
struct Evidence {
    name: String,
    counts: [u64; Kind::COUNT],
    /// The first value of each kind, and its line.
    first: [Option<(u64, String)>; Kind::COUNT],
    samples: Vec<String>,
}

impl Evidence {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), counts: [0; Kind::COUNT], first: Default::default(), samples: Vec::new() }
    }

    #[inline]
    fn add(&mut self, kind: Kind, line: u64, text: &[u8], sample: bool) {
        let count = &mut self.counts[kind as usize];
        *count += 1;
        if *count == 1 {
            self.first[kind as usize] = Some((line, shown(&String::from_utf8_lossy(text))));
        }
        if sample && self.samples.len() < SAMPLES && !self.samples.iter().any(|s| s.as_bytes() == text) {
            self.samples.push(shown(&String::from_utf8_lossy(text)));
        }
    }

    fn propose(self, hints: &mut Vec<TypeHint>) -> Field {
        let present: u64 = self.counts.iter().sum();
        let count = |kind: Kind| self.counts[kind as usize];
        let kinds = [Kind::Boolean, Kind::Integer, Kind::Float, Kind::Timestamp, Kind::List, Kind::Dict];
        let fitting =
            |kind: Kind| if kind == Kind::Float { count(Kind::Float) + count(Kind::Integer) } else { count(kind) };
        let whole = kinds.into_iter().find(|kind| present > 0 && fitting(*kind) == present);
        // Of equals the narrowest, which comes first.
        let best = kinds.into_iter().rev().max_by_key(|kind| fitting(*kind)).unwrap_or(Kind::Text);
        let share = if present == 0 { 0.0 } else { fitting(best) as f64 / present as f64 };
        let mut field = Field::new(self.name, whole.map_or(FieldType::String, Kind::field_type));
        field.confidence = Some(match whole {
            _ if present == 0 => 0.0,
            Some(_) => 1.0,
            None => 1.0 - share,
        });
        field.samples = self.samples;
        if whole.is_none() && share >= HINT_SHARE {
            let fits = |kind: usize| kind == best as usize || (best == Kind::Float && kind == Kind::Integer as usize);
            let misfits = self.first.into_iter().enumerate().filter(|(kind, _)| !fits(*kind));
            if let Some((line, value)) = misfits.filter_map(|(_, first)| first).min() {
                hints.push(TypeHint { field: field.name.clone(), narrower: best.field_type(), share, value, line });
            }
        }
        field
    }
}

struct Run<'a> {
    missing: MissingValues,
    limits: &'a Limits,
    reporter: &'a dyn Reporter,
    rejected: &'a mut dyn RejectedSink,
    rows: u64,
    malformed: u64,
    /// Its line and what is wrong.
    first_malformed: Option<(u64, String)>,
    /// Missing-value texts that occur.
    found: Vec<String>,
    opened_bytes: u64,
}

impl Run<'_> {
    fn begin_rows(&mut self, rows: u64, bytes: &impl Fn() -> (u64, u64)) -> Result<()> {
        let reports = self.rows / REPORT_ROWS;
        self.rows += rows;
        if self.rows / REPORT_ROWS > reports {
            if self.reporter.is_cancelled() {
                return Err(IngestError::Cancelled);
            }
            let (done, total) = bytes();
            self.reporter.report(Progress {
                done,
                total: Some(total),
                unit: "bytes".to_owned(),
                phase: format!("{} rows looked at", self.rows),
                ..Progress::default()
            });
        }
        Ok(())
    }

    fn refuse(&mut self, row: RejectedRow) -> Result<()> {
        self.malformed += 1;
        self.rejected.reject(&row).map_err(IngestError::Sink)?;
        self.first_malformed.get_or_insert((row.line, row.reason));
        Ok(())
    }

    fn note_missing(&mut self, text: &[u8]) {
        if let Some(marker) = self.missing.marker(text)
            && !self.found.iter().any(|found| found.as_bytes() == marker)
        {
            self.found.push(String::from_utf8_lossy(marker).into_owned());
        }
    }

    fn delimited(&mut self, rows: &mut DelimitedRows, bytes: impl Fn() -> (u64, u64)) -> Result<Vec<Evidence>> {
        let mut columns: Vec<Evidence> = rows.header.iter().map(|name| Evidence::new(name)).collect();
        while rows.next_block()? {
            if rows.is_regular(self.limits.max_value_bytes) {
                let first = self.rows;
                self.begin_rows(rows.len() as u64, &bytes)?;
                for (at, column) in columns.iter_mut().enumerate() {
                    let texts = rows.column(at, 0..rows.len());
                    for ((row, span), line) in (first + 1..).zip(texts.spans()).zip(rows.lines(0..rows.len())) {
                        self.delimited_value(column, &texts.buffer[span.range()], line, row);
                    }
                }
                continue;
            }
            for row in (0..rows.len()).map(|at| rows.row(at)) {
                self.begin_rows(1, &bytes)?;
                if let Some((column, value, reason)) = malformed_row(row, columns.len(), self.limits.max_value_bytes) {
                    let column = column.and_then(|at| rows.header.get(at)).cloned().unwrap_or_default();
                    self.refuse(RejectedRow { line: row.line, column, value: shown(&value), reason })?;
                    continue;
                }
                for (at, column) in columns.iter_mut().enumerate() {
                    self.delimited_value(column, row.value(at), row.line, self.rows);
                }
            }
        }
        self.opened_bytes = rows.bytes_read();
        Ok(columns)
    }

    #[inline]
    fn delimited_value(&mut self, column: &mut Evidence, text: &[u8], line: u64, row: u64) {
        if !self.missing.is_missing(text) {
            column.add(classify(text, self.limits.max_dict_keys), line, text, row <= SAMPLE_ROWS);
        } else if self.found.len() < DEFAULT_MISSING.len() {
            self.note_missing(text);
        }
    }

    fn json(&mut self, rows: &mut JsonRows, bytes: impl Fn() -> (u64, u64)) -> Result<Vec<Evidence>> {
        let mut columns: Vec<Evidence> = Vec::new();
        let mut known: HashMap<String, usize> = HashMap::new();
        while let Some(row) = rows.next_row()? {
            self.begin_rows(1, &bytes)?;
            let entries = match row {
                Ok(entries) => entries,
                Err(bad) => {
                    self.refuse(bad.rejected(rows.line()))?;
                    continue;
                }
            };
            for (name, value) in &entries.0 {
                let at = match known.get(name) {
                    Some(at) => *at,
                    None if columns.len() >= self.limits.max_columns => {
                        return Err(IngestError::at_line(
                            "too_many_columns",
                            rows.line(),
                            format!(
                                "The objects have more different keys than the limit MAX_COLUMNS, {}.",
                                self.limits.max_columns
                            ),
                        ));
                    }
                    None => {
                        super::delimited::check_names(&[name.trim().to_owned()], rows.line())?;
                        known.insert(name.clone(), columns.len());
                        columns.push(Evidence::new(name));
                        columns.len() - 1
                    }
                };
                if let Some(kind) = kind_of_json(value, self.limits.max_dict_keys) {
                    let sample = self.rows <= SAMPLE_ROWS;
                    match value {
                        Value::String(text) => columns[at].add(kind, rows.line(), text.as_bytes(), sample),
                        other => columns[at].add(kind, rows.line(), other.to_string().as_bytes(), sample),
                    }
                }
            }
        }
        self.opened_bytes = rows.bytes_read();
        Ok(columns)
    }

    fn parquet(&mut self, rows: &mut ParquetRows) -> Result<Vec<Field>> {
        self.rows = rows.rows;
        self.opened_bytes = rows.uncompressed_bytes;
        let mut fields: Vec<Field> =
            rows.columns.iter().map(|(name, field_type)| Field::new(name, *field_type)).collect();
        if let Some(table) = rows.next_batch()? {
            for (field, (_, column)) in fields.iter_mut().zip(&table.columns) {
                field.confidence = Some(1.0);
                for row in 0..table.rows {
                    let value = super::value_at(column, row);
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    if !value.is_null() && !field.samples.contains(&text) {
                        field.samples.push(shown(&text));
                    }
                    if field.samples.len() == SAMPLES {
                        break;
                    }
                }
            }
        }
        Ok(fields)
    }
}

/// What a JSON value is; `None` for missing ones. Numerals in quotes stay texts.
fn kind_of_json(value: &Value, max_dict_keys: usize) -> Option<Kind> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(_) => Kind::Boolean,
        Value::Number(number) if number.is_i64() => Kind::Integer,
        Value::Number(number) if number.is_f64() => Kind::Float,
        Value::Number(_) => Kind::Text,
        Value::String(text) if text.is_empty() => return None,
        Value::String(text) if parse_timestamp(text.as_bytes()).is_some() => Kind::Timestamp,
        Value::String(_) => Kind::Text,
        Value::Array(elements) if elements.iter().all(Value::is_string) => Kind::List,
        Value::Object(entries) if dict_entries(entries, max_dict_keys).is_ok() => Kind::Dict,
        Value::Array(_) | Value::Object(_) => Kind::Text,
    })
}
