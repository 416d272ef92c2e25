//! Brings an earlier version of a dataset back, as a new version.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::dataset_cardinality::Counts;
use super::dataset_change::{
    Current, NewVersion, Totals, check_cancelled, load_schema, load_version, made_before, try_commit,
};
use super::dataset_count::Counting;
use super::{Done, JobError, JobRun, RunJob};
use crate::domain::id::DatasetId;
use crate::domain::job::Topic;
use crate::store::{Batch, Collection, Op, Record};

/// The data, and the schema, of version `version`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RevertDataset {
    pub dataset_id: DatasetId,
    pub version: u64,
}

#[async_trait]
impl RunJob for RevertDataset {
    const KIND: &'static str = "dataset_revert";
    const TOPIC: Topic = Topic::DatasetUpload;

    async fn run(&self, run: &JobRun) -> Result<Done, JobError> {
        let ctx = &run.ctx;
        let id = &self.dataset_id;
        let done = |version: u64, rows: u64| {
            Ok(Done { effects: Batch::new(), result: json!({"version": version, "rows": rows}) })
        };
        if let Some(version) = made_before(ctx, id, &run.job.id).await? {
            return done(version.version, version.rows);
        }
        let mut counting = Counting::default();
        loop {
            check_cancelled(run)?;
            let current = Current::load(ctx, &run.job.account_id, id).await?;
            let earlier = load_version(ctx, id, self.version).await?;
            let schema = load_schema(ctx, id, earlier.schema_version).await?;
            let now = ctx.clock.now();
            let mut batch = Batch::new();
            // Not purged meanwhile: its segments go only together with it.
            batch.push(Op::Guard {
                collection: Collection::DatasetVersions,
                key: earlier.key(),
                field: "version".to_owned(),
                equals: self.version.into(),
                shared: false,
            });
            let new = NewVersion {
                reason: "revert",
                schema_version: earlier.schema_version,
                segments: earlier.segments.iter().cloned().zip(earlier.segment_rows.iter().copied()).collect(),
                totals: Totals::of_version(&earlier),
                added: &[],
            };
            let version = current.write(&mut batch, new, &run.job.id, now);
            batch.replace(&current.dataset_after(&version, &run.job.id, now));
            let all = counting.of_version(run, &version, &schema, &[]).await?;
            Counts::load(ctx, id).await?.replace(&mut batch, all, now);
            if try_commit(run, batch).await? {
                return done(version.version, version.rows);
            }
        }
    }
}
