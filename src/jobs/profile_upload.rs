//! An uploaded file becomes records of a profile.
//!
//! The file is read three times: to see its columns and, while the schema is open, to discover their types;
//! to count the rows that cannot be taken, because too many of them mean that nothing is added; and to upsert the rest.
//! Upserts are idempotent, so that a run after a crash finishes the work of the one before.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::dataset_ingest::load_upload;
use super::dataset_objects::{RejectedObject, blocking, job_error, storage_error};
use super::profile_counts::{CountProfile, request_if_due};
use super::profile_indexes::IndexProfile;
use super::profile_upserts::{Totals, Upserts};
use super::{Done, JobError, JobRun, RunJob, enqueue};
use crate::config::Limits;
use crate::domain::dataset::RejectedReport;
use crate::domain::id::UploadId;
use crate::domain::job::Topic;
use crate::domain::profile::{ProfileKind, ProfileSchema};
use crate::domain::schema::{Field, FieldType, Schema};
use crate::domain::upload::{Recount, Upload, UploadTarget};
use crate::ingest::{IngestError, IngestOptions, InputFile, RecordBatch, UnknownColumns, discover, for_each_record};
use crate::objects::ObjectReader;
use crate::profiles::append::Present;
use crate::profiles::values::{ID, VERSION, check_name, shown};
use crate::profiles::{Profile, journal, schema};
use crate::store::{Batch, StoreError};

/// Upserts the rows of an upload whose target is a profile.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProfileUpload {
    pub upload_id: UploadId,
}

#[async_trait]
impl RunJob for ProfileUpload {
    const KIND: &'static str = "profile_upload";
    const TOPIC: Topic = Topic::DatasetUpload;

    async fn run(&self, run: &JobRun) -> Result<Done, JobError> {
        let upload = load_upload(&run.ctx, &run.job.account_id, &self.upload_id).await?.value;
        let mut file = ProfileFile::new(run, upload)?;
        file.open = !schema::load(&run.ctx.store, &file.profile).await?.value.schema.accepted;
        let columns = file.columns().await?;
        let first = file.adopt(&columns).await?;
        let read_by = file.read_schema(&columns).await?;
        let (rows, refused) = file.count_refused(&read_by).await?;
        let share = refused as f64 / rows.max(1) as f64;
        let too_many = share > run.ctx.config.limits.max_rejected_share;
        let (totals, report) = file.upsert(&read_by, first, too_many).await?;
        file.keep_report(report).await?;
        if too_many {
            return Err(JobError::Failed(format!(
                "{refused} of {rows} rows cannot be taken, which is more than the share of {} that is allowed \
                 (MAX_REJECTED_SHARE); nothing was added. GET /api/v1/{}/rejected names each row and reason.",
                run.ctx.config.limits.max_rejected_share,
                file.profile.kind.as_str()
            )));
        }
        file.finish(first, rows, &totals).await
    }
}

struct ProfileFile<'a> {
    run: &'a JobRun,
    upload: Upload,
    profile: Profile,
    id_field: String,
    /// The file's columns may still add to the schema.
    open: bool,
}

impl<'a> ProfileFile<'a> {
    fn new(run: &'a JobRun, upload: Upload) -> Result<Self, JobError> {
        let kind = match upload.target {
            UploadTarget::Agents => ProfileKind::Agents,
            UploadTarget::Customers => ProfileKind::Customers,
            UploadTarget::Dataset => return Err(JobError::Failed("This upload is for a dataset.".to_owned())),
        };
        let id_field = upload.id_field.clone().unwrap_or_else(|| kind.default_id_field().to_owned());
        if id_field.eq_ignore_ascii_case("id") || id_field.eq_ignore_ascii_case("_id") {
            return Err(JobError::Failed(format!(
                "The column {id_field:?} cannot be the id field of a file: the name is reserved. Rename the column \
                 ({}, for instance) and name it as the column that holds the id (id_field in the API).",
                kind.default_id_field()
            )));
        }
        Ok(Self { run, upload, profile: Profile::new(run.job.account_id.clone(), kind), id_field, open: false })
    }

    async fn reader(&self) -> Result<ObjectReader, JobError> {
        Ok(ObjectReader::open(self.run.ctx.objects.clone(), &self.upload.object_key).await?)
    }

