//! What nothing needs any more goes, hour by hour; what somebody may still need stays.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use tango::clock::{Clock as _, ManualClock, SystemClock};
use tango::domain::account::Account;
use tango::domain::id::{PredictorId, UploadId};
use tango::domain::job::{Job, JobState};
use tango::domain::scoring::{ScoredPack, ScoringHour};
use tango::http::idempotency;
use tango::jobs::purging;
use tango::objects::UnfinishedUploads;
use tango::store::{Batch, Collection, Query, StoreExt};

use crate::app::{Folder, PASSWORD, TestApp, USERNAME};
use crate::centre;

/// A program and the clock that it lives by.
async fn start() -> (TestApp, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let app = TestApp::start_at(Folder::new(), clock.clone(), |_| {}).await;
    (app, clock)
}

/// Lets time pass, signs in again, purges; the job's result.
async fn purge_after(app: &mut TestApp, clock: &ManualClock, time: chrono::Duration) -> Value {
    clock.advance(time);
    app.token = app.sign_in(USERNAME, PASSWORD).await;
    purging::schedule(&app.app.state.ctx).await.unwrap();
    let jobs = app.get("/api/v1/jobs?topic=purging&sort=-created_at&limit=1").send().await.ok().json();
    let job = app.wait_for_job(jobs["items"][0]["id"].as_str().unwrap()).await;
    job["result"].clone()
}

#[tokio::test]
async fn uploads_that_no_document_knows_are_dropped_when_they_are_a_day_old() {
    let (mut app, clock) = start().await;
    let objects = app.app.state.ctx.objects.clone();
    let ask = json!({"target": "dataset", "filename": "calls.csv", "size_bytes": 10, "mode": "create"});
    let known = app.post("/api/v1/uploads").json(&ask).send().await.expect_status(201).json();
    // As a crash leaves them: before the document of the upload, in a report, before the document of an append.
    let lost = UploadId::generate(clock.now());
    let multipart = objects.create_upload(&format!("raw/{lost}"), false).await.unwrap();
    objects.upload_part(&format!("raw/{lost}"), &multipart, 1, Bytes::from_static(b"a,b\n1,2\n")).await.unwrap();
    objects.create_upload("rej/ds_1/job_1.csv", false).await.unwrap();
    let append = format!("raw/{}", UploadId::generate(clock.now()));
    objects.put(&append, Bytes::from_static(b"1,2\n")).await.unwrap();
    assert_eq!(objects.list_uploads("", None).await.unwrap().uploads.len(), 3);

    let young = purge_after(&mut app, &clock, chrono::Duration::hours(23)).await;
    assert_eq!(young["uploads"], 0, "{young}");
    let old = purge_after(&mut app, &clock, chrono::Duration::hours(2)).await;
    assert_eq!(old["uploads"], 3, "{old}");
    let left = objects.list_uploads("", None).await.unwrap().uploads;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].key, format!("raw/{}", known["id"].as_str().unwrap()));
    assert_eq!(objects.list("raw/", None).await.unwrap(), []);
    // What is known can still be completed.
    let path = format!("/api/v1/uploads/{}", known["id"].as_str().unwrap());
    assert_eq!(app.get(&path).send().await.ok().json()["state"], "receiving");
}

#[tokio::test]
async fn unfinished_uploads_are_listed_page_by_page() {
    let (app, _clock) = start().await;
    let objects = &app.app.state.ctx.objects;
    let mut made = Vec::new();
    for number in 0..1_003 {
        let key = format!("raw/{:04}", number / 2);
        let id = objects.create_upload(&key, false).await.unwrap();
        made.push((key, id));
    }
    let first = objects.list_uploads("raw/", None).await.unwrap();
    assert!(first.next.is_some());
    let rest = objects.list_uploads("raw/", first.next).await.unwrap();
    assert_eq!((first.uploads.len(), rest.uploads.len(), rest.next), (1_000, 3, None));
    let listed = first.uploads.into_iter().chain(rest.uploads).map(|upload| (upload.key, upload.id));
    let mut listed: Vec<(String, String)> = listed.collect();
    made.sort();
    listed.sort();
    assert_eq!(listed, made);
    assert_eq!(objects.list_uploads("other/", None).await.unwrap(), UnfinishedUploads::default());
}

