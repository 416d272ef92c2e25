//! Bytes of files → typed columns → segments, and back.
//!
//! - discovery: [`discover()`] proposes a schema from the whole file
//! - ingest: [`ingest()`] checks every value against the schema and hands encoded segments to a [`SegmentSink`];
//!   [`for_each_record()`] does the same for profiles
//!
//! Invariants: sync, no network, no store; memory is bounded whatever the file holds.

mod error;

use std::io::{self, Read, Seek};
use std::ops::Range;

use bytes::Bytes;

pub use error::{IngestError, InputError, Result};

use crate::config::Limits;
use crate::domain::Timestamp;
use crate::domain::column::Table;
use crate::domain::job::Reporter;
use crate::domain::schema::{Field, FieldType, Schema};
use crate::domain::segment::{Segment, SegmentDirectory};
use crate::domain::upload::FileFormat;
use crate::sketch::CardinalityState;

/// The bytes of an uploaded file.
pub trait FileRead: Read + Seek + Send {}
impl<T: Read + Seek + Send> FileRead for T {}

/// A file to read: its bytes and what is known of them.
pub struct InputFile<'a> {
    pub reader: &'a mut dyn FileRead,
    pub size_bytes: u64,
    /// As the client named it; helps to tell formats apart and is shown in errors.
    pub filename: &'a str,
    pub format: &'a FileFormat,
}

/// What discovery found out.
#[derive(Debug, Clone)]
pub struct Discovery {
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
}

/// Reads the whole file once and proposes a schema.
pub fn discover(_file: InputFile<'_>, _limits: &Limits, _reporter: &dyn Reporter) -> Result<Discovery> {
    todo!()
}

/// Reads the file by an accepted schema into segments.
pub fn ingest(
    _file: InputFile<'_>,
    _schema: &Schema,
    _options: &IngestOptions,
    _segments: &mut dyn SegmentSink,
    _rejected: &mut dyn RejectedSink,
    _reporter: &dyn Reporter,
) -> Result<Summary> {
    todo!()
}

/// Reads a profile's file by a schema and hands over its records in batches.
pub fn for_each_record(
    _file: InputFile<'_>,
    _schema: &Schema,
    _id_field: &str,
    _options: &IngestOptions,
    _reporter: &dyn Reporter,
    _take: &mut dyn FnMut(RecordBatch) -> Result<()>,
) -> Result<RecordsSummary> {
    todo!()
}

/// What [`for_each_record()`] read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordsSummary {
    pub records: u64,
    pub rejected_rows: u64,
    pub uncompressed_bytes: u64,
}

/// A comparison of a column with a value; all of a [`RowFilter`]'s must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct RowTest {
    pub column: String,
    pub comparison: RowComparison,
    pub value: serde_json::Value,
}

/// A missing value is false, except for `NotEqual`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowComparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// A list that has the element.
    Contains,
    /// A dictionary that has the key (whatever its value) is tested by a column named `dict.key` and a comparison.
    Exists,
}

/// Which rows are wanted: rows that pass every test, in a time range (`from` ≤ timestamp field < `to`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RowFilter {
    pub tests: Vec<RowTest>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

/// Where a page of rows ends: the segment's position in the list, and the next row in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct RowCursor {
    pub segment: usize,
    pub row: u64,
}

/// What a read cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadCost {
    pub bytes: u64,
    pub reads: u64,
    pub segments_opened: u64,
    pub segments_pruned: u64,
    pub rows_examined: u64,
}

/// A page of rows.
#[derive(Debug, Clone)]
pub struct RowPage {
    pub table: Table,
    pub next: Option<RowCursor>,
    pub cost: ReadCost,
}

/// Rows that pass the filter, in the order of the segments.
/// `columns` empty: all of the schema's.
pub fn read_rows(
    _source: &dyn SegmentSource,
    _segments: &[Segment],
    _schema: &Schema,
    _filter: &RowFilter,
    _columns: &[String],
    _after: Option<RowCursor>,
    _limit: usize,
) -> Result<RowPage> {
    todo!()
}

/// Reads columns of segments as tables of at most 65,536 rows, in the order of the segments.
/// With a time range (`from` ≤ timestamp field < `to`), rows without a time are left out.
/// `columns` empty: all of the schema's.
pub fn scan<'a>(
    _source: &'a dyn SegmentSource,
    _segments: &'a [Segment],
    _schema: &'a Schema,
    _columns: &[String],
    _from: Option<Timestamp>,
    _to: Option<Timestamp>,
) -> Result<Box<dyn Iterator<Item = Result<Table>> + 'a>> {
    todo!()
}

/// Rewrites a segment by another schema: types are converted (a value that does not fit is an input error that names
/// it), new fields are missing, fields that the schema no longer has go.
pub fn convert_segment(
    _source: &dyn SegmentSource,
    _segment: &Segment,
    _from: &Schema,
    _to: &Schema,
    _options: &IngestOptions,
) -> Result<EncodedSegment> {
    todo!()
}

/// Merges small segments by time into few large ones (compaction).
pub fn merge_segments(
    _source: &dyn SegmentSource,
    _segments: &[Segment],
    _schema: &Schema,
    _options: &IngestOptions,
    _sink: &mut dyn SegmentSink,
) -> Result<()> {
    todo!()
}

/// A segment without the rows whose time is in `from..to`; `None` when no row remains.
/// Call it for segments whose own range meets this one.
pub fn filter_range(
    _source: &dyn SegmentSource,
    _segment: &Segment,
    _schema: &Schema,
    _from: Timestamp,
    _to: Timestamp,
    _options: &IngestOptions,
) -> Result<Option<EncodedSegment>> {
    todo!()
}
