//! Indexes that the product asks for, within MongoDB's limit of 64 a collection.
//!
//! The catalogue (`store_indexes`) has one entry an asked index. Entries with the same path share one index of the database, over
//! all scopes; when there are many, the rest share one wildcard index. They are built in the background, by whichever
//! node comes to it, and again after a failure.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures::TryStreamExt;
use mongodb::Database;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, doc};
use mongodb::error::{Error, ErrorKind, WriteFailure};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::xxh3_64;

use super::error::store_error;
use crate::store::bson::dotted;
use crate::store::{Collection, IndexInfo, IndexSpec, IndexState, Path, Result, StoreError};

const CATALOGUE: &str = "store_indexes";
/// Paths of a collection that get an index of their own; what is left of 64 is for the schema's own, and for a second while one is
/// being replaced.
const MAX_DEDICATED: usize = 40;
/// The object below which everything is in the shared index.
const SHARED_ROOT: &str = "fields";
const SHARED: &str = "x_fields";
/// How often unfinished indexes are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A line of the catalogue.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    #[serde(rename = "_id")]
    id: String,
    /// Grows with the time of creation.
    at: ObjectId,
    collection: String,
    name: String,
    scope: Option<String>,
    path: Vec<String>,
    elements: bool,
    /// The database's index.
    index: String,
    ready: bool,
}

impl Entry {
    fn spec(&self, collection: Collection) -> IndexSpec {
        IndexSpec {
            name: self.name.clone(),
            collection,
            scope: self.scope.clone(),
            path: Path(self.path.clone()),
            elements: self.elements,
        }
    }
}

fn catalogue(db: &Database) -> mongodb::Collection<Entry> {
    db.collection(CATALOGUE)
}

async fn entries(db: &Database, filter: Document) -> Result<Vec<Entry>> {
    let found = catalogue(db).find(filter).sort(doc! { "at": 1 }).await.map_err(store_error)?;
    found.try_collect().await.map_err(store_error)
}

/// Registers an index; it is built by [`keep`].
pub(super) async fn create(db: &Database, spec: &IndexSpec, wake: &Notify) -> Result<()> {
    let collection = spec.collection.name();
    let others = entries(db, doc! { "collection": collection }).await?;
    let entry = Entry {
        id: format!("{collection}/{}", spec.name),
        at: ObjectId::new(),
        collection: collection.to_owned(),
        name: spec.name.clone(),
        scope: spec.scope.clone(),
        path: spec.path.0.clone(),
        elements: spec.elements,
        index: choose(spec, &others),
        ready: false,
    };
    if let Some(known) = others.iter().find(|other| other.id == entry.id) {
        return same_or_refuse(known, spec);
    }
    match catalogue(db).insert_one(&entry).await {
        Ok(_) => {
            wake.notify_one();
            Ok(())
        }
        Err(error) if is_duplicate(&error) => {
            let known = catalogue(db).find_one(doc! { "_id": &entry.id }).await.map_err(store_error)?;
            known.map_or(Ok(()), |known| same_or_refuse(&known, spec))
        }
        Err(error) => Err(store_error(error)),
    }
}

fn same_or_refuse(known: &Entry, spec: &IndexSpec) -> Result<()> {
    if known.spec(spec.collection) == *spec {
        return Ok(());
    }
    Err(StoreError::Invalid(format!("index {} exists with another definition: drop it first", spec.name)))
}

/// The database's index for a path: one of its own while there are few, else the shared one.
fn choose(spec: &IndexSpec, others: &[Entry]) -> String {
    let across = if spec.scope.is_none() { "_all" } else { "" };
    let own = format!("x_{:016x}{across}", xxh3_64(dotted(&spec.path).as_bytes()));
    let mut dedicated: Vec<&str> =
        others.iter().map(|other| other.index.as_str()).filter(|name| *name != SHARED).collect();
    dedicated.sort_unstable();
    dedicated.dedup();
    let shareable = spec.path.0.len() > 1 && spec.path.0[0] == SHARED_ROOT;
    if shareable && !dedicated.contains(&own.as_str()) && dedicated.len() >= MAX_DEDICATED {
        return SHARED.to_owned();
    }
    own
}

pub(super) async fn drop(db: &Database, collection: Collection, name: &str) -> Result<()> {
    let id = format!("{}/{name}", collection.name());
    let dropped = catalogue(db).find_one_and_delete(doc! { "_id": id }).await.map_err(store_error)?;
    let Some(dropped) = dropped else { return Ok(()) };
    let left = doc! { "collection": collection.name(), "index": dropped.index.as_str() };
    if catalogue(db).count_documents(left).await.map_err(store_error)? > 0 {
        return Ok(());
    }
    match db.run_command(doc! { "dropIndexes": collection.name(), "index": dropped.index }).await {
        Ok(_) => Ok(()),
        Err(error) if is_absent(&error) => Ok(()),
        Err(error) => Err(store_error(error)),
    }
}

