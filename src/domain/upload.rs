//! Uploads: raw bytes on their way into a dataset or a profile.

use serde::{Deserialize, Serialize};

use super::Timestamp;
use super::id::{AccountId, DatasetId, JobId, UploadId};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UploadTarget {
    Dataset,
    Agents,
    Customers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UploadMode {
    Create,
    Append,
}

/// Which cardinalities an append recomputes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Recount {
    Full,
    Incremental,
}

/// How the bytes of a file are to be read; what is `None` is detected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FileFormat {
    /// `csv`, `ndjson` or `parquet`; gzip and zip around it are detected from the bytes.
    pub format: Option<String>,
    /// One character: `,`, tab, `;` or `|`.
    pub separator: Option<String>,
    /// A label of the WHATWG encoding standard, such as `utf-8`, `windows-1252` or `utf-16le`.
    pub encoding: Option<String>,
    /// Texts that stand for a missing value; when absent: empty, `NA`, `NULL`, `NaN`, `\N`.
    pub missing_values: Option<Vec<String>>,
}

/// Where an upload stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UploadState {
    /// Parts are arriving.
    Receiving,
    /// Whole; a job has it, or is done with it.
    Completed,
    Aborted,
    Expired,
    /// Completed once; its bytes are gone.
    Purged,
}

/// One file on its way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Upload {
    pub id: UploadId,
    pub account_id: AccountId,
    pub target: UploadTarget,
    pub mode: UploadMode,
    /// Of an append from the start; of a new dataset once the upload is complete.
    pub dataset_id: Option<DatasetId>,
    /// The new dataset's name.
    pub name: String,
    pub filename: String,
    pub size_bytes: u64,
    pub format: FileFormat,
    /// The column that holds a profile's id.
    pub id_field: Option<String>,
    pub recount: Recount,
    pub accept_schema: bool,
    pub object_key: String,
    /// The object store's name for the multipart upload; empty when the bytes came in one call.
    pub multipart_id: String,
    /// Every part has this size except the last.
    pub part_size_bytes: u64,
    /// Base 64, one a part; empty when the client gave none.
    pub part_sha256: Vec<String>,
    pub state: UploadState,
    pub job_id: Option<JobId>,
    pub expires_at: Timestamp,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Upload {
    pub fn part_count(&self) -> u32 {
        u32::try_from(self.size_bytes.div_ceil(self.part_size_bytes.max(1))).unwrap_or(u32::MAX)
    }

    /// Bytes of part `number`, which counts from 1.
    pub fn part_bytes(&self, number: u32) -> u64 {
        let before = u64::from(number.saturating_sub(1)) * self.part_size_bytes;
        self.size_bytes.saturating_sub(before).min(self.part_size_bytes)
    }

    /// The SHA-256 that part `number` must have, in base 64.
    pub fn part_checksum(&self, number: u32) -> Option<&str> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.part_sha256.get(index).map(String::as_str)
    }
}
