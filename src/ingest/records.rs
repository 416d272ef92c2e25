//! A profile's file, record by record.

use serde_json::Value;

use super::columns::{ColumnBuilder, Nested, Values, number, rfc3339};
use super::interner::Interner;
use super::rows::{RowTarget, feed, shown};
use super::values::MISSING;
use super::{FileRecord, IngestError, IngestOptions, InputFile, RecordBatch, RecordsSummary, RejectedRow, Result};
use crate::domain::column::MISSING_CODE;
use crate::domain::job::Reporter;
use crate::domain::schema::{Field, FieldType, Schema};

/// Rows handed over at a time.
const BATCH_ROWS: usize = 1_000;

/// Reads a profile's file by a schema and hands over its records in batches of at most 1,000 rows.
/// The id field need not be in the schema. A row without an id, or with one that is too long, is rejected.
pub fn for_each_record(
    file: InputFile<'_>,
    schema: &Schema,
    id_field: &str,
    options: &IngestOptions,
    reporter: &dyn Reporter,
    take: &mut dyn FnMut(RecordBatch) -> Result<()>,
) -> Result<RecordsSummary> {
    check_id_field(id_field)?;
    let mut fields: Vec<Field> = schema.fields.iter().filter(|field| field.name != id_field).cloned().collect();
    fields.push(Field::new(id_field, FieldType::String));
    let with_id = Schema { version: schema.version, accepted: schema.accepted, fields };
    let mut collector = Collector {
        schema: &with_id,
        columns: new_columns(&with_id, options),
        lines: Vec::new(),
        rejected: Vec::new(),
        options,
        records: 0,
        unusable: 0,
        take,
    };
    let totals = feed(file, &with_id, options, &mut collector, reporter)?;
    collector.flush()?;
    Ok(RecordsSummary {
        records: collector.records,
        rejected_rows: totals.rejected + collector.unusable,
        uncompressed_bytes: totals.uncompressed_bytes,
    })
}

/// `ID` and `_id` (in any case) cannot be a file's id field.
pub fn check_id_field(name: &str) -> Result<()> {
    if name.eq_ignore_ascii_case("id") || name.eq_ignore_ascii_case("_id") {
        return Err(IngestError::input(
            "reserved_id_field",
            format!(
                "The column {name:?} cannot be the id field of a file: the name is reserved. Rename the column \
                 (agent_id or customer_id, for instance) and name it as id_field."
            ),
        ));
    }
    Ok(())
}

fn new_columns(schema: &Schema, options: &IngestOptions) -> Vec<ColumnBuilder> {
    schema.fields.iter().map(|field| ColumnBuilder::new(field.field_type, &options.limits)).collect()
}

struct Collector<'a> {
    /// The id is the last field.
    schema: &'a Schema,
    columns: Vec<ColumnBuilder>,
    lines: Vec<u64>,
    rejected: Vec<RejectedRow>,
    options: &'a IngestOptions,
    records: u64,
    /// Rows rejected for their id.
    unusable: u64,
    take: &'a mut dyn FnMut(RecordBatch) -> Result<()>,
}

impl Collector<'_> {
    fn flush(&mut self) -> Result<()> {
        let columns = std::mem::replace(&mut self.columns, new_columns(self.schema, self.options));
        let lines = std::mem::take(&mut self.lines);
        let mut batch =
            RecordBatch { records: Vec::with_capacity(lines.len()), rejected: std::mem::take(&mut self.rejected) };
        let Some((id_field, fields)) = self.schema.fields.split_last() else { return Ok(()) };
        for (row, line) in lines.into_iter().enumerate() {
            let id = match json_of(&columns[fields.len()].values, row) {
                Value::String(id) => id,
                _ => String::new(),
            };
            let reason = match id.len() {
                0 => "the id is missing".to_owned(),
                n if n > self.options.limits.max_id_bytes => {
                    format!("the id has {n} bytes; the limit MAX_ID_BYTES is {}", self.options.limits.max_id_bytes)
                }
                _ => {
                    let values =
                        fields.iter().zip(&columns).map(|(field, column)| (&field.name, json_of(&column.values, row)));
                    let fields =
                        values.filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.clone(), value));
                    batch.records.push(FileRecord { line, id, fields: fields.collect() });
                    continue;
                }
            };
            self.unusable += 1;
            batch.rejected.push(RejectedRow { line, column: id_field.name.clone(), value: shown(&id), reason });
        }
        self.records += batch.records.len() as u64;
        if batch.records.is_empty() && batch.rejected.is_empty() {
            return Ok(());
        }
        (self.take)(batch)
    }
}

impl RowTarget for Collector<'_> {
    fn columns(&mut self) -> &mut [ColumnBuilder] {
        &mut self.columns
    }

    fn undo(&mut self) {
        let rows = self.lines.len();
        self.columns.iter_mut().for_each(|column| column.truncate(rows));
    }

    fn room(&self) -> usize {
        BATCH_ROWS.saturating_sub(self.lines.len() + self.rejected.len()).max(1)
    }

    fn accept(&mut self, lines: impl IntoIterator<Item = u64>) -> Result<()> {
        self.lines.extend(lines);
        if self.lines.len() + self.rejected.len() >= BATCH_ROWS { self.flush() } else { Ok(()) }
    }

    fn reject(&mut self, row: RejectedRow) -> Result<()> {
        self.rejected.push(row);
        if self.lines.len() + self.rejected.len() >= BATCH_ROWS { self.flush() } else { Ok(()) }
    }
}

/// A value being built, as JSON; null where missing.
fn json_of(values: &Values, row: usize) -> Value {
    match values {
        Values::Boolean(values) => match values[row] {
            2 => Value::Null,
            value => Value::Bool(value == 1),
        },
        Values::Integer(values) if values[row] != MISSING => Value::from(values[row]),
        Values::Timestamp(values) if values[row] != MISSING => Value::from(rfc3339(values[row])),
        Values::Integer(_) | Values::Timestamp(_) => Value::Null,
        // NaN becomes null.
        Values::Float(values) => Value::from(values[row]),
        Values::Text { codes, texts } => match codes[row] {
            MISSING_CODE => Value::Null,
            code => text(texts, code),
        },
        Values::List(nested) | Values::Dict(nested) if nested.missing[row] => Value::Null,
        Values::List(nested) => nested.codes[nested.range(row)].iter().map(|code| text(&nested.texts, *code)).collect(),
        Values::Dict(nested) => dict(nested, row),
    }
}

fn text(texts: &Interner, code: u32) -> Value {
    Value::String(texts.text(code).into_owned())
}

fn dict(nested: &Nested, row: usize) -> Value {
    let value = |at: usize| match nested.booleans[at] {
        true => Value::Bool(nested.numbers[at] == 1.0),
        false => number(nested.numbers[at]),
    };
    nested.range(row).map(|at| (nested.texts.text(nested.codes[at]).into_owned(), value(at))).collect()
}
