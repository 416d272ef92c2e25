//! An uploaded file becomes segments of a dataset: its first data, or an append.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::dataset_cardinality::Counts;
use super::dataset_change::{Current, NewVersion, Totals, check_cancelled, load_schema, made_before, try_commit};
use super::dataset_compact::{CompactDataset, is_worthwhile};
use super::dataset_count::Counting;
use super::dataset_objects::{ObjectSegmentSink, RejectedObject, blocking, job_error, storage_error};
use super::{Done, JobError, JobRun, RunJob, enqueue};
use crate::context::Context;
use crate::domain::dataset::{DatasetState, DatasetVersion, RejectedReport};
use crate::domain::id::{AccountId, DatasetId, UploadId};
use crate::domain::job::Topic;
use crate::domain::schema::Schema;
use crate::domain::segment::Segment;
use crate::domain::upload::{Recount, Upload};
use crate::ingest::{IngestOptions, InputFile, Summary, UnknownColumns, ingest};
use crate::objects::ObjectReader;
use crate::store::{Batch, Key, StoreExt, Stored};

/// Times that an upload is read again because the schema changed while it was read.
const MAX_READS: u32 = 3;

/// Ingests an upload whose schema is accepted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IngestUpload {
    pub dataset_id: DatasetId,
    pub upload_id: UploadId,
}

#[async_trait]
impl RunJob for IngestUpload {
    const KIND: &'static str = "dataset_ingest";
    const TOPIC: Topic = Topic::DatasetUpload;

    async fn run(&self, run: &JobRun) -> Result<Done, JobError> {
        ingest_upload(run, &self.dataset_id, &self.upload_id).await
    }

    async fn on_failure(&self, run: &JobRun, error: &JobError) -> Batch {
        failed_first_upload(run, &self.dataset_id, error).await
    }
}

/// How files are read into segments under the current settings.
pub fn ingest_options(ctx: &Context, unknown_columns: UnknownColumns) -> IngestOptions {
    IngestOptions {
        limits: ctx.config.limits.clone(),
        unknown_columns,
        json_as_text: unknown_columns == UnknownColumns::LeaveOut,
        indexes: ctx.config.autogenerate_indexes,
        ..IngestOptions::default()
    }
}

pub async fn load_upload(ctx: &Context, account: &AccountId, id: &UploadId) -> Result<Stored<Upload>, JobError> {
    let upload = ctx.store.load::<Upload>(&Key::new(account.as_str(), id.as_str())).await?;
    upload.ok_or_else(|| JobError::Failed(format!("The upload {id} does not exist (any more).")))
}

/// What reading a file gave; nothing refers to the segments yet.
struct FileData {
    summary: Summary,
    segments: Vec<Segment>,
    rejected: Option<RejectedReport>,
}

/// Reads the file into segments and commits them as a new version, once however often it runs.
pub async fn ingest_upload(run: &JobRun, dataset: &DatasetId, upload: &UploadId) -> Result<Done, JobError> {
    let (ctx, account) = (&run.ctx, &run.job.account_id);
    if let Some(version) = made_before(ctx, dataset, &run.job.id).await? {
        return finished(run, dataset, &version, None);
    }
    let upload = load_upload(ctx, account, upload).await?.value;
    for _ in 0..MAX_READS {
        let current = Current::load(ctx, account, dataset).await?;
        let schema = load_schema(ctx, dataset, current.dataset.value.schema_version).await?;
        let first = current.version.version == 0;
        let data = match read_file(run, dataset, &upload, &schema, first).await {
            Ok(data) => data,
            Err((error, rejected)) => return Err(keep_report(run, dataset, error, rejected).await?),
        };
        if let Some(version) = commit(run, dataset, &upload, &schema, &data).await? {
            return finished(run, dataset, &version, Some(&data));
        }
    }
    Err(JobError::Retry(anyhow::anyhow!("the schema kept changing while the file was read")))
}

async fn read_file(
    run: &JobRun,
    dataset: &DatasetId,
    upload: &Upload,
    schema: &Schema,
    first: bool,
) -> Result<FileData, (JobError, Option<RejectedReport>)> {
    let plain = |error: JobError| (error, None);
    let reader =
        ObjectReader::open(run.ctx.objects.clone(), &upload.object_key).await.map_err(|error| plain(error.into()))?;
    let unknown = if first { UnknownColumns::LeaveOut } else { UnknownColumns::Refuse };
    let options = ingest_options(&run.ctx, unknown);
    let mut segments = ObjectSegmentSink::new(run, dataset, schema.version);
    let mut rejected =
        RejectedObject::new(&run.ctx, dataset, &run.job.id).map_err(|error| plain(storage_error(error)))?;
    let (upload, schema, reporter) = (upload.clone(), schema.clone(), run.clone());
    let work = move || {
        let size_bytes = reader.size();
        let file =
            InputFile { reader: Box::new(reader), size_bytes, filename: &upload.filename, format: &upload.format };
        let result = ingest(file, &schema, &options, &mut segments, &mut rejected, &reporter);
        // The report matters most when the file was refused.
        let rejected = rejected.finish();
        Ok((result, segments.segments, rejected))
    };
    let (result, segments, rejected) = blocking(work).await.map_err(plain)?;
    match (result, rejected) {
        (Ok(summary), Ok(rejected)) => Ok(FileData { summary, segments, rejected }),
        (Ok(_), Err(error)) => Err(plain(storage_error(error))),
        (Err(error), Ok(rejected)) => Err((job_error(error), rejected)),
        // Only a report that was stored makes a refusal final.
        (Err(error), Err(report)) => Err(plain(match (job_error(error), storage_error(report)) {
            (JobError::Failed(_), wait @ (JobError::NoSpace | JobError::ObjectsAway(_))) => wait,
            (error, _) => error,
        })),
    }
}

