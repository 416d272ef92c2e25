//! Takes away what nothing needs any more: expired uploads, files that were ingested, segments that were replaced,
//! deleted datasets, objects and multipart uploads that no document ever referred to, jobs that ended long ago.

use std::collections::HashSet;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::dataset_change::{check_cancelled, delete_key};
use super::dataset_objects::{RAW_PREFIX, REJECTED_PREFIX, SEGMENT_PREFIX};
use super::{Done, JobError, JobRun, RunJob, enqueue};
use crate::context::Context;
use crate::domain::Timestamp;
use crate::domain::account::Account;
use crate::domain::dataset::{Dataset, DatasetVersion};
use crate::domain::id::{DatasetId, JobId, SegmentId, UploadId};
use crate::domain::job::{Job, JobState, Topic};
use crate::domain::segment::Segment;
use crate::domain::upload::{Upload, UploadState};
use crate::objects::{ObjectError, UnfinishedUpload};
use crate::store::{
    Batch, Collection, Comparison, Condition, Key, Op, Path, Query, Record, StoreError, StoreExt, Stored,
};

/// An object without a document is somebody's work in progress until it is this old.
const ORPHAN_HOURS: i64 = 24;
/// Records of uploads that are over are kept so long, for people to look at.
const UPLOAD_RECORD_DAYS: i64 = 30;

/// One account's waste.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Purge {}

#[async_trait]
impl RunJob for Purge {
    const KIND: &'static str = "purge";
    const TOPIC: Topic = Topic::Purging;

    async fn run(&self, run: &JobRun) -> Result<Done, JobError> {
        let now = run.ctx.clock.now();
        let grace = chrono::Duration::days(i64::from(run.ctx.config.object_grace_days));
        let purging = Purging { run, now, grace };
        let uploads = purging.uploads().await? + purging.unknown_uploads().await? + purging.unknown_files().await?;
        let objects = purging.datasets().await?;
        let jobs = purging.ended_jobs().await?;
        let scoring = purging.scoring().await?;
        let result = json!({"uploads": uploads, "objects": objects, "jobs": jobs, "scoring": scoring});
        Ok(Done { effects: Batch::new(), result })
    }
}

/// Adds a purging job for every account that has none waiting. Call it at the start and every hour.
pub async fn schedule(ctx: &Context) -> Result<(), StoreError> {
    for account in ctx.store.list_all::<Account>(Query::new(Collection::Accounts, "")).await? {
        let kind = Condition::equal(Path::key("kind"), Purge::KIND);
        let queued = ["queued", "running"].map(|state| Condition::equal(Path::key("state"), state));
        let query = Query::new(Collection::Jobs, account.value.id.as_str())
            .filter(kind)
            .filter(Condition::Any(queued.into()))
            .limit(1);
        if ctx.store.list::<Job>(&query).await?.0.is_empty() {
            let mut batch = Batch::new();
            // An empty struct always has a JSON form.
            enqueue(&mut batch, ctx, &account.value.id, &Purge {}).expect("the payload has a JSON form");
            ctx.store.commit(batch).await?;
        }
    }
    Ok(())
}

struct Purging<'a> {
    run: &'a JobRun,
    now: Timestamp,
    grace: chrono::Duration,
}

