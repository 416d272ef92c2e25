//! What is around every endpoint: problems, ids, limits, repetition, events, settings.

use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::app::{Answer, PATIENCE, TestApp, until};
use crate::stores::on_mongodb;

#[tokio::test]
async fn unknown_addresses_and_methods_are_problems_too() {
    let test = TestApp::start().await;
    let problem = test.get("/api/v1/nonsense").send().await.expect_problem(404, "not_found");
    assert!(problem["detail"].as_str().unwrap().contains("/docs"));
    assert_eq!(problem["error_code"], 404);
    test.delete("/api/v1/auth/login").send().await.expect_problem(405, "method_not_allowed");
    test.get("/nonsense").send().await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn every_answer_is_named() {
    let test = TestApp::start().await;
    let first = test.get("/api/v1/auth/me").send().await.headers["x-request-id"].to_str().unwrap().to_owned();
    let answer = test.get("/api/v1/nonsense").send().await;
    let second = answer.headers["x-request-id"].to_str().unwrap().to_owned();
    assert!(first.starts_with("req_") && first != second);
    assert_eq!(answer.json()["request_id"], second.as_str());
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn a_large_body_is_refused_by_the_limits_name() {
    let test = TestApp::start_with(|config| config.limits.max_body_bytes = 2_000).await;
    let body = format!("{{\"username\":\"{}\"}}", "x".repeat(3_000));
    let answer = test.post("/api/v1/auth/login").body("application/json", body).send().await;
    let problem = answer.expect_problem(413, "too_large");
    assert!(problem["detail"].as_str().unwrap().contains("MAX_BODY_BYTES"));
}

#[tokio::test]
async fn a_body_that_comes_in_pieces_is_put_together_or_refused_by_its_size() {
    use tokio::io::AsyncWriteExt as _;
    let test = TestApp::start_with(|config| config.limits.max_body_bytes = 2_000).await;
    let mut stream = tokio::net::TcpStream::connect(test.app.address).await.unwrap();
    let head = "POST /api/v1/auth/login HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut ask = async |pieces: &[&str]| {
        stream.write_all(head.as_bytes()).await.unwrap();
        for piece in pieces {
            stream.write_all(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes()).await.unwrap();
        }
        stream.write_all(b"0\r\n\r\n").await.unwrap();
        read_answer(&mut stream).await
    };
    let answer = ask(&["{\"username\":", "\"nobody\",", "\"password\":\"wrong\"}"]).await;
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("invalid_credentials"), "{answer}");
    let long = "x".repeat(900);
    let answer = ask(&["{\"username\":\"", &long, &long, &long, "\"}"]).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("MAX_BODY_BYTES"), "{answer}");
    let answer = ask(&["{}"]).await;
    assert!(answer.starts_with("HTTP/1.1 422 "), "the connection goes on: {answer}");
    // After a piece without a size nobody knows where the next request begins.
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(b"zz\r\n").await.unwrap();
    let answer = read_answer(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("connection: close"), "{answer}");
}

/// Reads an answer's head and body from a connection that stays open.
async fn read_answer(stream: &mut tokio::net::TcpStream) -> String {
    use tokio::io::AsyncReadExt as _;
    let mut text = String::new();
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_lowercase();
            let length = length.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        let mut buffer = [0; 4096];
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap().unwrap();
        assert!(read > 0, "the connection was closed after {text:?}");
        text += std::str::from_utf8(&buffer[..read]).unwrap();
    }
}

