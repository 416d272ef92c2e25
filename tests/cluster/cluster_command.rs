//! `tango cluster …` on a real replica set: what it prints, whom it refuses, and its exit codes.

use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::Value;

use crate::dev_cluster::DevCluster;
use crate::replica_set::ReplicaSet;
use crate::support::patience::until;

/// The command with the settings of a node of the cluster.
pub struct ClusterCommand {
    environment: Vec<(String, String)>,
    folder: tempfile::TempDir,
}

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub output: String,
    pub errors: String,
}

impl ClusterCommand {
    pub fn of(cluster: &Arc<DevCluster>, set: &ReplicaSet) -> Self {
        let mut environment = set.environment();
        environment.extend(rest_of_a_node());
        Self { environment, folder: tempfile::tempdir_in(cluster.folder()).unwrap() }
    }

    /// `tango cluster` with arguments separated by blanks; no terminal.
    pub fn run(&self, arguments: &str) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tango"));
        command.env_clear().current_dir(self.folder.path()).arg("cluster").args(arguments.split(' '));
        command.envs(self.environment.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code().unwrap(), output: text(output.stdout), errors: text(output.stderr) }
    }

    /// What `status --json` prints.
    pub fn status(&self) -> Value {
        let said = self.run("status --json");
        serde_json::from_str(&said.output).unwrap_or_else(|error| panic!("{error}: {said:?}"))
    }

    /// `add`, as soon as the member takes connections.
    pub async fn add(&self, arguments: &str) -> String {
        until("a member that can be added", async || {
            let said = self.run(&format!("add {arguments}"));
            if said.code == 0 { Ok(said.output) } else { Err(said) }
        })
        .await
    }

    /// Waits until the exit code says that all is well; the number of members.
    pub async fn wait_until_healthy(&self) -> usize {
        until("a healthy replica set", async || {
            let said = self.run("status");
            if said.code == 0 { Ok(()) } else { Err(said) }
        })
        .await;
        self.status()["members"].as_array().unwrap().len()
    }
}

/// What a node of a cluster has in its settings, too; nobody connects to it here.
fn rest_of_a_node() -> [(String, String); 2] {
    [("S3_ENDPOINT", "https://s3.example.com"), ("TOKEN_SECRET", "not used by this command, but needed")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
}

impl Said {
    pub fn expect_done(self) -> String {
        assert_eq!((self.code, self.errors.as_str()), (0, ""), "{}", self.output);
        self.output
    }

    /// It failed, and its one line of an error has these parts.
    pub fn expect_refused(self, parts: &[&str]) -> String {
        assert_eq!(self.code, 1, "{}{}", self.output, self.errors);
        for part in parts {
            assert!(self.errors.contains(part), "{part:?} is not in: {}", self.errors);
        }
        assert_eq!(self.errors.lines().count(), 1, "{}", self.errors);
        self.output
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_what_every_member_is_and_members_come_and_go() {
    let Some(cluster) = DevCluster::open() else { return };
    let set = ReplicaSet::start(&cluster, 3).await;
    let tango = ClusterCommand::of(&cluster, &set);

    let lines = tango.run("status").expect_done();
    assert_eq!(lines.lines().filter(|line| line.contains(" : PRIMARY ")).count(), 1, "{lines}");
    assert_eq!(lines.lines().filter(|line| line.contains(" : SECONDARY ")).count(), 2, "{lines}");
    let status = tango.status();
    assert_eq!(status["healthy"], true);
    assert_eq!(status["members"][0]["health"], 1);
    assert_eq!(status["members"][0]["name"], set.host(1));
    let listed = tango.run("members").expect_done();
    assert!(listed.ends_with("configuration 1: 3 votes, 2 make a majority\n"), "{listed}");

    let primary = set.primary().await;
    let gone = (1..=3).find(|member| *member != primary).unwrap();
    let left = (1..=3).find(|member| ![primary, gone].contains(member)).unwrap();
    let (primary, gone_host) = (set.host(primary), set.host(gone));
    tango.run(&format!("remove {primary}")).expect_refused(&[&primary, "is the PRIMARY"]);
    tango.run("remove nobody.example.com").expect_refused(&["nobody.example.com:27017 is no member", &gone_host]);
    tango.run(&format!("remove {gone_host}")).expect_refused(&["nobody can be asked", "--yes"]);
    tango.run("recover").expect_refused(&["nothing to recover", &primary]);
    tango.run(&format!("add {gone_host}")).expect_refused(&["is a member already"]);

    set.kill(&[gone]);
    let lines = tango.run("status").expect_refused(&["is not healthy", &gone_host, "(not reachable/healthy)"]);
    assert!(lines.contains(&format!("{gone_host} : (not reachable/healthy)")), "{lines}");
    assert_eq!(tango.status()["healthy"], false);
    tango.run(&format!("remove {} --yes", set.host(left))).expect_refused(&["only 1 would be healthy"]);

    let said = tango.run(&format!("remove {gone_host} --yes")).expect_done();
    assert!(said.contains("an even number of votes (2)") && said.contains("is no member any more"), "{said}");
    let lines = tango.run("status").expect_done();
    assert!(
        lines.contains(&format!("{gone_host} : (not reachable/healthy)  (in MONGODB_URL, but no member")),
        "{lines}"
    );
    tango.run(&format!("add {gone_host}")).expect_refused(&["does not answer"]);

    set.restart(&[gone]);
    let said = tango.add(&format!("{gone_host} --priority 0.5")).await;
    assert!(said.contains(&gone_host), "{said}");
    assert_eq!(tango.wait_until_healthy().await, 3);
    let listed = tango.run("members --json").expect_done();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["members"][2]["host"], gone_host);
    assert_eq!(listed["members"][2]["priority"], 0.5);
}

#[test]
fn a_single_node_has_no_members() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = ClusterCommand { environment: Vec::new(), folder };
    for command in ["status", "members", "remove a:1 --yes", "add a:1", "recover"] {
        nobody.run(command).expect_refused(&["MONGODB_URL is not set", "single node"]);
    }
}

#[test]
fn a_set_of_which_nobody_answers_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut environment = vec![("MONGODB_URL".to_owned(), "mongodb://127.0.0.1:9/?replicaSet=rs0".to_owned())];
    environment.extend(rest_of_a_node());
    let nobody = ClusterCommand { environment, folder };
    nobody.run("status").expect_refused(&["127.0.0.1:9 does not answer", "Connection refused"]);
}
