//! Puts a copy back: checked first, then objects, then documents in batches that each say how far it is.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};

use super::dump::{DumpReader, Item};
use super::layout::Backup;
use super::mark::{self, Mark, Step};
use super::objects::{AT_ONCE, require_space, upload};
use super::renewal::{ApiKeys, Renewal, is_restored};
use super::verify::verify;
use super::{Phase, Result, TransferError, blocking};
use crate::auth::{self, REVOKED_SCOPE, Seal};
use crate::context::Context;
use crate::domain::Timestamp;
use crate::domain::account::SigningKey;
use crate::domain::id::{JobId, RequestId, SegmentId, UploadId};
use crate::domain::job::Reporter;
use crate::domain::profile::ProfileSchema;
use crate::profiles::{Profile, indexes};
use crate::store::{Batch, Collection, Key, Op, Query, Record as _, SharedStore, StoreExt as _};

/// In this order: what others refer to comes first, and jobs, which workers claim as soon as they see them, last.
const ORDER: [Collection; 24] = [
    Collection::Accounts,
    Collection::Meta,
    Collection::Blobs,
    Collection::Schemas,
    Collection::Segments,
    Collection::DatasetVersions,
    Collection::Datasets,
    Collection::Uploads,
    Collection::Agents,
    Collection::Customers,
    Collection::Journal,
    Collection::Cardinalities,
    Collection::Predictors,
    Collection::Models,
    Collection::Reports,
    Collection::ScoreLog,
    Collection::ScoringHours,
    Collection::ScoredContexts,
    Collection::ScoreSamples,
    Collection::Schedules,
    Collection::Audit,
    Collection::Idempotency,
    Collection::Users,
    Collection::Jobs,
];
/// Documents of one batch at most, and about how many bytes.
const BATCH_ITEMS: usize = 500;
const BATCH_BYTES: usize = 4 << 20;
const BLOBS_AT_ONCE: usize = 32;
/// Documents take more room in a store than in a dump, and are in its log for a while.
const STORE_FACTOR: u64 = 2;
const SPARE_BYTES: u64 = 64 << 20;
/// How often objects that went while documents were loaded are put back (a purge may run on another node).
const LOOKS: u32 = 3;

