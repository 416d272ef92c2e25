//! A `tango` process of the cluster: a server or a worker, at the same port whenever it is started again.

use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;

use crate::dev_cluster::DevCluster;
use crate::network::Network;
use crate::support::client::client;
use crate::support::patience::until;
use crate::support::process::Process;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Server,
    Worker,
}

pub struct Node {
    pub role: Role,
    /// `host:port`; a worker listens nowhere.
    pub address: String,
    environment: Vec<(String, String)>,
    /// Network namespace that it runs in.
    namespace: Option<String>,
    folder: tempfile::TempDir,
    pub process: Process,
    cluster: Arc<DevCluster>,
}

impl Node {
    /// Starts it and waits until it says that it is ready. `environment` are settings such as `MONGODB_URL`.
    pub fn start(cluster: &Arc<DevCluster>, role: Role, environment: Vec<(String, String)>) -> Self {
        let address = format!("127.0.0.1:{}", cluster.free_ports(1)[0]);
        Self::start_at(cluster, role, environment, address, None)
    }

    /// On a machine of the network; the test speaks to it by the machine's second cable.
    pub fn start_in(
        cluster: &Arc<DevCluster>,
        network: &Network,
        machine: usize,
        role: Role,
        mut environment: Vec<(String, String)>,
    ) -> Self {
        let (namespace, address) = network.straight_to(machine);
        let address = format!("{address}:{}", cluster.free_ports(1)[0]);
        environment.push(("ALLOW_HTTP".to_owned(), "True".to_owned()));
        Self::start_at(cluster, role, environment, address, Some(namespace.to_owned()))
    }

    fn start_at(
        cluster: &Arc<DevCluster>,
        role: Role,
        environment: Vec<(String, String)>,
        address: String,
        namespace: Option<String>,
    ) -> Self {
        let folder = tempfile::tempdir_in(cluster.folder()).unwrap();
        let process = Process::spawn(command(role, &address, &environment, namespace.as_deref(), &folder));
        let mut node = Self { role, address, environment, namespace, folder, process, cluster: cluster.clone() };
        node.process.wait_for_welcome();
        node
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Starts it again after its end, with the settings, the folder and the port that it had; waits until it is ready.
    pub fn restart(&mut self) {
        self.keep_log();
        let namespace = self.namespace.as_deref();
        self.process = Process::spawn(command(self.role, &self.address, &self.environment, namespace, &self.folder));
        self.process.wait_for_welcome();
    }

    /// Asks it to stop; it drains first.
    pub fn terminate(&self) {
        self.process.signal("TERM");
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.signal("KILL");
        assert_eq!(self.process.wait(), None, "killed by a signal");
    }

    /// Ends the process, if it still runs, and puts what it logged beside the logs of the other servers.
    fn keep_log(&mut self) {
        let name = format!("{:?}-{}.log", self.role, self.address.rsplit(':').next().unwrap()).to_lowercase();
        let logged = self.process.end();
        let folder = self.cluster.folder().join("logs");
        let file = std::fs::File::options().create(true).append(true).open(folder.join(name));
        // Without servers there is no such folder.
        let _ = file.and_then(|mut file| file.write_all(logged.as_bytes()));
    }

    /// What it answers to a request without an account; `None` when it does not.
    pub async fn status_of(&self, path: &str) -> Option<u16> {
        let answer = client().get(format!("{}{path}", self.url())).send().await.ok()?;
        Some(answer.status().as_u16())
    }

    /// Waits until what load balancers ask for has this status.
    pub async fn wait_for_login(&self, status: u16) {
        until("an answer of /login", async || {
            let seen = self.status_of("/login").await;
            if seen == Some(status) { Ok(()) } else { Err(seen) }
        })
        .await;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep_log();
        }
    }
}

/// The program under test: this build's, or the one that `TANGO_TEST_PROGRAM` names (a release build, for figures).
fn program() -> std::ffi::OsString {
    std::env::var_os("TANGO_TEST_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_tango").into())
}

fn command(
    role: Role,
    address: &str,
    environment: &[(String, String)],
    namespace: Option<&str>,
    folder: &tempfile::TempDir,
) -> Command {
    let tango = program();
    let mut command = match namespace {
        // Becomes the program, under the same process id.
        Some(namespace) => {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", namespace]).arg(tango);
            command
        }
        None => Command::new(tango),
    };
    command.env_clear().current_dir(folder.path());
    command.arg(if role == Role::Server { "server" } else { "worker" });
    command.env("LISTEN", address).env("S3_LISTEN", "127.0.0.1:0");
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

#[tokio::test]
async fn a_server_drains_dies_and_comes_back_at_its_port() {
    let Some(cluster) = DevCluster::open() else { return };
    let mut node = Node::start(&cluster, Role::Server, vec![("DRAIN_SECONDS".to_owned(), "600".to_owned())]);
    assert_eq!(node.process.told("web application"), node.url());
    node.wait_for_login(200).await;
    node.terminate();
    node.wait_for_login(503).await;
    assert_eq!(node.status_of("/livez").await, Some(200), "it still serves");
    node.kill();
    assert_eq!(node.status_of("/livez").await, None);
    node.restart();
    println!("back after {:?} as process {}", node.process.started_in, node.process.id());
    assert_eq!(node.status_of("/login").await, Some(200));
}

#[tokio::test]
async fn a_worker_without_a_cluster_says_why_it_does_not_start() {
    let Some(cluster) = DevCluster::open() else { return };
    let folder = tempfile::tempdir_in(cluster.folder()).unwrap();
    let refused = command(Role::Worker, "127.0.0.1:0", &[], None, &folder).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.contains("a single node has its workers inside"), "{said}");
}
