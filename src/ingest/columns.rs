//! Typed columns being built, one value at a time; a value that does not fit is refused with the reason.

use std::sync::Arc;

use serde_json::Value;

use super::interner::Interner;
use super::values::{
    DictEntry, MISSING, dict_entries, epoch_micros, parse_boolean, parse_dict, parse_epoch, parse_float, parse_integer,
    parse_list, parse_timestamp, trim,
};
use crate::config::Limits;
use crate::domain::Timestamp;
use crate::domain::column::{Column, MISSING_CODE};
use crate::domain::schema::FieldType;

/// A value that already has a type: from JSON, Parquet or a stored segment.
#[derive(Debug, Clone)]
pub(super) enum Cell<'a> {
    Missing,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(&'a str),
    /// Microseconds since 1970.
    Time(i64),
    List(Vec<&'a str>),
    Dict(Vec<(&'a str, f64)>),
    Json(&'a Value),
}

/// Values of lists and dictionaries: a row's are between the previous row's end and its own.
#[derive(Debug, Default)]
pub(super) struct Nested {
    pub ends: Vec<u32>,
    pub missing: Vec<bool>,
    pub codes: Vec<u32>,
    /// Beside `codes` in dictionaries, empty in lists.
    pub numbers: Vec<f64>,
    /// Which of the numbers were written as Booleans.
    pub booleans: Vec<bool>,
    pub texts: Interner,
}

/// A column's values in memory.
#[derive(Debug)]
pub(super) enum Values {
    /// 0, 1, or 2 where missing.
    Boolean(Vec<u8>),
    /// [`MISSING`] where missing.
    Integer(Vec<i64>),
    /// [`MISSING`] where missing.
    Timestamp(Vec<i64>),
    /// NaN where missing.
    Float(Vec<f64>),
    /// [`MISSING_CODE`] where missing.
    Text {
        codes: Vec<u32>,
        texts: Interner,
    },
    List(Nested),
    Dict(Nested),
}

/// Builds a column of one type.
#[derive(Debug)]
pub(super) struct ColumnBuilder {
    pub values: Values,
    max_dict_keys: usize,
}

/// Why a value was refused.
pub(super) type Refused = String;

impl ColumnBuilder {
    pub fn new(field_type: FieldType, limits: &Limits) -> Self {
        let values = match field_type {
            FieldType::Boolean => Values::Boolean(Vec::new()),
            FieldType::Integer => Values::Integer(Vec::new()),
            FieldType::Float => Values::Float(Vec::new()),
            FieldType::String => Values::Text { codes: Vec::new(), texts: Interner::default() },
            FieldType::Timestamp => Values::Timestamp(Vec::new()),
            FieldType::List => Values::List(Nested::default()),
            FieldType::Dict => Values::Dict(Nested::default()),
        };
        Self { values, max_dict_keys: limits.max_dict_keys }
    }

    /// What was built, as a column of the domain.
    pub fn into_column(self) -> Column {
        let present = |value: i64| Some(value).filter(|value| *value != MISSING);
        let shared = |texts: &Interner| -> Vec<Arc<str>> {
            (0..).take(texts.len()).map(|code| texts.text(code).into()).collect()
        };
        match self.values {
            Values::Boolean(values) => {
                Column::Boolean(values.into_iter().map(|v| (v != 2).then_some(v == 1)).collect())
            }
            Values::Integer(values) => Column::Integer(values.into_iter().map(present).collect()),
            Values::Timestamp(values) => Column::Timestamp(values.into_iter().map(present).collect()),
            Values::Float(values) => Column::Float(values),
            Values::Text { codes, texts } => Column::Text { codes, dictionary: shared(&texts) },
            Values::List(nested) => {
                let texts = shared(&nested.texts);
                let elements = |row| nested.codes[nested.range(row)].iter().map(|code| texts[*code as usize].clone());
                Column::List(nested.rows().map(|row| row.map(|row| elements(row).collect())).collect())
            }
            Values::Dict(nested) => {
                let texts = shared(&nested.texts);
                let entry = |at: usize| (texts[nested.codes[at] as usize].clone(), nested.numbers[at]);
                Column::Dict(nested.rows().map(|row| row.map(|row| nested.range(row).map(entry).collect())).collect())
            }
        }
    }

    pub fn memory_bytes(&self) -> usize {
        match &self.values {
            Values::Boolean(values) => values.len(),
            Values::Integer(values) | Values::Timestamp(values) => values.len() * 8,
            Values::Float(values) => values.len() * 8,
            Values::Text { codes, texts } => codes.len() * 4 + texts.memory_bytes(),
            Values::List(nested) | Values::Dict(nested) => {
                nested.ends.len() * 5 + nested.codes.len() * 4 + nested.numbers.len() * 9 + nested.texts.memory_bytes()
            }
        }
    }

    /// Takes values away again, after a later value of their row was refused.
    pub fn truncate(&mut self, rows: usize) {
        match &mut self.values {
            Values::Boolean(values) => values.truncate(rows),
            Values::Integer(values) | Values::Timestamp(values) => values.truncate(rows),
            Values::Float(values) => values.truncate(rows),
            Values::Text { codes, .. } => codes.truncate(rows),
            Values::List(nested) | Values::Dict(nested) => {
                nested.ends.truncate(rows);
                nested.missing.truncate(rows);
                let end = nested.ends.last().map_or(0, |end| *end as usize);
                nested.codes.truncate(end);
                nested.numbers.truncate(end);
                nested.booleans.truncate(end);
            }
        }
    }

    pub fn push_missing(&mut self) {
        match &mut self.values {
            Values::Boolean(values) => values.push(2),
            Values::Integer(values) | Values::Timestamp(values) => values.push(MISSING),
            Values::Float(values) => values.push(f64::NAN),
            Values::Text { codes, .. } => codes.push(MISSING_CODE),
            Values::List(nested) | Values::Dict(nested) => nested.end_row(true),
        }
    }

    /// A value as written in a text file; not a missing one.
    pub fn push_text(&mut self, text: &[u8]) -> Result<(), Refused> {
        match &mut self.values {
            Values::Text { codes, texts } => codes.push(texts.intern(text)),
            Values::Integer(values) => values.push(integer_of(text).ok_or_else(|| not_integer(text))?),
            Values::Float(values) => values.push(float_of(text).ok_or("it is not a number")?),
            Values::Boolean(values) => {
                values.push(u8::from(boolean_of(text).ok_or("it is neither true nor false")?));
            }
            Values::Timestamp(values) => {
                values
                    .push(time_of(text).ok_or("it is not a time such as 2024-01-31 13:45:00 or 2024-01-31T13:45:00Z")?);
            }
            Values::List(nested) => match parse_list(trim(text)) {
                Some(elements) => nested.push_list(elements.iter().map(String::as_str)),
                None => return Err("it is not a JSON list of texts such as [\"a\", \"b\"]".to_owned()),
            },
            Values::Dict(nested) => {
                nested.push_entries(&parse_dict(trim(text), self.max_dict_keys)?);
            }
        }
        Ok(())
    }

    /// A typed value; converted where nothing is lost.
    pub fn push_cell(&mut self, cell: &Cell<'_>) -> Result<(), Refused> {
        match cell {
            Cell::Missing | Cell::Json(Value::Null) => self.push_missing(),
            Cell::Json(value) => return self.push_json(value),
            Cell::Text(text) if !matches!(self.values, Values::Text { .. }) => return self.push_text(text.as_bytes()),
            _ => match (&mut self.values, cell) {
                (Values::Text { codes, texts }, cell) => codes.push(texts.intern(&text_of(cell))),
                (Values::Integer(values), Cell::Integer(value)) if *value != MISSING => values.push(*value),
                (Values::Integer(values), Cell::Float(value)) => match integral(*value) {
                    Some(value) => values.push(value),
                    None if value.fract() == 0.0 => return Err(TOO_LARGE.to_owned()),
                    None => return Err("it is not a whole number".to_owned()),
                },
                (Values::Float(values), Cell::Float(value)) if value.is_finite() => values.push(*value),
                (Values::Float(values), Cell::Integer(value)) => values.push(*value as f64),
                (Values::Boolean(values), Cell::Boolean(value)) => values.push(u8::from(*value)),
                (Values::Boolean(values), Cell::Integer(value @ 0..=1)) => values.push(u8::from(*value == 1)),
                (Values::Timestamp(values), Cell::Time(value)) if *value != MISSING => values.push(*value),
                (Values::Timestamp(values), Cell::Integer(value)) => match epoch_micros(*value) {
                    Some(value) => values.push(value),
                    None => return Err("it is too small for seconds since 1970".to_owned()),
                },
                (Values::List(nested), Cell::List(elements)) => nested.push_list(elements.iter().copied()),
                (Values::Dict(nested), Cell::Dict(entries)) => {
                    if entries.len() > self.max_dict_keys {
                        let (keys, limit) = (entries.len(), self.max_dict_keys);
                        return Err(format!("it has {keys} keys; the limit MAX_DICT_KEYS is {limit}"));
                    }
                    nested.push_dict(entries.iter().map(|(key, number)| (*key, *number, false)));
                }
                (values, cell) => return Err(format!("it is {} and not {}", kind_of(cell), name_of(values))),
            },
        }
        Ok(())
    }

    fn push_json(&mut self, value: &Value) -> Result<(), Refused> {
        match value {
            Value::Null => {
                self.push_missing();
                Ok(())
            }
            Value::Bool(value) => self.push_cell(&Cell::Boolean(*value)),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(value), _) => self.push_cell(&Cell::Integer(value)),
                (None, Some(value)) => self.push_cell(&Cell::Float(value)),
                _ => Err("it is too large a number".to_owned()),
            },
            Value::String(text) => self.push_cell(&Cell::Text(text)),
            Value::Array(elements) => {
                let texts: Option<Vec<&str>> = elements.iter().map(Value::as_str).collect();
                match texts {
                    Some(texts) => self.push_cell(&Cell::List(texts)),
                    None => Err("the list has an element that is not a text".to_owned()),
                }
            }
            Value::Object(entries) => {
                let entries = dict_entries(entries, self.max_dict_keys)?;
                if let Values::Dict(nested) = &mut self.values {
                    nested.push_entries(&entries);
                    return Ok(());
                }
                self.push_cell(&Cell::Dict(entries.iter().map(|entry| (entry.key.as_str(), entry.number)).collect()))
            }
        }
    }
}

impl Nested {
    #[expect(clippy::cast_possible_truncation, reason = "a segment's memory limit is far below 4 GiB")]
    fn end_row(&mut self, missing: bool) {
        self.ends.push(self.codes.len() as u32);
        self.missing.push(missing);
    }

    fn push_list<'a>(&mut self, elements: impl Iterator<Item = &'a str>) {
        for element in elements {
            let code = self.texts.intern(element.as_bytes());
            self.codes.push(code);
        }
        self.end_row(false);
    }

    fn push_entries(&mut self, entries: &[DictEntry]) {
        self.push_dict(entries.iter().map(|entry| (entry.key.as_str(), entry.number, entry.is_boolean)));
    }

    fn push_dict<'a>(&mut self, entries: impl Iterator<Item = (&'a str, f64, bool)>) {
        for (key, value, is_boolean) in entries {
            let code = self.texts.intern(key.as_bytes());
            self.codes.push(code);
            self.numbers.push(value);
            self.booleans.push(is_boolean);
        }
        self.end_row(false);
    }

    /// Row numbers; `None` where the row's value is missing.
    fn rows(&self) -> impl Iterator<Item = Option<usize>> + '_ {
        self.missing.iter().enumerate().map(|(row, missing)| (!missing).then_some(row))
    }

    /// Where a row's values are in `codes` and `numbers`.
    pub fn range(&self, row: usize) -> std::ops::Range<usize> {
        let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        start..self.ends[row] as usize
    }
}