#[tokio::test]
async fn a_connection_survives_a_refusal_that_comes_before_the_body() {
    use tokio::io::AsyncWriteExt as _;
    let test = TestApp::start().await;
    let token = &test.token;
    let mut stream = tokio::net::TcpStream::connect(test.app.address).await.unwrap();
    let body = "x".repeat(300_000);
    for (line, headers, status) in [
        ("POST /api/v1/agents/records", String::new(), 401),
        ("POST /api/v1/nonsense", String::new(), 404),
        ("DELETE /api/v1/auth/login", String::new(), 405),
        ("POST /api/v1/auth/login", "Content-Type: text/plain\r\n".to_owned(), 415),
        ("POST /api/v1/auth/login", "Content-Encoding: gzip\r\n".to_owned(), 415),
        ("POST /api/v1/predictors", format!("Authorization: Bearer {token}\r\nIdempotency-Key: \r\n"), 400),
    ] {
        let head = format!("{line} HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = read_answer(&mut stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {answer}");
        stream.write_all(body.as_bytes()).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: t\r\n\r\n").await.unwrap();
        let answer = read_answer(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "after {line}: {answer}");
    }
    // What is absurdly large is refused before it comes, and the client is told that the connection ends.
    let head = "POST /api/v1/auth/login HTTP/1.1\r\nHost: t\r\nContent-Length: 9000000000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_answer(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn bodies_of_another_shape_are_told_in_words() {
    let test = TestApp::start().await;
    let ask = async |path: &str, body: Value| {
        let problem = test.post(path).json(&body).send().await.expect_problem(422, "invalid_body");
        (problem["fields"][0]["path"].as_str().unwrap().to_owned(), problem["detail"].as_str().unwrap().to_owned())
    };
    let upload = |key: &str, value: Value| {
        let mut body = json!({"target": "dataset", "filename": "a.csv", "size_bytes": 10});
        body[key] = value;
        body
    };
    for (path, body, place, hint) in [
        ("auth/login", json!(["user", "pw", null]), "the body", "an object is expected, not a list"),
        ("auth/login", json!({"username": 1, "password": "x"}), "username", "a text is expected, not 1"),
        ("auth/login", json!({"username": "u"}), "password", "is missing"),
        ("uploads", upload("target", Value::Null), "target", "one of `dataset`, `agents`, `customers`"),
        ("uploads", upload("mode", json!(3)), "mode", "one of `create`, `append`"),
        ("uploads", upload("size_bytes", json!(-1)), "size_bytes", "a whole number ≥ 0 is expected, not -1"),
        ("uploads", upload("part_size_bytes", json!(1_000_000_000_000_000u64)), "part_size_bytes", "at most"),
        ("reports", json!({"kind": 1}), "kind", "one of `feature_analysis`"),
        ("score_log", json!({"interaction_id": "a", "predictor": "p", "mode": true}), "mode", "`dry_run`"),
        ("predictors", json!({"name": "p", "metric": ["a", "classification", "maximize"]}), "metric", "an object"),
        ("predictors", json!({"name": "p", "from": "03.01.2024"}), "from", "2024-05-01T08:30:00Z"),
        ("predictors", json!({"name": "p", "from": "2024-13-03"}), "from", "a day such as 2024-05-01"),
    ] {
        let (found, detail) = ask(&format!("/api/v1/{path}"), body.clone()).await;
        assert!(found == place && detail.contains(hint), "{path} {body}: {found}: {detail}");
        for leaked in ["struct", "usize", "u64", "i64", "f64", "at line"] {
            assert!(!detail.contains(leaked), "{detail}");
        }
    }
}

#[tokio::test]
async fn a_query_parameter_that_nobody_reads_is_named() {
    let test = TestApp::start().await;
    for (path, known) in [
        ("datasets?nmae=x", "limit, after, sort, state, name"),
        ("agents/records?fliter=x", "filter"),
        ("customers/records?limit=3&colour=red", "filter"),
        ("jobs?limt=3", "topic"),
        ("reports?x=1", "kind"),
        ("predictors?x=1", "name"),
        ("models?x=1", "predictor_id"),
        ("score_log?x=1", "agent_id"),
    ] {
        let problem = test.get(&format!("/api/v1/{path}")).send().await.expect_problem(400, "bad_query");
        assert!(problem["detail"].as_str().unwrap().contains(known), "{problem}");
    }
    for path in ["predictors?name=fcr", "reports?kind=model_quality&model_id=mdl_0"] {
        let list = test.get(&format!("/api/v1/{path}")).send().await.expect_status(200).json();
        assert_eq!(list["items"], json!([]));
    }
}

#[tokio::test]
async fn figures_and_the_openapi_document_are_there() {
    let test = TestApp::start().await;
    test.get("/api/v1/auth/me").send().await.ok();
    let metrics = test.get("/metrics").send().await.expect_status(200);
    assert!(metrics.text.contains("tango_http_requests_total{"), "{}", metrics.text);
    assert!(metrics.text.contains("route=\"/api/v1/auth/me\""), "{}", metrics.text);
    let document = test.get("/api/v1/openapi.json").send().await.ok().json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    for path in ["/api/v1/jobs/{id}/cancel", "/api/v1/uploads", "/api/v1/cluster"] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
    assert!(document["components"]["securitySchemes"]["token"].is_object());
}

