//! Makes a copy: documents as of one moment, then the objects that they refer to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::dump::{DumpWriter, Item};
use super::layout::{self, Manifest, Target};
use super::objects::{AT_ONCE, download, require_space};
use super::references::{References, Wanted, missing_object, odd_object};
use super::sums::{Sums, write_durably};
use super::{Phase, Result, Summary, TransferError, blocking, refuse_unfinished};
use crate::context::Context;
use crate::domain::job::Reporter;
use crate::store::{Collection, Key, Snapshot};

/// Documents, and blobs of some megabytes, that are read at once.
const DOCUMENTS_AT_ONCE: usize = 256;
const BLOBS_AT_ONCE: usize = 8;
/// Free space that is left on the disk.
const SPARE_BYTES: u64 = 64 << 20;

#[derive(Debug, Clone)]
pub struct BackupOptions {
    /// Names the folder of the dump: the database's name, where there is one.
    pub database: String,
    /// What API keys are sealed with, when this installation generated it and a copy would be of no use without.
    pub secret: Option<String>,
    /// Go on when the store itself refers to something that is missing.
    pub skip_missing: bool,
}

/// Copies the store into a folder. Whoever reads and writes goes on meanwhile. One that was cut off goes on with the objects that
/// it has; its documents are those of the new start.
pub async fn backup(
    ctx: &Context,
    folder: &Path,
    options: &BackupOptions,
    reporter: Arc<dyn Reporter>,
) -> Result<Summary> {
    refuse_unfinished(&ctx.store).await?;
    let folder = folder.to_owned();
    let target = blocking(move || Target::begin(&folder)).await?;
    let mut copy = Writing { database: options.database.clone(), folder: target.folder.clone(), sums: Sums::default() };
    let created_at = ctx.clock.now();
    let (references, documents, document_bytes) = {
        // Not kept open while objects are copied.
        let mut snapshot = ctx.store.snapshot().await?;
        copy.documents(&mut *snapshot, &reporter).await?
    };
    let mut problems = references.problems();
    let wanted = references.objects();
    let wanted = copy.require_space(wanted).await?;
    let object_bytes = copy.objects(ctx, wanted, &reporter, &mut problems).await?;
    if let (Some(first), false) = (problems.first(), options.skip_missing) {
        return Err(TransferError::SourceNotWhole { count: problems.len(), first: first.clone() });
    }
    let prefix = format!("{}/", layout::OBJECTS);
    let summary = Summary {
        folder: target.folder.clone(),
        created_at,
        documents: documents.values().sum(),
        document_bytes,
        objects: copy.sums.0.keys().filter(|name| name.starts_with(&prefix)).count() as u64,
        object_bytes,
        missing: problems,
    };
    let manifest = Manifest {
        format: layout::FORMAT,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        min_program: layout::MIN_PROGRAM.to_owned(),
        created_at,
        database: options.database.clone(),
        documents,
        document_bytes,
        objects: summary.objects,
        object_bytes,
        missing: summary.missing.clone(),
    };
    let secret = options.secret.clone();
    blocking(move || {
        let text = serde_json::to_vec_pretty(&manifest).map_err(|error| TransferError::Internal(error.into()))?;
        let mut sums = copy.sums;
        sums.0.insert(layout::MANIFEST.to_owned(), small_file(&copy.folder.join(layout::MANIFEST), &text)?);
        if let Some(secret) = secret {
            sums.0.insert(layout::SECRET.to_owned(), small_file(&copy.folder.join(layout::SECRET), secret.as_bytes())?);
        }
        target.finish(&sums)
    })
    .await?;
    Ok(summary)
}

/// What is being written.
struct Writing {
    database: String,
    folder: PathBuf,
    sums: Sums,
}

