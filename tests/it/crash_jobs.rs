//! `kill -9` of a worker while it works: every job's effect happens exactly once.

use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tango::clock::{Clock, SystemClock};
use tango::config::{Config, Secret};
use tango::context::Context;
use tango::domain::id::AccountId;
use tango::domain::job::{Job, JobState, Topic};
use tango::jobs::{Done, JobError, JobRun, Registry, RunJob, Runner, enqueue};
use tango::objects::{ObjectStore, ObjectStoreSettings, PublicUrls};
use tango::store::sqlite::SqliteStore;
use tango::store::{Batch, Collection, Key, Op, Query, SharedStore, StoreExt};

use crate::crash_store::{FOLDER, child, say};

const JOBS: usize = 6;
const KILLS: usize = 10;
const STEPS: usize = 8;
const LEASE_MS: u64 = 300;

/// Writes some steps on the way (again from the start after a crash), and one effect at the end.
#[derive(Serialize, Deserialize)]
struct Stepwise {
    number: usize,
}

#[async_trait]
impl RunJob for Stepwise {
    const KIND: &'static str = "stepwise";
    const TOPIC: Topic = Topic::Analysis;

    async fn run(&self, run: &JobRun) -> Result<Done, JobError> {
        say(&format!("START {} {}", self.number, run.job.attempt));
        for step in 0..STEPS {
            let mut batch = Batch::new();
            let key = Key::new("steps", format!("{}-{step}", self.number));
            batch.push(Op::Put {
                collection: Collection::Reports,
                key,
                body: json!({ "by": run.job.fence }).to_string(),
            });
            run.commit(batch).await?;
        }
        let mut effects = Batch::new();
        // An insert: a second effect would be a conflict, and the job would not succeed.
        let key = Key::new("effects", self.number.to_string());
        effects.push(Op::Insert { collection: Collection::Reports, key, body: "{}".to_owned() });
        Ok(Done { effects, result: Value::Null })
    }
}

fn context(folder: &Path) -> Context {
    let store: SharedStore = Arc::new(SqliteStore::open(folder).unwrap());
    let nowhere = "http://127.0.0.1:1".to_owned();
    let objects = ObjectStore::new(&ObjectStoreSettings {
        endpoint_setting: "S3_ENDPOINT",
        endpoint: nowhere.clone(),
        bucket: "none".to_owned(),
        region: "none".to_owned(),
        access_key: "none".to_owned(),
        secret_key: Secret("none".to_owned()),
        ca_file: None,
        public_urls: PublicUrls::Fixed(nowhere),
        origins: Vec::new(),
        installation: None,
    });
    Context {
        store,
        objects: Arc::new(objects.unwrap()),
        config: Arc::new(Config::default()),
        clock: Arc::new(SystemClock),
        backlog: Arc::default(),
    }
}

async fn jobs(ctx: &Context) -> Vec<Job> {
    let stored = ctx.store.list_all::<Job>(Query::everywhere(Collection::Jobs)).await.unwrap();
    stored.into_iter().map(|stored| stored.value).collect()
}

/// What the child runs: a worker until every job has ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn works_until_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let ctx = context(Path::new(&folder));
    let mut feed = ctx.store.changes(&[Collection::Jobs]).await.unwrap();
    let mut registry = Registry::new();
    registry.register::<Stepwise>();
    let worker = Runner::start(ctx.clone(), registry, &Topic::ALL, format!("process {}", std::process::id()));
    while jobs(&ctx).await.iter().any(|job| !job.state.is_final()) {
        feed.next().await.unwrap();
    }
    worker.stop(Duration::ZERO).await;
    say("ALL DONE");
}

#[tokio::test]
async fn a_killed_workers_jobs_happen_once() {
    let folder = tempfile::tempdir().unwrap();
    {
        let ctx = context(folder.path());
        let account = AccountId::generate(SystemClock.now());
        let mut batch = Batch::new();
        for number in 0..JOBS {
            enqueue(&mut batch, &ctx, &account, &Stepwise { number }).unwrap();
        }
        for op in &mut batch.ops {
            if let Op::Insert { body, .. } = op {
                let mut job: Job = serde_json::from_str(body).unwrap();
                job.lease_ms = LEASE_MS;
                *body = serde_json::to_string(&job).unwrap();
            }
        }
        ctx.store.commit(batch).await.unwrap();
    }
    let mut kills = 0;
    loop {
        let (mut worker, mut output) = child("crash_jobs::works_until_killed", folder.path());
        let (mut line, mut done) = (String::new(), false);
        while output.read_line(&mut line).unwrap() > 0 {
            done |= line.contains("ALL DONE");
            // Killed as soon as it has begun a job.
            if line.contains("START ") && kills < KILLS {
                kills += 1;
                worker.kill().unwrap();
            }
            line.clear();
        }
        let status = worker.wait().unwrap();
        assert!(done || !status.success(), "a worker ended early");
        if done {
            break;
        }
    }
    let ctx = context(folder.path());
    let ended = jobs(&ctx).await;
    assert!(ended.iter().all(|job| job.state == JobState::Succeeded), "{ended:?}");
    let effects = ctx.store.count(&Query::new(Collection::Reports, "effects")).await.unwrap();
    assert_eq!(effects, JOBS as u64);
    assert_eq!(ctx.store.count(&Query::new(Collection::Reports, "steps")).await.unwrap(), (JOBS * STEPS) as u64);
    println!("{kills} kills, {} claims of {JOBS} jobs", ended.iter().map(|job| job.attempt).sum::<u32>());
}
