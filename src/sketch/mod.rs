//! Cardinalities: how many distinct values a field has, its nulls, its smallest and largest value.
//!
//! A [`CardinalityState`] is counted from records or columns, stored, and merged with others. Merging distinct
//! values, minimum and maximum is commutative and idempotent; counts of rows, nulls and values add up.
//!
//! A list counts its elements. A dictionary counts its keys, and each key's values as a field of its own
//! (`skills.English`) while there are at most [`MAX_KEYS`] of them.

mod counter;
mod distinct;
mod few;
mod text;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

pub use counter::{Bound, FieldCounter, MAX_FEW, MAX_FEW_BYTES, MAX_KEYS};
pub use distinct::{Distinct, EXACT_LIMIT, HashSet64, hash_float, hash_integer, hash_text};

use crate::domain::Timestamp;
use crate::domain::cardinality::{Cardinalities, FieldCardinality};
use crate::domain::schema::Schema;

/// The counts of all fields. A field's state takes up to about 180 KB of JSON: store one document a field.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CardinalityState {
    /// Records counted.
    pub records: u64,
    pub fields: IndexMap<String, FieldCounter>,
}

impl CardinalityState {
    /// Counters at zero for every field of the schema.
    pub fn new(schema: &Schema) -> Self {
        let fields = schema.fields.iter().map(|f| (f.name.clone(), FieldCounter::new(f.field_type))).collect();
        Self { records: 0, fields }
    }

    /// Counts one record. `new_row` is false for an update of a record that was counted before: its values are
    /// added, its row is not. Fields without a counter are ignored: call [`Self::adapt`] when the schema changes.
    pub fn add_record(&mut self, values: &serde_json::Map<String, serde_json::Value>, new_row: bool) {
        self.records += u64::from(new_row);
        for (name, counter) in &mut self.fields {
            counter.rows += u64::from(new_row);
            match values.get(name) {
                None | Some(serde_json::Value::Null) => counter.nulls += u64::from(new_row),
                Some(value) => counter.add_json(value),
            }
        }
    }

    /// Adds counters for new fields (their earlier rows count as nulls), drops those of fields that are gone and
    /// starts those anew whose type changed.
    pub fn adapt(&mut self, schema: &Schema) {
        let records = self.records;
        let mut old = std::mem::take(&mut self.fields);
        for field in &schema.fields {
            let counter = match old.swap_remove(&field.name) {
                Some(counter) if counter.field_type == field.field_type => counter,
                _ => {
                    let mut counter = FieldCounter::new(field.field_type);
                    counter.rows = records;
                    counter.nulls = records;
                    counter
                }
            };
            self.fields.insert(field.name.clone(), counter);
        }
    }

    /// Adds another state's counts. Where one of both has no counter for a field, its rows count as nulls.
    pub fn merge(&mut self, other: &CardinalityState) {
        for (name, theirs) in &other.fields {
            let mine = self.fields.entry(name.clone()).or_insert_with(|| {
                let mut counter = FieldCounter::new(theirs.field_type);
                counter.rows = self.records;
                counter.nulls = self.records;
                counter
            });
            mine.merge(theirs);
        }
        for (name, mine) in &mut self.fields {
            if !other.fields.contains_key(name) {
                mine.rows += other.records;
                mine.nulls += other.records;
            }
        }
        self.records += other.records;
    }

    /// One entry a field, and one for each key of a dictionary after it.
    pub fn to_field_cardinalities(&self) -> Vec<FieldCardinality> {
        let mut all = Vec::with_capacity(self.fields.len());
        for (name, counter) in &self.fields {
            counter.describe(name, &mut all);
        }
        all
    }

    /// The answer of `GET …/cardinalities`.
    pub fn to_cardinalities(&self, as_of: Option<Timestamp>, records_pending: u64) -> Cardinalities {
        Cardinalities { as_of, records_counted: self.records, records_pending, fields: self.to_field_cardinalities() }
    }
}

#[cfg(test)]
mod tests;
