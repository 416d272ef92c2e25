//! Merges the small segments that small appends leave, so that a dataset is thousands of rows an object, not ten.

use std::collections::HashSet;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::dataset_change::{Current, NewVersion, Totals, load_schema, load_segments, made_before, try_commit};
use super::dataset_ingest::ingest_options;
use super::dataset_objects::{ObjectSegmentSink, ObjectSegmentSource, blocking, job_error};
use super::{Done, JobError, JobRun, RunJob};
use crate::domain::dataset::DatasetVersion;
use crate::domain::id::{DatasetId, SegmentId};
use crate::domain::job::Topic;
use crate::ingest::{UnknownColumns, merge_segments};
use crate::store::Batch;

/// A segment with fewer rows is small: a quarter of a full one.
const SMALL_ROWS: u64 = 62_500;
/// So many small segments are merged.
const WORTHWHILE: usize = 16;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CompactDataset {
    pub dataset_id: DatasetId,
}

/// Whether a version has just reached a multiple of so many small segments.
pub fn is_worthwhile(version: &DatasetVersion) -> bool {
    let small = version.segment_rows.iter().filter(|rows| **rows < SMALL_ROWS).count();
    small >= WORTHWHILE && small.is_multiple_of(WORTHWHILE)
}

#[async_trait]
impl RunJob for CompactDataset {
    const KIND: &'static str = "dataset_compact";
    const TOPIC: Topic = Topic::DatasetUpload;

    async fn run(&self, run: &JobRun) -> Result<Done, JobError> {
        let ctx = &run.ctx;
        let done = |merged: usize, into: usize| {
            let result = json!({"dataset_id": self.dataset_id, "segments_merged": merged, "segments_made": into});
            Ok(Done { effects: Batch::new(), result })
        };
        if made_before(ctx, &self.dataset_id, &run.job.id).await?.is_some() {
            return done(0, 0);
        }
        let start = Current::load(ctx, &run.job.account_id, &self.dataset_id).await?;
        let small: Vec<SegmentId> = start.segments().filter(|(_, rows)| *rows < SMALL_ROWS).map(|(id, _)| id).collect();
        if small.len() < 2 {
            return done(0, 0);
        }
        let schema = load_schema(ctx, &self.dataset_id, start.version.schema_version).await?;
        let segments = load_segments(ctx, &self.dataset_id, &small).await?;
        let source = ObjectSegmentSource::new(ctx);
        let options = ingest_options(ctx, UnknownColumns::Refuse);
        let mut sink = ObjectSegmentSink::new(ctx, &self.dataset_id, schema.version);
        let (replaced, merged) = blocking({
            let schema = schema.clone();
            move || {
                merge_segments(&source, &segments, &schema, &options, &mut sink).map_err(job_error)?;
                Ok((segments, sink.segments))
            }
        })
        .await?;
        let rows = |segments: &[crate::domain::segment::Segment]| -> u64 {
            segments.iter().map(|segment| segment.directory.rows).sum()
        };
        if rows(&replaced) != rows(&merged) {
            let detail = format!("{} rows became {} when segments were merged", rows(&replaced), rows(&merged));
            return Err(JobError::Failed(format!("Compaction was given up: {detail}. The dataset is unchanged.")));
        }
        let small: HashSet<SegmentId> = small.into_iter().collect();
        let sizes = |segments: &[crate::domain::segment::Segment]| -> u64 {
            segments.iter().map(|segment| segment.directory.size_bytes).sum()
        };
        loop {
            let current = Current::load(ctx, &run.job.account_id, &self.dataset_id).await?;
            let kept = current.segments().filter(|(id, _)| small.contains(id)).count();
            if kept != small.len() || current.version.schema_version != schema.version {
                // Deleted, converted or reverted meanwhile: the next append asks again.
                return done(0, 0);
            }
            let mut list = Vec::new();
            let mut placed = false;
            for (id, rows) in current.segments() {
                if !small.contains(&id) {
                    list.push((id, rows));
                } else if !placed {
                    placed = true;
                    list.extend(merged.iter().map(|segment| (segment.id.clone(), segment.directory.rows)));
                }
            }
            let mut totals = Totals::of_version(&current.version);
            totals.size_bytes = totals.size_bytes.saturating_sub(sizes(&replaced)) + sizes(&merged);
            let new = NewVersion {
                reason: "compaction",
                schema_version: schema.version,
                segments: list,
                totals,
                added: &merged,
            };
            let now = ctx.clock.now();
            let mut batch = Batch::new();
            let version = current.write(&mut batch, new, &run.job.id, now);
            batch.replace(&current.dataset_after(&version, &run.job.id, now));
            if try_commit(run, batch).await? {
                return done(replaced.len(), merged.len());
            }
        }
    }
}
