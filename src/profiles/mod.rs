//! Agent and customer profiles over the document store: checking records, writing them, counting
//! their values, indexing them. The same code serves posts, single changes and uploaded files.
//!
//! What one accepted write does, in one atomic batch:
//! its records (each under a precondition), a journal entry with their values, and a changed schema if
//! fields were discovered. Counting takes journal entries away in the commit that adds them to the counts, so
//! that each accepted record is always either counted or pending, never both, never neither.
//!
//! Invariant: knows no HTTP and starts no jobs; callers add theirs to the batch.

pub mod append;
pub mod counting;
pub mod counts;
pub mod indexes;
pub mod journal;
pub mod posted;
pub mod query;
pub mod record;
pub mod schema;
pub mod values;

#[cfg(test)]
mod tests;

use crate::domain::id::AccountId;
use crate::domain::profile::ProfileKind;
use crate::store::Key;

/// One account's agents or customers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Profile {
    pub account_id: AccountId,
    pub kind: ProfileKind,
}

impl Profile {
    pub fn new(account_id: AccountId, kind: ProfileKind) -> Self {
        Self { account_id, kind }
    }

    /// Scope of what belongs to the profile as a whole: journal, counts.
    pub fn scope(&self) -> String {
        format!("{}/{}", self.account_id, self.kind.as_str())
    }

    /// The reverse of [`Self::scope`].
    pub fn from_scope(scope: &str) -> Option<Self> {
        let (account, kind) = scope.split_once('/')?;
        let kind = match kind {
            "agents" => ProfileKind::Agents,
            "customers" => ProfileKind::Customers,
            _ => return None,
        };
        Some(Self { account_id: AccountId::parse(account).ok()?, kind })
    }

    /// Key of one of its records.
    pub fn record_key(&self, id: &str) -> Key {
        Key::new(self.account_id.as_str(), id)
    }

    /// `agent` or `customer`.
    pub fn noun(&self) -> &'static str {
        match self.kind {
            ProfileKind::Agents => "agent",
            ProfileKind::Customers => "customer",
        }
    }
}
