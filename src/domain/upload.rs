//! Uploads: raw bytes on their way into a dataset or a profile.

use serde::{Deserialize, Serialize};

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
