//! The worker: finds jobs, claims them, runs them.
//!
//! A claim is one conditional write that sets a new fence. Claims run beside the search: one that has to wait, for what a
//! process that died in the middle of its own left locked, keeps nobody from the other jobs. Whether another worker's job may be taken
//! over is decided by this process's own monotonic clock: its heartbeat number must have stood still for
//! one lease while this worker watched. Pauses before another attempt are measured in the same way. No wall clock and
//! no clock of another machine takes part.

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt as _};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::finish::{ending, finish};
use super::lease::{Lease, StopReason, keep};
use super::registry::Registry;
use super::resting::Resting;
use super::{JobError, JobRun};
use crate::context::Context;
use crate::domain::id::JobId;
use crate::domain::job::{Job, JobState, Progress, Topic};
use crate::domain::job_log::Event;
use crate::store::{Batch, ChangeFeed, Collection, Condition, FeedEvent, Path, Query, Result, StoreExt, Stored};

/// What tests change; the defaults are what production uses.
#[derive(Debug, Clone)]
pub struct RunnerOptions {
    /// How often jobs are looked for when no change was announced.
    pub poll: Duration,
    /// The pause before the second attempt.
    pub first_backoff: Duration,
    /// How long a cancelled run may take to notice, at shutdown.
    pub notice_within: Duration,
    /// Jobs of a topic at a time.
    pub limit: fn(Topic) -> usize,
    /// Nobody else can use the store (a single node, whose folder is locked): what is running when this worker starts
    /// died with an earlier process and is taken over at once, without waiting for a lease.
    pub alone: bool,
}

impl Default for RunnerOptions {
    fn default() -> Self {
        let limit = |topic| if topic == Topic::ModelTraining { 1 } else { 2 };
        Self {
            poll: Duration::from_millis(500),
            first_backoff: Duration::from_secs(1),
            notice_within: Duration::from_secs(5),
            limit,
            alone: false,
        }
    }
}

/// Starts workers.
pub struct Runner;

impl Runner {
    /// Claims and runs jobs of these topics until the handle is told to stop. `worker_name` is shown
    /// with the jobs; it decides nothing.
    pub fn start(ctx: Context, registry: Registry, topics: &[Topic], worker_name: impl Into<String>) -> RunnerHandle {
        Self::start_with(ctx, registry, topics, worker_name, RunnerOptions::default())
    }

    pub fn start_with(
        ctx: Context,
        registry: Registry,
        topics: &[Topic],
        worker_name: impl Into<String>,
        options: RunnerOptions,
    ) -> RunnerHandle {
        let stop = CancellationToken::new();
        let worker = Worker {
            ctx,
            registry,
            topics: topics.to_vec(),
            name: worker_name.into(),
            options,
            claims: FuturesUnordered::new(),
            claiming: HashMap::new(),
            running: HashMap::new(),
            tasks: JoinSet::new(),
            task_ids: HashMap::new(),
            seen: HashMap::new(),
            resting: Resting::default(),
        };
        let (deadline, receiver) = tokio::sync::watch::channel(Duration::ZERO);
        RunnerHandle { task: tokio::spawn(worker.work(stop.clone(), receiver)), stop, deadline }
    }
}

/// A running worker. Dropping it leaves the worker running until the process ends.
pub struct RunnerHandle {
    stop: CancellationToken,
    deadline: tokio::sync::watch::Sender<Duration>,
    task: JoinHandle<()>,
}

impl RunnerHandle {
    /// Claims nothing more, lets running jobs finish for `finish_within`, then cancels the others and
    /// gives them back to the queue without counting the attempt.
    pub async fn stop(self, finish_within: Duration) {
        self.deadline.send_replace(finish_within);
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(error = &error as &dyn std::error::Error, "the worker ended abnormally");
        }
    }

    /// Ends it as a killed process would: nothing is given back.
    #[cfg(test)]
    pub(super) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()));
    }
}

/// A job whose workers died so often, without ever writing a failure, is what kills them.
const MAX_DEATHS: u32 = 150;
/// Polls between two searches for cancelled jobs in the queue (changes announce them).
const CANCELLED_EVERY: u32 = 10;

