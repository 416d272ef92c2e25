//! Everything as of one moment: a session whose reads are all at one logical time.
//!
//! Members keep the past for `minSnapshotHistoryWindowInSeconds` (300 unless set otherwise); a reading that takes longer fails.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mongodb::bson::{Document as Bson, RawDocument, RawDocumentBuf, doc};
use mongodb::options::ReadConcern;
use mongodb::{Client, ClientSession, Database};
use tokio::time::Instant;

use super::error::{Meaning, meaning, store_error};
use super::health::ELECTION_PATIENCE;
use crate::store::bson::{decode, decode_blob, encode_key};
use crate::store::{Collection, Document, Key, Result, Snapshot, StoreError, has_documents};

/// How long one page may take.
const PAGE_PATIENCE: Duration = Duration::from_secs(30);
/// `SnapshotTooOld`, `SnapshotUnavailable`
const PAST_IS_GONE: [i32; 2] = [239, 246];

pub(super) struct MongoSnapshot {
    database: Database,
    session: ClientSession,
}

impl MongoSnapshot {
    pub(super) async fn begin(client: &Client, database: &Database) -> Result<Self> {
        let session = client.start_session().snapshot(true).await.map_err(store_error)?;
        let mut snapshot = Self { database: database.clone(), session };
        // The moment is that of the first read.
        snapshot.page(Collection::Meta, None, 1, |_| Ok(())).await?;
        Ok(snapshot)
    }

    /// A page, in the order of the keys. An election is waited for.
    async fn page<T>(
        &mut self,
        collection: Collection,
        after: Option<&Key>,
        limit: usize,
        decode: fn(&RawDocument) -> Result<T>,
    ) -> Result<Vec<T>> {
        // To MongoDB, a limit of 0 is none.
        if limit == 0 {
            return Ok(Vec::new());
        }
        let filter = after.map_or_else(Bson::new, |key| doc! { "_id": { "$gt": encode_key(key) } });
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let started = Instant::now();
        loop {
            let error = match tokio::time::timeout(PAGE_PATIENCE, self.read(collection, &filter, limit, decode)).await {
                Ok(Ok(page)) => return page,
                Ok(Err(error)) if is_past_gone(&error) => {
                    return Err(StoreError::Failed(anyhow::Error::new(error).context(
                        "reading everything as of one moment took longer than MongoDB keeps the past: raise \
                         minSnapshotHistoryWindowInSeconds on every member",
                    )));
                }
                Ok(Err(error)) if meaning(&error) == Meaning::Final => return Err(store_error(error)),
                Ok(Err(error)) => store_error(error),
                Err(_) => StoreError::Unavailable(anyhow::anyhow!("MongoDB takes too long to answer")),
            };
            if started.elapsed() > ELECTION_PATIENCE {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What cannot be decoded is the inner error.
    async fn read<T>(
        &mut self,
        collection: Collection,
        filter: &Bson,
        limit: i64,
        decode: fn(&RawDocument) -> Result<T>,
    ) -> mongodb::error::Result<Result<Vec<T>>> {
        let documents = self.database.collection::<RawDocumentBuf>(collection.name());
        let find = documents.find(filter.clone()).sort(doc! { "_id": 1 }).limit(limit);
        // Without it the client's own level would hold, and the session's moment would not.
        let find = find.read_concern(ReadConcern::snapshot());
        let mut cursor = find.session(&mut self.session).await?;
        let mut page = Vec::new();
        while cursor.advance(&mut self.session).await? {
            match decode(cursor.current()) {
                Ok(one) => page.push(one),
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(page))
    }
}

fn is_past_gone(error: &mongodb::error::Error) -> bool {
    matches!(&*error.kind, mongodb::error::ErrorKind::Command(command) if PAST_IS_GONE.contains(&command.code))
}

#[async_trait]
impl Snapshot for MongoSnapshot {
    async fn documents(&mut self, collection: Collection, after: Option<&Key>, limit: usize) -> Result<Vec<Document>> {
        has_documents(collection)?;
        self.page(collection, after, limit, decode).await
    }

    async fn blobs(&mut self, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Bytes)>> {
        self.page(Collection::Blobs, after, limit, |raw| decode_blob(raw.as_bytes())).await
    }
}