#[tokio::test]
async fn jobs_that_ended_long_ago_are_forgotten_and_dead_ones_are_not() {
    let (mut app, clock) = start().await;
    let store = app.app.state.ctx.store.clone();
    let started = app.post("/api/v1/agents/compute_cardinalities").send().await.ok().json();
    let succeeded = app.wait_for_job(started["job_id"].as_str().unwrap()).await["id"].clone();
    let failed = app.upload("dataset", b"a,a\n1,2\n", json!({})).await["job"]["id"].clone();
    let started = app.post("/api/v1/customers/compute_cardinalities").send().await.ok().json();
    let dead = app.wait_for_job(started["job_id"].as_str().unwrap()).await["id"].clone();
    let all = store.list_all::<Job>(Query::everywhere(Collection::Jobs)).await.unwrap();
    let mut stored = all.into_iter().find(|job| dead == job.value.id.as_str()).unwrap();
    stored.value.state = JobState::Dead;
    let mut batch = Batch::new();
    batch.replace(&stored);
    store.commit(batch).await.unwrap();

    purge_after(&mut app, &clock, chrono::Duration::days(29)).await;
    let is_there = async |app: &TestApp, id: &Value| {
        app.get(&format!("/api/v1/jobs/{}", id.as_str().unwrap())).send().await.status.as_u16() == 200
    };
    for id in [&succeeded, &failed, &dead] {
        assert!(is_there(&app, id).await, "{id}");
    }
    let purged = purge_after(&mut app, &clock, chrono::Duration::days(2)).await;
    // These two and the purge that every start begins with.
    assert_eq!(purged["jobs"], 3, "{purged}");
    assert!(!is_there(&app, &succeeded).await && !is_there(&app, &failed).await);
    assert!(is_there(&app, &dead).await);
}

#[tokio::test]
async fn what_was_scored_goes_before_what_was_counted() {
    let (mut app, clock) = start().await;
    let store = app.app.state.ctx.store.clone();
    let accounts = store.list_all::<Account>(Query::new(Collection::Accounts, "")).await.unwrap();
    let (account_id, now) = (accounts[0].value.id.clone(), clock.now());
    let predictor_id = PredictorId::generate(now);
    let mut batch = Batch::new();
    for number in 0..150 {
        let (first_ms, last_ms) = (now.timestamp_millis(), now.timestamp_millis() + number as i64);
        let (account_id, predictor_id) = (account_id.clone(), predictor_id.clone());
        let (process, scored) = ("req_1".to_owned(), Vec::new());
        batch.put(&ScoredPack { account_id, predictor_id, process, number, first_ms, last_ms, scored });
    }
    let (hour_ms, process, counts) = (now.timestamp_millis(), "req_1".to_owned(), Default::default());
    let (model_id, model_version) = (None, 0);
    batch.put(&ScoringHour { account_id, predictor_id, model_id, model_version, hour_ms, process, counts });
    store.commit(batch).await.unwrap();
    for (days, packs, hours) in [(6, 150, 1), (2, 0, 1), (400, 0, 0)] {
        purge_after(&mut app, &clock, chrono::Duration::days(days)).await;
        let count = async |collection| store.count(&Query::everywhere(collection)).await.unwrap();
        assert_eq!(
            (count(Collection::ScoredContexts).await, count(Collection::ScoringHours).await),
            (packs, hours),
            "{days}"
        );
    }
}

#[tokio::test]
async fn the_score_log_is_kept_for_ever_or_for_so_many_days() {
    for (kept, left) in [(None, 2), (Some(500), 1)] {
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let app = TestApp::start_at(Folder::new(), clock.clone(), |config| config.score_log_days = kept).await;
        let mut loaded = centre::load(app).await;
        loaded.create_predictor().await;
        let log = async |app: &TestApp, call: &str| {
            let told = json!({"interaction_id": call, "predictor": "fcr", "mode": "on", "outcome": "routed"});
            app.post("/api/v1/score_log").json(&told).send().await.expect_status(202);
        };
        log(&loaded.app, "first").await;
        purge_after(&mut loaded.app, &clock, chrono::Duration::days(499)).await;
        log(&loaded.app, "second").await;
        purge_after(&mut loaded.app, &clock, chrono::Duration::days(2)).await;
        let calls = loaded.app.get("/api/v1/score_log").send().await.ok().json();
        assert_eq!(calls["items"].as_array().unwrap().len(), left, "{kept:?}: {calls:#}");
    }
}

#[tokio::test]
async fn saved_answers_are_forgotten_after_a_day() {
    let (app, clock) = start().await;
    let ctx = &app.app.state.ctx;
    for number in 0..3 {
        let body = json!({"records": [{"id": format!("a{number}"), "loginStatus": 1}]});
        let key = format!("key {number}");
        app.post("/api/v1/agents/records").header("idempotency-key", &key).json(&body).send().await.expect_status(200);
    }
    let saved = async || ctx.store.count(&Query::everywhere(Collection::Idempotency)).await.unwrap();
    clock.advance(chrono::Duration::hours(23));
    idempotency::forget_old_answers(ctx).await.unwrap();
    assert_eq!(saved().await, 3);
    clock.advance(chrono::Duration::hours(2));
    idempotency::forget_old_answers(ctx).await.unwrap();
    assert_eq!(saved().await, 0);
}
