//! Which rows are wanted: tests of columns, evaluated on values and, to leave segments and pages out, on bounds.

use std::cmp::Ordering;

use parquet::file::page_index::column_index::ColumnIndexMetaData;
use serde_json::Value;

use super::bloom;
use super::columns::Cell;
use super::values::parse_timestamp;
use crate::domain::Timestamp;
use crate::domain::schema::{Field, FieldType, Schema};
use crate::domain::segment::ColumnDirectory;
use crate::sketch::{hash_integer, hash_text};

/// A comparison of a column with a value; all of a [`RowFilter`]'s must hold. `column` is a field, or `field.key` for
/// a dictionary's key. As in the document store: a missing value is false except for `NotEqual`; values of different
/// kinds are not equal and have no order; an integer and a float compare as numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct RowTest {
    pub column: String,
    pub comparison: RowComparison,
    pub value: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowComparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// A list that has the element, or a dictionary that has the key.
    Contains,
    /// The value is not missing; `value` is not looked at.
    Exists,
}

/// Which rows are wanted: rows that pass every test, in a time range (`from` ≤ timestamp field < `to`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RowFilter {
    pub tests: Vec<RowTest>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

/// A test bound to a field of the schema.
#[derive(Debug, Clone)]
pub(super) struct BoundTest {
    pub field: Field,
    /// A dictionary's key.
    key: Option<String>,
    pub comparison: RowComparison,
    value: Wanted,
}

#[derive(Debug, Clone)]
enum Wanted {
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    Time(i64),
    Nothing,
}

