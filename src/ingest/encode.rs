//! Columns in memory → one Parquet file of one row group, written column by column so that a column's values are in
//! memory twice at most once.

use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as PhysicalType, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{ColumnDescPtr, Type, TypePtr};

use super::chunk::LEVEL;
use super::columns::{Nested, Values};
use super::facts::Facts;
use super::flat::write_flat;
use super::interner::Interner;
use crate::domain::schema::FieldType;

/// Rows of a data page: what a lookup reads of a column at least.
pub(super) const PAGE_ROWS: usize = 4_096;
/// Bounds of a page's texts are kept to so many bytes.
pub(super) const MAX_BOUND_BYTES: usize = 32;
/// A larger dictionary would cost a lookup too much.
pub(super) const MAX_DICTIONARY_BYTES: usize = 4 << 20;

/// A column ready to be written.
pub(super) struct EncodeColumn<'a> {
    pub name: &'a str,
    pub field_type: FieldType,
    pub values: Values,
    pub facts: &'a Facts,
}

/// Rows in the order in which they are written: a permutation, or as they are.
#[derive(Clone, Copy)]
pub(super) struct Order<'a> {
    pub rows: usize,
    pub order: Option<&'a [u32]>,
}

impl Order<'_> {
    #[inline]
    pub fn row(&self, position: usize) -> usize {
        self.order.map_or(position, |order| order[position] as usize)
    }
}

/// The file, and where the blobs handed in were put.
pub(super) struct Encoded {
    pub bytes: Bytes,
    /// Where each of the extra blobs starts.
    pub blob_starts: Vec<u64>,
    pub column_index_start: u64,
    pub offset_index_start: u64,
    pub footer_start: u64,
}

type Result<T, E = ParquetError> = std::result::Result<T, E>;

/// Encodes columns, and puts `blobs` (postings) between the data and the footer.
/// Columns are consumed one after the other, so that their memory is given back on the way.
pub(super) fn encode(columns: Vec<EncodeColumn<'_>>, order: Order<'_>, blobs: &[Vec<u8>]) -> Result<Encoded> {
    let fields = columns.iter().map(schema_of).collect::<Result<Vec<TypePtr>>>()?;
    let schema = Arc::new(Type::group_type_builder("schema").with_fields(fields).build()?);
    // For lists and dictionaries; `chunk` writes the other columns' pages.
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(LEVEL)?))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(PAGE_ROWS)
        .set_data_page_size_limit(4 << 20)
        .set_dictionary_page_size_limit(MAX_DICTIONARY_BYTES)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_column_index_truncate_length(Some(MAX_BOUND_BYTES))
        .set_created_by("tango".to_owned());
    let mut file = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties.build()))?;
    let leaves = file.schema_descr().columns().to_vec();
    let mut leaves = leaves.into_iter();
    let mut zstd = zstd::bulk::Compressor::new(LEVEL)?;
    let mut group = file.next_row_group()?;
    for column in columns {
        write_column(&mut group, &mut leaves, column, order, &mut zstd)?;
    }
    group.close()?;
    let mut blob_starts = Vec::with_capacity(blobs.len());
    for blob in blobs {
        blob_starts.push(file.bytes_written() as u64);
        file.write_all(blob)?;
    }
    let metadata = file.finish()?;
    let bytes = std::mem::take(file.inner_mut());
    let footer_bytes =
        bytes.last_chunk::<8>().map_or(0, |tail| u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    let footer_start = (bytes.len() as u64).saturating_sub(8 + u64::from(footer_bytes));
    let chunks = metadata.row_groups().iter().flat_map(|group| group.columns());
    let earliest = |ranges: &mut dyn Iterator<Item = Option<std::ops::Range<u64>>>| {
        ranges.flatten().map(|range| range.start).min().unwrap_or(footer_start)
    };
    let offset_index_start = earliest(&mut chunks.clone().map(|chunk| chunk.offset_index_range()));
    let column_index_start = earliest(&mut chunks.map(|chunk| chunk.column_index_range())).min(offset_index_start);
    Ok(Encoded { bytes: bytes.into(), blob_starts, column_index_start, offset_index_start, footer_start })
}

