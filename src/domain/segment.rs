//! Segments: the immutable Parquet files that a dataset consists of, and the directory that says what is in each,
//! so that a reader can leave most of them unopened.

use serde::{Deserialize, Serialize};

use super::Timestamp;
use super::id::{DatasetId, SegmentId};
use super::schema::FieldType;

/// A range of bytes in a segment's object: `start..end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByteRange {
    pub start: u64,
    pub end: u64,
}

/// One stored segment: where it is, and its directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    pub id: SegmentId,
    pub dataset_id: DatasetId,
    /// The Parquet file's key in the object store.
    pub object_key: String,
    pub schema_version: u32,
    #[serde(flatten)]
    pub directory: SegmentDirectory,
    pub created_at: Timestamp,
}

/// What a segment holds, known without opening it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentDirectory {
    pub rows: u64,
    /// Size of the object.
    pub size_bytes: u64,
    /// Earliest and latest value of the timestamp field, by which the rows are sorted (rows without one come first).
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
    /// Rows whose timestamp field is missing; every row when there is no such field.
    pub rows_without_time: u64,
    /// Bloom filters and postings were wanted when it was written (`AUTOGENERATE_INDEXES`).
    #[serde(default)]
    pub indexed: bool,
    /// The Parquet column indexes (minimum and maximum of each page), then the offset indexes (where each page is),
    /// then the footer: three neighbours, so that one read gets what a reader wants of them.
    pub column_index_start: u64,
    pub offset_index_start: u64,
    pub footer_start: u64,
    pub columns: Vec<ColumnDirectory>,
}

/// One column of a segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnDirectory {
    pub name: String,
    #[serde(rename = "type")]
    pub field_type: FieldType,
    pub nulls: u64,
    /// Smallest and largest value; times are RFC 3339 texts. A text longer than 64 characters is shortened so that
    /// it still bounds (a maximum without a bound of that length is left out).
    /// Lists, dictionaries and columns without values have none.
    pub min: Option<serde_json::Value>,
    pub max: Option<serde_json::Value>,
    /// Answers "is this value in here?" for identifier-like columns with at most a few thousand values.
    pub bloom: Option<BloomFilter>,
    /// Finds a value's rows by one small read.
    pub postings: Option<PostingsLocation>,
}

/// A split-block Bloom filter (Putze et al. 2007, the block layout of Parquet): 32 bytes a block, in base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BloomFilter {
    pub blocks: u32,
    pub bits: String,
}

/// Where a column's postings (value → row numbers) are in the object. A value's hash names its bucket;
/// one read of that bucket answers. The layout of a bucket: see `ingest::postings`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostingsLocation {
    pub range: ByteRange,
    pub buckets: u32,
    /// `buckets + 1` offsets into `range`, little-endian `u32`, in base64.
    pub offsets: String,
}

impl SegmentDirectory {
    pub fn column(&self, name: &str) -> Option<&ColumnDirectory> {
        self.columns.iter().find(|column| column.name == name)
    }
}
