//! A worker that is suspended for longer than its lease, while another one takes its job over, changes nothing when it wakes up.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::appenders::list;
use crate::deployment::{Deployment, Shape};
use crate::figures::{Spread, figure, promise, sized};
use crate::node::Role;
use crate::stored_jobs::{LEASE, StoredJob, StoredJobs, TAKEN_OVER_WITHIN};
use crate::support::api::Api;
use crate::support::centre;
use crate::support::patience::until;

/// Enough that a worker is caught over them.
const TREES: usize = 100;
const ROWS: usize = 20_000;

/// When the sleeper wakes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wakes {
    /// Another worker has just claimed its job.
    Meanwhile,
    /// Another one has finished it.
    Afterwards,
}

/// A job, and the path of what it changes.
struct Work {
    job: String,
    path: String,
}

impl Work {
    fn started(path: String, answer: &Value) -> Self {
        Self { job: answer["job_id"].as_str().unwrap().to_owned(), path }
    }

    async fn training(api: &Api, predictor: &str) -> Self {
        let body = json!({"name": "slow", "type": "HYBRID", "settings": {"trees": TREES, "max_leaves": 8}, "seed": 7});
        let model = api.post(&format!("/api/v1/predictors/{predictor}/models")).json(&body).send().await;
        let path = format!("/api/v1/models/{}", model.expect_status(201).json()["id"].as_str().unwrap());
        let started = api.post(&format!("{path}/train")).send().await.expect_status(202).json();
        Self::started(path, &started)
    }

    async fn append(api: &Api, dataset: &str) -> Self {
        let row = |row: usize| format!("{row},agent-{},{}\n", row % 50, row % 7);
        let csv = "call,agent,seconds\n".to_owned() + &(0..ROWS).map(row).collect::<String>();
        let path = format!("/api/v1/datasets/{dataset}");
        let started = api.post(&format!("{path}/append")).body("text/csv", csv).send().await.expect_status(202).json();
        Self::started(path, &started)
    }

    /// A worker is at work on it: the first thing that a training writes is the model's state.
    async fn has_begun(&self, api: &Api, job: &StoredJob) -> bool {
        let is_model = self.path.contains("/models/");
        job.attempt > 0 && (!is_model || api.get(&self.path).send().await.ok().json()["state"] != "draft")
    }

    /// What the job has done, as far as anybody can see.
    async fn effects(&self, api: &Api) -> (Value, Vec<Value>) {
        let is_dataset = self.path.contains("/datasets/");
        let versions = if is_dataset { list(api, &format!("{}/versions?", self.path)).await } else { Vec::new() };
        (api.get(&self.path).send().await.ok().json(), versions)
    }
}

/// Starts jobs until a worker has fallen asleep over one; the worker, by number.
async fn caught(deployment: &Deployment, mut start: impl AsyncFnMut() -> Work) -> (usize, Work, StoredJob) {
    let (api, jobs) = (deployment.at(0), StoredJobs::of(&deployment.set).await);
    for _ in 0..10 {
        let work = start().await;
        until("a beginning of the job", async || {
            let job = jobs.get(&work.job).await;
            if work.has_begun(&api, &job).await { Ok(()) } else { Err(job) }
        })
        .await;
        let job = jobs.get(&work.job).await;
        let Some(worker) = deployment.workers.iter().position(|worker| job.is_run_by(worker)) else { continue };
        deployment.workers[worker].process.signal("STOP");
        let asleep = jobs.get(&work.job).await;
        if asleep.is_run_by(&deployment.workers[worker]) {
            return (worker, work, asleep);
        }
        deployment.workers[worker].process.signal("CONT");
    }
    panic!("the workers are too quick");
}

