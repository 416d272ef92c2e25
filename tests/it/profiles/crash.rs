//! `kill -9` of the real program while eight clients append: what was acknowledged is stored once, and every accepted
//! record is either counted or pending.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::app::{PATIENCE, client, until};
use crate::process::{LOCAL, Process};

const CLIENTS: u64 = 8;
const BATCHES: u64 = 30;
const RECORDS: u64 = 10;
const TOTAL: u64 = CLIENTS * BATCHES * RECORDS;
const EVERY: u64 = 100;

/// Where the program listens now, and a token for it.
#[derive(Clone)]
struct Door {
    url: String,
    token: String,
}

async fn open(folder: &std::path::Path) -> (Process, Door) {
    let folder = folder.to_owned();
    let process = tokio::task::spawn_blocking(move || Process::start(&folder, &LOCAL)).await.unwrap();
    let url = process.told("web application").to_owned();
    let body = json!({"username": "super_user@genesys.com", "password": process.told("password")});
    let answer = client().post(format!("{url}/api/v1/auth/login")).json(&body).send().await.unwrap();
    let token = answer.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned();
    (process, Door { url, token })
}

async fn get(door: &Door, path: &str) -> Value {
    let answer = client().get(format!("{}/api/v1/{path}", door.url)).bearer_auth(&door.token).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    answer.json().await.unwrap()
}

/// Posts every batch of one client until it is acknowledged, whatever happens to the server.
async fn append(client_number: u64, door: Arc<RwLock<Door>>, acknowledged: Arc<AtomicU64>) {
    let http = client();
    for batch in 0..BATCHES {
        let records: Vec<Value> = (0..RECORDS)
            .map(|record| json!({"id": format!("{client_number}-{batch}-{record}"), "loginStatus": record}))
            .collect();
        let body = json!({"records": records});
        let started = Instant::now();
        loop {
            let Door { url, token } = door.read().unwrap().clone();
            let answer = http.post(format!("{url}/api/v1/agents/records")).bearer_auth(token).json(&body).send().await;
            if let Ok(answer) = answer
                && answer.status() == 200
                && let Ok(answer) = answer.json::<Value>().await
            {
                // A repetition after an answer that never arrived finds its records stored.
                let stored = answer["accepted"].as_u64().unwrap() + answer["unchanged"].as_u64().unwrap();
                assert_eq!(stored, RECORDS, "{answer}");
                break;
            }
            assert!(started.elapsed() < PATIENCE, "the server does not come back");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        acknowledged.fetch_add(RECORDS, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn appends_and_counts_survive_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tango.env"), format!("ADD_CARDINALITIES_EVERY_N_RECORDS={EVERY}\n")).unwrap();
    let (mut process, first) = open(folder.path()).await;
    let door = Arc::new(RwLock::new(first));
    let acknowledged = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> =
        (0..CLIENTS).map(|number| tokio::spawn(append(number, door.clone(), acknowledged.clone()))).collect();
    for kill in 1..=3 {
        let started = Instant::now();
        while acknowledged.load(Ordering::SeqCst) < kill * TOTAL / 5 {
            assert!(started.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        process.signal("KILL");
        process.wait();
        drop(process);
        let (again, now) = open(folder.path()).await;
        let counts = get(&now, "agents/cardinalities").await;
        let stored = counts["records_counted"].as_u64().unwrap() + counts["records_pending"].as_u64().unwrap();
        assert!(stored >= acknowledged.load(Ordering::SeqCst), "{counts}");
        process = again;
        *door.write().unwrap() = now;
    }
    for client in clients {
        client.await.unwrap();
    }
    let door = door.read().unwrap().clone();
    let counts = until("the counts", async || {
        let counts = get(&door, "agents/cardinalities").await;
        let pending = counts["records_pending"].as_u64().unwrap();
        assert_eq!(counts["records_counted"].as_u64().unwrap() + pending, TOTAL, "{counts}");
        if pending < EVERY { Ok(counts) } else { Err(counts) }
    })
    .await;
    let fields = counts["fields"].as_array().unwrap();
    let status = fields.iter().find(|field| field["field"] == "loginStatus").unwrap();
    assert_eq!(status["rows"], counts["records_counted"]);
    assert_eq!(status["nulls"], 0);
    let values: u64 = status["values"].as_array().unwrap().iter().map(|value| value["count"].as_u64().unwrap()).sum();
    assert_eq!(Value::from(values), status["rows"]);

    let mut ids = std::collections::BTreeSet::new();
    let mut path = "agents/records?limit=500".to_owned();
    loop {
        let page = get(&door, &path).await;
        ids.extend(page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => path = format!("agents/records?limit=500&after={}", super::url_encode(next)),
            None => break,
        }
    }
    assert_eq!(ids.len() as u64, TOTAL);
}
