//! Multipart uploads: large objects in parts that can be sent again.

use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::{ByteStream as Body, SdkBody};
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use tokio_stream::wrappers::ReceiverStream;

use super::failure::{CallError, code};
use super::{ObjectError, ObjectStore, Result, patience};

/// A part that the store has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrivedPart {
    pub number: u32,
    /// Without quotes. A few services do not list it.
    pub etag: Option<String>,
    pub size_bytes: u64,
}

/// What names a part when an upload is completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPart {
    pub number: u32,
    pub etag: String,
    /// Base 64, when the upload was started with checksums.
    pub sha256: Option<String>,
}

/// An upload that was neither completed nor aborted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfinishedUpload {
    pub key: String,
    pub id: String,
    /// Milliseconds since 1970, by the object store's clock.
    pub started_at_ms: i64,
}

/// Some of a bucket's unfinished uploads, in no order that can be relied on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnfinishedUploads {
    pub uploads: Vec<UnfinishedUpload>,
    /// Where the list goes on; `None` at its end.
    pub next: Option<UploadMarker>,
}

/// A place in the list of unfinished uploads. Only the service can tell which: garage sorts what is on a page by another order than
/// that of its pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadMarker {
    key: String,
    id: Option<String>,
}

/// ETags are compared without their quotes.
fn unquoted(etag: &str) -> String {
    etag.trim().trim_matches('"').to_owned()
}

