//! Between a dataset and the object store: where segments and reports go, how segments are read again.
//!
//! Everything here is used on blocking threads, beside the synchronous code of `ingest`.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;

use super::{JobError, JobRun};
use crate::background;
use crate::context::Context;
use crate::domain::dataset::RejectedReport;
use crate::domain::id::{DatasetId, JobId, SegmentId};
use crate::domain::segment::Segment;
use crate::ingest::{EncodedSegment, IngestError, RejectedRow, RejectedSink, SegmentSink, SegmentSource};
use crate::objects::{NamedPart, ObjectError, ObjectStore, fetch_blocking, object_io_error};
use crate::store::{Collection, Record};

/// Prefix of the keys of segments.
pub const SEGMENT_PREFIX: &str = "seg/";
/// Prefix of the keys of reports of refused rows.
pub const REJECTED_PREFIX: &str = "rej/";
/// Prefix of the keys of uploaded files.
pub const RAW_PREFIX: &str = "raw/";

/// A report is sent in parts of this size.
const REPORT_PART_BYTES: usize = 8 << 20;

/// Reads ranges of segments from the object store.
pub struct ObjectSegmentSource {
    store: Arc<ObjectStore>,
    runtime: Handle,
}

impl ObjectSegmentSource {
    /// Call it inside the runtime, use it on a blocking thread.
    pub fn new(ctx: &Context) -> Self {
        Self { store: ctx.objects.clone(), runtime: Handle::current() }
    }
}

impl SegmentSource for ObjectSegmentSource {
    fn read_range(&self, object_key: &str, range: Range<u64>) -> io::Result<Bytes> {
        fetch_blocking(&self.runtime, &self.store, object_key, range)
    }
}

/// Stores encoded segments under new ids. Nothing refers to them until a version is committed; what is never
/// committed goes with the run's failure, or is purged later.
pub struct ObjectSegmentSink {
    run: JobRun,
    runtime: Handle,
    dataset_id: DatasetId,
    schema_version: u32,
    pub segments: Vec<Segment>,
}

impl ObjectSegmentSink {
    pub fn new(run: &JobRun, dataset_id: &DatasetId, schema_version: u32) -> Self {
        Self {
            run: run.clone(),
            runtime: Handle::current(),
            dataset_id: dataset_id.clone(),
            schema_version,
            segments: Vec::new(),
        }
    }
}

impl SegmentSink for ObjectSegmentSink {
    fn put(&mut self, segment: EncodedSegment) -> io::Result<()> {
        let now = self.run.ctx.clock.now();
        let id = SegmentId::generate(now);
        let object_key = format!("{SEGMENT_PREFIX}{}/{}.parquet", self.dataset_id, id);
        let (store, key, bytes) = (self.run.ctx.objects.clone(), object_key.clone(), segment.bytes);
        let put = self.runtime.spawn(async move { store.put(&key, bytes).await });
        self.runtime.block_on(put).map_err(io::Error::other)?.map_err(object_io_error)?;
        let segment = Segment {
            id,
            dataset_id: self.dataset_id.clone(),
            object_key,
            schema_version: self.schema_version,
            directory: segment.directory,
            created_at: now,
        };
        self.run.has_stored(Collection::Segments, segment.key(), segment.object_key.clone());
        self.segments.push(segment);
        Ok(())
    }
}

/// Writes refused rows as CSV to the object store, a part at a time, so that millions of them need no memory.
pub struct RejectedObject {
    store: Arc<ObjectStore>,
    runtime: Handle,
    key: String,
    writer: csv::Writer<Vec<u8>>,
    upload: Option<String>,
    parts: Vec<NamedPart>,
    sent_bytes: u64,
    rows: u64,
}

impl RejectedObject {
    pub fn new(ctx: &Context, dataset_id: &DatasetId, job: &JobId) -> io::Result<Self> {
        Self::at(ctx, format!("{REJECTED_PREFIX}{dataset_id}/{job}.csv"))
    }

    /// A report under a key of its own.
    pub fn at(ctx: &Context, key: String) -> io::Result<Self> {
        Ok(Self {
            store: ctx.objects.clone(),
            runtime: Handle::current(),
            key,
            writer: header()?,
            upload: None,
            parts: Vec::new(),
            sent_bytes: 0,
            rows: 0,
        })
    }

    fn take_bytes(&mut self) -> io::Result<Bytes> {
        let writer = std::mem::replace(&mut self.writer, csv::Writer::from_writer(Vec::new()));
        writer.into_inner().map(Bytes::from).map_err(|error| io::Error::other(error.to_string()))
    }

