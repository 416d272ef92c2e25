//! Scheduled retraining: only a version that is beaten is replaced.

use chrono::Duration;
use serde_json::{Value, json};
use tango::jobs::schedules::run_due;
use tango::simulation::Centre;

use super::{advance, composite, get, jobs, start};
use crate::app::{TestApp, until};
use crate::centre::{self, LoadedCentre};

const RETRAINING: &str = "/api/v1/predictors/fcr/retraining";

/// Appends interactions of the day after the last, as they are or with their outcomes turned round.
async fn append(loaded: &LoadedCentre, count: usize, turned: bool) {
    let next = Centre { interactions: loaded.centre.waiting(count), ..loaded.centre.clone() };
    let mut csv = Vec::new();
    next.write_interactions(&mut csv).unwrap();
    let mut text = String::from_utf8(csv).unwrap();
    if turned {
        text = text.replace("true", "?").replace("false", "true").replace('?', "false");
    }
    let path = format!("/api/v1/datasets/{}/append", loaded.dataset);
    let started = loaded.app.post(&path).body("text/csv", text).send().await.expect_status(202).json();
    loaded.app.wait_for_job(started["job_id"].as_str().unwrap()).await;
}

async fn run(app: &TestApp) -> Value {
    let started = app.post(&format!("{RETRAINING}/run")).send().await.expect_status(202).json();
    app.wait_for_job(started["job_id"].as_str().unwrap()).await;
    let set = get(app, RETRAINING).await;
    assert_eq!(set["last_job_id"], started["job_id"]);
    get(app, &format!("/api/v1/models/{}", set["model_id"].as_str().unwrap())).await
}

#[tokio::test]
async fn a_version_is_replaced_when_it_is_beaten_and_only_then() {
    let loaded = centre::start().await;
    let app = &loaded.app;
    let (_, model) = loaded.activate("GLOBAL").await;
    let body = json!({"every_hours": 24, "model_id": model});
    let set = app.put(RETRAINING).json(&body).send().await.expect_status(200).json();
    assert_eq!((&set["activate"], &set["enabled"]), (&json!("if_better"), &json!(true)), "{set:#}");

    let nothing_new = run(app).await;
    assert_eq!((&nothing_new["version"], &nothing_new["state"]), (&json!(1), &json!("trained")));
    let comparison = &nothing_new["comparison"];
    assert_eq!(
        (&comparison["verdict"], &comparison["replaced"]),
        (&json!("too_few_new_rows"), &json!(false)),
        "{comparison:#}"
    );

    // The world has changed: what worked fails, and the other way round.
    append(&loaded, 2_000, true).await;
    let never = json!({"every_hours": 24, "model_id": model, "activate": "never"});
    app.put(RETRAINING).json(&never).send().await.expect_status(200);
    let only_compared = run(app).await;
    let comparison = &only_compared["comparison"];
    assert_eq!((&comparison["verdict"], &comparison["replaced"]), (&json!("better"), &json!(false)), "{comparison:#}");
    assert_eq!((&only_compared["version"], &only_compared["active"]), (&json!(1), &json!(true)));

    app.put(RETRAINING).json(&body).send().await.expect_status(200);
    let replaced = run(app).await;
    let comparison = &replaced["comparison"];
    assert_eq!((&comparison["verdict"], &comparison["replaced"]), (&json!("better"), &json!(true)), "{comparison:#}");
    assert_eq!(
        (&comparison["new_rows"], &comparison["compared_rows"]),
        (&json!(2_000), &json!(1_000)),
        "{comparison:#}"
    );
    assert_eq!((&comparison["version_before"], &comparison["scheduled"]), (&json!(1), &json!(true)));
    assert!(comparison["low"].as_f64().unwrap() > 0.0 && comparison["before"].as_f64() > comparison["after"].as_f64());
    assert_eq!(
        (&replaced["version"], &replaced["active"], &replaced["trained_on"]["rows"]),
        (&json!(2), &json!(true), &json!(5_000))
    );
    let ask = json!({"agents": [loaded.centre.agents[0].id]});
    let scored = until("the new version answers", async || {
        let answer = app.post("/api/v1/predictors/fcr/score").json(&ask).send().await.expect_status(200).json();
        if answer["model"]["version"] == 2 { Ok(answer) } else { Err(answer) }
    })
    .await;
    assert_eq!(scored["model"]["id"], json!(model));
}

#[tokio::test]
async fn a_run_that_is_asked_for_twice_under_one_key_happens_once() {
    let loaded = centre::start().await;
    let app = &loaded.app;
    let (_, model) = loaded.activate("GLOBAL").await;
    app.put(RETRAINING).json(&json!({"every_hours": 24, "model_id": model})).send().await.expect_status(200);
    let ask = |key| app.post(&format!("{RETRAINING}/run")).header("idempotency-key", key).send();
    let first = ask("once").await.expect_status(202).json();
    app.wait_for_job(first["job_id"].as_str().unwrap()).await;
    let again = ask("once").await.expect_status(202).json();
    assert_eq!(again, first);
    assert_eq!(jobs(app, "train_model").await.len(), 2, "the first training, and one run");
    let other = ask("twice").await.expect_status(202).json();
    assert_ne!(other, first);
    app.wait_for_job(other["job_id"].as_str().unwrap()).await;
}

