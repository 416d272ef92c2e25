//! Production: the report, datasets of outcomes, scheduled retraining.

mod outcomes;
mod report;
mod retraining;

use std::sync::Arc;

use serde_json::{Value, json};
use tango::clock::{Clock as _, ManualClock, SystemClock};

use crate::app::{Folder, PASSWORD, TestApp, USERNAME};
use crate::centre::{self, LoadedCentre};

/// A centre and the clock that its program lives by.
async fn start() -> (LoadedCentre, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let app = TestApp::start_at(Folder::new(), clock.clone(), |_| {}).await;
    (centre::load(app).await, clock)
}

/// Lets time pass and signs in again.
async fn advance(app: &mut TestApp, clock: &ManualClock, time: chrono::Duration) {
    clock.advance(time);
    app.token = app.sign_in(USERNAME, PASSWORD).await;
}

async fn log(app: &TestApp, body: Value) {
    app.post("/api/v1/score_log").json(&body).send().await.expect_status(202);
}

/// The dataset's rows by interaction id.
async fn rows(app: &TestApp, dataset: &str) -> Vec<Value> {
    let page = app.get(&format!("/api/v1/datasets/{dataset}/rows?limit=500")).send().await.expect_status(200).json();
    let mut rows = page["items"].as_array().unwrap().clone();
    rows.sort_by_key(|row| row["interaction_id"].to_string());
    rows
}

async fn get(app: &TestApp, path: &str) -> Value {
    app.get(path).send().await.expect_status(200).json()
}

/// Jobs of a kind, ended or not.
async fn jobs(app: &TestApp, kind: &str) -> Vec<Value> {
    let jobs = get(app, "/api/v1/jobs?limit=500").await;
    jobs["items"].as_array().unwrap().iter().filter(|job| job["kind"] == kind).cloned().collect()
}

/// The body of a composite predictor over `fcr`.
fn composite() -> Value {
    json!({"name": "both", "combine": "0.5*fcr"})
}
