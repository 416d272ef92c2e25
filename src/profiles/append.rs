//! Writing records: read what is stored, decide, commit under preconditions, and decide again when
//! somebody else was first.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use super::Profile;
use super::journal::{self, Writer};
use super::posted::Posted;
use super::record::{StoredProfile, StoredText, write_record};
use super::schema;
use super::values::{Checked, Checker, Fault, Rejection};
use crate::context::Context;
use crate::domain::profile::ProfileSchema;
use crate::store::{Batch, Collection, Conflict, Key, Op, StoreError};

/// How often a write is decided again after losing a race, before the client is asked to.
const MAX_ROUNDS: usize = 50;

/// What became of the records of one call: accepted + unchanged + stale + rejected = records sent.
#[derive(Debug, Clone, Default, Serialize, utoipa::ToSchema)]
pub struct Appended {
    /// New or changed, and stored.
    pub accepted: u64,
    /// The same content is stored already.
    pub unchanged: u64,
    /// Older than what is stored, by `version`.
    pub stale: u64,
    pub rejected: Vec<Rejection>,
    pub cardinalities: PendingCounts,
}

/// How far the incremental counts are behind.
#[derive(Debug, Clone, Copy, Default, Serialize, utoipa::ToSchema)]
pub struct PendingCounts {
    /// Accepted records that are not counted yet, these included.
    pub pending: u64,
    /// They are counted each time this many are pending (`ADD_CARDINALITIES_EVERY_N_RECORDS`).
    pub every: u64,
}

/// What the caller adds to the batch.
pub struct Planned<'a> {
    pub appended: &'a Appended,
    /// The schema is accepted and new Dict keys want an index.
    pub wants_indexes: bool,
}

/// What a caller believes of the records before they are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Present {
    /// Some may be there.
    Perhaps,
    /// Most likely none: nothing is read unless that turns out wrong when they are inserted.
    Hardly,
}

