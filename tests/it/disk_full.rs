//! A disk that is really full: a small file system of the program's own, filled and freed under it.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};

use crate::app::until;
use crate::door::Door;
use crate::process::{LOCAL, Process, run, text};

const DISK: &str = "size=96m";
const PART: usize = 5 << 20;

/// A running program whose data is on a small disk that only it sees.
struct SmallDisk {
    process: Process,
    /// The disk's folder, as seen from here.
    root: PathBuf,
    _folder: tempfile::TempDir,
}

/// The command that mounts the disk in a namespace of its own and becomes the program; `None` where that is not allowed.
fn command(folder: &Path) -> Option<Command> {
    for namespace in [&["--user", "--map-root-user", "--mount"][..], &["--mount"]] {
        let mut command = Command::new("unshare");
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.args(namespace).args([
            "sh",
            "-ec",
            "mount -t tmpfs -o \"$1\" tmpfs \"$2\"; cd \"$2\"; shift 2; exec \"$@\"",
            "sh",
            DISK,
        ]);
        command.arg(folder);
        let mut trial = Command::new("unshare");
        trial.args(namespace).args(["mount", "-t", "tmpfs", "-o", DISK, "tmpfs"]).arg(folder);
        if trial.output().is_ok_and(|output| output.status.success()) {
            command.arg(env!("CARGO_BIN_EXE_tango")).args(LOCAL);
            return Some(command);
        }
    }
    None
}

impl SmallDisk {
    fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let Some(command) = command(folder.path()) else {
            eprintln!("skipped: no file system can be mounted here (neither as this user nor in a user namespace)");
            return None;
        };
        let process = Process::start_by(command);
        let root = PathBuf::from(format!("/proc/{}/root{}", process.id(), folder.path().display()));
        Some(Self { process, root, _folder: folder })
    }

    fn ballast(&self) -> PathBuf {
        self.root.join("ballast")
    }

    /// Fills the disk so that so many bytes are left.
    fn fill(&self, left: u64) {
        let mut file = File::options().append(true).create(true).open(self.ballast()).unwrap();
        for size in [1 << 20, 4 << 10] {
            while file.write_all(&vec![7; size]).is_ok() {}
        }
        let size = file.metadata().unwrap().len();
        file.set_len(size.saturating_sub(left)).unwrap();
    }

    fn free(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }

    /// Files in a folder of the disk and below it.
    fn files(&self, folder: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.root.join("tango-data").join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { found.push(path) }
            }
        }
        found
    }
}

/// A CSV that hardly compresses, of at least three parts.
fn noise(rows: usize) -> Vec<u8> {
    let mut text = String::from("call,noise\n");
    let mut bits: u64 = 1;
    for row in 0..rows {
        text.push_str(&format!("{row},"));
        for _ in 0..12 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push_str(&format!("{:08x}", bits >> 32));
        }
        text.push('\n');
    }
    text.into_bytes()
}

fn says_what_to_do(problem: &Value) {
    assert_eq!((&problem["code"], &problem["status"]), (&json!("disk_full"), &json!(507)), "{problem:#}");
    assert!(problem["detail"].as_str().unwrap().contains("Free some space"), "{problem:#}");
}

#[tokio::test]
async fn on_a_full_disk_uploads_are_refused_and_go_on_when_there_is_space_again() {
    let Some(disk) = SmallDisk::start() else { return };
    let door = Door::open(&disk.process).await;
    const ROWS: usize = 110_000;
    let bytes = noise(ROWS);
    assert!(bytes.len() > 2 * PART && bytes.len() < 3 * PART, "{}", bytes.len());
    let ask = json!({
        "target": "dataset", "filename": "noise.csv", "size_bytes": bytes.len(), "mode": "create", "part_size_bytes": PART,
    });
    let upload = door.post("uploads", "noise", &ask).await;
    let id = upload["id"].as_str().unwrap();
    let part =
        |number: usize| (&upload["parts"][number - 1], &bytes[(number - 1) * PART..bytes.len().min(number * PART)]);
    let sent = async |number: usize| {
        let (part, bytes) = part(number);
        let (status, etag, text) = door.put_part(part, bytes).await.unwrap();
        (status.as_u16(), json!({"number": number, "etag": etag}), text)
    };
    let (status, first, _) = sent(1).await;
    assert_eq!(status, 200);

    // A part by its URL, and one through the program.
    disk.fill(2 << 20);
    let (status, _, text) = sent(2).await;
    assert_eq!(status, 507, "{text}");
    assert!(text.contains("InsufficientStorage") && text.contains("Free some space"), "{text}");
    let (status, problem) = door.put_part_through(id, 2, part(2).1).await;
    assert_eq!(status, 507);
    says_what_to_do(&problem);
    assert_eq!(disk.files("objects/.temporary"), Vec::<PathBuf>::new(), "nothing of them stays");
    let state = door.get(&format!("uploads/{id}")).await;
    assert_eq!((&state["parts"][0]["arrived"], &state["parts"][1]["arrived"]), (&json!(true), &json!(false)));
    disk.free();
    let (status, second, text) = sent(2).await;
    assert_eq!(status, 200, "{text}");
    let (status, third, _) = sent(3).await;
    assert_eq!(status, 200);

    // Putting the parts together needs space, too.
    let complete = json!({"parts": [first, second, third], "accept_schema": false});
    let path = format!("uploads/{id}/complete");
    disk.fill(2 << 20);
    let (status, problem) = door.ask(Method::POST, &path, None, &complete).await.unwrap();
    assert_eq!(status, 507);
    says_what_to_do(&problem);
    disk.free();
    let started = door.post(&path, "complete", &complete).await;
    let job = door.wait_for_job(started["job_id"].as_str().unwrap(), || {}).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");

    // The segments do not fit: the job says why, leaves nothing behind and goes on when they do.
    let dataset = started["dataset_id"].as_str().unwrap();
    disk.fill(3 << 20);
    let accepted = door.post(&format!("datasets/{dataset}/schema/accept"), "accept", &json!({})).await;
    let job = accepted["job_id"].as_str().unwrap();
    let waiting = until("the job to want space", async || {
        let job = door.get(&format!("jobs/{job}")).await;
        if job["error"].as_str().is_some_and(|error| error.contains("Free some space")) { Ok(job) } else { Err(job) }
    })
    .await;
    assert!(matches!(waiting["state"].as_str(), Some("queued" | "running")), "{waiting:#}");
    assert_eq!(door.get(&format!("datasets/{dataset}")).await["rows"], 0);
    disk.free();
    let done = door.wait_for_job(job, || {}).await;
    assert_eq!((&done["state"], &done["result"]["rows"]), (&json!("succeeded"), &json!(ROWS)), "{done:#}");
    let dataset = door.get(&format!("datasets/{dataset}")).await;
    let segments = disk.files("objects/tango/seg");
    assert_eq!(dataset["segments"], segments.len(), "no segment of a failed attempt stays: {segments:?}");
}

