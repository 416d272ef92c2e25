//! `/api/v1/models`: settings, training, quality, activation.

use serde_json::{Value, json};

use crate::app::TestApp;
use crate::centre;

#[tokio::test]
async fn a_model_is_trained_measured_and_activated() {
    let loaded = centre::start().await;
    let app = &loaded.app;
    let predictor = loaded.create_predictor().await;
    let model = loaded.create_model(&predictor, "HYBRID").await;
    let path = format!("/api/v1/models/{model}");
    app.get(&format!("{path}/quality")).send().await.expect_problem(409, "not_trained");
    app.get(&format!("{path}/artifact")).send().await.expect_problem(409, "not_trained");
    app.post(&format!("{path}/activate")).send().await.expect_problem(409, "not_trained");

    let job = loaded.train(&model).await;
    assert_eq!(job["result"]["version"], 1, "{job:#}");
    let trained = app.get(&path).send().await.expect_status(200).json();
    assert_eq!((&trained["state"], &trained["version"]), (&json!("trained"), &json!(1)), "{trained:#}");
    assert_eq!(trained["trained_on"]["rows"], 3_000);
    let quality = app.get(&format!("{path}/quality")).send().await.expect_status(200).json();
    let auc = quality["classification"]["auc"]["value"].as_f64().unwrap();
    assert!((0.5..1.0).contains(&auc), "{quality:#}");
    let (progress, log_loss) = (&job["progress"], &quality["classification"]["log_loss"]["value"]);
    assert_eq!((&progress["metric"]["name"], &progress["share"]), (&json!("log loss on the holdout"), &json!(1.0)));
    assert_eq!(&progress["metric"]["value"], log_loss, "{progress:#}");
    let coverage = app.get(&format!("{path}/coverage")).send().await.expect_status(200).json();
    let agents = coverage["agents"].as_array().unwrap();
    assert!(!agents.is_empty() && coverage["local"].as_u64().unwrap() > 0, "{coverage:#}");
    let artifact = app.get(&format!("{path}/artifact")).send().await;
    assert_eq!(artifact.headers["content-type"], "application/octet-stream");
    artifact.expect_status(200);

    app.post(&format!("{path}/activate")).json(&json!({"share": 0})).send().await.expect_problem(422, "bad_share");
    let active = app.post(&format!("{path}/activate")).send().await.expect_status(200).json();
    assert_eq!((&active["active"], &active["share"]), (&json!(true), &json!(1.0)));
    app.delete(&path).send().await.expect_problem(409, "model_active");
    // A second training gives a second version while the first goes on answering.
    let second = loaded.train(&model).await;
    let again = app.get(&path).send().await.expect_status(200).json();
    assert_eq!((&again["version"], &again["active"]), (&json!(2), &json!(true)));

    for (kind, part) in [("model_quality", "classification"), ("agent_coverage", "agents")] {
        let ask = json!({"kind": kind, "model_id": model});
        let report = app.post("/api/v1/reports").json(&ask).send().await.expect_status(202).json();
        assert_eq!(report["job_id"], second["id"], "the training that it tells of");
        let report = app.get(&format!("/api/v1/reports/{}", report["id"].as_str().unwrap())).send().await;
        assert!(!report.expect_status(200).json()["content"][part].is_null());
    }
    app.post(&format!("{path}/deactivate")).send().await.expect_status(200);
    app.delete(&path).send().await.expect_status(204);
}