/// Every operation of the document: method, path, and what is said of it.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            all.push((method.clone(), path.clone(), operation.clone()));
        }
    }
    all
}

#[tokio::test]
async fn the_document_tells_of_every_problem_and_of_the_key_where_it_is_honoured() {
    let test = TestApp::start().await;
    let document = test.get("/api/v1/openapi.json").send().await.ok().json();
    for (method, path, operation) in operations(&document) {
        let responses = operation["responses"].as_object().unwrap();
        let problem = &responses["default"]["content"]["application/problem+json"]["schema"]["$ref"];
        assert_eq!(problem, "#/components/schemas/ProblemBody", "{method} {path}");
        assert!(responses.contains_key("401"), "{method} {path}");
        assert!(!path.contains('{') || responses.contains_key("404"), "{method} {path}");
        for (status, response) in responses.iter().filter(|(status, _)| status.as_str() >= "400") {
            assert!(response["content"]["application/json"].is_null(), "{method} {path} {status}");
        }
        // A key that is too long is refused wherever a key is read.
        let honoured = operation["parameters"].to_string().contains("Idempotency-Key");
        let method = reqwest::Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        if method == "GET" || path.contains("/auth/") {
            continue;
        }
        let address = path.replace("{number}", "1").replace(['{', '}'], "");
        let answer = test.request(method, &address).header("idempotency-key", &"k".repeat(256)).json(&json!({}));
        let refused = answer.send().await.text.contains("bad_idempotency_key");
        assert_eq!(refused, honoured, "{path}");
    }
    let artifact = &document["paths"]["/api/v1/models/{id}/artifact"]["get"]["responses"]["200"]["content"];
    assert_eq!(artifact["application/octet-stream"]["schema"]["format"], "binary");
    let parameters = &document["paths"]["/api/v1/datasets"]["get"]["parameters"];
    let limit = parameters.as_array().unwrap().iter().find(|one| one["name"] == "limit").unwrap();
    assert_eq!((&limit["schema"]["minimum"], &limit["schema"]["maximum"]), (&json!(1), &json!(500)), "{limit}");
    let metric = document["components"]["schemas"]["ScoreLogBody"]["properties"]["metric"].to_string();
    assert!(!metric.contains("\"object\""), "{metric}");
}

#[tokio::test]
async fn the_log_level_changes_while_running() {
    let test = TestApp::start().await;
    let path = "/api/v1/settings/log_level";
    let problem = test.put(path).json(&json!({"level": "LOUD"})).send().await.expect_problem(422, "bad_log_level");
    assert_eq!(problem["fields"][0]["path"], "level");
    test.put(path).json(&json!({"level": "debug"})).send().await.ok();
    assert_eq!(test.get(path).send().await.json()["level"], "DEBUG");
    let auth = &test.app.state.auth;
    let account = auth.default_account().await.unwrap().id;
    auth.add_user(&account, "ana@example.com", "ana's password", false).await.unwrap();
    let token = test.sign_in("ana@example.com", "ana's password").await;
    let answer = test.http.put(format!("{}{path}", test.url)).bearer_auth(token).json(&json!({"level": "INFO"}));
    Answer::read(answer.send().await.unwrap()).await.expect_problem(403, "forbidden");
}

