//! `AUTOGENERATE_INDEXES` off and on again, and what the indexes are used for.

use std::sync::Arc;

use serde_json::{Value, json};
use tango::clock::SystemClock;

use super::{calls, dataset, encoded, get};
use crate::app::{TestApp, until};

fn of_field(indexes: &Value, field: &str) -> Value {
    indexes["items"].as_array().unwrap().iter().find(|index| index["field"] == field).unwrap().clone()
}

async fn rows_of_call_7(app: &TestApp, id: &str) -> Value {
    get(app, id, &format!("/rows?filter={}", encoded("call=\"call-7\""))).await
}

#[tokio::test]
async fn segments_written_without_indexes_get_them_when_they_are_wanted_again() {
    let app = TestApp::start_with(|config| config.autogenerate_indexes = false).await;
    let id = dataset(&app, &calls(0, 3_000)).await;
    let without = get(&app, &id, "/indexes").await;
    assert_ne!(of_field(&without, "call")["kind"], "postings", "{without:#}");
    let counts = get(&app, &id, "/cardinalities").await;
    let found = rows_of_call_7(&app, &id).await;

    let app = TestApp::start_at(app.stop().await, Arc::new(SystemClock), |_| {}).await;
    let line = until("the postings", async || {
        let line = of_field(&get(&app, &id, "/indexes").await, "call");
        if line["kind"] == "postings" { Ok(line) } else { Err(line) }
    })
    .await;
    assert_eq!((&line["state"], &line["segments"]), (&json!("ready"), &line["segments_indexed"]));
    let versions = get(&app, &id, "/versions").await;
    let reasons: Vec<&str> =
        versions["items"].as_array().unwrap().iter().map(|version| version["reason"].as_str().unwrap()).collect();
    assert!(reasons.contains(&"indexes"), "{reasons:?}");
    assert_eq!(get(&app, &id, "").await["rows"], 3_000);
    assert_eq!(get(&app, &id, "/cardinalities").await, counts);
    let again = rows_of_call_7(&app, &id).await;
    assert_eq!(again["items"], found["items"]);
    assert!(again["cost"]["rows_examined"].as_u64() < found["cost"]["rows_examined"].as_u64(), "{again:#}");
}

#[tokio::test]
async fn a_field_that_is_searched_for_shows_its_use() {
    let app = TestApp::start().await;
    let id = dataset(&app, &calls(0, 100)).await;
    assert_eq!(of_field(&get(&app, &id, "/indexes").await, "call")["use"], 0);
    rows_of_call_7(&app, &id).await;
    rows_of_call_7(&app, &id).await;
    let indexes = get(&app, &id, "/indexes").await;
    assert_eq!(of_field(&indexes, "call")["use"], 2);
    assert_eq!(of_field(&indexes, "agent")["use"], 0);
}