#[derive(Debug, Clone, Default)]
pub struct RestoreOptions {
    /// Replace what is there. Without it a store that is not empty is refused.
    pub drop: bool,
    /// The secret of the installation that made the copy, when it is neither in the copy nor this installation's.
    pub secret: Option<String>,
    /// Make new API keys instead of taking them over.
    pub new_api_keys: bool,
    /// The folder that documents and objects are kept in, when both are on this machine: its room is looked at first.
    pub data_dir: Option<PathBuf>,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Restored {
    /// The moment that the store is now at.
    pub created_at: Timestamp,
    pub documents: u64,
    pub objects: u64,
    /// Objects that had to be stored; the others were there.
    pub objects_stored: u64,
    /// Objects of the replaced store that nothing refers to any more.
    pub objects_deleted: u64,
    pub went_on: bool,
    pub missing: Vec<String>,
}

/// Checks a copy and changes nothing. `seal` is this installation's; where there is none, and no secret comes with the copy, API keys
/// are not looked into.
pub async fn check(
    folder: &Path,
    seal: Option<&Seal>,
    options: &RestoreOptions,
    reporter: Arc<dyn Reporter>,
) -> Result<Backup> {
    let folder = folder.to_owned();
    let backup = blocking(move || Backup::open(&folder)).await?;
    let unknown = seal.is_none() && options.secret.is_none() && backup.secret()?.is_none();
    let mut api_keys = api_keys(&backup, seal.unwrap_or(&Seal::from_secret("")), options)?;
    api_keys.make_new |= unknown;
    blocking(move || verify(&backup, &api_keys, &reporter).map(|_| backup)).await
}

/// Replaces the store's contents by a copy's. Tokens of before end; nodes that run meanwhile follow by the change feed, but should not be
/// running: what they write until it is over may be lost, or remain.
pub async fn restore(
    ctx: &Context,
    seal: &Seal,
    folder: &Path,
    options: &RestoreOptions,
    reporter: Arc<dyn Reporter>,
) -> Result<Restored> {
    let started_at = ctx.clock.now();
    let opened = folder.to_owned();
    let backup = blocking(move || Backup::open(&opened)).await?;
    let mark = mark::load(&ctx.store).await?;
    let went_on = mark.as_ref().is_some_and(|mark| mark.backup == backup.id);
    match &mark {
        Some(other) if !went_on && !options.drop => {
            return Err(TransferError::Unfinished { folder: other.folder.clone() });
        }
        None if !options.drop => require_empty(&ctx.store).await?,
        _ => {}
    }
    let api_keys = api_keys(&backup, seal, options)?;
    let (checked, keys, told) = (backup.clone(), api_keys.clone(), reporter.clone());
    let references = blocking(move || verify(&checked, &keys, &told)).await?;
    let there = all_objects(ctx).await?;
    if let Some(data_dir) = &options.data_dir {
        let (data_dir, needed) = (data_dir.clone(), needed_bytes(&backup, &there)?);
        blocking(move || require_space(&data_dir, needed)).await?;
    }
    let earlier = mark.filter(|_| went_on);
    let restoring = Restoring {
        drop: options.drop || earlier.as_ref().is_some_and(|mark| mark.drop),
        ctx,
        seal,
        renewal: Arc::new(Renewal::new(started_at, api_keys, &references)),
        backup: &backup,
        reporter,
        started_at: earlier.as_ref().map_or(started_at, |mark| mark.started_at),
        run: RequestId::generate(started_at).into(),
    };
    let objects_stored = restoring.objects().await?;
    if earlier.is_none() && !options.drop {
        // Checking and storing took its time.
        require_empty(&ctx.store).await?;
    }
    let objects_deleted = restoring
        .replace(earlier.map(|mark| mark.step))
        .await
        .map_err(|error| TransferError::CutOff(Box::new(error)))?;
    Ok(Restored {
        created_at: backup.manifest.created_at,
        documents: backup.manifest.documents.values().sum(),
        objects: backup.manifest.objects,
        objects_stored,
        objects_deleted,
        went_on,
        missing: backup.manifest.missing.clone(),
    })
}

fn api_keys(backup: &Backup, seal: &Seal, options: &RestoreOptions) -> Result<ApiKeys> {
    let secret = match &options.secret {
        Some(secret) => Some(secret.clone()),
        None => backup.secret()?,
    };
    let from = secret.map_or_else(|| seal.clone(), |secret| Seal::from_secret(secret.trim()));
    Ok(ApiKeys { from, to: seal.clone(), make_new: options.new_api_keys })
}

/// Refuses a store that holds anything. What every store holds (its schema, signing keys) does not count.
async fn require_empty(store: &SharedStore) -> Result<()> {
    let mut found = Vec::new();
    for collection in ORDER {
        if matches!(collection, Collection::Meta | Collection::Blobs) {
            continue;
        }
        let count = store.count(&Query::everywhere(collection)).await?;
        if count > 0 {
            found.push(format!("{count} {}", collection.name().replace('_', " ")));
        }
    }
    let mut snapshot = store.snapshot().await?;
    if !snapshot.blobs(None, 1).await?.is_empty() {
        found.push("blobs".to_owned());
    }
    if found.is_empty() { Ok(()) } else { Err(TransferError::StoreNotEmpty { found: found.join(", ") }) }
}

/// Every object of the bucket with its size: it is this installation's alone.
async fn all_objects(ctx: &Context) -> Result<HashMap<String, u64>> {
    let mut all = HashMap::new();
    let mut after: Option<String> = None;
    loop {
        let page = ctx.objects.list("", after.as_deref()).await?;
        let Some(last) = page.last() else { return Ok(all) };
        after = Some(last.key.clone());
        all.extend(page.into_iter().map(|object| (object.key, object.size_bytes)));
    }
}

fn needed_bytes(backup: &Backup, there: &HashMap<String, u64>) -> Result<u64> {
    let mut needed = backup.manifest.document_bytes * STORE_FACTOR + SPARE_BYTES;
    for (key, path, _) in backup.objects() {
        let size_bytes = std::fs::metadata(&path).map_err(TransferError::at(&path))?.len();
        if there.get(key) != Some(&size_bytes) {
            needed += size_bytes;
        }
    }
    Ok(needed)
}

/// A restore under way.
struct Restoring<'a> {
    ctx: &'a Context,
    seal: &'a Seal,
    backup: &'a Backup,
    renewal: Arc<Renewal>,
    reporter: Arc<dyn Reporter>,
    started_at: Timestamp,
    drop: bool,
    /// Names this run: another one that goes on with the same restore takes the mark over, and this one ends.
    run: String,
}

