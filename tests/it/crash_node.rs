//! `kill -9` of the real program, twenty times, while clients append records and files are uploaded and read: whatever
//! was acknowledged is there, once; every job ends well, once; and the program is back within two seconds.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::app::{PATIENCE, until};
use crate::datasets::{calls, line};
use crate::door::Door;
use crate::process::{LOCAL, Process};

const KILLS: u64 = 20;
/// Clients that append new agents, clients that change the same customers, clients that upload.
const APPENDERS: u64 = 3;
const CHANGERS: u64 = 2;
const UPLOADERS: u64 = 2;
const RECORDS: u64 = 10;
const EVERY: u64 = 200;
/// Rows of a dataset's first file, of the file that is appended, and of what is appended by a POST.
const FILES: [usize; 3] = [6_000, 2_000, 40];

/// What the clients share.
struct Traffic {
    door: Door,
    /// Batches that were acknowledged, and steps of uploads and jobs that were seen.
    batches: AtomicU64,
    steps: AtomicU64,
    over: AtomicBool,
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % most
    }
}

impl Traffic {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn step(&self) {
        self.steps.fetch_add(1, Ordering::SeqCst);
    }

    /// Posts a batch until it is acknowledged, each time under the same key.
    async fn append(&self, profile: &str, key: &str, records: Vec<Value>) {
        let sent = records.len() as u64;
        let answer = self.door.post(&format!("{profile}/records"), key, &json!({"records": records})).await;
        // The answer saved with the effect: also when it was not heard the first time.
        assert_eq!(answer["accepted"], sent, "{answer}");
        self.batches.fetch_add(1, Ordering::SeqCst);
    }

    /// Appends new agents until the end; how many batches.
    async fn append_agents(&self, client: u64) -> u64 {
        let mut batch = 0;
        while !self.is_over() {
            let record = |n| json!({"id": format!("{client}-{batch}-{n}"), "loginStatus": n, "batch": batch});
            self.append("agents", &format!("agents {client} {batch}"), (0..RECORDS).map(record).collect()).await;
            batch += 1;
        }
        batch
    }

    /// Gives the same customers growing versions until the end; the last one.
    async fn change_customers(&self, client: u64) -> u64 {
        let mut version = 0;
        while !self.is_over() {
            version += 1;
            let record = |n| json!({"id": format!("{client}-{n}"), "version": version, "visits": version * 10 + n});
            self.append("customers", &format!("customers {client} {version}"), (0..RECORDS).map(record).collect())
                .await;
        }
        version
    }

    /// A dataset after the other until the end: a first file, an appended file, an append by POST.
    async fn upload_datasets(&self, client: u64) -> Vec<String> {
        let mut datasets = Vec::new();
        while !self.is_over() {
            let name = format!("{client}-{}", datasets.len());
            let first = json!({"target": "dataset", "name": name, "mode": "create"});
            let done = self.upload(&format!("first {name}"), first, calls(0, FILES[0])).await;
            let id = done["dataset_id"].as_str().unwrap().to_owned();
            let more = json!({"target": "dataset", "dataset_id": id, "mode": "append"});
            self.upload(&format!("more {name}"), more, calls(FILES[0], FILES[1])).await;
            let rows: Vec<Value> = (FILES[0] + FILES[1]..FILES.iter().sum()).map(record).collect();
            let path = format!("datasets/{id}/append");
            let started = self.door.post(&path, &format!("post {name}"), &json!({"records": rows})).await;
            self.step();
            self.finish(&started).await;
            datasets.push(id);
        }
        datasets
    }

    /// Uploads a file, whatever happens to the server, and waits until it is read.
    async fn upload(&self, key: &str, mut ask: Value, text: String) -> Value {
        ask["filename"] = json!("calls.csv");
        ask["size_bytes"] = json!(text.len());
        let mut upload = self.door.post("uploads", key, &ask).await;
        self.step();
        let path = format!("uploads/{}", upload["id"].as_str().unwrap());
        let started = Instant::now();
        let etag = loop {
            match self.door.put_part(&upload["parts"][0], text.as_bytes()).await {
                Some((status, etag, _)) if status == 200 => break etag,
                // The object store moved: ask where it is now.
                _ => upload = self.door.get(&path).await,
            }
            if upload["parts"][0]["arrived"] == true {
                break upload["parts"][0]["etag"].as_str().unwrap().to_owned();
            }
            assert!(started.elapsed() < PATIENCE, "the part does not arrive");
        };
        self.step();
        let complete = json!({"parts": [{"number": 1, "etag": etag}], "accept_schema": true});
        let started = self.door.post(&format!("{path}/complete"), &format!("complete {key}"), &complete).await;
        self.step();
        self.finish(&started).await;
        started
    }