#[tokio::test]
async fn quality_is_told_by_context_and_by_agent() {
    let loaded = centre::start().await;
    let app = &loaded.app;
    let predictor = loaded.create_predictor().await;
    let model = loaded.create_model(&predictor, "HYBRID").await;
    let path = format!("/api/v1/models/{model}/quality");
    app.get(&format!("{path}/agents")).send().await.expect_problem(409, "not_trained");
    loaded.train(&model).await;
    let quality = app.get(&path).send().await.expect_status(200).json();
    let whole = &quality["classification"];
    for part in ["average_precision", "calibration_error", "calibration_error_by_chance", "lift", "precision_recall"] {
        assert!(!whole[part].is_null(), "{part} is missing: {whole:#}");
    }
    let reasons = quality["by_context"].as_array().unwrap().iter().find(|field| field["field"] == "reason").unwrap();
    let rows = |items: &[Value]| items.iter().map(|item| item["rows"].as_u64().unwrap()).collect::<Vec<u64>>();
    let by_reason = rows(reasons["values"].as_array().unwrap());
    assert_eq!(by_reason.iter().sum::<u64>(), quality["holdout_rows"].as_u64().unwrap());
    let mut fields = quality["by_context"].as_array().unwrap().iter();
    assert!(fields.all(|field| field["field"] != "wait_seconds"), "a number of many values is no category");
    // All agents in pages, and again by falling number of rows.
    for (sort, check) in [("", "agent_id"), ("&sort=-rows", "rows")] {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let page = app.get(&format!("{path}/agents?limit=10{sort}{after}")).send().await.expect_status(200).json();
            seen.extend(page["items"].as_array().unwrap().clone());
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert_eq!(rows(&seen).iter().sum::<u64>(), quality["holdout_rows"].as_u64().unwrap());
        let mut ids: Vec<&str> = seen.iter().map(|agent| agent["agent_id"].as_str().unwrap()).collect();
        match check {
            "rows" => assert!(rows(&seen).is_sorted_by(|a, b| a >= b), "{seen:#?}"),
            _ => assert!(ids.is_sorted(), "{ids:?}"),
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), seen.len(), "each agent once");
    }
    app.get(&format!("{path}/agents?sort=auc")).send().await.expect_problem(400, "bad_query");
    app.get(&format!("{path}/agents?after=nobody")).send().await.expect_problem(400, "bad_query");
}

#[tokio::test]
async fn the_card_tells_of_the_version_that_was_trained() {
    let loaded = centre::start().await;
    let app = &loaded.app;
    let predictor = loaded.create_predictor().await;
    let model = loaded.create_model(&predictor, "HYBRID").await;
    let path = format!("/api/v1/models/{model}/card");
    app.get(&path).send().await.expect_problem(409, "not_trained");
    loaded.train(&model).await;
    let card = app.get(&path).send().await.expect_status(200).json();
    let artifact = app.get(&format!("/api/v1/models/{model}/artifact")).send().await;
    assert_eq!(card["artifact_sha256"], artifact.headers["x-content-sha256"].to_str().unwrap());
    assert_eq!((&card["version"], &card["seed"], &card["settings"]["trees"]), (&json!(1), &json!(7), &json!(10)));
    assert_eq!((&card["data"]["dataset_id"], &card["data"]["rows"]), (&json!(loaded.dataset), &json!(3_000)));
    assert_eq!(card["features"]["customer"], json!(["tier", "segment"]));
    assert!(card["quality"]["classification"]["auc"]["low"].is_number() && card["choices"]["trees"].is_u64());
    assert!(card["warnings"].to_string().contains("leakage"), "features come from today's profiles: {card:#}");
    assert!(card["intended_use"].as_str().unwrap().contains("first_contact_resolution"));
    // What is changed afterwards does not reach it.
    let mut changed = loaded.predictor_body();
    changed["name"] = json!("renamed");
    app.put(&format!("/api/v1/predictors/{predictor}")).json(&changed).send().await.expect_status(200);
    let again = app.get(&path).send().await.expect_status(200).json();
    assert_eq!((&again["predictor"], &again), (&json!("fcr"), &card));
}

#[tokio::test]
async fn two_trainings_on_the_same_data_give_the_same_bytes() {
    let loaded = centre::start().await;
    let predictor = loaded.create_predictor().await;
    let mut artifacts = Vec::new();
    for _ in 0..2 {
        let model = loaded.create_model(&predictor, "HYBRID").await;
        loaded.train(&model).await;
        let answer = loaded.app.get(&format!("/api/v1/models/{model}/artifact")).send().await;
        artifacts.push(answer.headers["x-content-sha256"].clone());
    }
    assert_eq!(artifacts[0], artifacts[1]);
}

