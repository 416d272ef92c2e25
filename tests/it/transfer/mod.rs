//! Backup and restore, export and import, by the real executable.

mod damage;
mod kill;
mod mongo;
mod replace;
mod round_trip;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tango::config::Config;
use tango::store::sqlite::SqliteStore;
use tango::store::{Collection, Document, Key, Store};

use crate::app::{Folder, TestApp, test_config};
use crate::process::{command, text};

/// Runs `tango` with the data folder of a test; what it printed, and whether it succeeded.
pub fn tango(folder: &Path, arguments: &[&str]) -> (bool, String) {
    tango_with(folder, &[], arguments)
}

/// With settings in its environment.
pub fn tango_with(folder: &Path, settings: &[(&str, String)], arguments: &[&str]) -> (bool, String) {
    let mut command = command(folder, arguments);
    command.arg("--data-dir").arg(folder.join("data"));
    let output = command.envs(settings.iter().map(|(name, value)| (name, value))).output().unwrap();
    (output.status.success(), text(&output))
}

/// Off the threads on which the program under test may be running.
pub async fn tango_async(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let (folder, arguments) = (folder.to_owned(), arguments.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    tokio::task::spawn_blocking(move || tango(&folder, &arguments.iter().map(String::as_str).collect::<Vec<_>>()))
        .await
        .unwrap()
}

#[track_caller]
pub fn succeeded((success, said): (bool, String)) -> String {
    assert!(success, "{said}");
    said
}

/// Failed in one line that says all of this.
#[track_caller]
pub fn refused((success, said): (bool, String), words: &[&str]) {
    assert!(!success, "{said}");
    assert!(said.starts_with("error: ") && said.lines().count() == 1, "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

/// Every document and blob of a data folder on which nothing runs, revisions aside.
pub async fn contents(config: &Config) -> BTreeMap<(&'static str, Key), Vec<u8>> {
    let store = SqliteStore::open(&config.data_dir).unwrap();
    let mut snapshot = store.snapshot().await.unwrap();
    let mut all = BTreeMap::new();
    for collection in Collection::ALL.into_iter().filter(|collection| *collection != Collection::Blobs) {
        for Document { key, body, .. } in snapshot.documents(collection, None, usize::MAX).await.unwrap() {
            all.insert((collection.name(), key), body.into_bytes());
        }
    }
    for (key, bytes) in snapshot.blobs(None, usize::MAX).await.unwrap() {
        all.insert(("blobs", key), bytes.to_vec());
    }
    all
}

/// Keys of the stored objects of a test's data folder.
pub fn objects(folder: &Path) -> Vec<String> {
    let root = folder.join("data/objects/tango");
    let mut found: Vec<String> =
        files(&root).iter().map(|path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned()).collect();
    found.sort();
    found
}

pub fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

/// A program that holds a dataset of two segments, some agents and customers, stopped; its folder.
pub async fn stopped_source() -> Folder {
    let app = TestApp::start().await;
    fill(&app).await;
    app.stop().await
}

pub async fn fill(app: &TestApp) {
    let dataset = crate::datasets::dataset(app, &crate::datasets::calls(0, 300)).await;
    let more = serde_json::json!({"dataset_id": dataset, "mode": "append"});
    app.upload("dataset", crate::datasets::calls(300, 200).as_bytes(), more).await;
    let records: Vec<_> = (0..40).map(|n| serde_json::json!({"id": format!("a{n}"), "loginStatus": n % 3})).collect();
    app.post("/api/v1/agents/records").json(&serde_json::json!({"records": records})).send().await.ok();
    let customers = (0..60).map(|n| format!("c{n},{}\n", n % 7)).fold("customer_id,tier\n".to_owned(), |a, b| a + &b);
    app.upload("customers", customers.as_bytes(), serde_json::json!({})).await;
}

pub fn config_of(folder: &Path) -> Config {
    test_config(folder)
}

pub fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_owned()
}
