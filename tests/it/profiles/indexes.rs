//! Indexes that make themselves.

use serde_json::{Value, json};

use crate::app::{TestApp, until};

async fn post(app: &TestApp) {
    let records = json!({"records": [{"id": "a", "site": "Oslo", "skills": {"English": 3}}]});
    app.post("/api/v1/agents/records").json(&records).send().await.expect_status(200);
}

async fn lines(app: &TestApp) -> Vec<Value> {
    let list = app.get("/api/v1/agents/indexes").send().await.expect_status(200).json();
    list["items"].as_array().unwrap().clone()
}

/// Waits until every line is ready.
async fn all_ready(app: &TestApp) -> Vec<Value> {
    until("indexes to be ready", async || {
        let lines = lines(app).await;
        if lines.iter().all(|line| line["state"] == "ready") { Ok(lines) } else { Err(lines) }
    })
    .await
}

#[tokio::test]
async fn accepting_a_schema_builds_an_index_a_field_and_dropping_a_field_drops_its_index() {
    let app = TestApp::start().await;
    post(&app).await;
    assert!(lines(&app).await.iter().skip(1).all(|line| line["state"] == "absent"));
    app.post("/api/v1/agents/schema/accept").send().await.expect_status(200);
    let ready = all_ready(&app).await;
    let kinds: Vec<(&str, &str)> =
        ready.iter().map(|line| (line["field"].as_str().unwrap(), line["kind"].as_str().unwrap())).collect();
    assert_eq!(
        kinds,
        [
            ("id", "key"),
            ("loginStatus", "value"),
            ("groups", "elements"),
            ("site", "value"),
            ("skills.English", "entry")
        ]
    );
    // A new skill gets an index, too.
    let records = json!({"records": [{"id": "b", "skills": {"Suomi": 1}}]});
    app.post("/api/v1/agents/records").json(&records).send().await.expect_status(200);
    assert_eq!(all_ready(&app).await.len(), 6);
    let fields = json!({"fields": [{"name": "loginStatus", "type": "Integer"}, {"name": "skills", "type": "Dict"}, {"name": "groups", "type": "List"}]});
    app.put("/api/v1/agents/schema").json(&fields).send().await.expect_status(200);
    assert_eq!(all_ready(&app).await.len(), 5);
}

#[tokio::test]
async fn without_autogeneration_only_keys_are_indexed_until_it_is_switched_on() {
    let app = TestApp::start_with(|config| config.autogenerate_indexes = false).await;
    post(&app).await;
    app.post("/api/v1/agents/schema/accept").send().await.expect_status(200);
    let found = lines(&app).await;
    assert!(found.iter().skip(1).all(|line| line["kind"] == "none" && line["state"] == "absent"), "{found:?}");
    let folder = app.stop().await;
    let app = TestApp::start_at(folder, std::sync::Arc::new(tango::clock::SystemClock), |_| {}).await;
    assert_eq!(all_ready(&app).await.len(), 5);
}
