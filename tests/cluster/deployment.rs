//! A whole cluster of a test's own: replica set, S3 service, servers and workers, and a client that is signed in.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::dev_cluster::DevCluster;
use crate::network::Network;
use crate::node::{Node, Role};
use crate::object_service::ObjectService;
use crate::replica_set::ReplicaSet;
use crate::support::api::{Api, PASSWORD};
use crate::support::centre::Loaded;
use crate::support::client::client_builder;
use crate::support::patience::until;

/// As long as a connector waits for an answer: it does not ask twice.
pub const CONNECTOR_PATIENCE: Duration = Duration::from_secs(15);

/// What a deployment consists of.
pub struct Shape {
    pub members: usize,
    pub servers: usize,
    pub workers: usize,
    /// Settings of every node beside those that it needs to start.
    pub settings: Vec<(&'static str, String)>,
}

impl Default for Shape {
    fn default() -> Self {
        Self { members: 3, servers: 2, workers: 1, settings: Vec::new() }
    }
}

pub struct Deployment {
    // Nodes end before what they need.
    pub servers: Vec<Node>,
    pub workers: Vec<Node>,
    pub set: ReplicaSet,
    pub objects: ObjectService,
    pub cluster: Arc<DevCluster>,
    settings: Vec<(String, String)>,
    api: Api,
}

impl Deployment {
    /// `None`, with a printed line, where the servers cannot be had.
    pub async fn start(shape: Shape) -> Option<Self> {
        let cluster = DevCluster::open()?;
        let objects = start_objects(&cluster);
        let set = ReplicaSet::start(&cluster, shape.members).await;
        Some(Self::start_on(cluster, set, objects.await.unwrap(), shape).await)
    }

    /// Each member of the replica set on a machine of the network; servers and workers outside.
    pub async fn start_in(network: &Network, shape: Shape) -> Option<Self> {
        let cluster = DevCluster::open()?;
        let objects = start_objects(&cluster);
        let set = ReplicaSet::start_in(&cluster, network).await;
        Some(Self::start_on(cluster, set, objects.await.unwrap(), shape).await)
    }

    async fn start_on(cluster: Arc<DevCluster>, set: ReplicaSet, objects: ObjectService, shape: Shape) -> Self {
        let mut settings = set.environment();
        settings.extend(objects.environment());
        settings.push(("TOKEN_SECRET".to_owned(), "a secret for tests, the same on every node".to_owned()));
        settings.push(("SUPER_USER_PASSWORD".to_owned(), PASSWORD.to_owned()));
        settings.extend(shape.settings.into_iter().map(|(name, value)| (name.to_owned(), value)));
        let roles = [vec![Role::Server; shape.servers], vec![Role::Worker; shape.workers]].concat();
        let started = tokio::task::block_in_place(|| {
            let (cluster, settings) = (&cluster, &settings);
            std::thread::scope(|scope| {
                let start = |role| scope.spawn(move || Node::start(cluster, role, settings.clone()));
                let starting: Vec<_> = roles.into_iter().map(start).collect();
                starting.into_iter().map(|node| node.join().unwrap()).collect::<Vec<_>>()
            })
        });
        let (servers, workers): (Vec<_>, Vec<_>) = started.into_iter().partition(|node| node.role == Role::Server);
        let authority = std::fs::read(cluster.setting("s3.env", "S3_CA_FILE").unwrap()).unwrap();
        let http = client_builder().add_root_certificate(reqwest::Certificate::from_pem(&authority).unwrap());
        let api = Api::sign_in_to(servers[0].url(), http.build().unwrap()).await;
        Self { servers, workers, set, objects, cluster, settings, api }
    }

    /// The client, at a server (numbered from 0).
    pub fn at(&self, server: usize) -> Api {
        Api { url: self.servers[server].url(), ..self.api.clone() }
    }

    /// Makes a centre's predictor and a model at the first server; answers their ids when every server scores by it.
    pub async fn activate(&self, loaded: &Loaded, model_type: &str) -> (String, String) {
        let made = loaded.activate(&self.at(0), model_type).await;
        let nobody = json!({"agents": []});
        for server in (0..self.servers.len()).map(|server| self.at(server)) {
            until("a server to hear of the model", async || {
                let answer = server.post("/api/v1/predictors/fcr/score").json(&nobody).send().await;
                if answer.status.is_success() { Ok(()) } else { Err(answer.text) }
            })
            .await;
        }
        made
    }

    /// The client at a server, that waits no longer than a connector.
    pub fn connector_at(&self, server: usize) -> Api {
        self.connector(self.servers[server].url())
    }

    pub fn connector(&self, url: String) -> Api {
        let http = client_builder().timeout(CONNECTOR_PATIENCE).build().unwrap();
        Api { url, http, ..self.api.clone() }
    }

    /// Starts one more node, with settings of its own.
    pub fn start_node_with(&self, role: Role, settings: &[(&str, String)]) -> Node {
        let own = settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let settings = self.settings.iter().cloned().chain(own).collect();
        tokio::task::block_in_place(|| Node::start(&self.cluster, role, settings))
    }

    /// Starts one more node on a machine of the network.
    pub fn start_node_in(&self, network: &Network, machine: usize, role: Role) -> Node {
        let settings = self.settings.clone();
        tokio::task::block_in_place(|| Node::start_in(&self.cluster, network, machine, role, settings))
    }
}

fn start_objects(cluster: &Arc<DevCluster>) -> tokio::task::JoinHandle<ObjectService> {
    let cluster = Arc::clone(cluster);
    tokio::task::spawn_blocking(move || ObjectService::start(&cluster))
}
