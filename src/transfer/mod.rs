//! Copies of the whole store: backup and restore, and with them the move between a single node and a cluster.
//!
//! A copy is a folder in the layout of MongoDB's own dump tool, `<database>/<collection>.bson`, and beside it what a dump alone
//! lacks: the objects that documents refer to, and a list of checksums ([`layout`]). Its documents are as of one moment
//! ([`Store::snapshot`](crate::store::Store::snapshot)). Objects are copied after them: an object never changes, and one that is replaced
//! meanwhile stays for `OBJECT_GRACE_DAYS`.
//!
//! Invariant: a restore changes nothing before the whole copy was checked; one that was cut off goes on where it stopped, and
//! nothing starts on a store that is restored by half.

mod backup;
mod dump;
mod error;
pub mod layout;
mod mark;
mod objects;
mod references;
mod renewal;
mod restore;
mod sums;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

pub use backup::{BackupOptions, backup};
pub use error::TransferError;
pub use mark::refuse_unfinished;
pub use restore::{RestoreOptions, Restored, check, restore};

use crate::domain::Timestamp;
use crate::domain::job::{Progress, Reporter};

type Result<T, E = TransferError> = std::result::Result<T, E>;

/// What a copy holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub folder: PathBuf,
    /// Everything that was acknowledged before is in it.
    pub created_at: Timestamp,
    pub documents: u64,
    pub document_bytes: u64,
    pub objects: u64,
    pub object_bytes: u64,
    /// What was missing or damaged in the store itself when the copy was made.
    pub missing: Vec<String>,
}

/// Part of the work, of which a reporter is told how far it is. Cheap to clone.
#[derive(Clone)]
struct Phase {
    reporter: Arc<dyn Reporter>,
    name: &'static str,
    unit: &'static str,
    total: Option<u64>,
    done: Arc<AtomicU64>,
}

impl Phase {
    fn start(reporter: &Arc<dyn Reporter>, name: &'static str, unit: &'static str, total: Option<u64>) -> Result<Self> {
        let phase = Self { reporter: reporter.clone(), name, unit, total, done: Arc::default() };
        phase.add(0)?;
        Ok(phase)
    }

    /// So much more is done. An error when the work was cancelled.
    fn add(&self, more: u64) -> Result<()> {
        let done = self.done.fetch_add(more, Ordering::Relaxed) + more;
        self.reporter.report(Progress {
            done,
            total: self.total,
            unit: self.unit.to_owned(),
            phase: self.name.to_owned(),
            ..Progress::default()
        });
        if self.reporter.is_cancelled() { Err(TransferError::Cancelled) } else { Ok(()) }
    }
}

/// File work away from the threads that answer requests.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| TransferError::Internal(error.into()))?
}
