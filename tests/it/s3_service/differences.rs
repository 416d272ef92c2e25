//! What differs between S3 services: what they lack, which addresses they have, how they take checksums.

use std::sync::Arc;

use base64::Engine as _;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tango::clock::{Clock as _, ManualClock, SystemClock};

use super::{Remote, Service, trusting};
use crate::app::{PASSWORD, TestApp, USERNAME};
use crate::datasets::calls;

#[tokio::test]
async fn what_a_service_has_is_set_up_and_what_it_lacks_is_told() {
    let remote = Remote::start().await;
    let objects = &remote.app.app.state.ctx.objects;
    let state = objects.examine().await.unwrap();
    println!("{state:#?}");
    assert!(state.is_there && !state.is_new);
    let names: Vec<&str> = state.features.iter().map(|feature| feature.name).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    for feature in &state.features {
        let what = feature.missing.clone().unwrap_or_default();
        assert!(what.is_empty() || what.contains(": "), "says why, and what that means: {what}");
        assert!(!what.contains("a start sets it"), "the start has set what can be set: {what}");
    }
    // Again and again, by every node that starts.
    assert_eq!(objects.set_up().await.unwrap(), state);

    // Where the service has rules for browsers, a browser is let in by them.
    if state.features[0].missing.is_none() {
        let ask = json!({"target": "dataset", "filename": "calls.csv", "size_bytes": 3, "mode": "create"});
        let upload = remote.app.post("/api/v1/uploads").json(&ask).send().await.expect_status(201).json();
        let url = upload["parts"][0]["url"].as_str().unwrap();
        let page = "https://tango.example.com";
        let asked = remote.app.http.request(Method::OPTIONS, url).header("origin", page);
        let asked = asked.header("access-control-request-method", "PUT").send().await.unwrap();
        assert!(asked.status().is_success(), "{asked:?}");
        let sent = remote.app.http.put(url).header("origin", page).body("a,b").send().await.unwrap();
        assert_eq!(sent.status(), 200);
        let exposed = sent.headers()["access-control-expose-headers"].to_str().unwrap().to_ascii_lowercase();
        assert!(exposed.contains("etag"), "{exposed}");
    }
}

#[tokio::test]
async fn clients_are_sent_to_the_public_address_and_the_program_uses_the_internal_one() {
    let service = Service::start();
    let inside = service.front().await;
    let outside = service.front().await;
    let public = service.at(&outside.url, &inside);
    let app = TestApp::start_with(|config| {
        public(config);
        config.s3_internal_endpoint = Some(inside.url.clone());
    })
    .await;
    assert_eq!(outside.requests(""), 0);
    let app = trusting(app, &outside);
    let done = app.upload("dataset", calls(0, 300).as_bytes(), json!({})).await;
    assert_eq!(done["job"]["result"]["rows"], 300, "{done:#}");
    assert_eq!(outside.requests(""), 1, "the part");
    assert!(inside.requests("") > 5);
}

#[tokio::test]
async fn parts_with_checksums_are_put_together() {
    let remote = Remote::start().await;
    let app = &remote.app;
    let bytes = calls(0, 1_000).into_bytes();
    let checksum = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(&bytes));
    let options = json!({"sha256": [checksum], "part_size_bytes": 5 << 20});
    let done = app.upload("dataset", &bytes, options.clone()).await;
    assert_eq!(done["job"]["result"]["rows"], 1_000, "{done:#}");
    // Other bytes of the same size are refused, where the service looks (s3s-fs does not).
    let mut ask = json!({"target": "dataset", "filename": "a.csv", "size_bytes": bytes.len(), "mode": "create"});
    for (name, value) in options.as_object().unwrap() {
        ask[name] = value.clone();
    }
    let upload = app.post("/api/v1/uploads").json(&ask).send().await.expect_status(201).json();
    let part = &upload["parts"][0];
    let mut put = app.http.put(part["url"].as_str().unwrap()).body(vec![b'x'; bytes.len()]);
    for (name, value) in part["headers"].as_object().unwrap() {
        put = put.header(name, value.as_str().unwrap());
    }
    let refused = put.send().await.unwrap();
    println!("other bytes than those of the checksum: {}", refused.status());
    assert!(refused.status().is_client_error() || !remote.service.is_embedded(), "{refused:?}");
    let path = format!("/api/v1/uploads/{}/parts/1", upload["id"].as_str().unwrap());
    let through = app.put(&path).body("application/octet-stream", bytes.clone()).send().await.expect_status(200);
    assert!(through.json()["etag"].is_string());
}

#[tokio::test]
async fn an_upload_that_nobody_completes_is_purged_from_the_service() {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let mut remote = Remote::start_with(clock.clone()).await;
    let ask = json!({"target": "dataset", "filename": "calls.csv", "size_bytes": 10, "mode": "create"});
    let upload = remote.app.post("/api/v1/uploads").json(&ask).send().await.expect_status(201).json();
    let id = upload["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/uploads/{id}/parts/1");
    remote.app.put(&path).body("application/octet-stream", "a,b\n1,2\n3,").send().await.expect_status(200);
    let aborted = remote.line("DELETE", &format!("/raw/{id}*=AbortMultipartUpload"));
    for (days, state) in [(6, "receiving"), (2, "expired")] {
        clock.advance(chrono::Duration::days(days));
        let app = &mut remote.app;
        app.token = app.sign_in(USERNAME, PASSWORD).await;
        tango::jobs::purging::schedule(&app.app.state.ctx).await.unwrap();
        let jobs: Value = app.get("/api/v1/jobs?topic=purging&sort=-created_at&limit=1").send().await.ok().json();
        app.wait_for_job(jobs["items"][0]["id"].as_str().unwrap()).await;
        let upload = app.get(&format!("/api/v1/uploads/{id}")).send().await.ok().json();
        assert_eq!(upload["state"], state, "{upload:#}");
    }
    assert_eq!(remote.front.requests(&aborted), 1);
}
