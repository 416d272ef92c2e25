//! A MongoDB replica set of a test's own, whose members can be killed, suspended, cut off and started again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::select_all;
use mongodb::Client;
use mongodb::bson::{Document, doc};
use mongodb::options::{ClientOptions, Tls, TlsOptions, WriteConcern};

use crate::dev_cluster::DevCluster;
use crate::network::Network;
use crate::support::patience::until;

/// Longest that a member may take to say what it is.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// A replica set. Members are numbered from 1.
pub struct ReplicaSet {
    cluster: Arc<DevCluster>,
    /// One client a member, that speaks to it alone and does not sign in.
    members: Vec<Client>,
}

impl ReplicaSet {
    /// With TLS and accounts; returns when there is a primary and all others follow it.
    pub async fn start(cluster: &Arc<DevCluster>, members: usize) -> Self {
        Self::start_with(cluster, members, &[]).await
    }

    /// Each member in a namespace of the network.
    pub async fn start_in(cluster: &Arc<DevCluster>, network: &Network) -> Self {
        let (namespaces, addresses) = (network.namespaces().join(","), network.addresses().join(","));
        let options = ["--namespaces", &namespaces, "--addresses", &addresses];
        Self::start_with(cluster, network.namespaces().len(), &options).await
    }

    async fn start_with(cluster: &Arc<DevCluster>, members: usize, options: &[&str]) -> Self {
        let count = members.to_string();
        let start = ["mongo", "start", "--members", &count];
        cluster.run(&[&start, options].concat());
        let mut set = Self { cluster: cluster.clone(), members: Vec::new() };
        for member in 1..=members {
            let mut options = set.client_options().await;
            options.hosts = vec![set.host(member).parse().unwrap()];
            options.direct_connection = Some(true);
            options.credential = None;
            options.server_selection_timeout = Some(ANSWER_WITHIN);
            options.connect_timeout = Some(ANSWER_WITHIN);
            set.members.push(Client::with_options(options).unwrap());
        }
        set
    }

    /// `MONGODB_URL` and `MONGODB_CA_FILE` for a `tango`.
    pub fn environment(&self) -> Vec<(String, String)> {
        let settings = self.cluster.settings("mongo.env");
        settings.into_iter().filter(|(name, _)| matches!(name.as_str(), "MONGODB_URL" | "MONGODB_CA_FILE")).collect()
    }

    /// `host:port` of a member.
    pub fn host(&self, member: usize) -> String {
        self.cluster.setting("mongo.env", &format!("MONGO_{member}_HOST")).unwrap()
    }

    /// Removes all data of a member that does not run.
    pub fn empty(&self, member: usize) {
        let folder = self.cluster.setting("mongo.env", &format!("MONGO_{member}_DATA")).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::create_dir(&folder).unwrap();
    }

    /// A member that does not run and is empty will begin to copy the others and hold there, or go on again; from its next start on.
    pub fn hold_first_copy(&self, member: usize, hold: bool) {
        const HOLD: &str =
            "  enableTestCommands: true\n  failpoint.initialSyncHangBeforeCopyingDatabases: \"{mode: 'alwaysOn'}\"\n";
        let file = self.cluster.folder().join(format!("mongo/{member}/mongod.conf"));
        let text = std::fs::read_to_string(&file).unwrap().replace(HOLD, "");
        std::fs::write(&file, if hold { text + HOLD } else { text }).unwrap();
    }

    async fn client_options(&self) -> ClientOptions {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut options =
            ClientOptions::parse(self.cluster.setting("mongo.env", "MONGODB_URL").unwrap()).await.unwrap();
        if let Some(file) = self.cluster.setting("mongo.env", "MONGODB_CA_FILE") {
            options.tls =
                Some(Tls::Enabled(TlsOptions::builder().ca_file_path(std::path::PathBuf::from(file)).build()));
        }
        options.write_concern = Some(WriteConcern::majority());
        options
    }

    /// A client that finds the primary and writes to the majority.
    pub async fn client(&self) -> Client {
        Client::with_options(self.client_options().await).unwrap()
    }

    /// A client that signs in and speaks to one member alone, whatever the others say.
    pub async fn client_of(&self, member: usize) -> Client {
        let mut options = self.client_options().await;
        options.hosts = vec![self.host(member).parse().unwrap()];
        options.direct_connection = Some(true);
        Client::with_options(options).unwrap()
    }

