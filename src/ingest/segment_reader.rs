//! Opening a stored segment and reading columns of it: whole, or only the pages that hold certain rows.
//! Everything is fetched in few ranged reads before it is decoded.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection,
    RowSelectionPolicy,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::page_index::index_reader::decode_column_index;
use parquet::file::reader::{ChunkReader, Length};

use super::arrow_columns::column_of;
use super::columns::ColumnBuilder;
use super::{IngestError, ReadCost, Result, SegmentSource};
use crate::config::Limits;
use crate::domain::column::{Column, Table};
use crate::domain::schema::Field;
use crate::domain::segment::Segment;

/// Ranges that are closer than this are read as one.
const JOIN_GAP_BYTES: u64 = 8 << 10;

/// Reads with their cost counted.
pub(super) struct Meter<'a> {
    source: &'a dyn SegmentSource,
    bytes: Cell<u64>,
    reads: Cell<u64>,
}

impl<'a> Meter<'a> {
    pub fn new(source: &'a dyn SegmentSource) -> Self {
        Self { source, bytes: Cell::new(0), reads: Cell::new(0) }
    }

    pub fn read(&self, segment: &Segment, range: Range<u64>) -> Result<Bytes> {
        self.count(segment, range, |key, range| Ok((self.source.read_range(key, range)?, false)))
    }

    /// The end of a segment; see [`SegmentSource::read_footer`].
    fn read_footer(&self, segment: &Segment, range: Range<u64>) -> Result<Bytes> {
        self.count(segment, range, |key, range| self.source.read_footer(key, range))
    }

    fn count(
        &self,
        segment: &Segment,
        range: Range<u64>,
        read: impl FnOnce(&str, Range<u64>) -> std::io::Result<(Bytes, bool)>,
    ) -> Result<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let wanted = range.end - range.start;
        let (bytes, from_memory) = read(&segment.object_key, range).map_err(IngestError::from)?;
        if bytes.len() as u64 != wanted {
            return Err(IngestError::Corrupt(format!("{} is shorter than its directory says", segment.object_key)));
        }
        if !from_memory {
            self.bytes.set(self.bytes.get() + wanted);
            self.reads.set(self.reads.get() + 1);
        }
        Ok(bytes)
    }

    pub fn add_to(&self, cost: &mut ReadCost) {
        cost.bytes = self.bytes.get();
        cost.reads = self.reads.get();
    }
}

/// Parts of an object in memory.
#[derive(Clone)]
struct Pieces {
    size_bytes: u64,
    /// Sorted by position.
    parts: Arc<Vec<(u64, Bytes)>>,
}

impl Pieces {
    fn find(&self, start: u64) -> Result<Bytes, ParquetError> {
        let after = self.parts.partition_point(|(position, _)| *position <= start);
        let part = after.checked_sub(1).map(|at| &self.parts[at]);
        match part {
            Some((position, bytes)) if start - position < bytes.len() as u64 => {
                Ok(bytes.slice(usize::try_from(start - position).unwrap_or(usize::MAX)..))
            }
            _ => Err(ParquetError::EOF(format!("byte {start} was not fetched"))),
        }
    }
}

impl Length for Pieces {
    fn len(&self) -> u64 {
        self.size_bytes
    }
}

impl ChunkReader for Pieces {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.find(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.find(start)?;
        if bytes.len() < length {
            return Err(ParquetError::EOF(format!("bytes {start} and on were not fetched")));
        }
        Ok(bytes.slice(..length))
    }
}

/// A segment whose footer (and offset indexes, when asked for) is in memory.
pub(super) struct OpenSegment<'a> {
    meter: &'a Meter<'a>,
    pub segment: &'a Segment,
    metadata: Arc<ParquetMetaData>,
}