#[tokio::test]
async fn a_persons_training_of_an_active_model_is_compared_and_taken() {
    let loaded = centre::start().await;
    let (_, model) = loaded.activate("GLOBAL").await;
    let path = format!("/api/v1/models/{model}");
    assert_eq!(get(&loaded.app, &path).await["comparison"], Value::Null, "the first version had none to beat");
    append(&loaded, 600, false).await;
    loaded.train(&model).await;
    let trained = get(&loaded.app, &path).await;
    let comparison = &trained["comparison"];
    assert_eq!(
        (&trained["version"], &comparison["replaced"], &comparison["scheduled"]),
        (&json!(2), &json!(true), &json!(false))
    );
    assert_eq!((&comparison["new_rows"], &comparison["compared_rows"]), (&json!(600), &json!(300)), "{comparison:#}");
    assert!(comparison["low"].as_f64() < comparison["difference"].as_f64(), "{comparison:#}");
}

#[tokio::test]
async fn a_due_retraining_starts_once_and_not_beside_another_training() {
    let (mut loaded, clock) = start().await;
    let (_, model) = loaded.activate("GLOBAL").await;
    let body = json!({"every_hours": 2, "model_id": model});
    loaded.app.put(RETRAINING).json(&body).send().await.expect_status(200);
    advance(&mut loaded.app, &clock, Duration::minutes(121)).await;
    let ctx = loaded.app.app.state.ctx.clone();
    let looks = futures::future::join_all((0..8).map(|_| run_due(&ctx))).await;
    let started: usize = looks.into_iter().map(|jobs| jobs.unwrap().len()).sum();
    assert!(started <= 1, "{started}");
    let app = &loaded.app;
    let ended = until("the retraining", async || {
        let all = jobs(app, "train_model").await;
        if all.len() == 2 && all.iter().all(|job| job["state"] == "succeeded") { Ok(all) } else { Err(all) }
    })
    .await;
    assert_eq!(ended.len(), 2, "the first training, and one for the time that was due");
    let set = get(app, RETRAINING).await;
    assert!(set["last_run"].is_string() && set["next_due"].is_string(), "{set:#}");

    let off = json!({"every_hours": 2, "model_id": model, "enabled": false});
    let set = app.put(RETRAINING).json(&off).send().await.expect_status(200).json();
    assert_eq!((&set["enabled"], &set["next_due"]), (&json!(false), &Value::Null));
    app.post(&format!("{RETRAINING}/run")).send().await.expect_problem(409, "schedule_disabled");
    app.delete(RETRAINING).send().await.expect_status(204);
    app.get(RETRAINING).send().await.expect_problem(404, "schedule_not_found");
    app.delete(RETRAINING).send().await.expect_problem(404, "schedule_not_found");
}

#[tokio::test]
async fn schedules_that_make_no_sense_are_refused() {
    let loaded = centre::start().await;
    let app = &loaded.app;
    let predictor = loaded.create_predictor().await;
    let draft = loaded.create_model(&predictor, "GLOBAL").await;
    let body = |model: &str, hours: u32| json!({"every_hours": hours, "model_id": model});
    app.get(RETRAINING).send().await.expect_problem(404, "schedule_not_found");
    app.post(&format!("{RETRAINING}/run")).send().await.expect_problem(404, "schedule_not_found");
    for (body, status, code) in [
        (body(&draft, 24), 409, "not_trained"),
        (body(&draft, 0), 422, "bad_schedule"),
        (body(&draft, 9_000), 422, "bad_schedule"),
        (body("mdl_nowhere", 24), 404, "model_not_found"),
        (json!({"every_hours": 24}), 422, "invalid_body"),
        (json!({"every_hours": 24, "model_id": draft, "activate": "always"}), 422, "invalid_body"),
        (json!({"every_hours": 24, "model_id": draft, "every_days": 1}), 422, "unknown_field"),
    ] {
        app.put(RETRAINING).json(&body).send().await.expect_problem(status, code);
    }
    app.post("/api/v1/predictors").json(&composite()).send().await.expect_status(201);
    let of_composite = "/api/v1/predictors/both/retraining";
    app.put(of_composite).json(&body(&draft, 24)).send().await.expect_problem(422, "composite_predictor");
    let mut other = loaded.predictor_body();
    other["name"] = json!("other");
    app.post("/api/v1/predictors").json(&other).send().await.expect_status(201);
    let of_other = "/api/v1/predictors/other/retraining";
    app.put(of_other).json(&body(&draft, 24)).send().await.expect_problem(422, "model_of_other_predictor");
    app.put("/api/v1/predictors/nobody/retraining")
        .json(&body(&draft, 24))
        .send()
        .await
        .expect_problem(404, "predictor_not_found");
}
