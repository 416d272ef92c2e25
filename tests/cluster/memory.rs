//! The memory of a server that knows many agents and models is stated, and stays what it is under a mixed load.
//!
//! Figures are those of a release build (`TANGO_TEST_PROGRAM`), at full size.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::deployment::{Deployment, Shape};
use crate::figures::{figure, promise, sized};
use crate::node::Node;
use crate::open_loop::OpenLoop;
use crate::scorers::{requests, sign_in};
use crate::support::api::Api;
use crate::support::centre::{self, Loaded};

const BATCH: usize = 200;
/// One of everything that is not a score.
const ROUND_EVERY: Duration = Duration::from_millis(250);
/// Of the memory after warming up; what an allocator does in between is part of it.
const GROWTH_AT_MOST: f64 = 0.10;

/// Resident memory in megabytes.
fn resident_mb(node: &Node) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

/// The mean over some seconds, a look each second.
async fn mean_mb(node: &Node, seconds: u32) -> f64 {
    let mut sum = 0.0;
    for _ in 0..seconds {
        tokio::time::sleep(Duration::from_secs(1)).await;
        sum += resident_mb(node);
    }
    sum / f64::from(seconds)
}

fn agents(from: usize, count: usize, login_status: usize) -> Value {
    let agent = |number: usize| {
        let (skills, months) = (json!({"english": number % 3}), number % 60);
        json!({"id": format!("one-of-many-{number}"), "skills": skills, "tenure_months": months, "loginStatus": login_status})
    };
    json!({"records": (from..from + count).map(agent).collect::<Vec<_>>()})
}

async fn change_agents(api: &Api, from: usize, login_status: usize) {
    let changed = api.post("/api/v1/agents/records").json(&agents(from, BATCH, login_status)).send().await.ok().json();
    assert_eq!(changed["rejected"].as_array().map_or(0, Vec::len), 0, "{changed}");
}

/// A predictor with a trained and active model; the path of its scores.
async fn activate(api: &Api, loaded: &Loaded, number: usize) -> String {
    let name = format!("fcr_{number}");
    let mut body = loaded.predictor_body();
    body["name"] = json!(name);
    let created = api.post("/api/v1/predictors").json(&body).send().await.expect_status(201).json();
    let model = centre::create_model(api, created["id"].as_str().unwrap(), "HYBRID").await;
    centre::train(api, &model).await;
    api.post(&format!("/api/v1/models/{model}/activate")).send().await.expect_status(200);
    format!("/api/v1/predictors/{name}/score")
}

/// Changes of agents, sign-ins, lists, rows and appended rows, in turn, until the end.
async fn everything_else(api: Api, dataset: String, many: usize, over: Arc<AtomicBool>) {
    let mut pace = tokio::time::interval(ROUND_EVERY);
    let rows = format!("/api/v1/datasets/{dataset}/rows?limit=100");
    for round in 0.. {
        pace.tick().await;
        if over.load(Ordering::SeqCst) {
            break;
        }
        change_agents(&api, round * BATCH % many, round).await;
        if round % 4 == 0 {
            sign_in(&api).await.unwrap();
        }
        for path in ["/api/v1/agents/records?limit=100", "/api/v1/jobs", "/api/v1/cluster", &rows] {
            api.get(path).send().await.expect_status(200);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_servers_memory_is_flat_under_a_mixed_load() {
    let (many, models, rate, warm_up, seconds, window) = sized((2_000, 3, 20, 6, 12, 4), (10_000, 20, 20, 60, 600, 30));
    let shape = Shape { members: 1, servers: 1, ..Shape::default() };
    let Some(deployment) = Deployment::start(shape).await else { return };
    let (api, server) = (deployment.at(0), &deployment.servers[0]);
    let empty = resident_mb(server);
    let loaded = centre::load(&api).await;
    for from in (0..many).step_by(BATCH) {
        change_agents(&api, from, 0).await;
    }
    let mut paths = Vec::new();
    for number in 0..models {
        paths.push(activate(&api, &loaded, number).await);
    }
    let asks = requests(&loaded, 200).into_iter().enumerate();
    let asks: Vec<_> = asks.map(|(number, body)| (paths[number % models].clone(), body)).collect();
    let load = OpenLoop::start(&deployment.connector(api.url.clone()), rate, &asks);
    let over = Arc::<AtomicBool>::default();
    let rest = tokio::spawn(everything_else(api.clone(), loaded.dataset.clone(), many, over.clone()));
    mean_mb(server, warm_up).await;
    let mut seen = Vec::new();
    for number in 0..seconds / window {
        seen.push(mean_mb(server, window).await);
        println!("after {} s: {:.1} MB", (number + 1) * window, seen[seen.len() - 1]);
    }
    let (warm, end) = (seen[0], seen[seen.len() - 1]);
    over.store(true, Ordering::SeqCst);
    rest.await.unwrap();
    let (answered, failures) = load.stop().await;
    assert!(failures.is_empty(), "{failures:#?}");
    let growth = end / warm - 1.0;
    let what = format!("memory of a server with {many} agents and {models} models, {answered} scores over {seconds} s");
    let measured = format!("{empty:.0} MB empty, {warm:.0} MB warm, {end:.0} MB at the end ({:+.1} %)", growth * 1e2);
    figure(&what, measured, "≤ +10 %");
    promise(growth <= GROWTH_AT_MOST, growth);
}
