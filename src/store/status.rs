//! How a store is doing.

use std::time::Duration;

use serde::Serialize;

/// A store's state as it is known without asking it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreStatus {
    /// False: there is no majority, so nothing can be written; reads are answered by whoever is there.
    pub writable: bool,
    /// One entry for a store that has no members.
    pub members: Vec<Member>,
    /// How long ago the change feed was last known to be complete; `None` before its first answer.
    pub feed_lag: Option<Duration>,
}

/// One member of a replica set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Member {
    /// `host:port`
    pub address: String,
    pub state: MemberState,
}

/// A member's part in the replica set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    Primary,
    Secondary,
    Arbiter,
    /// Reachable, but starting, recovering or hidden.
    Other,
    Unreachable,
}

impl MemberState {
    pub fn as_str(self) -> &'static str {
        match self {
            MemberState::Primary => "primary",
            MemberState::Secondary => "secondary",
            MemberState::Arbiter => "arbiter",
            MemberState::Other => "other",
            MemberState::Unreachable => "unreachable",
        }
    }
}
