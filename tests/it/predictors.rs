//! `/api/v1/predictors`: definitions are checked before anything is stored.

use serde_json::{Value, json};

use crate::app::TestApp;
use crate::centre::{self, LoadedCentre};

async fn refused(loaded: &LoadedCentre, change: impl FnOnce(&mut Value), code: &str) -> Value {
    let mut body = loaded.predictor_body();
    change(&mut body);
    loaded.app.post("/api/v1/predictors").json(&body).send().await.expect_problem(422, code)
}

#[tokio::test]
async fn a_predictor_is_created_found_renamed_and_deleted() {
    let loaded = centre::start().await;
    let app = &loaded.app;
    let created = app.post("/api/v1/predictors").json(&loaded.predictor_body()).send().await.expect_status(201).json();
    assert_eq!(created["kind"], "simple");
    let leaks = created["warnings"].as_array().unwrap();
    assert!(leaks.iter().any(|text| text.as_str().unwrap().contains("leakage")), "{created:#}");
    let id = created["id"].as_str().unwrap();
    let dataset = format!("/api/v1/datasets/{}", loaded.dataset);
    let problem = app.delete(&dataset).send().await.expect_problem(409, "dataset_in_use");
    assert_eq!(problem["predictors"], json!(["fcr"]));
    assert!(problem["detail"].as_str().unwrap().contains(": fcr."), "{problem}");
    for path in [format!("/api/v1/predictors/{id}"), "/api/v1/predictors/fcr".to_owned()] {
        let found = app.get(&path).send().await.expect_status(200).json();
        assert_eq!((&found["id"], &found["metric"]["field"]), (&created["id"], &json!("first_contact_resolution")));
    }
    // It came with a model over all its features.
    let models = app.get(&format!("/api/v1/predictors/{id}/models")).send().await.expect_status(200).json();
    assert_eq!((models["items"].as_array().unwrap().len(), &models["items"][0]["state"]), (1, &json!("draft")));

    let taken = app.post("/api/v1/predictors").json(&loaded.predictor_body()).send().await;
    taken.expect_problem(409, "name_taken");
    let mut body = loaded.predictor_body();
    body["name"] = json!("resolution");
    body["score_expression"] = json!("100 * p_score");
    let renamed = app.put("/api/v1/predictors/fcr").json(&body).send().await.expect_status(200).json();
    assert_eq!(renamed["score_expression"], "100 * p_score");
    app.get("/api/v1/predictors/fcr").send().await.expect_problem(404, "predictor_not_found");
    let list = app.get("/api/v1/predictors?sort=-name").send().await.expect_status(200).json();
    assert_eq!(list["items"][0]["name"], "resolution");

    app.delete("/api/v1/predictors/resolution").send().await.expect_status(204);
    app.get(&format!("/api/v1/predictors/{id}")).send().await.expect_problem(404, "predictor_not_found");
    let gone = models["items"][0]["id"].as_str().unwrap();
    app.get(&format!("/api/v1/models/{gone}")).send().await.expect_problem(404, "model_not_found");
    // The name is free again.
    app.post("/api/v1/predictors").json(&loaded.predictor_body()).send().await.expect_status(201);
}

