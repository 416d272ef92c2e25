//! Appends: small ones by POST, large ones by upload, at once, refused, counted.

use serde_json::{Value, json};

use super::{calls, dataset, get, job, line};
use crate::app::TestApp;

async fn post(app: &TestApp, id: &str, content_type: &str, body: String) -> Value {
    let path = format!("/api/v1/datasets/{id}/append");
    let started = app.post(&path).body(content_type, body).send().await.expect_status(202).json();
    app.wait_for_job_end(started["job_id"].as_str().unwrap()).await
}

#[tokio::test]
async fn rows_are_appended_as_json_csv_and_ndjson() {
    let app = TestApp::start().await;
    let id = dataset(&app, &calls(0, 1_000)).await;
    let record = |row: usize| {
        json!({"call": format!("call-{row}"), "agent": "agent-7", "seconds": 12, "solved": true,
            "started": "2024-05-02T00:00:00Z"})
    };
    job(&app, &id, "/append", json!({"records": [record(1_000), record(1_001)]})).await;
    assert_eq!(post(&app, &id, "text/csv", calls(1_002, 10)).await["state"], "succeeded");
    let lines = format!("{}\n{}\n", record(1_012), record(1_013));
    assert_eq!(post(&app, &id, "application/x-ndjson", lines).await["state"], "succeeded");
    let dataset = get(&app, &id, "").await;
    assert_eq!((&dataset["rows"], &dataset["version"]), (&json!(1_014), &json!(4)));

    let path = format!("/api/v1/datasets/{id}/append");
    let refused = app.post(&path).body("text/plain", "x").send().await;
    refused.expect_problem(415, "unsupported_media_type");
    app.post(&path).json(&json!({"records": []})).send().await.expect_problem(422, "empty_file");
    app.post(&path).json(&json!({"rows": []})).send().await.expect_problem(422, "unknown_field");
    let many = json!({"records": vec![json!({}); 5_001]});
    app.post(&path).json(&many).send().await.expect_problem(422, "too_many_records");
    let job = post(&app, &id, "text/csv", "call,colour\ncall-1,red\n".into()).await;
    assert_eq!(job["state"], "failed");
    assert!(job["error"].as_str().unwrap().contains("colour"), "{job}");
    assert_eq!(get(&app, &id, "").await["rows"], 1_014);
}

#[tokio::test]
async fn the_same_append_sent_twice_under_a_key_is_added_once() {
    let app = TestApp::start().await;
    let id = dataset(&app, &calls(0, 100)).await;
    let path = format!("/api/v1/datasets/{id}/append");
    let send = || app.post(&path).header("idempotency-key", "once").body("text/csv", calls(100, 10)).send();
    let (first, second) = (send().await.expect_status(202).json(), send().await.expect_status(202).json());
    assert_eq!(first, second);
    app.wait_for_job(first["job_id"].as_str().unwrap()).await;
    assert_eq!(get(&app, &id, "").await["rows"], 110);
}

#[tokio::test]
async fn many_appends_at_once_lose_nothing_and_are_compacted() {
    let app = TestApp::start().await;
    let id = dataset(&app, &calls(0, 100)).await;
    let path = format!("/api/v1/datasets/{id}/append");
    let sends = (0..20).map(|batch| app.post(&path).body("text/csv", calls(100 + batch * 10, 10)).send());
    for answer in futures::future::join_all(sends).await {
        let started = answer.expect_status(202).json();
        app.wait_for_job(started["job_id"].as_str().unwrap()).await;
    }
    let dataset = get(&app, &id, "").await;
    assert_eq!(dataset["rows"], 300);
    // The merge was queued with the append that made it worthwhile.
    let jobs = app.get("/api/v1/jobs?limit=500").send().await.ok().json();
    let merges = jobs["items"].as_array().unwrap().iter().filter(|job| job["kind"] == "dataset_compact");
    let mut merged = 0;
    for job in merges {
        let job = app.wait_for_job(job["id"].as_str().unwrap()).await;
        merged += job["result"]["segments_merged"].as_u64().unwrap();
    }
    assert!(merged >= 16, "{merged} segments were merged");
    let after = get(&app, &id, "").await;
    assert_eq!(after["rows"], 300);
    assert!(after["segments"].as_u64().unwrap() < 10, "{after}");
    let rows = get(&app, &id, "/rows?limit=500&columns=call").await;
    let mut calls: Vec<_> = rows["items"].as_array().unwrap().iter().map(|row| row["call"].to_string()).collect();
    calls.sort();
    calls.dedup();
    assert_eq!(calls.len(), 300, "every row once");
}

