//! Real data through a backup and back: elsewhere, and into a node that runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};
use tango::app::stores::backup_options;
use tango::clock::SystemClock;
use tango::domain::job::Silent;
use tango::transfer::{RestoreOptions, restore};

use super::{config_of, path, succeeded, tango, tango_async};
use crate::app::{Folder, PASSWORD, TestApp, USERNAME, until};
use crate::centre::{self, LoadedCentre};

const CLIENTS: u64 = 3;
const RECORDS: u64 = 5;
const SCORE: &str = "/api/v1/predictors/fcr/score";

/// What is asked of the source and of what was restored.
pub struct Questions {
    scores: Vec<Value>,
    paths: Vec<String>,
}

impl Questions {
    pub fn of(loaded: &LoadedCentre) -> Self {
        let agents: Vec<&str> = loaded.centre.agents.iter().map(|agent| agent.id.as_str()).collect();
        let scores = loaded.centre.waiting(5).into_iter().map(|waiting| {
            let customer = &loaded.centre.customers[waiting.customer].id;
            json!({"context_id": customer, "context": waiting.context(), "agents": agents})
        });
        let dataset = format!("/api/v1/datasets/{}", loaded.dataset);
        let mut paths: Vec<String> = ["", "/schema", "/versions", "/cardinalities", "/rows?limit=200", "/rejected"]
            .map(|rest| format!("{dataset}{rest}"))
            .into();
        paths.extend(
            ["customers/cardinalities", "customers/rejected", "customers/records?limit=100", "predictors", "datasets"]
                .map(|rest| format!("/api/v1/{rest}")),
        );
        Self { scores: scores.collect(), paths }
    }

    /// Everything that must be the same, by what was asked.
    pub async fn answers(&self, app: &TestApp) -> BTreeMap<String, Value> {
        let mut answers = BTreeMap::new();
        for ask in &self.scores {
            let mut answer = app.post(SCORE).json(ask).send().await.expect_status(200).json();
            assert_eq!(answer["customer_found"], true, "{answer:#}");
            let answer = answer.as_object_mut().unwrap();
            answer.retain(|name, _| name != "took_us" && name != "request_id");
            answers.insert(ask.to_string(), json!(answer));
        }
        for path in &self.paths {
            answers.insert(path.clone(), json!(app.get(path).send().await.expect_status(200).text));
        }
        answers
    }
}

