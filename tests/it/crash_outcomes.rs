//! `kill -9` of the program while a dataset of outcomes is refreshed: each interaction is a row once, with the last that was told of
//! it, and each refresh is one version.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::datasets::calls;
use crate::door::Door;
use crate::process::{LOCAL, Process};

/// Refreshes, each of which is killed once.
const ROUNDS: usize = 10;
/// New interactions of each round; the metric of each arrives a round later.
const ROWS: usize = 30;

async fn start(folder: &Path) -> Process {
    let folder = folder.to_owned();
    tokio::task::spawn_blocking(move || Process::start(&folder, &LOCAL)).await.unwrap()
}

async fn finish(door: &Door, started: &Value) -> Value {
    let job = door.wait_for_job(started["job_id"].as_str().unwrap(), || {}).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    job
}

/// A predictor of `solved`, without a model: the score log needs none.
async fn predictor(door: &Door) {
    let text = calls(0, 200);
    let ask = json!({"target": "dataset", "name": "calls", "mode": "create", "filename": "calls.csv", "size_bytes": text.len()});
    let upload = door.post("uploads", "upload", &ask).await;
    let (status, etag, _) = door.put_part(&upload["parts"][0], text.as_bytes()).await.unwrap();
    assert_eq!(status, 200);
    let path = format!("uploads/{}/complete", upload["id"].as_str().unwrap());
    let complete = json!({"parts": [{"number": 1, "etag": etag}], "accept_schema": true});
    let done = door.post(&path, "complete", &complete).await;
    finish(door, &done).await;
    let dataset = done["dataset_id"].as_str().unwrap();
    let path = format!("datasets/{dataset}/schema");
    let schema = door.get(&path).await;
    let role = |name: &str| match name {
        "agent" => "agent_id",
        "started" => "timestamp",
        "solved" => "metric",
        "call" => "ignored",
        _ => "context",
    };
    let field =
        |one: &Value| json!({"name": one["name"], "type": one["type"], "role": role(one["name"].as_str().unwrap())});
    let fields: Vec<Value> = schema["fields"].as_array().unwrap().iter().map(field).collect();
    let (status, answer) = door.ask(Method::PUT, &path, None, &json!({"fields": fields})).await.unwrap();
    assert_eq!(status, 200, "{answer:#}");
    let body = json!({
        "name": "solved", "dataset_id": dataset, "agent_source": "dataset", "customer_source": "none",
        "metric": {"field": "solved", "kind": "classification", "goal": "maximize"},
        "features": {"context": ["seconds"], "customer": [], "agent": []},
    });
    door.post("predictors", "predictor", &body).await;
}

fn solved(round: usize, row: usize) -> bool {
    (7 * round + row).is_multiple_of(3)
}

/// Tells of new interactions, and how those of the round before ended.
async fn tell(door: &Door, round: usize) {
    let entry = |of: usize, row: usize| {
        json!({
            "interaction_id": format!("{of}-{row}"), "predictor": "solved", "mode": "on", "outcome": "routed",
            "agent_id": format!("agent-{row}"), "context": {"seconds": row},
        })
    };
    let mut entries: Vec<(String, Value)> =
        (0..ROWS).map(|row| (format!("new {round} {row}"), entry(round, row))).collect();
    for row in 0..if round > 0 { ROWS } else { 0 } {
        let mut ended = entry(round - 1, row);
        ended["metric"] = json!(solved(round - 1, row));
        entries.push((format!("ended {round} {row}"), ended));
    }
    futures::future::join_all(entries.iter().map(|(key, body)| door.post("score_log", key, body))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_of_outcomes_that_is_killed_takes_each_interaction_in_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = start(folder.path()).await;
    let door = Door::open(&process).await;
    predictor(&door).await;
    let made = door.post("predictors/solved/outcome_dataset", "outcomes", &json!({})).await;
    finish(&door, &made).await;
    let path = format!("datasets/{}", made["dataset"]["id"].as_str().unwrap());
    let mut attempts = 0;
    for round in 0..ROUNDS {
        tell(&door, round).await;
        let started = door.post(&format!("{path}/refresh"), &format!("refresh {round}"), &json!({})).await;
        let seen = Arc::new(AtomicUsize::new(0));
        let watching = {
            let (door, seen) = (door.clone(), seen.clone());
            let job = started["job_id"].as_str().unwrap().to_owned();
            tokio::spawn(async move { door.wait_for_job(&job, || _ = seen.fetch_add(1, Ordering::SeqCst)).await })
        };
        // At once, or after the job was seen to have moved on, a bit further each time.
        while seen.load(Ordering::SeqCst) < round % 5 && !watching.is_finished() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        process.signal("KILL");
        process.wait();
        process = start(folder.path()).await;
        door.moved_to(&process);
        let job = watching.await.unwrap();
        assert_eq!(job["state"], "succeeded", "{job:#}");
        attempts += job["attempt"].as_u64().unwrap();
    }
    let rows = door.list(&format!("{path}/rows")).await;
    let by_id: BTreeMap<&str, &Value> = rows.iter().map(|row| (row["interaction_id"].as_str().unwrap(), row)).collect();
    assert_eq!((rows.len(), by_id.len()), (ROUNDS * ROWS, ROUNDS * ROWS));
    for (round, row) in (0..ROUNDS).flat_map(|round| (0..ROWS).map(move |row| (round, row))) {
        let found = by_id[format!("{round}-{row}").as_str()];
        let expected = if round + 1 < ROUNDS { json!(solved(round, row)) } else { Value::Null };
        assert_eq!((&found["solved"], &found["seconds"]), (&expected, &json!(row)), "{found:#}");
    }
    let dataset = door.get(&path).await;
    assert_eq!((&dataset["version"], &dataset["rows"]), (&json!(ROUNDS), &json!(ROUNDS * ROWS)), "{dataset:#}");
    println!("{ROUNDS} kills, {attempts} claims of {ROUNDS} refreshes");
}
