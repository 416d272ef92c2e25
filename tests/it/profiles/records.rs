//! Posting, reading, filtering, changing and removing records.

use serde_json::{Value, json};

use super::url_encode;
use crate::app::TestApp;

async fn post(app: &TestApp, records: Value) -> Value {
    app.post("/api/v1/agents/records").json(&json!({"records": records})).send().await.expect_status(200).json()
}

async fn ids(app: &TestApp, filter: &str) -> Vec<String> {
    let filter: String = url_encode(filter);
    let page =
        app.get(&format!("/api/v1/agents/records?filter={filter}&limit=500")).send().await.expect_status(200).json();
    page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_first_post_is_stored_whole_and_read_back() {
    let app = TestApp::start().await;
    let answer = post(
        &app,
        json!([{"id": "a-1", "version": 3, "loginStatus": 4, "skills": {"English": 5}, "groups": ["Billing"], "site": "Oslo"}]),
    )
    .await;
    assert_eq!(
        answer,
        json!({"accepted": 1, "unchanged": 0, "stale": 0, "rejected": [], "cardinalities": {"pending": 1, "every": 1000}})
    );
    let record = app.get("/api/v1/agents/records/a-1").send().await.expect_status(200).json();
    assert_eq!(
        record,
        json!({"id": "a-1", "version": 3, "loginStatus": 4, "skills": {"English": 5}, "groups": ["Billing"], "site": "Oslo"})
    );
    // What was read can be posted again: nothing changes.
    assert_eq!(post(&app, json!([record])).await["unchanged"], 1);
    app.get("/api/v1/agents/records/nobody").send().await.expect_problem(404, "agent_not_found");
    app.get("/api/v1/customers/records/a-1").send().await.expect_problem(404, "customer_not_found");
}

#[tokio::test]
async fn an_odd_record_does_not_change_the_type_of_a_mandatory_field() {
    let app = TestApp::start().await;
    let answer = post(&app, json!([{"id": "b", "loginStatus": 1.5}, {"id": null}])).await;
    assert_eq!(answer["accepted"], 0);
    assert_eq!((&answer["rejected"][0]["id"], &answer["rejected"][0]["field"]), (&json!("b"), &json!("loginStatus")));
    assert_eq!(answer["rejected"][1]["id"], Value::Null);
    let mut file = "agent_id,loginStatus\n".to_owned();
    (0..30).for_each(|n| file += &format!("a{n},{}\n", if n == 7 { "1.5" } else { "1" }));
    let done = app.upload("agents", file.as_bytes(), json!({"accept_schema": false})).await;
    let result = &done["job"]["result"];
    assert_eq!((&result["accepted"], &result["rejected"]), (&json!(29), &json!(1)), "{done:#}");
    let report = app.get("/api/v1/agents/rejected").send().await.expect_status(200).text;
    assert!(report.contains("\n9,loginStatus,1.5,"), "{report}");
    let schema = app.get("/api/v1/agents/schema").send().await.json();
    assert_eq!(schema["fields"][0]["type"], "Integer", "{schema:#}");
}

#[tokio::test]
async fn versions_decide_which_record_stays() {
    let app = TestApp::start().await;
    post(&app, json!([{"id": "a", "version": 5, "loginStatus": 5}])).await;
    let answer = post(
        &app,
        json!([{"id": "a", "version": 4, "loginStatus": 4}, {"id": "a", "version": 5, "loginStatus": 5}, {"id": "a", "version": 6, "loginStatus": 6}]),
    )
    .await;
    assert_eq!((&answer["stale"], &answer["unchanged"], &answer["accepted"]), (&json!(1), &json!(1), &json!(1)));
    let record = app.get("/api/v1/agents/records/a").send().await.json();
    assert_eq!((&record["loginStatus"], &record["version"]), (&json!(6), &json!(6)));
}

#[tokio::test]
async fn one_bad_record_does_not_stop_the_others() {
    let app = TestApp::start().await;
    let fields = json!({"fields": [{"name": "loginStatus", "type": "Integer"}, {"name": "skills", "type": "Dict"}, {"name": "groups", "type": "List"}]});
    app.put("/api/v1/agents/schema").json(&fields).send().await.expect_status(200);
    let long = "x".repeat(10_240);
    let answer = post(
        &app,
        json!([
            {"id": "good", "loginStatus": 1},
            {"id": long, "loginStatus": 1},
            {"id": "typed", "loginStatus": "four"},
            {"id": "unknown", "colour": "red"},
            {"loginStatus": 1},
            {"id": "good too"},
        ]),
    )
    .await;
    assert_eq!(answer["accepted"], 2);
    let rejected = answer["rejected"].as_array().unwrap();
    let faults: Vec<_> =
        rejected.iter().map(|r| (r["index"].as_u64().unwrap(), r["field"].as_str().unwrap())).collect();
    assert_eq!(faults, [(1, "id"), (2, "loginStatus"), (3, "colour"), (4, "id")]);
    assert!(rejected[0]["reason"].as_str().unwrap().contains("10240 bytes; at most 512 are allowed (MAX_ID_BYTES)"));
    assert!(rejected[0]["id"].as_str().unwrap().len() < 100);
    assert!(rejected[1]["reason"].as_str().unwrap().contains("whole number"));
    assert!(rejected[2]["reason"].as_str().unwrap().contains("PUT /api/v1/agents/schema"));
}

#[tokio::test]
async fn calls_that_make_no_sense_are_refused_as_a_whole() {
    let app = TestApp::start().await;
    let ask = |body: Value| app.post("/api/v1/agents/records").json(&body).send();
    ask(json!({"records": []})).await.expect_problem(422, "no_records");
    let many: Vec<Value> = (0..5_001).map(|id| json!({"id": id.to_string()})).collect();
    let problem = ask(json!({"records": many})).await.expect_problem(422, "too_many_records");
    assert!(problem["detail"].as_str().unwrap().contains("5000"), "{problem}");
    ask(json!({"records": [], "colour": 1})).await.expect_problem(422, "unknown_field");
    ask(json!({"agents": []})).await.expect_problem(422, "unknown_field");
    let no_token =
        app.http.post(format!("{}/api/v1/agents/records", app.url)).json(&json!({"records": []})).send().await;
    assert_eq!(no_token.unwrap().status(), 401);
}

#[tokio::test]
async fn the_same_key_has_its_effect_once() {
    let app = TestApp::start().await;
    let ask = |key: &'static str, status: u32| {
        let body = json!({"records": [{"id": "a", "loginStatus": status}, {"id": 7}]});
        app.post("/api/v1/agents/records").header("idempotency-key", key).json(&body).send()
    };
    let first = ask("k1", 4).await.expect_status(200).json();
    post(&app, json!([{"id": "a", "loginStatus": 9}])).await;
    let again = ask("k1", 4).await.expect_status(200);
    assert_eq!(again.json(), first);
    assert_eq!(app.get("/api/v1/agents/records/a").send().await.json()["loginStatus"], 9);
    ask("k1", 5).await.expect_problem(422, "idempotency_key_reused");
}

