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
    /// Other values for the same keys, each document replaced (a bulk of upserts a call).
    pub upserting: Duration,
}

impl MongoStore {
    /// Writes documents (keys and JSON bodies) in batches by one loop, as a program without tango would, and replaces them by others.
    pub async fn plain_loops(
        &self,
        documents: &[(Key, String)],
        others: &[(Key, String)],
        batch: usize,
    ) -> Result<PlainLoops, OpenError> {
        let collection = self.database.collection::<RawDocumentBuf>(COLLECTION);
        collection.drop().await.map_err(store_error)?;
        // Made before the clock starts.
        let (raw, others) = (raw(documents)?, raw(others)?);
        let started = Instant::now();
        for some in raw.chunks(batch) {
            collection.insert_many(some).await.map_err(store_error)?;
        }
        let inserting = started.elapsed();
        let started = Instant::now();
        for some in others.chunks(batch) {
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

fn raw(documents: &[(Key, String)]) -> Result<Vec<RawDocumentBuf>> {
    let raw = documents.iter().map(|(key, body)| {
        RawDocumentBuf::from_bytes(encode(key, 1, body)?).map_err(|error| StoreError::Failed(error.into()))
    });
    raw.collect()
}