    /// The file's columns with their discovered types, without the id.
    async fn columns(&self) -> Result<Vec<Field>, JobError> {
        let reader = self.reader().await?;
        let (upload, limits, reporter) = (self.upload.clone(), self.run.ctx.config.limits.clone(), self.run.clone());
        let mut rejected = RejectedObject::at(&self.run.ctx, report_key(&self.upload)).map_err(storage_error)?;
        let (discovery, report) = blocking(move || {
            let size_bytes = reader.size();
            let file =
                InputFile { reader: Box::new(reader), size_bytes, filename: &upload.filename, format: &upload.format };
            let discovery = discover(file, &limits, &mut rejected, &reporter).map_err(job_error);
            // A file that was understood is read again, and that makes the report.
            let report = if discovery.is_err() { rejected.finish().map_err(storage_error)? } else { None };
            Ok((discovery, report))
        })
        .await?;
        let discovery = match (discovery, report) {
            (Err(JobError::Failed(text)), Some(report)) => {
                self.keep_report(Some(report)).await?;
                return Err(JobError::Failed(format!(
                    "{text} GET /api/v1/{}/rejected lists each refused row with its line and reason.",
                    self.profile.kind.as_str()
                )));
            }
            (discovery, _) => discovery?,
        };
        let names: Vec<&str> = discovery.fields.iter().map(|field| field.name.as_str()).collect();
        if !names.contains(&self.id_field.as_str()) {
            return Err(JobError::Failed(format!(
                "The file has no column {:?} for the {}'s id. Its columns are: {}. Upload it \
                 again with the name of the column that holds the id (id_field in the API).",
                self.id_field,
                self.profile.noun(),
                shown_list(&names)
            )));
        }
        let columns: Vec<Field> = discovery.fields.into_iter().filter(|field| field.name != self.id_field).collect();
        for column in &columns {
            if column.name == ID {
                return Err(JobError::Failed(format!(
                    "The file has a column \"id\" beside its id field {:?}, and \"id\" is the record's own key. Rename the column.",
                    self.id_field
                )));
            }
            if let Err(reason) = check_name(&column.name) {
                return Err(JobError::Failed(format!("The column {:?}: {reason}.", shown(&column.name))));
            }
        }
        Ok(columns)
    }

