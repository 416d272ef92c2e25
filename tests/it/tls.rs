//! Certificates of one's own.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tango::app::App;
use tango::clock::SystemClock;

use crate::app::{PATIENCE, client_builder, test_config};

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
    let started = Instant::now();
    while !trusts(&app.url, &second).await {
        assert!(started.elapsed() < PATIENCE, "the new certificate is not in use");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(!trusts(&app.url, &first).await);
    app.stop().await.unwrap();
}
