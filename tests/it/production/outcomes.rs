//! Datasets made of score logs: each interaction once, updated by what is told later.

use chrono::Duration;
use serde_json::{Value, json};
use tango::domain::job::{Job, JobState};
use tango::jobs::schedules::run_due;
use tango::store::{Batch, Collection, Query, StoreExt};

use super::{advance, composite, get, jobs, log, rows, start};
use crate::app::{TestApp, until};
use crate::centre;

async fn create(app: &TestApp, body: Value) -> (String, String) {
    let path = "/api/v1/predictors/fcr/outcome_dataset";
    let made = app.post(path).json(&body).send().await.expect_status(201).json();
    let job = made["job_id"].as_str().unwrap().to_owned();
    app.wait_for_job(&job).await;
    (made["dataset"]["id"].as_str().unwrap().to_owned(), job)
}

async fn refresh(app: &TestApp, dataset: &str) -> Value {
    let started = app.post(&format!("/api/v1/datasets/{dataset}/refresh")).send().await.expect_status(202).json();
    app.wait_for_job(started["job_id"].as_str().unwrap()).await["result"].clone()
}

#[tokio::test]
async fn scored_interactions_become_rows_and_late_outcomes_update_them() {
    let loaded = centre::start().await;
    loaded.activate("GLOBAL").await;
    let app = &loaded.app;
    let customer = &loaded.centre.customers[0];
    let ask = json!({
        "context_id": customer.id, "agents": [loaded.centre.agents[0].id],
        "context": {"reason": "billing", "wait_seconds": 12, "colour": "red"},
    });
    let scored = app.post("/api/v1/predictors/fcr/score").json(&ask).send().await.expect_status(200).json();
    // What was counted and kept is written when a report is asked for.
    get(app, "/api/v1/predictors/fcr/production").await;
    let routed = json!({
        "interaction_id": "call-1", "predictor": "fcr", "context_id": customer.id, "agent_id": loaded.centre.agents[0].id,
        "score": scored["scores"][0]["score"], "rank": 1, "mode": "on", "outcome": "routed",
        "request_id": scored["request_id"],
    });
    log(app, routed.clone()).await;
    log(
        app,
        json!({"interaction_id": "call-2", "predictor": "fcr", "mode": "off", "outcome": "routed", "metric": true,
        "context": {"reason": "moving", "tier": 5}}),
    )
    .await;
    let (dataset, first_job) = create(app, json!({"name": "loop"})).await;
    let path = format!("/api/v1/datasets/{dataset}");
    let made = get(app, &path).await;
    assert_eq!((&made["rows"], &made["version"], &made["state"]), (&json!(2), &json!(1), &json!("ready")), "{made:#}");
    assert_eq!((&made["source"]["last_rows_added"], &made["source"]["refresh_minutes"]), (&json!(2), &Value::Null));
    let before = rows(app, &dataset).await;
    let (one, two) = (&before[0], &before[1]);
    assert_eq!(
        (&one["reason"], &one["wait_seconds"], &one["mode"]),
        (&json!("billing"), &json!(12), &json!("on")),
        "{one:#}"
    );
    assert_eq!(
        one["segment"],
        json!(tango::simulation::world::SEGMENTS[customer.segment].0),
        "of the customer's profile, as it was scored"
    );
    assert!(one["start_time"].is_string() && one["first_contact_resolution"].is_null(), "{one:#}");
    assert_eq!((&two["reason"], &two["first_contact_resolution"]), (&json!("moving"), &json!(true)), "{two:#}");

    // Told again without anything new: no version.
    log(app, routed).await;
    assert_eq!(refresh(app, &dataset).await["rows_added"], 0);
    assert_eq!(get(app, &path).await["version"], 1);

    // Weeks later the outcome is known, and what was kept of the request is long gone.
    let ctx = &app.app.state.ctx;
    let kept = ctx.store.find(&Query::everywhere(Collection::ScoredContexts)).await.unwrap().documents;
    assert_eq!(kept.len(), 1);
    let mut batch = Batch::new();
    batch.push(tango::store::Op::Delete {
        collection: Collection::ScoredContexts,
        key: kept[0].key.clone(),
        revision: None,
    });
    ctx.store.commit(batch).await.unwrap();
    log(
        app,
        json!({"interaction_id": "call-1", "predictor": "fcr", "mode": "on", "outcome": "routed", "metric": false}),
    )
    .await;
    log(app, json!({"interaction_id": "call-3", "predictor": "fcr", "mode": "on", "outcome": "abandoned"})).await;
    let done = refresh(app, &dataset).await;
    assert_eq!(
        (&done["rows_added"], &done["rows_updated"], &done["version"]),
        (&json!(1), &json!(1), &json!(2)),
        "{done:#}"
    );
    let after = rows(app, &dataset).await;
    let ids: Vec<&Value> = after.iter().map(|row| &row["interaction_id"]).collect();
    assert_eq!(ids, ["call-1", "call-2", "call-3"]);
    assert_eq!((&after[0]["first_contact_resolution"], &after[0]["reason"]), (&json!(false), &json!("billing")));
    assert_eq!((&after[0]["time"], &after[1]), (&one["time"], two), "the row's time, and other rows, stay");
    assert_eq!(get(app, &format!("{path}/cardinalities")).await["records_counted"], 3);

    // Its worker was killed between the version and the end of the job: the job runs again, and makes no second version.
    let all = ctx.store.list_all::<Job>(Query::everywhere(Collection::Jobs)).await.unwrap();
    let mut stored = all.into_iter().find(|job| job.value.id.as_str() == first_job).unwrap();
    stored.value.state = JobState::Queued;
    let attempt = stored.value.attempt;
    let mut batch = Batch::new();
    batch.replace(&stored);
    ctx.store.commit(batch).await.unwrap();
    let again = until("another run", async || {
        let job = get(app, &format!("/api/v1/jobs/{first_job}")).await;
        if job["state"] == "succeeded" && job["attempt"].as_u64() > Some(u64::from(attempt)) {
            Ok(job)
        } else {
            Err(job)
        }
    })
    .await;
    assert_eq!(again["result"]["version"], 1, "{again:#}");
    let now = get(app, &path).await;
    assert_eq!((&now["version"], &now["rows"]), (&json!(2), &json!(3)));
}

