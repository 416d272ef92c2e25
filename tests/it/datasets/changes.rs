//! Versions: deleting a period, bringing a version back.

use serde_json::json;

use super::{calls, dataset, get, job};
use crate::app::TestApp;

#[tokio::test]
async fn a_period_is_deleted_and_brought_back() {
    let app = TestApp::start().await;
    // One call a minute: two days and a bit.
    let id = dataset(&app, &calls(0, 3_000)).await;
    let period = json!({"from": "2024-05-01T12:00:00Z", "to": "2024-05-02T00:00:00Z"});
    let done = job(&app, &id, "/delete_range", period).await;
    assert_eq!(done["result"]["rows_deleted"], 720);
    let after = get(&app, &id, "").await;
    assert_eq!((&after["rows"], &after["version"]), (&json!(2_280), &json!(2)));
    assert_eq!(get(&app, &id, "/cardinalities").await["records_counted"], 2_280);
    let noon = get(&app, &id, "/rows?from=2024-05-01T11:59:00Z&to=2024-05-02T00:01:00Z").await;
    assert_eq!(noon["items"].as_array().unwrap().len(), 2);

    let versions = get(&app, &id, "/versions").await;
    let reasons: Vec<_> = versions["items"].as_array().unwrap().iter().map(|v| v["reason"].clone()).collect();
    assert_eq!(reasons, ["upload", "delete_range"]);
    job(&app, &id, "/revert", json!({"version": 1})).await;
    let back = get(&app, &id, "").await;
    assert_eq!((&back["rows"], &back["version"]), (&json!(3_000), &json!(3)));
    assert_eq!(get(&app, &id, "/cardinalities").await["records_counted"], 3_000);

    let path = |rest: &str| format!("/api/v1/datasets/{id}{rest}");
    let missing = app.post(&path("/revert")).json(&json!({"version": 77})).send().await;
    missing.expect_problem(404, "version_not_found");
    let backwards = json!({"from": "2024-05-02T00:00:00Z", "to": "2024-05-01T00:00:00Z"});
    app.post(&path("/delete_range")).json(&backwards).send().await.expect_problem(422, "bad_period");
}

#[tokio::test]
async fn replaced_segments_are_purged_after_the_period_of_grace() {
    let app = TestApp::start_with(|config| config.object_grace_days = 0).await;
    let id = dataset(&app, &calls(0, 3_000)).await;
    let period = json!({"from": "2024-05-01T12:00:00Z", "to": "2024-05-02T00:00:00Z"});
    job(&app, &id, "/delete_range", period).await;
    tango::jobs::purging::schedule(&app.app.state.ctx).await.unwrap();
    let jobs = app.get("/api/v1/jobs?topic=purging&sort=-created_at").send().await.ok().json();
    let purge = jobs["items"][0]["id"].as_str().unwrap().to_owned();
    let done = app.wait_for_job(&purge).await;
    assert_eq!(done["result"]["objects"], 1, "{done:#}");
    let versions = get(&app, &id, "/versions").await;
    assert_eq!(versions["items"].as_array().unwrap().len(), 1);
    let prefix = format!("seg/{id}/");
    assert_eq!(app.app.state.ctx.objects.list(&prefix, None).await.unwrap().len(), 1);
    assert_eq!(get(&app, &id, "/rows?limit=1").await["items"].as_array().unwrap().len(), 1);
}
