//! Multipart uploads: large objects in parts that can be sent again.

use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::{ByteStream as Body, SdkBody};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use tokio_stream::wrappers::ReceiverStream;

use super::client::object_error;
use super::{ObjectError, ObjectStore, Result};

/// A part that the store has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrivedPart {
    pub number: u32,
    /// Without quotes.
    pub etag: String,
    pub size_bytes: u64,
}

/// What names a part when an upload is completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartNumberAndEtag {
    pub number: u32,
    pub etag: String,
}

/// An upload that was neither completed nor aborted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfinishedUpload {
    pub key: String,
    pub id: String,
    /// Milliseconds since 1970, by the object store's clock.
    pub started_at_ms: i64,
}

/// ETags are compared without their quotes.
fn unquoted(etag: &str) -> String {
    etag.trim().trim_matches('"').to_owned()
}

fn part_number(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

impl ObjectStore {
    /// Starts a multipart upload; returns its id.
    pub async fn create_upload(&self, key: &str) -> Result<String> {
        let created = self.client.create_multipart_upload().bucket(&*self.bucket).key(key).send().await;
        let created = created.map_err(|error| object_error(key, error))?;
        let id = created.upload_id().map(str::to_owned);
        id.ok_or_else(|| ObjectError::Failed(anyhow::anyhow!("the object store gave no upload id")))
    }

    /// Sends one part from memory; returns its ETag. Parts that go through tango are buffered by the caller,
    /// at most one part a request.
    pub async fn upload_part(&self, key: &str, upload: &str, number: u32, bytes: Bytes) -> Result<String> {
        let part = self.client.upload_part().bucket(&*self.bucket).key(key).upload_id(upload);
        let sent = part.part_number(part_number(number)).body(Body::from(bytes)).send().await;
        let sent = sent.map_err(|error| object_error(key, error))?;
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
                    return;
                }
            }
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
        let (sent, ()) = futures::join!(part.customize().disable_payload_signing().send(), forward);
        let sent = sent.map_err(|error| object_error(key, error))?;
        Ok(unquoted(sent.e_tag().unwrap_or_default()))
    }

    /// The parts that have arrived, by number.
    pub async fn list_parts(&self, key: &str, upload: &str) -> Result<Vec<ArrivedPart>> {
        let mut parts = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            let page = self.client.list_parts().bucket(&*self.bucket).key(key).upload_id(upload);
            let page = page.set_part_number_marker(marker.take()).send().await;
            let page = page.map_err(|error| upload_error(key, error))?;
            for part in page.parts() {
                let (Some(number), Some(size)) = (part.part_number(), part.size()) else { continue };
                parts.push(ArrivedPart {
                    number: u32::try_from(number).unwrap_or(0),
                    etag: unquoted(part.e_tag().unwrap_or_default()),
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

    /// Puts the parts together. An upload that is gone is `NotFound`: it was completed or aborted before.
    pub async fn complete_upload(&self, key: &str, upload: &str, parts: &[PartNumberAndEtag]) -> Result<()> {
        let parts = parts.iter().map(|part| {
            let number = part_number(part.number);
            CompletedPart::builder().part_number(number).e_tag(format!("\"{}\"", unquoted(&part.etag))).build()
        });
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build();
        let complete = self.client.complete_multipart_upload().bucket(&*self.bucket).key(key);
        let completed = complete.upload_id(upload).multipart_upload(parts).send().await;
        completed.map(drop).map_err(|error| upload_error(key, error))
    }

    /// Up to 1,000 unfinished uploads of objects with this prefix, after the one named.
    pub async fn list_uploads(&self, prefix: &str, after: Option<&UnfinishedUpload>) -> Result<Vec<UnfinishedUpload>> {
        let list = self.client.list_multipart_uploads().bucket(&*self.bucket).prefix(prefix);
        let list = list
            .set_key_marker(after.map(|upload| upload.key.clone()))
            .set_upload_id_marker(after.map(|upload| upload.id.clone()));
        let list = list.send().await.map_err(|error| object_error(prefix, error))?;
        let uploads = list.uploads().iter().filter_map(|upload| {
            Some(UnfinishedUpload {
                key: upload.key()?.to_owned(),
                id: upload.upload_id()?.to_owned(),
                started_at_ms: upload.initiated().and_then(|at| at.to_millis().ok()).unwrap_or(i64::MAX),
            })
        });
        Ok(uploads.collect())
    }

    /// Drops the parts. An upload that is gone is fine.
    pub async fn abort_upload(&self, key: &str, upload: &str) -> Result<()> {
        let abort = self.client.abort_multipart_upload().bucket(&*self.bucket).key(key).upload_id(upload);
        match abort.send().await {
            Ok(_) => Ok(()),
            Err(error) => match upload_error(key, error) {
                ObjectError::NotFound(_) => Ok(()),
                error => Err(error),
            },
        }
    }
}

fn upload_error<E>(
    key: &str,
    error: aws_sdk_s3::error::SdkError<E, aws_sdk_s3::config::http::HttpResponse>,
) -> ObjectError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match error.as_service_error().and_then(ProvideErrorMetadata::code) {
        Some("NoSuchUpload") => ObjectError::NotFound(key.to_owned()),
        _ => object_error(key, error),
    }
}