/// An integer as written in a text file.
pub(super) fn integer_of(text: &[u8]) -> Option<i64> {
    parse_integer(text).or_else(|| parse_integer(trim(text)))
}

/// A number as written in a text file.
pub(super) fn float_of(text: &[u8]) -> Option<f64> {
    parse_float(text).or_else(|| parse_float(trim(text)))
}

/// A Boolean as written in a text file.
pub(super) fn boolean_of(text: &[u8]) -> Option<bool> {
    parse_boolean(trim(text))
}

/// A time as written in a text file, in microseconds since 1970.
pub(super) fn time_of(text: &[u8]) -> Option<i64> {
    let text = trim(text);
    parse_timestamp(text).or_else(|| parse_epoch(text))
}

/// Of a whole number beyond the integers.
const TOO_LARGE: &str = "it is too large for a whole number (64 bit)";

fn not_integer(text: &[u8]) -> Refused {
    let digits = trim(text).iter().filter(|b| b.is_ascii_digit()).count();
    if digits > 18 && parse_float(trim(text)).is_some() {
        TOO_LARGE.to_owned()
    } else {
        "it is not a whole number".to_owned()
    }
}

/// A float without a fraction, as far as floats are exact.
fn integral(value: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and below 2^53")]
    (value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0).then_some(value as i64)
}

