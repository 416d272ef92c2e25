//! Bytes of files → typed columns → segments, and back.
//!
//! - discovery: [`discover()`] proposes a schema from the whole file
//! - ingest: [`ingest()`] checks every value against the schema and hands encoded segments to a [`SegmentSink`];
//!   [`for_each_record()`] does the same for profiles
//!
//! Invariants: sync, no network, no store; memory is bounded whatever the file holds.

mod arrow_columns;
mod bloom;
mod chunk;
mod columns;
mod delimited;
mod discover;
mod encode;
mod error;
mod facts;
mod flat;
mod footer_cache;
mod interner;
mod load;
mod ndjson;
mod numerals;
mod packing;
mod parquet_input;
mod postings;
mod records;
mod rewrite;
mod roles;
mod row_filter;
mod rows;
mod scan;
mod segment_builder;
mod segment_reader;
mod select;
mod source;
mod split;
mod text;
mod text_columns;
mod value_rows;
mod values;

use std::io::{self, Read, Seek};
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

pub use columns::value_at;
pub use discover::discover;
pub use error::{IngestError, InputError, Result};
pub use footer_cache::{CachedFooters, FooterCache};
pub use load::{RejectedCsv, ingest};
pub use records::{check_id_field, for_each_record};
pub use rewrite::{convert_segment, filter_range, filter_texts, merge_segments};
pub use row_filter::{RowComparison, RowFilter, RowTest};
pub use scan::{Scan, scan};
pub use select::{ReadCost, RowCursor, RowPage, read_rows};

use crate::config::Limits;
use crate::domain::Timestamp;
use crate::domain::schema::{Field, FieldType};
use crate::domain::segment::SegmentDirectory;
use crate::domain::upload::FileFormat;
use crate::sketch::CardinalityState;

/// The bytes of an uploaded file.
pub trait FileRead: Read + Seek + Send {}
impl<T: Read + Seek + Send> FileRead for T {}

/// A file to read: its bytes and what is known of them.
pub struct InputFile<'a> {
    pub reader: Box<dyn FileRead>,
    pub size_bytes: u64,
    /// As the client named it; helps to tell formats apart and is shown in errors.
    pub filename: &'a str,
    pub format: &'a FileFormat,
}

/// What discovery found out.
#[derive(Debug, Clone)]
pub struct Discovery {
    /// Texts for missing values that occur in the file.
    pub missing_values_found: Vec<String>,
    /// The format with everything detected filled in; pass it on to [`ingest()`].
    pub format: FileFormat,
    /// `none`, `gzip` or `zip`.
    pub container: &'static str,
    /// Rows (without the header), malformed ones included.
    pub rows: u64,
    /// Rows whose number of values is not the header's; ingest rejects them.
    pub malformed_rows: u64,
    pub uncompressed_bytes: u64,
    /// Proposed fields with role, confidence and samples, in the file's order.
    pub fields: Vec<Field>,
    /// Hints for a person, one for each field that some values keep from a narrower type.
    pub hints: Vec<TypeHint>,
}

/// A field that was proposed as String although nearly every value is something narrower.
#[derive(Debug, Clone, PartialEq)]
pub struct TypeHint {
    pub field: String,
    pub narrower: FieldType,
    /// Share of non-missing values that fit `narrower`.
    pub share: f64,
    /// The first value that does not fit, and its line.
    pub value: String,
    pub line: u64,
}

/// How to ingest.
#[derive(Debug, Clone)]
pub struct IngestOptions {
    pub limits: Limits,
    /// Rows of a segment at most.
    pub segment_rows: usize,
    /// Memory of the columns being built at most; a segment ends there, too.
    pub segment_memory_bytes: usize,
    /// A column that the schema does not have: an error (an append), or left out (a field that a person removed
    /// before accepting the discovered schema).
    pub unknown_columns: UnknownColumns,
    /// Numbers, lists and objects of a JSON file become texts where the field is a String: for the file whose mixed
    /// values made it one. Otherwise they reject their row.
    pub json_as_text: bool,
    /// Build bloom filters and postings (`AUTOGENERATE_INDEXES`).
    pub indexes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownColumns {
    Refuse,
    LeaveOut,
}

impl Default for IngestOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            segment_rows: 250_000,
            segment_memory_bytes: 80 << 20,
            unknown_columns: UnknownColumns::Refuse,
            json_as_text: false,
            indexes: true,
        }
    }
}

