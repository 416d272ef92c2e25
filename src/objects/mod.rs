//! The object store: large, immutable things, always through `aws-sdk-s3`.
//!
//! The embedded server (single node) is just another endpoint. What is acknowledged is durable: the embedded server
//! syncs file and folder first, others answer for themselves. Every call ends within a time that suits it, and says
//! whether the store is away or the object at fault.
//!
//! Invariant: nothing outside this folder sees an S3 type.

mod browsers;
mod bucket;
mod client;
mod connection;
pub mod embedded;
mod failure;
mod health;
mod multipart;
mod open;
mod patience;
mod presign;
mod ranges;
mod reader;
#[cfg(test)]
mod tests;
mod trouble;

use bytes::Bytes;

pub use bucket::{BucketState, Feature};
pub use client::{ObjectStore, ObjectStoreSettings};
pub use health::Health;
pub use multipart::{ArrivedPart, NamedPart, UnfinishedUpload, UnfinishedUploads, UploadMarker};
pub use open::{Examination, client_of, examine, open};
pub use presign::{PublicUrls, SignedPart};
pub use reader::{ObjectReader, fetch_blocking, object_io_error};
pub use trouble::Trouble;

/// Longest object key, in bytes (a limit of file systems under some servers).
pub const MAX_KEY_BYTES: usize = 120;
/// Smallest part of a multipart upload except the last.
pub const MIN_PART_BYTES: u64 = 5 << 20;
/// Most parts of a multipart upload.
pub const MAX_PARTS: u64 = 10_000;

#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    #[error("the object {0:?} does not exist")]
    NotFound(String),
    /// It cannot be reached, or fails: another attempt may succeed.
    #[error("the object store is unavailable")]
    Unavailable(#[source] anyhow::Error),
    /// It does not take the keys, the clock or the region: nothing works until somebody changes that.
    #[error("the object store refuses the access key")]
    Refused(#[source] anyhow::Error),
    /// This service has no such operation.
    #[error("the object store cannot do this")]
    Unsupported(#[source] anyhow::Error),
    #[error("the object store has no space left")]
    Full(#[source] anyhow::Error),
    #[error("the object store failed")]
    Failed(#[source] anyhow::Error),
}

pub type Result<T, E = ObjectError> = std::result::Result<T, E>;

/// An object's key and size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    pub key: String,
    pub size_bytes: u64,
}

/// A body on its way to a client or into the store.
pub type ByteStream = futures::stream::BoxStream<'static, std::io::Result<Bytes>>;
