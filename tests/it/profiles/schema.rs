//! Discovery, edits and acceptance of a profile's schema.

use serde_json::{Value, json};

use crate::app::TestApp;

fn types(schema: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    schema["fields"].as_array().unwrap().iter().map(|field| (text(&field["name"]), text(&field["type"]))).collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, field_type)| ((*name).to_owned(), (*field_type).to_owned())).collect()
}

#[tokio::test]
async fn fields_are_discovered_until_the_schema_is_accepted() {
    let app = TestApp::start().await;
    let initial = app.get("/api/v1/agents/schema").send().await.expect_status(200).json();
    assert_eq!(types(&initial), pairs(&[("loginStatus", "Integer"), ("skills", "Dict"), ("groups", "List")]));
    assert_eq!(initial["accepted"], false);
    assert_eq!(types(&app.get("/api/v1/customers/schema").send().await.json()), []);

    let records = json!({"records": [
        {"id": "c1", "tier": "gold", "orders": 3, "since": "2021-03-04", "vip": true, "tags": ["a"], "scores": {"nps": 9}},
        {"id": "c2", "orders": 2.5, "tier": null},
    ]});
    app.post("/api/v1/customers/records").json(&records).send().await.expect_status(200);
    let found = app.get("/api/v1/customers/schema").send().await.json();
    let mut fields = types(&found);
    fields.sort();
    assert_eq!(
        fields,
        pairs(&[
            ("orders", "Float"),
            ("scores", "Dict"),
            ("since", "Timestamp"),
            ("tags", "List"),
            ("tier", "String"),
            ("vip", "Boolean")
        ])
    );

    let accepted = app.post("/api/v1/customers/schema/accept").send().await.expect_status(200).json();
    assert_eq!(
        (&accepted["accepted"], accepted["version"].as_u64()),
        (&json!(true), found["version"].as_u64().map(|v| v + 1))
    );
    assert_eq!(app.post("/api/v1/customers/schema/accept").send().await.expect_status(200).json(), accepted);
    let unknown = json!({"records": [{"id": "c3", "tier": "gold", "shoe": 43}]});
    let answer = app.post("/api/v1/customers/records").json(&unknown).send().await.expect_status(200).json();
    assert_eq!(answer["rejected"][0]["field"], "shoe");
}

#[tokio::test]
async fn a_schema_that_cannot_be_is_refused_with_the_place() {
    let app = TestApp::start().await;
    let mandatory = || {
        vec![
            json!({"name": "loginStatus", "type": "Integer"}),
            json!({"name": "skills", "type": "Dict"}),
            json!({"name": "groups", "type": "List"}),
        ]
    };
    for (extra, code, path) in [
        (json!({"name": "secret", "type": "String", "anonymize": true}), "not_available", "fields[3].anonymize"),
        (json!({"name": "", "type": "String"}), "invalid_schema", "fields[3].name"),
        (json!({"name": "id", "type": "String"}), "invalid_schema", "fields[3].name"),
        (json!({"name": "skills", "type": "Dict"}), "invalid_schema", "fields[3].name"),
        (json!({"name": "x", "type": "Colour"}), "invalid_body", "fields[3].type"),
        (json!({"name": "x", "type": "String", "size": 3}), "unknown_field", "fields[3].size"),
    ] {
        let mut fields = mandatory();
        fields.push(extra);
        let problem =
            app.put("/api/v1/agents/schema").json(&json!({"fields": fields})).send().await.expect_problem(422, code);
        assert!(
            problem["fields"][0]["path"].as_str().unwrap().starts_with(path.split(".size").next().unwrap()),
            "{problem}"
        );
    }
    let problem = app
        .put("/api/v1/agents/schema")
        .json(&json!({"fields": []}))
        .send()
        .await
        .expect_problem(422, "invalid_schema");
    assert!(problem["detail"].as_str().unwrap().contains("loginStatus"), "{problem}");
    assert_eq!(app.get("/api/v1/agents/schema").send().await.json()["accepted"], false);
}

#[tokio::test]
async fn a_type_changes_only_when_the_stored_values_fit() {
    let app = TestApp::start().await;
    let put = |fields: Value| app.put("/api/v1/customers/schema").json(&json!({"fields": fields})).send();
    put(json!([{"name": "orders", "type": "Integer"}, {"name": "tier", "type": "Integer"}])).await.expect_status(200);
    let records = json!({"records": [{"id": "c", "orders": 3}]});
    app.post("/api/v1/customers/records").json(&records).send().await.expect_status(200);
    // Nobody has a tier; an Integer is a Float, too.
    let changed = put(json!([{"name": "orders", "type": "Float"}, {"name": "tier", "type": "String"}]))
        .await
        .expect_status(200)
        .json();
    assert_eq!(changed["version"], 3);
    let problem = put(json!([{"name": "orders", "type": "Boolean"}])).await.expect_problem(422, "invalid_schema");
    assert_eq!(problem["fields"][0]["path"], "fields[0].type");
    // A field that goes is not shown any more.
    put(json!([{"name": "tier", "type": "String"}])).await.expect_status(200);
    assert_eq!(app.get("/api/v1/customers/records/c").send().await.json(), json!({"id": "c"}));
}