impl Restoring<'_> {
    /// Stores every object that is not there as it should be; how many. Nothing refers to them yet.
    async fn objects(&self) -> Result<u64> {
        let phase = Phase::start(&self.reporter, "storing objects", "bytes", Some(self.backup.manifest.object_bytes))?;
        let phase = &phase;
        let uploads = stream::iter(self.backup.objects()).map(|(key, path, sum)| async move {
            let stored = upload(&self.ctx.objects, key, &path, sum, phase).await?;
            Ok::<_, TransferError>(u64::from(stored))
        });
        uploads.buffer_unordered(AT_ONCE).try_fold(0, async |all, one| Ok(all + one)).await
    }

    /// Replaces documents, from where an earlier run stopped; how many objects of the replaced store went.
    async fn replace(&self, before: Option<Step>) -> Result<u64> {
        let step = before.unwrap_or(Step::Dropping);
        let mut batch = Batch::new();
        batch.put(&self.mark(step.clone()));
        self.ctx.store.commit(batch).await?;
        let mut from = match step {
            Step::Dropping => {
                self.drop_everything().await?;
                None
            }
            Step::Loading { collection, after } => Some((collection, after)),
        };
        let total = self.backup.manifest.documents.values().sum();
        let phase = Phase::start(&self.reporter, "storing documents", "documents", Some(total))?;
        for collection in ORDER {
            let after = match from.take() {
                Some((name, after)) if name == collection.name() => after.map(|(scope, id)| Key { scope, id }),
                Some(later) => {
                    from = Some(later);
                    phase.add(self.backup.manifest.documents.get(collection.name()).copied().unwrap_or(0))?;
                    continue;
                }
                None => None,
            };
            self.load(collection, after, &phase).await?;
        }
        self.put_objects_back().await?;
        let deleted = if self.drop { self.drop_leftovers().await? } else { 0 };
        self.reconcile_indexes().await?;
        self.finish().await?;
        Ok(deleted)
    }

    fn mark(&self, step: Step) -> Mark {
        Mark {
            run: self.run.clone(),
            backup: self.backup.id.clone(),
            folder: self.backup.folder.clone(),
            drop: self.drop,
            started_at: self.started_at,
            step,
        }
    }

    /// Commits operations that need no other precondition than this run's being the one.
    async fn commit(&self, ops: Vec<Op>, step: Option<Step>) -> Result<()> {
        let mut batch = Batch::new();
        batch.push(Op::Guard {
            collection: Collection::Meta,
            key: mark::key(),
            field: "run".to_owned(),
            equals: self.run.as_str().into(),
            shared: false,
        });
        if let Some(step) = step {
            batch.put(&self.mark(step));
        }
        batch.ops.extend(ops);
        match self.ctx.store.commit(batch).await {
            Err(error) if error.is_conflict() => Err(TransferError::Raced),
            outcome => Ok(outcome?),
        }
    }

    /// Deletes what was there, and ended tokens with it: their keys go, too.
    async fn drop_everything(&self) -> Result<()> {
        let store = &self.ctx.store;
        let phase = Phase::start(&self.reporter, "deleting what was there", "documents", None)?;
        for collection in [Collection::Agents, Collection::Customers] {
            for index in store.indexes(collection).await? {
                store.drop_index(collection, &index.spec.name).await?;
            }
        }
        for collection in ORDER.into_iter().rev().filter(|collection| *collection != Collection::Blobs) {
            let mut query = Query::everywhere(collection).limit(BATCH_ITEMS);
            loop {
                let page = store.find(&query).await?;
                let gone = page.documents.into_iter().filter(|document| {
                    is_restored(collection, document)
                        || (collection == Collection::Meta && document.key.scope == REVOKED_SCOPE)
                });
                let ops: Vec<Op> =
                    gone.map(|document| Op::Delete { collection, key: document.key, revision: None }).collect();
                let count = ops.len() as u64;
                if count > 0 {
                    self.commit(ops, None).await?;
                    phase.add(count)?;
                }
                match page.next {
                    Some(next) => query.after = Some(next),
                    None => break,
                }
            }
        }
        let mut snapshot = store.snapshot().await?;
        let mut after: Option<Key> = None;
        loop {
            let blobs = snapshot.blobs(after.as_ref(), BLOBS_AT_ONCE).await?;
            let Some((last, _)) = blobs.last() else { break };
            after = Some(last.clone());
            let count = blobs.len() as u64;
            self.commit(blobs.into_iter().map(|(key, _)| Op::DeleteBlob { key }).collect(), None).await?;
            phase.add(count)?;
        }
        let first = Step::Loading { collection: ORDER[0].name().to_owned(), after: None };
        self.commit(Vec::new(), Some(first)).await
    }

    /// Loads a collection's documents after a key.
    async fn load(&self, collection: Collection, after: Option<Key>, phase: &Phase) -> Result<()> {
        let Some((path, _)) = self.backup.dump(collection) else { return Ok(()) };
        let mut reader = blocking(move || DumpReader::open(&path, collection)).await?;
        let after = Arc::new(after);
        loop {
            let (renewal, after) = (self.renewal.clone(), after.clone());
            let (same, chunk) = blocking(move || {
                let chunk = Chunk::read(&mut reader, collection, (*after).as_ref(), &renewal)?;
                Ok((reader, chunk))
            })
            .await?;
            reader = same;
            let Some(last) = chunk.last else { return Ok(()) };
            let step = Step::Loading { collection: collection.name().to_owned(), after: Some((last.scope, last.id)) };
            if !chunk.ops.is_empty() {
                self.commit(chunk.ops, Some(step)).await?;
            }
            phase.add(chunk.items)?;
        }
    }

    /// A purge on another node may have taken objects away while no document referred to them.
    async fn put_objects_back(&self) -> Result<()> {
        for _ in 0..LOOKS {
            let there = all_objects(self.ctx).await?;
            let mut all_there = true;
            let phase = Phase::start(&self.reporter, "checking objects", "objects", None)?;
            for (key, path, sum) in self.backup.objects() {
                let size_bytes = std::fs::metadata(&path).map_err(TransferError::at(&path))?.len();
                if there.get(key) != Some(&size_bytes) {
                    all_there = false;
                    upload(&self.ctx.objects, key, &path, sum, &phase).await?;
                }
            }
            if all_there {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Deletes objects of the replaced store: no document would ever lead a purge to them. Newer ones belong to somebody who is at work.
    async fn drop_leftovers(&self) -> Result<u64> {
        let kept: HashSet<&str> = self.backup.objects().map(|(key, ..)| key).collect();
        let before = self.started_at.timestamp_millis();
        let mut deleted = 0;
        for key in all_objects(self.ctx).await?.keys() {
            if !kept.contains(key.as_str()) && made_at_ms(key).is_some_and(|made| made < before) {
                self.ctx.objects.delete(key).await?;
                deleted += 1;
            }
        }
        Ok(deleted)
    }

    /// Asks for the indexes that the restored schemas want; they are built in the background.
    async fn reconcile_indexes(&self) -> Result<()> {
        let mut query = Query::everywhere(Collection::Schemas).limit(BATCH_ITEMS);
        loop {
            let page = self.ctx.store.find(&query).await?;
            for document in &page.documents {
                // Datasets keep schemas of another shape under other keys in the same collection.
                let Ok(schema) = serde_json::from_str::<ProfileSchema>(&document.body) else { continue };
                indexes::reconcile(self.ctx, &Profile::new(schema.account_id, schema.kind)).await?;
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Ends every token that was ever made, and the restore.
    async fn finish(&self) -> Result<()> {
        let keys = self.ctx.store.list_all::<SigningKey>(Query::new(Collection::SigningKeys, "")).await?;
        let mut last = Batch::new();
        for key in &keys {
            last.push(Op::Delete { collection: Collection::SigningKeys, key: key.value.key(), revision: None });
        }
        last.put(&auth::new_signing_key(self.seal, self.ctx.clock.now()));
        last.push(Op::Delete { collection: Collection::Meta, key: mark::key(), revision: None });
        self.commit(last.ops, None).await
    }
}

/// Some documents of a dump, as they are stored.
struct Chunk {
    ops: Vec<Op>,
    items: u64,
    /// `None` at the end.
    last: Option<Key>,
}

impl Chunk {
    /// The next ones. Those up to `after` are in already.
    fn read(reader: &mut DumpReader, collection: Collection, after: Option<&Key>, renewal: &Renewal) -> Result<Self> {
        let mut chunk = Self { ops: Vec::new(), items: 0, last: None };
        let mut bytes = 0;
        while chunk.items < BATCH_ITEMS as u64 && bytes < BATCH_BYTES {
            let Some(item) = reader.next()? else { break };
            let key = item.key().clone();
            chunk.items += 1;
            if after.is_none_or(|after| *after < key)
                && let Some(item) = renewal.item(collection, item)?
            {
                bytes += item.size_bytes();
                chunk.ops.push(match item {
                    Item::Document(document) => Op::Put { collection, key: document.key, body: document.body },
                    Item::Blob(key, bytes) => Op::PutBlob { key, bytes },
                });
            }
            chunk.last = Some(key);
        }
        Ok(chunk)
    }
}

/// When an object was made, by the id in its name: `seg/ds_…/seg_….parquet`, `raw/upl_…`, `rej/ds_…/job_….csv`.
fn made_at_ms(key: &str) -> Option<i64> {
    let name = key.rsplit('/').next()?.split('.').next()?;
    let segment = SegmentId::parse(name).ok().and_then(|id| id.created_at_ms());
    let upload = || UploadId::parse(name).ok().and_then(|id| id.created_at_ms());
    let job = || JobId::parse(name).ok().and_then(|id| id.created_at_ms());
    segment.or_else(upload).or_else(job)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_collection_is_restored_but_signing_keys() {
        let mut restored: Vec<Collection> = ORDER.into_iter().chain([Collection::SigningKeys]).collect();
        restored.sort();
        let mut all = Collection::ALL.to_vec();
        all.sort();
        assert_eq!(restored, all);
    }

    #[test]
    fn the_age_of_an_object_is_in_its_name() {
        let at = Timestamp::from_timestamp_millis(1_700_000_000_000).unwrap();
        let (segment, upload, job) = (SegmentId::generate(at), UploadId::generate(at), JobId::generate(at));
        for key in [
            format!("seg/ds_1/{segment}.parquet"),
            format!("raw/{upload}"),
            format!("raw/{upload}.rejected.csv"),
            format!("rej/ds_1/{job}.csv"),
        ] {
            assert_eq!(made_at_ms(&key), Some(1_700_000_000_000), "{key}");
        }
        assert_eq!(made_at_ms("somebody/else's"), None);
    }
}
