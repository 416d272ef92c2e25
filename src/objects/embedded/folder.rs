//! The S3 operations that this program needs, on a folder.
//!
//! Objects are plain files under `<root>/<bucket>/<key>`; the parts of an unfinished upload are files under
//! `<root>/.parts/<upload id>/<number>.<etag>`. What is acknowledged is on disk: the file is synced before it gets its
//! name, and the folder after. ETags are opaque to clients: here they are an XXH3 hash of the bytes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use futures::StreamExt;
use s3s::dto::*;
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncSeekExt, AsyncWriteExt};
use tokio_util::io::ReaderStream;
use xxhash_rust::xxh3::Xxh3;

use super::parts;

const PARTS: &str = ".parts";
const TEMPORARY: &str = ".temporary";
/// Bytes that one read of a file asks for.
const READ_BYTES: usize = 256 << 10;
const MAX_PARTS: i32 = 10_000;
/// Answered with the name that [`super::super::ObjectError::Full`] is recognised by.
pub(in crate::objects) const DISK_FULL: &str = "InsufficientStorage";

/// A folder that answers S3 requests.
#[derive(Debug, Clone)]
pub struct Folder {
    root: Arc<PathBuf>,
    counter: Arc<AtomicU64>,
}

impl Folder {
    /// Opens (and creates) the folder; writes that a crash cut off are removed.
    pub fn open(root: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(root)?;
        match std::fs::remove_dir_all(root.join(TEMPORARY)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::create_dir_all(root.join(TEMPORARY))?;
        std::fs::create_dir_all(root.join(PARTS))?;
        parts::remove_nameless(&root.join(PARTS))?;
        Ok(Self { root: Arc::new(root.to_owned()), counter: Arc::new(AtomicU64::new(0)) })
    }

    /// Where an object is. Keys are `/`-separated names of letters, digits, `-`, `_` and `.`, at most 120 bytes:
    /// nothing that the file system could read differently.
    fn object_path(&self, bucket: &str, key: &str) -> S3Result<PathBuf> {
        let folder = self.bucket_path(bucket)?;
        if key.is_empty() || key.len() > super::super::MAX_KEY_BYTES || !key.split('/').all(plain_name) {
            return Err(s3_error!(InvalidArgument, "keys have at most 120 bytes: letters, digits, - _ . and /"));
        }
        Ok(folder.join(key))
    }

    fn bucket_path(&self, bucket: &str) -> S3Result<PathBuf> {
        let folder = self.root.join(bucket);
        if plain_name(bucket) && folder.is_dir() { Ok(folder) } else { Err(s3_error!(NoSuchBucket)) }
    }

    fn upload_folder(&self, upload_id: &str) -> S3Result<PathBuf> {
        if upload_id.is_empty() || !upload_id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(s3_error!(NoSuchUpload));
        }
        let folder = self.root.join(PARTS).join(upload_id);
        if folder.is_dir() { Ok(folder) } else { Err(s3_error!(NoSuchUpload)) }
    }

    /// The folder of an upload of this very object.
    fn upload_of(&self, upload_id: &str, bucket: &str, key: &str) -> S3Result<PathBuf> {
        let folder = self.upload_folder(upload_id)?;
        let target = std::fs::read_to_string(folder.join(parts::TARGET)).map_err(failed)?;
        if target == format!("{bucket}/{key}") { Ok(folder) } else { Err(s3_error!(NoSuchUpload)) }
    }