impl Writing {
    /// Writes every collection; how many documents each has, and the bytes of all.
    async fn documents(
        &mut self,
        snapshot: &mut dyn Snapshot,
        reporter: &Arc<dyn Reporter>,
    ) -> Result<(References, BTreeMap<String, u64>, u64)> {
        let phase = Phase::start(reporter, "copying documents", "documents", None)?;
        let (mut references, mut counts, mut bytes) = (References::default(), BTreeMap::new(), 0);
        for collection in Collection::ALL {
            let name = layout::dump_path(&self.database, collection);
            let path = self.folder.join(&name);
            let mut writer = blocking(move || DumpWriter::create(&path)).await?;
            let mut after: Option<Key> = None;
            loop {
                let page = page(snapshot, collection, after.as_ref()).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.key().clone());
                let count = page.len() as u64;
                (writer, references) = blocking(move || {
                    for item in &page {
                        references.see(collection, item)?;
                        writer.write(item)?;
                    }
                    Ok((writer, references))
                })
                .await?;
                phase.add(count)?;
            }
            counts.insert(collection.name().to_owned(), writer.items);
            let beside = layout::metadata_path(&self.database, collection);
            let path = self.folder.join(&beside);
            let ((sum, size_bytes), beside_sum) =
                blocking(move || Ok((writer.finish()?, small_file(&path, &metadata(collection))?))).await?;
            bytes += size_bytes;
            self.sums.0.extend([(name, sum), (beside, beside_sum)]);
        }
        Ok((references, counts, bytes))
    }

    /// Refuses when the objects have no room. Those that an interrupted backup left are not counted again.
    async fn require_space(&self, wanted: BTreeMap<String, Wanted>) -> Result<BTreeMap<String, Wanted>> {
        let folder = self.folder.clone();
        blocking(move || {
            let new = wanted.iter().filter(|(key, _)| !folder.join(layout::object_path(key)).exists());
            let needed: u64 = new.filter_map(|(_, wanted)| wanted.size_bytes).sum();
            require_space(&folder, needed + SPARE_BYTES)?;
            Ok(wanted)
        })
        .await
    }

    /// Copies objects; the bytes of all. What is missing is added to the problems.
    async fn objects(
        &mut self,
        ctx: &Context,
        wanted: BTreeMap<String, Wanted>,
        reporter: &Arc<dyn Reporter>,
        problems: &mut Vec<String>,
    ) -> Result<u64> {
        let total = wanted.values().filter_map(|wanted| wanted.size_bytes).sum();
        let phase = Phase::start(reporter, "copying objects", "bytes", Some(total))?;
        let (phase, folder) = (&phase, self.folder.clone());
        let copies = stream::iter(wanted).map(|(key, wanted)| {
            let name = layout::object_path(&key);
            let path = folder.join(&name);
            async move { Ok::<_, TransferError>((download(&ctx.objects, &key, &path, phase).await?, key, name, wanted)) }
        });
        let mut copies = std::pin::pin!(copies.buffer_unordered(AT_ONCE));
        let mut bytes = 0;
        while let Some((copied, key, name, wanted)) = copies.try_next().await? {
            match copied {
                Some(copied) => {
                    if let Some(told) = wanted.size_bytes.filter(|told| *told != copied.size_bytes) {
                        problems.push(odd_object(&key, told, copied.size_bytes));
                    }
                    bytes += copied.size_bytes;
                    self.sums.0.insert(name, copied.sum);
                }
                None if wanted.required => problems.push(missing_object(&key)),
                None => {}
            }
        }
        problems.sort();
        Ok(bytes)
    }
}

/// The next items of a collection. Signing keys stay where they are: a restore makes new ones, and whoever had a copy of
/// them could make tokens.
async fn page(snapshot: &mut dyn Snapshot, collection: Collection, after: Option<&Key>) -> Result<Vec<Item>> {
    Ok(match collection {
        Collection::SigningKeys => Vec::new(),
        Collection::Blobs => {
            let blobs = snapshot.blobs(after, BLOBS_AT_ONCE).await?;
            blobs.into_iter().map(|(key, bytes)| Item::Blob(key, bytes)).collect()
        }
        _ => {
            let documents = snapshot.documents(collection, after, DOCUMENTS_AT_ONCE).await?;
            documents.into_iter().map(Item::Document).collect()
        }
    })
}

/// Writes a small file; its checksum.
fn small_file(path: &Path, bytes: &[u8]) -> Result<String> {
    write_durably(path, bytes)?;
    Ok(hex::encode(Sha256::digest(bytes)))
}

/// As MongoDB's tools expect it beside a dump.
fn metadata(collection: Collection) -> Vec<u8> {
    let key = json!({ "v": {"$numberInt": "2"}, "key": {"_id": {"$numberInt": "1"}}, "name": "_id_" });
    let metadata =
        json!({ "options": {}, "indexes": [key], "collectionName": collection.name(), "type": "collection" });
    metadata.to_string().into_bytes()
}
