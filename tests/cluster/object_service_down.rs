//! The S3 service dies under a cluster: profiles, sign-in and scores go on, also on a server that starts meanwhile; what needs objects
//! is refused with a time to come back; and afterwards everything goes on where it was.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};

use crate::appenders::{AfterFailure, Appenders, list};
use crate::deployment::{Deployment, Shape};
use crate::figures::{Spread, figure, promise, sized};
use crate::node::Role;
use crate::scorers::{Scorers, requests};
use crate::support::api::{Answer, Api};
use crate::support::centre;
use crate::support::patience::until;

const CLIENTS: usize = 4;
const PART: usize = 5 << 20;
/// It is 6 s for what is looked up and 8 for what is stored; and the machine does other things, too.
const REFUSED_WITHIN: Duration = Duration::from_secs(10);
/// Jobs look again after 30 s at the latest, and then have to do their work.
const GOES_ON_WITHIN: Duration = Duration::from_secs(45);
/// A word so long that few rows make two parts.
const WORD: usize = 2_000;

/// An upload in two parts, of which the first has arrived.
struct Begun {
    path: String,
    first: Value,
    second: Vec<u8>,
}

fn row(number: usize) -> String {
    format!("{number},agent-{},{}\n", number % 50, "x".repeat(WORD))
}

impl Begun {
    async fn start(api: &Api) -> Self {
        let mut bytes = "call,agent,note\n".to_owned();
        (0..).map(row).find(|row| {
            bytes.push_str(row);
            bytes.len() > PART + 1_000
        });
        let size = bytes.len();
        let ask = json!({"target": "dataset", "filename": "calls.csv", "size_bytes": size, "part_size_bytes": PART});
        let upload = api.post("/api/v1/uploads").json(&ask).send().await.expect_status(201).json();
        let first = api.put_part(&upload["parts"][0], &bytes.as_bytes()[..PART]).await;
        let path = format!("/api/v1/uploads/{}", upload["id"].as_str().unwrap());
        Self { path, first, second: bytes.into_bytes().split_off(PART) }
    }

    fn completion(&self, second: &Value) -> Value {
        json!({"parts": [self.first, second], "accept_schema": true})
    }

    /// Sends what is missing, by a fresh link; how many rows there are.
    async fn finish(&self, api: &Api) -> u64 {
        let resumed = api.get(&self.path).send().await.ok().json();
        let second = api.put_part(&resumed["parts"][1], &self.second).await;
        let completed = api.post(&format!("{}/complete", self.path)).json(&self.completion(&second)).send().await;
        let completed = completed.expect_status(202).json();
        let job = api.wait_for_job(completed["job_id"].as_str().unwrap()).await;
        job["result"]["rows"].as_u64().unwrap_or_else(|| panic!("{job:#}"))
    }
}

/// How much of everything there is that could be registered by half.
async fn registered(api: &Api) -> Vec<usize> {
    let mut counts = Vec::new();
    for path in ["/api/v1/uploads?", "/api/v1/datasets?"] {
        counts.push(list(api, path).await.len());
    }
    counts
}

fn refused(answer: &Answer) {
    let seconds = answer.headers.get("retry-after").map(|value| value.to_str().unwrap().parse::<u64>().unwrap());
    assert!(seconds.is_some_and(|seconds| (1..=30).contains(&seconds)), "{seconds:?}: {}", answer.text);
    assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (503, &json!("object_store_unavailable")));
}

/// Everything that needs objects, once; how long each refusal took.
async fn ask_in_vain(api: &Api, dataset: &str, begun: &Begun) -> Vec<Duration> {
    let new = json!({"target": "dataset", "filename": "calls.csv", "size_bytes": 100});
    let completion = begun.completion(&json!({"number": 2, "etag": "\"00000000000000000000000000000000\""}));
    let dataset = format!("/api/v1/datasets/{dataset}");
    let asks = [
        api.post("/api/v1/uploads").json(&new),
        api.post(&format!("{}/complete", begun.path)).json(&completion),
        api.post(&format!("{dataset}/append")).json(&json!({"records": [{"call": 1, "agent": "a", "note": "x"}]})),
        api.get(&format!("{dataset}/rows")),
    ];
    let asked = Instant::now();
    let asks = asks.map(|ask| async move {
        refused(&ask.send().await);
        asked.elapsed()
    });
    join_all(asks).await
}