#[tokio::test]
async fn the_cluster_lists_this_node_and_the_stores_members() {
    let test = TestApp::start().await;
    let cluster = until("the node's entry", async || {
        let cluster = test.get("/api/v1/cluster").send().await.ok().json();
        if cluster["nodes"][0]["state"] == "ready" { Ok(cluster) } else { Err(cluster) }
    })
    .await;
    assert_eq!(cluster["mode"], if on_mongodb() { "cluster" } else { "single-node" });
    assert_eq!(cluster["nodes"].as_array().unwrap().len(), 1);
    assert_eq!(cluster["nodes"][0]["role"], "server and worker");
    assert_eq!((&cluster["store"][0]["state"], &cluster["writable"]), (&json!("primary"), &json!(true)));
    assert_eq!(cluster["queues"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn the_same_key_and_body_have_their_effect_once() {
    let test = TestApp::start().await;
    let send = async |key: &str, id: &str| {
        let body = json!({"records": [{"id": id, "loginStatus": 4}]});
        test.post("/api/v1/agents/records").header("idempotency-key", key).json(&body).send().await
    };
    let first = send("k1", "a1").await.expect_status(200);
    assert!(!first.headers.contains_key("idempotency-replayed"));
    let again = send("k1", "a1").await.expect_status(200);
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(first.json(), again.json());
    send("k1", "a2").await.expect_problem(422, "idempotency_key_reused");
    send("k2", "a2").await.expect_status(200);
    send(&"k".repeat(256), "a3").await.expect_problem(400, "bad_idempotency_key");

    // At the same time: one has the effect, the others are told to come back, or get its answer.
    let answers = futures::future::join_all((0..8).map(|_| send("k3", "a4"))).await;
    let mut fresh = 0;
    for answer in answers {
        match answer.status.as_u16() {
            200 => fresh += usize::from(!answer.headers.contains_key("idempotency-replayed")),
            409 => assert_eq!(answer.json()["code"], "in_flight"),
            other => panic!("{other}: {}", answer.text),
        }
    }
    assert_eq!(fresh, 1);
}

#[tokio::test]
async fn jobs_are_listed_told_and_controlled() {
    let test = TestApp::start().await;
    let job = test.post("/api/v1/agents/compute_cardinalities").send().await.expect_status(202).json();
    let id = job["job_id"].as_str().unwrap();
    let job = test.wait_for_job(id).await;
    assert_eq!(job["topic"], "analysis");
    let path = format!("/api/v1/jobs/{id}");
    test.post(&format!("{path}/cancel")).send().await.expect_problem(409, "job_finished");
    test.post(&format!("{path}/retry")).send().await.expect_problem(409, "job_finished");
    test.get("/api/v1/jobs/job_0").send().await.expect_problem(404, "job_not_found");
    test.get("/api/v1/jobs/nonsense").send().await.expect_problem(404, "job_not_found");
    let list = test.get("/api/v1/jobs?topic=analysis&state=succeeded&limit=1").send().await.ok().json();
    assert_eq!(list["items"][0]["id"], id);
    for bad in ["limit=0", "limit=501", "sort=colour", "state=lazy", "after=nonsense"] {
        test.get(&format!("/api/v1/jobs?{bad}")).send().await.expect_status(400);
    }
}

#[tokio::test]
async fn changes_are_told_while_somebody_listens_and_a_stop_is_not_held_up() {
    let test = TestApp::start().await;
    let request = test.http.get(format!("{}/api/v1/events", test.url)).bearer_auth(&test.token);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut stream = answer.bytes_stream();
    let mut text = String::new();
    let mut job_id = None;
    let listening = async {
        loop {
            text += std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap();
            if job_id.is_none() && text.contains("event: cluster") {
                let job = test.post("/api/v1/agents/compute_cardinalities").send().await.ok().json();
                job_id = Some(job["job_id"].as_str().unwrap().to_owned());
            }
            let ended = text.lines().filter_map(|line| line.strip_prefix("data: ")).any(|data| {
                let data: Value = serde_json::from_str(data).unwrap_or_default();
                data["id"].as_str() == job_id.as_deref() && job_id.is_some() && data["state"] == "succeeded"
            });
            if ended {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, listening).await.unwrap();
    // The stream is still open: stopping ends it.
    tokio::time::timeout(PATIENCE, test.stop()).await.unwrap();
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_given_up_and_a_stream_is_not() {
    let test = TestApp::start_with(|config| config.gunicorn_timeout_seconds = 1).await;
    let events = test.http.get(format!("{}/api/v1/events", test.url)).bearer_auth(&test.token).send().await.unwrap();
    let mut events = events.bytes_stream();
    // A body that begins and never ends.
    let (sender, body) = tokio::sync::mpsc::channel::<std::io::Result<&'static str>>(1);
    sender.send(Ok("{\"records\": [")).await.unwrap();
    let body = reqwest::Body::wrap_stream(tokio_stream::wrappers::ReceiverStream::new(body));
    let slow = test.post("/api/v1/agents/records").body("application/json", body).send().await;
    let problem = slow.expect_problem(504, "request_timeout");
    assert!(problem["detail"].as_str().unwrap().contains("1 seconds (GUNICORN_TIMEOUT)"), "{problem:#}");
    drop(sender);
    // The stream that was open all the while goes on.
    let job = test.post("/api/v1/agents/compute_cardinalities").send().await.ok().json();
    let id = job["job_id"].as_str().unwrap();
    let mut text = String::new();
    let told = async {
        while !text.contains(id) {
            text += std::str::from_utf8(&events.next().await.unwrap().unwrap()).unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, told).await.unwrap();
}
