//! Trainings whose data went away, and artifacts that cannot be used: the model says why, and what was active goes on.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use tango::clock::SystemClock;
use tango::domain::id::ModelId;
use tango::live::artifacts;
use tango::store::{Batch, Key, Op};

use crate::app::{TestApp, until};
use crate::centre::{self, LoadedCentre};

const SCORE: &str = "/api/v1/predictors/fcr/score";

/// Trains to the end, whatever that is.
async fn train(loaded: &LoadedCentre, model: &str) -> Value {
    let started = loaded.app.post(&format!("/api/v1/models/{model}/train")).send().await.expect_status(202).json();
    loaded.app.wait_for_job_end(started["job_id"].as_str().unwrap()).await
}

/// The version of the model that scores.
async fn answering(loaded: &LoadedCentre) -> Value {
    let body = json!({"agents": [loaded.centre.agents[0].id]});
    loaded.app.post(SCORE).json(&body).send().await.expect_status(200).json()["model"]["version"].clone()
}

#[tokio::test]
async fn an_active_model_goes_on_when_its_next_training_fails() {
    let loaded = centre::start().await;
    let app = &loaded.app;
    let (predictor, model) = loaded.activate("HYBRID").await;
    assert_eq!(answering(&loaded).await, 1);
    let path = format!("/api/v1/predictors/{predictor}");

    // A period that holds nothing.
    let mut body = loaded.predictor_body();
    (body["from"], body["to"]) = (json!("2031-01-01T00:00:00Z"), json!("2031-02-01T00:00:00Z"));
    app.put(&path).json(&body).send().await.expect_status(200);
    let job = train(&loaded, &model).await;
    assert_eq!(job["state"], "failed");
    assert!(job["error"].as_str().unwrap().contains("no rows in the predictor's period"), "{job:#}");
    assert_eq!(answering(&loaded).await, 1);
    app.put(&path).json(&loaded.predictor_body()).send().await.expect_status(200);

    // A feature that was taken out of the dataset since.
    change_fields(&loaded, &["language"], |_| {}).await;
    let job = train(&loaded, &model).await;
    assert_eq!(job["state"], "failed");
    let error = job["error"].as_str().unwrap();
    assert!(error.contains("language") && error.contains("unknown_field"), "{error}");
    let failed = app.get(&format!("/api/v1/models/{model}")).send().await.expect_status(200).json();
    assert_eq!((&failed["state"], &failed["active"], &failed["version"]), (&json!("failed"), &json!(true), &json!(1)));
    assert_eq!(answering(&loaded).await, 1);
}

/// Changes the dataset's schema and waits until the rows follow it.
async fn change_fields(loaded: &LoadedCentre, remove: &[&str], change: impl Fn(&mut Value)) {
    let (app, path) = (&loaded.app, format!("/api/v1/datasets/{}/schema", loaded.dataset));
    let fields = app.get(&path).send().await.expect_status(200).json()["fields"].as_array().unwrap().clone();
    let kept = fields.iter().filter(|field| !remove.contains(&field["name"].as_str().unwrap()));
    let fields: Vec<Value> = kept
        .map(|field| {
            let mut field = json!({"name": field["name"], "type": field["type"], "role": field["role"]});
            change(&mut field);
            field
        })
        .collect();
    let changed = app.put(&path).json(&json!({"fields": fields, "remove": remove})).send().await;
    assert!([200, 202].contains(&changed.status.as_u16()), "{}", changed.text);
    if let Some(job) = changed.json()["job_id"].as_str() {
        app.wait_for_job(job).await;
    }
}

#[tokio::test]
async fn roles_that_were_changed_since_are_noticed_by_the_next_training() {
    let loaded = centre::start().await;
    let app = &loaded.app;
    let (_, model) = loaded.activate("GLOBAL").await;
    let give = async |name: &str, role: Value| {
        change_fields(&loaded, &[], |field| {
            if field["name"] == name {
                field["role"] = role.clone();
            }
        })
        .await;
    };
    // A feature that is an outcome by now is learned from, and said.
    give("wait_seconds", json!("metric")).await;
    assert_eq!(train(&loaded, &model).await["state"], "succeeded");
    let trained = app.get(&format!("/api/v1/models/{model}")).send().await.expect_status(200).json();
    let warnings = trained["trained_on"]["warnings"].to_string();
    assert!(warnings.contains("wait_seconds") && warnings.contains("has the role metric"), "{warnings}");
    // Without the customers' ids their profile cannot be joined.
    give("customer_id", json!("ignored")).await;
    let job = train(&loaded, &model).await;
    assert_eq!(job["state"], "failed");
    let error = job["error"].as_str().unwrap();
    assert!(error.contains("tier") && error.contains("role customer_id"), "{error}");
    until("the version that was trained", async || match answering(&loaded).await {
        version if version == 2 => Ok(()),
        version => Err(version),
    })
    .await;
}