/// Waits until a server says so of the object store.
async fn wait_for_check(api: &Api, state: &str) {
    until("a word of the object store", async || {
        let ready = api.get("/readyz").send().await.expect_status(200).json();
        if ready["checks"]["object_store"] == state { Ok(()) } else { Err(ready) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_object_service_all_that_needs_no_objects_goes_on_and_afterwards_the_rest() {
    let Some(deployment) = Deployment::start(Shape::default()).await else { return };
    let servers = [deployment.at(0), deployment.at(1)];
    let loaded = centre::load(&servers[0]).await;
    let (predictor, _) = deployment.activate(&loaded, "HYBRID").await;
    let first = servers[0].upload("dataset", format!("call,agent,note\n{}", row(0)).as_bytes(), json!({})).await;
    let dataset = first["dataset_id"].as_str().unwrap();
    let appenders = Appenders::of_agents("meanwhile", &servers, AfterFailure::End);
    let scorers = Scorers::start(&servers, CLIENTS, &requests(&loaded, 200));
    let ask = requests(&loaded, 1).remove(0);
    let score = async |api: &Api| {
        let answer = api.post("/api/v1/predictors/fcr/score").json(&ask).send().await.expect_status(200);
        answer.json()["scores"].clone()
    };
    let (mut refusals, mut recoveries) = (Vec::new(), Vec::new());
    // The service alone is dead: what speaks HTTPS for it says so. Or nobody listens at all.
    for (round, dead) in sized(vec!["s3"], vec!["s3", "s3-front", "s3"]).into_iter().enumerate() {
        let begun = Begun::start(&servers[0]).await;
        // Jobs that have to wait: they are queued while the worker cannot take them.
        let model = centre::create_model(&servers[0], &predictor, "GLOBAL").await;
        deployment.workers[0].process.signal("STOP");
        let rows = format!("call,agent,note\n{}", row(round + 1));
        let append = format!("/api/v1/datasets/{dataset}/append");
        let append = servers[0].post(&append).body("text/csv", rows).send().await.expect_status(202).json();
        let train = servers[1].post(&format!("/api/v1/models/{model}/train")).send().await.expect_status(202).json();
        let before = registered(&servers[0]).await;
        tokio::task::block_in_place(|| deployment.objects.kill(dead));
        deployment.workers[0].process.signal("CONT");

        let waiting = [&append, &train].map(|job| format!("/api/v1/jobs/{}", job["job_id"].as_str().unwrap()));
        for job in &waiting {
            until("a job that waits for the object store", async || {
                let job = servers[0].get(job).send().await.ok().json();
                let waits = job["error"].as_str().is_some_and(|error| error.contains("The object store"));
                if waits { Ok(()) } else { Err(job) }
            })
            .await;
        }
        refusals.extend(join_all(servers.iter().map(|api| ask_in_vain(api, dataset, &begun))).await.concat());
        for api in &servers {
            wait_for_check(api, "unavailable").await;
        }
        let late = deployment.start_node_with(Role::Server, &[]);
        let late = Api::sign_in_to(late.url(), servers[0].http.clone()).await;
        assert_eq!(score(&late).await, score(&servers[0]).await, "warm without a single object");
        appenders.wait_for(100).await;
        assert_eq!(registered(&servers[0]).await, before, "nothing is registered by half");

        let back = Instant::now();
        tokio::task::block_in_place(|| deployment.objects.restart());
        for job in &waiting {
            servers[0].wait_for_job(job.rsplit('/').next().unwrap()).await;
        }
        recoveries.push(back.elapsed());
        for api in &servers {
            wait_for_check(api, "ok").await;
        }
        assert!(begun.finish(&servers[1]).await > 2_000);
        let stored = list(&servers[1], &format!("/api/v1/datasets/{dataset}/rows?")).await;
        assert_eq!(stored.len(), round + 2, "each appended row once: {stored:#?}");
    }
    assert_eq!(scorers.stop().await, Vec::<String>::new());
    let appended = appenders.stop().await;
    assert!(appended.failures.is_empty(), "{:#?}", appended.failures);
    appended.check(&servers[1]).await;
    let (refusals, recoveries) = (Spread::of(refusals), Spread::of(recoveries));
    let went_on = format!("{} appends of agents, and scores: 0 failed", appended.acknowledged());
    figure("the S3 service is killed", went_on, "0 failed, nothing registered by half");
    figure("what needs objects is refused after", &refusals, "≤ 10 s, 503 with Retry-After");
    figure("jobs have gone on and ended after the service's return", &recoveries, "≤ 45 s");
    promise(refusals.max() <= REFUSED_WITHIN, refusals);
    promise(recoveries.max() <= GOES_ON_WITHIN, recoveries);
}
