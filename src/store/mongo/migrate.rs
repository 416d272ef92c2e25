//! Schema steps in MongoDB: numbered, forward only, applied by one node while the others wait.
//!
//! The document `schema` in `meta` says where the database stands, as in every store. Who migrates holds the document
//! `migration`: a counter in it grows while its owner lives; when it stands still for [`LEASE`] by the waiter's own clock,
//! somebody else goes on. Every step may be begun again.

use std::time::{Duration, Instant};

use mongodb::Database;
use mongodb::bson::{Document, doc};
use mongodb::error::{Error, ErrorKind, WriteFailure};
use mongodb::options::ReturnDocument;

use super::connect::primary_if_any;
use super::error::{OpenError, store_error};
use crate::store::migration::{Migration, SchemaDocument, pending};
use crate::store::{MigrationStatus, Result, StoreError};

const LEASE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(200);

/// Where the database stands, without changing it; an error when this program is too old for it.
pub(super) async fn usable(db: &Database) -> Result<MigrationStatus, OpenError> {
    let status = MigrationStatus::of(read(db).await?);
    match status.needs_newer() {
        Some(min_program) => Err(OpenError::Newer {
            found: status.schema_version,
            known: status.known_version,
            min_program: min_program.to_owned(),
        }),
        None => Ok(status),
    }
}

async fn read(db: &Database) -> Result<Option<SchemaDocument>> {
    let id = doc! { "_id": { "s": "", "i": "schema" } };
    let meta = db.collection::<Document>("meta");
    let find = meta.find_one(id).selection_criteria(primary_if_any());
    let Some(found) = find.await.map_err(store_error)? else { return Ok(None) };
    let document =
        found.get_document("v").ok().and_then(|body| mongodb::bson::deserialize_from_document(body.clone()).ok());
    document.map(Some).ok_or_else(|| StoreError::Corrupt("meta /schema".to_owned()))
}

/// Applies what is missing; refuses a newer database that this program cannot use.
pub(super) async fn migrate(db: &Database) -> Result<(), OpenError> {
    let mut waiting: Option<(i64, Instant)> = None;
    loop {
        let status = usable(db).await?;
        if status.pending.is_empty() {
            return Ok(());
        }
        match take_lease(db, waiting).await? {
            Lease::Held(holder) => {
                for (number, migration) in pending(status.schema_version) {
                    apply(db, number, migration, &holder).await?;
                }
                release(db, &holder).await?;
            }
            Lease::Of(counter) => {
                waiting = match waiting {
                    Some((seen, since)) if seen == counter => Some((seen, since)),
                    _ => Some((counter, Instant::now())),
                };
                tokio::time::sleep(POLL).await;
            }
        }
    }
}

enum Lease {
    /// Ours, under this name.
    Held(String),
    /// Somebody else's, with this counter.
    Of(i64),
}

fn lease_id() -> Document {
    doc! { "s": "", "i": "migration" }
}

/// Takes the lease when nobody has it, or when its counter stood still for long enough.
async fn take_lease(db: &Database, waiting: Option<(i64, Instant)>) -> Result<Lease> {
    let holder = hex::encode(random()?);
    let meta = db.collection::<Document>("meta");
    let new = doc! { "_id": lease_id(), "r": 1_i64, "v": {}, "holder": holder.as_str(), "counter": 0_i64 };
    match meta.insert_one(new).await {
        Ok(_) => return Ok(Lease::Held(holder)),
        Err(error) if is_duplicate(&error) => {}
        Err(error) => return Err(store_error(error)),
    }
    if let Some((counter, since)) = waiting
        && since.elapsed() > LEASE
    {
        let taken = meta
            .find_one_and_update(
                doc! { "_id": lease_id(), "counter": counter },
                doc! { "$set": { "holder": holder.as_str() }, "$inc": { "counter": 1_i64 } },
            )
            .return_document(ReturnDocument::After)
            .await
            .map_err(store_error)?;
        if taken.is_some() {
            tracing::warn!("another node stopped in the middle of a schema step; this one goes on");
            return Ok(Lease::Held(holder));
        }
    }
    let found = meta.find_one(doc! { "_id": lease_id() }).await.map_err(store_error)?;
    Ok(Lease::Of(found.and_then(|found| found.get_i64("counter").ok()).unwrap_or(-1)))
}

/// Shows that the holder lives; fails when somebody else has gone on meanwhile.
async fn beat(db: &Database, holder: &str) -> Result<()> {
    let filter = doc! { "_id": lease_id(), "holder": holder };
    let beat = doc! { "$inc": { "counter": 1_i64 } };
    let outcome = db.collection::<Document>("meta").update_one(filter, beat).await.map_err(store_error)?;
    if outcome.matched_count == 0 {
        return Err(StoreError::Unavailable(anyhow::anyhow!("another node has taken the schema steps over")));
    }
    Ok(())
}

async fn release(db: &Database, holder: &str) -> Result<()> {
    let filter = doc! { "_id": lease_id(), "holder": holder };
    db.collection::<Document>("meta").delete_one(filter).await.map_err(store_error)?;
    Ok(())
}

fn random() -> Result<[u8; 12]> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).map_err(|error| StoreError::Failed(anyhow::anyhow!("no random numbers: {error}")))?;
    Ok(bytes)
}

async fn apply(db: &Database, number: u32, migration: &Migration, holder: &str) -> Result<()> {
    tracing::info!(step = migration.name, "applying a schema step");
    // Straight into documents: the name of a command has to stay its first member.
    let commands: Vec<Document> =
        serde_json::from_str(migration.mongodb).map_err(|error| StoreError::Failed(error.into()))?;
    for command in commands {
        beat(db, holder).await?;
        match db.run_command(command).await {
            Ok(_) => {}
            Err(error) if is_there(&error) => {}
            Err(error) => return Err(store_error(error)),
        }
    }
    beat(db, holder).await?;
    let document = SchemaDocument { schema_version: number, min_program: migration.min_program.to_owned() };
    let body = mongodb::bson::serialize_to_document(&document).map_err(|error| StoreError::Failed(error.into()))?;
    let new = doc! { "_id": { "s": "", "i": "schema" }, "r": i64::from(number), "v": body };
    let filter = doc! { "_id": { "s": "", "i": "schema" } };
    db.collection::<Document>("meta").replace_one(filter, new).upsert(true).await.map_err(store_error)?;
    Ok(())
}

/// The collection that a step creates exists: the step was begun before.
fn is_there(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Command(command) if command.code == 48)
}

fn is_duplicate(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Write(WriteFailure::WriteError(write)) if write.code == 11_000)
}
