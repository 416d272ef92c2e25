//! Deletes the rows of a period.

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
use crate::domain::Timestamp;
use crate::domain::id::{DatasetId, SegmentId};
use crate::domain::job::Topic;
use crate::domain::schema::Schema;
use crate::domain::segment::Segment;
use crate::ingest::{SegmentSink, UnknownColumns, filter_range};
use crate::store::Batch;

/// Deletes rows with `from` ≤ time < `to`; rows without a time stay.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeleteRange {
    pub dataset_id: DatasetId,
    pub from: Timestamp,
    pub to: Timestamp,
}

#[async_trait]
impl RunJob for DeleteRange {
    const KIND: &'static str = "dataset_delete_range";
    const TOPIC: Topic = Topic::DatasetUpload;

    async fn run(&self, run: &JobRun) -> Result<Done, JobError> {
        let ctx = &run.ctx;
        let id = &self.dataset_id;
        if let Some(version) = made_before(ctx, id, &run.job.id).await? {
            return Ok(finished(None, version.rows));
        }
        let mut filtered: HashMap<SegmentId, Option<Segment>> = HashMap::new();
        let mut counting = Counting::default();
        loop {
            check_cancelled(run)?;
            let current = Current::load(ctx, &run.job.account_id, id).await?;
            let schema = load_schema(ctx, id, current.version.schema_version).await?;
            let mut all = Vec::new();
            let mut added = Vec::new();
            for segment in load_segments(ctx, id, &current.version.segments).await? {
                if !self.touches(&segment) {
                    all.push(segment);
                    continue;
                }
                if !filtered.contains_key(&segment.id) {
                    let made = self.filter(run, segment.clone(), &schema).await?;
                    filtered.insert(segment.id.clone(), made);
                }
                if let Some(Some(made)) = filtered.get(&segment.id) {
                    all.push(made.clone());
                    added.push(made.clone());
                }
            }
            let new = NewVersion {
                reason: "delete_range",
                schema_version: schema.version,
                segments: all.iter().map(|segment| (segment.id.clone(), segment.directory.rows)).collect(),
                totals: Totals::default().with(&all),
                added: &added,
            };
            let now = ctx.clock.now();
            let mut batch = Batch::new();
            let version = current.write(&mut batch, new, &run.job.id, now);
            batch.replace(&current.dataset_after(&version, &run.job.id, now));
            let counted = counting.of_version(run, &version, &schema, &added).await?;
            Counts::load(ctx, id).await?.replace(&mut batch, counted, now);
            if try_commit(run, batch).await? {
                return Ok(finished(Some(current.version.rows.saturating_sub(version.rows)), version.rows));
            }
        }
    }
}

fn finished(deleted: Option<u64>, rows: u64) -> Done {
    Done { effects: Batch::new(), result: json!({"rows_deleted": deleted, "rows": rows}) }
}

impl DeleteRange {
    fn touches(&self, segment: &Segment) -> bool {
        match (segment.directory.from, segment.directory.to) {
            (Some(first), Some(last)) => first < self.to && last >= self.from,
            _ => false,
        }
    }

    /// A segment without the rows of the period; `None` when nothing remains.
    async fn filter(&self, run: &JobRun, segment: Segment, schema: &Schema) -> Result<Option<Segment>, JobError> {
        let directory = &segment.directory;
        let inside =
            directory.from.is_some_and(|first| first >= self.from) && directory.to.is_some_and(|last| last < self.to);
        if inside && directory.rows_without_time == 0 {
            return Ok(None);
        }
        let source = ObjectSegmentSource::new(&run.ctx);
        let options = ingest_options(&run.ctx, UnknownColumns::Refuse);
        let mut sink = ObjectSegmentSink::new(run, &self.dataset_id, schema.version);
        let (from, to, schema) = (self.from, self.to, schema.clone());
        blocking(move || match filter_range(&source, &segment, &schema, from, to, &options).map_err(job_error)? {
            None => Ok(None),
            Some(encoded) => {
                sink.put(encoded).map_err(storage_error)?;
                Ok(sink.segments.pop())
            }
        })
        .await
    }
}
