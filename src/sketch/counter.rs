//! One field's counts.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::distinct::{Distinct, hash_float, hash_integer, hash_text};
use super::few::Few;
use crate::domain::Timestamp;
use crate::domain::cardinality::{FieldCardinality, ValueCount};
use crate::domain::schema::FieldType;

/// Values are listed with their counts while they are at most so many …
pub const MAX_FEW: usize = 100;
/// … and none is longer than this.
pub const MAX_FEW_BYTES: usize = 128;
/// Keys of a dictionary are counted one by one while they are at most so many.
pub const MAX_KEYS: usize = 1_000;
/// Bounds are kept to so many characters; a longer maximum ends in `…`.
const MAX_BOUND_CHARS: usize = 200;

/// A value that bounds others of its field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    /// Microseconds since 1970-01-01T00:00:00Z.
    Time(i64),
}

impl Bound {
    fn compare(&self, other: &Bound) -> Option<Ordering> {
        match (self, other) {
            (Bound::Boolean(a), Bound::Boolean(b)) => Some(a.cmp(b)),
            (Bound::Integer(a), Bound::Integer(b)) | (Bound::Time(a), Bound::Time(b)) => Some(a.cmp(b)),
            (Bound::Float(a), Bound::Float(b)) => a.partial_cmp(b),
            (Bound::Text(a), Bound::Text(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }

    /// As shown: times as RFC 3339.
    pub fn to_json(&self) -> Value {
        match self {
            Bound::Boolean(value) => Value::Bool(*value),
            Bound::Integer(value) => Value::from(*value),
            Bound::Float(value) => Value::from(*value),
            Bound::Text(text) => Value::from(text.as_str()),
            Bound::Time(micros) => match Timestamp::from_timestamp_micros(*micros) {
                Some(time) => Value::from(time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)),
                None => Value::from(*micros),
            },
        }
    }

    fn hash(&self) -> u64 {
        match self {
            Bound::Boolean(value) => hash_integer(i64::from(*value)),
            Bound::Integer(value) | Bound::Time(value) => hash_integer(*value),
            Bound::Float(value) => hash_float(*value),
            Bound::Text(text) => hash_text(text.as_bytes()),
        }
    }
}

/// The counts of one field; see the module's documentation for lists and dictionaries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldCounter {
    pub field_type: FieldType,
    pub rows: u64,
    pub nulls: u64,
    pub min: Option<Bound>,
    pub max: Option<Bound>,
    pub distinct: Distinct,
    /// The values with their counts; `None` once they are too many or too long.
    few: Option<Few>,
    /// A dictionary's keys; `None` once they are too many.
    keys: Option<BTreeMap<String, FieldCounter>>,
}

impl FieldCounter {
    pub fn new(field_type: FieldType) -> Self {
        Self {
            field_type,
            rows: 0,
            nulls: 0,
            min: None,
            max: None,
            distinct: Distinct::default(),
            few: Some(Few::default()),
            keys: (field_type == FieldType::Dict).then(BTreeMap::new),
        }
    }

    /// Adds a value's distinctness, bounds and count; rows and nulls are the caller's.
    /// A value of another type than the field's is not counted (it was never accepted).
    pub fn add_json(&mut self, value: &Value) {
        match (self.field_type, value) {
            (_, Value::Null) => {}
            (FieldType::List, Value::Array(elements)) => {
                elements.iter().filter_map(Value::as_str).for_each(|text| self.add_text(text, 1));
            }
            (FieldType::Dict, Value::Object(entries)) => {
                for (key, value) in entries {
                    let number = value.as_f64().or_else(|| value.as_bool().map(|b| f64::from(u8::from(b))));
                    if let Some(number) = number {
                        self.add_entry(key, number, 1);
                    }
                }
            }
            (FieldType::Boolean, Value::Bool(value)) => self.add(Bound::Boolean(*value), 1),
            (FieldType::Integer, value) => {
                if let Some(value) = value.as_i64() {
                    self.add(Bound::Integer(value), 1);
                }
            }
            (FieldType::Float, value) => {
                if let Some(value) = value.as_f64() {
                    self.add(Bound::Float(value), 1);
                }
            }
            (FieldType::Timestamp, Value::String(text)) => {
                if let Ok(time) = chrono::DateTime::parse_from_rfc3339(text) {
                    self.add(Bound::Time(time.timestamp_micros()), 1);
                }
            }
            (FieldType::String, Value::String(text)) => self.add_text(text, 1),
            _ => {}
        }
    }

    /// Adds `count` occurrences of a value.
    pub fn add(&mut self, value: Bound, count: u64) {
        self.distinct.insert(value.hash());
        self.widen(&value);
        self.add_few(value, count);
    }

