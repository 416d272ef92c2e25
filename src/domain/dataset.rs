//! Datasets: an ordered list of immutable segments plus a schema version.

use serde::{Deserialize, Serialize};

use super::Timestamp;
use super::id::{AccountId, DatasetId, JobId, PredictorId, SegmentId, UploadId};
use super::schema::Schema;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DatasetState {
    Discovering,
    AwaitingSchema,
    Ready,
    Failed,
}

/// A dataset's metadata. Rows live in segments, fields in its [`super::schema::Schema`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Dataset {
    pub id: DatasetId,
    pub account_id: AccountId,
    pub name: String,
    pub state: DatasetState,
    /// What went wrong, and what to do, when `state` is `failed`.
    pub error: Option<String>,
    pub rows: u64,
    pub segments: u64,
    pub size_bytes: u64,
    /// Earliest and latest value of the timestamp field.
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
    pub schema_version: u32,
    /// The current data version: see [`DatasetVersion`].
    pub version: u64,
    /// The upload that waits for its schema to be accepted.
    pub pending_upload: Option<UploadId>,
    /// The job that works on the dataset, or did last.
    pub last_job: Option<JobId>,
    /// Where the refused rows of the last upload are listed.
    #[serde(default)]
    pub rejected: Option<RejectedReport>,
    /// Set when it is made from the score log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<OutcomeSource>,
    /// Deleted datasets stay for a while, unseen, so that their objects outlive older backups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Dataset {
    /// Without data and without a schema.
    pub fn new(id: DatasetId, account_id: AccountId, name: String, state: DatasetState, now: Timestamp) -> Self {
        Self {
            id,
            account_id,
            name,
            state,
            error: None,
            rows: 0,
            segments: 0,
            size_bytes: 0,
            from: None,
            to: None,
            schema_version: 0,
            version: 0,
            pending_upload: None,
            last_job: None,
            rejected: None,
            source: None,
            deleted_at: None,
            created_at: now,
            updated_at: now,
        }
    }
}

/// An outcome dataset: a predictor's score log, joined with what was scored and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeSource {
    pub predictor_id: PredictorId,
    /// The next refresh reads reports from this time on; all of them when absent.
    pub read_from: Option<Timestamp>,
    pub refreshed_at: Option<Timestamp>,
    /// Of the last refresh.
    pub last_rows_added: u64,
    pub last_rows_updated: u64,
}

/// One version of a dataset's data: what a reader pins.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DatasetVersion {
    pub dataset_id: DatasetId,
    pub version: u64,
    pub schema_version: u32,
    /// `upload`, `append`, `compaction`, `indexes`, `revert`, `delete_range`, `schema`, `outcomes`.
    pub reason: String,
    pub segments: Vec<SegmentId>,
    /// Rows of each segment, so that small ones are found without reading their directories.
    #[serde(default)]
    pub segment_rows: Vec<u64>,
    /// How many of the segments were written while `AUTOGENERATE_INDEXES` was False.
    #[serde(default)]
    pub segments_not_indexed: u64,
    /// The job that made this version: its effect is recognised when it runs again.
    #[serde(default)]
    pub job_id: Option<JobId>,
    pub rows: u64,
    pub size_bytes: u64,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
    pub created_at: Timestamp,
}

/// The refused rows of an upload, as a CSV file in the object store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedReport {
    pub object_key: String,
    pub rows: u64,
}

/// One version of a dataset's schema.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DatasetSchema {
    pub dataset_id: DatasetId,
    pub schema: Schema,
    pub created_at: Timestamp,
}
