//! Tests of the whole way: bytes → discovery → segments → rows.

mod bad_input;
mod reading;
mod segments;

use std::io::{self, Cursor, Write};
use std::ops::Range;

use bytes::Bytes;

use super::*;
use crate::domain::id::{DatasetId, SegmentId};
use crate::domain::job::Silent;
use crate::domain::schema::{Field, FieldType, Schema};
use crate::domain::segment::Segment;

fn input<'a>(bytes: impl Into<Vec<u8>>, format: &'a FileFormat) -> InputFile<'a> {
    let bytes = bytes.into();
    InputFile { size_bytes: bytes.len() as u64, reader: Box::new(Cursor::new(bytes)), filename: "test.csv", format }
}

fn discovered(bytes: impl Into<Vec<u8>>) -> Result<Discovery> {
    discover(input(bytes, &FileFormat::default()), &Limits::default(), &mut Vec::new(), &Silent)
}

fn code_of<T: std::fmt::Debug>(result: Result<T>) -> &'static str {
    result.expect_err("must fail").code().expect("is the input's fault")
}

fn schema(fields: Vec<Field>) -> Schema {
    Schema { version: 1, accepted: true, fields }
}

/// Discovers and ingests with the proposed schema.
struct Loaded {
    schema: Schema,
    summary: Summary,
    segments: Vec<Segment>,
    store: Objects,
    rejected: String,
}

fn load(bytes: &[u8], options: &IngestOptions) -> Result<Loaded> {
    let discovery = discover(input(bytes, &FileFormat::default()), &options.limits, &mut Vec::new(), &Silent)?;
    load_as(bytes, &schema(discovery.fields), &discovery.format, options)
}

fn load_as(bytes: &[u8], schema: &Schema, format: &FileFormat, options: &IngestOptions) -> Result<Loaded> {
    let mut encoded: Vec<EncodedSegment> = Vec::new();
    let mut rejected = RejectedCsv::new(Vec::new());
    let summary = ingest(input(bytes, format), schema, options, &mut encoded, &mut rejected, &Silent)?;
    let (segments, store) = stored(encoded);
    let rejected = String::from_utf8(rejected.into_inner().unwrap()).unwrap();
    Ok(Loaded { schema: schema.clone(), summary, segments, store, rejected })
}

/// An object store in memory.
#[derive(Default)]
struct Objects(std::collections::HashMap<String, Bytes>);

impl SegmentSource for Objects {
    fn read_range(&self, object_key: &str, range: Range<u64>) -> io::Result<Bytes> {
        let object = self.0.get(object_key).ok_or_else(|| io::Error::other("no such object"))?;
        Ok(object.slice(range.start as usize..range.end as usize))
    }
}

fn stored(encoded: Vec<EncodedSegment>) -> (Vec<Segment>, Objects) {
    let now = Timestamp::UNIX_EPOCH;
    let mut objects = Objects::default();
    let mut segments = Vec::new();
    for segment in encoded {
        let id = SegmentId::generate(now);
        let object_key = format!("segments/{id}");
        objects.0.insert(object_key.clone(), segment.bytes);
        let dataset_id = DatasetId::generate(now);
        // A directory survives storage.
        let directory: SegmentDirectory =
            serde_json::from_str(&serde_json::to_string(&segment.directory).unwrap()).unwrap();
        assert_eq!(directory, segment.directory);
        segments.push(Segment { id, dataset_id, object_key, schema_version: 1, directory, created_at: now });
    }
    (segments, objects)
}

/// All rows as JSON arrays.
fn all_rows(loaded: &Loaded) -> Vec<Vec<serde_json::Value>> {
    let page = read_rows(&loaded.store, &loaded.segments, &loaded.schema, &RowFilter::default(), &[], None, 1_000_000);
    rows_in(&page.unwrap().table)
}

fn rows_in(table: &crate::domain::column::Table) -> Vec<Vec<serde_json::Value>> {
    (0..table.rows).map(|row| table.columns.iter().map(|(_, column)| value_at(column, row)).collect()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    for (name, bytes) in files {
        writer.start_file(*name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}