    /// Adds the file's columns to a schema that is still open, and accepts it when the upload says so.
    /// Answers whether this is the profile's first data.
    async fn adopt(&self, columns: &[Field]) -> Result<bool, JobError> {
        let ctx = &self.run.ctx;
        loop {
            let read = schema::load(&ctx.store, &self.profile).await?;
            let mut new = read.value.clone();
            if new.schema.accepted {
                return Ok(false);
            }
            let first = read.revision == schema::NOT_STORED;
            for column in columns.iter().filter(|column| column.name != VERSION) {
                match new.schema.fields.iter_mut().find(|field| field.name == column.name) {
                    None => new.schema.fields.push(Field { role: None, ..column.clone() }),
                    Some(known) => {
                        if !self.profile.kind.is_mandatory(&known.name) {
                            known.field_type = wider(known.field_type, column.field_type);
                        }
                        known.confidence = column.confidence;
                        known.samples.clone_from(&column.samples);
                    }
                }
            }
            let limit = ctx.config.limits.max_columns;
            if new.schema.fields.len() > limit {
                return Err(JobError::Failed(format!(
                    "The schema would have {} fields; at most {limit} are allowed (MAX_COLUMNS).",
                    new.schema.fields.len()
                )));
            }
            new.schema.accepted = self.upload.accept_schema;
            if new == read.value {
                return Ok(first);
            }
            new.schema.version += 1;
            let mut batch = Batch::new();
            batch.push(self.run.guard());
            schema::write(&mut batch, &read, new);
            match ctx.store.commit(batch).await {
                Ok(()) => return Ok(first),
                Err(StoreError::Conflict(conflict)) if conflict.op == 0 => return Err(JobError::LostLease),
                Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The file's columns with the profile's types: what rows are read by. Every column must be a field.
    async fn read_schema(&self, columns: &[Field]) -> Result<Schema, JobError> {
        let stored: ProfileSchema = schema::load(&self.run.ctx.store, &self.profile).await?.value;
        let mut fields = Vec::with_capacity(columns.len());
        let mut unknown = Vec::new();
        for column in columns {
            match stored.schema.field(&column.name) {
                Some(field) => fields.push(field.clone()),
                None if column.name == VERSION => fields.push(Field::new(VERSION, FieldType::Integer)),
                None => unknown.push(column.name.as_str()),
            }
        }
        if unknown.is_empty() {
            return Ok(Schema { version: stored.schema.version, accepted: true, fields });
        }
        Err(JobError::Failed(format!(
            "The file has columns that the schema does not have: {}. Remove them, or add them with PUT /api/v1/{}/schema.",
            shown_list(&unknown),
            self.profile.kind.as_str()
        )))
    }

    /// Reads the file once; answers all rows and those that cannot be taken.
    async fn count_refused(&self, read_by: &Schema) -> Result<(u64, u64), JobError> {
        let summary = self.read(read_by, |_| Ok(())).await?;
        Ok((summary.0, summary.1))
    }

    /// Rows and refused rows.
    async fn read(
        &self,
        read_by: &Schema,
        mut take: impl FnMut(RecordBatch) -> Result<(), IngestError> + Send + 'static,
    ) -> Result<(u64, u64), JobError> {
        let reader = self.reader().await?;
        // How many refused rows are too many is decided here, after the report is written.
        let limits = Limits { max_rejected_share: 1.0, ..self.run.ctx.config.limits.clone() };
        let options = IngestOptions {
            limits,
            unknown_columns: UnknownColumns::Refuse,
            json_as_text: self.open,
            ..IngestOptions::default()
        };
        let (upload, id_field, reporter, schema) =
            (self.upload.clone(), self.id_field.clone(), self.run.clone(), read_by.clone());
        blocking(move || {
            let size_bytes = reader.size();
            let file =
                InputFile { reader: Box::new(reader), size_bytes, filename: &upload.filename, format: &upload.format };
            let summary =
                for_each_record(file, &schema, &id_field, &options, &reporter, &mut take).map_err(job_error)?;
            Ok((summary.records + summary.rejected_rows, summary.rejected_rows))
        })
        .await
    }

    /// Upserts the rows and writes the report of refused ones; only the report when `report_only`.
    async fn upsert(
        &self,
        read_by: &Schema,
        first: bool,
        report_only: bool,
    ) -> Result<(Totals, Option<RejectedReport>), JobError> {
        let report = RejectedObject::at(&self.run.ctx, report_key(&self.upload)).map_err(storage_error)?;
        let present = if first { Present::Hardly } else { Present::Perhaps };
        let upserts = Upserts::new(self.run.clone(), self.profile.clone(), present, report);
        let upserts = Arc::new(Mutex::new(upserts));
        let taking = upserts.clone();
        let take = move |mut batch: RecordBatch| {
            if report_only {
                batch.records.clear();
            }
            taking.lock().unwrap_or_else(PoisonError::into_inner).take(batch)
        };
        let read = self.read(read_by, take).await;
        // The closure is gone with its thread: nobody else holds them.
        let Some(upserts) = Arc::into_inner(upserts) else {
            return Err(JobError::Retry(anyhow::anyhow!("the file's reader is still at work")));
        };
        let upserts = upserts.into_inner().unwrap_or_else(PoisonError::into_inner);
        let upserted = blocking(move || upserts.finish()).await;
        // A failure to upsert is why the reader stopped; any other is its own.
        match (read, upserted) {
            (Err(JobError::Cancelled), Err(failure)) => Err(failure),
            (read, upserted) => read.and(upserted),
        }
    }

    /// Makes the report of refused rows known, also when nothing was added.
    async fn keep_report(&self, report: Option<RejectedReport>) -> Result<(), JobError> {
        loop {
            let read = schema::load(&self.run.ctx.store, &self.profile).await?;
            if read.value.rejected == report {
                return Ok(());
            }
            let mut batch = Batch::new();
            batch.push(self.run.guard());
            schema::write(&mut batch, &read, ProfileSchema { rejected: report.clone(), ..read.value.clone() });
            match self.run.ctx.store.commit(batch).await {
                Ok(()) => return Ok(()),
                Err(StoreError::Conflict(conflict)) if conflict.op == 0 => return Err(JobError::LostLease),
                Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn finish(&self, first: bool, rows: u64, totals: &Totals) -> Result<Done, JobError> {
        let ctx = &self.run.ctx;
        let account = &self.profile.account_id;
        let failed = |error: serde_json::Error| JobError::Failed(error.to_string());
        let mut effects = Batch::new();
        if first || self.upload.recount == Recount::Full {
            let count = CountProfile { profile: self.profile.clone(), full: true };
            enqueue(&mut effects, ctx, account, &count).map_err(failed)?;
        } else {
            let pending = journal::pending(&ctx.store, &self.profile).await?;
            request_if_due(ctx, &self.profile, pending).await?;
        }
        if self.upload.accept_schema {
            enqueue(&mut effects, ctx, account, &IndexProfile { profile: self.profile.clone() }).map_err(failed)?;
        }
        let result = json!({
            "profile": self.profile.kind,
            "rows": rows,
            "accepted": totals.accepted,
            "unchanged": totals.unchanged,
            "stale": totals.stale,
            "rejected": totals.rejected,
        });
        Ok(Done { effects, result })
    }
}

/// Where the report of an upload's refused rows is kept; it goes when the uploaded file goes.
pub fn report_key(upload: &Upload) -> String {
    format!("{}.rejected.csv", upload.object_key)
}

/// The type that holds both, as far as one does; else what is known stays and values that do not fit are refused.
fn wider(known: FieldType, found: FieldType) -> FieldType {
    match (known, found) {
        (FieldType::Integer, FieldType::Float) => FieldType::Float,
        (FieldType::Timestamp, FieldType::String) => FieldType::String,
        (known, _) => known,
    }
}

fn shown_list(names: &[&str]) -> String {
    const SHOWN: usize = 20;
    let mut text = names.iter().take(SHOWN).map(|name| shown(name)).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text += &format!(" and {} more", names.len() - SHOWN);
    }
    text
}
