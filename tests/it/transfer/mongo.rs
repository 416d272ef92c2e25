//! From a single node into a cluster and back, with a real replica set and a real S3 service: one folder format for both.

use std::path::Path;
use std::sync::Arc;

use tango::clock::{Clock as _, SystemClock};
use tango::config::{Config, Secret};
use tango::domain::node::{Node, Role};
use tango::store::Batch;

use super::round_trip::Questions;
use super::{config_of, path, refused, succeeded, tango, tango_with};
use crate::app::{Folder, TestApp, USERNAME};
use crate::centre;
use crate::services::{MongoDb, S3, mongodb, s3};

const SECRET: &str = "the secret that every node of the cluster has";

/// The stores of a cluster of the test's own.
struct Stores {
    database: MongoDb,
    objects: S3,
    bucket: String,
}

impl Stores {
    /// `None` where there are no servers.
    async fn new() -> Option<Self> {
        let (database, objects) = (mongodb(&format!("transfer-{}", std::process::id()))?, s3()?);
        let stores = Self { bucket: database.database.clone(), database, objects };
        let mut config = config_of(Path::new("/nowhere"));
        stores.set(&mut config);
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Makes the bucket.
        tango::objects::open(&config, config.listen, None, None).await.unwrap();
        Some(stores)
    }

    fn set(&self, config: &mut Config) {
        config.mongodb_url = Some(Secret(self.database.url.clone()));
        config.mongodb_ca_file = Some(self.database.ca_file.clone());
        config.s3_endpoint = Some(self.objects.endpoint.clone());
        config.s3_access_key = Some(self.objects.access_key.clone());
        config.s3_secret_key = Some(Secret(self.objects.secret_key.clone()));
        config.s3_region.clone_from(&self.objects.region);
        config.s3_bucket.clone_from(&self.bucket);
        config.s3_ca_file = Some(self.objects.ca_file.clone());
        config.token_secret = Some(Secret(SECRET.to_owned()));
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("MONGODB_URL", self.database.url.clone()),
            ("MONGODB_CA_FILE", self.database.ca_file.display().to_string()),
            ("S3_ENDPOINT", self.objects.endpoint.clone()),
            ("S3_ACCESS_KEY", self.objects.access_key.clone()),
            ("S3_SECRET_KEY", self.objects.secret_key.clone()),
            ("S3_REGION", self.objects.region.clone()),
            ("S3_BUCKET", self.bucket.clone()),
            ("S3_CA_FILE", self.objects.ca_file.display().to_string()),
            ("TOKEN_SECRET", SECRET.to_owned()),
        ]
    }

    /// Off the threads on which a node may be running.
    async fn tango(&self, folder: &Path, arguments: &[&str]) -> (bool, String) {
        let (folder, settings) = (folder.to_owned(), self.settings());
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        tokio::task::spawn_blocking(move || {
            tango_with(&folder, &settings, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
        })
        .await
        .unwrap()
    }

    async fn node(&self) -> TestApp {
        TestApp::start_with(|config| self.set(config)).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_installation_moves_into_a_cluster_and_back_and_scores_the_same() {
    let Some(stores) = Stores::new().await else { return };
    let loaded = centre::start().await;
    loaded.activate("HYBRID").await;
    let questions = Questions::of(&loaded);
    let expected = questions.answers(&loaded.app).await;
    let api_key = api_key_of(&loaded.app).await;
    let single = loaded.app.stop().await;
    let (out, back) = (path(single.path(), "out"), path(single.path(), "back"));
    let said = succeeded(tango(single.path(), &["export", &out]));
    assert!(said.contains(&format!("tango import {out}")), "{said}");

    // A cluster that was started before is not empty, and is not replaced under those who run on it.
    let operator = tempfile::tempdir().unwrap();
    let node = stores.node().await;
    refused(
        stores.tango(operator.path(), &["import", "--drop", &out]).await,
        &["run on the stores", "Stop every server"],
    );
    node.stop().await;
    refused(stores.tango(operator.path(), &["import", &out]).await, &["1 accounts", "--drop"]);
    // The entry of a process that was killed is renewed by nobody.
    let mut config = config_of(operator.path());
    stores.set(&mut config);
    let store = tango::app::open_store(&config).await.unwrap();
    let mut killed = Batch::new();
    let now = SystemClock.now();
    killed.put(&Node {
        id: "killed".to_owned(),
        name: "killed:3031".to_owned(),
        version: "0.1.0".to_owned(),
        settings: String::new(),
        role: Role::BOTH,
        state: "ready".to_owned(),
        topics: Vec::new(),
        started_at: now,
        seen_at: now,
    });
    store.commit(killed).await.unwrap();
    drop(store);
    succeeded(stores.tango(operator.path(), &["import", "--drop", &out]).await);
    let node = stores.node().await;
    assert_eq!(questions.answers(&node).await, expected);
    assert_eq!(api_key_of(&node).await, api_key);
    assert!(succeeded(stores.tango(operator.path(), &["user", "list"]).await).contains(USERNAME));

    // And back: nodes run while the copy is made, and the secret is the operator's.
    let said = succeeded(stores.tango(operator.path(), &["backup", &back]).await);
    assert!(said.contains("tango restore"), "{said}");
    node.stop().await;
    let database = Path::new(&back).join(&stores.database.database);
    assert!(database.join("agents.bson").is_file() && database.join("agents.metadata.json").is_file());
    let again = Folder::new();
    refused(tango(again.path(), &["import", &back]), &["--secret-file"]);
    std::fs::write(again.path().join("secret"), SECRET).unwrap();
    succeeded(tango(again.path(), &["import", &back, "--secret-file", &path(again.path(), "secret")]));
    let again = TestApp::start_at(again, Arc::new(SystemClock), |_| {}).await;
    assert_eq!(questions.answers(&again).await, expected);
    assert_eq!(api_key_of(&again).await, api_key);
}

async fn api_key_of(app: &TestApp) -> String {
    let account = app.app.state.auth.default_account().await.unwrap();
    app.app.state.auth.api_key(&account).unwrap()
}
