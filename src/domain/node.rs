//! A running process of the product, as it tells of itself.

use serde::{Deserialize, Serialize};

use super::Timestamp;
use super::job::Topic;

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Serves the web application and the API.
    pub server: bool,
    /// Works on jobs.
    pub worker: bool,
}

impl Role {
    /// Everything in one process.
    pub const BOTH: Role = Role { server: true, worker: true };
    pub const SERVER: Role = Role { server: true, worker: false };
    pub const WORKER: Role = Role { server: false, worker: true };

    pub fn as_str(self) -> &'static str {
        match (self.server, self.worker) {
            (true, true) => "server and worker",
            (true, false) => "server",
            (false, true) => "worker",
            (false, false) => "nothing",
        }
    }
}

/// One process of the cluster. It renews what it says every few seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Unique to one run of a process.
    pub id: String,
    /// Host and, for servers, port; for people.
    pub name: String,
    pub version: String,
    /// A fingerprint of what all processes should be set to alike; empty of versions that did not tell.
    #[serde(default)]
    pub settings: String,
    pub role: Role,
    /// A phase of its life, such as `ready`.
    pub state: String,
    /// What its workers take; empty without workers.
    pub topics: Vec<Topic>,
    pub started_at: Timestamp,
    /// By its own clock.
    pub seen_at: Timestamp,
}