fn part_number(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

impl ObjectStore {
    /// Starts a multipart upload; returns its id. Whether its parts come with SHA-256 checksums has to be said here.
    pub async fn create_upload(&self, key: &str, with_checksums: bool) -> Result<String> {
        let create = self.client.create_multipart_upload().bucket(&*self.bucket).key(key);
        let create = create.set_checksum_algorithm(with_checksums.then_some(ChecksumAlgorithm::Sha256));
        let created = create.send().await.map_err(|error| self.failure(key, error))?;
        let id = created.upload_id().map(str::to_owned);
        id.ok_or_else(|| ObjectError::Failed(anyhow::anyhow!("the object store gave no upload id")))
    }

    /// Sends one part from memory; returns its ETag. Parts that go through tango are buffered by the caller,
    /// at most one part a request.
    pub async fn upload_part(&self, key: &str, upload: &str, number: u32, bytes: Bytes) -> Result<String> {
        let part = self.client.upload_part().bucket(&*self.bucket).key(key).upload_id(upload);
        let limits = patience::sending(bytes.len() as u64);
        let part = part.part_number(part_number(number)).body(Body::from(bytes));
        let sent = part.customize().config_override(limits).send().await;
        let sent = sent.map_err(|error| self.failure(key, error))?;
        Ok(unquoted(sent.e_tag().unwrap_or_default()))
    }

    /// Sends one part as it arrives, in bounded memory; returns its ETag. Not retried: the body can be read once.
    pub async fn upload_part_streaming(
        &self,
        key: &str,
        upload: &str,
        number: u32,
        size_bytes: u64,
        sha256_base64: Option<&str>,
        body: super::ByteStream,
    ) -> Result<String> {
        // The client's body type wants `Sync`, which a channel's end is and a request's body is not.
        let (sender, receiver) = tokio::sync::mpsc::channel::<std::io::Result<Bytes>>(8);
        let forward = async move {
            let mut body = body;
            while let Some(piece) = body.next().await {
                if sender.send(piece).await.is_err() {
                    break;
                }
            }
            drop(sender);
            // Everything is on its way: from here on it is the store that one waits for.
            tokio::time::sleep(patience::to_store(size_bytes)).await;
        };
        let frames = ReceiverStream::new(receiver).map_ok(hyper::body::Frame::data);
        let body = Body::new(SdkBody::from_body_1_x(http_body_util::StreamBody::new(frames)));
        let part = self.client.upload_part().bucket(&*self.bucket).key(key).upload_id(upload);
        let part = part
            .part_number(part_number(number))
            .content_length(i64::try_from(size_bytes).unwrap_or(i64::MAX))
            .set_checksum_sha256(sha256_base64.map(str::to_owned))
            .body(body);
        // The body cannot be hashed before it is sent.
        let part = part.customize().disable_payload_signing().config_override(patience::streaming());
        let sent = tokio::select! {
            sent = part.send() => sent.map_err(|error| self.failure(key, error))?,
            () = forward => {
                self.watch.suspected.notify_one();
                return Err(ObjectError::Unavailable(anyhow::anyhow!("{key}: part {number} was not acknowledged in time")));
            }
        };
        Ok(unquoted(sent.e_tag().unwrap_or_default()))
    }

    /// The parts that have arrived, by number.
    pub async fn list_parts(&self, key: &str, upload: &str) -> Result<Vec<ArrivedPart>> {
        let mut parts = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            let page = self.client.list_parts().bucket(&*self.bucket).key(key).upload_id(upload);
            let page = page.set_part_number_marker(marker.take()).send().await;
            let page = page.map_err(|error| self.upload_failure(key, error))?;
            for part in page.parts() {
                let (Some(number), Some(size)) = (part.part_number(), part.size()) else { continue };
                parts.push(ArrivedPart {
                    number: u32::try_from(number).unwrap_or(0),
                    etag: part.e_tag().map(unquoted),
                    size_bytes: u64::try_from(size).unwrap_or(0),
                });
            }
            match page.next_part_number_marker() {
                Some(next) if page.is_truncated() == Some(true) => marker = Some(next.to_owned()),
                _ => break,
            }
        }
        parts.sort_by_key(|part| part.number);
        Ok(parts)
    }

    /// Puts the parts, together `size_bytes`, together. An upload that is gone is `NotFound`: it was completed or
    /// aborted before.
    pub async fn complete_upload(&self, key: &str, upload: &str, parts: &[NamedPart], size_bytes: u64) -> Result<()> {
        let parts = parts.iter().map(|part| {
            CompletedPart::builder()
                .part_number(part_number(part.number))
                .e_tag(format!("\"{}\"", unquoted(&part.etag)))
                .set_checksum_sha256(part.sha256.clone())
                .build()
        });
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build();
        let complete = self.client.complete_multipart_upload().bucket(&*self.bucket).key(key);
        let complete = complete.upload_id(upload).multipart_upload(parts);
        let completed = complete.customize().config_override(patience::assembling(size_bytes)).send().await;
        completed.map(drop).map_err(|error| self.upload_failure(key, error))
    }

    /// Up to 1,000 unfinished uploads of objects with this prefix, from a place on. `Unsupported` by some services.
    pub async fn list_uploads(&self, prefix: &str, from: Option<UploadMarker>) -> Result<UnfinishedUploads> {
        let (key, id) = from.map(|from| (from.key, from.id)).unzip();
        let list = self.client.list_multipart_uploads().bucket(&*self.bucket).prefix(prefix);
        let list = list.set_key_marker(key).set_upload_id_marker(id.flatten());
        let list = list.customize().config_override(patience::listing()).send().await;
        let list = list.map_err(|error| self.failure(prefix, error))?;
        let uploads = list.uploads().iter().filter_map(|upload| {
            Some(UnfinishedUpload {
                key: upload.key()?.to_owned(),
                id: upload.upload_id()?.to_owned(),
                started_at_ms: upload.initiated().and_then(|at| at.to_millis().ok()).unwrap_or(i64::MAX),
            })
        });
        let uploads = uploads.collect();
        let marker = |key: &str| UploadMarker { key: key.to_owned(), id: list.next_upload_id_marker.clone() };
        let next = list.next_key_marker().filter(|_| list.is_truncated() == Some(true)).map(marker);
        Ok(UnfinishedUploads { uploads, next })
    }

    /// Drops the parts. An upload that is gone is fine.
    pub async fn abort_upload(&self, key: &str, upload: &str) -> Result<()> {
        let abort = self.client.abort_multipart_upload().bucket(&*self.bucket).key(key).upload_id(upload);
        let Err(error) = abort.send().await else { return Ok(()) };
        match self.upload_failure(key, error) {
            ObjectError::NotFound(_) => Ok(()),
            // Some services call what they do not know forbidden.
            error @ ObjectError::Refused(_) => match self.list_parts(key, upload).await {
                Ok(parts) if parts.is_empty() => Ok(()),
                Err(ObjectError::NotFound(_)) => Ok(()),
                _ => Err(error),
            },
            error => Err(error),
        }
    }

    fn upload_failure<E>(&self, key: &str, error: CallError<E>) -> ObjectError
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        match code(&error) {
            Some("NoSuchUpload") => ObjectError::NotFound(key.to_owned()),
            _ => self.failure(key, error),
        }
    }
}
