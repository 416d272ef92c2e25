//! Schemas: proposed, edited, accepted, changed later.

use serde_json::{Value, json};

use super::{calls, dataset, get, job};
use crate::app::TestApp;

async fn fields(app: &TestApp, id: &str) -> Vec<Value> {
    let schema = get(app, id, "/schema").await;
    let plain = |field: &Value| json!({"name": field["name"], "type": field["type"], "role": field["role"]});
    schema["fields"].as_array().unwrap().iter().map(plain).collect()
}

#[tokio::test]
async fn a_proposed_schema_is_edited_and_accepted() {
    let app = TestApp::start().await;
    let done = app.upload("dataset", calls(0, 500).as_bytes(), json!({"accept_schema": false})).await;
    assert_eq!(done["job"]["result"]["state"], "awaiting_schema", "{:#}", done["job"]);
    let id = done["dataset_id"].as_str().unwrap();
    let before = get(&app, id, "").await;
    assert_eq!((&before["state"], &before["rows"]), (&json!("awaiting_schema"), &json!(0)));
    let path = format!("/api/v1/datasets/{id}/schema");
    app.post(&format!("/api/v1/datasets/{id}/append"))
        .body("text/csv", "call\nx\n")
        .send()
        .await
        .expect_problem(409, "dataset_not_ready");

    let mut wanted = fields(&app, id).await;
    wanted.retain(|field| field["name"] != "solved");
    wanted[2] = json!({"name": "seconds", "type": "Float", "role": "metric"});
    let forgotten = app.put(&path).json(&json!({"fields": wanted})).send().await;
    assert_eq!(forgotten.expect_problem(422, "missing_fields")["missing"], json!(["solved"]));
    let edited =
        app.put(&path).json(&json!({"fields": wanted, "remove": ["solved"]})).send().await.expect_status(200).json();
    assert_eq!((&edited["version"], &edited["accepted"]), (&json!(2), &json!(false)));
    let mut unknown = wanted.clone();
    unknown.push(json!({"name": "colour", "type": "String"}));
    app.put(&path).json(&json!({"fields": unknown})).send().await.expect_problem(422, "bad_schema");
    let mut hidden = wanted.clone();
    hidden[0]["anonymize"] = json!(true);
    app.put(&path).json(&json!({"fields": hidden})).send().await.expect_problem(422, "not_available");
    let mut twice = wanted.clone();
    twice.push(wanted[0].clone());
    app.put(&path).json(&json!({"fields": twice})).send().await.expect_problem(422, "bad_schema");

    let done = job(&app, id, "/schema/accept", json!({})).await;
    assert_eq!(done["result"]["rows"], 500);
    app.post(&format!("{path}/accept")).send().await.expect_problem(409, "schema_already_accepted");
    let row = get(&app, id, "/rows?limit=1").await["items"][0].clone();
    assert!(row["seconds"].is_number() && row.get("solved").is_none(), "{row}");
}

#[tokio::test]
async fn a_column_goes_only_when_it_is_said() {
    let app = TestApp::start().await;
    let id = dataset(&app, &calls(0, 100)).await;
    let path = format!("/api/v1/datasets/{id}/schema");
    let wanted = fields(&app, &id).await;
    let put = async |fields: Vec<Value>, remove: Value| {
        app.put(&path).json(&json!({"fields": fields, "remove": remove})).send().await
    };
    // The timestamp is a field like others; a renamed field is another one.
    let without_time = wanted[..4].to_vec();
    let problem = put(without_time.clone(), json!([])).await.expect_problem(422, "missing_fields");
    assert_eq!(problem["missing"], json!(["started"]));
    let mut renamed = wanted.clone();
    renamed[2]["name"] = json!("duration");
    let problem = put(renamed, json!([])).await.expect_problem(422, "missing_fields");
    assert!(problem["detail"].as_str().unwrap().contains("cannot be renamed"), "{problem}");
    for (fields, remove) in [(wanted.clone(), json!(["solved"])), (without_time, json!(["started", "colour"]))] {
        put(fields, remove).await.expect_problem(422, "bad_schema");
    }
    let mut kept = wanted;
    kept.retain(|field| field["name"] != "solved");
    let started = put(kept, json!(["solved"])).await.expect_status(202).json();
    app.wait_for_job(started["job_id"].as_str().unwrap()).await;
    assert!(get(&app, &id, "/rows?limit=1").await["items"][0].get("solved").is_none());
}

