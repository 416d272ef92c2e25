//! Pages of rows by filter.

use serde_json::{Value, json};

use super::{calls, dataset, encoded, get, job};
use crate::app::TestApp;

#[tokio::test]
async fn rows_are_found_by_filter_page_by_page() {
    let app = TestApp::start().await;
    let id = dataset(&app, &calls(0, 3_000)).await;
    let all = async |filter: &str, limit: usize| {
        let mut calls: Vec<String> = Vec::new();
        let mut after = String::new();
        loop {
            let query = format!("/rows?filter={}&columns=call&limit={limit}{after}", encoded(filter));
            let page = get(&app, &id, &query).await;
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= limit);
            calls.extend(items.iter().map(|row| row["call"].as_str().unwrap().to_owned()));
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return calls,
            }
        }
    };
    assert_eq!(all("call=\"call-1234\"", 100).await, ["call-1234"]);
    let expected = |keep: &dyn Fn(usize) -> bool| -> Vec<String> {
        (0..3_000).filter(|row| keep(*row)).map(|row| format!("call-{row}")).collect()
    };
    assert_eq!(all("agent=\"agent-7\" & seconds>=300", 7).await, expected(&|r| r % 50 == 7 && r % 600 >= 300));
    assert_eq!(all("solved", 500).await, expected(&|r| r % 3 == 0));
    let either = all("(agent=\"agent-7\" | seconds<5) & !solved", 11).await;
    assert_eq!(either, expected(&|r| (r % 50 == 7 || r % 600 < 5) && r % 3 != 0));
    assert_eq!(all("started>=\"2024-05-03\"", 50).await.len(), 3_000 - 2_880);

    let hidden = get(&app, &id, "/rows?columns=call,seconds&limit=1").await;
    assert_eq!(hidden["items"], json!([{"call": "call-0", "seconds": 0}]));
    let path = |query: &str| format!("/api/v1/datasets/{id}/rows?{query}");
    let bad = app.get(&path(&format!("filter={}", encoded("agent=")))).send().await.expect_problem(422, "bad_filter");
    assert_eq!(bad["position"], 6);
    app.get(&path("columns=colour")).send().await.expect_problem(422, "unknown_column");
    app.get(&path("limit=0")).send().await.expect_problem(400, "bad_query");
    app.get(&path("after=xyz")).send().await.expect_problem(400, "bad_query");
    app.get(&path("colour=red")).send().await.expect_problem(400, "bad_query");
}

#[tokio::test]
async fn a_lookup_reads_little_and_pages_keep_their_version() {
    let app = TestApp::start().await;
    let id = dataset(&app, &calls(0, 100_000)).await;
    let query = format!("/rows?filter={}&columns=call,seconds", encoded("call=\"call-54321\""));
    let found = get(&app, &id, &query).await;
    assert_eq!(found["items"], json!([{"call": "call-54321", "seconds": 54_321 % 600}]));
    let read = found["cost"]["bytes_read"].as_u64().unwrap();
    let total = found["cost"]["bytes_total"].as_u64().unwrap();
    assert!(read * 4 < total, "{read} of {total} bytes were read");
    let again = get(&app, &id, &query).await;
    assert_eq!(again["items"], found["items"]);
    assert!(again["cost"]["bytes_read"].as_u64().unwrap() < read, "the segment's end is in memory: {}", again["cost"]);

    let first: Value = get(&app, &id, "/rows?limit=10&columns=call").await;
    job(&app, &id, "/delete_range", json!({"from": "2024-05-01T00:00:00Z", "to": "2024-05-20T00:00:00Z"})).await;
    let next = format!("/rows?limit=10&columns=call&after={}", first["next"].as_str().unwrap());
    let second = get(&app, &id, &next).await;
    assert_eq!((&second["version"], second["items"].as_array().unwrap().len()), (&json!(1), 10));
}
