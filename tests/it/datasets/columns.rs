//! What the values of columns look like, and how that is paged, filtered and refused.

use serde_json::{Value, json};

use super::{calls, dataset, get};
use crate::app::TestApp;

fn of<'a>(columns: &'a Value, name: &str) -> &'a Value {
    columns["items"].as_array().unwrap().iter().find(|column| column["name"] == name).unwrap()
}

#[tokio::test]
async fn columns_are_described_with_histograms_frequent_values_and_an_association() {
    let app = TestApp::start().await;
    let id = dataset(&app, &calls(0, 3_000)).await;
    let columns = get(&app, &id, "/columns?target=solved").await;
    assert_eq!((&columns["rows_total"], &columns["columns_total"]), (&json!(3_000), &json!(5)));
    let agent = of(&columns, "agent");
    assert_eq!((&agent["rows"], &agent["missing"], &agent["distinct"]), (&json!(3_000), &json!(0), &json!(50)));
    assert_eq!(agent["top"][0]["rows"], 60);
    let seconds = of(&columns, "seconds");
    let counted: u64 = seconds["histogram"].as_array().unwrap().iter().map(|bin| bin["rows"].as_u64().unwrap()).sum();
    assert_eq!(counted, 3_000);
    assert_eq!(seconds["quantiles"]["median"], 300.0);
    // Every third call is solved, whoever takes it and however long it lasts.
    assert!(seconds["association"].as_f64().unwrap() < 0.01, "{seconds:#}");
    assert_eq!(of(&columns, "solved")["association"], Value::Null, "of the target itself");
}

#[tokio::test]
async fn one_column_is_described_over_time() {
    let app = TestApp::start().await;
    let id = dataset(&app, &calls(0, 3_000)).await;
    let call = get(&app, &id, "/columns/call").await;
    let periods = call["over_time"].as_array().unwrap();
    assert_eq!(periods.len(), 24);
    assert_eq!(periods.iter().map(|period| period["rows"].as_u64().unwrap()).sum::<u64>(), 3_000);
    assert_eq!(periods[23]["distinct_so_far"], 3_000, "each call once");
}

#[tokio::test]
async fn columns_come_in_pages_and_unknown_ones_are_refused() {
    let app = TestApp::start().await;
    let id = dataset(&app, &calls(0, 100)).await;
    let first = get(&app, &id, "/columns?limit=2").await;
    let next = first["next"].as_str().unwrap();
    let second = get(&app, &id, &format!("/columns?limit=3&after={next}")).await;
    assert_eq!((first["items"].as_array().unwrap().len(), second["items"].as_array().unwrap().len()), (2, 3));
    assert_eq!(second["next"], Value::Null);
    assert_eq!(get(&app, &id, "/columns?name=SEC").await["items"][0]["name"], "seconds");
    let path = format!("/api/v1/datasets/{id}/columns");
    app.get(&format!("{path}/nonsense")).send().await.expect_problem(422, "unknown_column");
    app.get(&format!("{path}?names=call,nonsense")).send().await.expect_problem(422, "unknown_column");
    app.get(&format!("{path}?limit=0")).send().await.expect_problem(400, "bad_query");
    app.get(&format!("{path}?after=nonsense")).send().await.expect_problem(400, "bad_query");
}