impl<'a> OpenSegment<'a> {
    /// One read. With `pages`, single pages can be read afterwards.
    pub fn open(meter: &'a Meter<'a>, segment: &'a Segment, pages: bool) -> Result<Self> {
        let directory = &segment.directory;
        let start = if pages { directory.offset_index_start } else { directory.footer_start };
        let tail = meter.read_footer(segment, start..directory.size_bytes)?;
        let footer = (directory.footer_start - start) as usize;
        let thrift = tail.len().checked_sub(8).and_then(|end| tail.get(footer..end));
        let thrift = thrift.ok_or_else(|| IngestError::Corrupt(format!("{} has no footer", segment.object_key)))?;
        let mut metadata = ParquetMetaDataReader::decode_metadata(thrift)?;
        if pages {
            let pieces = Pieces { size_bytes: directory.size_bytes, parts: Arc::new(vec![(start, tail.clone())]) };
            let mut reader = ParquetMetaDataReader::new_with_metadata(metadata)
                .with_column_index_policy(PageIndexPolicy::Skip)
                .with_offset_index_policy(PageIndexPolicy::Required);
            reader.read_page_indexes(&pieces)?;
            metadata = reader.finish()?;
        }
        if metadata.num_row_groups() != 1 {
            return Err(IngestError::Corrupt(format!("{} has not exactly one row group", segment.object_key)));
        }
        Ok(Self { meter, segment, metadata: Arc::new(metadata) })
    }

    /// The Parquet leaves of these columns.
    fn leaves(&self, columns: &[&Field]) -> Vec<usize> {
        let schema = self.metadata.file_metadata().schema_descr();
        let wanted = |leaf: &usize| {
            schema.column(*leaf).path().parts().first().is_some_and(|root| columns.iter().any(|f| f.name == *root))
        };
        (0..schema.num_columns()).filter(wanted).collect()
    }

    /// First rows of a column's pages, in order.
    pub fn page_starts(&self, column: &Field) -> Option<Vec<u32>> {
        let leaf = *self.leaves(&[column]).first()?;
        let index = self.metadata.page_index()?.offset_index(0, leaf)?;
        Some(
            index.page_locations().iter().map(|page| u32::try_from(page.first_row_index).unwrap_or(u32::MAX)).collect(),
        )
    }

    /// Minimum and maximum of a column's pages: one small read.
    pub fn column_index(&self, column: &Field) -> Result<Option<ColumnIndexMetaData>> {
        let Some(leaf) = self.leaves(&[column]).first().copied() else { return Ok(None) };
        let chunk = self.metadata.row_group(0).column(leaf);
        let Some(range) = chunk.column_index_range() else { return Ok(None) };
        let bytes = self.meter.read(self.segment, range)?;
        Ok(Some(decode_column_index(&bytes, chunk.column_type())?))
    }

    /// Reads columns: all rows, or these ranges of rows (needs `pages`).
    pub fn read(&self, columns: &[&Field], rows: Option<&[Range<u32>]>, batch_rows: usize) -> Result<TableReader> {
        let fields: Vec<Field> = columns.iter().map(|field| (*field).clone()).collect();
        let total = match rows {
            None => self.segment.directory.rows as usize,
            Some(ranges) => ranges.iter().map(|range| range.len()).sum(),
        };
        let leaves = self.leaves(columns);
        if leaves.is_empty() || total == 0 {
            return Ok(TableReader { fields, reader: None, rows_left: total, batch_rows });
        }
        let group = self.metadata.row_group(0);
        let mut wanted: Vec<Range<u64>> = Vec::new();
        for leaf in &leaves {
            let chunk = group.column(*leaf);
            let (start, length) = chunk.byte_range();
            let Some(ranges) = rows else {
                wanted.push(start..start + length);
                continue;
            };
            let index = self.metadata.page_index().and_then(|index| index.offset_index(0, *leaf));
            let index = index.ok_or_else(|| IngestError::Corrupt("a segment has no offset index".to_owned()))?;
            let pages = index.page_locations();
            let first = pages.first().map_or(start + length, |page| page.offset.cast_unsigned());
            // The dictionary page.
            wanted.push(start..first);
            for (at, page) in pages.iter().enumerate() {
                let from = page.first_row_index;
                let to = pages.get(at + 1).map_or(i64::MAX, |next| next.first_row_index);
                // The first range that ends after the page's start.
                let next = ranges.partition_point(|range| i64::from(range.end) <= from);
                if ranges.get(next).is_some_and(|range| i64::from(range.start) < to) {
                    let offset = page.offset.cast_unsigned();
                    wanted.push(offset..offset + u64::from(page.compressed_page_size.cast_unsigned()));
                }
            }
        }
        let pieces = self.fetch(wanted)?;
        let metadata = self.arrow_metadata(rows.is_none(), &leaves)?;
        let mask = ProjectionMask::leaves(self.metadata.file_metadata().schema_descr(), leaves);
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(pieces, metadata)
            .with_projection(mask)
            .with_batch_size(batch_rows);
        if let Some(ranges) = rows {
            let ranges = ranges.iter().map(|range| range.start as usize..range.end as usize);
            builder = builder
                .with_row_selection(RowSelection::from_consecutive_ranges(ranges, self.segment.directory.rows as usize))
                .with_row_selection_policy(RowSelectionPolicy::Selectors);
        }
        Ok(TableReader { fields, reader: Some(builder.build()?), rows_left: total, batch_rows })
    }

