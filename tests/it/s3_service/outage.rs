//! The object store goes away under a running program: requests say so within seconds, nothing is half done, and
//! everything goes on afterwards where it was.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Fault, Remote};
use crate::app::{Answer, TestApp, until};
use crate::datasets::{calls, dataset};

const PART: usize = 5 << 20;
/// What "within a few seconds" is at most, on a machine that does other things, too. It is 6 for what is looked up and
/// 8 for what is stored.
const A_FEW_SECONDS: Duration = Duration::from_secs(15);

/// How much of everything there is.
async fn counts(app: &TestApp) -> Value {
    let count = async |list: &str| {
        let list = app.get(&format!("/api/v1/{list}?limit=500")).send().await.ok().json();
        list["items"].as_array().unwrap().len()
    };
    json!([count("uploads").await, count("datasets").await, count("jobs").await])
}

#[tokio::test]
async fn requests_that_need_it_say_so_within_seconds_and_uploads_are_continued_later() {
    let Remote { app, front, service } = Remote::start().await;
    let known = dataset(&app, &calls(0, 1_000)).await;
    let mut bytes = calls(0, 200_000).into_bytes();
    bytes.truncate(PART + 1_000);
    let mut ask = json!({
        "target": "dataset", "filename": "calls.csv", "size_bytes": bytes.len(), "mode": "create", "part_size_bytes": PART,
    });
    let upload = app.post("/api/v1/uploads").json(&ask).send().await.expect_status(201).json();
    let path = format!("/api/v1/uploads/{}", upload["id"].as_str().unwrap());
    let first = app.put_part(&upload["parts"][0], &bytes[..PART]).await;
    let second = json!({"number": 2, "etag": "\"00000000000000000000000000000000\""});
    let before = counts(&app).await;
    ask["name"] = json!("another");
    let complete = json!({"parts": [first, second], "accept_schema": true});
    let append = json!({"records": [{"id": "x"}]});
    let rows = format!("/api/v1/datasets/{known}/rows");
    for fault in [
        Fault::Closed,
        Fault::Silent,
        Fault::Unanswered,
        Fault::Answer { line: String::new(), status: 503, code: "ServiceUnavailable" },
        Fault::Answer { line: String::new(), status: 403, code: "AccessDenied" },
        Fault::Answer { line: String::new(), status: 404, code: "NoSuchBucket" },
    ] {
        front.set(fault.clone());
        let started = Instant::now();
        let (created, shown, completed, appended, read, sent) = tokio::join!(
            app.post("/api/v1/uploads").json(&ask).send(),
            app.get(&path).send(),
            app.post(&format!("{path}/complete")).json(&complete).send(),
            app.post(&format!("/api/v1/datasets/{known}/append")).json(&append).send(),
            app.get(&rows).send(),
            app.put(&format!("{path}/parts/2")).body("application/octet-stream", bytes[PART..].to_vec()).send(),
        );
        let took = started.elapsed();
        println!("{fault:?}: refused in {took:?}");
        assert!(took < A_FEW_SECONDS, "{fault:?}: {took:?}");
        for answer in [created, shown, completed, appended, read, sent] {
            away(answer);
        }
        // What needs no object goes on.
        app.get("/login").send().await.expect_status(200);
        app.get(&format!("/api/v1/datasets/{known}")).send().await.expect_status(200);
        assert_eq!(counts(&app).await, before, "{fault:?}: nothing is half registered");
        until("the probe to notice", async || {
            let ready = app.get("/readyz").send().await.expect_status(200).json();
            if ready["checks"]["object_store"] == "ok" { Err(ready) } else { Ok(()) }
        })
        .await;
        front.heal();
        until("the probe to see it back", async || {
            let ready = app.get("/readyz").send().await.expect_status(200).json();
            if ready["checks"]["object_store"] == "ok" { Ok(()) } else { Err(ready) }
        })
        .await;
    }
    let resumed = app.get(&path).send().await.ok().json();
    assert_eq!((&resumed["parts"][0]["arrived"], &resumed["parts"][1]["arrived"]), (&json!(true), &json!(false)));
    let second = app.put_part(&resumed["parts"][1], &bytes[PART..]).await;
    let complete = json!({"parts": [complete["parts"][0], second], "accept_schema": true});
    let done = app.post(&format!("{path}/complete")).json(&complete).send().await.expect_status(202).json();
    let job = app.wait_for_job(done["job_id"].as_str().unwrap()).await;
    assert!(job["result"]["rows"].as_u64().unwrap() > 50_000, "{job:#}");
    app.get(&rows).send().await.expect_status(200);
    drop(service);
}

