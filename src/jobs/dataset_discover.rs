//! The first upload of a dataset: read it whole, propose a schema, and go on when it is accepted beforehand.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::dataset_change::{Current, made_before, try_commit};
use super::dataset_ingest::{failed_first_upload, ingest_upload, keep_report, load_upload, result_with};
use super::dataset_objects::{RejectedObject, blocking, job_error, storage_error};
use super::{Done, JobError, JobRun, RunJob};
use crate::domain::dataset::{DatasetSchema, DatasetState, RejectedReport};
use crate::domain::id::{DatasetId, UploadId};
use crate::domain::job::Topic;
use crate::domain::schema::Schema;
use crate::domain::upload::Upload;
use crate::ingest::{Discovery, InputFile, discover};
use crate::objects::ObjectReader;
use crate::store::{Batch, Stored};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DiscoverUpload {
    pub dataset_id: DatasetId,
    pub upload_id: UploadId,
}

#[async_trait]
impl RunJob for DiscoverUpload {
    const KIND: &'static str = "dataset_discover";
    const TOPIC: Topic = Topic::DatasetUpload;

    async fn run(&self, run: &JobRun) -> Result<Done, JobError> {
        let ctx = &run.ctx;
        if made_before(ctx, &self.dataset_id, &run.job.id).await?.is_some() {
            return ingest_upload(run, &self.dataset_id, &self.upload_id).await;
        }
        let upload = load_upload(ctx, &run.job.account_id, &self.upload_id).await?;
        let accept = upload.value.accept_schema;
        let mut hints = Value::Null;
        let current = Current::load(ctx, &run.job.account_id, &self.dataset_id).await?;
        if current.dataset.value.schema_version == 0 {
            let discovery = match read(run, &self.dataset_id, &upload.value).await? {
                (Ok(discovery), _) => discovery,
                (Err(error), rejected) => return Err(keep_report(run, &self.dataset_id, error, rejected).await?),
            };
            hints = shown_hints(&discovery);
            propose(run, &self.dataset_id, upload, discovery).await?;
        }
        if accept {
            let mut done = ingest_upload(run, &self.dataset_id, &self.upload_id).await?;
            result_with(&mut done, "hints", hints);
            return Ok(done);
        }
        let result = json!({"dataset_id": self.dataset_id, "state": "awaiting_schema", "hints": hints});
        Ok(Done { effects: Batch::new(), result })
    }

    async fn on_failure(&self, run: &JobRun, error: &JobError) -> Batch {
        failed_first_upload(run, &self.dataset_id, error).await
    }
}

/// What was discovered, or why nothing was with the report of the rows at fault.
async fn read(
    run: &JobRun,
    dataset: &DatasetId,
    upload: &Upload,
) -> Result<(Result<Discovery, JobError>, Option<RejectedReport>), JobError> {
    let mut rejected = RejectedObject::new(&run.ctx, dataset, &run.job.id).map_err(storage_error)?;
    let reader = ObjectReader::open(run.ctx.objects.clone(), &upload.object_key).await?;
    let (upload, limits, reporter) = (upload.clone(), run.ctx.config.limits.clone(), run.clone());
    blocking(move || {
        let size_bytes = reader.size();
        let file =
            InputFile { reader: Box::new(reader), size_bytes, filename: &upload.filename, format: &upload.format };
        let discovery = discover(file, &limits, &mut rejected, &reporter).map_err(job_error);
        // A file that was understood is read again, and that makes the report.
        let report = if discovery.is_err() { rejected.finish().map_err(storage_error)? } else { None };
        Ok((discovery, report))
    })
    .await
}

/// Stores the proposed schema as version 1, and the format that was detected with the upload.
async fn propose(
    run: &JobRun,
    dataset: &DatasetId,
    mut upload: Stored<Upload>,
    discovery: Discovery,
) -> Result<(), JobError> {
    let ctx = &run.ctx;
    let accepted = upload.value.accept_schema;
    loop {
        let now = ctx.clock.now();
        let mut current = Current::load(ctx, &run.job.account_id, dataset).await?;
        let mut batch = Batch::new();
        let schema = Schema { version: 1, accepted, fields: discovery.fields.clone() };
        batch.insert(&DatasetSchema { dataset_id: dataset.clone(), schema, created_at: now });
        let value = &mut current.dataset.value;
        value.schema_version = 1;
        value.state = if accepted { DatasetState::Discovering } else { DatasetState::AwaitingSchema };
        value.pending_upload = Some(upload.value.id.clone());
        value.updated_at = now;
        batch.replace(&current.dataset);
        upload.value.format = discovery.format.clone();
        upload.value.updated_at = now;
        batch.replace(&upload);
        if try_commit(run, batch).await? {
            return Ok(());
        }
        upload = load_upload(ctx, &run.job.account_id, &upload.value.id).await?;
    }
}

/// "Nearly a number": what a person may want to correct in the file.
fn shown_hints(discovery: &Discovery) -> Value {
    let hints = discovery.hints.iter().map(|hint| {
        json!({
            "field": hint.field, "narrower": hint.narrower, "share": hint.share,
            "value": hint.value, "line": hint.line,
        })
    });
    hints.collect()
}
