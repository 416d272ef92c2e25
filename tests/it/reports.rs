//! Reports: what is refused, how they are listed and deleted, and what they say of a centre whose truth is known.

use serde_json::{Value, json};
use tango::simulation::Centre;

use crate::centre::{self, LoadedCentre};

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
        (json!({"kind": "feature_analysis", "predictor_id": "fcr", "dataset_id": loaded.dataset}), "dataset_id"),
        (json!({"kind": "lift_estimation", "dataset_id": loaded.dataset}), "model_id"),
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
async fn a_datasets_report_is_that_of_its_only_predictor() {
    let loaded = centre::start().await;
    let app = &loaded.app;
    let ask = json!({"kind": "agent_variance", "dataset_id": loaded.dataset});
    let nobody = app.post("/api/v1/reports").json(&ask).send().await.expect_problem(422, "invalid_body");
    assert_eq!(nobody["fields"][0]["path"], "dataset_id", "{nobody:#}");
    let unknown = json!({"kind": "agent_variance", "dataset_id": "ds_0"});
    app.post("/api/v1/reports").json(&unknown).send().await.expect_problem(404, "dataset_not_found");
    let predictor = loaded.create_predictor().await;
    let made = app.post("/api/v1/reports").json(&ask).send().await.expect_status(202).json();
    app.wait_for_job(made["job_id"].as_str().unwrap()).await;
    let report = app.get(&format!("/api/v1/reports/{}", made["id"].as_str().unwrap())).send().await.json();
    assert_eq!((&report["state"], &report["predictor_id"]), (&json!("ready"), &json!(predictor)), "{report:#}");
    let second = json!({
        "name": "second", "dataset_id": loaded.dataset, "agent_source": "dataset",
        "metric": {"field": "first_contact_resolution", "kind": "classification", "goal": "maximize"},
        "features": {"context": ["reason"], "customer": [], "agent": []},
    });
    app.post("/api/v1/predictors").json(&second).send().await.expect_status(201);
    let several = app.post("/api/v1/reports").json(&ask).send().await.expect_problem(422, "invalid_body");
    assert!(several["detail"].as_str().unwrap().contains("fcr, second"), "{several:#}");
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
    for part in ["by_agent", "by_context"] {
        assert!(!report["content"][part].as_array().unwrap().is_empty(), "{part}: {report:#}");
    }
    let list = app.get("/api/v1/reports?kind=model_quality").send().await.expect_status(200).json();
    assert_eq!(list["items"][0]["id"], made["id"]);
    assert!(list["items"][0].get("content").is_none());
    app.delete(&path).send().await.expect_status(204);
    app.get(&path).send().await.expect_problem(404, "report_not_found");
    app.delete(&path).send().await.expect_problem(404, "report_not_found");
}

/// Asks for a report, waits for its job and answers its content.
async fn make(loaded: &LoadedCentre, ask: Value) -> Value {
    let app = &loaded.app;
    let made = app.post("/api/v1/reports").json(&ask).send().await.expect_status(202).json();
    app.wait_for_job(made["job_id"].as_str().unwrap()).await;
    let path = format!("/api/v1/reports/{}", made["id"].as_str().unwrap());
    let report = app.get(&path).send().await.expect_status(200).json();
    assert_eq!(report["state"], "ready", "{report:#}");
    report["content"].clone()
}

/// How much the simulated agents truly differ: the standard deviation of their mean effect over the interactions that they
/// had, compared with the average agent in each of them.
fn true_deviation(centre: &Centre) -> f64 {
    let mut effects = vec![(0.0, 0.0); centre.agents.len()];
    for interaction in &centre.interactions {
        let all = (0..centre.agents.len()).map(|agent| centre.true_probability(interaction, agent)).sum::<f64>();
        let own = &mut effects[interaction.agent];
        own.0 += centre.true_probability(interaction, interaction.agent) - all / centre.agents.len() as f64;
        own.1 += 1.0;
    }
    let effects: Vec<f64> = effects.iter().map(|(sum, rows)| sum / rows).collect();
    let mean = effects.iter().sum::<f64>() / effects.len() as f64;
    (effects.iter().map(|effect| (effect - mean).powi(2)).sum::<f64>() / (effects.len() - 1) as f64).sqrt()
}