/// Commits the segments behind whatever is there now. `None` when the schema is no longer the one they were read by.
async fn commit(
    run: &JobRun,
    dataset: &DatasetId,
    upload: &Upload,
    schema: &Schema,
    data: &FileData,
) -> Result<Option<DatasetVersion>, JobError> {
    let ctx = &run.ctx;
    let mut counting = Counting::default();
    loop {
        check_cancelled(run)?;
        let current = Current::load(ctx, &run.job.account_id, dataset).await?;
        if current.dataset.value.schema_version != schema.version {
            return Ok(None);
        }
        let first = current.version.version == 0;
        let now = ctx.clock.now();
        let mut batch = Batch::new();
        let mut segments: Vec<_> = current.segments().collect();
        segments.extend(data.segments.iter().map(|segment| (segment.id.clone(), segment.directory.rows)));
        let new = NewVersion {
            reason: if first { "upload" } else { "append" },
            schema_version: schema.version,
            segments,
            totals: Totals::of_version(&current.version).with(&data.segments),
            added: &data.segments,
        };
        let version = current.write(&mut batch, new, &run.job.id, now);
        let mut after = current.dataset_after(&version, &run.job.id, now);
        after.value.state = DatasetState::Ready;
        after.value.error = None;
        after.value.pending_upload = None;
        after.value.rejected = data.rejected.clone();
        batch.replace(&after);

        let counts = Counts::load(ctx, dataset).await?;
        if first {
            counts.replace(&mut batch, &data.summary.cardinality, now);
        } else if upload.recount == Recount::Full {
            let all = counting.of_version(run, &version, schema, &data.segments).await?;
            counts.replace(&mut batch, all, now);
        } else {
            let every = ctx.config.add_cardinalities_every_n_records;
            counts.append(ctx, &mut batch, &data.summary.cardinality, schema, every, now).await?;
        }
        if try_commit(run, batch).await? {
            return Ok(Some(version));
        }
    }
}

fn finished(
    run: &JobRun,
    dataset: &DatasetId,
    version: &DatasetVersion,
    data: Option<&FileData>,
) -> Result<Done, JobError> {
    let mut done = Done {
        effects: Batch::new(),
        result: json!({
            "dataset_id": dataset,
            "version": version.version,
            "rows": version.rows,
            "rows_added": data.map(|data| data.summary.rows),
            "rows_rejected": data.map(|data| data.summary.rejected_rows),
        }),
    };
    if is_worthwhile(version) {
        let compact = CompactDataset { dataset_id: dataset.clone() };
        enqueue(&mut done.effects, &run.ctx, &run.job.account_id, &compact)
            .map_err(|error| JobError::Retry(error.into()))?;
    }
    Ok(done)
}

/// Makes the report of refused rows known although nothing was added; the error then says where it is.
pub async fn keep_report(
    run: &JobRun,
    dataset: &DatasetId,
    error: JobError,
    report: Option<RejectedReport>,
) -> Result<JobError, JobError> {
    let Some(report) = report else { return Ok(error) };
    let error = match error {
        JobError::Failed(text) => JobError::Failed(format!(
            "{text} GET /api/v1/datasets/{dataset}/rejected lists each refused row with its line and reason."
        )),
        other => other,
    };
    loop {
        let mut current = Current::load(&run.ctx, &run.job.account_id, dataset).await?;
        current.dataset.value.rejected = Some(report.clone());
        current.dataset.value.updated_at = run.ctx.clock.now();
        let mut batch = Batch::new();
        batch.replace(&current.dataset);
        if try_commit(run, batch).await? {
            return Ok(error);
        }
    }
}

/// A dataset whose first upload failed is failed; a failed append leaves the dataset as it was.
pub async fn failed_first_upload(run: &JobRun, dataset: &DatasetId, error: &JobError) -> Batch {
    let mut batch = Batch::new();
    if let Ok(mut current) = Current::load(&run.ctx, &run.job.account_id, dataset).await
        && current.version.version == 0
    {
        let value = &mut current.dataset.value;
        value.state = DatasetState::Failed;
        value.error = Some(error.to_string());
        value.pending_upload = None;
        value.updated_at = run.ctx.clock.now();
        batch.replace(&current.dataset);
    }
    batch
}

/// Shared by jobs that hand a job's result on.
pub fn result_with(done: &mut Done, key: &str, value: Value) {
    if let Value::Object(result) = &mut done.result {
        result.insert(key.to_owned(), value);
    }
}
