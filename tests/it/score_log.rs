//! `/api/v1/score_log`: each interaction is stored once, and updated by what is told later.

use serde_json::{Value, json};

use crate::centre;

#[tokio::test]
async fn an_interaction_is_stored_once_and_updated() {
    let loaded = centre::start().await;
    let app = &loaded.app;
    let predictor = loaded.create_predictor().await;
    let half = json!({"name": "half", "combine": "0.5 * fcr"});
    app.post("/api/v1/predictors").json(&half).send().await.expect_status(201);
    let routed = json!({
        "interaction_id": "call-1", "predictor": "fcr", "agent_id": "agent-0001", "score": 612.5, "rank": 1,
        "mode": "on", "outcome": "routed",
    });
    for created in [true, false] {
        let path = "/api/v1/score_log?connection_ids=c-7";
        let answer = app.post(path).json(&routed).send().await.expect_status(202).json();
        assert_eq!(answer["created"], created);
    }
    let told = json!({"interaction_id": "call-0", "predictor": "fcr", "mode": "off", "outcome": "failed"});
    let send = async |key: &str, body: &Value| {
        app.post("/api/v1/score_log").header("idempotency-key", key).json(body).send().await
    };
    let first = send("log-1", &told).await.expect_status(202).json();
    let again = send("log-1", &told).await.expect_status(202);
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.json(), first, "created, both times");
    assert_eq!(send("log-2", &told).await.expect_status(202).json()["created"], false);
    assert_eq!(send("log-2", &told).await.expect_status(202).headers["idempotency-replayed"], "true");
    send("log-2", &routed).await.expect_problem(422, "idempotency_key_reused");
    app.delete("/api/v1/score_log/call-0").send().await.expect_status(405);

    let later =
        json!({"interaction_id": "call-1", "predictor": predictor, "mode": "on", "outcome": "routed", "metric": true});
    app.post("/api/v1/score_log").json(&later).send().await.expect_status(202);
    let stored = app.get("/api/v1/score_log/call-1").send().await.expect_status(200).json();
    assert_eq!((&stored["metric"], &stored["score"]), (&json!(true), &json!(612.5)), "{stored:#}");
    assert_eq!((&stored["predictor_id"], &stored["connection_ids"]), (&json!(predictor), &json!("c-7")));
    let other = json!({"interaction_id": "call-2", "predictor": "fcr", "mode": "dry_run", "outcome": "abandoned"});
    app.post("/api/v1/score_log").json(&other).send().await.expect_status(202);
    let list = app.get("/api/v1/score_log").send().await.expect_status(200).json();
    assert_eq!((list["items"].as_array().unwrap().len(), &list["next"]), (3, &Value::Null));
    let list = app.get("/api/v1/score_log?mode=dry_run").send().await.expect_status(200).json();
    assert_eq!(list["items"][0]["interaction_id"], "call-2");

    for (change, status, code) in [
        (json!({"predictor": "nobody"}), 404, "predictor_not_found"),
        (json!({"interaction_id": "x".repeat(10_000)}), 422, "id_too_long"),
        (json!({"interaction_id": ""}), 422, "invalid_body"),
        (json!({"interaction_id": "a\u{0}b"}), 422, "invalid_body"),
        (json!({"rank": 0}), 422, "invalid_body"),
        (json!({"p_score": 7}), 422, "invalid_body"),
        (json!({"p_score": 1e300}), 422, "invalid_body"),
        (json!({"score": 1e308}), 422, "invalid_body"),
        (json!({"metric": 0.5}), 422, "invalid_body"),
        (json!({"predictor": "half"}), 409, "other_predictor"),
        (json!({"mode": "maybe"}), 422, "invalid_body"),
        (json!({"metric": [1]}), 422, "invalid_body"),
        (json!({"colour": "blue"}), 422, "unknown_field"),
    ] {
        let mut body = routed.clone();
        for (key, value) in change.as_object().unwrap() {
            body[key] = value.clone();
        }
        app.post("/api/v1/score_log").json(&body).send().await.expect_problem(status, code);
    }
}
