//! Merges the small segments that small appends leave, so that a dataset is thousands of rows an object, not ten.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::dataset_change::{Current, Replacement, load_schema, load_segments, made_before, replace_segments};
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
        let mut sink = ObjectSegmentSink::new(run, &self.dataset_id, schema.version);
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
        let (merged_count, made) = (replaced.len(), merged.len());
        let replacement = Replacement { old: replaced, new: merged };
        if replace_segments(run, &self.dataset_id, "compaction", schema.version, &[replacement]).await? {
            done(merged_count, made)
        } else {
            // Deleted, converted or reverted meanwhile: the next append asks again.
            done(0, 0)
        }
    }
}