    fn signal(&self, command: &str, members: &[usize], option: &[&str]) {
        let names: Vec<String> = members.iter().map(|member| format!("mongo-{member}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.cluster.run(&[&[command], &names[..], option].concat());
    }

    /// `kill -9`, all at once.
    pub fn kill(&self, members: &[usize]) {
        self.signal("kill", members, &["-9"]);
    }

    /// Stops members without ending them.
    pub fn suspend(&self, members: &[usize]) {
        self.signal("suspend", members, &[]);
    }

    pub fn resume(&self, members: &[usize]) {
        self.signal("resume", members, &[]);
    }

    /// Starts members that are down, or ends them in good order and starts them again.
    pub fn restart(&self, members: &[usize]) {
        self.signal("restart", members, &[]);
    }

    /// What a member says of itself; `None` when it does not answer.
    async fn hello(&self, member: usize) -> Option<Document> {
        let admin = self.members[member - 1].database("admin");
        tokio::time::timeout(ANSWER_WITHIN, admin.run_command(doc! {"hello": 1})).await.ok()?.ok()
    }

    async fn is(&self, member: usize, role: &str) -> bool {
        self.hello(member).await.is_some_and(|hello| hello.get_bool(role).unwrap_or(false))
    }

    /// Waits for a primary that takes writes, other than the members named.
    pub async fn primary_other_than(&self, not: &[usize]) -> usize {
        // Each is asked by itself, so that one that hangs keeps no other waiting.
        let asked = (1..=self.members.len()).filter(|member| !not.contains(member));
        let asked = asked.map(|member| {
            Box::pin(until("a primary", async move || {
                if self.is(member, "isWritablePrimary").await { Ok(member) } else { Err(member) }
            }))
        });
        select_all(asked).await.0
    }

    pub async fn primary(&self) -> usize {
        self.primary_other_than(&[]).await
    }

    /// Waits until a member that was the primary is none any more, and can be read.
    pub async fn wait_until_stepped_down(&self, member: usize) {
        until("the end of a primary without followers", async || {
            if self.is(member, "secondary").await { Ok(()) } else { Err(self.hello(member).await) }
        })
        .await;
    }

    /// Waits until every member is the primary or follows it.
    pub async fn wait_until_whole(&self) {
        until("one primary and secondaries", async || {
            let (mut primaries, mut secondaries) = (0, 0);
            for member in 1..=self.members.len() {
                primaries += usize::from(self.is(member, "isWritablePrimary").await);
                secondaries += usize::from(self.is(member, "secondary").await);
            }
            let seen = (primaries, secondaries);
            if seen == (1, self.members.len() - 1) { Ok(()) } else { Err(seen) }
        })
        .await;
    }
}

/// An election after the primary is gone, by the settings of the set: 2 s without a heartbeat, and the vote.
pub const ELECTED_WITHIN: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread")]
async fn a_majority_elects_within_four_seconds_after_the_primary_is_killed_or_suspended() {
    let Some(cluster) = DevCluster::open() else { return };
    let set = ReplicaSet::start(&cluster, 3).await;
    assert_eq!(set.environment().len(), 2, "the URL and the authority");
    let numbers = set.client().await.database("elections").collection::<Document>("numbers");
    numbers.insert_one(doc! {"n": 0}).await.unwrap();

    let first = set.primary().await;
    let began = Instant::now();
    set.kill(&[first]);
    let second = set.primary_other_than(&[first]).await;
    numbers.insert_one(doc! {"n": 1}).await.unwrap();
    let killed = began.elapsed();
    set.restart(&[first]);
    set.wait_until_whole().await;

    let began = Instant::now();
    set.suspend(&[second]);
    let third = set.primary_other_than(&[second]).await;
    let suspended = began.elapsed();
    set.resume(&[second]);
    set.wait_until_whole().await;

    println!(
        "a new primary after kill -9 of {first}: {killed:?} with a write; after suspension of {second}: {suspended:?}"
    );
    assert!(killed < ELECTED_WITHIN && suspended < ELECTED_WITHIN, "{killed:?}, {suspended:?}");
    assert_ne!(second, first);
    assert_ne!(third, second);
    assert_eq!(numbers.count_documents(doc! {}).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_cut_off_is_replaced_and_follows_when_it_is_back() {
    let Some(cluster) = DevCluster::open() else { return };
    let Some(network) = Network::lay(3) else { return };
    let set = ReplicaSet::start_in(&cluster, &network).await;
    let first = set.primary().await;
    let began = Instant::now();
    network.cut(first);
    let second = set.primary_other_than(&[first]).await;
    let elected = began.elapsed();
    println!("a new primary after {first} was cut off: {elected:?}");
    // Both others may stand in the same moment, each with its own vote: then they wait for the one that is cut off, and vote once more.
    assert!(elected < 2 * ELECTED_WITHIN, "{elected:?}");
    assert!(set.hello(first).await.is_none(), "the one that is cut off cannot be asked");
    network.mend(first);
    set.wait_until_whole().await;
    assert_eq!(set.primary().await, second);
}
