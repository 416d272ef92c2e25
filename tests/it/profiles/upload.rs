//! Files into profiles.

use serde_json::json;

use crate::app::TestApp;

#[tokio::test]
async fn a_first_file_makes_the_schema_and_is_counted_whole() {
    let app = TestApp::start().await;
    let mut file = "customer_id,tier,orders,since,postcode\n".to_owned();
    for n in 0..2_500 {
        file += &format!("c{n},{},{},2024-01-{:02},0{n:04}\n", ["gold", "silver"][n % 2], n % 30, n % 28 + 1);
    }
    let done = app.upload("customers", file.as_bytes(), json!({})).await;
    assert_eq!(done["job"]["state"], "succeeded", "{done:#}");
    assert_eq!(done["job"]["result"]["accepted"], 2_500);
    let schema = app.get("/api/v1/customers/schema").send().await.json();
    assert_eq!(schema["accepted"], true);
    let types: Vec<&str> =
        schema["fields"].as_array().unwrap().iter().map(|field| field["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["String", "Integer", "Timestamp", "String"]);
    let record = app.get("/api/v1/customers/records/c7").send().await.expect_status(200).json();
    let expected =
        json!({"id": "c7", "tier": "silver", "orders": 7, "since": "2024-01-08T00:00:00.000000Z", "postcode": "00007"});
    assert_eq!(record, expected);
    let counts = super::counts::counted_of(&app, "customers", 2_500).await;
    assert_eq!((&counts["records_counted"], &counts["records_pending"]), (&json!(2_500), &json!(0)));

    // The same file again changes nothing; a row of the wrong type is refused and listed.
    let done = app.upload("customers", file.as_bytes(), json!({"mode": "append"})).await;
    assert_eq!(done["job"]["result"]["unchanged"], 2_500, "{done:#}");
    let file = file.replace("c1,silver,1,", "c1,silver,many,").replace("c2,gold,", "c2,platinum,");
    let done = app.upload("customers", file.as_bytes(), json!({"mode": "append"})).await;
    let result = &done["job"]["result"];
    assert_eq!((&result["accepted"], &result["rejected"]), (&json!(1), &json!(1)), "{done:#}");
    let report = app.get("/api/v1/customers/rejected").send().await.expect_status(200).text;
    assert!(report.starts_with("line,column,value,reason\n3,orders,many,"), "{report}");
}

#[tokio::test]
async fn files_that_cannot_be_are_refused_with_words() {
    let app = TestApp::start().await;
    let refused = async |target: &str, file: &str, options: serde_json::Value| {
        let done = app.upload(target, file.as_bytes(), options).await;
        assert_eq!(done["job"]["state"], "failed", "{done:#}");
        done["job"]["error"].as_str().unwrap().to_owned()
    };
    let error = refused("customers", "name,tier\na,b\n", json!({})).await;
    assert!(error.contains("customer_id") && error.contains("name, tier"), "{error}");
    let error = refused("agents", "agent_id,id\na,b\n", json!({})).await;
    assert!(error.contains("Rename the column"), "{error}");
    app.upload("customers", b"customer_id,orders\nc1,1\n", json!({})).await;
    let error = refused("customers", "customer_id,orders,shoe\nc1,1,43\n", json!({"mode": "append"})).await;
    assert!(error.contains("shoe") && error.contains("PUT /api/v1/customers/schema"), "{error}");
    // Over a tenth of bad rows: nothing is added.
    let error = refused("customers", "customer_id,orders\nc2,2\nc3,x\n", json!({"mode": "append"})).await;
    assert!(error.contains("nothing was added"), "{error}");
    app.get("/api/v1/customers/records/c2").send().await.expect_problem(404, "customer_not_found");
    let report = app.get("/api/v1/customers/rejected").send().await.expect_status(200).text;
    assert!(report.contains("\n3,orders,x,"), "{report}");
}

/// Batches of a file are committed side by side, with the outcome of one after the other.
#[tokio::test]
async fn of_an_ids_rows_the_last_in_the_file_counts_wherever_they_are() {
    let app = TestApp::start().await;
    let mut file = "customer_id,orders\n".to_owned();
    // Each 700 rows all ids come again, so that neighbouring batches of 1,000 share some.
    for row in 0..9_800 {
        file += &format!("c{},{row}\n", row * 3 % 700);
    }
    let done = app.upload("customers", file.as_bytes(), json!({})).await;
    assert_eq!(done["job"]["result"]["accepted"], 9_800, "{done:#}");
    for row in 9_100..9_800 {
        let id = format!("c{}", row * 3 % 700);
        let record = app.get(&format!("/api/v1/customers/records/{id}")).send().await.expect_status(200).json();
        assert_eq!(record, json!({ "id": id, "orders": row }));
    }
    super::counts::counted_of(&app, "customers", 700).await;
}
