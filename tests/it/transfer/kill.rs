//! `kill -9` in the middle: an import goes on where it stopped, and so does an export.
//!
//! The test binary starts itself as a child that tells of every step, and kills it at one.

use std::io::BufRead as _;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use tango::app::stores::{Stores, backup_options};
use tango::clock::SystemClock;
use tango::domain::job::{Progress, Reporter};
use tango::transfer::{RestoreOptions, backup, restore};

use super::{config_of, contents, fill, path, refused, succeeded, tango};
use crate::app::TestApp;
use crate::crash_store::{FOLDER, child, say};

const AGENTS: usize = 4_000;

/// Says every step.
struct Loud;

impl Reporter for Loud {
    fn report(&self, progress: Progress) {
        say(&format!("AT {}", progress.phase));
    }

    fn is_cancelled(&self) -> bool {
        false
    }
}

/// What the child runs: imports `folder/backup` into `folder/target`, replacing what is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn imports_until_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let stores = Stores::open(&config_of(&folder.join("target")), Arc::new(SystemClock)).await.unwrap();
    let options = RestoreOptions { drop: true, ..RestoreOptions::default() };
    restore(&stores.ctx, &stores.seal, &folder.join("backup"), &options, Arc::new(Loud)).await.unwrap();
}

/// What the other child runs: exports `folder/source` into `folder/again`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exports_until_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let config = config_of(&folder.join("source"));
    let stores = Stores::open(&config, Arc::new(SystemClock)).await.unwrap();
    let options = backup_options(&config, false).unwrap();
    backup(&stores.ctx, &folder.join("again"), &options, Arc::new(Loud)).await.unwrap();
}

/// Kills the child at the n-th step of a phase; whether it got so far.
fn kill_at(test: &str, folder: &Path, phase: &str, n: usize) -> bool {
    let (mut child, mut output) = child(test, folder);
    let (mut heard, mut line) = (0, String::new());
    while output.read_line(&mut line).unwrap() > 0 {
        if line.trim_end().ends_with(&format!("AT {phase}")) {
            heard += 1;
            if heard == n {
                child.kill().unwrap();
                break;
            }
        }
        line.clear();
    }
    child.wait().unwrap();
    heard == n
}

/// A source with documents and objects enough to be killed among them, below `folder`.
async fn source(folder: &Path) {
    std::fs::create_dir(folder.join("source")).unwrap();
    let app = TestApp::start_with(|config| config.data_dir = folder.join("source/data")).await;
    fill(&app).await;
    for start in (0..AGENTS).step_by(2_000) {
        let record = |n| json!({"id": format!("many-{n:06}"), "loginStatus": n % 5, "skills": {"English": n % 9}});
        let records: Vec<_> = (start..start + 2_000).map(record).collect();
        app.post("/api/v1/agents/records").json(&json!({"records": records})).send().await.ok();
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_is_killed_goes_on_and_nothing_starts_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    source(folder.path()).await;
    let backup = path(folder.path(), "backup");
    succeeded(tango(&folder.path().join("source"), &["export", &backup]));
    // Something to be replaced.
    let target = folder.path().join("target");
    std::fs::create_dir(&target).unwrap();
    let app = TestApp::start_with(|config| config.data_dir = target.join("data")).await;
    fill(&app).await;
    app.stop().await;
    let before = contents(&config_of(&target)).await;

    let test = "transfer::kill::imports_until_killed";
    for (phase, n) in [("checking the backup", 20), ("storing objects", 2)] {
        assert!(kill_at(test, folder.path(), phase, n), "{phase}");
        assert_eq!(contents(&config_of(&target)).await, before, "killed while {phase}: no document has changed");
    }
    for (phase, n) in
        [("deleting what was there", 3), ("storing documents", 2), ("storing documents", 11), ("storing documents", 16)]
    {
        assert!(kill_at(test, folder.path(), phase, n), "{phase} {n}");
        for command in [&["server", "--listen", "127.0.0.1:0"][..], &["user", "list"], &["backup"]] {
            refused(tango(&target, command), &["was cut off", "tango restore", &backup]);
        }
        let (success, doctor) = tango(&target, &["doctor", "--listen", "127.0.0.1:0"]);
        assert!(!success && doctor.contains("was cut off"), "{doctor}");
    }
    let other = path(folder.path(), "other");
    succeeded(tango(&folder.path().join("source"), &["export", &other]));
    refused(tango(&target, &["import", &other]), &["was cut off", &backup, "--drop"]);

    let said = succeeded(tango(&target, &["import", &backup]));
    assert!(said.contains("going on where an earlier restore had stopped"), "{said}");
    let (expected, restored) =
        (contents(&config_of(&folder.path().join("source"))).await, contents(&config_of(&target)).await);
    let same = [
        "agents",
        "customers",
        "segments",
        "datasets",
        "dataset_versions",
        "schemas",
        "cardinalities",
        "blobs",
        "journal",
        "predictors",
        "idempotency",
    ];
    for name in same {
        let of = |all: &std::collections::BTreeMap<_, _>| -> Vec<(_, Vec<u8>)> {
            all.iter()
                .filter(|(key, _): &(&(&str, _), _)| key.0 == name)
                .map(|(k, v): (_, &Vec<u8>)| (k.clone(), v.clone()))
                .collect()
        };
        assert_eq!(of(&restored), of(&expected), "{name}");
    }
    let app = TestApp::start_with(|config| config.data_dir = target.join("data")).await;
    let last = format!("/api/v1/agents/records/many-{:06}", AGENTS - 1);
    app.get(&last).send().await.expect_status(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_that_is_killed_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    source(folder.path()).await;
    let source = folder.path().join("source");
    let again = path(folder.path(), "again");
    let test = "transfer::kill::exports_until_killed";
    for (phase, n) in [("copying documents", 4), ("copying objects", 2), ("copying objects", 3)] {
        assert!(kill_at(test, folder.path(), phase, n), "{phase}");
        refused(tango(&source, &["restore", "--check", &again]), &["was interrupted before it was whole"]);
    }
    succeeded(tango(&source, &["export", &again]));
    succeeded(tango(&source, &["restore", "--check", &again]));
}
