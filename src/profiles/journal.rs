//! Accepted changes that are not counted yet.
//!
//! One entry a batch: a small header in the journal (how many records) and the values beside it in a
//! blob, so that "how many are pending" reads headers only. Entries are consumed by identity: the ids
//! that were read are the ids that the counting commit deletes. An entry that becomes visible late is simply
//! counted later.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Profile;
use super::record::quoted;
use crate::context::Context;
use crate::domain::Timestamp;
use crate::domain::id::JournalId;
use crate::store::{Batch, Collection, Document, Key, Op, Query, Record, SharedStore, StoreError, StoreExt, Stored};

/// Values of one entry are split over several beyond this size: a blob is read whole.
const ENTRY_BYTES: usize = 4 << 20;
const PAGE: usize = 1_000;

/// The journal's document of one entry.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    pub scope: String,
    pub id: String,
    /// Accepted records whose values are in this entry.
    pub records: u64,
}

impl Record for Entry {
    const COLLECTION: Collection = Collection::Journal;
    fn key(&self) -> Key {
        Key::new(self.scope.clone(), self.id.clone())
    }
}

/// One accepted change of one record.
#[derive(Debug, Clone, Deserialize)]
pub struct Mutation<'a> {
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// The id was not there before.
    pub new: bool,
    /// The values, as text: counters read them as they are.
    #[serde(borrow)]
    pub fields: &'a RawValue,
}

/// The values of one entry.
#[derive(Debug)]
pub struct Values {
    entry: Entry,
    bytes: Bytes,
}

/// Where the values of an entry are.
pub fn blob_key(scope: &str, id: &str) -> Key {
    Key::new(format!("journal/{scope}"), id)
}

/// Collects a batch's mutations into entries.
pub struct Writer {
    scope: String,
    now: Timestamp,
    id: String,
    buffer: Vec<u8>,
    records: u64,
    finished: Vec<(Entry, Bytes)>,
}

impl Writer {
    pub fn new(profile: &Profile, now: Timestamp) -> Self {
        Self {
            scope: profile.scope(),
            now,
            id: JournalId::generate(now).into(),
            buffer: Vec::new(),
            records: 0,
            finished: Vec::new(),
        }
    }

    /// Adds a [`Mutation`] by its members; answers the id of the entry that it is in.
    pub fn add(&mut self, id: &str, new: bool, fields: &str) -> &str {
        if self.buffer.len() > ENTRY_BYTES {
            self.finish_entry();
        }
        let new = if new { "true" } else { "false" };
        for part in ["{\"id\":", &quoted(id), ",\"new\":", new, ",\"fields\":", fields, "}\n"] {
            self.buffer.extend_from_slice(part.as_bytes());
        }
        self.records += 1;
        &self.id
    }

    fn finish_entry(&mut self) {
        if self.records == 0 {
            return;
        }
        let id = std::mem::replace(&mut self.id, JournalId::generate(self.now).into());
        let entry = Entry { scope: self.scope.clone(), id, records: std::mem::take(&mut self.records) };
        self.finished.push((entry, Bytes::from(std::mem::take(&mut self.buffer))));
    }

    /// Adds the entries to the batch that has the records.
    pub fn write(mut self, batch: &mut Batch) {
        self.finish_entry();
        for (entry, bytes) in self.finished {
            batch.push(Op::PutBlob { key: blob_key(&entry.scope, &entry.id), bytes });
            batch.insert(&entry);
        }
    }
}

/// The entries that wait, oldest ids first, at most `limit`.
pub async fn waiting(store: &SharedStore, profile: &Profile, limit: usize) -> Result<Vec<Stored<Entry>>, StoreError> {
    let mut entries = Vec::new();
    let mut query = Query::new(Collection::Journal, profile.scope()).limit(PAGE.min(limit));
    loop {
        let (page, next) = store.list::<Entry>(&query).await?;
        entries.extend(page);
        match next {
            Some(cursor) if entries.len() < limit => query.after = Some(cursor),
            _ => break,
        }
    }
    entries.truncate(limit);
    Ok(entries)
}

/// Accepted records that are not counted yet.
pub async fn pending(store: &SharedStore, profile: &Profile) -> Result<u64, StoreError> {
    let mut sum = 0;
    sum_up(store, Query::new(Collection::Journal, profile.scope()), |_, records| sum += records).await?;
    Ok(sum)
}