#[tokio::test]
async fn filters_choose_and_pages_cover_everything_once() {
    let app = TestApp::start().await;
    let records: Vec<Value> = (0..250)
        .map(|n| json!({"id": format!("a{n:03}"), "loginStatus": n % 10, "skills": {"English": n % 6}, "groups": if n % 2 == 0 { json!(["Billing"]) } else { json!([]) }, "tenure": f64::from(n) / 4.0}))
        .collect();
    post(&app, Value::Array(records)).await;
    let chosen = ids(&app, "&English>3 & (loginStatus=4|loginStatus=9) & Billing").await;
    let expected: Vec<String> =
        (0..250).filter(|n| n % 6 > 3 && matches!(n % 10, 4 | 9) && n % 2 == 0).map(|n| format!("a{n:03}")).collect();
    assert_eq!(chosen, expected);
    assert!(!expected.is_empty());
    assert_eq!(ids(&app, "id = \"a007\"").await, ["a007"]);
    assert_eq!(ids(&app, "French != 3 & tenure > 62").await, ["a249"]);

    let mut seen = Vec::new();
    let mut path = "/api/v1/agents/records?limit=60&sort=-tenure".to_owned();
    loop {
        let page = app.get(&path).send().await.expect_status(200).json();
        seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => path = format!("/api/v1/agents/records?limit=60&sort=-tenure&after={}", url_encode(next)),
            None => break,
        }
    }
    assert_eq!(seen, (0..250).rev().map(|n| format!("a{n:03}")).collect::<Vec<_>>());
    app.get("/api/v1/agents/records?sort=height").send().await.expect_problem(400, "bad_query");
}

