//! How every job changes a dataset: read the current version, work, commit a new one if nothing moved meanwhile.
//!
//! The dataset's document is the lock: every change replaces it in the revision that was read, together with the
//! new version, its segments, its counts and the job's fence. Who loses the race decides again on what is there
//! now; segments that are already stored are used again.

use std::collections::HashMap;

use super::{JobError, JobRun};
use crate::context::Context;
use crate::domain::Timestamp;
use crate::domain::dataset::{Dataset, DatasetSchema, DatasetVersion};
use crate::domain::id::{AccountId, DatasetId, JobId, SegmentId};
use crate::domain::schema::Schema;
use crate::domain::segment::Segment;
use crate::store::{Batch, Collection, Condition, Key, Op, Path, Query, StoreError, StoreExt, Stored};

/// A dataset as it stands, with its current version.
pub struct Current {
    pub dataset: Stored<Dataset>,
    /// Version 0 is empty and not stored.
    pub version: DatasetVersion,
}

/// The data of a new version.
pub struct NewVersion<'a> {
    pub reason: &'a str,
    pub schema_version: u32,
    /// All segments of the version with their rows, in order.
    pub segments: Vec<(SegmentId, u64)>,
    pub totals: Totals,
    /// Those that are not stored yet.
    pub added: &'a [Segment],
}

/// Sums over segments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub rows: u64,
    pub size_bytes: u64,
    pub segments_not_indexed: u64,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

impl Totals {
    pub fn of_version(version: &DatasetVersion) -> Self {
        Self {
            rows: version.rows,
            size_bytes: version.size_bytes,
            segments_not_indexed: version.segments_not_indexed,
            from: version.from,
            to: version.to,
        }
    }

    /// With these segments, too.
    pub fn with(mut self, segments: &[Segment]) -> Self {
        for segment in segments {
            let directory = &segment.directory;
            self.rows += directory.rows;
            self.size_bytes += directory.size_bytes;
            self.segments_not_indexed += u64::from(!directory.indexed);
            self.from = [self.from, directory.from].into_iter().flatten().min();
            self.to = [self.to, directory.to].into_iter().flatten().max();
        }
        self
    }

    /// Without these segments. The time range stays: use it where the rows do.
    pub fn without(mut self, segments: &[Segment]) -> Self {
        for segment in segments {
            let directory = &segment.directory;
            self.rows = self.rows.saturating_sub(directory.rows);
            self.size_bytes = self.size_bytes.saturating_sub(directory.size_bytes);
            self.segments_not_indexed = self.segments_not_indexed.saturating_sub(u64::from(!directory.indexed));
        }
        self
    }
}

impl Current {
    /// Reads the dataset. A deleted one fails for good.
    pub async fn load(ctx: &Context, account: &AccountId, id: &DatasetId) -> Result<Self, JobError> {
        let dataset = ctx.store.load::<Dataset>(&Key::new(account.as_str(), id.as_str())).await?;
        let dataset = dataset.filter(|dataset| dataset.value.deleted_at.is_none());
        let dataset = dataset.ok_or_else(|| JobError::Failed(format!("The dataset {id} was deleted.")))?;
        let version = match dataset.value.version {
            0 => empty_version(&dataset.value),
            number => load_version(ctx, id, number).await?,
        };
        Ok(Self { dataset, version })
    }

    /// The segments' ids with their rows.
    pub fn segments(&self) -> impl Iterator<Item = (SegmentId, u64)> + '_ {
        self.version.segments.iter().cloned().zip(self.version.segment_rows.iter().copied())
    }

    /// Adds the new version to a batch: dataset, version and new segments. Hands the version back.
    pub fn write(&self, batch: &mut Batch, new: NewVersion<'_>, job: &JobId, now: Timestamp) -> DatasetVersion {
        let (segments, segment_rows): (Vec<_>, Vec<_>) = new.segments.into_iter().unzip();
        let version = DatasetVersion {
            dataset_id: self.dataset.value.id.clone(),
            version: self.dataset.value.version + 1,
            schema_version: new.schema_version,
            reason: new.reason.to_owned(),
            segments,
            segment_rows,
            segments_not_indexed: new.totals.segments_not_indexed,
            job_id: Some(job.clone()),
            rows: new.totals.rows,
            size_bytes: new.totals.size_bytes,
            from: new.totals.from,
            to: new.totals.to,
            created_at: now,
        };
        batch.insert(&version);
        for segment in new.added {
            batch.insert(segment);
        }
        version
    }

    /// The dataset's document as it is to be after `version`; put it into the batch with `replace`.
    pub fn dataset_after(&self, version: &DatasetVersion, job: &JobId, now: Timestamp) -> Stored<Dataset> {
        let mut dataset = self.dataset.clone();
        let value = &mut dataset.value;
        value.version = version.version;
        value.schema_version = version.schema_version;
        value.rows = version.rows;
        value.segments = version.segments.len() as u64;
        value.size_bytes = version.size_bytes;
        value.from = version.from;
        value.to = version.to;
        value.last_job = Some(job.clone());
        value.updated_at = now;
        dataset
    }
}