/// An encoded segment on its way to the object store.
#[derive(Debug, Clone)]
pub struct EncodedSegment {
    pub directory: SegmentDirectory,
    /// A whole Parquet file.
    pub bytes: Bytes,
}

/// Where segments go, in the order of the file. Nothing refers to them until the caller commits.
pub trait SegmentSink {
    fn put(&mut self, segment: EncodedSegment) -> io::Result<()>;
}

impl SegmentSink for Vec<EncodedSegment> {
    fn put(&mut self, segment: EncodedSegment) -> io::Result<()> {
        self.push(segment);
        Ok(())
    }
}

/// A row that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRow {
    pub line: u64,
    /// Empty when the row as a whole is malformed.
    pub column: String,
    /// The value as it was written; a long one is cut with a mark.
    pub value: String,
    pub reason: String,
}

/// Where rejected rows go. [`RejectedCsv`] writes the downloadable report.
pub trait RejectedSink {
    fn reject(&mut self, row: &RejectedRow) -> io::Result<()>;
}

impl RejectedSink for Vec<RejectedRow> {
    fn reject(&mut self, row: &RejectedRow) -> io::Result<()> {
        self.push(row.clone());
        Ok(())
    }
}

/// What an ingest did.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Rows that were taken.
    pub rows: u64,
    pub rejected_rows: u64,
    pub segments: u64,
    /// Bytes of all segments.
    pub size_bytes: u64,
    pub uncompressed_bytes: u64,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
    /// Counts of the rows taken, to be merged into what is stored.
    pub cardinality: CardinalityState,
    pub times: StageTimes,
}

/// Where the time of an ingest went (its work is done by one thread); what is left of `total` is splitting rows and
/// parsing values.
#[derive(Debug, Clone, Copy, Default)]
pub struct StageTimes {
    /// Reading, decompressing and checking the encoding of text files.
    pub read: Duration,
    /// Cardinalities, bounds, and sorting by time.
    pub count: Duration,
    /// Bloom filters and postings.
    pub index: Duration,
    /// Parquet encoding and compression.
    pub encode: Duration,
    /// In the caller's sink.
    pub store: Duration,
    pub total: Duration,
}

/// One record of a profile's file.
#[derive(Debug, Clone, PartialEq)]
pub struct FileRecord {
    pub line: u64,
    pub id: String,
    /// Typed by the schema; missing values are left out. Times are RFC 3339 texts with six decimals.
    pub fields: serde_json::Map<String, serde_json::Value>,
}

/// What [`for_each_record()`] hands over: at most 1,000 rows.
#[derive(Debug, Clone, Default)]
pub struct RecordBatch {
    pub records: Vec<FileRecord>,
    pub rejected: Vec<RejectedRow>,
}

/// Reads parts of stored segments.
pub trait SegmentSource: Send + Sync {
    fn read_range(&self, object_key: &str, range: Range<u64>) -> io::Result<Bytes>;

    /// Reads the end of a segment, where its index and footer are: what every reader needs first. True when the bytes
    /// came from memory; see [`FooterCache`].
    fn read_footer(&self, object_key: &str, range: Range<u64>) -> io::Result<(Bytes, bool)> {
        Ok((self.read_range(object_key, range)?, false))
    }
}

/// What [`for_each_record()`] read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordsSummary {
    pub records: u64,
    pub rejected_rows: u64,
    pub uncompressed_bytes: u64,
}

#[cfg(test)]
mod tests;