#[tokio::test]
async fn a_filter_that_does_not_parse_is_a_422_with_its_position() {
    let app = TestApp::start().await;
    for (filter, position) in
        [("English >", 9), ("loginStatus=4 & (", 17), ("loginStatus = \"4\"", 14), ("Größe = 'x'", 8)]
    {
        let path = format!("/api/v1/agents/records?filter={}", url_encode(filter));
        let problem = app.get(&path).send().await.expect_problem(422, "bad_filter");
        assert_eq!(problem["position"], position, "{problem}");
    }
}

#[tokio::test]
async fn single_records_are_changed_and_removed() {
    let app = TestApp::start().await;
    post(&app, json!([{"id": "a/1 ?", "version": 2, "loginStatus": 1, "site": "Oslo"}])).await;
    let path = format!("/api/v1/agents/records/{}", url_encode("a/1 ?"));
    let changed = app
        .patch(&path)
        .json(&json!({"loginStatus": 4, "site": null, "version": 3}))
        .send()
        .await
        .expect_status(200)
        .json();
    assert_eq!(changed, json!({"id": "a/1 ?", "version": 3, "loginStatus": 4}));
    assert_eq!(app.get(&path).send().await.json(), changed);
    app.patch(&path).json(&json!({"loginStatus": 5, "version": 1})).send().await.expect_problem(409, "stale_version");
    let problem =
        app.patch(&path).json(&json!({"loginStatus": "x"})).send().await.expect_problem(422, "invalid_record");
    assert_eq!(problem["fields"][0]["path"], "loginStatus");
    app.patch(&path).json(&json!({"id": "other"})).send().await.expect_problem(422, "invalid_record");
    app.delete(&path).send().await.expect_status(204);
    app.delete(&path).send().await.expect_problem(404, "agent_not_found");
    app.patch(&path).json(&json!({})).send().await.expect_problem(404, "agent_not_found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_of_the_same_records_never_lose_a_change() {
    let app = TestApp::start().await;
    let (url, token) = (app.url.clone(), app.token.clone());
    let clients: Vec<_> = (0..8_i64)
        .map(|client| {
            let (http, url, token) = (app.http.clone(), format!("{url}/api/v1/agents/records"), token.clone());
            tokio::spawn(async move {
                let mut accepted = 0;
                for round in 0..10 {
                    let version = round * 8 + client + 1;
                    let records: Vec<Value> = (0..20)
                        .map(|id| json!({"id": format!("a{id}"), "version": version, "loginStatus": version}))
                        .collect();
                    let answer =
                        http.post(&url).bearer_auth(&token).json(&json!({"records": records})).send().await.unwrap();
                    assert_eq!(answer.status(), 200);
                    let answer: Value = answer.json().await.unwrap();
                    assert_eq!(answer["accepted"].as_u64().unwrap() + answer["stale"].as_u64().unwrap(), 20);
                    accepted += answer["accepted"].as_u64().unwrap();
                }
                accepted
            })
        })
        .collect();
    let mut accepted = 0;
    for client in clients {
        accepted += client.await.unwrap();
    }
    for id in 0..20 {
        let record = app.get(&format!("/api/v1/agents/records/a{id}")).send().await.json();
        assert_eq!((&record["version"], &record["loginStatus"]), (&json!(80), &json!(80)));
    }
    let counts = app.get("/api/v1/agents/cardinalities").send().await.json();
    let total = counts["records_pending"].as_u64().unwrap() + counts["records_counted"].as_u64().unwrap();
    assert_eq!(total, accepted);
}
