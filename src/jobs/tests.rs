//! The worker against a real store: every promise about jobs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    ControlError, Done, JobError, JobRun, Registry, RunJob, Runner, RunnerHandle, RunnerOptions, cancel, enqueue,
    redrive, retry,
};
use crate::clock::SystemClock;
use crate::config::{Config, Secret};
use crate::context::Context;
use crate::domain::id::{AccountId, JobId};
use crate::domain::job::{Job, JobState, Progress, Reporter, Topic};
use crate::domain::job_log::Event;
use crate::objects::{ObjectStore, ObjectStoreSettings, PublicUrls};
use crate::store::sqlite::SqliteStore;
use crate::store::{Batch, Collection, Key, Op, Query, SharedStore, StoreExt};

/// A job that does what it is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum TestJob {
    Succeed,
    Fail,
    /// Fails this often, then succeeds.
    RetryTimes(u32),
    /// Finds the disk full this often, then succeeds.
    FullTimes(u32),
    /// Finds the object store away this often, then succeeds.
    AwayTimes(u32),
    PanicOnce,
    /// Runs until it is cancelled.
    UntilCancelled,
    /// Never looks at its cancellation.
    Forever,
    /// Its effects conflict the first time.
    ConflictOnce,
}

/// What a run leaves: at most one document per job, so that a second effect is a conflict.
fn effect(run: &JobRun) -> Op {
    Op::Insert { collection: Collection::Reports, key: Key::new("effects", run.job.id.as_str()), body: "{}".to_owned() }
}

#[async_trait]
impl RunJob for TestJob {
    const KIND: &'static str = "test";
    const TOPIC: Topic = Topic::Analysis;
    const MAX_ATTEMPTS: u32 = 3;

    async fn run(&self, run: &JobRun) -> Result<Done, JobError> {
        run.report(Progress {
            done: u64::from(run.job.attempt),
            total: None,
            unit: "attempts".into(),
            phase: "working".into(),
            ..Progress::default()
        });
        let mut effects = Batch::new();
        effects.push(effect(run));
        match self {
            TestJob::Succeed => {}
            TestJob::Fail => return Err(JobError::Failed("line 3 is wrong".to_owned())),
            TestJob::RetryTimes(times) if run.job.attempt <= *times => {
                return Err(JobError::Retry(anyhow::anyhow!("attempt {} failed", run.job.attempt)));
            }
            TestJob::FullTimes(times) if run.job.attempt <= *times => return Err(JobError::NoSpace),
            TestJob::AwayTimes(times) if run.job.attempt <= *times => {
                return Err(JobError::ObjectsAway("cannot be reached"));
            }
            TestJob::PanicOnce if run.job.attempt == 1 => panic!("a bug"),
            TestJob::RetryTimes(_) | TestJob::FullTimes(_) | TestJob::AwayTimes(_) | TestJob::PanicOnce => {}
            TestJob::UntilCancelled => {
                run.cancel.cancelled().await;
                return Err(JobError::Cancelled);
            }
            TestJob::Forever => std::future::pending().await,
            TestJob::ConflictOnce => {
                if run.job.attempt == 1 {
                    effects.push(Op::Delete {
                        collection: Collection::Reports,
                        key: Key::new("", "absent"),
                        revision: Some(1),
                    });
                }
            }
        }
        Ok(Done { effects, result: json!({ "attempt": run.job.attempt }) })
    }

    async fn on_failure(&self, run: &JobRun, error: &JobError) -> Batch {
        let body = json!({ "error": error.to_string() }).to_string();
        let key = Key::new("failures", run.job.id.as_str());
        Batch { ops: vec![Op::Put { collection: Collection::Reports, key, body }] }
    }
}