fn kind_of(cell: &Cell<'_>) -> &'static str {
    match cell {
        Cell::Missing => "missing",
        Cell::Boolean(_) => "a Boolean",
        Cell::Integer(_) | Cell::Float(_) => "a number",
        Cell::Text(_) => "a text",
        Cell::Time(_) => "a time",
        Cell::List(_) => "a list",
        Cell::Dict(_) => "a dictionary",
        Cell::Json(_) => "a JSON value",
    }
}

fn name_of(values: &Values) -> &'static str {
    match values {
        Values::Boolean(_) => "a Boolean",
        Values::Integer(_) => "an integer",
        Values::Timestamp(_) => "a time",
        Values::Float(_) => "a number",
        Values::Text { .. } => "a text",
        Values::List(_) => "a list of texts",
        Values::Dict(_) => "a dictionary",
    }
}

/// A typed value written as text, for fields of type String.
pub(super) fn text_of(cell: &Cell<'_>) -> Vec<u8> {
    match cell {
        Cell::Text(text) => text.as_bytes().to_vec(),
        Cell::Boolean(value) => value.to_string().into_bytes(),
        Cell::Integer(value) => value.to_string().into_bytes(),
        Cell::Float(value) => value.to_string().into_bytes(),
        Cell::Time(micros) => rfc3339(*micros).into_bytes(),
        Cell::List(elements) => serde_json::to_vec(elements).unwrap_or_default(),
        Cell::Dict(entries) => {
            let map: serde_json::Map<String, Value> =
                entries.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect();
            serde_json::to_vec(&map).unwrap_or_default()
        }
        Cell::Json(value) => value.to_string().into_bytes(),
        Cell::Missing => Vec::new(),
    }
}

