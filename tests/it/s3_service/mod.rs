//! An S3 service outside of the program, reached over TLS under an authority of one's own: a start that refuses it or
//! does without it, outages while the program runs, and what services lack.
//!
//! The service is the one that `TANGO_TEST_S3_HTTP_ENDPOINT` or `TANGO_TEST_S3_ENDPOINT` names (`http://address:port`,
//! the tests put their own TLS in front), with `TANGO_TEST_S3_ACCESS_KEY`, `TANGO_TEST_S3_SECRET_KEY` and, if need be,
//! `TANGO_TEST_S3_REGION`. Without it the embedded server plays the part, in this process but apart from the program.

mod differences;
mod front;
mod garage;
mod jobs;
mod outage;
mod start;

use std::net::Ipv4Addr;
use std::sync::Arc;

use tango::clock::{SharedClock, SystemClock};
use tango::config::{Config, Secret};
use tango::objects::embedded::{EmbeddedServer, Keys};

use crate::app::{Folder, TestApp};
pub use front::{Certificate, Fault, Front};

/// An S3 service and a bucket's name that nobody else uses.
pub struct Service {
    pub endpoint: String,
    access_key: String,
    secret_key: String,
    region: String,
    pub bucket: String,
    embedded: Option<(EmbeddedServer, tempfile::TempDir)>,
}

impl Service {
    pub fn start() -> Self {
        let bucket = format!("tango-test-{:016x}", getrandom::u64().unwrap());
        let given = |name: &str| std::env::var(format!("TANGO_TEST_S3_{name}")).ok();
        if let Some(endpoint) = given("HTTP_ENDPOINT").or_else(|| given("ENDPOINT")) {
            assert!(endpoint.starts_with("http://"), "the tests need the service's plain HTTP address, not {endpoint}");
            let endpoint = endpoint.trim_end_matches('/').to_owned();
            let key = |name| given(name).unwrap_or_else(|| panic!("TANGO_TEST_S3_{name} is missing"));
            let (access_key, secret_key) = (key("ACCESS_KEY"), key("SECRET_KEY"));
            let region = given("REGION").unwrap_or_else(|| "us-east-1".to_owned());
            return Self { endpoint, access_key, secret_key, region, bucket, embedded: None };
        }
        eprintln!("TANGO_TEST_S3_ENDPOINT is not set: the embedded object store plays the S3 service");
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys { access_key: "test".to_owned(), secret_key: "test secret".to_owned() };
        let server = EmbeddedServer::start(folder.path(), (Ipv4Addr::LOCALHOST, 0).into(), None, &keys).unwrap();
        Self {
            endpoint: format!("http://{}", server.public_address),
            access_key: keys.access_key,
            secret_key: keys.secret_key,
            region: "us-east-1".to_owned(),
            bucket,
            embedded: Some((server, folder)),
        }
    }

    pub fn is_embedded(&self) -> bool {
        self.embedded.is_some()
    }

    /// Settings that use the service through a front, or another address of it.
    pub fn at(&self, url: &str, front: &Front) -> impl Fn(&mut Config) + use<> {
        let (url, ca_file) = (url.to_owned(), front.ca_file.clone());
        let (bucket, region) = (self.bucket.clone(), self.region.clone());
        let (access_key, secret_key) = (self.access_key.clone(), self.secret_key.clone());
        move |config: &mut Config| {
            config.s3_endpoint = Some(url.clone());
            config.s3_access_key = Some(access_key.clone());
            config.s3_secret_key = Some(Secret(secret_key.clone()));
            config.s3_bucket = bucket.clone();
            config.s3_region = region.clone();
            config.s3_ca_file = Some(ca_file.clone());
        }
    }

    pub async fn front(&self) -> Front {
        Front::open(&self.endpoint, Certificate::Good).await
    }
}

/// A program that uses an S3 service through a front.
pub struct Remote {
    pub app: TestApp,
    pub front: Front,
    pub service: Service,
}

impl Remote {
    pub async fn start() -> Self {
        Self::start_with(Arc::new(SystemClock)).await
    }

    pub async fn start_with(clock: SharedClock) -> Self {
        let service = Service::start();
        let front = service.front().await;
        let app = TestApp::start_at(Folder::new(), clock, service.at(&front.url, &front)).await;
        Self { app: trusting(app, &front), front, service }
    }

    /// `POST /bucket/raw/…`, as the service sees it: the start of a request line.
    pub fn line(&self, method: &str, rest: &str) -> String {
        format!("{method} /{}{rest}", self.service.bucket)
    }
}

/// Lets the test's own client send parts to the front.
pub fn trusting(mut app: TestApp, front: &Front) -> TestApp {
    app.http = front.client();
    app
}