struct Bench {
    ctx: Context,
    account: AccountId,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store: SharedStore = Arc::new(SqliteStore::open(folder.path()).unwrap());
        let clock = Arc::new(SystemClock);
        let account = AccountId::generate(crate::clock::Clock::now(&*clock));
        let objects = Arc::new(ObjectStore::new(&objects_nowhere()).unwrap());
        let ctx = Context { store, objects, config: Arc::new(Config::default()), clock, backlog: Arc::default() };
        Self { ctx, account, _folder: folder }
    }

    fn worker(&self, name: &str) -> RunnerHandle {
        self.worker_with(name, RunnerOptions::default())
    }

    fn worker_with(&self, name: &str, options: RunnerOptions) -> RunnerHandle {
        let mut registry = Registry::new();
        registry.register::<TestJob>();
        let milliseconds = Duration::from_millis;
        let options = RunnerOptions { first_backoff: milliseconds(10), notice_within: milliseconds(300), ..options };
        Runner::start_with(self.ctx.clone(), registry, &Topic::ALL, name, options)
    }

    async fn enqueue(&self, job: TestJob) -> JobId {
        self.enqueue_with(job, |_| {}).await
    }

    async fn enqueue_with(&self, job: TestJob, change: impl Fn(&mut Value)) -> JobId {
        let mut batch = Batch::new();
        let id = enqueue(&mut batch, &self.ctx, &self.account, &job).unwrap();
        for op in &mut batch.ops {
            if let Op::Insert { body, .. } = op {
                let mut document: Value = serde_json::from_str(body).unwrap();
                change(&mut document);
                *body = document.to_string();
            }
        }
        self.ctx.store.commit(batch).await.unwrap();
        id
    }

    async fn job(&self, id: &JobId) -> Job {
        self.ctx.store.load::<Job>(&Key::new(self.account.as_str(), id.as_str())).await.unwrap().unwrap().value
    }

    /// Waits for changes of jobs until one is as expected.
    async fn wait(&self, id: &JobId, what: &str, expected: impl Fn(&Job) -> bool) -> Job {
        let mut feed = self.ctx.store.changes(&[Collection::Jobs]).await.unwrap();
        loop {
            let job = self.job(id).await;
            if expected(&job) {
                return job;
            }
            let event = tokio::time::timeout(Duration::from_secs(30), feed.next()).await;
            assert!(event.is_ok(), "the job was not {what} within 30 s: {job:?}");
        }
    }

    async fn wait_for(&self, id: &JobId, state: JobState) -> Job {
        self.wait(id, state.as_str(), |job| job.state == state).await
    }

    async fn left(&self, scope: &str) -> Vec<String> {
        let page = self.ctx.store.find(&Query::new(Collection::Reports, scope).limit(1_000)).await.unwrap();
        page.documents.into_iter().map(|document| document.key.id).collect()
    }
}

/// Jobs of these tests use no objects.
fn objects_nowhere() -> ObjectStoreSettings {
    ObjectStoreSettings {
        endpoint_setting: "S3_ENDPOINT",
        endpoint: "http://127.0.0.1:1".to_owned(),
        bucket: "none".to_owned(),
        region: "none".to_owned(),
        access_key: "none".to_owned(),
        secret_key: Secret("none".to_owned()),
        ca_file: None,
        public_urls: PublicUrls::Fixed("http://127.0.0.1:1".to_owned()),
        origins: Vec::new(),
        installation: None,
    }
}