/// Clients that append agents, batch after batch, until they are told to stop.
struct Appending {
    over: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Appending {
    fn start(app: &TestApp) -> Self {
        let (over, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients = (0..CLIENTS).map(|client| {
            let (over, acknowledged) = (over.clone(), acknowledged.clone());
            let (http, url, token) = (app.http.clone(), app.url.clone(), app.token.clone());
            tokio::spawn(async move {
                for batch in 0.. {
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                    let record = |n| json!({"id": format!("new-{client}-{batch:06}-{n}"), "loginStatus": 4});
                    let body = json!({"records": (0..RECORDS).map(record).collect::<Vec<_>>()});
                    let post = http.post(format!("{url}/api/v1/agents/records")).bearer_auth(&token).json(&body);
                    let answer: Value = post.send().await.unwrap().json().await.unwrap();
                    assert_eq!(answer["accepted"], RECORDS, "{answer}");
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                }
            })
        });
        let clients = clients.collect();
        Self { over, acknowledged, clients }
    }

    fn batches(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    async fn stop(self) {
        self.over.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.await.unwrap();
        }
    }
}

/// Batches of appended agents: each whole, each client's without a gap; how many.
async fn whole_batches(app: &TestApp) -> u64 {
    let (mut ids, mut after) = (BTreeSet::new(), String::new());
    loop {
        let page = app.get(&format!("/api/v1/agents/records?limit=500{after}")).send().await.expect_status(200).json();
        ids.extend(page["items"].as_array().unwrap().iter().map(|agent| agent["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={}", crate::datasets::encoded(next)),
            None => break,
        }
    }
    let mut batches = 0;
    for client in 0..CLIENTS {
        for batch in 0.. {
            let of_batch = ids.range(format!("new-{client}-{batch:06}-")..format!("new-{client}-{batch:06}.")).count();
            if of_batch == 0 {
                break;
            }
            assert_eq!(of_batch as u64, RECORDS, "a batch is whole or not there");
            batches += 1;
        }
    }
    let new = ids.iter().filter(|id| id.starts_with("new-")).count() as u64;
    assert_eq!(new, batches * RECORDS, "no batch came before an earlier one of its client");
    batches
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_restored_answers_as_the_source_did_at_the_moment_of_the_backup() {
    let loaded = centre::start().await;
    let app = &loaded.app;
    loaded.activate("HYBRID").await;
    // Refused rows leave a report; an upload is in flight; an answer is saved under a key.
    let file = "customer_id,customer_tenure_months\nc-odd,many\n".to_owned()
        + &(0..20).map(|n| format!("c-more-{n},{n}\n")).collect::<String>();
    let done = app.upload("customers", file.as_bytes(), json!({"mode": "append"})).await;
    assert_eq!(done["job"]["result"]["rejected"], 1, "{done:#}");
    let in_flight = json!({"target": "dataset", "filename": "x.csv", "size_bytes": 10, "mode": "create"});
    let in_flight = app.post("/api/v1/uploads").json(&in_flight).send().await.expect_status(201).json();
    let saved = json!({"records": [{"id": "keyed", "loginStatus": 1}]});
    let keyed = async |app: &TestApp| {
        app.post("/api/v1/agents/records").header("idempotency-key", "k1").json(&saved).send().await.expect_status(200)
    };
    let first = keyed(app).await.text;
    let questions = Questions::of(&loaded);
    let api_key = {
        let account = app.app.state.auth.default_account().await.unwrap();
        app.app.state.auth.api_key(&account).unwrap()
    };

    let appending = Appending::start(app);
    until("some batches", async || if appending.batches() > 10 { Ok(()) } else { Err(appending.batches()) }).await;
    let least = appending.batches();
    let backup = path(app.folder.path(), "copies/one");
    let said = succeeded(tango_async(app.folder.path(), &["backup", &backup]).await);
    let most = appending.batches() + CLIENTS;
    assert!(said.contains("tango restore") && said.contains("documents"), "{said}");
    until("more batches", async || if appending.batches() > most { Ok(()) } else { Err(appending.batches()) }).await;
    appending.stop().await;
    let expected = questions.answers(app).await;

    // Anybody can check it, and the layout is that of the database's own tool.
    let sums =
        std::process::Command::new("sha256sum").args(["-c", "--quiet", "SHA256SUMS"]).current_dir(&backup).output();
    let sums = sums.unwrap();
    assert!(sums.status.success(), "{sums:?}");
    for file in ["tango/agents.bson", "tango/agents.metadata.json", "tango/blobs.bson", "tango.json", "secret.key"] {
        assert!(std::path::Path::new(&backup).join(file).is_file(), "{file}");
    }
    assert_eq!(std::fs::metadata(format!("{backup}/tango/signing_keys.bson")).unwrap().len(), 0);

    // Elsewhere.
    let elsewhere = Folder::new();
    succeeded(tango(elsewhere.path(), &["restore", "--check", &backup]));
    assert!(!elsewhere.path().join("data").exists(), "a check changes nothing");
    succeeded(tango_async(elsewhere.path(), &["restore", &backup]).await);
    let old_token = app.token.clone();
    let other = TestApp::start_at(elsewhere, Arc::new(SystemClock), |_| {}).await;
    let batches = whole_batches(&other).await;
    assert!((least..=most).contains(&batches), "{least} ≤ {batches} ≤ {most}");
    let agents = other.get("/api/v1/agents/cardinalities").send().await.expect_status(200).json();
    let counted = agents["records_counted"].as_u64().unwrap() + agents["records_pending"].as_u64().unwrap();
    assert_eq!(
        counted,
        loaded.centre.agents.len() as u64 + 1 + batches * RECORDS,
        "counted or pending, once: {agents}"
    );
    assert_eq!(questions.answers(&other).await, expected);
    let replayed = keyed(&other).await;
    assert_eq!((&replayed.text, replayed.headers["idempotency-replayed"].to_str().unwrap()), (&first, "true"));
    let gone = format!("/api/v1/uploads/{}/complete", in_flight["id"].as_str().unwrap());
    let parts = json!({"parts": [{"number": 1, "etag": "x"}]});
    other.post(&gone).json(&parts).send().await.expect_problem(410, "upload_expired");
    let account = other.app.state.auth.default_account().await.unwrap();
    assert_eq!(other.app.state.auth.api_key(&account).unwrap(), api_key, "connectors go on with their API key");
    let mut foreign = other;
    foreign.token = old_token;
    foreign.get("/api/v1/auth/me").send().await.expect_problem(401, "unauthenticated");
    foreign.token = foreign.sign_in(USERNAME, PASSWORD).await;
    foreign.get("/api/v1/auth/me").send().await.expect_status(200);

    a_running_node_follows(&loaded, &questions, &expected, &backup).await;
}

/// In a cluster nothing keeps somebody from restoring under nodes that run: they follow by the change feed.
async fn a_running_node_follows(
    loaded: &LoadedCentre,
    questions: &Questions,
    expected: &BTreeMap<String, Value>,
    backup: &str,
) {
    let mut node = TestApp::start().await;
    let records = json!({"records": [{"id": "agent-0001", "loginStatus": 9}, {"id": "of the past", "loginStatus": 9}]});
    node.post("/api/v1/agents/records").json(&records).send().await.ok();
    node.get("/api/v1/customers/records/c-more-1").send().await.expect_problem(404, "customer_not_found");
    let config = config_of(node.folder.path());
    let seal = tango::app::open_seal(&config).unwrap();
    assert!(backup_options(&config, false).unwrap().secret.is_some());
    let options = RestoreOptions { drop: true, ..RestoreOptions::default() };
    restore(&node.app.state.ctx, &seal, backup.as_ref(), &options, Arc::new(Silent)).await.unwrap();
    let unauthorised = until("the end of old tokens", async || {
        let answer = node.get("/api/v1/auth/me").send().await;
        if answer.status == 401 { Ok(answer) } else { Err(answer.status) }
    });
    unauthorised.await.expect_problem(401, "unauthenticated");
    node.token = node.sign_in(USERNAME, PASSWORD).await;
    let score = &questions.scores[0];
    until("the restored model", async || {
        let answer = node.post(SCORE).json(score).send().await;
        if answer.status == 200 { Ok(()) } else { Err(answer.text) }
    })
    .await;
    until("the same answers", async || {
        let answers = questions.answers(&node).await;
        if answers == *expected { Ok(()) } else { Err("others") }
    })
    .await;
    let filter = json!({"action_filters": "loginStatus = 9"});
    let none = node.post(SCORE).json(&filter).send().await.expect_status(200).json();
    assert_eq!(none["eligible"], 0, "the agents of the past are gone");
    assert_eq!(loaded.centre.agents.len(), 24);
}
