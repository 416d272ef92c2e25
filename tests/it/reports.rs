//! Reports: what is refused, and how they are listed and deleted.

use serde_json::json;

use crate::centre;

#[tokio::test]
async fn a_report_is_asked_for_with_what_its_kind_takes() {
    let loaded = centre::start().await;
    let app = &loaded.app;
    loaded.create_predictor().await;
    for (body, place) in [
        (json!({"kind": "agent_variance"}), "predictor_id"),
        (json!({"kind": "agent_variance", "model_id": "mdl_0"}), "predictor_id"),
        (json!({"kind": "lift_estimation", "predictor_id": "fcr"}), "model_id"),
        (json!({"kind": "feature_analysis"}), "model_id"),
        (json!({"kind": "feature_analysis", "model_id": "mdl_0", "predictor_id": "fcr"}), "predictor_id"),
        (json!({"kind": "feature_analysis", "predictor_id": "fcr", "segment_by": "reason"}), "segment_by"),
        (json!({"kind": "agent_variance", "predictor_id": "fcr", "agents_free": [2]}), "agents_free"),
        (json!({"kind": "lift_estimation", "model_id": "mdl_0", "agents_free": []}), "agents_free"),
        (json!({"kind": "lift_estimation", "model_id": "mdl_0", "agents_free": [0]}), "agents_free"),
        (json!({"kind": "lift_estimation", "model_id": "mdl_0", "agents_free": [1_001]}), "agents_free"),
    ] {
        let problem = app.post("/api/v1/reports").json(&body).send().await.expect_problem(422, "invalid_body");
        assert_eq!(problem["fields"][0]["path"], place, "{body}: {problem:#}");
    }
    let nobody = json!({"kind": "agent_variance", "predictor_id": "nobody"});
    app.post("/api/v1/reports").json(&nobody).send().await.expect_problem(404, "predictor_not_found");
    let both = json!({"name": "both", "combine": "0.5 * fcr"});
    app.post("/api/v1/predictors").json(&both).send().await.expect_status(201);
    let composite = json!({"kind": "agent_variance", "predictor_id": "both"});
    app.post("/api/v1/reports").json(&composite).send().await.expect_problem(422, "no_models");
}

#[tokio::test]
async fn reports_are_listed_without_their_content_and_deleted_with_it() {
    let loaded = centre::start().await;
    let app = &loaded.app;
    let predictor = loaded.create_predictor().await;
    let model = loaded.create_model(&predictor, "GLOBAL").await;
    let ask = json!({"kind": "model_quality", "model_id": model});
    app.post("/api/v1/reports").json(&ask).send().await.expect_problem(409, "not_trained");
    loaded.train(&model).await;
    let made = app.post("/api/v1/reports").json(&ask).send().await.expect_status(202).json();
    let path = format!("/api/v1/reports/{}", made["id"].as_str().unwrap());
    let report = app.get(&path).send().await.expect_status(200).json();
    assert_eq!((&report["state"], &report["model_version"]), (&json!("ready"), &json!(1)), "{report:#}");
    assert!(report["content"]["holdout_rows"].as_u64().unwrap() > 0);
    let list = app.get("/api/v1/reports?kind=model_quality").send().await.expect_status(200).json();
    assert_eq!(list["items"][0]["id"], made["id"]);
    assert!(list["items"][0].get("content").is_none());
    app.delete(&path).send().await.expect_status(204);
    app.get(&path).send().await.expect_problem(404, "report_not_found");
    app.delete(&path).send().await.expect_problem(404, "report_not_found");
}