/// RFC 3339 in UTC with six decimals, so that the order of texts is the order of times.
pub(super) fn rfc3339(micros: i64) -> String {
    match Timestamp::from_timestamp_micros(micros) {
        Some(time) => time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
        None => micros.to_string(),
    }
}

/// One value of a column in memory.
pub(super) fn cell_at(column: &Column, row: usize) -> Cell<'_> {
    match column {
        Column::Boolean(values) => values[row].map_or(Cell::Missing, Cell::Boolean),
        Column::Integer(values) => values[row].map_or(Cell::Missing, Cell::Integer),
        Column::Timestamp(values) => values[row].map_or(Cell::Missing, Cell::Time),
        Column::Float(values) if values[row].is_nan() => Cell::Missing,
        Column::Float(values) => Cell::Float(values[row]),
        Column::Text { codes, dictionary } => match codes[row] {
            MISSING_CODE => Cell::Missing,
            code => Cell::Text(&dictionary[code as usize]),
        },
        Column::List(values) => match &values[row] {
            Some(elements) => Cell::List(elements.iter().map(AsRef::as_ref).collect()),
            None => Cell::Missing,
        },
        Column::Dict(values) => match &values[row] {
            Some(entries) => Cell::Dict(entries.iter().map(|(key, value)| (key.as_ref(), *value)).collect()),
            None => Cell::Missing,
        },
    }
}

/// One value of a column as JSON; times as RFC 3339 with six decimals.
pub fn value_at(column: &Column, row: usize) -> Value {
    match cell_at(column, row) {
        Cell::Missing => Value::Null,
        Cell::Boolean(value) => Value::Bool(value),
        Cell::Integer(value) => Value::from(value),
        Cell::Float(value) => Value::from(value),
        Cell::Text(text) => Value::from(text),
        Cell::Time(micros) => Value::from(rfc3339(micros)),
        Cell::List(elements) => Value::from(elements),
        Cell::Dict(entries) => entries.into_iter().map(|(key, value)| (key, number(value))).collect(),
        Cell::Json(value) => value.clone(),
    }
}

/// A dictionary's number, without a fraction where it has none.
pub(super) fn number(value: f64) -> Value {
    integral(value).map_or_else(|| Value::from(value), Value::from)
}
