//! Bytes of any length, stored as a row of blobs.

use bytes::Bytes;

use super::{Batch, Key, Op, SharedStore, StoreError};

/// Largest chunk.
const CHUNK_BYTES: usize = 1 << 20;

/// Puts the bytes into chunks under `prefix`; how many that are.
pub fn put(batch: &mut Batch, scope: &str, prefix: &str, bytes: &Bytes) -> u32 {
    let mut chunks = 0;
    for start in (0..bytes.len()).step_by(CHUNK_BYTES) {
        let part = bytes.slice(start..bytes.len().min(start + CHUNK_BYTES));
        batch.push(Op::PutBlob { key: key(scope, prefix, chunks), bytes: part });
        chunks += 1;
    }
    chunks
}

/// The bytes of so many chunks, or the number of the first that is missing.
pub async fn get(
    store: &SharedStore,
    scope: &str,
    prefix: &str,
    chunks: u32,
) -> Result<Result<Vec<u8>, u32>, StoreError> {
    let mut bytes = Vec::new();
    for chunk in 0..chunks {
        match store.get_blob(&key(scope, prefix, chunk)).await? {
            Some(part) => bytes.extend_from_slice(&part),
            None => return Ok(Err(chunk)),
        }
    }
    Ok(Ok(bytes))
}

/// The id of a chunk in its scope.
pub fn id(prefix: &str, chunk: u32) -> String {
    format!("{prefix}{chunk:06}")
}

fn key(scope: &str, prefix: &str, chunk: u32) -> Key {
    Key::new(scope, id(prefix, chunk))
}
