//! Certificates of one's own.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use tango::app::App;
use tango::clock::SystemClock;
use tango::config::Secret;

use crate::app::{TestApp, client_builder, test_config, until};
use crate::datasets::calls;

/// Writes a certificate for the loopback address; its PEM.
fn write_certificate(folder: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    made.cert.pem()
}

/// Whether a new connection by somebody who trusts only this certificate works.
async fn trusts(url: &str, pem: &str) -> bool {
    let certificate = reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
    let http = client_builder().add_root_certificate(certificate).build().unwrap();
    http.get(format!("{url}/login")).send().await.is_ok_and(|answer| answer.status() == 200)
}

#[tokio::test]
async fn a_changed_certificate_is_taken_into_use_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let first = write_certificate(folder.path());
    let mut config = test_config(folder.path());
    config.tls_cert_file = Some(folder.path().join("cert.pem"));
    config.tls_key_file = Some(folder.path().join("key.pem"));
    let app = App::start(config, Arc::new(SystemClock)).await.unwrap();
    assert!(app.url.starts_with("https://"), "{}", app.url);
    assert!(trusts(&app.url, &first).await);
    let second = write_certificate(folder.path());
    until("the new certificate", async || if trusts(&app.url, &second).await { Ok(()) } else { Err("the former one") })
        .await;
    assert!(!trusts(&app.url, &first).await);
    app.stop().await.unwrap();
}

#[tokio::test]
async fn files_go_to_the_embedded_object_store_by_https_under_the_generated_certificate() {
    let app = TestApp::start_with(|config| {
        config.listen = ([0, 0, 0, 0], 0).into();
        config.s3_listen = None;
    })
    .await;
    assert!(app.url.starts_with("https://"), "{}", app.url);
    let certificate = app.app.certificate.clone().unwrap();
    assert!(certificate.generated);
    let bytes = calls(0, 2_000).into_bytes();
    let ask = json!({"target": "dataset", "filename": "calls.csv", "size_bytes": bytes.len(), "mode": "create"});
    let upload = app.post("/api/v1/uploads").json(&ask).send().await.expect_status(201).json();
    let url = upload["parts"][0]["url"].as_str().unwrap();
    let port = app.app.objects_address.unwrap().port();
    assert!(url.starts_with(&format!("https://127.0.0.1:{port}/")), "{url}");
    let strict = client_builder().build().unwrap();
    assert!(strict.put(url).body("x").send().await.is_err(), "who does not trust the certificate sends nothing");
    // The whole way, with the part sent by its signed URL.
    let done = app.upload("dataset", &bytes, json!({})).await;
    assert_eq!(done["job"]["result"]["rows"], 2_000, "{done:#}");

    // Another node that uses this object store trusts it by the same certificate, and by no other means.
    let keys = std::fs::read(app.folder.path().join("data/object-store-keys.json")).unwrap();
    let keys: serde_json::Value = serde_json::from_slice(&keys).unwrap();
    let text = |name: &str| keys[name].as_str().unwrap().to_owned();
    let (access, secret) = (text("access_key"), text("secret_key"));
    let remote = |config: &mut tango::config::Config| {
        config.s3_endpoint = Some(format!("https://127.0.0.1:{port}"));
        config.s3_access_key = Some(access.clone());
        config.s3_secret_key = Some(Secret(secret.clone()));
    };
    let mut other = TestApp::start_with(|config| {
        remote(config);
        config.s3_ca_file = Some(certificate.certificate.clone());
    })
    .await;
    assert_eq!(other.app.objects_address, None);
    other.http = app.http.clone();
    let done = other.upload("dataset", &bytes, json!({})).await;
    assert_eq!(done["job"]["result"]["rows"], 2_000, "{done:#}");
    let folder = tempfile::tempdir().unwrap();
    let mut config = test_config(folder.path());
    remote(&mut config);
    let refused = App::start(config, Arc::new(SystemClock)).await.err().unwrap();
    assert!(refused.to_string().contains("S3_CA_FILE"), "{refused:#}");
}
