//! A schema with other types, fields or time field: every segment is written again, then the schema changes.

use std::collections::HashMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::dataset_cardinality::Counts;
use super::dataset_change::{
    Current, NewVersion, Totals, check_cancelled, load_schema, load_segments, made_before, try_commit,
};
use super::dataset_count::Counting;
use super::dataset_ingest::ingest_options;
use super::dataset_objects::{ObjectSegmentSink, ObjectSegmentSource, blocking, job_error, storage_error};
use super::{Done, JobError, JobRun, RunJob};
use crate::context::Context;
use crate::domain::dataset::DatasetSchema;
use crate::domain::id::{DatasetId, SegmentId};
use crate::domain::job::{Progress, Reporter, Topic};
use crate::domain::schema::{Field, Schema};
use crate::domain::segment::Segment;
use crate::ingest::{SegmentSink, UnknownColumns, convert_segment};
use crate::store::{Batch, Collection, Query, StoreExt};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConvertDataset {
    pub dataset_id: DatasetId,
    pub fields: Vec<Field>,
}

/// The number after the newest version of a dataset's schema.
pub async fn next_schema_version(ctx: &Context, dataset: &DatasetId) -> Result<u32, JobError> {
    let mut query = Query::new(Collection::Schemas, dataset.as_str()).limit(1);
    query.sort.descending = true;
    let (newest, _) = ctx.store.list::<DatasetSchema>(&query).await?;
    Ok(newest.first().map_or(0, |stored| stored.value.schema.version) + 1)
}

#[async_trait]
impl RunJob for ConvertDataset {
    const KIND: &'static str = "dataset_convert";
    const TOPIC: Topic = Topic::DatasetUpload;

    async fn run(&self, run: &JobRun) -> Result<Done, JobError> {
        let ctx = &run.ctx;
        let id = &self.dataset_id;
        if let Some(version) = made_before(ctx, id, &run.job.id).await? {
            return Ok(finished(version.schema_version));
        }
        let mut schema =
            Schema { version: next_schema_version(ctx, id).await?, accepted: true, fields: self.fields.clone() };
        let mut converted: HashMap<SegmentId, Segment> = HashMap::new();
        let mut counting = Counting::default();
        loop {
            check_cancelled(run)?;
            let current = Current::load(ctx, &run.job.account_id, id).await?;
            self.convert_missing(run, &current, &schema, &mut converted).await?;
            schema.version = next_schema_version(ctx, id).await?;
            let mut added = Vec::with_capacity(current.version.segments.len());
            for segment in &current.version.segments {
                // `convert_missing` has just made one for each.
                if let Some(segment) = converted.get_mut(segment) {
                    segment.schema_version = schema.version;
                    added.push(segment.clone());
                }
            }
            let now = ctx.clock.now();
            let mut batch = Batch::new();
            batch.insert(&DatasetSchema { dataset_id: id.clone(), schema: schema.clone(), created_at: now });
            let new = NewVersion {
                reason: "schema",
                schema_version: schema.version,
                segments: added.iter().map(|segment| (segment.id.clone(), segment.directory.rows)).collect(),
                totals: Totals::default().with(&added),
                added: &added,
            };
            let version = current.write(&mut batch, new, &run.job.id, now);
            batch.replace(&current.dataset_after(&version, &run.job.id, now));
            let all = counting.of_version(run, &version, &schema, &added).await?;
            Counts::load(ctx, id).await?.replace(&mut batch, all, now);
            if try_commit(run, batch).await? {
                return Ok(finished(schema.version));
            }
        }
    }
}

fn finished(schema_version: u32) -> Done {
    Done { effects: Batch::new(), result: json!({"schema_version": schema_version}) }
}

impl ConvertDataset {
    async fn convert_missing(
        &self,
        run: &JobRun,
        current: &Current,
        schema: &Schema,
        converted: &mut HashMap<SegmentId, Segment>,
    ) -> Result<(), JobError> {
        let missing: Vec<SegmentId> =
            current.version.segments.iter().filter(|id| !converted.contains_key(*id)).cloned().collect();
        let total = missing.len() as u64;
        for (position, segment) in load_segments(&run.ctx, &self.dataset_id, &missing).await?.into_iter().enumerate() {
            check_cancelled(run)?;
            let before = load_schema(&run.ctx, &self.dataset_id, segment.schema_version).await?;
            let source = ObjectSegmentSource::new(&run.ctx);
            let options = ingest_options(&run.ctx, UnknownColumns::LeaveOut);
            let mut sink = ObjectSegmentSink::new(run, &self.dataset_id, schema.version);
            let (id, schema) = (segment.id.clone(), schema.clone());
            let made = blocking(move || {
                let encoded = convert_segment(&source, &segment, &before, &schema, &options).map_err(job_error)?;
                sink.put(encoded).map_err(storage_error)?;
                Ok(sink.segments)
            })
            .await?;
            converted.extend(made.into_iter().map(|made| (id.clone(), made)));
            let done = position as u64 + 1;
            run.report(Progress {
                done,
                total: Some(total),
                unit: "segments".into(),
                phase: "converting".into(),
                ..Progress::default()
            });
        }
        Ok(())
    }
}