/// As [`pending`], as far as this process knows: exact unless somebody else appends or counts at the same time.
pub async fn pending_lately(ctx: &Context, profile: &Profile) -> Result<u64, StoreError> {
    let scope = profile.scope();
    if let Some(records) = ctx.backlog.known(&scope) {
        return Ok(records);
    }
    let records = pending(&ctx.store, profile).await?;
    ctx.backlog.set(scope, records);
    Ok(records)
}

/// Pending records of every profile of every account.
pub async fn pending_everywhere(store: &SharedStore) -> Result<Vec<(Profile, u64)>, StoreError> {
    let mut sums: BTreeMap<Profile, u64> = BTreeMap::new();
    sum_up(store, Query::everywhere(Collection::Journal), |scope, records| {
        if let Some(profile) = Profile::from_scope(scope) {
            *sums.entry(profile).or_default() += records;
        }
    })
    .await?;
    Ok(sums.into_iter().collect())
}

/// Gives scope and number of records of each entry that waits. Appends do this: nothing else of them is read.
async fn sum_up(store: &SharedStore, query: Query, mut add: impl FnMut(&str, u64)) -> Result<(), StoreError> {
    #[derive(Deserialize)]
    struct Size {
        records: u64,
    }
    let mut query = query.limit(PAGE);
    loop {
        let page = store.find(&query).await?;
        for Document { key, body, .. } in &page.documents {
            let size: Size = serde_json::from_str(body)
                .map_err(|error| StoreError::Corrupt(format!("journal entry {}/{}: {error}", key.scope, key.id)))?;
            add(&key.scope, size.records);
        }
        match page.next {
            Some(cursor) => query.after = Some(cursor),
            None => return Ok(()),
        }
    }
}

/// The values of each entry; `None` when another counter has consumed it since it was read.
pub async fn values(store: &SharedStore, entries: &[Stored<Entry>]) -> Result<Vec<Option<Values>>, StoreError> {
    let keys: Vec<Key> = entries.iter().map(|entry| blob_key(&entry.value.scope, &entry.value.id)).collect();
    let blobs = store.get_blobs(&keys).await?;
    let mut values = Vec::with_capacity(entries.len());
    for (Stored { value: entry, .. }, bytes) in entries.iter().zip(blobs) {
        if bytes.is_none() && store.load::<Entry>(&entry.key()).await?.is_some() {
            return Err(StoreError::Corrupt(format!("journal entry {}/{} has no values", entry.scope, entry.id)));
        }
        values.push(bytes.map(|bytes| Values { entry: entry.clone(), bytes }));
    }
    Ok(values)
}

impl Values {
    /// Gives each mutation. There are as many as the entry says, or it is corrupt.
    pub fn each(&self, mut take: impl FnMut(Mutation<'_>) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let Entry { scope, id, records } = &self.entry;
        let corrupt = |error: &dyn fmt::Display| StoreError::Corrupt(format!("journal entry {scope}/{id}: {error}"));
        let text = std::str::from_utf8(&self.bytes).map_err(|error| corrupt(&error))?;
        let mut found = 0;
        for mutation in serde_json::Deserializer::from_str(text).into_iter::<Mutation<'_>>() {
            take(mutation.map_err(|error| corrupt(&error))?)?;
            found += 1;
        }
        if found == *records { Ok(()) } else { Err(corrupt(&format_args!("{found} of {records} records"))) }
    }
}

/// Takes entries away, in the commit that counts them. A conflict when another counter was first.
pub fn consume(batch: &mut Batch, entries: &[Stored<Entry>]) {
    for entry in entries {
        batch.delete(entry);
        batch.push(Op::DeleteBlob { key: blob_key(&entry.value.scope, &entry.value.id) });
    }
}

/// Of these entry ids, those that still wait.
pub async fn still_waiting(store: &SharedStore, profile: &Profile, ids: &[String]) -> Result<Vec<String>, StoreError> {
    let scope = profile.scope();
    let keys: Vec<Key> = ids.iter().map(|id| Key::new(scope.clone(), id.clone())).collect();
    let found = store.get_many(Collection::Journal, &keys).await?;
    Ok(found.into_iter().flatten().map(|document| document.key.id).collect())
}