pub(super) async fn list(db: &Database, collection: Collection) -> Result<Vec<IndexInfo>> {
    let entries = entries(db, doc! { "collection": collection.name() }).await?;
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    let uses = uses(db, collection).await?;
    let sizes = sizes(db, collection).await?;
    let info = entries.into_iter().map(|entry| IndexInfo {
        spec: entry.spec(collection),
        state: if entry.ready { IndexState::Ready } else { IndexState::Building },
        // The shared index says nothing about one path.
        size_bytes: sizes.get(&entry.index).copied().filter(|_| entry.index != SHARED),
        uses: uses.get(&entry.index).copied().filter(|_| entry.index != SHARED),
    });
    Ok(info.collect())
}

/// How often each index was used on the member that answers, since it started. Nothing is known at a moment when an index comes or
/// goes: the server counts over all of them or none.
async fn uses(db: &Database, collection: Collection) -> Result<HashMap<String, u64>> {
    let documents = db.collection::<Document>(collection.name());
    let stats = async { documents.aggregate([doc! { "$indexStats": {} }]).await?.try_collect::<Vec<_>>().await };
    let stats = match stats.await {
        Err(error) if is_absent(&error) => Vec::new(),
        stats => stats.map_err(store_error)?,
    };
    let mut uses = HashMap::new();
    for line in stats {
        let count = line.get_document("accesses").ok().and_then(|accesses| accesses.get("ops")).and_then(whole);
        if let (Ok(name), Some(count)) = (line.get_str("name"), count) {
            uses.insert(name.to_owned(), count);
        }
    }
    Ok(uses)
}

async fn sizes(db: &Database, collection: Collection) -> Result<HashMap<String, u64>> {
    let stats = db.run_command(doc! { "collStats": collection.name() }).await.map_err(store_error)?;
    let sizes = stats.get_document("indexSizes").cloned().unwrap_or_default();
    Ok(sizes.into_iter().filter_map(|(name, size)| Some((name, whole(&size)?))).collect())
}

fn whole(value: &Bson) -> Option<u64> {
    match value {
        Bson::Int32(number) => u64::try_from(*number).ok(),
        Bson::Int64(number) => u64::try_from(*number).ok(),
        Bson::Double(number) => Some(*number as u64),
        _ => None,
    }
}

/// Builds what is asked for, until `stop` fires.
pub(super) async fn keep(db: Database, wake: std::sync::Arc<Notify>, stop: CancellationToken) {
    loop {
        let looked = tokio::select! {
            () = stop.cancelled() => return,
            looked = build_waiting(&db) => looked,
        };
        if let Err(error) = looked {
            tracing::warn!(error = &error as &dyn std::error::Error, "an index could not be built; it is tried again");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = wake.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Builds a collection's indexes together: its documents are read once.
async fn build_waiting(db: &Database) -> Result<()> {
    let mut waiting: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    for entry in entries(db, doc! { "ready": false }).await? {
        waiting.entry(entry.collection.clone()).or_default().push(entry);
    }
    for entries in waiting.into_values() {
        build(db, &entries).await?;
        let built: Vec<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
        let ready = doc! { "$set": { "ready": true } };
        catalogue(db).update_many(doc! { "_id": { "$in": built } }, ready).await.map_err(store_error)?;
    }
    Ok(())
}

/// Returns when the indexes of one collection are built on most members. Built already, or being built by another node: the server
/// says so.
async fn build(db: &Database, entries: &[Entry]) -> Result<()> {
    let Some(Entry { collection, .. }) = entries.first() else { return Ok(()) };
    // Entries with the same path have one index.
    let by_name: BTreeMap<&str, &Entry> = entries.iter().map(|entry| (entry.index.as_str(), entry)).collect();
    let indexes = by_name.into_values().map(|entry| {
        let value = dotted(&Path(entry.path.clone()));
        let key = match (&entry.scope, entry.index.as_str()) {
            (_, SHARED) => doc! { format!("v.{SHARED_ROOT}.$**"): 1 },
            (Some(_), _) => doc! { "_id.s": 1, value: 1, "_id.i": 1 },
            (None, _) => doc! { value: 1, "_id": 1 },
        };
        doc! { "name": entry.index.as_str(), "key": key }
    });
    let command = doc! {
        "createIndexes": collection.as_str(),
        "indexes": indexes.collect::<Vec<_>>(),
        "commitQuorum": "majority",
    };
    db.run_command(command).await.map_err(store_error)?;
    Ok(())
}

fn is_duplicate(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Write(WriteFailure::WriteError(write)) if write.code == 11_000)
}

/// Neither the collection nor the index is there.
fn is_absent(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Command(command) if matches!(command.code, 26 | 27))
}