#[tokio::test]
async fn on_a_full_disk_appends_are_refused_whole_and_what_was_acknowledged_stays() {
    let Some(disk) = SmallDisk::start() else { return };
    let door = Door::open(&disk.process).await;
    let records = |batch: usize| -> Value {
        let text = "x".repeat(1_000);
        let record = |n: usize| json!({"id": format!("{batch}-{n}"), "loginStatus": n, "note": text});
        json!({"records": (0..100).map(record).collect::<Vec<_>>()})
    };
    let append = async |batch: usize| {
        let key = format!("batch {batch}");
        door.ask(Method::POST, "agents/records", Some(&key), &records(batch)).await.unwrap()
    };
    let mut acknowledged = 0;
    while acknowledged < 5 {
        assert_eq!(append(acknowledged).await.0, 200);
        acknowledged += 1;
    }
    disk.fill(0);
    // The log of the store may have room for some more.
    let problem = loop {
        let (status, answer) = append(acknowledged).await;
        if status != 200 {
            assert_eq!(status, 507, "{answer:#}");
            break answer;
        }
        acknowledged += 1;
        assert!(acknowledged < 2_000, "the disk never fills");
    };
    says_what_to_do(&problem);
    let (status, _) = append(acknowledged).await;
    assert_eq!(status, 507, "again");
    // Reading goes on, and shows whole batches only.
    assert_eq!(door.list("agents/records").await.len(), acknowledged * 100);
    disk.free();
    let (status, answer) = append(acknowledged).await;
    assert_eq!((status.as_u16(), &answer["accepted"]), (200, &json!(100)), "{answer:#}");
    acknowledged += 1;
    assert_eq!(door.list("agents/records").await.len(), acknowledged * 100);
    let counts = door.get("agents/cardinalities").await;
    let known = counts["records_counted"].as_u64().unwrap() + counts["records_pending"].as_u64().unwrap();
    assert_eq!(known, acknowledged as u64 * 100, "{counts:#}");
    println!("{acknowledged} batches of 100 records acknowledged around a full disk");
}

#[tokio::test]
async fn a_backup_onto_a_full_disk_says_so_and_goes_on_when_there_is_space_again() {
    let Some(disk) = SmallDisk::start() else { return };
    let door = Door::open(&disk.process).await;
    let record = |n| json!({"id": format!("a{n}"), "loginStatus": n});
    let records: Vec<Value> = (0..2_000).map(record).collect();
    door.post("agents/records", "some agents", &json!({"records": records})).await;
    // As the running process sees it, which makes the backup.
    let folder = disk._folder.path().join("copy");
    let (root, data) = (disk.root.clone(), disk.root.join("tango-data"));
    let backup = || {
        let arguments = ["backup", folder.to_str().unwrap(), "--data-dir", data.to_str().unwrap()];
        let output = run(Path::new("/"), &arguments);
        (output.status.success(), text(&output))
    };
    for left in [8 << 20, 0] {
        disk.fill(left);
        let (success, said) = backup();
        assert!(!success && said.contains("make room") && said.lines().count() == 1, "{left} bytes left: {said}");
    }
    assert!(root.join("copy").is_dir() && !root.join("copy/SHA256SUMS").exists());
    disk.free();
    let (success, said) = backup();
    assert!(success && said.contains("backed up into"), "{said}");
    assert_eq!(door.get("agents/records/a7").await["loginStatus"], 7, "the node went on");
}
