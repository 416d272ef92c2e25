//! A dataset's stored counts: what is counted, and what was appended since and waits.
//!
//! Both are mergeable states, one document a field. They are written only in the batch that replaces the dataset's
//! document, whose revision therefore guards them, too.

use serde::{Deserialize, Serialize};

use super::JobError;
use crate::context::Context;
use crate::domain::Timestamp;
use crate::domain::cardinality::Cardinalities;
use crate::domain::column::{Column, MISSING_CODE, Table};
use crate::domain::id::DatasetId;
use crate::domain::schema::Schema;
use crate::sketch::{Bound, CardinalityState, FieldCounter};
use crate::store::{Batch, Collection, Key, Op, Record, StoreExt};

/// Which of the two states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Counted,
    Pending,
}

/// What is stored beside the fields' documents.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Header {
    dataset_id: String,
    as_of: Option<Timestamp>,
    records_counted: u64,
    records_pending: u64,
    counted_fields: usize,
    pending_fields: usize,
}

/// One field's counter.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredCounter {
    scope: String,
    id: String,
    field: String,
    counter: FieldCounter,
}

impl Record for Header {
    const COLLECTION: Collection = Collection::Cardinalities;
    fn key(&self) -> Key {
        Key::new(self.dataset_id.clone(), "header")
    }
}

impl Record for StoredCounter {
    const COLLECTION: Collection = Collection::Cardinalities;
    fn key(&self) -> Key {
        Key::new(self.scope.clone(), self.id.clone())
    }
}

fn counter_key(dataset: &DatasetId, part: Part, index: usize) -> Key {
    let part = match part {
        Part::Counted => "counted",
        Part::Pending => "pending",
    };
    Key::new(dataset.as_str(), format!("{part}/{index:06}"))
}

/// A dataset's counts, read to be changed.
pub struct Counts {
    dataset: DatasetId,
    header: Header,
}

impl Counts {
    pub async fn load(ctx: &Context, dataset: &DatasetId) -> Result<Self, JobError> {
        let header = ctx.store.load::<Header>(&Key::new(dataset.as_str(), "header")).await?;
        let header = header.map_or_else(Header::default, |stored| stored.value);
        Ok(Self { dataset: dataset.clone(), header: Header { dataset_id: dataset.to_string(), ..header } })
    }

    pub fn records_pending(&self) -> u64 {
        self.header.records_pending
    }

    async fn state(&self, ctx: &Context, part: Part) -> Result<CardinalityState, JobError> {
        let (records, fields) = match part {
            Part::Counted => (self.header.records_counted, self.header.counted_fields),
            Part::Pending => (self.header.records_pending, self.header.pending_fields),
        };
        let mut state = CardinalityState { records, ..CardinalityState::default() };
        let keys: Vec<Key> = (0..fields).map(|index| counter_key(&self.dataset, part, index)).collect();
        for keys in keys.chunks(100) {
            for stored in ctx.store.load_many::<StoredCounter>(keys).await?.into_iter().flatten() {
                state.fields.insert(stored.value.field, stored.value.counter);
            }
        }
        Ok(state)
    }

    fn write(&mut self, batch: &mut Batch, part: Part, state: &CardinalityState) {
        let before = match part {
            Part::Counted => std::mem::replace(&mut self.header.counted_fields, state.fields.len()),
            Part::Pending => std::mem::replace(&mut self.header.pending_fields, state.fields.len()),
        };
        match part {
            Part::Counted => self.header.records_counted = state.records,
            Part::Pending => self.header.records_pending = state.records,
        }
        for (index, (field, counter)) in state.fields.iter().enumerate() {
            let Key { scope, id } = counter_key(&self.dataset, part, index);
            batch.put(&StoredCounter { scope, id, field: field.clone(), counter: counter.clone() });
        }
        for index in state.fields.len()..before {
            let key = counter_key(&self.dataset, part, index);
            batch.push(Op::Delete { collection: Collection::Cardinalities, key, revision: None });
        }
    }