/// Upserts records by id, in order. `extra` adds the caller's own operations (an answer to be saved, a
/// job) to the batch of each attempt; a failed precondition of those is answered as
/// [`StoreError::Conflict`] with the operation's position.
pub async fn append(
    ctx: &Context,
    profile: &Profile,
    records: &[Posted<'_>],
    mut present: Present,
    extra: &mut (dyn FnMut(&Planned<'_>, &mut Batch) + Send),
) -> Result<Appended, StoreError> {
    // The records are checked anew only when the schema they were checked against has changed.
    let mut checked: Option<(u64, CheckedBatch<'_>)> = None;
    for round in 0..MAX_ROUNDS {
        pause_before(round).await;
        let stored_schema = schema::load(&ctx.store, profile).await?;
        let batch = match &checked {
            Some((revision, batch)) if *revision == stored_schema.revision => batch,
            _ => {
                let batch = CheckedBatch::new(ctx, stored_schema.value.clone(), records);
                &checked.insert((stored_schema.revision, batch)).1
            }
        };
        let pending_before = journal::pending_lately(ctx, profile).await?;
        let mut plan = Plan::read(ctx, profile, batch.passed.iter().map(|record| record.id), present).await?;
        present = Present::Perhaps;
        for record in &batch.passed {
            plan.upsert(record)?;
        }
        let (mut ops, mut appended) = plan.into_batch();
        if batch.schema_changed {
            schema::write(&mut ops, &stored_schema, batch.schema.clone());
        }
        appended.rejected.clone_from(&batch.rejected);
        appended.cardinalities = PendingCounts {
            pending: pending_before + appended.accepted,
            every: ctx.config.add_cardinalities_every_n_records,
        };
        let own = ops.len();
        let wants_indexes = batch.found_dict_keys && batch.schema.schema.accepted;
        extra(&Planned { appended: &appended, wants_indexes }, &mut ops);
        if ops.is_empty() {
            return Ok(appended);
        }
        match ctx.store.commit(ops).await {
            Ok(()) => {
                ctx.backlog.add(&profile.scope(), appended.accepted);
                return Ok(appended);
            }
            Err(StoreError::Conflict(Conflict { op })) if op < own => {}
            Err(error) => return Err(error),
        }
    }
    Err(too_busy(profile))
}

/// Why one record could not be changed.
#[derive(Debug)]
pub enum PatchError {
    NotFound,
    /// The stored version is newer than the one given.
    Stale {
        stored: i64,
    },
    Invalid(Fault),
    Store(StoreError),
}

impl From<StoreError> for PatchError {
    fn from(error: StoreError) -> Self {
        PatchError::Store(error)
    }
}

/// Changes some fields of one record: null removes a value, what is not named stays.
/// Answers the record as it is now, and how many changes are pending.
pub async fn patch(
    ctx: &Context,
    profile: &Profile,
    id: &str,
    version: Option<i64>,
    changes: &Map<String, Value>,
) -> Result<(StoredProfile, u64), PatchError> {
    for round in 0..MAX_ROUNDS {
        pause_before(round).await;
        let stored_schema = schema::load(&ctx.store, profile).await?;
        let mut plan = Plan::read(ctx, profile, std::iter::once(id), Present::Perhaps).await?;
        let Some(current) = plan.current(id)? else { return Err(PatchError::NotFound) };
        if let (Some(stored), Some(version)) = (current.version, version)
            && version < stored
        {
            return Err(PatchError::Stale { stored });
        }
        let mut checker = Checker::new(&ctx.config.limits, stored_schema.value.clone());
        let new_values = checker.check_fields(&changes.into()).map_err(PatchError::Invalid)?;
        let mut fields = current.fields;
        fields.retain(|name, _| !changes.contains_key(name));
        fields.extend(tree(&new_values)?);
        let fields = serde_json::to_string(&fields).expect("a map with text keys has a JSON form");
        plan.upsert(&Checked { id, version, fields })?;
        let record = plan.current(id)?.ok_or(PatchError::NotFound)?;
        let pending = journal::pending_lately(ctx, profile).await?;
        let (mut ops, appended) = plan.into_batch();
        let (new_schema, changed) = checker.into_schema();
        if changed {
            schema::write(&mut ops, &stored_schema, new_schema);
        }
        if ops.is_empty() {
            return Ok((record, pending));
        }
        match ctx.store.commit(ops).await {
            Ok(()) => {
                ctx.backlog.add(&profile.scope(), appended.accepted);
                return Ok((record, pending + appended.accepted));
            }
            Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(too_busy(profile).into())
}

/// Whoever loses once or twice tries again at once. Later the store may need time: a primary that has just been elected shows writes
/// that it cannot yet build upon, until most members have confirmed them.
async fn pause_before(round: usize) {
    const AT_ONCE: usize = 3;
    const LONGEST: Duration = Duration::from_millis(200);
    if let Some(late) = round.checked_sub(AT_ONCE) {
        tokio::time::sleep(LONGEST.min(Duration::from_millis(1 << late.min(10)))).await;
    }
}

fn tree(fields: &str) -> Result<Map<String, Value>, StoreError> {
    serde_json::from_str(fields).map_err(|error| StoreError::Failed(error.into()))
}

fn too_busy(profile: &Profile) -> StoreError {
    StoreError::Unavailable(anyhow::anyhow!(
        "{MAX_ROUNDS} attempts to write {} lost against other writers of the same records",
        profile.kind.as_str()
    ))
}

/// A call's records after checking.
struct CheckedBatch<'r> {
    passed: Vec<Checked<'r>>,
    rejected: Vec<Rejection>,
    schema: ProfileSchema,
    schema_changed: bool,
    found_dict_keys: bool,
}

impl<'r> CheckedBatch<'r> {
    fn new(ctx: &Context, schema: ProfileSchema, records: &'r [Posted<'_>]) -> Self {
        let mut checker = Checker::new(&ctx.config.limits, schema);
        let mut passed = Vec::with_capacity(records.len());
        let mut rejected = Vec::new();
        for (index, record) in records.iter().enumerate() {
            match checker.check(index, record) {
                Ok(record) => passed.push(record),
                Err(rejection) => rejected.push(rejection),
            }
        }
        let found_dict_keys = checker.found_dict_keys();
        let (schema, schema_changed) = checker.into_schema();
        Self { passed, rejected, schema, schema_changed, found_dict_keys }
    }
}

/// The state of the records at hand, as stored and as it will be.
struct Plan<'r> {
    collection: Collection,
    /// When the records change, as JSON.
    now: String,
    /// Where each id's slot is.
    positions: HashMap<&'r str, usize>,
    /// In the order in which the ids come first.
    slots: Vec<Slot>,
    journal: Writer,
    appended: Appended,
}

struct Slot {
    key: Key,
    /// The record as it is stored, or will be; `None`: there is none.
    body: Option<String>,
    /// `None`: not stored yet.
    revision: Option<u64>,
    dirty: bool,
}

impl<'r> Plan<'r> {
    async fn read(
        ctx: &Context,
        profile: &Profile,
        ids: impl ExactSizeIterator<Item = &'r str>,
        present: Present,
    ) -> Result<Self, StoreError> {
        let collection = Collection::of_profile(profile.kind);
        let mut positions: HashMap<&str, usize> = HashMap::with_capacity(ids.len());
        let mut keys: Vec<Key> = Vec::with_capacity(ids.len());
        for id in ids {
            if let Entry::Vacant(vacant) = positions.entry(id) {
                vacant.insert(keys.len());
                keys.push(profile.record_key(id));
            }
        }
        let found = match present {
            Present::Perhaps if !keys.is_empty() => ctx.store.get_many(collection, &keys).await?,
            _ => vec![None; keys.len()],
        };
        let slots = keys.into_iter().zip(found).map(|(key, document)| {
            let (body, revision) = document.map(|document| (document.body, document.revision)).unzip();
            Slot { key, body, revision, dirty: false }
        });
        let slots = slots.collect();
        let now = ctx.clock.now();
        let journal = Writer::new(profile, now);
        let now = serde_json::to_string(&now).expect("a time has a JSON form");
        Ok(Self { collection, now, positions, slots, journal, appended: Appended::default() })
    }

    fn current(&self, id: &str) -> Result<Option<StoredProfile>, StoreError> {
        let slot = self.positions.get(id).and_then(|position| self.slots.get(*position));
        let body = slot.and_then(|slot| slot.body.as_deref());
        body.map(|body| StoredProfile::parse(id, body)).transpose()
    }

    /// Decides on one record against the state that the records before it leave.
    fn upsert(&mut self, checked: &Checked<'_>) -> Result<(), StoreError> {
        let slot = self.positions.get(checked.id).and_then(|position| self.slots.get_mut(*position));
        // Every id was put in by `read`.
        let Some(slot) = slot else { return Ok(()) };
        let stored = slot.body.as_deref().map(|body| StoredText::parse(checked.id, body)).transpose()?;
        let stored_version = stored.as_ref().and_then(|stored| stored.version);
        if let (Some(stored), Some(version)) = (stored_version, checked.version)
            && version < stored
        {
            self.appended.stale += 1;
            return Ok(());
        }
        let version = checked.version.or(stored_version);
        let body = match &stored {
            Some(stored) if stored.fields() == checked.fields => {
                self.appended.unchanged += 1;
                if stored.version == version {
                    return Ok(());
                }
                // Nothing to count, but an older version must not win later.
                stored.with_version(checked.id, version)
            }
            _ => {
                self.appended.accepted += 1;
                let entry = self.journal.add(checked.id, stored.is_none(), &checked.fields);
                write_record(checked.id, version, &checked.fields, &self.now, entry)
            }
        };
        slot.body = Some(body);
        slot.dirty = true;
        Ok(())
    }

    fn into_batch(self) -> (Batch, Appended) {
        let mut batch = Batch { ops: Vec::with_capacity(self.slots.len() + 4) };
        let collection = self.collection;
        for Slot { key, body, revision, .. } in self.slots.into_iter().filter(|slot| slot.dirty) {
            let Some(body) = body else { continue };
            batch.push(match revision {
                Some(revision) => Op::Replace { collection, key, body, revision },
                None => Op::Insert { collection, key, body },
            });
        }
        self.journal.write(&mut batch);
        (batch, self.appended)
    }
}