#[tokio::test]
async fn what_a_definition_needs_is_checked_and_named() {
    let loaded = centre::start().await;
    let problem = refused(&loaded, |body| body["name"] = json!("1st choice"), "bad_name").await;
    assert_eq!(problem["fields"][0]["path"], "name");
    let problem = refused(&loaded, |body| body["metric"]["field"] = json!("FCR"), "missing_field").await;
    assert_eq!(problem["fields"][0]["path"], "metric.field");
    assert!(problem["detail"].as_str().unwrap().contains("first_contact_resolution"), "{problem:#}");
    let problem = refused(&loaded, |body| body["features"]["context"][1] = json!("Reason"), "missing_field").await;
    assert_eq!(problem["fields"][0]["path"], "features.context[1]");
    assert!(problem["detail"].as_str().unwrap().contains("Did you mean reason?"), "{problem:#}");
    refused(&loaded, |body| body["features"]["agent"][0] = json!("shoe_size"), "missing_field").await;
    refused(&loaded, |body| body["features"]["context"][0] = json!("first_contact_resolution"), "bad_feature").await;
    refused(&loaded, |body| body["features"]["context"][0] = json!("agent_id"), "bad_feature").await;
    refused(&loaded, |body| body["features"] = json!({}), "no_features").await;
    refused(&loaded, |body| body["metric"]["positive"] = json!("yes"), "bad_metric").await;
    refused(&loaded, |body| body["metric"]["field"] = json!("reason"), "bad_metric").await;
    refused(
        &loaded,
        |body| body["metric"] = json!({"field": "reason", "kind": "regression", "goal": "maximize"}),
        "bad_metric",
    )
    .await;
    // A value that no row has is a metric with one class.
    let unheard = json!({"field": "reason", "kind": "classification", "goal": "maximize", "positive": "astrology"});
    refused(&loaded, |body| body["metric"] = unheard, "one_class").await;
    refused(
        &loaded,
        |body| {
            body["from"] = json!("2026-02-01T00:00:00Z");
            body["to"] = json!("2026-01-01T00:00:00Z");
        },
        "bad_range",
    )
    .await;
    let problem = refused(&loaded, |body| body["score_expression"] = json!("1000 * p_scor"), "bad_expression").await;
    assert_eq!(problem["position"], 7);
    refused(&loaded, |body| body["score_expression"] = json!("p_score - 2"), "bad_expression").await;
    refused(&loaded, |body| body["score_expression"] = json!("1 / p_score"), "bad_expression").await;
    refused(&loaded, |body| body["colour"] = json!("blue"), "unknown_field").await;
    let nowhere = json!("ds_00000000000000000000000000");
    let mut body = loaded.predictor_body();
    body["dataset_id"] = nowhere;
    loaded.app.post("/api/v1/predictors").json(&body).send().await.expect_problem(404, "dataset_not_found");
    let list = loaded.app.get("/api/v1/predictors").send().await.expect_status(200).json();
    assert_eq!(list["items"], json!([]), "nothing of the refused is stored");
}

#[tokio::test]
async fn a_metric_with_one_class_is_refused() {
    let app = TestApp::start().await;
    let mut csv = "agent_id,reason,outcome\n".to_owned();
    for row in 0..50 {
        csv.push_str(&format!("a{},r{},true\n", row % 5, row % 3));
    }
    let dataset = centre::dataset(&app, "one class", csv.as_bytes()).await;
    let body = json!({
        "name": "one_class",
        "dataset_id": dataset,
        "metric": {"field": "outcome", "kind": "classification", "goal": "maximize"},
        "agent_source": "dataset",
        "features": {"context": ["reason"]},
    });
    let problem = app.post("/api/v1/predictors").json(&body).send().await.expect_problem(422, "one_class");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("only the value true") && detail.contains("50 rows"), "{detail}");
}

#[tokio::test]
async fn a_composite_names_simple_predictors_and_holds_them() {
    let loaded = centre::start().await;
    let app = &loaded.app;
    loaded.create_predictor().await;
    let mut minutes = loaded.predictor_body();
    minutes["name"] = json!("handle_time");
    minutes["metric"] = json!({"field": "handle_time_seconds", "kind": "regression", "goal": "minimize"});
    app.post("/api/v1/predictors").json(&minutes).send().await.expect_status(201);
    for (combine, hint) in
        [("0.7*fcr + 0.3*nps", "nps"), ("fcr +", "expected"), ("7", "names no predictor"), ("fcr - 2000", "negative")]
    {
        let body = json!({"name": "both", "combine": combine});
        let problem = app.post("/api/v1/predictors").json(&body).send().await.expect_problem(422, "bad_expression");
        assert!(problem["detail"].as_str().unwrap().contains(hint), "{problem:#}");
    }
    let body = json!({"name": "both", "combine": "0.7*fcr + 0.3*handle_time"});
    let both = app.post("/api/v1/predictors").json(&body).send().await.expect_status(201).json();
    assert_eq!((&both["kind"], &both["combine"]), (&json!("composite"), &body["combine"]));
    app.delete("/api/v1/predictors/fcr").send().await.expect_problem(409, "predictor_in_use");
    let model = json!({"name": "m", "type": "GLOBAL"});
    let answer = app.post("/api/v1/predictors/both/models").json(&model).send().await;
    answer.expect_problem(422, "composite_predictor");
    app.post("/api/v1/predictors/both/score")
        .json(&json!({"agents": []}))
        .send()
        .await
        .expect_problem(409, "no_active_model");
    app.delete("/api/v1/predictors/both").send().await.expect_status(204);
    app.delete("/api/v1/predictors/fcr").send().await.expect_status(204);
}

#[tokio::test]
async fn creating_again_with_the_same_key_creates_once() {
    let loaded = centre::start().await;
    let send = || {
        let ask = loaded.app.post("/api/v1/predictors").header("idempotency-key", "once");
        ask.json(&loaded.predictor_body()).send()
    };
    let first = send().await.expect_status(201).json();
    let second = send().await.expect_status(201).json();
    assert_eq!(first, second);
}