#[track_caller]
fn away(answer: Answer) {
    let seconds = answer.headers.get("retry-after").map(|value| value.to_str().unwrap().parse::<u64>().unwrap());
    assert!(seconds.is_some_and(|seconds| (1..=30).contains(&seconds)), "{seconds:?}: {}", answer.text);
    let problem = answer.expect_problem(503, "object_store_unavailable");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("nothing of this request was done") && detail.contains("Send the request again"),
        "{detail}"
    );
}

#[tokio::test]
async fn a_completion_whose_answer_was_lost_is_completed_by_asking_again() {
    let remote = Remote::start().await;
    let app = &remote.app;
    let bytes = calls(0, 100).into_bytes();
    let ask = json!({"target": "dataset", "filename": "calls.csv", "size_bytes": bytes.len(), "mode": "create"});
    let upload = app.post("/api/v1/uploads").json(&ask).send().await.expect_status(201).json();
    let id = upload["id"].as_str().unwrap();
    let part = app.put_part(&upload["parts"][0], &bytes).await;
    let complete = json!({"parts": [part], "accept_schema": true});
    let path = format!("/api/v1/uploads/{id}/complete");
    // Every attempt reaches the store, and no answer the program.
    let line = remote.line("POST", &format!("/raw/{id}"));
    remote.front.set(Fault::BreakOff { line: line.clone(), bytes: 0, times: 1_000, silently: false });
    let answer = app.post(&path).json(&complete).send().await;
    assert!(remote.front.requests(&line) > 1, "the client tries again by itself");
    remote.front.heal();
    answer.expect_problem(503, "object_store_unavailable");
    let done = app.post(&path).json(&complete).send().await.expect_status(202).json();
    let job = app.wait_for_job(done["job_id"].as_str().unwrap()).await;
    assert_eq!(job["result"]["rows"], 100, "{job:#}");
}

#[tokio::test]
async fn an_upload_is_aborted_without_the_object_store_and_its_parts_go_with_the_next_purge() {
    let remote = Remote::start().await;
    let app = &remote.app;
    let ask = json!({"target": "dataset", "filename": "calls.csv", "size_bytes": 10, "mode": "create"});
    let upload = app.post("/api/v1/uploads").json(&ask).send().await.expect_status(201).json();
    app.put_part(&upload["parts"][0], b"a,b\n1,2\n3,").await;
    let id = upload["id"].as_str().unwrap();
    let path = format!("/api/v1/uploads/{id}");
    remote.front.set(Fault::Closed);
    app.delete(&path).send().await.expect_status(204);
    remote.front.heal();
    assert_eq!(app.get(&path).send().await.ok().json()["state"], "aborted");
    tango::jobs::purging::schedule(&app.app.state.ctx).await.unwrap();
    let aborted = remote.line("DELETE", &format!("/raw/{id}*=AbortMultipartUpload"));
    until("the purge", async || {
        let jobs = app.get("/api/v1/jobs?topic=purging&state=queued").send().await.ok().json();
        let running = app.get("/api/v1/jobs?topic=purging&state=running").send().await.ok().json();
        let busy = [&jobs, &running].iter().any(|jobs| !jobs["items"].as_array().unwrap().is_empty());
        if busy || remote.front.requests(&aborted) == 0 { Err((jobs, running)) } else { Ok(()) }
    })
    .await;
}
