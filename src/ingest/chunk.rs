//! A flat column's part of a Parquet file: pages of equal numbers of rows with their statistics and places.
//!
//! Written here, and not by the `parquet` crate's column writers, because the dictionary and the bounds are known
//! before: those would hash, compare and copy every value again. The crate writes headers, footer and indexes.

use std::ops::Range;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriteSpec, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::Result;
use parquet::file::metadata::{ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder};
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use super::encode::PAGE_ROWS;

/// zstd's level: the quickest of those that everybody reads well.
pub(super) const LEVEL: i32 = 1;
/// A column is stored as it is when compression saves less than one part in so many.
const WORTHWHILE: usize = 32;

/// An encoded page's missing values and bounds (as in the column index: plain encoding, texts cut).
#[derive(Debug, Default)]
pub(super) struct PageFacts {
    pub nulls: usize,
    /// `None` when all values are missing.
    pub bounds: Option<(Vec<u8>, Vec<u8>)>,
}

/// Distinct values in plain encoding, and how many they are.
pub(super) struct Dictionary {
    pub bytes: Vec<u8>,
    pub values: usize,
}

/// What a column's pages are made from.
pub(super) struct Chunk<'a> {
    pub column: ColumnDescPtr,
    pub rows: usize,
    pub encoding: Encoding,
    pub dictionary: Option<Dictionary>,
    pub statistics: Statistics,
    /// Appends the page of these rows.
    pub page: &'a mut dyn FnMut(Range<usize>, &mut Vec<u8>) -> PageFacts,
}

/// The bytes of the pages, and what the footer says of them.
pub(super) fn write_chunk(
    chunk: Chunk<'_>,
    zstd: &mut zstd::bulk::Compressor<'_>,
) -> Result<(Bytes, ColumnCloseResult)> {
    let Chunk { column, rows, encoding, dictionary, statistics, page } = chunk;
    let mut raw = Vec::new();
    let compressed = is_worthwhile(rows, dictionary.as_ref(), page, zstd, &mut raw)?;
    let mut pages = Pages {
        sink: TrackedWrite::new(Vec::new()),
        zstd: compressed.then_some(zstd),
        compressed_bytes: 0,
        uncompressed_bytes: 0,
    };
    let mut encodings = vec![Encoding::RLE, encoding];
    let mut dictionary_offset = None;
    if let Some(dictionary) = dictionary {
        encodings.push(Encoding::PLAIN);
        let spec = pages.write(&dictionary.bytes, |buf| Page::DictionaryPage {
            buf,
            num_values: dictionary.values as u32,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        })?;
        dictionary_offset = Some(spec.offset.cast_signed());
    }
    let mut data_offset = None;
    let mut offsets = OffsetIndexBuilder::new();
    let mut bounds = ColumnIndexBuilder::new(column.physical_type());
    // Only floats can be other than numbers, and those are missing values here.
    let nans = (column.physical_type() == parquet::basic::Type::DOUBLE).then_some(0);
    for range in page_ranges(rows) {
        raw.clear();
        let facts = page(range.clone(), &mut raw);
        let spec = pages.write(&raw, |buf| Page::DataPage {
            buf,
            num_values: range.len() as u32,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        })?;
        data_offset.get_or_insert(spec.offset.cast_signed());
        offsets.append_row_count(range.len() as i64);
        offsets.append_offset_and_size(spec.offset.cast_signed(), spec.compressed_size as i32);
        let (min, max) = facts.bounds.unwrap_or_default();
        bounds.append(facts.nulls == range.len(), min, max, facts.nulls as i64, nans);
    }
    let compression =
        if compressed { Compression::ZSTD(ZstdLevel::try_new(LEVEL)?) } else { Compression::UNCOMPRESSED };
    let metadata = ColumnChunkMetaData::builder(column)
        .set_encodings(encodings)
        .set_compression(compression)
        .set_num_values(rows as i64)
        .set_total_compressed_size(pages.compressed_bytes)
        .set_total_uncompressed_size(pages.uncompressed_bytes)
        .set_dictionary_page_offset(dictionary_offset)
        .set_data_page_offset(data_offset.unwrap_or(0))
        .set_statistics(statistics)
        .build()?;
    let bytes: Bytes = pages.sink.into_inner()?.into();
    let close = ColumnCloseResult {
        bytes_written: bytes.len() as u64,
        rows_written: rows as u64,
        metadata,
        bloom_filter: None,
        column_index: Some(bounds.build()?),
        offset_index: Some(offsets.build()),
    };
    Ok((bytes, close))
}

fn page_ranges(rows: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows).step_by(PAGE_ROWS).map(move |start| start..(start + PAGE_ROWS).min(rows))
}

/// Whether compression saves anything: tried on the dictionary and the first, the middle and the last page.
fn is_worthwhile(
    rows: usize,
    dictionary: Option<&Dictionary>,
    page: &mut dyn FnMut(Range<usize>, &mut Vec<u8>) -> PageFacts,
    zstd: &mut zstd::bulk::Compressor<'_>,
    raw: &mut Vec<u8>,
) -> Result<bool> {
    let pages = rows.div_ceil(PAGE_ROWS);
    let (mut before, mut after) = (0, 0);
    if let Some(dictionary) = dictionary {
        before += dictionary.bytes.len();
        after += zstd.compress(&dictionary.bytes)?.len();
    }
    let mut tried = vec![0, pages / 2, pages.saturating_sub(1)];
    tried.dedup();
    // What was tried stands for all pages.
    let share = pages.div_ceil(tried.len().max(1));
    for at in tried {
        raw.clear();
        let start = at * PAGE_ROWS;
        page(start..(start + PAGE_ROWS).min(rows), raw);
        before += raw.len() * share;
        after += zstd.compress(raw)?.len() * share;
    }
    Ok(after + before / WORTHWHILE < before)
}

struct Pages<'a, 'z> {
    sink: TrackedWrite<Vec<u8>>,
    zstd: Option<&'a mut zstd::bulk::Compressor<'z>>,
    compressed_bytes: i64,
    uncompressed_bytes: i64,
}

impl Pages<'_, '_> {
    fn write(&mut self, raw: &[u8], page: impl FnOnce(Bytes) -> Page) -> Result<PageWriteSpec> {
        let stored = match &mut self.zstd {
            Some(zstd) => zstd.compress(raw)?,
            None => raw.to_vec(),
        };
        let page = CompressedPage::new(page(stored.into()), raw.len());
        let spec = SerializedPageWriter::new(&mut self.sink).write_page(page)?;
        self.compressed_bytes += spec.compressed_size as i64;
        self.uncompressed_bytes += spec.uncompressed_size as i64;
        Ok(spec)
    }
}
