//! Uploads as a client makes them: signed URLs, resuming, aborting, completing, and everything that must not work.

use base64::Engine;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::app::TestApp;

const PART: usize = 5 << 20;

/// A CSV of three parts of 5 MiB (the last one smaller).
fn three_parts() -> Vec<u8> {
    let mut text = String::from("call,agent,seconds\n");
    let mut row = 0;
    while text.len() < 2 * PART + 1_000_000 {
        text.push_str(&format!("call-{row},agent-{},{}\n", row % 100, row % 3_600));
        row += 1;
    }
    text.into_bytes()
}

async fn ask(app: &TestApp, size: usize, more: Value) -> Value {
    let mut body = json!({
        "target": "dataset", "filename": "calls.csv", "size_bytes": size, "mode": "create", "part_size_bytes": PART,
    });
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    app.post("/api/v1/uploads").json(&body).send().await.expect_status(201).json()
}

fn part(upload: &Value, number: usize) -> &Value {
    &upload["parts"][number - 1]
}

async fn try_put(app: &TestApp, part: &Value, bytes: &[u8]) -> reqwest::Result<Response> {
    let mut put = app.http.put(part["url"].as_str().unwrap()).body(bytes.to_vec());
    for (name, value) in part["headers"].as_object().unwrap() {
        put = put.header(name, value.as_str().unwrap());
    }
    put.send().await
}

async fn put(app: &TestApp, part: &Value, bytes: &[u8]) -> Response {
    try_put(app, part, bytes).await.unwrap()
}

/// Some services close the connection of a request that they refuse before they have read its body, and some call a link that lives too
/// long a bad request.
async fn is_refused(app: &TestApp, part: &Value, bytes: &[u8]) -> bool {
    match try_put(app, part, bytes).await {
        Ok(answer) => [StatusCode::FORBIDDEN, StatusCode::BAD_REQUEST].contains(&answer.status()),
        Err(error) => !error.is_timeout() && !error.is_connect(),
    }
}

async fn put_ok(app: &TestApp, part: &Value, bytes: &[u8]) -> Value {
    let answer = put(app, part, bytes).await;
    let status = answer.status();
    let etag = answer.headers().get("etag").map(|etag| etag.to_str().unwrap().to_owned());
    assert_eq!(status, StatusCode::OK, "{}", answer.text().await.unwrap());
    json!({"number": part["number"], "etag": etag.unwrap()})
}

fn path(upload: &Value, rest: &str) -> String {
    format!("/api/v1/uploads/{}{rest}", upload["id"].as_str().unwrap())
}

async fn complete(app: &TestApp, upload: &Value, parts: &[Value]) -> crate::app::Answer {
    app.post(&path(upload, "/complete")).json(&json!({"parts": parts})).send().await
}

fn checksum(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(Sha256::digest(bytes))
}

#[tokio::test]
async fn an_interrupted_upload_is_resumed_and_completed_once() {
    let app = TestApp::start().await;
    let bytes = three_parts();
    let upload = ask(&app, bytes.len(), json!({})).await;
    assert_eq!(upload["parts"].as_array().unwrap().len(), 3);
    assert_eq!(upload["via"], "object_store");
    let second = put_ok(&app, part(&upload, 2), &bytes[PART..2 * PART]).await;

    // Another day: what arrived is known, what is missing has fresh URLs.
    let waiting = app.get("/api/v1/uploads?state=receiving&target=dataset").send().await.ok().json();
    assert_eq!(waiting["items"][0]["id"], upload["id"], "what can be continued is listed: {waiting}");
    assert_eq!(waiting["items"][0]["size_bytes"], bytes.len());
    for none in ["state=completed", "target=agents"] {
        let listed = app.get(&format!("/api/v1/uploads?{none}")).send().await.ok().json();
        assert_eq!(listed, json!({"items": [], "next": null}));
    }
    let resumed = app.get(&path(&upload, "")).send().await.ok().json();
    assert_eq!(resumed["state"], "receiving");
    assert_eq!(part(&resumed, 2)["arrived"], true);
    assert!(part(&resumed, 2).get("url").is_none());
    assert_eq!(part(&resumed, 1)["arrived"], false);
    let first = put_ok(&app, part(&resumed, 1), &bytes[..PART]).await;

    let missing = complete(&app, &upload, &[first.clone(), second.clone()]).await;
    assert_eq!(missing.expect_problem(422, "missing_part")["part"], 3);
    let invented = json!({"number": 3, "etag": "\"abc\""});
    let missing = complete(&app, &upload, &[first.clone(), second.clone(), invented]).await;
    assert_eq!(missing.expect_problem(422, "missing_part")["part"], 3);
    let third = put_ok(&app, part(&resumed, 3), &bytes[2 * PART..]).await;
    let mixed = json!({"number": 3, "etag": second["etag"]});
    let mixed = complete(&app, &upload, &[first.clone(), second.clone(), mixed]).await;
    assert_eq!(mixed.expect_problem(422, "part_etag")["part"], 3);
    let unknown = complete(&app, &upload, &[json!({"number": 4, "etag": "x"})]).await;
    unknown.expect_problem(422, "unknown_part");

    // Parts may be named in any order; a second call gives the same answer, and so does a hundredth at once.
    let parts = [third, first, second];
    let once = complete(&app, &upload, &parts).await.expect_status(202).json();
    let twice = complete(&app, &upload, &parts).await.expect_status(202).json();
    assert_eq!(once, twice);
    assert!(once["job_id"].as_str().unwrap().starts_with("job_"));
    assert!(once["dataset_id"].as_str().unwrap().starts_with("ds_"));
    app.delete(&path(&upload, "")).send().await.expect_problem(409, "upload_completed");
    assert_eq!(app.get(&path(&upload, "")).send().await.ok().json()["state"], "completed");
}