#[tokio::test]
async fn a_refresh_that_is_asked_for_twice_under_one_key_happens_once() {
    let loaded = centre::start().await;
    loaded.create_predictor().await;
    let app = &loaded.app;
    for (at, schedule) in [json!({}), json!({"refresh_minutes": 15})].into_iter().enumerate() {
        let (dataset, _) = create(app, schedule).await;
        let path = format!("/api/v1/datasets/{dataset}/refresh");
        let before = jobs(app, "dataset_outcomes").await.len();
        let key = format!("once {at}");
        let ask = |body: &'static str| {
            app.post(&path).header("idempotency-key", &key).body("application/json", body.to_owned()).send()
        };
        let first = ask(r#"{"all":true}"#).await.expect_status(202).json();
        app.wait_for_job(first["job_id"].as_str().unwrap()).await;
        assert_eq!(ask(r#"{"all":true}"#).await.expect_status(202).json(), first);
        ask("{}").await.expect_problem(422, "idempotency_key_reused");
        assert_eq!(jobs(app, "dataset_outcomes").await.len(), before + 1);
    }
}

#[tokio::test]
async fn a_due_refresh_happens_once_however_many_look() {
    let (mut loaded, clock) = start().await;
    loaded.create_predictor().await;
    let (dataset, _) = create(&loaded.app, json!({"refresh_minutes": 15})).await;
    let path = format!("/api/v1/datasets/{dataset}");
    let empty = get(&loaded.app, &path).await;
    assert_eq!((&empty["rows"], &empty["version"], &empty["name"]), (&json!(0), &json!(0), &json!("fcr outcomes")));
    assert_eq!(empty["source"]["refresh_minutes"], 15);
    assert_eq!(rows(&loaded.app, &dataset).await, Vec::<Value>::new());
    for round in 1..=3 {
        let id = format!("call-{round}");
        log(
            &loaded.app,
            json!({"interaction_id": id, "predictor": "fcr", "mode": "on", "outcome": "routed", "metric": true}),
        )
        .await;
        let ctx = loaded.app.app.state.ctx.clone();
        assert_eq!(run_due(&ctx).await.unwrap(), [], "not due yet");
        advance(&mut loaded.app, &clock, Duration::minutes(16)).await;
        let looks = futures::future::join_all((0..8).map(|_| run_due(&ctx))).await;
        let started: usize = looks.into_iter().map(|jobs| jobs.unwrap().len()).sum();
        // The program's own look may have been first.
        assert!(started <= 1, "{started}");
        until("the refresh", async || {
            let dataset = get(&loaded.app, &path).await;
            if dataset["rows"] == round { Ok(()) } else { Err(dataset) }
        })
        .await;
        // The end of the job is written after the version.
        until("its end", async || {
            let all = jobs(&loaded.app, "dataset_outcomes").await;
            if all.iter().all(|job| job["state"] == "succeeded") { Ok(()) } else { Err(all) }
        })
        .await;
        assert_eq!(jobs(&loaded.app, "dataset_outcomes").await.len(), 1 + round);
    }
    let app = &loaded.app;
    let refresh = format!("{path}/refresh");
    let off = app.put(&refresh).json(&json!({"refresh_minutes": null})).send().await.expect_status(200).json();
    assert_eq!(off["source"]["refresh_minutes"], Value::Null);
    let on = app.put(&refresh).json(&json!({"refresh_minutes": 60})).send().await.expect_status(200).json();
    assert_eq!(on["source"]["refresh_minutes"], 60);
    app.delete(&path).send().await.expect_status(204);
    advance(&mut loaded.app, &clock, Duration::minutes(61)).await;
    run_due(&loaded.app.app.state.ctx).await.unwrap();
    let left = loaded.app.app.state.ctx.store.count(&Query::everywhere(Collection::Schedules)).await.unwrap();
    assert_eq!(left, 0, "a deleted dataset's schedule goes when it is due");
}

#[tokio::test]
async fn rows_that_a_revert_took_away_come_back_when_all_is_read_again() {
    let loaded = centre::start().await;
    let app = &loaded.app;
    loaded.create_predictor().await;
    let entry =
        |id: &str| json!({"interaction_id": id, "predictor": "fcr", "mode": "on", "outcome": "routed", "metric": true});
    log(app, entry("call-1")).await;
    let (dataset, _) = create(app, json!({})).await;
    log(app, entry("call-2")).await;
    refresh(app, &dataset).await;
    let path = format!("/api/v1/datasets/{dataset}");
    let started =
        app.post(&format!("{path}/revert")).json(&json!({"version": 1})).send().await.expect_status(202).json();
    app.wait_for_job(started["job_id"].as_str().unwrap()).await;
    assert_eq!(get(app, &path).await["rows"], 1);
    let all = json!({"all": true});
    let started = app.post(&format!("{path}/refresh")).json(&all).send().await.expect_status(202).json();
    let done = app.wait_for_job(started["job_id"].as_str().unwrap()).await["result"].clone();
    assert_eq!((&done["rows_added"], &done["rows_updated"]), (&json!(1), &json!(0)), "{done:#}");
    let ids: Vec<Value> = rows(app, &dataset).await.iter().map(|row| row["interaction_id"].clone()).collect();
    assert_eq!(ids, ["call-1", "call-2"]);
}

#[tokio::test]
async fn what_cannot_be_made_or_refreshed_is_said() {
    let loaded = centre::start().await;
    let app = &loaded.app;
    loaded.activate("GLOBAL").await;
    app.post("/api/v1/predictors").json(&composite()).send().await.expect_status(201);
    let make = "/api/v1/predictors/fcr/outcome_dataset";
    for (path, body, status, code) in [
        (make, json!({"refresh_minutes": 0}), 422, "bad_schedule"),
        (make, json!({"refresh_minutes": 600_000}), 422, "bad_schedule"),
        (make, json!({"name": ""}), 422, "bad_name"),
        (make, json!({"every": 5}), 422, "unknown_field"),
        ("/api/v1/predictors/both/outcome_dataset", json!({}), 422, "composite_predictor"),
        ("/api/v1/predictors/nobody/outcome_dataset", json!({}), 404, "predictor_not_found"),
    ] {
        app.post(path).json(&body).send().await.expect_problem(status, code);
    }
    let plain = format!("/api/v1/datasets/{}/refresh", loaded.dataset);
    app.post(&plain).send().await.expect_problem(409, "no_outcome_dataset");
    app.put(&plain).json(&json!({"refresh_minutes": 5})).send().await.expect_problem(409, "no_outcome_dataset");
    let (dataset, _) = create(app, json!({})).await;
    let refresh = format!("/api/v1/datasets/{dataset}/refresh");
    app.put(&refresh).json(&json!({"refresh_minutes": 0})).send().await.expect_problem(422, "bad_schedule");
    app.post("/api/v1/datasets/ds_nowhere/refresh").send().await.expect_problem(404, "dataset_not_found");
}