impl BoundTest {
    /// `None` when the schema has no such field.
    pub fn bind(schema: &Schema, test: &RowTest) -> Option<Self> {
        let (field, key) = match schema.field(&test.column) {
            Some(field) => (field, None),
            None => {
                let fits = |field: &&Field| {
                    field.field_type == FieldType::Dict
                        && test.column.strip_prefix(field.name.as_str()).is_some_and(|rest| rest.starts_with('.'))
                };
                let field = schema.fields.iter().find(fits)?;
                (field, Some(test.column[field.name.len() + 1..].to_owned()))
            }
        };
        let value = match &test.value {
            Value::Bool(value) if key.is_some() => Wanted::Float(f64::from(u8::from(*value))),
            Value::Bool(value) => Wanted::Boolean(*value),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(value), _) => Wanted::Integer(value),
                (None, Some(value)) => Wanted::Float(value),
                _ => Wanted::Nothing,
            },
            Value::String(text) if field.field_type == FieldType::Timestamp => {
                parse_timestamp(text.as_bytes()).map_or(Wanted::Nothing, Wanted::Time)
            }
            Value::String(text) => Wanted::Text(text.clone()),
            _ => Wanted::Nothing,
        };
        Some(Self { field: field.clone(), key, comparison: test.comparison, value })
    }

    pub fn time(field: &Field, comparison: RowComparison, time: Timestamp) -> Self {
        Self { field: field.clone(), key: None, comparison, value: Wanted::Time(time.timestamp_micros()) }
    }

    pub fn passes(&self, cell: &Cell<'_>) -> bool {
        if let Some(key) = &self.key {
            let Cell::Dict(entries) = cell else { return self.comparison == RowComparison::NotEqual };
            let value = entries.iter().find(|(k, _)| k == key).map_or(Cell::Missing, |(_, value)| Cell::Float(*value));
            return self.holds(&value);
        }
        self.holds(cell)
    }

    fn holds(&self, cell: &Cell<'_>) -> bool {
        match (self.comparison, cell) {
            (RowComparison::Exists, cell) => !matches!(cell, Cell::Missing),
            (RowComparison::Contains, Cell::List(elements)) => {
                matches!(&self.value, Wanted::Text(text) if elements.contains(&text.as_str()))
            }
            (RowComparison::Contains, Cell::Dict(entries)) => {
                matches!(&self.value, Wanted::Text(text) if entries.iter().any(|(key, _)| key == text))
            }
            (RowComparison::Contains, _) => false,
            (RowComparison::NotEqual, Cell::Missing) => true,
            (comparison, cell) => {
                let order = self.compare(cell);
                match comparison {
                    RowComparison::Equal => order == Some(Ordering::Equal),
                    RowComparison::NotEqual => order != Some(Ordering::Equal),
                    RowComparison::Less => order == Some(Ordering::Less),
                    RowComparison::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
                    RowComparison::Greater => order == Some(Ordering::Greater),
                    _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
                }
            }
        }
    }

    /// The cell's place relative to the wanted value.
    fn compare(&self, cell: &Cell<'_>) -> Option<Ordering> {
        match (cell, &self.value) {
            (Cell::Boolean(cell), Wanted::Boolean(value)) => Some(cell.cmp(value)),
            (Cell::Integer(cell), Wanted::Integer(value)) => Some(cell.cmp(value)),
            (Cell::Integer(cell), Wanted::Float(value)) => (*cell as f64).partial_cmp(value),
            (Cell::Float(cell), Wanted::Integer(value)) => cell.partial_cmp(&(*value as f64)),
            (Cell::Float(cell), Wanted::Float(value)) => cell.partial_cmp(value),
            (Cell::Text(cell), Wanted::Text(value)) => Some((*cell).cmp(value.as_str())),
            (Cell::Time(cell), Wanted::Time(value)) => Some(cell.cmp(value)),
            _ => None,
        }
    }

    /// The hash under which bloom filters and postings know the wanted value; `None` when they don't help.
    pub fn lookup_hash(&self) -> Option<u64> {
        if self.comparison != RowComparison::Equal || self.key.is_some() {
            return None;
        }
        match (self.field.field_type, &self.value) {
            (FieldType::String, Wanted::Text(text)) => Some(hash_text(text.as_bytes())),
            (FieldType::Integer, Wanted::Integer(value)) => Some(hash_integer(*value)),
            _ => None,
        }
    }

    /// False when no row of a segment can pass, by its directory.
    pub fn may_pass(&self, rows: u64, column: &ColumnDirectory) -> bool {
        if self.comparison == RowComparison::NotEqual {
            return true;
        }
        if column.nulls == rows {
            return false;
        }
        if let (Some(hash), Some(filter)) = (self.lookup_hash(), &column.bloom)
            && !bloom::may_hold(filter, hash)
        {
            return false;
        }
        let bound = |value: &Option<Value>| {
            value.as_ref().map(|value| match (value, self.field.field_type) {
                (Value::String(text), FieldType::Timestamp) => {
                    parse_timestamp(text.as_bytes()).map_or(Own::None, Own::Time)
                }
                (Value::String(text), _) => Own::Text(text.clone()),
                (Value::Bool(value), _) => Own::Boolean(*value),
                (value, FieldType::Integer) => value.as_i64().map_or(Own::None, Own::Integer),
                (value, _) => value.as_f64().map_or(Own::None, Own::Float),
            })
        };
        self.may_lie_between(bound(&column.min).as_ref().map(Own::cell), bound(&column.max).as_ref().map(Own::cell))
    }

    /// False when no value from `min` to `max` (`None`: unbounded) can pass.
    fn may_lie_between(&self, min: Option<Cell<'_>>, max: Option<Cell<'_>>) -> bool {
        if self.key.is_some() {
            return true;
        }
        let min = min.and_then(|min| self.compare(&min));
        let max = max.and_then(|max| self.compare(&max));
        match self.comparison {
            RowComparison::Equal => min != Some(Ordering::Greater) && max != Some(Ordering::Less),
            RowComparison::Less => !matches!(min, Some(Ordering::Greater | Ordering::Equal)),
            RowComparison::LessOrEqual => min != Some(Ordering::Greater),
            RowComparison::Greater => !matches!(max, Some(Ordering::Less | Ordering::Equal)),
            RowComparison::GreaterOrEqual => max != Some(Ordering::Less),
            RowComparison::NotEqual | RowComparison::Contains | RowComparison::Exists => true,
        }
    }

    /// For each page of the column: whether a row of it may pass.
    pub fn pages_that_may_pass(&self, index: &ColumnIndexMetaData) -> Vec<bool> {
        let pages = usize::try_from(index.num_pages()).unwrap_or(0);
        let page = |at: usize| {
            if self.comparison == RowComparison::NotEqual {
                return true;
            }
            if index.is_null_page(at) {
                return false;
            }
            let (min, max) = match index {
                ColumnIndexMetaData::INT64(values) => {
                    let own = |value: Option<&i64>| {
                        value.map(|value| match self.field.field_type {
                            FieldType::Timestamp => Cell::Time(*value),
                            _ => Cell::Integer(*value),
                        })
                    };
                    (own(values.min_value(at)), own(values.max_value(at)))
                }
                ColumnIndexMetaData::DOUBLE(values) => {
                    (values.min_value(at).map(|v| Cell::Float(*v)), values.max_value(at).map(|v| Cell::Float(*v)))
                }
                ColumnIndexMetaData::BYTE_ARRAY(values) => {
                    let own = |value: Option<&[u8]>| {
                        value.map(|value| Own::Text(String::from_utf8_lossy(value).into_owned()))
                    };
                    let (min, max) = (own(values.min_value(at)), own(values.max_value(at)));
                    return self.may_lie_between(min.as_ref().map(Own::cell), max.as_ref().map(Own::cell));
                }
                _ => return true,
            };
            self.may_lie_between(min, max)
        };
        (0..pages).map(page).collect()
    }
}

/// An owned bound.
enum Own {
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    Time(i64),
    None,
}

impl Own {
    fn cell(&self) -> Cell<'_> {
        match self {
            Own::Boolean(value) => Cell::Boolean(*value),
            Own::Integer(value) => Cell::Integer(*value),
            Own::Float(value) => Cell::Float(*value),
            Own::Text(text) => Cell::Text(text),
            Own::Time(value) => Cell::Time(*value),
            Own::None => Cell::Missing,
        }
    }
}