#[tokio::test]
async fn many_completions_at_once_start_one_job() {
    let app = TestApp::start().await;
    let upload = ask(&app, 10, json!({})).await;
    let first = put_ok(&app, part(&upload, 1), b"a,b\n1,2\n3,").await;
    let parts = [first];
    let answers = futures::future::join_all((0..12).map(|_| complete(&app, &upload, &parts))).await;
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.expect_status(202).json()).collect();
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    let datasets = app.get("/api/v1/datasets").send().await.ok().json();
    assert_eq!(datasets["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_aborted_upload_takes_nothing_more() {
    let app = TestApp::start().await;
    let upload = ask(&app, 3, json!({})).await;
    let first = put_ok(&app, part(&upload, 1), b"abc").await;
    app.delete(&path(&upload, "")).send().await.expect_status(204);
    app.delete(&path(&upload, "")).send().await.expect_status(204);
    assert_eq!(put(&app, part(&upload, 1), b"abc").await.status(), 404);
    complete(&app, &upload, &[first]).await.expect_problem(410, "upload_aborted");
    app.put(&path(&upload, "/parts/1"))
        .body("application/octet-stream", "abc")
        .send()
        .await
        .expect_problem(410, "upload_aborted");
    app.get("/api/v1/uploads/upl_0").send().await.expect_problem(404, "upload_not_found");
}

#[tokio::test]
async fn parts_can_go_through_tango() {
    let app = TestApp::start().await;
    let bytes = three_parts();
    let upload = ask(&app, bytes.len(), json!({})).await;
    let send = |number: usize, bytes: &[u8]| {
        app.put(&path(&upload, &format!("/parts/{number}"))).body("application/octet-stream", bytes.to_vec()).send()
    };
    send(1, &bytes[..PART - 1]).await.expect_problem(422, "part_size");
    send(4, &bytes[..10]).await.expect_problem(404, "part_not_found");
    let mut parts = Vec::new();
    for (index, chunk) in bytes.chunks(PART).enumerate() {
        let answer = send(index + 1, chunk).await.expect_status(200);
        let body = answer.json();
        assert_eq!(answer.headers["etag"].to_str().unwrap(), body["etag"]);
        parts.push(body);
    }
    complete(&app, &upload, &parts).await.expect_status(202);
}

#[tokio::test]
async fn a_url_takes_its_part_and_nothing_else() {
    let app = TestApp::start().await;
    let bytes = three_parts();
    let upload = ask(&app, bytes.len(), json!({})).await;
    let other = ask(&app, bytes.len(), json!({})).await;
    let one = part(&upload, 1);

    assert!(is_refused(&app, one, &bytes[..PART - 1]).await, "a shorter body");
    assert!(is_refused(&app, one, &bytes[..PART + 1]).await, "a longer body");
    let changed = |from: &str, to: &str| {
        let mut part = one.clone();
        part["url"] = Value::from(one["url"].as_str().unwrap().replace(from, to));
        part
    };
    assert_ne!(changed("partNumber=1", "partNumber=2"), *one);
    assert!(is_refused(&app, &changed("partNumber=1", "partNumber=2"), &bytes[..PART]).await, "another part");
    let (mine, theirs) = (upload["id"].as_str().unwrap(), other["id"].as_str().unwrap());
    assert!(is_refused(&app, &changed(mine, theirs), &bytes[..PART]).await, "another upload");
    assert!(is_refused(&app, &changed("X-Amz-Expires=", "X-Amz-Expires=9"), &bytes[..PART]).await, "a longer life");
    let resumed = app.get(&path(&upload, "")).send().await.ok().json();
    assert!(resumed["parts"].as_array().unwrap().iter().all(|part| part["arrived"] == false));
}

#[tokio::test]
async fn checksummed_parts_cannot_be_swapped() {
    let app = TestApp::start().await;
    let bytes = three_parts();
    let checksums: Vec<String> = bytes.chunks(PART).map(checksum).collect();
    let upload = ask(&app, bytes.len(), json!({"sha256": checksums})).await;
    let (first, second) = (&bytes[..PART], &bytes[PART..2 * PART]);
    assert_eq!(put(&app, part(&upload, 1), second).await.status(), 400);
    let through = app.put(&path(&upload, "/parts/2")).body("application/octet-stream", first.to_vec()).send().await;
    through.expect_problem(422, "part_refused");
    put_ok(&app, part(&upload, 1), first).await;
    put_ok(&app, part(&upload, 2), second).await;
}

#[tokio::test]
async fn what_cannot_be_uploaded_is_said_at_once() {
    let app = TestApp::start_with(|config| config.limits.max_upload_bytes = 1_000_000).await;
    let refused = async |body: Value, status: u16, code: &str| {
        app.post("/api/v1/uploads").json(&body).send().await.expect_problem(status, code)
    };
    let ask = |more: Value| {
        let mut body = json!({"target": "dataset", "filename": "x.csv", "size_bytes": 10, "mode": "create"});
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        body
    };
    refused(ask(json!({"size_bytes": 0})), 422, "empty_file").await;
    let problem = refused(ask(json!({"size_bytes": 2_000_000})), 413, "too_large").await;
    assert!(problem["detail"].as_str().unwrap().contains("MAX_UPLOAD_BYTES"));
    refused(ask(json!({"colour": "red"})), 422, "unknown_field").await;
    refused(ask(json!({"separator": "x"})), 422, "invalid_body").await;
    refused(ask(json!({"encoding": "klingon"})), 422, "invalid_body").await;
    refused(ask(json!({"format": "xls"})), 422, "invalid_body").await;
    refused(ask(json!({"filename": ""})), 422, "invalid_body").await;
    refused(ask(json!({"mode": "append"})), 422, "invalid_body").await;
    refused(ask(json!({"mode": "append", "dataset_id": "ds_0"})), 404, "dataset_not_found").await;
    refused(ask(json!({"dataset_id": "ds_0"})), 422, "invalid_body").await;
    refused(ask(json!({"part_size_bytes": 10})), 422, "invalid_body").await;
    refused(ask(json!({"sha256": ["x"]})), 422, "invalid_body").await;
    refused(ask(json!({"id_field": "call"})), 422, "invalid_body").await;
    for id_field in ["ID", "_id", "Id", "_ID"] {
        let problem = refused(ask(json!({"target": "agents", "id_field": id_field})), 422, "bad_id_field").await;
        assert!(problem["detail"].as_str().unwrap().contains("Rename"), "{problem}");
    }
    let anonymous = app.http.post(format!("{}/api/v1/uploads", app.url)).json(&ask(json!({}))).send().await.unwrap();
    assert_eq!(anonymous.status(), 401);
}

#[tokio::test]
async fn the_same_key_asks_for_one_upload() {
    let app = TestApp::start().await;
    let body = json!({"target": "dataset", "filename": "x.csv", "size_bytes": 10, "mode": "create"});
    let first = app.post("/api/v1/uploads").header("idempotency-key", "k1").json(&body).send().await.expect_status(201);
    let again = app.post("/api/v1/uploads").header("idempotency-key", "k1").json(&body).send().await.expect_status(201);
    assert_eq!(first.json()["id"], again.json()["id"]);
}

#[tokio::test]
async fn where_parts_go_can_be_asked_before_an_upload() {
    let app = TestApp::start().await;
    let store = app.get("/api/v1/uploads/object_store").send().await.ok().json();
    // A service of the tests' own has a certificate of the tests' own.
    let certificate = if store["url"].as_str().unwrap().starts_with("https:") { "private" } else { "none" };
    assert_eq!((&store["reached"], &store["certificate"]), (&json!(true), &json!(certificate)));
    let made = app.post("/api/v1/uploads");
    let ask = json!({"target": "dataset", "name": "a", "filename": "a.csv", "size_bytes": 10, "mode": "create"});
    let made = made.json(&ask).send().await.expect_status(201).json();
    let url = made["parts"][0]["url"].as_str().unwrap();
    assert!(url.starts_with(store["url"].as_str().unwrap()), "{url} is under {store}");
}
