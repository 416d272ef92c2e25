//! The plain loops that the store is measured against: the driver alone, with the same documents and the same acknowledgement.

use std::time::{Duration, Instant};

use mongodb::bson::{Document, RawDocumentBuf, doc};

use super::error::store_error;
use super::{MongoStore, OpenError};
use crate::store::bson::encode;
use crate::store::{Key, Result, StoreError};

/// Where the loops write: nobody else does.
const COLLECTION: &str = "bench_plain";

/// How long each loop took.
#[derive(Debug, Clone, Copy)]
pub struct PlainLoops {
    /// `insert_many`, a batch a call.
    pub inserting: Duration,
    /// The same documents again, each replaced by its key (a bulk of upserts a call).
    pub upserting: Duration,
}

impl MongoStore {
    /// Writes the documents (keys and JSON bodies) in batches by one loop, as a program without tango would.
    pub async fn plain_loops(&self, documents: &[(Key, String)], batch: usize) -> Result<PlainLoops, OpenError> {
        let collection = self.database.collection::<RawDocumentBuf>(COLLECTION);
        collection.drop().await.map_err(store_error)?;
        // Made before the clock starts.
        let raw: Vec<RawDocumentBuf> = documents
            .iter()
            .map(|(key, body)| {
                let bytes = encode(key, 1, body)?;
                RawDocumentBuf::from_bytes(bytes).map_err(|error| StoreError::Failed(error.into()))
            })
            .collect::<Result<_>>()?;
        let started = Instant::now();
        for some in raw.chunks(batch) {
            collection.insert_many(some).await.map_err(store_error)?;
        }
        let inserting = started.elapsed();
        let started = Instant::now();
        for some in raw.chunks(batch) {
            let updates: Vec<Document> = some
                .iter()
                .map(|raw| {
                    let replacement = Document::try_from(raw).map_err(|error| StoreError::Failed(error.into()))?;
                    let id = replacement.get("_id").cloned().unwrap_or_default();
                    Ok(doc! { "q": { "_id": id }, "u": replacement, "upsert": true })
                })
                .collect::<Result<_>>()?;
            let command = doc! {
                "update": COLLECTION,
                "updates": updates,
                "ordered": false,
                "writeConcern": { "w": "majority", "j": true },
            };
            self.database.run_command(command).await.map_err(store_error)?;
        }
        let upserting = started.elapsed();
        collection.drop().await.map_err(store_error)?;
        Ok(PlainLoops { inserting, upserting })
    }
}
