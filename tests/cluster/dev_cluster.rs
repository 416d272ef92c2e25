//! `deploy/dev-cluster`, the script that starts real servers, on a folder of its own.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::support::patience::until;

/// A folder in which the script starts servers. They end with this value, and also when the test is killed.
pub struct DevCluster {
    folder: tempfile::TempDir,
}

impl DevCluster {
    /// `None`, with a printed line, where the servers cannot be had.
    pub fn open() -> Option<Arc<Self>> {
        if let Ok(reason) = std::env::var("TANGO_TEST_SERVICES_MISSING") {
            eprintln!("skipped: {reason}");
            return None;
        }
        Some(Arc::new(Self { folder: tempfile::tempdir().unwrap() }))
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a command of the script; what it printed.
    pub fn run(&self, arguments: &[&str]) -> String {
        self.run_for(std::process::id(), arguments)
    }

    fn run_for(&self, owner: u32, arguments: &[&str]) -> String {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/dev-cluster"));
        command.args(arguments).arg("--dir").arg(self.folder()).args(["--until-pid", &owner.to_string()]);
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "dev-cluster {}: {errors}", arguments.join(" "));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The settings that the script has written down, such as `mongo.env`.
    pub fn settings(&self, file: &str) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(self.folder().join(file)).unwrap();
        let pairs = text.lines().map(|line| line.split_once('=').unwrap());
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    pub fn setting(&self, file: &str, name: &str) -> Option<String> {
        self.settings(file).into_iter().find_map(|(known, value)| (known == name).then_some(value))
    }

    /// Ports that nobody listens on, kept for this value as long as it lives.
    pub fn free_ports(&self, count: usize) -> Vec<u16> {
        let printed = self.run(&["ports", &count.to_string()]);
        printed.split_whitespace().map(|port| port.parse().unwrap()).collect()
    }

    /// The process ids of the servers in the folder.
    fn process_ids(&self) -> Vec<u32> {
        let files = std::fs::read_dir(self.folder().join("run")).unwrap().map(|entry| entry.unwrap().path());
        let pids = files.filter(|path| path.extension().is_some_and(|extension| extension == "pid"));
        pids.map(|path| std::fs::read_to_string(path).unwrap().split(' ').next().unwrap().parse().unwrap()).collect()
    }

    /// Copies the logs of a test that has failed to where they can be read afterwards.
    fn keep_logs(&self) -> std::io::Result<()> {
        let test = std::thread::current().name().unwrap_or("test").replace("::", ".");
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("logs-{test}"));
        std::fs::create_dir_all(&kept)?;
        for entry in std::fs::read_dir(self.folder().join("logs"))? {
            let entry = entry?;
            std::fs::copy(entry.path(), kept.join(entry.file_name()))?;
        }
        eprintln!("the servers' logs: {}", kept.display());
        Ok(())
    }
}

impl Drop for DevCluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.keep_logs();
        }
        if self.folder().exists() {
            self.run(&["end"]);
        }
    }
}

/// Neither running nor stopped: gone, or a zombie that only waits to be asked about.
fn has_ended(process: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{process}/stat")) else { return true };
    stat.rsplit(") ").next().unwrap().starts_with(['Z', 'X'])
}

#[tokio::test]
async fn servers_end_with_whoever_started_them_even_when_killed() {
    let Some(cluster) = DevCluster::open() else { return };
    let mut owner = Command::new("sleep").arg("600").stdout(Stdio::null()).spawn().unwrap();
    cluster.run_for(owner.id(), &["mongo", "start", "--members", "1", "--no-tls"]);
    let servers = cluster.process_ids();
    assert_eq!(servers.len(), 2, "a member and what watches over it");
    assert!(!servers.iter().any(|server| has_ended(*server)));
    owner.kill().unwrap(); // and not asked about for now: it stays a zombie
    until("the end of the servers", async || {
        let left: Vec<&u32> = servers.iter().filter(|server| !has_ended(**server)).collect();
        if left.is_empty() && !cluster.folder().exists() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    owner.wait().unwrap();
}

#[test]
fn a_folder_whose_name_is_misspelt_is_not_made() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("misspelt");
    for words in [&["status"][..], &["down"], &["end"], &["kill", "mongo-1"], &["s3", "status"], &["logs", "s3"]] {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/dev-cluster"));
        let output = command.args(words).arg("--dir").arg(&folder).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && errors.contains("there is no cluster in"), "{words:?}: {errors}");
        assert!(!folder.exists(), "{words:?}");
    }
}
