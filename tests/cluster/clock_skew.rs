//! Nodes whose clocks are five minutes apart: they take each other's tokens and answers, their uploads arrive, their jobs are run in
//! time and once, and nobody thinks the other dead.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use tango::app::{App, WorkerApp};
use tango::clock::{Clock, SystemClock};
use tango::config::{Config, Secret};
use tango::domain::node::Role;

use crate::appenders::list;
use crate::figures::figure;
use crate::services::{MongoDb, S3, mongodb, s3};
use crate::shared_services::database;
use crate::support::api::{Api, PASSWORD};
use crate::support::centre;
use crate::support::client::client_builder;
use crate::support::patience::until;

const APART: TimeDelta = TimeDelta::minutes(5);
/// Much less than the clocks are apart.
const IN_TIME: Duration = Duration::from_secs(60);

/// A machine's clock that goes wrong by so much.
struct Wrong(TimeDelta);

impl Clock for Wrong {
    fn now(&self) -> DateTime<Utc> {
        SystemClock.now() + self.0
    }
}

/// The stores of a cluster whose nodes are in this process, with a folder for them.
struct Stores {
    database: MongoDb,
    objects: S3,
    folder: tempfile::TempDir,
}

impl Stores {
    /// `None`, with a printed line, where there are no servers.
    fn new(name: &str) -> Option<Self> {
        let database = mongodb(&format!("{name}-{}", std::process::id()))?;
        Some(Self { database, objects: s3()?, folder: tempfile::tempdir().unwrap() })
    }

    fn config(&self, node: &str) -> Config {
        Config {
            data_dir: self.folder.path().join(node),
            listen: ([127, 0, 0, 1], 0).into(),
            super_user_password: Some(Secret(PASSWORD.to_owned())),
            drain_seconds: 0,
            mongodb_url: Some(Secret(self.database.url.clone())),
            mongodb_ca_file: Some(self.database.ca_file.clone()),
            s3_endpoint: Some(self.objects.endpoint.clone()),
            s3_access_key: Some(self.objects.access_key.clone()),
            s3_secret_key: Some(Secret(self.objects.secret_key.clone())),
            s3_region: self.objects.region.clone(),
            s3_bucket: self.database.database.clone(),
            s3_ca_file: Some(self.objects.ca_file.clone()),
            token_secret: Some(Secret("the secret that every node of the cluster has".to_owned())),
            ..Config::default()
        }
    }

    async fn server(&self, node: &str, ahead: TimeDelta) -> (App, Api) {
        let app = App::start_as(Role::SERVER, self.config(node), Arc::new(Wrong(ahead))).await.unwrap();
        let api = Api::sign_in_to(app.url.clone(), trusting(&self.objects.ca_file)).await;
        (app, api)
    }

    async fn worker(&self, node: &str, ahead: TimeDelta) -> WorkerApp {
        WorkerApp::start(self.config(node), Arc::new(Wrong(ahead))).await.unwrap()
    }
}

fn trusting(authority: &Path) -> reqwest::Client {
    let authority = reqwest::Certificate::from_pem(&std::fs::read(authority).unwrap()).unwrap();
    client_builder().add_root_certificate(authority).build().unwrap()
}