#[tokio::test]
async fn agent_variance_holds_the_simulated_truth() {
    let loaded = centre::start().await;
    loaded.create_predictor().await;
    let found = make(&loaded, json!({"kind": "agent_variance", "predictor_id": "fcr"})).await;
    let truth = true_deviation(&loaded.centre);
    let (low, high) = (found["deviation"]["low"].as_f64().unwrap(), found["deviation"]["high"].as_f64().unwrap());
    assert!(0.0 < low && low < truth && truth < high, "{truth}: {low} to {high}");
    assert_eq!((&found["agents"], &found["rows"]), (&json!(24), &json!(3_000)));
    assert_eq!(found["effects"].as_array().unwrap().len(), 24);
    assert!(found["meaning"].as_str().unwrap().contains("best of 10 free agents"), "{}", found["meaning"]);
    assert!(found["method"].as_str().unwrap().contains("Patterson & Thompson"));
    let fields = found["by_context"].as_array().unwrap();
    assert!(fields.iter().any(|field| field["field"] == "reason") && fields.iter().any(|f| f["field"] == "tier"));
    assert!(!found["warnings"].to_string().contains("agent profile"), "no feature of agents is read: {found:#}");
    let ask = json!({"kind": "agent_variance", "predictor_id": "fcr", "segment_by": "channel"});
    let by_channel = make(&loaded, ask).await;
    assert_eq!(by_channel["by_context"].as_array().unwrap().len(), 1);
    assert_eq!(by_channel["by_context"][0]["values"].as_array().unwrap().len(), 3);
    assert_eq!(by_channel["deviation"], found["deviation"], "the same data, the same answer");
}

#[tokio::test]
async fn a_report_that_cannot_be_made_says_why() {
    let loaded = centre::start().await;
    loaded.create_predictor().await;
    let app = &loaded.app;
    let ask = json!({"kind": "agent_variance", "predictor_id": "fcr", "segment_by": "skills"});
    let problem = app.post("/api/v1/reports").json(&ask).send().await.expect_problem(422, "invalid_body");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("segment_by") && detail.contains("channel") && !detail.contains("start_time"), "{detail}");
    // What only the rows tell is told by the report: a period without any.
    let empty = json!({
        "name": "nothing", "dataset_id": loaded.dataset, "to": "2000-01-01T00:00:00Z",
        "metric": {"field": "first_contact_resolution", "kind": "classification", "goal": "maximize"},
        "agent_source": "dataset", "features": {"context": ["reason"], "customer": [], "agent": []},
    });
    app.post("/api/v1/predictors").json(&empty).send().await.expect_status(201);
    let ask = json!({"kind": "agent_variance", "predictor_id": "nothing"});
    let made = app.post("/api/v1/reports").json(&ask).send().await.expect_status(202).json();
    let job = app.wait_for_job_end(made["job_id"].as_str().unwrap()).await;
    assert_eq!(job["state"], "failed", "{job:#}");
    let report = app.get(&format!("/api/v1/reports/{}", made["id"].as_str().unwrap())).send().await.json();
    assert_eq!(report["state"], "failed");
    assert!(report["error"].as_str().unwrap().contains("choose another"), "{report:#}");
}

#[tokio::test]
async fn feature_analysis_names_what_contributes() {
    let loaded = centre::start().await;
    let predictor = loaded.create_predictor().await;
    let of_all = make(&loaded, json!({"kind": "feature_analysis", "predictor_id": "fcr"})).await;
    let names = |found: &Value, key: &str| -> Vec<String> {
        let name = |one: &Value| one["feature"].as_str().or(one.as_str()).unwrap().to_owned();
        found[key].as_array().unwrap().iter().map(name).collect()
    };
    assert!(names(&of_all, "likely_contribute").contains(&"reason".to_owned()), "{of_all:#}");
    let listed = names(&of_all, "features");
    for name in ["agent_id", "wait_seconds", "tier", "skills", "site"] {
        assert!(listed.contains(&name.to_owned()), "{name} is missing from {listed:?}");
    }
    assert!(of_all["features"].as_array().unwrap().iter().all(|one| !one["reason"].as_str().unwrap().is_empty()));
    // A model of its own features.
    let body = json!({"name": "small", "type": "GLOBAL", "features": {"context": ["reason", "channel"]}, "settings": {"trees": 5}});
    let path = format!("/api/v1/predictors/{predictor}/models");
    let model = loaded.app.post(&path).json(&body).send().await.expect_status(201).json();
    let of_one = make(&loaded, json!({"kind": "feature_analysis", "model_id": model["id"]})).await;
    let mut listed = names(&of_one, "features");
    listed.sort();
    assert_eq!(listed, ["channel", "reason"]);
    assert!(of_one["quality"]["holdout_rows"].as_u64().unwrap() > 0);
}