#[tokio::test]
async fn active_models_share_the_requests() {
    let loaded = centre::start().await;
    let app = &loaded.app;
    let (predictor, first) = loaded.activate("GLOBAL").await;
    let second = loaded.create_model(&predictor, "DISJOINT").await;
    loaded.train(&second).await;
    app.post(&format!("/api/v1/models/{second}/activate")).json(&json!({"share": 0.5})).send().await.expect_status(200);
    let list = app.get("/api/v1/models?active=true").send().await.expect_status(200).json();
    let shares: Vec<&Value> = list["items"].as_array().unwrap().iter().map(|model| &model["share"]).collect();
    assert_eq!(shares, [&json!(0.5), &json!(0.5)]);
    let mut counts = [0, 0];
    for customer in &loaded.centre.customers[..40] {
        let body = json!({"context_id": customer.id, "agents": [loaded.centre.agents[0].id]});
        let mut answers = Vec::new();
        for _ in 0..2 {
            let answer = app.post("/api/v1/predictors/fcr/score").json(&body).send().await.expect_status(200).json();
            answers.push(answer["model"]["id"].as_str().unwrap().to_owned());
        }
        assert_eq!(answers[0], answers[1], "the same interaction meets the same model");
        counts[usize::from(answers[0] == second)] += 1;
    }
    assert!(counts.iter().all(|count| *count >= 8), "{counts:?}");
    app.post(&format!("/api/v1/models/{second}/activate")).send().await.expect_status(200);
    let other = app.get(&format!("/api/v1/models/{first}")).send().await.expect_status(200).json();
    assert_eq!(other["active"], false, "without a share a model answers alone");
}

#[tokio::test]
async fn settings_and_features_out_of_range_are_refused() {
    let loaded = centre::start().await;
    let predictor = loaded.create_predictor().await;
    let path = format!("/api/v1/predictors/{predictor}/models");
    for (change, code) in [
        (json!({"settings": {"max_leaves": 65}}), "bad_settings"),
        (json!({"settings": {"holdout_share": 0.9}}), "bad_settings"),
        (json!({"settings": {"crosses": ["tier"]}}), "bad_settings"),
        (json!({"settings": {"monotone": {"channel": "increasing"}}}), "bad_settings"),
        (json!({"settings": {"monotone": {"skills": "increasing"}}}), "bad_settings"),
        (json!({"settings": {"depth": 3}}), "unknown_field"),
        (json!({"features": {"context": ["handle_time_seconds"]}}), "bad_feature"),
        (json!({"features": {}}), "no_features"),
        (json!({"name": ""}), "bad_name"),
    ] {
        let mut body = json!({"name": "m", "type": "HYBRID"});
        for (key, value) in change.as_object().unwrap() {
            body[key] = value.clone();
        }
        let problem = loaded.app.post(&path).json(&body).send().await.expect_problem(422, code);
        if change["settings"]["max_leaves"].is_number() {
            assert_eq!(problem["fields"][0]["path"], "settings.max_leaves");
        }
    }
    let ordered = json!({"name": "m", "type": "HYBRID", "settings": {"monotone": {"wait_seconds": "decreasing"}}});
    loaded.app.post(&path).json(&ordered).send().await.expect_status(201);
    loaded.app.post("/api/v1/models/mdl_nowhere/train").send().await.expect_problem(404, "model_not_found");
}

#[tokio::test]
async fn three_rows_are_too_few_and_the_model_says_so() {
    let app = TestApp::start().await;
    let csv = b"agent_id,reason,outcome\na,x,true\nb,y,false\na,y,true\n";
    let dataset = centre::dataset(&app, "three rows", csv).await;
    let body = json!({
        "name": "tiny",
        "dataset_id": dataset,
        "metric": {"field": "outcome", "kind": "classification", "goal": "maximize"},
        "agent_source": "dataset",
        "features": {"context": ["reason"]},
    });
    let predictor = app.post("/api/v1/predictors").json(&body).send().await.expect_status(201).json();
    let models = app.get(&format!("/api/v1/predictors/{}/models", predictor["id"].as_str().unwrap())).send().await;
    let model = models.json()["items"][0]["id"].as_str().unwrap().to_owned();
    let started = app.post(&format!("/api/v1/models/{model}/train")).send().await.expect_status(202).json();
    let job = app.wait_for_job_end(started["job_id"].as_str().unwrap()).await;
    assert_eq!(job["state"], "failed", "{job:#}");
    let failed = app.get(&format!("/api/v1/models/{model}")).send().await.expect_status(200).json();
    assert_eq!(failed["state"], "failed");
    let error = failed["error"].as_str().unwrap();
    assert!(error.contains("too_few_rows") && error.contains('3'), "{error}");
    app.post(&format!("/api/v1/models/{model}/activate")).send().await.expect_problem(409, "not_trained");
}