/// Tokens and saved answers of one server count at the other; and what is signed out is out everywhere.
async fn trust_each_other(one: &Api, other: &Api) {
    let strange = Api { token: one.token.clone(), ..other.clone() };
    strange.get("/api/v1/agents/records").send().await.expect_status(200);
    let body = json!({"records": [{"id": "agent-7", "loginStatus": 1}]});
    let append = |api: &Api| api.post("/api/v1/agents/records").header("idempotency-key", "once").json(&body);
    let first = append(one).send().await.expect_status(200);
    assert_eq!(append(other).send().await.expect_status(200).text, first.text, "the saved answer");
    strange.post("/api/v1/auth/logout").send().await.ok();
    until("an end of the token", async || match one.get("/api/v1/agents/records").send().await.status.as_u16() {
        401 => Ok(()),
        status => Err(status),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_with_clocks_five_minutes_apart_work_together() {
    let Some(stores) = Stores::new("skew") else { return };
    let (right, mut at_right) = stores.server("right", TimeDelta::zero()).await;
    let (ahead, mut at_ahead) = stores.server("ahead", APART).await;
    trust_each_other(&at_right, &at_ahead).await;
    at_right = Api::sign_in_to(right.url.clone(), at_right.http).await;
    trust_each_other(&at_ahead, &at_right).await;
    at_ahead = Api::sign_in_to(ahead.url.clone(), at_ahead.http).await;

    // Each server's uploads and jobs, first with a worker whose clock is right, then with one whose clock is ahead.
    let began = Instant::now();
    let worker = stores.worker("right worker", TimeDelta::zero()).await;
    let loaded = centre::load(&at_ahead).await;
    worker.stop_after(Duration::ZERO).await.unwrap();
    let worker_ahead = stores.worker("worker ahead", APART).await;
    let done = at_right.upload("dataset", b"call,agent\n1,agent-7\n", json!({"name": "few"})).await;
    assert_eq!(done["job"]["state"], "succeeded", "{done:#}");
    // Both watch: neither takes what the other has.
    let worker = stores.worker("right worker again", TimeDelta::zero()).await;
    let predictor = loaded.create_predictor(&at_right).await;
    for _ in 0..4 {
        let model = centre::create_model(&at_ahead, &predictor, "HYBRID").await;
        centre::train(&at_right, &model).await;
    }
    let took = began.elapsed();
    for job in list(&at_right, "/api/v1/jobs?").await {
        assert!(job["attempt"].as_u64() <= Some(1), "run once: {job:#}");
    }
    for api in [&at_right, &at_ahead] {
        let nodes = api.get("/api/v1/cluster").send().await.ok().json()["nodes"].clone();
        let states: Vec<_> = nodes.as_array().unwrap().iter().map(|node| &node["state"]).collect();
        assert_eq!(states, ["ready"; 4], "{nodes:#}");
    }
    figure("clocks five minutes apart: seven files and trainings", format!("{took:.1?}"), "≪ 5 min, each once");
    assert!(took < IN_TIME, "{took:?}");
    for worker in [worker, worker_ahead] {
        worker.stop_after(Duration::ZERO).await.unwrap();
    }
    right.stop().await.unwrap();
    ahead.stop().await.unwrap();
    database(&stores.database).await.drop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_failed_on_a_node_ahead_is_tried_again_after_its_pause() {
    let Some(stores) = Stores::new("pauses") else { return };
    let (server, api) = stores.server("server", TimeDelta::zero()).await;
    let worker = stores.worker("worker", TimeDelta::zero()).await;
    let first = api.upload("dataset", b"call,agent\n1,agent-7\n", json!({"name": "few"})).await;
    worker.stop_after(Duration::ZERO).await.unwrap();

    let mut config = stores.config("worker ahead");
    config.s3_endpoint = Some("https://127.0.0.1:1".to_owned());
    let lost = WorkerApp::start(config, Arc::new(Wrong(APART))).await.unwrap();
    let append = format!("/api/v1/datasets/{}/append", first["dataset_id"].as_str().unwrap());
    let started = api.post(&append).body("text/csv", "call,agent\n2,agent-8\n").send().await.expect_status(202).json();
    let job = started["job_id"].as_str().unwrap();
    until("a failure", async || {
        let job = api.get(&format!("/api/v1/jobs/{job}")).send().await.ok().json();
        if job["error"].is_string() { Ok(()) } else { Err(job) }
    })
    .await;
    lost.stop_after(Duration::ZERO).await.unwrap();
    let began = Instant::now();
    let worker = stores.worker("worker again", TimeDelta::zero()).await;
    api.wait_for_job(job).await;
    figure("a job that failed on a node 5 min ahead goes on after", format!("{:.1?}", began.elapsed()), "its pause");
    worker.stop_after(Duration::ZERO).await.unwrap();
    server.stop().await.unwrap();
    database(&stores.database).await.drop().await.unwrap();
}