struct Worker {
    ctx: Context,
    registry: Registry,
    topics: Vec<Topic>,
    name: String,
    options: RunnerOptions,
    claims: FuturesUnordered<BoxFuture<'static, Claim>>,
    /// Jobs whose claims are under way.
    claiming: HashMap<JobId, Topic>,
    running: HashMap<JobId, Running>,
    tasks: JoinSet<()>,
    task_ids: HashMap<tokio::task::Id, JobId>,
    /// Running jobs of other workers.
    seen: HashMap<JobId, Seen>,
    resting: Resting,
}

/// A claim's end: the job is this worker's, or somebody else was first.
struct Claim {
    id: JobId,
    claimed: Result<Option<Job>>,
}

/// What was last seen of a job that another worker runs.
struct Seen {
    fence: u64,
    heartbeat: u64,
    /// Since when both stand still; `None` when its process is known to be gone.
    since: Option<Instant>,
}

impl Seen {
    fn stands_still(&self, now: Instant, lease_ms: u64) -> bool {
        self.since.is_none_or(|since| now.duration_since(since) >= Duration::from_millis(lease_ms))
    }
}

struct Running {
    topic: Topic,
    lease: Lease,
    run: JobRun,
}

impl Worker {
    async fn work(mut self, stop: CancellationToken, deadline: tokio::sync::watch::Receiver<Duration>) {
        let mut feed = self.follow().await;
        if self.options.alone
            && let Err(error) = self.remember_abandoned().await
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "abandoned jobs are taken over after their lease");
        }
        let mut events = Vec::new();
        let mut polls = 0;
        let (mut look, mut look_for_cancelled) = (true, true);
        // Of a full disk one can read, so that a search that goes well says nothing of claims.
        let (mut looks, mut claims) = (Failing::default(), Failing::default());
        loop {
            if look {
                let looked = self.look(look_for_cancelled).await;
                looks.note(&looked);
            }
            (look, look_for_cancelled) = tokio::select! {
                () = stop.cancelled() => break,
                Some(finished) = self.tasks.join_next_with_id() => {
                    self.ended(finished.map(|(task, ())| task));
                    (true, false)
                }
                Some(claim) = self.claims.next() => {
                    claims.note(&claim.claimed);
                    // Who was too late looks at what is left; who failed waits for the next poll.
                    let too_late = matches!(claim.claimed, Ok(None));
                    self.claimed(claim);
                    (too_late, false)
                }
                count = next_events(&mut feed, &mut events) => {
                    if count == 0 {
                        feed = None;
                    }
                    let others = self.announce(&events);
                    events.clear();
                    (others, others)
                }
                () = tokio::time::sleep(self.options.poll) => {
                    polls += 1;
                    if feed.is_none() {
                        feed = self.follow().await;
                    }
                    (true, polls % CANCELLED_EVERY == 0)
                }
            };
        }
        let finish_within = *deadline.borrow();
        self.shut_down(finish_within).await;
    }

    /// Without a feed the worker polls. (By `&mut`, since claims under way cannot be shared between threads.)
    async fn follow(&mut self) -> Option<ChangeFeed> {
        self.ctx.store.changes(&[Collection::Jobs]).await.ok()
    }

    /// Tells running jobs that their documents changed; whether other jobs changed.
    fn announce(&self, events: &[FeedEvent]) -> bool {
        let mut others = false;
        for event in events {
            match event {
                FeedEvent::Changed(change) => {
                    let id = JobId::parse(&change.key.id).ok();
                    match id.and_then(|id| self.running.get(&id)) {
                        Some(running) => running.lease.look(),
                        None => others = true,
                    }
                }
                // Any of them may have changed.
                FeedEvent::Gap => {
                    self.running.values().for_each(|running| running.lease.look());
                    others = true;
                }
            }
        }
        others
    }

    /// Claims whatever may be claimed now.
    async fn look(&mut self, for_cancelled: bool) -> Result<()> {
        self.take_over_stalled().await?;
        if for_cancelled {
            // Cancelled jobs are only written down as such: no limit applies.
            let cancelled = Condition::equal(Path::key("cancel_requested"), true);
            let query = in_state(JobState::Queued).filter(cancelled).filter(self.known_kinds(&self.topics)).limit(100);
            for stored in self.ctx.store.list::<Job>(&query).await?.0 {
                self.claim(stored);
            }
        }
        let resting = in_state(JobState::Queued).filter(rests()).filter(self.known_kinds(&self.topics));
        let resting = self.ctx.store.list_all::<Job>(resting).await?;
        let mut rested = self.resting.rested(resting, |stored| &stored.value, self.ctx.clock.now());
        for topic in self.topics.clone() {
            let free = self.free(topic);
            if free == 0 || self.registry.kinds(topic).next().is_none() {
                continue;
            }
            let fresh = in_state(JobState::Queued)
                .filter(Condition::Not(Box::new(rests())))
                .filter(self.known_kinds(&[topic]))
                .limit(free + 8);
            let fresh = self.ctx.store.list::<Job>(&fresh).await?.0;
            let (again, others): (Vec<_>, Vec<_>) = rested.into_iter().partition(|stored| stored.value.topic == topic);
            rested = others;
            for stored in again.into_iter().chain(fresh) {
                if self.free(topic) == 0 {
                    break;
                }
                self.claim(stored);
            }
        }
        Ok(())
    }

    fn free(&self, topic: Topic) -> usize {
        let running = self.running.values().map(|running| running.topic);
        let busy = running.chain(self.claiming.values().copied()).filter(|busy| *busy == topic).count();
        (self.options.limit)(topic).saturating_sub(busy)
    }

    fn known_kinds(&self, topics: &[Topic]) -> Condition {
        let kinds = topics.iter().flat_map(|topic| self.registry.kinds(*topic));
        Condition::Any(kinds.map(|kind| Condition::equal(Path::key("kind"), kind)).collect())
    }

    /// Every job that is running before this worker runs one belongs to a process that is gone.
    async fn remember_abandoned(&mut self) -> Result<()> {
        for stored in self.ctx.store.list_all::<Job>(in_state(JobState::Running)).await? {
            let job = stored.value;
            self.seen.insert(job.id, Seen { fence: job.fence, heartbeat: job.heartbeat, since: None });
        }
        Ok(())
    }

    /// Watches the running jobs of all workers, and takes over those whose heartbeat stands still.
    async fn take_over_stalled(&mut self) -> Result<()> {
        let running = in_state(JobState::Running).filter(self.known_kinds(&self.topics));
        let now = Instant::now();
        let mut present = HashSet::new();
        for stored in self.ctx.store.list_all::<Job>(running).await? {
            let job = &stored.value;
            if self.running.get(&job.id).is_some_and(|ours| ours.run.job.fence == job.fence) {
                continue;
            }
            present.insert(job.id.clone());
            let fresh = || Seen { fence: job.fence, heartbeat: job.heartbeat, since: Some(now) };
            let seen = self.seen.entry(job.id.clone()).or_insert_with(fresh);
            if (seen.fence, seen.heartbeat) != (job.fence, job.heartbeat) {
                *seen = fresh();
            }
            if seen.stands_still(now, job.lease_ms) && self.free(job.topic) > 0 {
                tracing::warn!(
                    job = job.id.as_str(),
                    worker = job.worker.as_deref(),
                    "a job's worker is gone: taking it over"
                );
                self.claim(stored);
            }
        }
        self.seen.retain(|id, _| present.contains(id));
        Ok(())
    }

    /// Begins to claim one job.
    fn claim(&mut self, mut stored: Stored<Job>) {
        let id = stored.value.id.clone();
        // A run of this process that lost its lease is still winding down.
        if self.running.contains_key(&id) || self.claiming.contains_key(&id) {
            return;
        }
        let job = &mut stored.value;
        let (event, before) = match job.state {
            JobState::Running => (Event::TakenOver, job.worker.take()),
            _ => (Event::Started, None),
        };
        job.state = JobState::Running;
        job.fence += 1;
        job.heartbeat += 1;
        job.attempt += 1;
        job.worker = Some(self.name.clone());
        job.not_before = None;
        job.progress = Progress::default();
        job.curves.clear();
        job.updated_at = self.ctx.clock.now();
        job.note(job.updated_at, event, before.as_deref());
        self.claiming.insert(id.clone(), job.topic);
        let store = self.ctx.store.clone();
        let claim = async move {
            let mut batch = Batch::new();
            batch.replace(&stored);
            let claimed = match store.commit(batch).await {
                Ok(()) => Ok(Some(stored.value)),
                Err(error) if error.is_conflict() => Ok(None),
                Err(error) => Err(error),
            };
            Claim { id, claimed }
        };
        self.claims.push(claim.boxed());
    }

    /// Runs a job that was claimed.
    fn claimed(&mut self, claim: Claim) {
        self.claiming.remove(&claim.id);
        let Ok(Some(job)) = claim.claimed else { return };
        let Some(code) = self.registry.get(&job.kind) else { return };
        let (id, topic, cancelled) = (claim.id, job.topic, job.cancel_requested);
        tracing::info!(job = id.as_str(), kind = job.kind, attempt = job.attempt, "job started");
        // A worker that dies with its job never writes a failure; this attempt is none of theirs.
        let exhausted = (job.attempt - 1).saturating_sub(job.failures) >= MAX_DEATHS;
        let lease = Lease::new();
        let run = JobRun::new(self.ctx.clone(), job, lease.cancel.clone());
        self.seen.remove(&id);
        let running = Running { topic, lease: lease.clone(), run: run.clone() };
        self.running.insert(id.clone(), running);
        let backoff = self.options.first_backoff;
        let task = self.tasks.spawn(async move {
            // Ends with this task, however that ends.
            let _keeper = AbortOnDropHandle::new(tokio::spawn(keep(run.clone(), lease.clone())));
            let outcome = if cancelled {
                Err(JobError::Cancelled)
            } else if exhausted {
                Err(JobError::Failed(format!(
                    "its worker died while running it, {MAX_DEATHS} times: it may need more memory"
                )))
            } else {
                AssertUnwindSafe(code.run(&run)).catch_unwind().await.unwrap_or_else(|panic| Err(panicked(&*panic)))
            };
            let ending = ending(&run, &lease, outcome, backoff);
            finish(&run, &*code, ending).await;
        });
        self.task_ids.insert(task.id(), id);
    }

    async fn shut_down(&mut self, finish_within: Duration) {
        if tokio::time::timeout(finish_within, self.all_ended()).await.is_ok() {
            return;
        }
        for running in self.running.values() {
            running.lease.stop(StopReason::Shutdown);
        }
        if tokio::time::timeout(self.options.notice_within, self.all_ended()).await.is_ok() {
            return;
        }
        self.tasks.shutdown().await;
        for running in std::mem::take(&mut self.running).into_values() {
            if let Some(code) = self.registry.get(&running.run.job.kind) {
                finish(&running.run, &*code, super::finish::Ending::Released).await;
            }
        }
    }

    async fn all_ended(&mut self) {
        loop {
            tokio::select! {
                Some(claim) = self.claims.next() => self.claimed(claim),
                Some(finished) = self.tasks.join_next_with_id() => self.ended(finished.map(|(task, ())| task)),
                else => return,
            }
        }
    }

    fn ended(&mut self, finished: Result<tokio::task::Id, tokio::task::JoinError>) {
        let task = finished.unwrap_or_else(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "the end of a job went wrong");
            error.id()
        });
        if let Some(id) = self.task_ids.remove(&task) {
            self.running.remove(&id);
        }
    }
}