#[tokio::test]
async fn appended_records_are_counted_each_time_enough_wait() {
    let app = TestApp::start_with(|config| config.add_cardinalities_every_n_records = 100).await;
    let id = dataset(&app, &calls(0, 1_000)).await;
    let counts = async || {
        let counts = get(&app, &id, "/cardinalities").await;
        (counts["records_counted"].as_u64().unwrap(), counts["records_pending"].as_u64().unwrap())
    };
    assert_eq!(counts().await, (1_000, 0));
    assert_eq!(post(&app, &id, "text/csv", calls(1_000, 99)).await["state"], "succeeded");
    assert_eq!(counts().await, (1_000, 99));
    assert_eq!(post(&app, &id, "text/csv", calls(1_099, 1)).await["state"], "succeeded");
    assert_eq!(counts().await, (1_100, 0));
    let distinct = async || {
        let counts = get(&app, &id, "/cardinalities").await;
        counts["fields"].as_array().unwrap().iter().find(|field| field["field"] == "call").unwrap()["distinct"].clone()
    };
    assert_eq!(distinct().await, 1_100);

    // By hand, and by an append that asks for it, everything is counted.
    assert_eq!(post(&app, &id, "text/csv", calls(1_100, 5)).await["state"], "succeeded");
    assert_eq!(counts().await, (1_100, 5));
    job(&app, &id, "/compute_cardinalities", json!({})).await;
    assert_eq!((counts().await, distinct().await), ((1_105, 0), json!(1_105)));
    let path = format!("/api/v1/datasets/{id}/append?recount=full");
    let started = app.post(&path).body("text/csv", calls(1_105, 5)).send().await.expect_status(202).json();
    app.wait_for_job(started["job_id"].as_str().unwrap()).await;
    assert_eq!((counts().await, distinct().await), ((1_110, 0), json!(1_110)));
}

#[tokio::test]
async fn a_wrong_type_far_down_rejects_that_row_only() {
    let app = TestApp::start().await;
    let id = dataset(&app, &calls(0, 1_000)).await;
    let mut csv = calls(1_000, 250_000);
    csv.push_str(&line(251_000).replace(",0,", ",soon,").replace(",200,", ",soon,"));
    assert!(csv.contains("soon"));
    csv.push_str(&line(251_001));
    let options = json!({"mode": "append", "dataset_id": id});
    let done = app.upload("dataset", csv.as_bytes(), options).await;
    assert_eq!(done["job"]["state"], "succeeded", "{:#}", done["job"]);
    assert_eq!(done["job"]["result"]["rows_rejected"], 1);
    let dataset = get(&app, &id, "").await;
    assert_eq!((&dataset["rows"], &dataset["rejected_rows"]), (&json!(251_001), &json!(1)));
    let report = app.get(&format!("/api/v1/datasets/{id}/rejected")).send().await.ok();
    let lines: Vec<&str> = report.text.lines().collect();
    assert_eq!(lines[0], "line,column,value,reason");
    assert!(lines[1].starts_with("250002,seconds,soon,"), "{}", lines[1]);
    assert_eq!(lines.len(), 2);
}

#[tokio::test]
async fn a_value_that_is_no_text_rejects_its_row_of_a_text_field() {
    let app = TestApp::start().await;
    let id = dataset(&app, &calls(0, 100)).await;
    let mut records: Vec<Value> =
        (0..40).map(|row| json!({"call": format!("c{row}"), "agent": "a", "seconds": row, "solved": true})).collect();
    records[3]["agent"] = json!(["p", "q"]);
    records[5]["agent"] = json!({"p": 1});
    records[7]["agent"] = json!(7);
    records[8]["seconds"] = json!(9223372036854775808u64);
    let done = job(&app, &id, "/append", json!({"records": records})).await;
    assert_eq!((&done["result"]["rows_added"], &done["result"]["rows_rejected"]), (&json!(36), &json!(4)));
    let report = app.get(&format!("/api/v1/datasets/{id}/rejected")).send().await.ok().text;
    for line in [
        "4,agent,\"[\"\"p\"\",\"\"q\"\"]\",it is not a text",
        "6,agent,",
        "8,agent,7,",
        "9,seconds,9223372036854775808,it is too large",
    ] {
        assert!(report.contains(&format!("\n{line}")), "{line}: {report}");
    }
}

#[tokio::test]
async fn an_append_with_too_many_bad_rows_adds_nothing() {
    let app = TestApp::start().await;
    let id = dataset(&app, &calls(0, 100)).await;
    let bad = calls(100, 50).replace(",true,", ",maybe,").replace(",false,", ",maybe,");
    let job = post(&app, &id, "text/csv", bad).await;
    assert_eq!(job["state"], "failed", "{job:#}");
    let dataset = get(&app, &id, "").await;
    assert_eq!((&dataset["rows"], &dataset["state"], &dataset["version"]), (&json!(100), &json!("ready"), &json!(1)));
    assert!(dataset["rejected_rows"].as_u64().unwrap() > 0, "{dataset}");
    let report = app.get(&format!("/api/v1/datasets/{id}/rejected")).send().await.ok();
    assert!(report.text.contains("maybe"), "{}", report.text);
}