    /// Adds `count` occurrences of a text (or of a list's element).
    pub fn add_text(&mut self, text: &str, count: u64) {
        self.distinct.insert(hash_text(text.as_bytes()));
        let is_within = |bound: &Option<Bound>, outside: Ordering| match bound {
            Some(Bound::Text(bound)) => text.cmp(bound) != outside,
            _ => false,
        };
        if !is_within(&self.min, Ordering::Less) || !is_within(&self.max, Ordering::Greater) {
            self.widen(&Bound::Text(text.to_owned()));
        }
        if self.few.as_mut().is_some_and(|few| few.add_text(text, count).is_err()) {
            self.few = None;
        }
    }

    /// Adds `count` occurrences of a dictionary's entry.
    pub fn add_entry(&mut self, key: &str, value: f64, count: u64) {
        self.add_text(key, count);
        let Some(keys) = &mut self.keys else { return };
        let known = keys.len();
        let counter = match keys.get_mut(key) {
            Some(counter) => counter,
            None if known >= MAX_KEYS => {
                self.keys = None;
                return;
            }
            None => keys.entry(key.to_owned()).or_insert_with(|| FieldCounter::new(FieldType::Float)),
        };
        counter.rows += count;
        counter.add(Bound::Float(value), count);
    }

    /// Extends minimum and maximum.
    pub fn widen(&mut self, value: &Bound) {
        if self.min.as_ref().is_none_or(|min| value.compare(min) == Some(Ordering::Less)) {
            self.min = Some(value.clone());
        }
        if self.max.as_ref().is_none_or(|max| value.compare(max) == Some(Ordering::Greater)) {
            self.max = Some(value.clone());
        }
    }

    /// Whether values are still counted one by one; when not, adding hashes and bounds is enough.
    pub fn counts_values(&self) -> bool {
        self.few.is_some()
    }

    /// Gives up counting values one by one: there are more than [`MAX_FEW`].
    pub fn stop_counting_values(&mut self) {
        self.few = None;
    }

    /// Adds to a value's count, without distinctness and bounds.
    pub fn add_few(&mut self, value: Bound, count: u64) {
        if self.few.as_mut().is_some_and(|few| few.add(value, count).is_err()) {
            self.few = None;
        }
    }

    /// Adds another counter of the same field and type.
    pub fn merge(&mut self, other: &FieldCounter) {
        self.rows += other.rows;
        self.nulls += other.nulls;
        other.min.iter().chain(&other.max).for_each(|bound| self.widen(bound));
        self.distinct.merge(&other.distinct);
        match &other.few {
            None => self.few = None,
            Some(theirs) => theirs.iter().for_each(|(value, count)| self.add_few(value.clone(), *count)),
        }
        match (&mut self.keys, &other.keys) {
            (Some(mine), Some(theirs)) => {
                for (key, counter) in theirs {
                    match mine.get_mut(key) {
                        Some(own) => own.merge(counter),
                        None => drop(mine.insert(key.clone(), counter.clone())),
                    }
                }
                if mine.len() > MAX_KEYS {
                    self.keys = None;
                }
            }
            (keys, _) => *keys = None,
        }
    }

    /// The counts as `GET …/cardinalities` shows them (a dictionary's keys left out).
    pub fn to_field_cardinality(&self, name: &str) -> FieldCardinality {
        let values = self.few.as_ref().map(|few| {
            let mut values: Vec<&(Bound, u64)> = few.iter().collect();
            values.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            values.iter().map(|(value, count)| ValueCount { value: value.to_json(), count: *count }).collect()
        });
        FieldCardinality {
            field: name.to_owned(),
            field_type: self.field_type,
            rows: self.rows,
            nulls: self.nulls,
            distinct: self.distinct.count(),
            exact: self.distinct.is_exact(),
            min: self.min.as_ref().map(|bound| shown(bound).to_json()),
            max: self.max.as_ref().map(|bound| shown(bound).to_json()),
            values,
        }
    }

    /// Adds the field's entry and those of a dictionary's keys.
    pub(super) fn describe(&self, name: &str, all: &mut Vec<FieldCardinality>) {
        all.push(self.to_field_cardinality(name));
        for (key, counter) in self.keys.iter().flatten() {
            let mut entry = counter.to_field_cardinality(&format!("{name}.{key}"));
            // A row without the key has no value for it.
            entry.nulls = self.rows.saturating_sub(entry.rows);
            entry.rows = self.rows.max(entry.rows);
            all.push(entry);
        }
    }
}

/// Long texts are cut with a mark.
fn shown(bound: &Bound) -> Bound {
    match bound {
        Bound::Text(text) if text.chars().count() > MAX_BOUND_CHARS => {
            Bound::Text(text.chars().take(MAX_BOUND_CHARS).chain(['…']).collect())
        }
        other => other.clone(),
    }
}
