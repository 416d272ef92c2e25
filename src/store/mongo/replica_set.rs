//! The replica set as an operator sees it: who is a member, how each is doing, and what to do when a site is lost.
//!
//! Every member is asked by itself ([`ask`]), because one member's view of the others is what is wrong when a network is cut. A
//! change goes through the primary ([`change`]); without one, and with the lost members fenced off, it is forced ([`recovery`]). The set
//! itself is made by [`initiate`].

mod ask;
mod change;
mod error;
mod initiate;
mod look;
mod parse;
mod recovery;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use mongodb::bson::Document;
use serde::Serialize;

pub use change::{Addition, Removal, add, remove};
pub use error::ReplicaSetError;
pub use initiate::{Initiated, Initiation, initiate};
pub use look::look;
pub use recovery::{Dropped, Recovered, RecoveryPlan, Staying, recover};

use crate::domain::Timestamp;

/// MongoDB's words for what a member is. There are more, such as `STARTUP2` and `RECOVERING`.
pub const PRIMARY: &str = "PRIMARY";
pub const SECONDARY: &str = "SECONDARY";
pub const ARBITER: &str = "ARBITER";
/// It runs, but the set's configuration does not name it.
pub const REMOVED: &str = "REMOVED";
pub const NOT_REACHABLE: &str = "(not reachable/healthy)";

/// MongoDB lets so many members vote.
const MOST_VOTES: i64 = 7;

/// The set, by everything that its members say.
#[derive(Debug, Clone)]
pub struct Overview {
    /// The newest that any member has.
    pub configuration: Configuration,
    /// In the order of the configuration.
    pub members: Vec<MemberStatus>,
    /// Hosts of MONGODB_URL that the configuration does not name.
    pub strangers: Vec<Stranger>,
    /// The configuration as the server wants it back.
    raw: Document,
}

/// What the set has agreed on about its members.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Configuration {
    pub set: String,
    pub version: i64,
    /// The election under which it was made; `None`: it was forced. Then its version alone decides, so that it wins over whatever an
    /// isolated member of an older one holds.
    pub term: Option<i64>,
    pub members: Vec<MemberConfiguration>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MemberConfiguration {
    #[serde(rename = "_id")]
    pub id: i64,
    /// `host:port`
    pub host: String,
    pub votes: i64,
    /// 0: never becomes the primary.
    pub priority: f64,
    pub arbiter: bool,
    pub hidden: bool,
    /// It follows that much behind, on purpose.
    pub delay_seconds: i64,
    pub tags: BTreeMap<String, String>,
}

/// How a member is doing.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberStatus {
    pub configured: MemberConfiguration,
    /// Whether it answers this machine.
    pub reach: Reach,
    /// Another member hears from it.
    pub heard_by: Option<String>,
    /// [`PRIMARY`], [`SECONDARY`] …
    pub state: String,
    /// It answers this machine and the primary.
    pub healthy: bool,
    /// How far its data goes, when it answers.
    pub position: Option<Position>,
    /// When its last write was made; of one that does not answer, as far as another knew.
    pub last_write: Option<Timestamp>,
    /// Behind the primary; without one, behind the member whose data goes farthest.
    pub lag_seconds: Option<i64>,
    pub uptime_seconds: Option<i64>,
    /// How far its clock is ahead of this machine's.
    pub clock_ahead_ms: Option<i64>,
    pub disk: Option<Disk>,
    /// When another member last heard from it.
    pub last_heard: Option<Timestamp>,
    /// For a person, when there is something to say.
    pub note: Option<String>,
}

/// The file system with a member's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    pub total_bytes: u64,
    pub free_bytes: u64,
}

/// A host that is asked although it is no member.
#[derive(Debug, Clone, PartialEq)]
pub struct Stranger {
    pub host: String,
    pub reach: Reach,
    pub state: String,
}

/// What comes of asking a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    Answers,
    /// Something is there that takes connections, but no answer comes, or none to us.
    Silent(String),
    /// No connection.
    Gone(String),
}

/// A member's last write. A later one holds all that an earlier one does which most members have acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    // Compared in this order.
    /// The election of the primary that made it.
    pub term: i64,
    pub seconds: u32,
    pub increment: u32,
}

impl Configuration {
    pub fn votes(&self) -> i64 {
        self.members.iter().map(|member| member.votes).sum()
    }

    /// Votes that elect a primary.
    pub fn majority(&self) -> i64 {
        self.votes() / 2 + 1
    }

    /// Members that have to acknowledge a write with `w: majority`.
    pub fn write_majority(&self) -> i64 {
        let with_data = self.members.iter().filter(|member| member.votes > 0 && !member.arbiter).count();
        self.majority().min(i64::try_from(with_data).unwrap_or(i64::MAX))
    }

    /// It ought to have one: it is none of those that only ever keep copies, and the set takes more votes.
    fn lacks_vote(&self, member: &MemberConfiguration) -> bool {
        member.votes == 0 && !member.hidden && member.delay_seconds == 0 && self.votes() < MOST_VOTES
    }

    pub fn hosts(&self) -> Vec<String> {
        self.members.iter().map(|member| member.host.clone()).collect()
    }

    /// As the members themselves decide it, when they meet with different ones.
    fn is_newer_than(&self, other: &Self) -> bool {
        match (self.term, other.term) {
            (Some(own), Some(theirs)) => (own, self.version) > (theirs, other.version),
            _ => self.version > other.version,
        }
    }
}

impl Overview {
    /// The member that takes writes, when there is exactly one.
    pub fn primary(&self) -> Option<&MemberStatus> {
        let mut primaries = self.members.iter().filter(|member| member.is_primary());
        primaries.next().filter(|_| primaries.next().is_none())
    }

    /// Whatever keeps the set from being one PRIMARY with healthy SECONDARY members; nothing when it is well.
    pub fn problems(&self) -> Vec<String> {
        let mut primaries: Vec<&str> =
            self.members.iter().filter(|member| member.is_primary()).map(MemberStatus::host).collect();
        primaries.extend(self.strangers.iter().filter(|one| one.state == PRIMARY).map(|one| one.host.as_str()));
        let mut problems = Vec::new();
        match primaries.len() {
            0 => problems.push("there is no PRIMARY".to_owned()),
            1 => {}
            count => problems.push(format!("{count} members are PRIMARY: {}", primaries.join(", "))),
        }
        for member in &self.members {
            if !member.is_well() {
                problems.push(format!("{} is {}", member.host(), member.state));
            } else if self.configuration.lacks_vote(&member.configured) {
                let host = member.host();
                problems.push(format!(
                    "{host} has no vote, so that fewer of the others may fail: tango cluster add {host} gives it one"
                ));
            }
        }
        problems
    }

    fn member(&self, host: &str) -> Option<&MemberStatus> {
        self.members.iter().find(|member| member.host().eq_ignore_ascii_case(host))
    }

    fn states(&self) -> String {
        let states = self.members.iter().map(|member| format!("{} : {}", member.host(), member.state));
        states.collect::<Vec<_>>().join(", ")
    }
}

impl MemberStatus {
    pub fn host(&self) -> &str {
        &self.configured.host
    }

    /// It answers everybody and does its part.
    pub fn is_well(&self) -> bool {
        self.healthy && [PRIMARY, SECONDARY, ARBITER].contains(&self.state.as_str())
    }

    fn is_primary(&self) -> bool {
        self.reach == Reach::Answers && self.state == PRIMARY
    }
}
