//! Datasets over HTTP, from the uploaded file to pages of rows.

mod append;
mod changes;
mod columns;
mod crash;
mod indexes;
mod rows;
mod schema;

use serde_json::{Value, json};

use crate::app::TestApp;

/// Calls with an agent, a duration, an outcome and a time; `from` is the first one's number.
pub fn calls(from: usize, rows: usize) -> String {
    let mut text = String::from("call,agent,seconds,solved,started\n");
    for row in from..from + rows {
        text.push_str(&line(row));
    }
    text
}

pub fn line(row: usize) -> String {
    let (day, hour, minute) = (row / 1_440 % 28 + 1, row / 60 % 24, row % 60);
    let solved = row.is_multiple_of(3);
    format!("call-{row},agent-{},{},{solved},2024-05-{day:02}T{hour:02}:{minute:02}:00Z\n", row % 50, row % 600)
}

/// A dataset that is ready, from one upload.
pub async fn dataset(app: &TestApp, csv: &str) -> String {
    let done = app.upload("dataset", csv.as_bytes(), json!({"name": "calls"})).await;
    assert_eq!(done["job"]["state"], "succeeded", "{:#}", done["job"]);
    done["dataset_id"].as_str().unwrap().to_owned()
}

pub async fn get(app: &TestApp, id: &str, rest: &str) -> Value {
    app.get(&format!("/api/v1/datasets/{id}{rest}")).send().await.ok().json()
}

/// Starts a job by a POST and waits until it has succeeded.
pub async fn job(app: &TestApp, id: &str, rest: &str, body: Value) -> Value {
    let started = app.post(&format!("/api/v1/datasets/{id}{rest}")).json(&body).send().await.expect_status(202).json();
    app.wait_for_job(started["job_id"].as_str().unwrap()).await
}

/// A query's value, percent-encoded.
pub fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { (byte as char).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[tokio::test]
async fn an_upload_becomes_a_dataset_with_a_schema_counts_and_indexes() {
    let app = TestApp::start().await;
    let id = dataset(&app, &calls(0, 3_000)).await;
    let dataset = get(&app, &id, "").await;
    assert_eq!((&dataset["state"], &dataset["rows"], &dataset["version"]), (&json!("ready"), &json!(3_000), &json!(1)));
    assert_eq!(dataset["from"], "2024-05-01T00:00:00Z");
    let schema = get(&app, &id, "/schema").await;
    assert_eq!(schema["accepted"], true);
    let types: Vec<_> =
        schema["fields"].as_array().unwrap().iter().map(|field| field["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["String", "String", "Integer", "Boolean", "Timestamp"]);
    let counts = get(&app, &id, "/cardinalities").await;
    assert_eq!((&counts["records_counted"], &counts["records_pending"]), (&json!(3_000), &json!(0)));
    let agent = counts["fields"].as_array().unwrap().iter().find(|field| field["field"] == "agent").unwrap();
    assert_eq!((&agent["distinct"], &agent["exact"]), (&json!(50), &json!(true)));
    let indexes = get(&app, &id, "/indexes").await;
    let indexes = indexes["items"].as_array().unwrap();
    assert_eq!(indexes.len(), 5);
    assert!(indexes.iter().all(|index| index["state"] == "ready" && index["kind"] != "none"), "{indexes:#?}");

    let listed = app.get("/api/v1/datasets?name=CALL&state=ready&sort=-created_at").send().await.ok().json();
    assert_eq!(listed["items"][0]["id"], id.as_str());
    app.get("/api/v1/datasets?sort=colour").send().await.expect_problem(400, "bad_query");

    app.delete(&format!("/api/v1/datasets/{id}")).send().await.expect_status(204);
    app.get(&format!("/api/v1/datasets/{id}")).send().await.expect_problem(404, "dataset_not_found");
    app.get(&format!("/api/v1/datasets/{id}/rows")).send().await.expect_problem(404, "dataset_not_found");
    assert_eq!(app.get("/api/v1/datasets").send().await.ok().json()["items"], json!([]));
}

#[tokio::test]
async fn malformed_rows_over_the_limit_are_listed_where_the_error_says() {
    let app = TestApp::start().await;
    for (format, bytes, first, listed) in [
        ("csv", "a,b,c\n1,2,3\n1,2\n1,2,3,4\n", "line 3", &["3,,,", "4,,,"][..]),
        (
            "ndjson",
            "{\"a\":1}\n[1,2]\n\"x\"\n{\"a\":\n",
            "line 2",
            &["2,,\"[1,2]\",\"the line is a list", "3,,", "4,,\"{"],
        ),
    ] {
        let done = app.upload("dataset", bytes.as_bytes(), json!({"format": format})).await;
        assert_eq!(done["job"]["state"], "failed", "{done:#}");
        let (id, error) = (done["dataset_id"].as_str().unwrap(), done["job"]["error"].as_str().unwrap());
        assert!(error.starts_with(first) && error.contains(&format!("/datasets/{id}/rejected")), "{error}");
        assert_eq!(error.contains("separator"), format == "csv", "{error}");
        assert_eq!(get(&app, id, "").await["rejected_rows"], listed.len());
        let report = app.get(&format!("/api/v1/datasets/{id}/rejected")).send().await.ok().text;
        for line in listed {
            assert!(report.contains(&format!("\n{line}")), "{line}: {report}");
        }
    }
}

#[tokio::test]
async fn bad_files_end_in_a_failed_dataset_that_says_why() {
    let app = TestApp::start().await;
    for (bytes, hint) in [
        (&b"a,a\n1,2\n"[..], "a"),
        (b"a,b\n\"1,2\n3,4\n", "quot"),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b\x4c", "gzip"),
    ] {
        let done = app.upload("dataset", bytes, json!({})).await;
        assert_eq!(done["job"]["state"], "failed", "{done:#}");
        let error = done["job"]["error"].as_str().unwrap();
        assert!(error.contains(hint), "{error}");
        let dataset = get(&app, done["dataset_id"].as_str().unwrap(), "").await;
        assert_eq!((&dataset["state"], &dataset["error"]), (&json!("failed"), &json!(error)));
        let rows = format!("/api/v1/datasets/{}/rows", done["dataset_id"].as_str().unwrap());
        app.get(&rows).send().await.expect_problem(409, "no_schema");
    }
}