    fn temporary(&self) -> PathBuf {
        self.root.join(TEMPORARY).join(self.counter.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// Streams a body into a temporary file and syncs it. Nothing stays behind on failure.
    async fn receive(&self, body: StreamingBlob, expected: Expected) -> S3Result<Received> {
        let received = Received { path: self.temporary(), etag: String::new(), size: 0 };
        let mut received = scopeguard(received);
        let mut file = tokio::fs::File::create(&received.0.path).await.map_err(failed)?;
        let mut hash = Xxh3::new();
        let mut sha256 = expected.sha256.as_ref().map(|_| Sha256::new());
        let mut body = body;
        while let Some(bytes) = body.next().await {
            let bytes = bytes.map_err(|source| S3Error::with_source(S3ErrorCode::IncompleteBody, source))?;
            hash.update(&bytes);
            if let Some(sha256) = &mut sha256 {
                sha256.update(&bytes);
            }
            received.0.size += bytes.len() as u64;
            file.write_all(&bytes).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)?;
        if expected.size.is_some_and(|size| u64::try_from(size).ok() != Some(received.0.size)) {
            return Err(s3_error!(IncompleteBody, "the body is not as long as its content-length says"));
        }
        if let (Some(sha256), Some(wanted)) = (sha256, &expected.sha256) {
            let actual = base64::engine::general_purpose::STANDARD.encode(sha256.finalize());
            if actual != *wanted {
                return Err(s3_error!(BadDigest, "the bytes do not have the SHA-256 checksum that was signed"));
            }
        }
        file.sync_all().await.map_err(failed)?;
        received.0.etag = format!("{:032x}", hash.digest128());
        Ok(received.disarm())
    }
}

/// What a body must turn out to be.
struct Expected {
    size: Option<i64>,
    /// Base 64.
    sha256: Option<String>,
}

struct Received {
    path: PathBuf,
    etag: String,
    size: u64,
}

/// Removes the temporary file unless it is wanted.
struct TemporaryFile(Received, bool);

fn scopeguard(received: Received) -> TemporaryFile {
    TemporaryFile(received, true)
}

impl TemporaryFile {
    fn disarm(mut self) -> Received {
        self.1 = false;
        Received { path: self.0.path.clone(), etag: self.0.etag.clone(), size: self.0.size }
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if self.1 {
            let _gone = std::fs::remove_file(&self.0.path);
        }
    }
}

fn plain_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

pub(super) fn failed(error: io::Error) -> S3Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            let mut full = S3Error::with_message(
                S3ErrorCode::Custom(DISK_FULL.into()),
                "the disk of the embedded object store is full: nothing of this request was stored. \
                 Free some space on the server, then send it again",
            );
            full.set_status_code(http::StatusCode::INSUFFICIENT_STORAGE);
            full
        }
        io::ErrorKind::NotFound => s3_error!(NoSuchKey),
        _ => S3Error::internal_error(error),
    }
}

fn blocking_failed(error: tokio::task::JoinError) -> S3Error {
    S3Error::internal_error(error)
}

/// Gives a synced file its name and syncs every folder on the way, up to the root.
pub(super) fn install(file: &Path, target: &Path, root: &Path) -> io::Result<()> {
    let folder = target.parent().unwrap_or(root);
    std::fs::create_dir_all(folder)?;
    std::fs::rename(file, target)?;
    let mut folder = folder;
    while folder.starts_with(root) {
        std::fs::File::open(folder)?.sync_all()?;
        match folder.parent() {
            Some(parent) => folder = parent,
            None => break,
        }
    }
    Ok(())
}

fn object_etag(metadata: &std::fs::Metadata) -> ETag {
    let modified = metadata
        .modified()
        .ok()
        .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
        .map_or(0, |since| since.as_nanos());
    ETag::Strong(format!("{:x}-{modified:x}", metadata.len()))
}

