//! The object store: large, immutable things, always through `aws-sdk-s3`.
//!
//! The embedded server (single node) is just another endpoint.

use bytes::Bytes;

/// One S3 bucket, seen by this program, with presigned URLs for clients.
pub struct ObjectStore {}

#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    #[error("the object {0:?} does not exist")]
    NotFound(String),
    #[error("the object store is unavailable")]
    Unavailable(#[source] anyhow::Error),
    #[error("the object store has no space left")]
    Full(#[source] anyhow::Error),
    #[error("the object store failed")]
    Failed(#[source] anyhow::Error),
}

pub type Result<T, E = ObjectError> = std::result::Result<T, E>;

impl ObjectStore {
    /// Stores a whole object; durable when this returns.
    pub async fn put(&self, _key: &str, _bytes: Bytes) -> Result<()> {
        todo!()
    }
    /// The object's size in bytes.
    pub async fn size(&self, _key: &str) -> Result<u64> {
        todo!()
    }
    pub async fn get_range(&self, _key: &str, _range: std::ops::Range<u64>) -> Result<Bytes> {
        todo!()
    }
    /// Absent is fine.
    pub async fn delete(&self, _key: &str) -> Result<()> {
        todo!()
    }
}