#[tokio::test]
async fn data_that_is_deleted_while_it_is_learned_from_is_still_learned_from() {
    let loaded = centre::start().await;
    let app = &loaded.app;
    let predictor = loaded.create_predictor().await;
    let body =
        json!({"name": "long", "type": "GLOBAL", "settings": {"trees": 400, "max_leaves": 8, "early_stop": false}});
    let model = app.post(&format!("/api/v1/predictors/{predictor}/models")).json(&body).send().await;
    let model = model.expect_status(201).json()["id"].as_str().unwrap().to_owned();
    let started = app.post(&format!("/api/v1/models/{model}/train")).send().await.expect_status(202).json();
    let training = started["job_id"].as_str().unwrap();
    let dataset = &loaded.dataset;
    let period = json!({"from": "2000-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"});
    let deleted = app.post(&format!("/api/v1/datasets/{dataset}/delete_range")).json(&period).send().await;
    app.wait_for_job(deleted.expect_status(202).json()["job_id"].as_str().unwrap()).await;
    // Whichever came first, the training saw one version of the dataset, whole.
    let job = app.wait_for_job_end(training).await;
    match job["state"].as_str() {
        Some("succeeded") => {
            let trained = app.get(&format!("/api/v1/models/{model}")).send().await.expect_status(200).json();
            assert_eq!(trained["trained_on"]["rows"], 3_000);
        }
        Some("failed") => assert!(job["error"].as_str().unwrap().contains("no rows"), "{job:#}"),
        other => panic!("{other:?}: {job:#}"),
    }
    assert_eq!(train(&loaded, &model).await["state"], "failed", "nothing is left to learn from");
}

/// Turns over a bit in the middle of an artifact; answers what it was.
async fn damage(loaded: &LoadedCentre, key: &Key) -> Bytes {
    let store = &loaded.app.app.state.ctx.store;
    let sound = store.get_blob(key).await.unwrap().unwrap();
    let mut damaged = sound.to_vec();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let mut batch = Batch::new();
    batch.push(Op::PutBlob { key: key.clone(), bytes: damaged.into() });
    store.commit(batch).await.unwrap();
    sound
}

#[tokio::test]
async fn a_damaged_or_newer_artifact_is_not_used_and_the_one_before_goes_on() {
    let loaded = centre::start().await;
    let app = &loaded.app;
    let (_, model) = loaded.activate("GLOBAL").await;
    let id = ModelId::parse(&model).unwrap();
    let key = |version| Key::new(artifacts::chunk_scope(&id), format!("{}000000", artifacts::chunk_prefix(version)));
    let sound = damage(&loaded, &key(1)).await;
    // Activating again has it read again.
    app.post(&format!("/api/v1/models/{model}/activate")).json(&json!({"share": 0.5})).send().await.expect_status(200);
    assert_eq!(answering(&loaded).await, 1, "what is in memory goes on");
    let download = app.get(&format!("/api/v1/models/{model}/artifact")).send().await;
    download.expect_problem(500, "internal");
    let mut newer = sound.to_vec();
    newer[8] = 200;
    let error = tango::score::Artifact::decode(&newer).unwrap_err().to_string();
    assert!(error.contains("update the program"), "{error}");
    loaded.train(&model).await;
    until("a new training that mends it", async || match answering(&loaded).await {
        version if version == 2 => Ok(()),
        other => Err(other),
    })
    .await;
    // A program that starts has nothing in memory that could go on.
    damage(&loaded, &key(2)).await;
    let agent = loaded.centre.agents[0].id.clone();
    let app = TestApp::start_at(loaded.app.stop().await, Arc::new(SystemClock), |_| {}).await;
    let problem = app.post(SCORE).json(&json!({"agents": [agent]})).send().await.expect_problem(409, "no_active_model");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("GLOBAL (version 2) cannot be used") && detail.contains("Train that model"), "{detail}");
}