#[tokio::test]
async fn roles_change_at_once_and_types_in_a_job() {
    let app = TestApp::start().await;
    let id = dataset(&app, &calls(0, 500)).await;
    let path = format!("/api/v1/datasets/{id}/schema");
    let mut wanted = fields(&app, &id).await;
    wanted[1]["role"] = json!("agent_id");
    wanted[2]["role"] = json!("metric");
    let changed = app.put(&path).json(&json!({"fields": wanted})).send().await.expect_status(200).json();
    assert_eq!(changed["version"], 2);
    assert_eq!(changed["fields"][1]["role"], "agent_id");
    assert_eq!(get(&app, &id, "").await["version"], 1, "the data is the same");

    wanted[2]["type"] = json!("String");
    let started = app.put(&path).json(&json!({"fields": wanted})).send().await.expect_status(202).json();
    app.wait_for_job(started["job_id"].as_str().unwrap()).await;
    let after = get(&app, &id, "").await;
    assert_eq!((&after["schema_version"], &after["version"], &after["rows"]), (&json!(3), &json!(2), &json!(500)));
    let row = get(&app, &id, "/rows?limit=1").await["items"][0].clone();
    assert!(row["seconds"].is_string(), "{row}");

    // What does not fit is named, and nothing changes.
    wanted[0]["type"] = json!("Integer");
    let started = app.put(&path).json(&json!({"fields": wanted})).send().await.expect_status(202).json();
    let failed = app.wait_for_job_end(started["job_id"].as_str().unwrap()).await;
    assert_eq!(failed["state"], "failed");
    assert!(failed["error"].as_str().unwrap().contains("call"), "{failed}");
    assert_eq!(get(&app, &id, "").await["schema_version"], 3);

    let path = format!("/api/v1/datasets/{id}/revert");
    let problem = app.post(&path).json(&json!({"version": 0})).send().await.expect_problem(404, "version_not_found");
    assert!(problem["detail"].as_str().unwrap().contains("versions 1 to 2"), "{problem}");
    // The version before has its own schema.
    job(&app, &id, "/revert", json!({"version": 1})).await;
    let row = get(&app, &id, "/rows?limit=1").await["items"][0].clone();
    assert!(row["seconds"].is_number(), "{row}");
    let appended = format!("/api/v1/datasets/{id}/append");
    let started = app.post(&appended).body("text/csv", calls(500, 5)).send().await.expect_status(202).json();
    app.wait_for_job(started["job_id"].as_str().unwrap()).await;
}

#[tokio::test]
async fn a_change_that_is_sent_twice_is_made_once() {
    let app = TestApp::start().await;
    let id = dataset(&app, &calls(0, 100)).await;
    let path = format!("/api/v1/datasets/{id}/schema");
    let mut wanted = fields(&app, &id).await;
    wanted[1]["role"] = json!("agent_id");
    let put = |key: &'static str, fields: &[Value]| {
        app.put(&path).header("idempotency-key", key).json(&json!({"fields": fields})).send()
    };
    let first = put("roles", &wanted).await.expect_status(200).json();
    assert_eq!(first["version"], 2);
    assert_eq!(put("roles", &wanted).await.expect_status(200).json(), first, "the saved answer");
    assert_eq!(get(&app, &id, "/schema").await["version"], 2);

    wanted[2]["type"] = json!("String");
    put("roles", &wanted).await.expect_problem(422, "idempotency_key_reused");
    let started = put("types", &wanted).await.expect_status(202).json();
    assert_eq!(put("types", &wanted).await.expect_status(202).json(), started, "one job");
    app.wait_for_job(started["job_id"].as_str().unwrap()).await;
    assert_eq!(get(&app, &id, "").await["schema_version"], 3);
}