fn schema_of(column: &EncodeColumn<'_>) -> Result<TypePtr> {
    let repetition = if column.facts.nulls > 0 { Repetition::OPTIONAL } else { Repetition::REQUIRED };
    let (physical, logical) = match column.field_type {
        FieldType::Boolean => (PhysicalType::BOOLEAN, None),
        FieldType::Integer => (PhysicalType::INT64, None),
        FieldType::Float => (PhysicalType::DOUBLE, None),
        FieldType::String => (PhysicalType::BYTE_ARRAY, Some(LogicalType::String)),
        FieldType::Timestamp => (PhysicalType::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
        FieldType::List => return list_schema(column.name),
        FieldType::Dict => return dict_schema(column.name),
    };
    leaf(column.name, physical, logical, repetition)
}

fn leaf(name: &str, physical: PhysicalType, logical: Option<LogicalType>, repetition: Repetition) -> Result<TypePtr> {
    let builder = Type::primitive_type_builder(name, physical).with_repetition(repetition).with_logical_type(logical);
    Ok(Arc::new(builder.build()?))
}

fn group(name: &str, repetition: Repetition, logical: Option<LogicalType>, fields: Vec<TypePtr>) -> Result<TypePtr> {
    let builder = Type::group_type_builder(name).with_repetition(repetition).with_logical_type(logical);
    Ok(Arc::new(builder.with_fields(fields).build()?))
}

fn list_schema(name: &str) -> Result<TypePtr> {
    let element = leaf("element", PhysicalType::BYTE_ARRAY, Some(LogicalType::String), Repetition::REQUIRED)?;
    let list = group("list", Repetition::REPEATED, None, vec![element])?;
    group(name, Repetition::OPTIONAL, Some(LogicalType::List), vec![list])
}

fn dict_schema(name: &str) -> Result<TypePtr> {
    let key = leaf("key", PhysicalType::BYTE_ARRAY, Some(LogicalType::String), Repetition::REQUIRED)?;
    let value = leaf("value", PhysicalType::DOUBLE, None, Repetition::REQUIRED)?;
    let entries = group("key_value", Repetition::REPEATED, None, vec![key, value])?;
    group(name, Repetition::OPTIONAL, Some(LogicalType::Map), vec![entries])
}

fn next<'a, W: std::io::Write + Send>(
    group: &'a mut SerializedRowGroupWriter<'_, W>,
) -> Result<SerializedColumnWriter<'a>> {
    group.next_column()?.ok_or_else(too_few_leaves)
}

fn too_few_leaves() -> ParquetError {
    ParquetError::General("the schema has fewer columns than the data".to_owned())
}

fn write_column<W: std::io::Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    leaves: &mut impl Iterator<Item = ColumnDescPtr>,
    column: EncodeColumn<'_>,
    order: Order<'_>,
    zstd: &mut zstd::bulk::Compressor<'_>,
) -> Result<()> {
    let leaf = leaves.next().ok_or_else(too_few_leaves)?;
    match &column.values {
        Values::List(nested) => {
            let texts = shared_texts(&nested.texts);
            write_nested::<ByteArrayType>(next(group)?, order, nested, |at| texts[nested.codes[at] as usize].clone())
        }
        Values::Dict(nested) => {
            leaves.next();
            let texts = shared_texts(&nested.texts);
            write_nested::<ByteArrayType>(next(group)?, order, nested, |at| texts[nested.codes[at] as usize].clone())?;
            write_nested::<DoubleType>(next(group)?, order, nested, |at| nested.numbers[at])
        }
        flat => {
            let (pages, close) = write_flat(flat, column.facts, leaf, order, zstd)?;
            group.append_column(&pages, close)
        }
    }
}

/// All texts of a column in one allocation, as the Parquet writer takes them.
fn shared_texts(texts: &Interner) -> Vec<ByteArray> {
    let all = Bytes::copy_from_slice(texts.all_bytes());
    (0..texts.len()).map(|code| ByteArray::from(all.slice(texts.range(code)))).collect()
}

/// Definition levels: 0 missing, 1 empty, 2 a value. Repetition levels: 0 for a row's first value, else 1.
fn write_nested<T: DataType>(
    mut writer: SerializedColumnWriter<'_>,
    order: Order<'_>,
    nested: &Nested,
    value: impl Fn(usize) -> T::T,
) -> Result<()> {
    let typed = writer.typed::<T>();
    let (mut values, mut defined, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
    let mut position = 0;
    while position < order.rows {
        let end = (position + PAGE_ROWS).min(order.rows);
        values.clear();
        defined.clear();
        repeated.clear();
        for at in position..end {
            let row = order.row(at);
            let range = nested.range(row);
            if range.is_empty() {
                defined.push(i16::from(!nested.missing[row]));
                repeated.push(0);
            }
            for (i, at) in range.enumerate() {
                values.push(value(at));
                defined.push(2);
                repeated.push(i16::from(i > 0));
            }
        }
        typed.write_batch(&values, Some(&defined), Some(&repeated))?;
        position = end;
    }
    writer.close()
}
