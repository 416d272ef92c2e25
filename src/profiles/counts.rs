//! The counts as they are stored: a head, and one document a field.

use serde::{Deserialize, Serialize};

use super::{Profile, journal, schema};
use crate::context::Context;
use crate::domain::Timestamp;
use crate::domain::cardinality::Cardinalities;
use crate::domain::id::JobId;
use crate::domain::schema::Schema;
use crate::sketch::{CardinalityState, FieldCounter};
use crate::store::{Batch, Collection, Key, Op, Record, SharedStore, StoreError, StoreExt, Stored};

/// What all fields share. Every counting commit replaces it in the revision that it read, so that two
/// counters never overwrite each other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Head {
    pub scope: String,
    /// Accepted records counted: rows at the last full count, and each accepted record after it.
    pub counted: u64,
    /// Rows counted: new ids.
    pub rows: u64,
    pub as_of: Option<Timestamp>,
    /// The job that counts everything anew; while it is alive nobody else consumes journal entries.
    pub full_job: Option<JobId>,
    /// Fields that have a stored counter.
    pub fields: Vec<String>,
}

impl Record for Head {
    const COLLECTION: Collection = Collection::Cardinalities;
    fn key(&self) -> Key {
        Key::new(self.scope.clone(), "head")
    }
}

impl Head {
    pub fn empty(profile: &Profile) -> Self {
        Self { scope: profile.scope(), counted: 0, rows: 0, as_of: None, full_job: None, fields: Vec::new() }
    }
}

fn field_key(scope: &str, field: &str) -> Key {
    Key::new(scope, format!("field/{field}"))
}

pub async fn load_head(store: &SharedStore, profile: &Profile) -> Result<Option<Stored<Head>>, StoreError> {
    store.load(&Key::new(profile.scope(), "head")).await
}

/// The stored counters, made to fit the schema.
pub async fn load_state(store: &SharedStore, head: &Head, schema: &Schema) -> Result<CardinalityState, StoreError> {
    let keys: Vec<Key> = head.fields.iter().map(|field| field_key(&head.scope, field)).collect();
    let documents = store.get_many(Collection::Cardinalities, &keys).await?;
    let mut state = CardinalityState { records: head.rows, ..CardinalityState::default() };
    for (field, document) in head.fields.iter().zip(documents) {
        let Some(document) = document else { continue };
        let counter: FieldCounter = serde_json::from_str(&document.body)
            .map_err(|error| StoreError::Corrupt(format!("cardinality of {} in {}: {error}", field, head.scope)))?;
        state.fields.insert(field.clone(), counter);
    }
    state.adapt(schema);
    Ok(state)
}

/// Adds the counts to a batch, under the precondition that the head is as it was read.
pub fn write(batch: &mut Batch, old: Option<&Stored<Head>>, mut head: Head, state: &CardinalityState) {
    head.rows = state.records;
    head.fields = state.fields.keys().cloned().collect();
    let scope = head.scope.clone();
    write_head(batch, old, head);
    for (field, counter) in &state.fields {
        // Counters are maps with string keys and finite numbers: they always have a JSON form.
        let body = serde_json::to_string(counter).expect("a counter has a JSON form");
        batch.push(Op::Put { collection: Collection::Cardinalities, key: field_key(&scope, field), body });
    }
    for gone in old.iter().flat_map(|old| &old.value.fields).filter(|field| !state.fields.contains_key(*field)) {
        batch.push(Op::Delete { collection: Collection::Cardinalities, key: field_key(&scope, gone), revision: None });
    }
}

pub fn write_head(batch: &mut Batch, old: Option<&Stored<Head>>, head: Head) {
    match old {
        Some(old) => batch.replace(&Stored { value: head, revision: old.revision }),
        None => batch.insert(&head),
    };
}

/// Attempts to read head, counters and journal of one moment.
const MAX_READS: usize = 20;

/// Counts and pending records of one moment: what is counted is not pending, and the other way round.
pub async fn read(ctx: &Context, profile: &Profile) -> Result<Cardinalities, StoreError> {
    let schema = schema::load(&ctx.store, profile).await?.value.schema;
    for _ in 0..MAX_READS {
        let before = load_head(&ctx.store, profile).await?;
        let head = before.as_ref().map_or_else(|| Head::empty(profile), |head| head.value.clone());
        let state = load_state(&ctx.store, &head, &schema).await?;
        let pending = journal::pending(&ctx.store, profile).await?;
        let after = load_head(&ctx.store, profile).await?;
        // A counting commit in between shows in the head's revision.
        if before.map(|head| head.revision) == after.map(|head| head.revision) {
            let cardinalities = state.to_cardinalities(head.as_of, pending);
            return Ok(Cardinalities { records_counted: head.counted, ..cardinalities });
        }
    }
    Err(StoreError::Unavailable(anyhow::anyhow!("the counts of {} change too fast to be read", profile.scope())))
}