pub(super) fn length(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[async_trait::async_trait]
impl S3 for Folder {
    async fn create_bucket(&self, req: S3Request<CreateBucketInput>) -> S3Result<S3Response<CreateBucketOutput>> {
        if !plain_name(&req.input.bucket) {
            return Err(s3_error!(InvalidBucketName));
        }
        tokio::fs::create_dir_all(self.root.join(&req.input.bucket)).await.map_err(failed)?;
        Ok(S3Response::new(CreateBucketOutput::default()))
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.bucket_path(&req.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = req.input;
        let target = self.object_path(&input.bucket, &input.key)?;
        let body = input.body.ok_or_else(|| s3_error!(IncompleteBody))?;
        let expected = Expected { size: input.content_length, sha256: input.checksum_sha256 };
        let received = self.receive(body, expected).await?;
        let (root, path) = (self.root.clone(), received.path);
        tokio::task::spawn_blocking(move || install(&path, &target, &root))
            .await
            .map_err(blocking_failed)?
            .map_err(failed)?;
        Ok(S3Response::new(PutObjectOutput { e_tag: Some(ETag::Strong(received.etag)), ..Default::default() }))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let path = self.object_path(&req.input.bucket, &req.input.key)?;
        let mut file = tokio::fs::File::open(&path).await.map_err(failed)?;
        let metadata = file.metadata().await.map_err(failed)?;
        if !metadata.is_file() {
            return Err(s3_error!(NoSuchKey));
        }
        let whole = metadata.len();
        let (range, content_range) = match &req.input.range {
            None => (0..whole, None),
            Some(range) => {
                let range = range.check(whole).map_err(|_| s3_error!(InvalidRange))?;
                let text = format!("bytes {}-{}/{whole}", range.start, range.end.saturating_sub(1));
                (range, Some(text))
            }
        };
        file.seek(io::SeekFrom::Start(range.start)).await.map_err(failed)?;
        let size = range.end - range.start;
        file.set_max_buf_size(READ_BYTES);
        let body = ReaderStream::with_capacity(tokio::io::AsyncReadExt::take(file, size), READ_BYTES);
        Ok(S3Response::new(GetObjectOutput {
            body: Some(StreamingBlob::wrap(body)),
            content_length: Some(length(size)),
            content_range,
            accept_ranges: Some("bytes".to_owned()),
            e_tag: Some(object_etag(&metadata)),
            last_modified: metadata.modified().ok().map(Timestamp::from),
            ..Default::default()
        }))
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let path = self.object_path(&req.input.bucket, &req.input.key)?;
        let metadata = tokio::fs::metadata(&path).await.map_err(failed)?;
        if !metadata.is_file() {
            return Err(s3_error!(NoSuchKey));
        }
        Ok(S3Response::new(HeadObjectOutput {
            content_length: Some(length(metadata.len())),
            e_tag: Some(object_etag(&metadata)),
            last_modified: metadata.modified().ok().map(Timestamp::from),
            ..Default::default()
        }))
    }

    async fn delete_object(&self, req: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        let path = self.object_path(&req.input.bucket, &req.input.key)?;
        match tokio::fs::remove_file(&path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(S3Response::new(DeleteObjectOutput::default())),
        }
    }

    async fn list_objects_v2(&self, req: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = req.input;
        let root = self.bucket_path(&input.bucket)?;
        let limit = usize::try_from(input.max_keys.unwrap_or(1_000)).unwrap_or(1_000).clamp(1, 1_000);
        let after = input.continuation_token.clone().or(input.start_after.clone()).unwrap_or_default();
        let prefix = input.prefix.clone().unwrap_or_default();
        let (mut contents, truncated) = tokio::task::spawn_blocking(move || list(&root, &prefix, &after, limit))
            .await
            .map_err(blocking_failed)?
            .map_err(failed)?;
        let next = if truncated { contents.last().and_then(|object| object.key.clone()) } else { None };
        contents.shrink_to_fit();
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: input.prefix,
            key_count: i32::try_from(contents.len()).ok(),
            max_keys: i32::try_from(limit).ok(),
            is_truncated: Some(truncated),
            next_continuation_token: next,
            contents: Some(contents),
            ..Default::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = req.input;
        self.object_path(&input.bucket, &input.key)?;
        let mut random = [0u8; 16];
        getrandom::fill(&mut random).map_err(|_| s3_error!(InternalError, "no random numbers"))?;
        let upload_id = hex::encode(random);
        let folder = self.root.join(PARTS).join(&upload_id);
        let target = format!("{}/{}", input.bucket, input.key);
        let root = self.root.clone();
        tokio::task::spawn_blocking(move || -> io::Result<()> {
            std::fs::create_dir(&folder)?;
            std::fs::write(folder.join(parts::TARGET), target)?;
            std::fs::File::open(folder.join(parts::TARGET))?.sync_all()?;
            std::fs::File::open(&folder)?.sync_all()?;
            std::fs::File::open(root.join(PARTS))?.sync_all()
        })
        .await
        .map_err(blocking_failed)?
        .map_err(failed)?;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(upload_id),
            ..Default::default()
        }))
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let input = req.input;
        let number = input.part_number;
        if !(1..=MAX_PARTS).contains(&number) {
            return Err(s3_error!(InvalidArgument, "part numbers are 1 to 10,000"));
        }
        let folder = self.upload_of(&input.upload_id, &input.bucket, &input.key)?;
        let body = input.body.ok_or_else(|| s3_error!(IncompleteBody))?;
        let expected = Expected { size: input.content_length, sha256: input.checksum_sha256 };
        let received = self.receive(body, expected).await?;
        let (path, etag) = (received.path, received.etag.clone());
        tokio::task::spawn_blocking(move || -> io::Result<()> {
            let name = format!("{number}.{etag}");
            std::fs::rename(&path, folder.join(&name))?;
            // A part that is sent again replaces the one before.
            for (other, _, _, path) in parts::arrived(&folder)? {
                if other == number && path.file_name().is_some_and(|other| *other != *name) {
                    std::fs::remove_file(path)?;
                }
            }
            std::fs::File::open(&folder)?.sync_all()
        })
        .await
        .map_err(blocking_failed)?
        .map_err(failed)?;
        Ok(S3Response::new(UploadPartOutput { e_tag: Some(ETag::Strong(received.etag)), ..Default::default() }))
    }

    async fn list_parts(&self, req: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        let input = req.input;
        let folder = self.upload_of(&input.upload_id, &input.bucket, &input.key)?;
        let limit = usize::try_from(input.max_parts.unwrap_or(1_000)).unwrap_or(1_000).clamp(1, 1_000);
        let after = input.part_number_marker.unwrap_or(0);
        let arrived = tokio::task::spawn_blocking(move || parts::arrived(&folder))
            .await
            .map_err(blocking_failed)?
            .map_err(failed)?;
        let mut parts: Vec<Part> = arrived
            .into_iter()
            .filter(|part| part.0 > after)
            .take(limit + 1)
            .map(|(number, etag, size, _)| Part {
                part_number: Some(number),
                e_tag: Some(ETag::Strong(etag)),
                size: Some(length(size)),
                ..Default::default()
            })
            .collect();
        let truncated = parts.len() > limit;
        parts.truncate(limit);
        Ok(S3Response::new(ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            is_truncated: Some(truncated),
            next_part_number_marker: if truncated { parts.last().and_then(|part| part.part_number) } else { None },
            parts: Some(parts),
            ..Default::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = req.input;
        let target = self.object_path(&input.bucket, &input.key)?;
        let folder = self.upload_of(&input.upload_id, &input.bucket, &input.key)?;
        let wanted = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        if wanted.is_empty() {
            return Err(s3_error!(InvalidPart, "name at least one part"));
        }
        let (temporary, root) = (self.temporary(), self.root.clone());
        let etag = tokio::task::spawn_blocking(move || parts::assemble(&wanted, &folder, &temporary, &target, &root))
            .await
            .map_err(blocking_failed)??;
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(ETag::Strong(etag)),
            ..Default::default()
        }))
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let input = req.input;
        if !plain_name(&input.bucket) {
            return Err(s3_error!(NoSuchBucket));
        }
        let limit = usize::try_from(input.max_uploads.unwrap_or(1_000)).unwrap_or(1_000).clamp(1, 1_000);
        let after = (input.key_marker.clone().unwrap_or_default(), input.upload_id_marker.clone().unwrap_or_default());
        let (folder, bucket) = (self.root.join(PARTS), input.bucket.clone());
        let prefix = input.prefix.clone().unwrap_or_default();
        let mut uploads = tokio::task::spawn_blocking(move || parts::unfinished(&folder, &bucket, &prefix, &after))
            .await
            .map_err(blocking_failed)?
            .map_err(failed)?;
        let truncated = uploads.len() > limit;
        uploads.truncate(limit);
        let last = uploads.last().filter(|_| truncated);
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            prefix: input.prefix,
            is_truncated: Some(truncated),
            next_key_marker: last.and_then(|upload| upload.key.clone()),
            next_upload_id_marker: last.and_then(|upload| upload.upload_id.clone()),
            uploads: Some(uploads),
            ..Default::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let folder = self.upload_of(&req.input.upload_id, &req.input.bucket, &req.input.key)?;
        tokio::fs::remove_dir_all(folder).await.map_err(failed)?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }
}

/// The objects with this prefix after this key, sorted by key, and whether there are more.
fn list(root: &Path, prefix: &str, after: &str, limit: usize) -> io::Result<(Vec<Object>, bool)> {
    let mut keys = std::collections::BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    let mut truncated = false;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            let Some(key) = path.strip_prefix(root).ok().and_then(Path::to_str) else { continue };
            if entry.file_type()?.is_dir() {
                let inside = format!("{key}/");
                if inside.starts_with(prefix) || prefix.starts_with(&inside) {
                    folders.push(path);
                }
            } else if key.starts_with(prefix) && key > after {
                keys.insert(key.to_owned(), entry.metadata()?);
                if keys.len() > limit {
                    keys.pop_last();
                    truncated = true;
                }
            }
        }
    }
    let objects = keys.into_iter().map(|(key, metadata)| Object {
        key: Some(key),
        size: Some(length(metadata.len())),
        e_tag: Some(object_etag(&metadata)),
        last_modified: metadata.modified().ok().map(Timestamp::from),
        ..Default::default()
    });
    Ok((objects.collect(), truncated))
}
