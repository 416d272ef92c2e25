//! Jobs that meet an object store that is away, or whose answers break off.

use serde_json::{Value, json};

use super::{Fault, Remote};
use crate::app::{Answer, TestApp, until};
use crate::datasets::{calls, dataset};

/// Sends a file and completes it; the job's id.
async fn upload(app: &TestApp, bytes: &[u8]) -> (String, String) {
    let ask = json!({"target": "dataset", "filename": "calls.csv", "size_bytes": bytes.len(), "mode": "create"});
    let upload = app.post("/api/v1/uploads").json(&ask).send().await.expect_status(201).json();
    let part = &upload["parts"][0];
    let put = app.http.put(part["url"].as_str().unwrap()).body(bytes.to_vec());
    let sent = Answer::read(put.send().await.unwrap()).await.ok();
    let parts = json!([{"number": 1, "etag": sent.headers["etag"].to_str().unwrap()}]);
    let path = format!("/api/v1/uploads/{}/complete", upload["id"].as_str().unwrap());
    let complete = json!({"parts": parts, "accept_schema": true});
    let done = app.post(&path).json(&complete).send().await.expect_status(202).json();
    (done["job_id"].as_str().unwrap().to_owned(), done["dataset_id"].as_str().unwrap().to_owned())
}

/// Waits until the job has been put off because of the object store.
async fn put_off(app: &TestApp, id: &str) -> Value {
    until("the job to wait for the object store", async || {
        let job = app.get(&format!("/api/v1/jobs/{id}")).send().await.ok().json();
        let waits = job["error"].as_str().is_some_and(|error| error.contains("The object store cannot be reached"));
        if waits { Ok(job) } else { Err(job) }
    })
    .await
}

#[tokio::test]
async fn a_job_waits_for_an_object_store_that_cannot_be_read() {
    let remote = Remote::start().await;
    let app = &remote.app;
    remote.front.set(Fault::Answer { line: remote.line("GET", "/raw/*=GetObject"), status: 503, code: "SlowDown" });
    let (job, dataset) = upload(app, calls(0, 2_000).as_bytes()).await;
    let waiting = put_off(app, &job).await;
    assert!(matches!(waiting["state"].as_str(), Some("queued" | "running")), "{waiting:#}");
    let state = app.get(&format!("/api/v1/datasets/{dataset}")).send().await.ok().json();
    assert_eq!((&state["state"], &state["rows"]), (&json!("discovering"), &json!(0)), "{state:#}");
    remote.front.heal();
    let done = app.wait_for_job(&job).await;
    assert_eq!(done["result"]["rows"], 2_000, "{done:#}");
}

#[tokio::test]
async fn a_job_waits_for_an_object_store_that_cannot_be_written_and_leaves_nothing_behind() {
    let remote = Remote::start().await;
    let app = &remote.app;
    remote.front.set(Fault::Answer { line: remote.line("PUT", "/seg/"), status: 500, code: "InternalError" });
    let (job, dataset) = upload(app, calls(0, 2_000).as_bytes()).await;
    put_off(app, &job).await;
    remote.front.heal();
    let done = app.wait_for_job(&job).await;
    assert_eq!(done["result"]["rows"], 2_000, "{done:#}");
    let dataset = app.get(&format!("/api/v1/datasets/{dataset}")).send().await.ok().json();
    let stored = app.app.state.ctx.objects.list("seg/", None).await.unwrap();
    assert_eq!(dataset["segments"], stored.len(), "{stored:?}");
}

#[tokio::test]
async fn reads_that_break_off_go_on_where_they_did() {
    let remote = Remote::start().await;
    let app = &remote.app;
    let line = remote.line("GET", "/raw/*=GetObject");
    remote.front.set(Fault::BreakOff { line: line.clone(), bytes: 700_000, times: 3, silently: false });
    let bytes = calls(0, 60_000).into_bytes();
    assert!(bytes.len() > 2_500_000, "{}", bytes.len());
    let (job, id) = upload(app, &bytes).await;
    let done = app.wait_for_job(&job).await;
    assert_eq!((&done["attempt"], &done["result"]["rows"]), (&json!(1), &json!(60_000)), "{done:#}");
    assert!(remote.front.requests(&line) >= 4);

    // Rows, with an answer in the middle of which nothing more comes.
    let line = remote.line("GET", "/seg/");
    let before = remote.front.requests(&line);
    remote.front.set(Fault::BreakOff { line: line.clone(), bytes: 1_000, times: 1, silently: true });
    let rows = app.get(&format!("/api/v1/datasets/{id}/rows?limit=500")).send().await.ok().json();
    assert_eq!(rows["items"].as_array().unwrap().len(), 500);
    assert!(remote.front.requests(&line) > before + 1, "it was asked for again");
}

#[tokio::test]
async fn rows_break_off_for_good_only_when_nothing_comes_any_more() {
    let remote = Remote::start().await;
    let app = &remote.app;
    let id = dataset(app, &calls(0, 5_000)).await;
    let line = remote.line("GET", "/seg/");
    remote.front.set(Fault::BreakOff { line, bytes: 0, times: usize::MAX, silently: false });
    let rows = app.get(&format!("/api/v1/datasets/{id}/rows")).send().await;
    rows.expect_problem(503, "object_store_unavailable");
    remote.front.heal();
    app.get(&format!("/api/v1/datasets/{id}/rows")).send().await.expect_status(200);
}
