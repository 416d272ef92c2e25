//! Incremental cardinalities: counted each time a portion is full, never lost, never doubled.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tango::domain::id::AccountId;
use tango::domain::profile::ProfileKind;
use tango::jobs::enqueue;
use tango::jobs::profile_counts::CountProfile;
use tango::profiles::Profile;
use tango::store::Batch;

use crate::app::{TestApp, until};

async fn append(app: &TestApp, ids: std::ops::Range<u32>) -> Value {
    let records: Vec<Value> = ids.map(|id| json!({"id": format!("a{id}"), "loginStatus": id % 5})).collect();
    app.post("/api/v1/agents/records").json(&json!({"records": records})).send().await.expect_status(200).json()
}

async fn cardinalities(app: &TestApp) -> Value {
    app.get("/api/v1/agents/cardinalities").send().await.expect_status(200).json()
}

fn numbers(counts: &Value) -> (u64, u64) {
    (counts["records_counted"].as_u64().unwrap(), counts["records_pending"].as_u64().unwrap())
}

fn field<'a>(counts: &'a Value, name: &str) -> &'a Value {
    counts["fields"].as_array().unwrap().iter().find(|field| field["field"] == name).unwrap()
}

/// Waits until so many are counted; on the way nothing may be lost or doubled.
async fn counted(app: &TestApp, counted: u64, accepted: u64) -> (Value, Duration) {
    let started = Instant::now();
    let counts = until("the count", async || {
        let counts = cardinalities(app).await;
        let (now, pending) = numbers(&counts);
        assert_eq!(now + pending, accepted, "{counts}");
        if now >= counted { Ok(counts) } else { Err(counts) }
    });
    (counts.await, started.elapsed())
}

/// Waits until so many records of a profile are counted.
pub async fn counted_of(app: &TestApp, profile: &str, counted: u64) -> Value {
    until("the count", async || {
        let counts = app.get(&format!("/api/v1/{profile}/cardinalities")).send().await.expect_status(200).json();
        if numbers(&counts).0 >= counted { Ok(counts) } else { Err(counts) }
    })
    .await
}

#[tokio::test]
async fn a_portion_that_is_full_is_counted_within_five_seconds() {
    let app = TestApp::start().await;
    assert_eq!(append(&app, 0..999).await["cardinalities"], json!({"pending": 999, "every": 1000}));
    // The watch looks every two seconds: it must have nothing to do.
    tango::jobs::watch::request_due_counts(&app.app.state.ctx).await.unwrap();
    let jobs = app.get("/api/v1/jobs?topic=analysis").send().await.json();
    assert_eq!(jobs["items"], json!([]));
    assert_eq!(numbers(&cardinalities(&app).await), (0, 999));
    // Neither the same content nor an older version counts.
    append(&app, 0..10).await;
    assert_eq!(numbers(&cardinalities(&app).await), (0, 999));

    append(&app, 999..1_000).await;
    let (counts, took) = counted(&app, 1_000, 1_000).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    let status = field(&counts, "loginStatus");
    assert_eq!((&status["rows"], &status["distinct"], &status["exact"]), (&json!(1_000), &json!(5), &json!(true)));
    assert_eq!(status["values"][0], json!({"value": 0, "count": 200}));

    // An update adds its value without taking the old one away.
    let update = json!({"records": [{"id": "a0", "loginStatus": 77}]});
    let answer = app.post("/api/v1/agents/records").json(&update).send().await.json();
    assert_eq!(answer["cardinalities"]["pending"], 1);
    let job = app.post("/api/v1/agents/compute_cardinalities").send().await.expect_status(202).json();
    app.wait_for_job(job["job_id"].as_str().unwrap()).await;
    let counts = cardinalities(&app).await;
    assert_eq!(numbers(&counts), (1_000, 0));
    assert_eq!(field(&counts, "loginStatus")["distinct"], 6);
    assert_eq!(field(&counts, "loginStatus")["max"], 77);
}

#[tokio::test]
async fn jobs_for_one_portion_count_it_once_and_leave_less_than_one() {
    let app = TestApp::start_with(|config| config.add_cardinalities_every_n_records = 100).await;
    let me = app.get("/api/v1/auth/me").send().await.json();
    let account = AccountId::parse(me["account_id"].as_str().unwrap()).unwrap();
    let count = CountProfile { profile: Profile::new(account.clone(), ProfileKind::Agents), full: false };
    let (ctx, count) = (&app.app.state.ctx, &count);
    // Jobs beside those that the appends ask for.
    let jobs = async |number: usize| {
        let mut batch = Batch::new();
        let ids: Vec<_> = (0..number).map(|_| enqueue(&mut batch, ctx, &account, count).unwrap()).collect();
        ctx.store.commit(batch).await.unwrap();
        for id in ids {
            app.wait_for_job(id.as_str()).await;
        }
    };
    append(&app, 0..150).await;
    jobs(3).await;
    let (counts, _) = counted(&app, 150, 150).await;
    assert_eq!(field(&counts, "loginStatus")["rows"], 150);
    append(&app, 150..200).await;
    jobs(2).await;
    assert_eq!(numbers(&cardinalities(&app).await), (150, 50));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_clients_and_full_counts_in_between_neither_lose_nor_double() {
    let app = std::sync::Arc::new(TestApp::start_with(|config| config.add_cardinalities_every_n_records = 100).await);
    let clients: Vec<_> = (0..8_u32)
        .map(|client| {
            let app = app.clone();
            tokio::spawn(async move {
                for batch in 0..10 {
                    let first = client * 10_000 + batch * 25;
                    assert_eq!(append(&app, first..first + 25).await["accepted"], 25);
                }
            })
        })
        .collect();
    for _ in 0..3 {
        let job = app.post("/api/v1/agents/compute_cardinalities").send().await.expect_status(202).json();
        app.wait_for_job(job["job_id"].as_str().unwrap()).await;
    }
    for client in clients {
        client.await.unwrap();
    }
    let (counts, _) = counted(&app, 1_901, 2_000).await;
    let status = field(&counts, "loginStatus");
    assert_eq!(status["rows"], numbers(&counts).0);
    let values: u64 = status["values"].as_array().unwrap().iter().map(|value| value["count"].as_u64().unwrap()).sum();
    assert_eq!(status["rows"], values);
}

#[tokio::test]
async fn a_full_recount_can_be_asked_for_with_the_append() {
    let app = TestApp::start().await;
    let body = json!({"records": [{"id": "a", "loginStatus": 1}], "recount": "full"});
    app.post("/api/v1/agents/records").json(&body).send().await.expect_status(200);
    counted(&app, 1, 1).await;
}
