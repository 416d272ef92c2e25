//! `kill -9` while the store is appended to: what was acknowledged is there, once, and whole.
//!
//! The test binary starts itself as a child that appends until it is killed, and prints a line when
//! a batch was acknowledged.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tango::store::sqlite::SqliteStore;
use tango::store::{Batch, Collection, Key, Op, Query, SharedStore};

/// The child's folder; also what makes a child of a test.
pub const FOLDER: &str = "TANGO_TEST_CRASH_FOLDER";
const KILLS: usize = 20;
const WRITERS: usize = 4;
const RECORDS_PER_BATCH: usize = 3;

/// Runs one test of this binary as a child with its output in a pipe.
pub fn child(test: &str, folder: &Path) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

/// One line, in one write, to the pipe.
pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// What the child runs: writers that each count on, a batch a step: three records and the new count.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_until_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let store: SharedStore = Arc::new(SqliteStore::open(Path::new(&folder)).unwrap());
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let counter = Key::new("counters", writer.to_string());
            loop {
                let before = store.get(Collection::Meta, &counter).await.unwrap();
                let count = before.as_ref().map_or(0, |document| count(&document.body));
                let body = json!({ "count": count + 1 }).to_string();
                let mut batch = Batch::new();
                batch.push(match before {
                    Some(before) => Op::Replace {
                        collection: Collection::Meta,
                        key: counter.clone(),
                        body,
                        revision: before.revision,
                    },
                    None => Op::Insert { collection: Collection::Meta, key: counter.clone(), body },
                });
                for part in 0..RECORDS_PER_BATCH {
                    let key = Key::new(format!("writer{writer}"), format!("{count:08}-{part}"));
                    let body = json!({ "text": "x".repeat(300), "n": count }).to_string();
                    batch.push(Op::Insert { collection: Collection::Agents, key, body });
                }
                store.commit(batch).await.unwrap();
                say(&format!("ACK {writer} {count}"));
            }
        });
    }
    writers.join_next().await;
}

fn count(body: &str) -> u64 {
    serde_json::from_str::<Value>(body).unwrap()["count"].as_u64().unwrap()
}

/// The writer's number and its last acknowledged step.
fn acknowledged(line: &str) -> Option<(usize, u64)> {
    let (writer, step) = line.split_once("ACK ")?.1.trim().split_once(' ')?;
    Some((writer.parse().ok()?, step.parse().ok()?))
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_or_doubled_by_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut last: BTreeMap<usize, u64> = BTreeMap::new();
    let mut slowest = Duration::ZERO;
    for round in 0..KILLS {
        let (mut child, mut output) = child("crash_store::appends_until_killed", folder.path());
        // Killed after a different number of steps each time, in the middle of others.
        let (mut heard, mut line) = (0, String::new());
        while output.read_line(&mut line).unwrap() > 0 {
            if let Some((writer, step)) = acknowledged(&line) {
                last.insert(writer, step);
                heard += 1;
                if heard == 20 + 17 * round {
                    child.kill().unwrap();
                }
            }
            line.clear();
        }
        child.wait().unwrap();
        assert!(heard >= 20 + 17 * round, "the child ended by itself in round {round}");

        let started = Instant::now();
        let store: SharedStore = Arc::new(SqliteStore::open(folder.path()).unwrap());
        store.ping().await.unwrap();
        slowest = slowest.max(started.elapsed());
        for writer in 0..WRITERS {
            let counter = store.get(Collection::Meta, &Key::new("counters", writer.to_string())).await.unwrap();
            let steps = counter.map_or(0, |document| count(&document.body));
            let acknowledged = last.get(&writer).map_or(0, |step| step + 1);
            // One step may have been stored without its acknowledgement being heard.
            assert!(
                steps == acknowledged || steps == acknowledged + 1,
                "{steps} steps stored, {acknowledged} acknowledged"
            );
            let records = store.count(&Query::new(Collection::Agents, format!("writer{writer}"))).await.unwrap();
            assert_eq!(records, steps * RECORDS_PER_BATCH as u64, "batches are whole, and there once");
            if steps > 0 {
                last.insert(writer, steps - 1);
            }
        }
    }
    println!("{KILLS} kills, slowest opening {} ms", slowest.as_millis());
}