    /// With `dictionaries`, texts that are stored with a dictionary are read with it.
    fn arrow_metadata(&self, dictionaries: bool, leaves: &[usize]) -> Result<ArrowReaderMetadata> {
        use arrow_schema::{DataType, Schema};
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let plain = ArrowReaderMetadata::try_new(self.metadata.clone(), options)?;
        if !dictionaries {
            return Ok(plain);
        }
        let descriptors = self.metadata.file_metadata().schema_descr();
        let names: Vec<String> = leaves
            .iter()
            .filter(|leaf| self.metadata.row_group(0).column(**leaf).dictionary_page_offset().is_some())
            .map(|leaf| descriptors.column(*leaf).path().parts().join("\0"))
            .collect();
        let fields: Vec<arrow_schema::FieldRef> = plain
            .schema()
            .fields()
            .iter()
            .map(|field| {
                if *field.data_type() == DataType::Utf8 && names.iter().any(|name| name == field.name()) {
                    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
                    Arc::new(field.as_ref().clone().with_data_type(dictionary))
                } else {
                    field.clone()
                }
            })
            .collect();
        let options =
            ArrowReaderOptions::new().with_skip_arrow_metadata(true).with_schema(Arc::new(Schema::new(fields)));
        Ok(ArrowReaderMetadata::try_new(self.metadata.clone(), options)?)
    }

    fn fetch(&self, mut wanted: Vec<Range<u64>>) -> Result<Pieces> {
        wanted.retain(|range| !range.is_empty());
        wanted.sort_by_key(|range| range.start);
        let mut joined: Vec<Range<u64>> = Vec::new();
        for range in wanted {
            match joined.last_mut() {
                Some(last) if range.start <= last.end + JOIN_GAP_BYTES => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        let mut parts = Vec::with_capacity(joined.len());
        for range in joined {
            parts.push((range.start, self.meter.read(self.segment, range)?));
        }
        Ok(Pieces { size_bytes: self.segment.directory.size_bytes, parts: Arc::new(parts) })
    }
}

/// Tables of a segment's columns, in the order of the fields asked for. A field that the segment does not have is
/// missing in every row.
pub(super) struct TableReader {
    fields: Vec<Field>,
    reader: Option<ParquetRecordBatchReader>,
    rows_left: usize,
    batch_rows: usize,
}

impl Iterator for TableReader {
    type Item = Result<Table>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rows_left == 0 {
            return None;
        }
        let batch = match &mut self.reader {
            None => None,
            Some(reader) => match reader.next() {
                Some(Ok(batch)) => Some(batch),
                Some(Err(error)) => return Some(Err(error.into())),
                None => {
                    self.rows_left = 0;
                    return Some(Err(IngestError::Corrupt(
                        "a segment has fewer rows than its directory says".to_owned(),
                    )));
                }
            },
        };
        let rows = batch.as_ref().map_or(self.rows_left.min(self.batch_rows), |batch| batch.num_rows());
        self.rows_left = self.rows_left.saturating_sub(rows);
        let mut table = Table { rows, columns: Vec::with_capacity(self.fields.len()) };
        for field in &self.fields {
            let column = match batch.as_ref().and_then(|batch| batch.column_by_name(&field.name)) {
                Some(array) => match column_of(array) {
                    Ok(column) => column,
                    Err(error) => return Some(Err(error)),
                },
                None => missing_column(field, rows),
            };
            table.columns.push((field.name.clone(), column));
        }
        Some(Ok(table))
    }
}

fn missing_column(field: &Field, rows: usize) -> Column {
    let mut builder = ColumnBuilder::new(field.field_type, &Limits::default());
    (0..rows).for_each(|_| builder.push_missing());
    builder.into_column()
}
