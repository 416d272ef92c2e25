//! Active models that take turns, and score requests that are kept and computed again.

use std::sync::Arc;

use chrono::Duration;
use serde_json::{Value, json};
use tango::clock::{Clock as _, ManualClock, SystemClock};
use tango::domain::Timestamp;

use crate::app::{Folder, TestApp};
use crate::centre::{self, LoadedCentre};

const SCORE: &str = "/api/v1/predictors/fcr/score";
const PLAYGROUND: &str = "/api/v1/predictors/fcr/score/playground";

/// Midnight of an odd day of the month that is not far away, so that tokens live.
async fn start() -> (LoadedCentre, Arc<ManualClock>, Timestamp) {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let folder = Folder::new();
    let app = TestApp::start_at(folder, clock.clone(), |config| config.token_ttl_seconds = 40 * 86_400).await;
    let loaded = centre::load(app).await;
    let next_month = chrono::Months::new(1);
    let first = SystemClock.now().date_naive().checked_add_months(next_month).unwrap();
    let first = chrono::Datelike::with_day(&first, 1).unwrap();
    (loaded, clock, first.and_hms_opt(0, 0, 0).unwrap().and_utc())
}

fn go_to(clock: &ManualClock, time: Timestamp) {
    clock.advance(time - clock.now());
}

async fn ask(app: &TestApp, context_id: &str) -> (Value, Value) {
    let body = json!({"context_id": context_id, "action_filters": "english > 0", "top": 1});
    let answer = app.post(SCORE).json(&body).send().await.expect_status(200).json();
    (answer["model"]["id"].clone(), answer["mode"].clone())
}

#[tokio::test]
async fn active_models_take_turns_by_the_hour_or_by_periods() {
    let (loaded, clock, midnight) = start().await;
    let app = &loaded.app;
    let (predictor, first) = loaded.activate("GLOBAL").await;
    let mut body = app.get(&format!("/api/v1/predictors/{predictor}")).send().await.expect_status(200).json();
    assert_eq!(body["rotation"], json!({"by": "share"}));
    for name in ["id", "kind", "active_models", "created_at", "updated_at"] {
        body.as_object_mut().unwrap().remove(name);
    }
    let path = format!("/api/v1/predictors/{predictor}");
    let set = async |rotation: Value| {
        let mut body = body.clone();
        body["rotation"] = rotation;
        // By its time a node sees that it follows.
        clock.advance(Duration::seconds(1));
        app.put(&path).json(&body).send().await
    };
    for wrong in [json!({"by": "periods", "seconds": [60]}), json!({"by": "periods", "seconds": [0, 60]})] {
        set(wrong).await.expect_problem(422, "bad_rotation");
    }
    let half = json!({"name": "half", "combine": "0.5 * fcr"});
    app.post("/api/v1/predictors").json(&half).send().await.expect_status(201);
    // One model alone: on and off.
    set(json!({"by": "periods", "seconds": [3_600, 1_800]})).await.expect_status(200);
    let at_epoch_of_a_cycle = midnight - Duration::seconds(midnight.timestamp().rem_euclid(5_400));
    for (minutes, mode) in [(1, "on"), (59, "on"), (61, "off"), (89, "off"), (91, "on")] {
        go_to(&clock, at_epoch_of_a_cycle + Duration::minutes(minutes));
        assert_eq!(ask(app, "somebody").await, (json!(first), json!(mode)), "{minutes}");
        let combined = app.post("/api/v1/predictors/half/score").json(&json!({"agents": ["agent-0001"]})).send().await;
        assert_eq!(combined.expect_status(200).json()["mode"], mode, "what combines it is followed no more than it");
    }
    // Two models: hour by hour, the other way round on even days, the same for every interaction.
    let second = loaded.create_model(&predictor, "HYBRID").await;
    loaded.train(&second).await;
    let half = json!({"share": 0.5});
    app.post(&format!("/api/v1/models/{second}/activate")).json(&half).send().await.expect_status(200);
    set(json!({"by": "hourly"})).await.expect_status(200);
    for (hours, expected) in [(0, &first), (1, &second), (2, &first), (24, &second), (25, &first)] {
        go_to(&clock, midnight + Duration::hours(hours));
        for interaction in ["one", "two"] {
            assert_eq!(ask(app, interaction).await, (json!(expected), json!("on")), "{hours} h");
        }
    }
    let composite = json!({"name": "both", "combine": "fcr + fcr", "rotation": {"by": "hourly"}});
    app.post("/api/v1/predictors").json(&composite).send().await.expect_problem(422, "bad_rotation");
}

#[tokio::test]
async fn a_kept_request_gives_the_same_scores_again() {
    let (loaded, _, _) = start().await;
    let app = &loaded.app;
    let (predictor, model) = loaded.activate("HYBRID").await;
    let waiting = loaded.centre.waiting(1).remove(0);
    let customer = &loaded.centre.customers[waiting.customer].id;
    let ask = json!({
        "context_id": customer, "context": waiting.context(),
        "agents": [loaded.centre.agents[0].id, loaded.centre.agents[1].id, "ghost"], "default": "max",
    });
    let counted = || async {
        let path = format!("/api/v1/predictors/{predictor}/production");
        app.get(&path).send().await.expect_status(200).json()["requests"].clone()
    };
    let before = counted().await;
    let answer = app.post(PLAYGROUND).json(&ask).send().await.expect_status(200).json();
    assert!(answer["scores"][0]["explanation"]["contributions"].is_array(), "{answer:#}");
    assert_eq!(counted().await, before, "the playground counts nowhere");
    let path = format!("/api/v1/scores/{}", answer["request_id"].as_str().unwrap());
    // What has changed since does not matter.
    let agent = json!({"records": [{"id": loaded.centre.agents[0].id, "tenure_months": 400}]});
    app.post("/api/v1/agents/records").json(&agent).send().await.expect_status(200);
    loaded.train(&model).await;
    let kept = app.get(&path).send().await.expect_status(200).json();
    assert_eq!(kept["again"]["equal"], true, "{kept:#}");
    assert_eq!((&kept["model_version"], &kept["context"]), (&json!(1), &ask["context"]));
    assert_eq!(kept["agents"].as_array().unwrap().len(), 3);
    for (kept, answered) in kept["scores"].as_array().unwrap().iter().zip(answer["scores"].as_array().unwrap()) {
        assert_eq!((&kept["agent_id"], &kept["score"]), (&answered["agent_id"], &answered["score"]));
    }
    // The version before the one before is gone.
    loaded.train(&model).await;
    let kept = app.get(&path).send().await.expect_status(200).json();
    assert_eq!(kept["again"]["equal"], Value::Null);
    assert!(kept["again"]["reason"].as_str().unwrap().contains("not kept any more"), "{kept:#}");
    for unknown in ["nonsense", "req_00000000000000000000000000"] {
        app.get(&format!("/api/v1/scores/{unknown}")).send().await.expect_problem(404, "score_not_found");
    }
}
