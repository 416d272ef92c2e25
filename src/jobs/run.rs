//! One run of a job, as its code sees it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::pace::Pace;
use super::{JobError, RunJob};
use crate::context::Context;
use crate::domain::id::{AccountId, JobId};
use crate::domain::job::{Curve, Job, JobState, Progress, Reporter};
use crate::domain::job_log::{self, Entry, Event};
use crate::objects::ObjectError;
use crate::store::{Batch, Collection, Key, Op, Record, StoreError};

/// A claimed job: its context, its lease, its progress.
#[derive(Clone)]
pub struct JobRun {
    pub ctx: Context,
    pub job: Job,
    /// Fires when the job is cancelled, its lease is lost or the process shuts down.
    pub cancel: CancellationToken,
    pub(super) progress: Arc<Mutex<Progress>>,
    /// What was measured on the way.
    curves: Arc<Mutex<Vec<Curve>>>,
    /// Phases that are not in the job's document yet.
    phases: Arc<Mutex<Vec<Entry>>>,
    pace: Arc<Mutex<Pace>>,
    /// Objects that this run has stored, with the document that is to refer to each.
    stored: Arc<Mutex<Vec<(Collection, Key, String)>>>,
}

impl JobRun {
    pub(super) fn new(ctx: Context, job: Job, cancel: CancellationToken) -> Self {
        let progress = Arc::new(Mutex::new(job.progress.clone()));
        Self {
            ctx,
            job,
            cancel,
            progress,
            curves: Arc::default(),
            phases: Arc::default(),
            pace: Arc::default(),
            stored: Arc::default(),
        }
    }

    /// Adds the phases of this run that are not in the job's document yet to its log, and what was measured; how many phases they are.
    pub(super) fn note_phases(&self, job: &mut Job) -> usize {
        job.curves.clone_from(&self.curves.lock().unwrap_or_else(PoisonError::into_inner));
        let phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in phases.iter() {
            job_log::add(&mut job.log, entry.clone());
        }
        phases.len()
    }

    /// The oldest `count` phases are in the document now.
    pub(super) fn phases_are_noted(&self, count: usize) {
        let mut phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        let count = count.min(phases.len());
        phases.drain(..count);
    }

    /// Remembers an object that a document under this key will refer to, if the run succeeds.
    pub(super) fn has_stored(&self, collection: Collection, key: Key, object_key: String) {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner).push((collection, key, object_key));
    }

    /// Deletes the objects of a run that failed for sure, so that attempts on a full disk do not fill it further.
    /// What is not deleted here is purged when it is a day old.
    pub(super) async fn drop_unreferenced(&self) {
        let stored = std::mem::take(&mut *self.stored.lock().unwrap_or_else(PoisonError::into_inner));
        for (collection, key, object_key) in stored {
            // An earlier commit of this run may have taken it in.
            if !matches!(self.ctx.store.get(collection, &key).await, Ok(None)) {
                continue;
            }
            if let Err(error) = self.ctx.objects.delete(&object_key).await {
                tracing::debug!(object_key, error = &error as &dyn std::error::Error, "left for the purge");
                // Each of the others would wait in vain, too.
                if matches!(error, ObjectError::Unavailable(_) | ObjectError::Refused(_)) {
                    return;
                }
            }
        }
    }

    /// The precondition that this run still owns the job.
    pub fn guard(&self) -> Op {
        self.guard_of(false)
    }

    /// The same for batches of one run that are committed side by side. They hold nothing but inserts and replacements.
    pub fn shared_guard(&self) -> Op {
        self.guard_of(true)
    }

    fn guard_of(&self, shared: bool) -> Op {
        Op::Guard {
            collection: Collection::Jobs,
            key: self.job.key(),
            field: "fence".to_owned(),
            equals: self.job.fence.into(),
            shared,
        }
    }

    /// Commits under the fence. A batch whose own preconditions fail is `Retry`.
    pub async fn commit(&self, batch: Batch) -> Result<(), JobError> {
        let mut guarded = Batch::new();
        guarded.push(self.guard());
        guarded.ops.extend(batch.ops);
        match self.ctx.store.commit(guarded).await {
            Ok(()) => Ok(()),
            Err(StoreError::Conflict(conflict)) if conflict.op == 0 => Err(JobError::LostLease),
            Err(error) => Err(error.into()),
        }
    }
}

impl Reporter for JobRun {
    fn report(&self, mut progress: Progress) {
        if let Some(share) = progress.share {
            let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
            progress.time_left_ms = pace.time_left(share, Instant::now()).map(|left| left.as_millis() as u64);
        }
        if let (Some(metric), Some(share)) = (&progress.metric, progress.share) {
            Curve::add(&mut self.curves.lock().unwrap_or_else(PoisonError::into_inner), metric, share);
        }
        let mut present = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if !progress.phase.is_empty() && !job_log::same_phase(&present.phase, &progress.phase) {
            let entry = Entry::new(self.ctx.clock.now(), Event::Phase, self.job.attempt).with_text(&progress.phase);
            job_log::add(&mut self.phases.lock().unwrap_or_else(PoisonError::into_inner), entry);
        }
        *present = progress;
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }
}

impl From<StoreError> for JobError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full(source) => {
                tracing::error!(error = format!("{source:#}"), "the disk of the document store is full");
                JobError::NoSpace
            }
            error => JobError::Retry(error.into()),
        }
    }
}

/// Adds a new job to a batch, so that a domain write and its job happen together.
pub fn enqueue<J: RunJob>(
    batch: &mut Batch,
    ctx: &Context,
    account: &AccountId,
    job: &J,
) -> Result<JobId, serde_json::Error> {
    let now = ctx.clock.now();
    let id = JobId::generate(now);
    let mut job = Job {
        id: id.clone(),
        account_id: account.clone(),
        topic: J::TOPIC,
        kind: J::KIND.to_owned(),
        payload: serde_json::to_value(job)?,
        state: JobState::Queued,
        attempt: 0,
        max_attempts: J::MAX_ATTEMPTS,
        failures: 0,
        fence: 0,
        heartbeat: 0,
        lease_ms: 10_000,
        worker: None,
        cancel_requested: false,
        not_before: None,
        progress: Progress::default(),
        error: None,
        result: None,
        log: Vec::new(),
        curves: Vec::new(),
        created_at: now,
        updated_at: now,
    };
    job.note(now, Event::Queued, None);
    batch.insert(&job);
    Ok(id)
}