    fn send_part(&mut self) -> io::Result<()> {
        let bytes = self.take_bytes()?;
        let size_bytes = bytes.len() as u64;
        let (store, key) = (self.store.clone(), self.key.clone());
        let number = u32::try_from(self.parts.len() + 1).map_err(io::Error::other)?;
        let upload = match &self.upload {
            Some(upload) => upload.clone(),
            None => {
                let upload = self.runtime.block_on(store.create_upload(&key, false)).map_err(object_io_error)?;
                self.upload.insert(upload).clone()
            }
        };
        let sent = self.runtime.block_on(store.upload_part(&key, &upload, number, bytes));
        let etag = sent.map_err(object_io_error)?;
        self.parts.push(NamedPart { number, etag, sha256: None });
        self.sent_bytes += size_bytes;
        Ok(())
    }

    /// Sends what is left. `None` when no row was refused.
    pub fn finish(mut self) -> io::Result<Option<RejectedReport>> {
        if self.rows == 0 {
            return Ok(None);
        }
        let (store, key) = (self.store.clone(), self.key.clone());
        if self.upload.is_none() {
            let bytes = self.take_bytes()?;
            self.runtime.block_on(async { store.put(&key, bytes).await }).map_err(object_io_error)?;
        } else {
            self.send_part()?;
            let upload = self.upload.clone().unwrap_or_default();
            self.runtime
                .block_on(async { store.complete_upload(&key, &upload, &self.parts, self.sent_bytes).await })
                .map_err(object_io_error)?;
            self.upload = None;
        }
        Ok(Some(RejectedReport { object_key: key, rows: self.rows }))
    }
}

impl Drop for RejectedObject {
    fn drop(&mut self) {
        // Not finished: nobody will complete it. What a crash leaves is purged later.
        if let Some(upload) = self.upload.take() {
            let (store, key) = (self.store.clone(), std::mem::take(&mut self.key));
            self.runtime.spawn(async move { store.abort_upload(&key, &upload).await });
        }
    }
}

fn header() -> io::Result<csv::Writer<Vec<u8>>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["line", "column", "value", "reason"]).map_err(io::Error::other)?;
    Ok(writer)
}

impl RejectedSink for RejectedObject {
    fn reject(&mut self, row: &RejectedRow) -> io::Result<()> {
        let line = row.line.to_string();
        self.writer.write_record([&line, &row.column, &row.value, &row.reason]).map_err(io::Error::other)?;
        self.rows += 1;
        if self.writer.get_ref().len() >= REPORT_PART_BYTES {
            self.send_part()?;
        }
        Ok(())
    }
}

/// Sorts an error of the synchronous code by what can be done about it.
pub fn job_error(error: IngestError) -> JobError {
    match error {
        IngestError::Input(input) => JobError::Failed(input.to_string()),
        IngestError::Cancelled => JobError::Cancelled,
        IngestError::Corrupt(_) => JobError::Failed(error.to_string()),
        IngestError::Source(source) | IngestError::Sink(source) => storage_error(source),
    }
}

/// An object store's error, wrapped or not.
pub fn storage_error(error: io::Error) -> JobError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<ObjectError>());
    match inner {
        Some(ObjectError::Full(source)) => {
            tracing::error!(error = format!("{source:#}"), "the disk of the object store is full");
            JobError::NoSpace
        }
        Some(ObjectError::NotFound(key)) => {
            JobError::Failed(format!("The stored file {key} does not exist any more. Upload the data again."))
        }
        Some(ObjectError::Unavailable(source)) => {
            tracing::debug!(error = format!("{source:#}"), "the object store is unavailable");
            JobError::ObjectsAway("cannot be reached")
        }
        Some(ObjectError::Refused(source)) => {
            tracing::error!(error = format!("{source:#}"), "the object store refuses this worker");
            JobError::ObjectsAway("refuses this worker (`tango doctor` says why)")
        }
        _ if error.kind() == io::ErrorKind::StorageFull => JobError::NoSpace,
        _ => JobError::Retry(anyhow::Error::new(error)),
    }
}

impl From<ObjectError> for JobError {
    fn from(error: ObjectError) -> Self {
        storage_error(object_io_error(error))
    }
}

/// Runs synchronous code in the background; a panic there is a retry.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, JobError> + Send + 'static,
) -> Result<T, JobError> {
    background::run(work).await.unwrap_or_else(|panic| Err(JobError::Retry(panic)))
}