    async fn finish(&self, started: &Value) {
        let job = self.door.wait_for_job(started["job_id"].as_str().unwrap(), || self.step()).await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
        self.step();
    }

    /// Waits for the next moment to kill: so many more acknowledged batches, or steps of uploads and jobs.
    async fn moment(&self, dice: &mut Dice) {
        let (counter, more) =
            if dice.below(2) == 0 { (&self.batches, 1 + dice.below(30)) } else { (&self.steps, 1 + dice.below(6)) };
        let (wanted, started) = (counter.load(Ordering::SeqCst) + more, Instant::now());
        while counter.load(Ordering::SeqCst) < wanted {
            assert!(started.elapsed() < PATIENCE, "nothing goes on any more");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// The line of a CSV file as a record.
fn record(row: usize) -> Value {
    let line = line(row);
    let mut values = line.trim_end().split(',');
    let mut next = || values.next().unwrap();
    json!({
        "call": next(), "agent": next(), "seconds": next().parse::<u64>().unwrap(),
        "solved": next() == "true", "started": next(),
    })
}

async fn start(folder: &Path) -> Process {
    let folder = folder.to_owned();
    tokio::task::spawn_blocking(move || Process::start(&folder, &LOCAL)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_killed_twenty_times_loses_nothing_doubles_nothing_and_is_back_in_two_seconds() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tango.env"), format!("ADD_CARDINALITIES_EVERY_N_RECORDS={EVERY}\n")).unwrap();
    let mut process = start(folder.path()).await;
    let door = Door::open(&process).await;
    let traffic = Arc::new(Traffic {
        door: door.clone(),
        batches: AtomicU64::new(0),
        steps: AtomicU64::new(0),
        over: AtomicBool::new(false),
    });
    let spawn = |traffic: &Arc<Traffic>| traffic.clone();
    let appenders: Vec<_> = (0..APPENDERS)
        .map(|client| (client, spawn(&traffic)))
        .map(|(client, traffic)| tokio::spawn(async move { traffic.append_agents(client).await }))
        .collect();
    let changers: Vec<_> = (0..CHANGERS)
        .map(|client| (client, spawn(&traffic)))
        .map(|(client, traffic)| tokio::spawn(async move { traffic.change_customers(client).await }))
        .collect();
    let uploaders: Vec<_> = (0..UPLOADERS)
        .map(|client| (client, spawn(&traffic)))
        .map(|(client, traffic)| tokio::spawn(async move { traffic.upload_datasets(client).await }))
        .collect();

    let mut dice = Dice(20);
    let mut ready = Vec::new();
    let mut opened = Vec::new();
    for _ in 0..KILLS {
        traffic.moment(&mut dice).await;
        process.signal("KILL");
        process.wait();
        process = start(folder.path()).await;
        door.moved_to(&process);
        opened.push(process.ready_in());
        ready.push(process.started_in);
    }
    traffic.over.store(true, Ordering::SeqCst);
    for times in [&mut opened, &mut ready] {
        times.sort_unstable();
    }
    let middle = ready.len() / 2;
    println!(
        "{KILLS} kills; ready again in {:?} (median), {:?} at most, by the program's own watch; from outside {:?} and {:?}",
        opened[middle],
        opened[opened.len() - 1],
        ready[middle],
        ready[ready.len() - 1]
    );
    assert!(opened[middle] <= Duration::from_secs(2), "{opened:?}");

    let mut batches = Vec::new();
    for client in appenders {
        batches.push(client.await.unwrap());
    }
    check_agents(&door, &batches).await;
    for (client, changer) in changers.into_iter().enumerate() {
        let version = changer.await.unwrap();
        for n in 0..RECORDS {
            let customer = door.get(&format!("customers/records/{client}-{n}")).await;
            assert_eq!(customer["version"], version, "{customer}");
            assert_eq!(customer["visits"], version * 10 + n, "{customer}");
        }
    }
    let mut datasets = 0;
    for uploader in uploaders {
        for dataset in uploader.await.unwrap() {
            check_dataset(&door, &dataset).await;
            datasets += 1;
        }
    }
    let jobs = door.list("jobs").await;
    let bad: Vec<_> =
        jobs.iter().filter(|job| !matches!(job["state"].as_str(), Some("succeeded" | "queued" | "running"))).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    let again = jobs.iter().filter(|job| job["attempt"].as_u64() > Some(1)).count();
    println!(
        "{} batches of {RECORDS} records, {datasets} datasets, {} jobs, {again} of them taken up again",
        traffic.batches.load(Ordering::SeqCst),
        jobs.len()
    );
}

/// Every acknowledged agent is there, once; the counts kept on the way are those of a recount.
async fn check_agents(door: &Door, batches: &[u64]) {
    let total = batches.iter().sum::<u64>() * RECORDS;
    let agents = door.list("agents/records").await;
    let ids: BTreeSet<&str> = agents.iter().map(|agent| agent["id"].as_str().unwrap()).collect();
    assert_eq!((agents.len() as u64, ids.len() as u64), (total, total));
    for (client, batches) in batches.iter().enumerate() {
        for batch in 0..*batches {
            assert!((0..RECORDS).all(|n| ids.contains(format!("{client}-{batch}-{n}").as_str())), "{client}-{batch}");
        }
    }
    let incremental = until("the counts", async || {
        let counts = door.get("agents/cardinalities").await;
        let pending = counts["records_pending"].as_u64().unwrap();
        assert_eq!(counts["records_counted"].as_u64().unwrap() + pending, total, "{counts:#}");
        if pending < EVERY { Ok(counts) } else { Err(counts) }
    })
    .await;
    let counted = |counts: &Value, field: &str| {
        let fields = counts["fields"].as_array().unwrap();
        let field = fields.iter().find(|one| one["field"] == field).unwrap_or_else(|| panic!("{counts:#}"));
        let values: u64 = field["values"].as_array().unwrap().iter().map(|v| v["count"].as_u64().unwrap()).sum();
        assert_eq!((field["rows"].as_u64(), values), (counts["records_counted"].as_u64(), values), "{field:#}");
        field.clone()
    };
    let status = counted(&incremental, "loginStatus");
    assert_eq!(status["rows"], incremental["records_counted"]);
    assert_eq!(status["distinct"], RECORDS);
    let recount = door.post("agents/compute_cardinalities", "recount", &json!({})).await;
    let job = door.wait_for_job(recount["job_id"].as_str().unwrap(), || {}).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    let full = door.get("agents/cardinalities").await;
    assert_eq!((&full["records_counted"], &full["records_pending"]), (&json!(total), &json!(0)));
    let status = counted(&full, "loginStatus");
    for value in status["values"].as_array().unwrap() {
        assert_eq!(value["count"], total / RECORDS, "each status once a batch: {status:#}");
    }
}

/// Every row of the three files, once; each file's segment in one version only.
async fn check_dataset(door: &Door, id: &str) {
    let rows: usize = FILES.iter().sum();
    let dataset = door.get(&format!("datasets/{id}")).await;
    assert_eq!((&dataset["state"], &dataset["rows"]), (&json!("ready"), &json!(rows)), "{dataset:#}");
    assert_eq!((&dataset["version"], &dataset["segments"]), (&json!(3), &json!(3)), "{dataset:#}");
    let versions = door.list(&format!("datasets/{id}/versions")).await;
    let shown: Vec<_> = versions.iter().map(|version| (version["reason"].clone(), version["rows"].clone())).collect();
    let expected = [("upload", FILES[0]), ("append", FILES[0] + FILES[1]), ("append", rows)];
    assert_eq!(shown, expected.map(|(reason, rows)| (json!(reason), json!(rows))));
    let counts = door.get(&format!("datasets/{id}/cardinalities")).await;
    let counted = counts["records_counted"].as_u64().unwrap();
    assert_eq!(counted + counts["records_pending"].as_u64().unwrap(), rows as u64, "{counts:#}");
    let call = counts["fields"].as_array().unwrap().iter().find(|field| field["field"] == "call").unwrap();
    assert_eq!((call["rows"].as_u64(), call["distinct"].as_u64()), (Some(counted), Some(counted)), "{call:#}");
    // The last rows are there: those that are not counted yet, too.
    let last =
        format!("datasets/{id}/rows?filter={}", crate::datasets::encoded(&format!("call = \"call-{}\"", rows - 1)));
    assert_eq!(door.get(&last).await["items"].as_array().unwrap().len(), 1);
}