impl Purging<'_> {
    fn ctx(&self) -> &Context {
        &self.run.ctx
    }

    /// Ends expired uploads and drops the bytes of those that are done with.
    async fn uploads(&self) -> Result<u64, JobError> {
        let mut purged = 0;
        let mut query = Query::new(Collection::Uploads, self.run.job.account_id.as_str());
        loop {
            check_cancelled(self.run)?;
            let (uploads, next) = self.ctx().store.list::<Upload>(&query).await?;
            for upload in uploads {
                purged += u64::from(self.upload(upload).await?);
            }
            match next {
                Some(cursor) => query.after = Some(cursor),
                None => return Ok(purged),
            }
        }
    }

    async fn upload(&self, mut upload: Stored<Upload>) -> Result<bool, JobError> {
        let value = &mut upload.value;
        let objects = &self.ctx().objects;
        let mut batch = Batch::new();
        match value.state {
            UploadState::Receiving if value.expires_at <= self.now => {
                // The record first: who completes at this moment gets a conflict, not a hole.
                value.state = UploadState::Expired;
                value.updated_at = self.now;
                batch.replace(&upload);
                if !self.commit(batch).await? {
                    return Ok(false);
                }
                if let Some(expired) = self.ctx().store.load::<Upload>(&upload.value.key()).await? {
                    self.drop_parts(expired).await?;
                }
                return Ok(true);
            }
            UploadState::Aborted | UploadState::Expired if !value.multipart_id.is_empty() => {
                self.drop_parts(upload).await?;
                return Ok(false);
            }
            UploadState::Completed if value.updated_at + self.grace <= self.now => {
                if self.is_needed(value).await? {
                    return Ok(false);
                }
                objects.delete(&value.object_key).await?;
                objects.delete(&super::profile_upload::report_key(value)).await?;
                value.state = UploadState::Purged;
                value.updated_at = self.now;
                batch.replace(&upload);
            }
            UploadState::Aborted | UploadState::Expired | UploadState::Purged
                if value.updated_at + chrono::Duration::days(UPLOAD_RECORD_DAYS) <= self.now =>
            {
                batch.delete(&upload);
            }
            _ => return Ok(false),
        }
        self.commit(batch).await
    }

    /// Takes away what the object store has of an upload that is over, and remembers that it did: nobody else knows,
    /// when the store was away as the upload ended.
    async fn drop_parts(&self, mut upload: Stored<Upload>) -> Result<(), JobError> {
        let (objects, value) = (&self.ctx().objects, &mut upload.value);
        objects.abort_upload(&value.object_key, &value.multipart_id).await?;
        objects.delete(&value.object_key).await?;
        value.multipart_id = String::new();
        let mut batch = Batch::new();
        batch.replace(&upload);
        self.commit(batch).await.map(drop)
    }

    /// Multipart uploads of any account that a crash cut off from their document: between the start of the upload and
    /// the document of it, or in the middle of a report.
    async fn unknown_uploads(&self) -> Result<u64, JobError> {
        let young = self.now.timestamp_millis() - ORPHAN_HOURS * 3_600_000;
        let objects = &self.ctx().objects;
        let mut purged = 0;
        for prefix in [RAW_PREFIX, REJECTED_PREFIX] {
            let mut from = None;
            loop {
                check_cancelled(self.run)?;
                let page = match objects.list_uploads(prefix, from).await {
                    Ok(page) => page,
                    Err(ObjectError::Unsupported(_)) => {
                        tracing::debug!("the object store lists no unfinished uploads: only known ones are purged");
                        return Ok(purged);
                    }
                    Err(error) => return Err(error.into()),
                };
                for upload in page.uploads.iter().filter(|upload| upload.started_at_ms < young) {
                    if !self.is_known(upload).await? {
                        objects.abort_upload(&upload.key, &upload.id).await?;
                        purged += 1;
                    }
                }
                from = page.next;
                if from.is_none() {
                    break;
                }
            }
        }
        Ok(purged)
    }

    /// Files of any account that a crash cut off from their document: a small append stores its bytes first.
    async fn unknown_files(&self) -> Result<u64, JobError> {
        let young = self.now.timestamp_millis() - ORPHAN_HOURS * 3_600_000;
        let mut purged = 0;
        let mut after = None;
        loop {
            check_cancelled(self.run)?;
            let files = self.ctx().objects.list(RAW_PREFIX, after.as_deref()).await?;
            let Some(last) = files.last() else { return Ok(purged) };
            after = Some(last.key.clone());
            for file in &files {
                let name = file.key.trim_start_matches(RAW_PREFIX).split('.').next().unwrap_or_default();
                let Ok(upload) = UploadId::parse(name) else { continue };
                let old = upload.created_at_ms().is_some_and(|made| made < young);
                if old && self.upload_named(name).await?.is_none() {
                    self.ctx().objects.delete(&file.key).await?;
                    purged += 1;
                }
            }
        }
    }

    /// An upload of any account.
    async fn upload_named(&self, id: &str) -> Result<Option<Upload>, JobError> {
        let query = Query::everywhere(Collection::Uploads).filter(Condition::equal(Path::key("id"), id)).limit(1);
        let (uploads, _) = self.ctx().store.list::<Upload>(&query).await?;
        Ok(uploads.into_iter().next().map(|upload| upload.value))
    }

    /// Whether a document names this multipart upload, or a job that is not over writes it.
    async fn is_known(&self, unfinished: &UnfinishedUpload) -> Result<bool, JobError> {
        let name = unfinished.key.rsplit('/').next().unwrap_or_default().split('.').next().unwrap_or_default();
        let store = &self.ctx().store;
        if JobId::parse(name).is_ok() {
            let query = Query::everywhere(Collection::Jobs).filter(Condition::equal(Path::key("id"), name)).limit(1);
            let jobs = store.list::<Job>(&query).await?.0;
            return Ok(jobs.iter().any(|job| !job.value.state.is_final()));
        }
        let Some(upload) = self.upload_named(name).await? else { return Ok(false) };
        // The other one of an upload's key is the report of its refused rows.
        Ok(if upload.object_key == unfinished.key {
            upload.multipart_id == unfinished.id && upload.state == UploadState::Receiving
        } else {
            self.is_needed(&upload).await?
        })
    }

    /// Jobs that ended long ago. Dead ones stay: somebody has to look at them.
    async fn ended_jobs(&self) -> Result<u64, JobError> {
        let days = self.ctx().config.job_retention_days;
        let before = self.now - chrono::Duration::days(i64::from(days));
        let mut purged = 0;
        for state in [JobState::Succeeded, JobState::Failed, JobState::Cancelled] {
            let old = Condition::Compare {
                path: Path::key("updated_at"),
                comparison: Comparison::Less,
                value: json!(before),
            };
            let mut query = Query::new(Collection::Jobs, self.run.job.account_id.as_str())
                .filter(Condition::equal(Path::key("state"), state.as_str()))
                .filter(old)
                .limit(500);
            loop {
                check_cancelled(self.run)?;
                let (jobs, next) = self.ctx().store.list::<Job>(&query).await?;
                let mut batch = Batch::new();
                for job in &jobs {
                    batch.delete(job);
                }
                // A conflict: one of them was retried this moment. The next purge takes the others.
                if !jobs.is_empty() && self.commit(batch).await? {
                    purged += jobs.len() as u64;
                }
                match next {
                    Some(cursor) => query.after = Some(cursor),
                    None => break,
                }
            }
        }
        Ok(purged)
    }

    /// What was scored, what scoring counted, and what became of it, too long ago.
    async fn scoring(&self) -> Result<u64, JobError> {
        let config = &self.ctx().config;
        let before = |days: u32| self.now - chrono::Duration::days(i64::from(days));
        let milliseconds = |days: u32| json!(before(days).timestamp_millis());
        let (contexts, statistics) = (config.scored_context_days, config.score_statistics_days);
        let mut kinds = vec![
            (Collection::ScoredContexts, "last_ms", milliseconds(contexts)),
            (Collection::ScoreSamples, "at_ms", milliseconds(contexts)),
            (Collection::ScoringHours, "hour_ms", milliseconds(statistics)),
        ];
        if let Some(days) = config.score_log_days {
            kinds.push((Collection::ScoreLog, "created_at", json!(before(days))));
        }
        let mut purged = 0;
        for (collection, name, before) in kinds {
            let old = Condition::Compare { path: Path::key(name), comparison: Comparison::Less, value: before };
            let query = Query::new(collection, self.run.job.account_id.as_str())
                .filter(old)
                .sort_by(Path::key(name), false)
                .limit(100);
            loop {
                check_cancelled(self.run)?;
                let page = self.ctx().store.find(&query).await?;
                let mut batch = Batch::new();
                for document in &page.documents {
                    delete_key(&mut batch, collection, document.key.clone());
                }
                if batch.is_empty() || !self.commit(batch).await? {
                    break;
                }
                purged += page.documents.len() as u64;
            }
        }
        Ok(purged)
    }

    /// A file is needed while its job is not over, or its dataset waits for a schema.
    async fn is_needed(&self, upload: &Upload) -> Result<bool, JobError> {
        let account = upload.account_id.as_str();
        if let Some(job) = &upload.job_id {
            let job = self.ctx().store.load::<Job>(&Key::new(account, job.as_str())).await?;
            if job.is_some_and(|job| !job.value.state.is_final() || job.value.state == JobState::Dead) {
                return Ok(true);
            }
        }
        let Some(dataset) = &upload.dataset_id else { return Ok(false) };
        let dataset = self.ctx().store.load::<Dataset>(&Key::new(account, dataset.as_str())).await?;
        Ok(dataset.is_some_and(|dataset| dataset.value.pending_upload.as_ref() == Some(&upload.id)))
    }

    async fn datasets(&self) -> Result<u64, JobError> {
        let mut purged = 0;
        let mut query = Query::new(Collection::Datasets, self.run.job.account_id.as_str());
        loop {
            let (datasets, next) = self.ctx().store.list::<Dataset>(&query).await?;
            for dataset in datasets {
                check_cancelled(self.run)?;
                purged += match dataset.value.deleted_at {
                    Some(deleted) if deleted + self.grace <= self.now => self.whole_dataset(&dataset).await?,
                    Some(_) => 0,
                    None => self.replaced_segments(&dataset).await? + self.orphans(&dataset.value.id).await?,
                };
            }
            match next {
                Some(cursor) => query.after = Some(cursor),
                None => return Ok(purged),
            }
        }
    }

    /// Forgets versions that were replaced before the period of grace, and the segments that only they have.
    async fn replaced_segments(&self, dataset: &Stored<Dataset>) -> Result<u64, JobError> {
        let id = &dataset.value.id;
        let store = &self.ctx().store;
        let versions = store.list_all::<DatasetVersion>(Query::new(Collection::DatasetVersions, id.as_str())).await?;
        let mut kept: HashSet<SegmentId> = HashSet::new();
        let mut forgotten = Vec::new();
        for (position, version) in versions.iter().enumerate() {
            let replaced_at = versions.get(position + 1).map(|next| next.value.created_at);
            let current = version.value.version == dataset.value.version;
            if !current && replaced_at.is_some_and(|at| at + self.grace <= self.now) {
                forgotten.push(version.value.key());
            } else {
                kept.extend(version.value.segments.iter().cloned());
            }
        }
        let segments = store.list_all::<Segment>(Query::new(Collection::Segments, id.as_str())).await?;
        let unused: Vec<Segment> =
            segments.into_iter().map(|segment| segment.value).filter(|segment| !kept.contains(&segment.id)).collect();
        if forgotten.is_empty() && unused.is_empty() {
            return Ok(0);
        }
        let mut batch = Batch::new();
        // No version was added since the list was read.
        batch.push(Op::Guard {
            collection: Collection::Datasets,
            key: dataset.value.key(),
            field: "version".to_owned(),
            equals: dataset.value.version.into(),
            shared: false,
        });
        for key in forgotten {
            delete_key(&mut batch, Collection::DatasetVersions, key);
        }
        for segment in &unused {
            delete_key(&mut batch, Collection::Segments, segment.key());
        }
        if !self.commit(batch).await? {
            return Ok(0);
        }
        for segment in &unused {
            self.ctx().objects.delete(&segment.object_key).await?;
        }
        Ok(unused.len() as u64)
    }

    /// Objects that a job stored and never committed.
    async fn orphans(&self, dataset: &DatasetId) -> Result<u64, JobError> {
        let young = self.now.timestamp_millis() - ORPHAN_HOURS * 3_600_000;
        let prefix = format!("{SEGMENT_PREFIX}{dataset}/");
        let mut purged = 0;
        let mut after = None;
        loop {
            check_cancelled(self.run)?;
            let objects = self.ctx().objects.list(&prefix, after.as_deref()).await?;
            let Some(last) = objects.last() else { return Ok(purged) };
            after = Some(last.key.clone());
            for object in objects {
                let name = object.key.rsplit('/').next().unwrap_or_default().trim_end_matches(".parquet");
                let Ok(segment) = SegmentId::parse(name) else { continue };
                if segment.created_at_ms().is_none_or(|made| made >= young) {
                    continue;
                }
                let stored = Key::new(dataset.as_str(), segment.as_str());
                if self.ctx().store.load::<Segment>(&stored).await?.is_none() {
                    self.ctx().objects.delete(&object.key).await?;
                    purged += 1;
                }
            }
        }
    }

    /// Objects first, documents after, the dataset's own last: a crash on the way is finished by the next run.
    async fn whole_dataset(&self, dataset: &Stored<Dataset>) -> Result<u64, JobError> {
        let id = &dataset.value.id;
        let mut purged = 0;
        for prefix in [SEGMENT_PREFIX, REJECTED_PREFIX] {
            let prefix = format!("{prefix}{id}/");
            loop {
                check_cancelled(self.run)?;
                let objects = self.ctx().objects.list(&prefix, None).await?;
                if objects.is_empty() {
                    break;
                }
                for object in objects {
                    self.ctx().objects.delete(&object.key).await?;
                    purged += 1;
                }
            }
        }
        let belongings =
            [Collection::Segments, Collection::DatasetVersions, Collection::Schemas, Collection::Cardinalities];
        for collection in belongings {
            loop {
                let page = self.ctx().store.find(&Query::new(collection, id.as_str())).await?;
                if page.documents.is_empty() {
                    break;
                }
                let mut batch = Batch::new();
                for document in page.documents {
                    delete_key(&mut batch, collection, document.key);
                }
                self.commit(batch).await?;
            }
        }
        let mut batch = Batch::new();
        batch.delete(dataset);
        self.commit(batch).await?;
        Ok(purged)
    }

    async fn commit(&self, batch: Batch) -> Result<bool, JobError> {
        super::dataset_change::try_commit(self.run, batch).await
    }
}