#[tokio::test]
async fn a_training_can_be_cancelled() {
    let loaded = centre::start().await;
    let app = &loaded.app;
    let predictor = loaded.create_predictor().await;
    let body = json!({"name": "long", "type": "HYBRID", "settings": {"trees": 5000, "early_stop": false}});
    let model = app.post(&format!("/api/v1/predictors/{predictor}/models")).json(&body).send().await;
    let model = model.expect_status(201).json()["id"].as_str().unwrap().to_owned();
    let started = app.post(&format!("/api/v1/models/{model}/train")).send().await.expect_status(202).json();
    let job = started["job_id"].as_str().unwrap();
    app.post(&format!("/api/v1/models/{model}/train")).send().await.expect_problem(409, "already_training");
    for path in [format!("/api/v1/models/{model}"), format!("/api/v1/predictors/{predictor}")] {
        let refused = app.delete(&path).send().await.expect_problem(409, "already_training");
        assert_eq!(refused["job_id"], job, "{path}: {refused:#}");
    }
    app.post(&format!("/api/v1/jobs/{job}/cancel")).send().await.ok();
    assert_eq!(app.wait_for_job_end(job).await["state"], "cancelled");
    let after = app.get(&format!("/api/v1/models/{model}")).send().await.expect_status(200).json();
    assert_eq!((&after["state"], &after["error"]), (&json!("draft"), &Value::Null), "{after:#}");
}

#[tokio::test]
async fn what_does_not_fit_into_the_memory_of_a_training_is_sampled_and_said() {
    let app = TestApp::start_with(|config| config.training_memory_mb = 5).await;
    let loaded = centre::load(app).await;
    let app = &loaded.app;
    let predictor = loaded.create_predictor().await;
    let mut artifacts = Vec::new();
    for _ in 0..2 {
        let body = json!({"name": "small", "type": "GLOBAL", "settings": {"trees": 5}, "seed": 11});
        let body = app.post(&format!("/api/v1/predictors/{predictor}/models")).json(&body).send().await;
        let model = body.expect_status(201).json()["id"].as_str().unwrap().to_owned();
        loaded.train(&model).await;
        let trained = app.get(&format!("/api/v1/models/{model}")).send().await.expect_status(200).json();
        let on = &trained["trained_on"];
        let rows = on["rows"].as_u64().unwrap();
        assert!((500..3_000).contains(&rows) && on["rows_in_period"] == 3_000, "{on:#}");
        let warnings = on["warnings"].to_string();
        assert!(warnings.contains("TRAINING_MEMORY_MB") && warnings.contains(&rows.to_string()), "{warnings}");
        artifacts.push(app.get(&format!("/api/v1/models/{model}/artifact")).send().await.expect_status(200).text);
    }
    assert_eq!(artifacts[0], artifacts[1], "the same rows each time");
}

#[tokio::test]
async fn a_training_that_cannot_have_enough_rows_says_so() {
    let app = TestApp::start_with(|config| config.training_memory_mb = 0).await;
    let loaded = centre::load(app).await;
    let app = &loaded.app;
    let predictor = loaded.create_predictor().await;
    let model = loaded.create_model(&predictor, "GLOBAL").await;
    let started = app.post(&format!("/api/v1/models/{model}/train")).send().await.expect_status(202).json();
    let job = app.wait_for_job_end(started["job_id"].as_str().unwrap()).await;
    assert_eq!(job["state"], "failed");
    assert!(job["error"].as_str().unwrap().contains("TRAINING_MEMORY_MB"), "{job:#}");
}