    /// Stores a count of all rows; nothing is pending any more.
    pub fn replace(mut self, batch: &mut Batch, all: &CardinalityState, now: Timestamp) {
        self.write(batch, Part::Counted, all);
        self.write(batch, Part::Pending, &CardinalityState::default());
        self.header.as_of = Some(now);
        batch.put(&self.header);
    }

    /// Adds appended rows: once `every` records are pending they are merged into what is counted, else they wait.
    pub async fn append(
        mut self,
        ctx: &Context,
        batch: &mut Batch,
        added: &CardinalityState,
        schema: &Schema,
        every: u64,
        now: Timestamp,
    ) -> Result<(), JobError> {
        let mut pending = self.state(ctx, Part::Pending).await?;
        pending.adapt(schema);
        pending.merge(added);
        if pending.records < every.max(1) {
            self.write(batch, Part::Pending, &pending);
        } else {
            let mut counted = self.state(ctx, Part::Counted).await?;
            counted.adapt(schema);
            counted.merge(&pending);
            self.write(batch, Part::Counted, &counted);
            self.write(batch, Part::Pending, &CardinalityState::default());
            self.header.as_of = Some(now);
        }
        batch.put(&self.header);
        Ok(())
    }

    /// The answer of `GET …/cardinalities`.
    pub async fn describe(&self, ctx: &Context) -> Result<Cardinalities, JobError> {
        let state = self.state(ctx, Part::Counted).await?;
        Ok(state.to_cardinalities(self.header.as_of, self.header.records_pending))
    }
}

/// Counts a table's rows.
pub fn add_table(state: &mut CardinalityState, table: &Table) {
    let rows = table.rows as u64;
    state.records += rows;
    for (name, counter) in &mut state.fields {
        counter.rows += rows;
        match table.column(name) {
            None => counter.nulls += rows,
            Some(column) => add_column(counter, column),
        }
    }
}

fn add_column(counter: &mut FieldCounter, column: &Column) {
    fn each<T>(counter: &mut FieldCounter, values: &[Option<T>], mut add: impl FnMut(&mut FieldCounter, &T)) {
        for value in values {
            match value {
                Some(value) => add(counter, value),
                None => counter.nulls += 1,
            }
        }
    }
    match column {
        Column::Boolean(values) => {
            for wanted in [false, true] {
                let count = values.iter().filter(|value| **value == Some(wanted)).count() as u64;
                if count > 0 {
                    counter.add(Bound::Boolean(wanted), count);
                }
            }
            counter.nulls += values.iter().filter(|value| value.is_none()).count() as u64;
        }
        Column::Integer(values) => each(counter, values, |counter, value| counter.add(Bound::Integer(*value), 1)),
        Column::Timestamp(values) => each(counter, values, |counter, value| counter.add(Bound::Time(*value), 1)),
        Column::Float(values) => {
            for value in values {
                if value.is_nan() { counter.nulls += 1 } else { counter.add(Bound::Float(*value), 1) }
            }
        }
        Column::Text { codes, dictionary } => {
            let mut counts = vec![0u64; dictionary.len()];
            for code in codes {
                match usize::try_from(*code).ok().and_then(|index| counts.get_mut(index)) {
                    Some(count) if *code != MISSING_CODE => *count += 1,
                    _ => counter.nulls += 1,
                }
            }
            for (text, count) in dictionary.iter().zip(counts).filter(|(_, count)| *count > 0) {
                counter.add_text(text, count);
            }
        }
        Column::List(values) => each(counter, values, |counter, elements| {
            elements.iter().for_each(|element| counter.add_text(element, 1));
        }),
        Column::Dict(values) => each(counter, values, |counter, entries| {
            entries.iter().for_each(|(key, value)| counter.add_entry(key, *value, 1));
        }),
    }
}
