//! Indexes for segments that were written while `AUTOGENERATE_INDEXES` was False.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::dataset_change::{
    Current, Replacement, check_cancelled, load_schema, load_segments, load_version, made_before, replace_segments,
};
use super::dataset_ingest::ingest_options;
use super::dataset_objects::{ObjectSegmentSink, ObjectSegmentSource, blocking, job_error, storage_error};
use super::{Done, JobError, JobRun, RunJob, enqueue};
use crate::context::Context;
use crate::domain::dataset::Dataset;
use crate::domain::id::{AccountId, DatasetId};
use crate::domain::job::{Job, Progress, Reporter, Topic};
use crate::ingest::{SegmentSink, UnknownColumns, convert_segment};
use crate::store::{Batch, Collection, Condition, Path, Query, StoreExt};

/// Other changes of the dataset may come first so often; then the job is tried again later.
const MAX_STARTS: u32 = 5;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IndexDataset {
    pub dataset_id: DatasetId,
}

/// Asks for the indexes of every dataset that has segments without, once. Call it at the start.
pub async fn request_missing(ctx: &Context) -> Result<(), JobError> {
    if !ctx.config.autogenerate_indexes {
        return Ok(());
    }
    let mut query = Query::everywhere(Collection::Datasets).limit(100);
    loop {
        let (datasets, next) = ctx.store.list::<Dataset>(&query).await?;
        for dataset in datasets.into_iter().map(|stored| stored.value) {
            if dataset.deleted_at.is_some() || dataset.version == 0 {
                continue;
            }
            let version = load_version(ctx, &dataset.id, dataset.version).await?;
            if version.segments_not_indexed > 0 && !is_queued(ctx, &dataset.account_id, &dataset.id).await? {
                let mut batch = Batch::new();
                enqueue(&mut batch, ctx, &dataset.account_id, &IndexDataset { dataset_id: dataset.id })
                    .map_err(|error| JobError::Failed(error.to_string()))?;
                ctx.store.commit(batch).await?;
            }
        }
        match next {
            Some(cursor) => query.after = Some(cursor),
            None => return Ok(()),
        }
    }
}

async fn is_queued(ctx: &Context, account: &AccountId, dataset: &DatasetId) -> Result<bool, JobError> {
    let alive = ["queued", "running"].map(|state| Condition::equal(Path::key("state"), state));
    let query = Query::new(Collection::Jobs, account.as_str())
        .filter(Condition::equal(Path::key("kind"), IndexDataset::KIND))
        .filter(Condition::equal(Path::new(["payload", "dataset_id"]), dataset.as_str()))
        .filter(Condition::Any(alive.into()))
        .limit(1);
    Ok(!ctx.store.list::<Job>(&query).await?.0.is_empty())
}

#[async_trait]
impl RunJob for IndexDataset {
    const KIND: &'static str = "dataset_index";
    const TOPIC: Topic = Topic::DatasetUpload;

    async fn run(&self, run: &JobRun) -> Result<Done, JobError> {
        let (ctx, id) = (&run.ctx, &self.dataset_id);
        let done = |segments: usize| {
            let result = json!({"dataset_id": id, "segments_indexed": segments});
            Ok(Done { effects: Batch::new(), result })
        };
        if made_before(ctx, id, &run.job.id).await?.is_some() {
            return done(0);
        }
        for _ in 0..MAX_STARTS {
            let current = Current::load(ctx, &run.job.account_id, id).await?;
            let replacements = self.index(run, &current).await?;
            if replacements.is_empty() {
                return done(0);
            }
            let schema_version = current.version.schema_version;
            if replace_segments(run, id, "indexes", schema_version, &replacements).await? {
                return done(replacements.len());
            }
        }
        Err(JobError::Retry(anyhow::anyhow!("other changes of the dataset came first {MAX_STARTS} times")))
    }
}

impl IndexDataset {
    /// Every segment of this version that lacks indexes, written again with them.
    async fn index(&self, run: &JobRun, current: &Current) -> Result<Vec<Replacement>, JobError> {
        let (ctx, id) = (&run.ctx, &self.dataset_id);
        let schema = load_schema(ctx, id, current.version.schema_version).await?;
        let options = ingest_options(ctx, UnknownColumns::Refuse);
        let mut replacements = Vec::new();
        let total = Some(current.version.segments_not_indexed);
        for ids in current.version.segments.chunks(100) {
            for segment in load_segments(ctx, id, ids).await? {
                if segment.directory.indexed {
                    continue;
                }
                check_cancelled(run)?;
                let source = ObjectSegmentSource::new(ctx);
                let mut sink = ObjectSegmentSink::new(run, id, schema.version);
                let (schema, options) = (schema.clone(), options.clone());
                replacements.push(
                    blocking(move || {
                        let encoded =
                            convert_segment(&source, &segment, &schema, &schema, &options).map_err(job_error)?;
                        sink.put(encoded).map_err(storage_error)?;
                        Ok(Replacement { old: vec![segment], new: sink.segments })
                    })
                    .await?,
                );
                let done = replacements.len() as u64;
                run.report(Progress {
                    done,
                    total,
                    unit: "segments".into(),
                    phase: "indexing".into(),
                    ..Progress::default()
                });
            }
        }
        Ok(replacements)
    }
}
