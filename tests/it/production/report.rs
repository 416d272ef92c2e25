//! What is counted of scores, and what is said of score logs.

use serde_json::{Value, json};

use super::{composite, get, log};
use crate::app::TestApp;
use crate::centre;

const REPORT: &str = "/api/v1/predictors/fcr/production";

#[tokio::test]
async fn scores_are_counted_by_source_customer_and_input_and_outlive_the_process() {
    let loaded = centre::start().await;
    let (_, model) = loaded.activate("HYBRID").await;
    let app = &loaded.app;
    let (agent, customer) = (loaded.centre.agents[0].id.clone(), loaded.centre.customers[0].id.clone());
    let ask = |customer: Value, reason: &str| json!({"context_id": customer, "agents": [agent, "nobody"], "context": {"reason": reason}});
    let reason = loaded.centre.interactions[0].reason_name().to_owned();
    for body in [
        ask(json!(customer), &reason),
        ask(json!("a stranger"), &reason),
        ask(json!(""), &reason),
        ask(Value::Null, "never heard of"),
    ] {
        app.post("/api/v1/predictors/fcr/score").json(&body).send().await.expect_status(200);
    }
    let batch = json!({"interactions": [ask(json!(customer), &reason), ask(json!(customer), &reason)]});
    app.post("/api/v1/predictors/fcr/score/batch").json(&batch).send().await.expect_status(200);

    let check = async |app: &TestApp| {
        let report = get(app, REPORT).await;
        let scoring = &report["scoring"];
        assert_eq!((&scoring["requests"], &scoring["default"]), (&json!(6), &json!(6)), "{scoring:#}");
        assert_eq!(scoring["local"].as_u64().unwrap() + scoring["global"].as_u64().unwrap(), 6);
        assert_eq!(scoring["default_share"], 0.5);
        let customers =
            ["customers_found", "customers_unknown", "customers_not_given"].map(|name| scoring[name].clone());
        assert_eq!(customers, [3, 1, 2]);
        assert_eq!((&scoring["customer_coverage"], &scoring["not_looked_at"]), (&json!(0.75), &json!(0)));
        // An unknown reason is worth a warning.
        assert_eq!(scoring["with_warnings"], 1);
        let of_model = &report["models"][0];
        assert_eq!((&of_model["model_id"], &of_model["version"]), (&json!(model), &json!(1)));
        let predicted: u64 = of_model["predicted"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum();
        assert_eq!(predicted, 6, "each agent that the model scored");
        let drift = of_model["drift"].as_array().unwrap();
        let reasons = drift.iter().find(|drift| drift["input"] == "reason").unwrap();
        let bin = |value: &str| reasons["bins"].as_array().unwrap().iter().find(|bin| bin["value"] == value).unwrap();
        assert_eq!((&bin(&reason)["requests"], &bin("(other)")["requests"]), (&json!(5), &json!(1)));
        assert!(bin(&reason)["training_rows"].as_u64().unwrap() > 100, "{reasons:#}");
        let hours = drift.iter().find(|drift| drift["input"] == "start_time (hour)").unwrap();
        let counted = hours["bins"].as_array().unwrap().iter().map(|bin| bin["requests"].as_u64().unwrap());
        assert_eq!(counted.sum::<u64>(), 6, "the time of the request when the context has none");
        let tier = drift.iter().find(|drift| drift["input"] == "tier").unwrap();
        let missing = tier["bins"].as_array().unwrap().iter().find(|bin| bin["value"] == "(missing)").unwrap();
        assert_eq!(missing["requests"], 3, "whoever is not in the profile has no tier");
    };
    check(app).await;
    check(app).await;
    let folder = loaded.app.stop().await;
    let app = TestApp::start_at(folder, std::sync::Arc::new(tango::clock::SystemClock), |_| {}).await;
    check(&app).await;
}

#[tokio::test]
async fn what_was_scored_and_not_written_is_written_at_the_end() {
    let loaded = centre::start().await;
    loaded.activate("GLOBAL").await;
    let body = json!({"agents": [loaded.centre.agents[0].id]});
    for _ in 0..3 {
        loaded.app.post("/api/v1/predictors/fcr/score").json(&body).send().await.expect_status(200);
    }
    // No report asked for it before.
    let folder = loaded.app.stop().await;
    let app = TestApp::start_at(folder, std::sync::Arc::new(tango::clock::SystemClock), |_| {}).await;
    assert_eq!(get(&app, REPORT).await["scoring"]["requests"], 3);
}

#[tokio::test]
async fn a_shift_of_an_input_is_told() {
    let loaded = centre::start().await;
    loaded.activate("GLOBAL").await;
    let app = &loaded.app;
    let agent = loaded.centre.agents[0].id.clone();
    // As in training, but for the waiting times.
    for interaction in &loaded.centre.interactions[..120] {
        let body = json!({
            "agents": [agent],
            "context": {
                "reason": interaction.reason_name(), "language": interaction.language_name(),
                "channel": interaction.channel_name(), "start_time": interaction.started_at, "wait_seconds": 100_000,
            },
        });
        app.post("/api/v1/predictors/fcr/score").json(&body).send().await.expect_status(200);
    }
    let report = get(app, REPORT).await;
    let model = &report["models"][0];
    let verdict = |input: &str| {
        let drift = model["drift"].as_array().unwrap();
        drift.iter().find(|drift| drift["input"] == input).unwrap()["verdict"].clone()
    };
    assert_eq!((verdict("wait_seconds"), verdict("reason")), (json!("large"), json!("stable")), "{model:#}");
    assert_eq!(model["verdict"], "large");
    let drift = model["drift"].as_array().unwrap();
    assert!(drift.iter().map(|drift| drift["psi"].as_f64().unwrap()).is_sorted_by(|a, b| a >= b));
    assert_eq!(report["agent_drift"], Value::Null, "nobody is said to have served");
}

#[tokio::test]
async fn new_people_are_told_from_those_of_the_training() {
    let loaded = centre::start().await;
    loaded.activate("HYBRID").await;
    let app = &loaded.app;
    let body = json!({"agents": [loaded.centre.agents[0].id]});
    app.post("/api/v1/predictors/fcr/score").json(&body).send().await.expect_status(200);
    let entry = |id: String, agent: &str| json!({"interaction_id": id, "predictor": "fcr", "mode": "off", "outcome": "routed", "agent_id": agent});
    let as_before = loaded.centre.interactions[..300]
        .iter()
        .enumerate()
        .map(|(at, interaction)| log(app, entry(format!("before-{at}"), &loaded.centre.agents[interaction.agent].id)));
    futures::future::join_all(as_before).await;
    let found = get(app, REPORT).await["agent_drift"].clone();
    assert_eq!((&found["interactions"], &found["new_agents"], &found["version"]), (&json!(300), &json!(0), &json!(1)));
    assert_eq!(found["verdict"], "stable", "{found:#}");
    let rows = found["bins"].as_array().unwrap().iter().map(|bin| bin["training_rows"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(rows, 3_000);
    futures::future::join_all((0..100).map(|at| log(app, entry(format!("new-{at}"), ["nina", "noah"][at % 2])))).await;
    let found = get(app, REPORT).await["agent_drift"].clone();
    assert_eq!((&found["new_agents"], &found["new_agents_share"]), (&json!(2), &json!(0.25)), "{found:#}");
    assert_eq!(found["verdict"], "large", "{found:#}");
    assert_eq!(found["bins"].as_array().unwrap().last().unwrap()["requests"], 100);
}

#[tokio::test]
async fn lift_and_calibration_are_told_from_the_score_log() {
    let loaded = centre::start().await;
    loaded.activate("GLOBAL").await;
    let app = &loaded.app;
    // 120 with scores and 120 without; 70 % and 50 % succeed; predictions say so of the first and not of the second.
    let entry = |at: usize| {
        let on = at.is_multiple_of(2);
        let success = at / 2 % 10 < if on { 7 } else { 5 };
        let mut body = json!({
            "interaction_id": format!("call-{at:03}"), "predictor": "fcr", "mode": if on { "on" } else { "off" },
            "outcome": "routed", "metric": success,
        });
        // Truncated to a whole number, as routing strategies do; or as the model said it.
        body[if on { "score" } else { "p_score" }] = if on { json!(700) } else { json!(0.5) };
        body
    };
    futures::future::join_all((0..240).map(|at| log(app, entry(at)))).await;
    for (id, mode, outcome) in [("late", "on", "routed"), ("gone", "off", "abandoned"), ("dry", "dry_run", "routed")] {
        log(app, json!({"interaction_id": id, "predictor": "fcr", "mode": mode, "outcome": outcome})).await;
    }
    let report = get(app, REPORT).await;
    let counts = &report["score_log"];
    assert_eq!((&counts["entries"], &counts["on"], &counts["off"]), (&json!(243), &json!(121), &json!(121)));
    assert_eq!((&counts["routed"], &counts["routed_without_outcome"]), (&json!(242), &json!(2)));
    let lift = &report["lift"];
    assert_eq!((&lift["on"]["outcomes"], &lift["off"]["outcomes"]), (&json!(120), &json!(120)));
    assert!((lift["difference"].as_f64().unwrap() - 0.2).abs() < 1e-9, "{lift:#}");
    let width = |name: &str| lift[name]["high"].as_f64().unwrap() - lift[name]["low"].as_f64().unwrap();
    assert!(width("every_look") > width("single_look"), "{lift:#}");
    assert!(lift["single_look"]["low"].as_f64().unwrap() > 0.0);
    let calibration = &report["calibration"];
    assert_eq!(
        (&calibration["outcomes"], &calibration["verdict"]),
        (&json!(240), &json!("as_expected")),
        "{calibration:#}"
    );
    assert!(calibration["bias"].as_f64().unwrap().abs() < 1e-9 && calibration["error_at_training"].is_number());

    let later = json!("2100-01-01T00:00:00Z").as_str().unwrap().to_owned();
    let empty = get(app, &format!("{REPORT}?from=2099-01-01T00:00:00Z&to={later}")).await;
    assert_eq!((&empty["score_log"]["entries"], &empty["lift"]["difference"]), (&json!(0), &Value::Null));
    app.get(&format!("{REPORT}?from={later}")).send().await.expect_problem(422, "bad_period");
    app.get(&format!("{REPORT}?from=soon")).send().await.expect_problem(400, "bad_query");
    app.get("/api/v1/predictors/nobody/production").send().await.expect_problem(404, "predictor_not_found");
    app.post("/api/v1/predictors").json(&composite()).send().await.expect_status(201);
    let body = json!({"agents": [loaded.centre.agents[0].id]});
    app.post("/api/v1/predictors/both/score").json(&body).send().await.expect_status(200);
    let of_composite = get(app, "/api/v1/predictors/both/production").await;
    assert_eq!((&of_composite["scoring"]["requests"], &of_composite["lift"]), (&json!(1), &Value::Null));
    assert_eq!(of_composite["models"], json!([]));
}
