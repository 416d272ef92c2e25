//! Counts all rows of a dataset anew (`compute_cardinalities`).

use std::collections::HashSet;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::dataset_cardinality::{Counts, add_table};
use super::dataset_change::{Current, load_schema, load_segments, try_commit};
use super::dataset_objects::{ObjectSegmentSource, blocking, job_error};
use super::{Done, JobError, JobRun, RunJob};
use crate::domain::dataset::DatasetVersion;
use crate::domain::id::{DatasetId, SegmentId};
use crate::domain::job::{Progress, Reporter, Topic};
use crate::domain::schema::Schema;
use crate::domain::segment::Segment;
use crate::ingest::scan;
use crate::sketch::CardinalityState;
use crate::store::Batch;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CountDataset {
    pub dataset_id: DatasetId,
}

#[async_trait]
impl RunJob for CountDataset {
    const KIND: &'static str = "dataset_count";
    const TOPIC: Topic = Topic::Analysis;

    async fn run(&self, run: &JobRun) -> Result<Done, JobError> {
        let ctx = &run.ctx;
        let mut counting = Counting::default();
        loop {
            let current = Current::load(ctx, &run.job.account_id, &self.dataset_id).await?;
            let schema = load_schema(ctx, &self.dataset_id, current.version.schema_version).await?;
            let all = counting.of_version(run, &current.version, &schema, &[]).await?;
            let records = all.records;
            let now = ctx.clock.now();
            let mut batch = Batch::new();
            // Written as it is: its revision is what guards the counts.
            batch.replace(&current.dataset);
            Counts::load(ctx, &self.dataset_id).await?.replace(&mut batch, all, now);
            if try_commit(run, batch).await? {
                return Ok(Done { effects: Batch::new(), result: json!({"records_counted": records}) });
            }
        }
    }
}

/// A count of all rows that is continued, not repeated, when segments were added meanwhile.
#[derive(Default)]
pub struct Counting {
    counted: HashSet<SegmentId>,
    fields: Vec<(String, crate::domain::schema::FieldType)>,
    state: CardinalityState,
}

impl Counting {
    /// The count of a version; `added` are its segments that are not stored yet.
    pub async fn of_version(
        &mut self,
        run: &JobRun,
        version: &DatasetVersion,
        schema: &Schema,
        added: &[Segment],
    ) -> Result<&CardinalityState, JobError> {
        let fields: Vec<_> = schema.fields.iter().map(|field| (field.name.clone(), field.field_type)).collect();
        let wanted: HashSet<_> = version.segments.iter().cloned().collect();
        if !self.counted.is_subset(&wanted) || self.fields != fields {
            self.counted.clear();
            self.state = CardinalityState::default();
        }
        if self.counted.is_empty() {
            self.state = CardinalityState::new(schema);
            self.fields = fields;
        }
        let missing: Vec<SegmentId> = version
            .segments
            .iter()
            .filter(|id| !self.counted.contains(*id) && !added.iter().any(|segment| segment.id == **id))
            .cloned()
            .collect();
        let mut segments = load_segments(&run.ctx, &version.dataset_id, &missing).await?;
        segments.extend(added.iter().filter(|segment| !self.counted.contains(&segment.id)).cloned());
        self.counted.extend(segments.iter().map(|segment| segment.id.clone()));
        let state = std::mem::take(&mut self.state);
        self.state = count(run, segments, schema.clone(), state).await?;
        Ok(&self.state)
    }
}

async fn count(
    run: &JobRun,
    segments: Vec<Segment>,
    schema: Schema,
    mut state: CardinalityState,
) -> Result<CardinalityState, JobError> {
    let source = ObjectSegmentSource::new(&run.ctx);
    let run = run.clone();
    blocking(move || {
        let total: u64 = segments.iter().map(|segment| segment.directory.rows).sum();
        let mut done = 0;
        for table in scan(&source, &segments, &schema, &[], None, None).map_err(job_error)? {
            if run.is_cancelled() {
                return Err(JobError::Cancelled);
            }
            let table = table.map_err(job_error)?;
            add_table(&mut state, &table);
            done += table.rows as u64;
            run.report(Progress {
                done,
                total: Some(total),
                unit: "rows".into(),
                phase: "counting".into(),
                ..Progress::default()
            });
        }
        Ok(state)
    })
    .await
}
