//! Long work: claimed under a lease, fenced, resumed after a crash. One file a job.

pub mod dataset_cardinality;
pub mod dataset_change;
pub mod dataset_compact;
pub mod dataset_convert;
pub mod dataset_count;
pub mod dataset_delete_range;
pub mod dataset_discover;
pub mod dataset_index;
pub mod dataset_ingest;
pub mod dataset_objects;
pub mod dataset_outcomes;
pub mod dataset_reader;
pub mod dataset_revert;
pub mod outcome_rows;
pub mod profile_counts;
pub mod profile_indexes;
pub mod profile_upload;
mod profile_upserts;
pub mod purging;
pub mod schedules;
pub mod segment_cache;
pub mod train_model;
mod training_table;
pub mod watch;

mod control;
mod finish;
mod lease;
pub mod make_report;
mod pace;
mod registry;
mod resting;
mod run;
mod runner;
mod sample;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use control::{ControlError, cancel, redrive, retry};
pub use registry::Registry;
pub use run::{JobRun, enqueue};
pub use runner::{Runner, RunnerHandle, RunnerOptions};

use crate::domain::job::Topic;
use crate::store::Batch;

/// Every kind of job that this program knows.
pub fn every_kind() -> Registry {
    let mut registry = Registry::new();
    registry
        .register::<dataset_discover::DiscoverUpload>()
        .register::<dataset_index::IndexDataset>()
        .register::<dataset_ingest::IngestUpload>()
        .register::<dataset_compact::CompactDataset>()
        .register::<dataset_convert::ConvertDataset>()
        .register::<dataset_count::CountDataset>()
        .register::<dataset_delete_range::DeleteRange>()
        .register::<dataset_outcomes::RefreshOutcomes>()
        .register::<dataset_revert::RevertDataset>()
        .register::<make_report::MakeReport>()
        .register::<profile_counts::CountProfile>()
        .register::<profile_indexes::IndexProfile>()
        .register::<profile_upload::ProfileUpload>()
        .register::<purging::Purge>()
        .register::<train_model::TrainModel>();
    registry
}

/// The code behind one kind of job. The struct itself is the payload.
#[async_trait]
pub trait RunJob: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Stable name, stored with the job.
    const KIND: &'static str;
    const TOPIC: Topic;
    /// Attempts before the job is dead.
    const MAX_ATTEMPTS: u32 = 5;

    /// Does the work. It may run again after a crash, from the start; what it writes on the way goes
    /// through [`JobRun::commit`], and its final effects are handed back to be committed together
    /// with the job's success, once.
    async fn run(&self, run: &JobRun) -> Result<Done, JobError>;

    /// What else to write when the job ends as failed, cancelled or dead (a dataset's state, for instance).
    async fn on_failure(&self, _run: &JobRun, _error: &JobError) -> Batch {
        Batch::new()
    }
}

/// What a finished run leaves behind.
#[derive(Debug, Default)]
pub struct Done {
    /// Committed with the job's success, in one transaction guarded by the fence.
    pub effects: Batch,
    /// Shown as the job's `result`.
    pub result: Value,
}

/// Why a run ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The input is at fault: trying again cannot help. The text tells a person what to do.
    #[error("{0}")]
    Failed(String),
    /// Something around the job is at fault: try again after a pause.
    #[error("{0:#}")]
    Retry(anyhow::Error),
    /// A disk is full: try again after a pause, as often as it takes a person to free some space.
    #[error("The disk is full; nothing was added. Free some space: this job then goes on by itself.")]
    NoSpace,
    /// The object store is away: try again after a pause, for as long as that lasts. The text follows "The object store".
    #[error("The object store {0}; nothing was added. When that is over, this job goes on by itself.")]
    ObjectsAway(&'static str),
    #[error("cancelled")]
    Cancelled,
    /// The lease was lost: another worker has the job.
    #[error("another worker took the job over")]
    LostLease,
}
