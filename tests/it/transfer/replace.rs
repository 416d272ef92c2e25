//! What a restore replaces and what it refuses, backups of a day, and what `doctor` says of them.

use std::sync::Arc;

use serde_json::json;
use tango::clock::SystemClock;

use super::{config_of, contents, fill, objects, path, refused, stopped_source, succeeded, tango, tango_async};
use crate::app::{PASSWORD, TestApp, USERNAME};

#[tokio::test]
async fn a_store_that_is_not_empty_is_replaced_only_by_drop() {
    let app = TestApp::start().await;
    fill(&app).await;
    let folder = app.stop().await;
    let before = contents(&config_of(folder.path())).await;
    let objects_before = objects(folder.path());
    let backup = path(folder.path(), "backup");
    succeeded(tango(folder.path(), &["backup", &backup]));

    let mut app = TestApp::start_at(folder, Arc::new(SystemClock), |_| {}).await;
    app.delete("/api/v1/agents/records/a1").send().await.ok();
    app.post("/api/v1/agents/records").json(&json!({"records": [{"id": "later", "loginStatus": 1}]})).send().await.ok();
    let later = crate::datasets::dataset(&app, &crate::datasets::calls(0, 50)).await;
    refused(
        tango_async(app.folder.path(), &["restore", "--drop", &backup]).await,
        &["tango is running", "stop it first"],
    );
    let token = app.token.clone();
    let folder = app.stop().await;
    let changed = contents(&config_of(folder.path())).await;
    refused(tango(folder.path(), &["restore", &backup]), &["not empty", "40 agents", "2 datasets", "--drop"]);
    assert_eq!(contents(&config_of(folder.path())).await, changed);

    let said = succeeded(tango(folder.path(), &["import", "--drop", &backup]));
    assert!(said.contains("everybody signs in again"), "{said}");
    let after = contents(&config_of(folder.path())).await;
    let kept = |name: &str| {
        [
            "agents",
            "customers",
            "segments",
            "datasets",
            "dataset_versions",
            "schemas",
            "cardinalities",
            "blobs",
            "journal",
        ]
        .contains(&name)
    };
    for (key, body) in &before {
        assert!(!kept(key.0) || after.get(key) == Some(body), "{key:?}");
    }
    let of = |all: &std::collections::BTreeMap<_, _>, name| all.keys().filter(|key: &&(&str, _)| key.0 == name).count();
    for name in
        ["agents", "customers", "segments", "datasets", "uploads", "jobs", "users", "blobs", "journal", "idempotency"]
    {
        assert_eq!(of(&after, name), of(&before, name), "{name}");
    }
    // The segments of the dataset that is gone went with it, and so did raw files that had been read.
    let objects_after = objects(folder.path());
    assert!(objects_after.iter().all(|key| objects_before.contains(key)), "{objects_after:#?}");
    let segments = |keys: &[String]| keys.iter().filter(|key| key.starts_with("seg/")).count();
    assert_eq!(segments(&objects_after), segments(&objects_before));

    app = TestApp::start_at(folder, Arc::new(SystemClock), |_| {}).await;
    let new_token = std::mem::replace(&mut app.token, token);
    app.get("/api/v1/auth/me").send().await.expect_problem(401, "unauthenticated");
    app.token = new_token;
    app.get("/api/v1/agents/records/a1").send().await.expect_status(200);
    app.get(&format!("/api/v1/datasets/{later}")).send().await.expect_problem(404, "dataset_not_found");
    // It goes on: what is appended is counted, purged and read as ever.
    fill(&app).await;
    let datasets = app.get("/api/v1/datasets").send().await.ok().json();
    assert_eq!(datasets["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_new_installation_is_not_empty_either() {
    let source = stopped_source().await;
    let backup = path(source.path(), "backup");
    succeeded(tango(source.path(), &["export", &backup]));
    let target = TestApp::start().await.stop().await;
    refused(tango(target.path(), &["import", &backup]), &["1 accounts", "1 users", "--drop"]);
    succeeded(tango(target.path(), &["import", "--drop", &backup]));
    let app = TestApp::start_at(target, Arc::new(SystemClock), |_| {}).await;
    app.sign_in(USERNAME, PASSWORD).await;
    app.get("/api/v1/agents/records/a39").send().await.expect_status(200);
}

#[tokio::test]
async fn a_day_has_one_backup_and_doctor_tells_of_it() {
    let folder = stopped_source().await;
    let doctor = |folder: &std::path::Path| tango(folder, &["doctor", "--listen", "127.0.0.1:0"]).1;
    let said = doctor(folder.path());
    assert!(
        said.contains("a dump of the database alone is no whole backup") && said.contains("no backup in"),
        "{said}"
    );
    let said = succeeded(tango(folder.path(), &["backup"]));
    let first = said.lines().next().unwrap();
    let made = first.strip_prefix("backed up into ").unwrap();
    let name = std::path::Path::new(made).strip_prefix(folder.path().join("data/backups")).unwrap().to_str().unwrap();
    let parts: Vec<usize> = name.split('-').map(str::len).collect();
    assert_eq!(parts, [2, 2, 4], "{name}");
    assert!(doctor(folder.path()).contains(&format!("is {name}, of ")));
    refused(tango(folder.path(), &["backup"]), &["holds a whole backup already", name]);
    refused(tango(folder.path(), &["backup", folder.path().to_str().unwrap()]), &["holds other files"]);
    let file = folder.path().join("a file");
    std::fs::write(&file, "").unwrap();
    refused(tango(folder.path(), &["backup", file.to_str().unwrap()]), &["a file cannot be used"]);
    let nothing = tempfile::tempdir().unwrap();
    refused(tango(nothing.path(), &["backup"]), &["there is no data folder"]);
}

#[tokio::test]
async fn another_secret_is_told_and_can_be_named() {
    let secret = "the secret of an installation that keeps it itself";
    let keeps = |config: &mut tango::config::Config| {
        config.token_secret = Some(tango::config::Secret(secret.to_owned()));
    };
    let app = TestApp::start_with(keeps).await;
    let account = app.app.state.auth.default_account().await.unwrap();
    let api_key = app.app.state.auth.api_key(&account).unwrap();
    let backup = path(app.folder.path(), "backup");
    succeeded(tango_async(app.folder.path(), &["backup", &backup]).await);
    assert!(!app.folder.path().join("backup/secret.key").exists(), "who set the secret keeps it");

    let target = tempfile::tempdir().unwrap();
    refused(tango(target.path(), &["restore", &backup]), &["--secret-file", "--new-api-keys"]);
    let file = path(target.path(), "theirs");
    std::fs::write(&file, format!("{secret}\n")).unwrap();
    succeeded(tango(target.path(), &["restore", &backup, "--secret-file", &file]));
    assert!(succeeded(tango(target.path(), &["user", "api-key"])).contains(&api_key));
    let said = succeeded(tango(target.path(), &["restore", &backup, "--drop", "--new-api-keys"]));
    assert!(said.contains("API keys"), "{said}");
    assert!(!succeeded(tango(target.path(), &["user", "api-key"])).contains(&api_key));
}
