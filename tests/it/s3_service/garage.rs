//! Garage, a distributed S3 service with rules for browsers and for what is left behind: what it keeps of the rules that a start
//! sets, asked of it by another client. Under `--profile garage`, which runs the other tests of uploads and objects on it, too.

use std::process::Command;

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{Service, trusting};
use crate::app::TestApp;

const PAGE: &str = "https://tango.example.com";

/// `None`, with a printed line, when the run's S3 service is another one.
fn garage() -> Option<Service> {
    if std::env::var("TANGO_TEST_S3_KIND").is_ok_and(|kind| kind == "garage") {
        // Made by Garage's own command: for a bucket that a key made, preflights are answered without its rules.
        return Some(Service { bucket: std::env::var("TANGO_TEST_S3_BUCKET").unwrap(), ..Service::start() });
    }
    eprintln!("skipped: the S3 service of this run is not Garage (cargo nextest run --profile garage)");
    None
}

impl Service {
    /// What the service itself says of its bucket, to `curl`.
    fn says(&self, question: &str) -> String {
        let answer = Command::new("curl")
            .args(["--silent", "--show-error", "--fail-with-body", "--aws-sigv4"])
            .arg(format!("aws:amz:{}:s3", self.region))
            .args(["--user", &format!("{}:{}", self.access_key, self.secret_key)])
            .args(["--header", "x-amz-content-sha256: UNSIGNED-PAYLOAD"])
            .arg(format!("{}/{}?{question}=", self.endpoint, self.bucket))
            .output()
            .unwrap();
        let said = String::from_utf8(answer.stdout).unwrap();
        assert!(answer.status.success(), "{said}{}", String::from_utf8_lossy(&answer.stderr));
        said
    }
}

#[tokio::test]
async fn its_bucket_lets_the_products_pages_send_parts_and_drops_what_nobody_completes() {
    let Some(service) = garage() else { return };
    let front = service.front().await;
    let at = service.at(&front.url, &front);
    let app = TestApp::start_with(|config| {
        at(config);
        config.host_domain = Some("tango.example.com".to_owned());
    })
    .await;
    let app = trusting(app, &front);

    for feature in app.app.state.ctx.objects.examine().await.unwrap().features {
        assert_eq!(feature.missing, None, "{}", feature.name);
    }
    let lifecycle = service.says("lifecycle");
    let rule =
        "<AbortIncompleteMultipartUpload><DaysAfterInitiation>8</DaysAfterInitiation></AbortIncompleteMultipartUpload>";
    assert!(lifecycle.contains(rule) && lifecycle.contains("<Status>Enabled</Status>"), "{lifecycle}");
    let cors = service.says("cors");
    assert!(cors.contains(&format!("<AllowedOrigin>{PAGE}</AllowedOrigin>")), "{cors}");

    let ask = json!({"target": "dataset", "filename": "calls.csv", "size_bytes": 3, "mode": "create"});
    let upload = app.post("/api/v1/uploads").json(&ask).send().await.expect_status(201).json();
    let unfinished = service.says("uploads");
    assert!(unfinished.contains(&format!("<Key>raw/{}</Key>", upload["id"].as_str().unwrap())), "{unfinished}");
    let url = upload["parts"][0]["url"].as_str().unwrap();
    let preflight = async |page: &str| {
        let asked = app.http.request(Method::OPTIONS, url).header("origin", page);
        asked.header("access-control-request-method", "PUT").send().await.unwrap()
    };
    let allowed = preflight(PAGE).await;
    assert!(allowed.status().is_success(), "{allowed:?}");
    assert_eq!(allowed.headers()["access-control-allow-origin"], PAGE);
    assert_eq!(preflight("https://elsewhere.example.com").await.status(), StatusCode::FORBIDDEN);
    let sent = app.http.put(url).header("origin", PAGE).body("a,b").send().await.unwrap();
    assert_eq!(sent.status(), StatusCode::OK);
    assert_eq!(sent.headers()["access-control-expose-headers"], "ETag");
}