fn empty_version(dataset: &Dataset) -> DatasetVersion {
    DatasetVersion {
        dataset_id: dataset.id.clone(),
        version: 0,
        schema_version: dataset.schema_version,
        reason: "created".to_owned(),
        segments: Vec::new(),
        segment_rows: Vec::new(),
        segments_not_indexed: 0,
        job_id: None,
        rows: 0,
        size_bytes: 0,
        from: None,
        to: None,
        created_at: dataset.created_at,
    }
}

/// One version of a dataset's data.
pub async fn load_version(ctx: &Context, id: &DatasetId, number: u64) -> Result<DatasetVersion, JobError> {
    let version = ctx.store.load::<DatasetVersion>(&Key::new(id.as_str(), format!("{number:012}"))).await?;
    let version = version
        .ok_or_else(|| JobError::Failed(format!("Version {number} of the dataset {id} does not exist (any more).")))?;
    Ok(version.value)
}

/// One version of a dataset's schema.
pub async fn load_schema(ctx: &Context, id: &DatasetId, number: u32) -> Result<Schema, JobError> {
    let schema = ctx.store.load::<DatasetSchema>(&Key::new(id.as_str(), format!("{number:012}"))).await?;
    let schema = schema.ok_or_else(|| {
        JobError::Failed(format!("Version {number} of the schema of the dataset {id} does not exist."))
    })?;
    Ok(schema.value.schema)
}

/// The directories of these segments, in their order.
pub async fn load_segments(ctx: &Context, id: &DatasetId, segments: &[SegmentId]) -> Result<Vec<Segment>, JobError> {
    let keys: Vec<Key> = segments.iter().map(|segment| Key::new(id.as_str(), segment.as_str())).collect();
    let mut loaded = Vec::with_capacity(keys.len());
    for keys in keys.chunks(100) {
        for (stored, key) in ctx.store.load_many::<Segment>(keys).await?.into_iter().zip(keys) {
            let stored = stored.ok_or_else(|| {
                JobError::Failed(format!("The segment {} of the dataset {id} does not exist (any more).", key.id))
            })?;
            loaded.push(stored.value);
        }
    }
    Ok(loaded)
}

/// The version that this job made in an earlier run, if it did.
pub async fn made_before(ctx: &Context, id: &DatasetId, job: &JobId) -> Result<Option<DatasetVersion>, JobError> {
    let query = Query::new(Collection::DatasetVersions, id.as_str())
        .filter(Condition::equal(Path::key("job_id"), job.as_str()))
        .limit(1);
    let (found, _) = ctx.store.list::<DatasetVersion>(&query).await?;
    Ok(found.into_iter().next().map(|stored| stored.value))
}

/// Commits under the job's fence; false when another change was first.
pub async fn try_commit(run: &JobRun, batch: Batch) -> Result<bool, JobError> {
    let mut guarded = Batch::new();
    guarded.push(run.guard());
    guarded.ops.extend(batch.ops);
    match run.ctx.store.commit(guarded).await {
        Ok(()) => Ok(true),
        Err(StoreError::Conflict(conflict)) if conflict.op == 0 => Err(JobError::LostLease),
        Err(StoreError::Conflict(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Segments whose rows other segments hold from now on.
pub struct Replacement {
    /// Which go, all of them in one place: where the first one was.
    pub old: Vec<Segment>,
    pub new: Vec<Segment>,
}

/// Commits a version with the same rows in other segments. False, and nothing done, when one of the old segments
/// is not in the dataset any more, or its schema is another one.
pub async fn replace_segments(
    run: &JobRun,
    dataset: &DatasetId,
    reason: &str,
    schema_version: u32,
    replacements: &[Replacement],
) -> Result<bool, JobError> {
    let mut places: HashMap<&SegmentId, &[Segment]> = HashMap::new();
    for replacement in replacements {
        for (position, old) in replacement.old.iter().enumerate() {
            places.insert(&old.id, if position == 0 { &replacement.new } else { &[] });
        }
    }
    loop {
        let current = Current::load(&run.ctx, &run.job.account_id, dataset).await?;
        let present = current.version.segments.iter().filter(|id| places.contains_key(id)).count();
        if present != places.len() || current.version.schema_version != schema_version {
            return Ok(false);
        }
        let mut segments = Vec::with_capacity(current.version.segments.len());
        for (id, rows) in current.segments() {
            match places.get(&id) {
                None => segments.push((id, rows)),
                Some(new) => segments.extend(new.iter().map(|new| (new.id.clone(), new.directory.rows))),
            }
        }
        let mut totals = Totals::of_version(&current.version);
        let mut added = Vec::new();
        for replacement in replacements {
            totals = totals.without(&replacement.old).with(&replacement.new);
            added.extend(replacement.new.iter().cloned());
        }
        let now = run.ctx.clock.now();
        let mut batch = Batch::new();
        let new = NewVersion { reason, schema_version, segments, totals, added: &added };
        let version = current.write(&mut batch, new, &run.job.id, now);
        batch.replace(&current.dataset_after(&version, &run.job.id, now));
        if try_commit(run, batch).await? {
            return Ok(true);
        }
    }
}

/// Deletes a document whatever its revision.
pub fn delete_key(batch: &mut Batch, collection: Collection, key: Key) {
    batch.push(Op::Delete { collection, key, revision: None });
}

/// The job is cancelled or the process stops: time to leave.
pub fn check_cancelled(run: &JobRun) -> Result<(), JobError> {
    if run.cancel.is_cancelled() { Err(JobError::Cancelled) } else { Ok(()) }
}