#[tokio::test]
async fn a_job_runs_at_once_and_its_effect_comes_with_its_success() {
    let bench = Bench::new();
    let worker = bench.worker("w");
    let warm_up = bench.enqueue(TestJob::Succeed).await;
    bench.wait_for(&warm_up, JobState::Succeeded).await;
    let started = Instant::now();
    let id = bench.enqueue(TestJob::Succeed).await;
    let job = bench.wait_for(&id, JobState::Succeeded).await;
    println!("from enqueued to done: {} ms", started.elapsed().as_millis());
    assert_eq!((job.attempt, job.failures, job.result), (1, 0, Some(json!({ "attempt": 1 }))));
    assert_eq!(job.progress.phase, "working");
    let log: Vec<_> =
        job.log.iter().map(|it| (it.event, it.attempt, it.worker.as_deref(), it.text.as_deref())).collect();
    let expected = [
        (Event::Queued, 0, None, None),
        (Event::Started, 1, Some("w"), None),
        (Event::Phase, 1, None, Some("working")),
        (Event::Succeeded, 1, Some("w"), None),
    ];
    assert_eq!(log, expected);
    assert_eq!(bench.left("effects").await.len(), 2);
    worker.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn jobs_queued_before_the_worker_started_run() {
    let bench = Bench::new();
    let id = bench.enqueue(TestJob::Succeed).await;
    let worker = bench.worker("w");
    bench.wait_for(&id, JobState::Succeeded).await;
    worker.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn a_full_disk_is_waited_for_as_long_as_it_takes() {
    let bench = Bench::new();
    let worker = bench.worker("w");
    let id = bench.enqueue(TestJob::FullTimes(2 * TestJob::MAX_ATTEMPTS)).await;
    let job = bench.wait(&id, "waiting", |job| job.error.is_some()).await;
    assert!(job.error.unwrap().contains("Free some space"));
    let job = bench.wait_for(&id, JobState::Succeeded).await;
    assert_eq!((job.attempt, job.error), (2 * TestJob::MAX_ATTEMPTS + 1, None));
    worker.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn an_object_store_that_is_away_is_waited_for_as_long_as_it_takes() {
    let bench = Bench::new();
    let worker = bench.worker("w");
    let id = bench.enqueue(TestJob::AwayTimes(2 * TestJob::MAX_ATTEMPTS)).await;
    let job = bench.wait(&id, "waiting", |job| job.error.is_some()).await;
    assert!(job.error.unwrap().contains("The object store cannot be reached; nothing was added."));
    let job = bench.wait_for(&id, JobState::Succeeded).await;
    assert_eq!((job.attempt, job.error), (2 * TestJob::MAX_ATTEMPTS + 1, None));
    worker.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn who_is_alone_on_a_store_takes_up_at_once_what_a_dead_process_left() {
    let bench = Bench::new();
    let id = bench
        .enqueue_with(TestJob::Succeed, |job| {
            job["state"] = json!("running");
            job["fence"] = json!(1);
            job["attempt"] = json!(1);
            // Longer than anybody waits here.
            job["lease_ms"] = json!(600_000);
        })
        .await;
    let worker = bench.worker_with("w", RunnerOptions { alone: true, ..RunnerOptions::default() });
    let job = bench.wait_for(&id, JobState::Succeeded).await;
    assert_eq!((job.attempt, job.failures), (2, 0));
    assert!(job.log.iter().any(|it| it.event == Event::TakenOver && it.attempt == 2), "{:?}", job.log);
    worker.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn a_failed_job_leaves_what_on_failure_says() {
    let bench = Bench::new();
    let worker = bench.worker("w");
    let id = bench.enqueue(TestJob::Fail).await;
    let job = bench.wait_for(&id, JobState::Failed).await;
    assert_eq!((job.attempt, job.error.as_deref()), (1, Some("line 3 is wrong")));
    assert_eq!(bench.left("failures").await, [id.as_str()]);
    assert!(bench.left("effects").await.is_empty());
    worker.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn a_job_is_tried_again_and_dead_after_its_last_attempt() {
    let bench = Bench::new();
    let worker = bench.worker("w");
    let (lucky, unlucky) = (bench.enqueue(TestJob::RetryTimes(2)).await, bench.enqueue(TestJob::RetryTimes(3)).await);
    let job = bench.wait_for(&lucky, JobState::Succeeded).await;
    assert_eq!((job.attempt, job.failures, job.error), (3, 2, None));
    let job = bench.wait_for(&unlucky, JobState::Dead).await;
    assert_eq!(job.error.as_deref(), Some("attempt 3 failed"));
    assert_eq!(bench.left("failures").await, [unlucky.as_str()]);
    let failures: Vec<_> =
        job.log.iter().filter(|it| it.text.as_deref().is_some_and(|text| text.contains("failed"))).collect();
    let told: Vec<_> = failures.iter().map(|it| (it.event, it.attempt)).collect();
    assert_eq!(told, [(Event::WillRetry, 1), (Event::WillRetry, 2), (Event::Dead, 3)]);

    // By hand it gets all its attempts again; it would fail as before, so its payload is no matter here.
    retry(&bench.ctx, &bench.account, &unlucky).await.unwrap();
    bench.wait_for(&unlucky, JobState::Dead).await;
    assert_eq!(redrive(&bench.ctx, &bench.account).await.unwrap(), 1);
    bench.wait_for(&unlucky, JobState::Dead).await;
    assert!(matches!(
        retry(&bench.ctx, &bench.account, &lucky).await,
        Err(ControlError::WrongState(JobState::Succeeded))
    ));
    worker.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn a_panic_is_a_failed_attempt() {
    let bench = Bench::new();
    let worker = bench.worker("w");
    let id = bench.enqueue(TestJob::PanicOnce).await;
    let job = bench.wait_for(&id, JobState::Succeeded).await;
    assert_eq!((job.attempt, job.failures), (2, 1));
    worker.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn conflicting_effects_are_tried_again() {
    let bench = Bench::new();
    let worker = bench.worker("w");
    let id = bench.enqueue(TestJob::ConflictOnce).await;
    assert_eq!(bench.wait_for(&id, JobState::Succeeded).await.attempt, 2);
    assert_eq!(bench.left("effects").await, [id.as_str()]);
    worker.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn jobs_are_cancelled_in_the_queue_and_while_they_run() {
    let bench = Bench::new();
    let queued = bench.enqueue(TestJob::Succeed).await;
    cancel(&bench.ctx, &bench.account, &queued).await.unwrap();
    let worker = bench.worker("w");
    bench.wait_for(&queued, JobState::Cancelled).await;
    let running = bench.enqueue(TestJob::UntilCancelled).await;
    bench.wait_for(&running, JobState::Running).await;
    let asked = Instant::now();
    cancel(&bench.ctx, &bench.account, &running).await.unwrap();
    bench.wait_for(&running, JobState::Cancelled).await;
    println!("from asked to cancelled: {} ms", asked.elapsed().as_millis());
    cancel(&bench.ctx, &bench.account, &running).await.unwrap();
    assert!(bench.left("effects").await.is_empty());
    assert_eq!(bench.left("failures").await.len(), 2, "on_failure is asked in both cases");

    // A full topic does not keep a queued job from being cancelled.
    let busy = [bench.enqueue(TestJob::UntilCancelled).await, bench.enqueue(TestJob::UntilCancelled).await];
    for id in &busy {
        bench.wait_for(id, JobState::Running).await;
    }
    let waiting = bench.enqueue(TestJob::Succeed).await;
    cancel(&bench.ctx, &bench.account, &waiting).await.unwrap();
    bench.wait_for(&waiting, JobState::Cancelled).await;
    let unknown = JobId::generate(bench.ctx.clock.now());
    assert!(matches!(cancel(&bench.ctx, &bench.account, &unknown).await, Err(ControlError::NotFound)));
    worker.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn a_dead_workers_job_is_taken_over_and_happens_once() {
    let bench = Bench::new();
    let dead = bench.worker("dead");
    let id = bench.enqueue_with(TestJob::UntilCancelled, |job| job["lease_ms"] = json!(600)).await;
    let first = bench.wait_for(&id, JobState::Running).await;
    dead.kill().await;
    let died = Instant::now();
    let heir = bench.worker("heir");
    let second = bench.wait(&id, "taken over", |job| job.worker.as_deref() == Some("heir")).await;
    let took = died.elapsed();
    println!("taken over after {} ms with a lease of 600 ms", took.as_millis());
    assert!(took >= Duration::from_millis(600), "never within the lease");
    assert!(second.fence > first.fence);
    assert_eq!((second.attempt, second.failures), (2, 0));

    // What is left of the first run cannot write any more.
    let straggler = JobRun::new(bench.ctx.clone(), first, Default::default());
    let mut batch = Batch::new();
    batch.push(effect(&straggler));
    assert!(matches!(straggler.commit(batch).await, Err(JobError::LostLease)));
    assert!(bench.left("effects").await.is_empty());
    heir.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn a_living_workers_job_is_left_alone() {
    let bench = Bench::new();
    let owner = bench.worker("owner");
    let id = bench.enqueue_with(TestJob::UntilCancelled, |job| job["lease_ms"] = json!(300)).await;
    let claimed = bench.wait_for(&id, JobState::Running).await;
    let other = bench.worker("other");
    // Heartbeats of several leases, watched by the other worker.
    let later = bench.wait(&id, "alive", |job| job.heartbeat > claimed.heartbeat + 12).await;
    assert_eq!((later.worker.as_deref(), later.fence), (Some("owner"), claimed.fence));
    owner.stop(Duration::ZERO).await;
    other.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn stopping_gives_jobs_back_without_counting_the_attempt() {
    let bench = Bench::new();
    let worker = bench.worker("w");
    let id = bench.enqueue(TestJob::UntilCancelled).await;
    let running = bench.wait_for(&id, JobState::Running).await;
    worker.stop(Duration::ZERO).await;
    let job = bench.job(&id).await;
    assert_eq!((job.state, job.attempt, job.failures, job.worker), (JobState::Queued, 0, 0, None));
    assert!(job.fence > running.fence, "what is left of the run cannot write");
}

#[tokio::test]
async fn stopping_does_not_wait_for_code_that_never_looks() {
    let bench = Bench::new();
    let worker = bench.worker("w");
    let id = bench.enqueue(TestJob::Forever).await;
    bench.wait_for(&id, JobState::Running).await;
    worker.stop(Duration::ZERO).await;
    assert_eq!(bench.job(&id).await.state, JobState::Queued);
}

#[tokio::test]
async fn a_topic_runs_so_many_jobs_at_a_time_and_the_oldest_first() {
    let bench = Bench::new();
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(bench.enqueue(TestJob::UntilCancelled).await);
    }
    ids.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    let worker = bench.worker("w");
    bench.wait_for(&ids[0], JobState::Running).await;
    bench.wait_for(&ids[1], JobState::Running).await;
    assert_eq!(bench.job(&ids[2]).await.state, JobState::Queued);
    cancel(&bench.ctx, &bench.account, &ids[0]).await.unwrap();
    bench.wait_for(&ids[2], JobState::Running).await;
    worker.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn several_workers_run_each_job_once() {
    let bench = Bench::new();
    let workers: Vec<_> = (0..3).map(|n| bench.worker(&format!("w{n}"))).collect();
    let mut ids = Vec::new();
    for _ in 0..30 {
        ids.push(bench.enqueue(TestJob::Succeed).await.as_str().to_owned());
    }
    for id in &ids {
        let job = bench.wait_for(&JobId::parse(id).unwrap(), JobState::Succeeded).await;
        assert_eq!(job.attempt, 1);
    }
    ids.sort();
    assert_eq!(bench.left("effects").await, ids);
    for worker in workers {
        worker.stop(Duration::ZERO).await;
    }
}

#[tokio::test]
async fn unknown_kinds_are_left_for_those_who_know_them() {
    let bench = Bench::new();
    let unknown = bench.enqueue_with(TestJob::Succeed, |job| job["kind"] = json!("from_the_future")).await;
    let worker = bench.worker("w");
    let known = bench.enqueue(TestJob::Succeed).await;
    bench.wait_for(&known, JobState::Succeeded).await;
    assert_eq!(bench.job(&unknown).await.state, JobState::Queued);
    worker.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn a_payload_that_cannot_be_read_fails_with_words() {
    let bench = Bench::new();
    let id = bench.enqueue_with(TestJob::Succeed, |job| job["payload"] = json!({ "Unheard": 1 })).await;
    let worker = bench.worker("w");
    let job = bench.wait_for(&id, JobState::Failed).await;
    assert!(job.error.unwrap().contains("payload"));
    worker.stop(Duration::ZERO).await;
}
