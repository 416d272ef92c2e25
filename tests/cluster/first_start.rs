//! Several nodes that meet an empty database at the same moment, and who may sign in to it.

use std::process::{Child, Command, Stdio};

use mongodb::bson::{Document, doc};

use crate::services::{self, MongoDb};
use crate::shared_services::database;
use crate::support::patience::until;

/// A process and its folder, which goes with it.
type Started = (Child, tempfile::TempDir);

fn migrate(server: &MongoDb, url: &str) -> Started {
    let folder = tempfile::tempdir().unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_tango"))
        .env_clear()
        .current_dir(folder.path())
        .arg("migrate")
        .envs([("MONGODB_URL", url), ("MONGODB_CA_FILE", server.ca_file.to_str().unwrap())])
        .env("DATA_DIR", folder.path().join("data"))
        .env("TOKEN_SECRET", "x".repeat(32))
        .envs([("S3_ENDPOINT", "https://127.0.0.1:1"), ("S3_ACCESS_KEY", "key"), ("S3_SECRET_KEY", "a long secret")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    (child, folder)
}

fn succeeded((child, _folder): Started) -> String {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_start_at_once_apply_each_step_once_and_take_over_from_one_that_died() {
    let Some(server) = services::mongodb(&format!("first-{}", std::process::id())) else { return };
    let steps = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap().count() as i64;
    let all: Vec<Started> = (0..4).map(|_| migrate(&server, &server.url)).collect();
    for child in all {
        assert!(succeeded(child).contains("is up to date"));
    }
    let meta = database(&server).await.collection::<Document>("meta");
    let schema = async || meta.find_one(doc! { "_id": { "s": "", "i": "schema" } }).await.unwrap().unwrap();
    assert_eq!(schema().await.get_document("v").unwrap().get_i64("schema_version").unwrap(), steps);
    let lease = doc! { "_id": { "s": "", "i": "migration" } };
    assert_eq!(meta.find_one(lease.clone()).await.unwrap(), None, "who held the lease has let it go");

    // A node that died in the middle of a step left its lease; its counter stands still.
    let id = doc! { "_id": { "s": "", "i": "schema" } };
    meta.update_one(id, doc! { "$set": { "v.schema_version": 0_i64 } }).await.unwrap();
    let mut dead = lease.clone();
    dead.extend(doc! { "r": 1_i64, "v": {}, "holder": "a node that died", "counter": 7_i64 });
    meta.insert_one(dead).await.unwrap();
    assert!(succeeded(migrate(&server, &server.url)).contains("applied 0001_documents"));
    assert_eq!(schema().await.get_document("v").unwrap().get_i64("schema_version").unwrap(), steps);
    database(&server).await.drop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_signs_in_instead_of_a_password() {
    let Some(server) = services::mongodb(&format!("x509-{}", std::process::id())) else { return };
    let url = std::env::var("TANGO_TEST_MONGODB_X509_URL").unwrap();
    let certificate = std::env::var("TANGO_TEST_MONGODB_CLIENT_CERTIFICATE_FILE").unwrap();
    let url = url.replace("/tango?", &format!("/{}?", server.database));
    succeeded(migrate(&server, &format!("{url}&tlsCertificateKeyFile={certificate}")));
    until("the schema", async || {
        let names = database(&server).await.list_collection_names().await.unwrap();
        if names.iter().any(|name| name == "agents") { Ok(()) } else { Err(names) }
    })
    .await;
    database(&server).await.drop().await.unwrap();
}