/// A worker falls asleep over a job and wakes up; how long the job stood still, and what the job has done.
async fn sleep_over(deployment: &mut Deployment, wakes: Wakes, start: impl AsyncFnMut() -> Work) -> (Duration, Value) {
    let (api, jobs) = (deployment.at(0), StoredJobs::of(&deployment.set).await);
    let (sleeper, work, job) = caught(deployment, start).await;
    let (asleep, attempt) = (Instant::now(), job.attempt + 1);
    let mut sleeper = deployment.workers.remove(sleeper);
    let stood_still = jobs.clone().taken_over(job, asleep).await;
    if wakes == Wakes::Meanwhile {
        sleeper.process.signal("CONT");
    }
    let ended = api.wait_for_job(&work.job).await;
    assert_eq!(ended["attempt"], attempt, "nobody claims it a third time: {ended:#}\n{:#?}", jobs.get(&work.job).await);
    let (done, document) = (work.effects(&api).await, jobs.get(&work.job).await.document);
    if wakes == Wakes::Afterwards {
        sleeper.process.signal("CONT");
    }
    // Told to end, it first lets its runs end, in whatever way they do.
    sleeper.terminate();
    assert_eq!(tokio::task::block_in_place(|| sleeper.process.wait()), Some(0));
    let said = sleeper.process.end();
    // The claim itself may have been what it fell asleep over: then it never knew that it had the job.
    let words = ["another worker took the job over", "this run changes nothing"];
    let noticed = words.iter().any(|words| said.contains(words));
    let knew = said.contains(&format!("job started job=\"{}\"", work.job));
    assert!(noticed || !knew, "{wakes:?}: {said}");
    assert_eq!(work.effects(&api).await, done, "{wakes:?}");
    assert_eq!(jobs.get(&work.job).await.document, document, "{wakes:?}");
    deployment.workers.push(deployment.start_node_with(Role::Worker, &[]));
    (stood_still, done.0)
}

async fn train(deployment: &mut Deployment, wakes: Wakes, predictor: &str) -> Duration {
    let api = deployment.at(0);
    let (stood_still, model) = sleep_over(deployment, wakes, async || Work::training(&api, predictor).await).await;
    assert_eq!((&model["state"], &model["version"]), (&json!("trained"), &json!(1)), "{model:#}");
    stood_still
}

async fn append(deployment: &mut Deployment, wakes: Wakes, dataset: &str) -> Duration {
    let api = deployment.at(0);
    let rows = async || api.get(&format!("/api/v1/datasets/{dataset}")).send().await.ok().json()["rows"].as_u64();
    let (before, mut appends) = (rows().await.unwrap(), 0);
    let start = async || {
        appends += 1;
        Work::append(&api, dataset).await
    };
    let (stood_still, _) = sleep_over(deployment, wakes, start).await;
    assert_eq!(rows().await, Some(before + (appends * ROWS) as u64));
    stood_still
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_slept_over_its_lease_changes_nothing() {
    let shape = Shape { members: 1, servers: 1, workers: 2, ..Shape::default() };
    let Some(mut deployment) = Deployment::start(shape).await else { return };
    let api = deployment.at(0);
    let predictor = centre::load(&api).await.create_predictor(&api).await;
    let first = api.upload("dataset", b"call,agent,seconds\nfirst,agent-7,12\n", json!({"name": "calls"})).await;
    let dataset = first["dataset_id"].as_str().unwrap();
    let mut stood_still = vec![
        train(&mut deployment, Wakes::Meanwhile, &predictor).await,
        append(&mut deployment, Wakes::Afterwards, dataset).await,
    ];
    if sized(false, true) {
        stood_still.push(train(&mut deployment, Wakes::Afterwards, &predictor).await);
        stood_still.push(append(&mut deployment, Wakes::Meanwhile, dataset).await);
    }
    let stood_still = Spread::of(stood_still);
    figure("a worker suspended over a job: the job goes on elsewhere after", &stood_still, "≤ 12 s; once");
    assert!(stood_still.quantile(0.0) >= LEASE - LEASE / 3, "its worker lived: {stood_still}");
    promise(stood_still.max() <= TAKEN_OVER_WITHIN, stood_still);
}