/// Whether something failed the last time.
#[derive(Default)]
struct Failing(bool);

impl Failing {
    /// Said once: a disk that stays full needs no two lines a second.
    fn note<T>(&mut self, outcome: &Result<T>) {
        if let (Err(error), false) = (outcome, self.0) {
            tracing::warn!(error = error as &dyn std::error::Error, "jobs cannot be claimed, trying again");
        }
        self.0 = outcome.is_err();
    }
}

/// Waits for at least one event; 0 when the feed has ended.
async fn next_events(feed: &mut Option<ChangeFeed>, events: &mut Vec<FeedEvent>) -> usize {
    match feed {
        Some(feed) => feed.0.recv_many(events, 1_000).await,
        None => std::future::pending().await,
    }
}

/// The job pauses before its next attempt.
fn rests() -> Condition {
    Condition::Exists { path: Path::key("not_before") }
}

/// Jobs of every account, the oldest first: ids sort by time.
fn in_state(state: JobState) -> Query {
    Query::everywhere(Collection::Jobs)
        .filter(Condition::equal(Path::key("state"), state.as_str()))
        .sort_by(Path::key("id"), false)
}

/// A panic ends the run, not the worker.
fn panicked(panic: &(dyn std::any::Any + Send)) -> JobError {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned());
    JobError::Retry(anyhow::anyhow!("the job's code panicked: {text}"))
}
