//! Rows of an uploaded Parquet file, batch by batch.

use std::io::{Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::arrow_columns::{column_of, field_type_of};
use super::delimited::check_names;
use super::source::CountedFile;
use super::{IngestError, Result};
use crate::config::Limits;
use crate::domain::column::Table;
use crate::domain::schema::FieldType;

/// Rows decoded at a time.
const BATCH_ROWS: usize = 4_096;

/// A file that several readers read by turns.
#[derive(Clone)]
struct SharedFile {
    file: Arc<Mutex<CountedFile>>,
    size_bytes: u64,
}

/// Reads from a position of its own.
struct SharedRead {
    file: SharedFile,
    position: u64,
}

impl SharedFile {
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut file = self.file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        file.seek(SeekFrom::Start(position))?;
        file.read(buffer)
    }
}

impl Read for SharedRead {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.file.read_at(self.position, buffer)?;
        self.position += n as u64;
        Ok(n)
    }
}

impl Length for SharedFile {
    fn len(&self) -> u64 {
        self.size_bytes
    }
}

impl ChunkReader for SharedFile {
    type T = std::io::BufReader<SharedRead>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(std::io::BufReader::with_capacity(64 << 10, SharedRead { file: self.clone(), position: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let past_end = start.checked_add(length as u64).is_none_or(|end| end > self.size_bytes);
        if past_end {
            return Err(ParquetError::EOF("a part is beyond the end of the file".to_owned()));
        }
        let mut bytes = Vec::with_capacity(length);
        SharedRead { file: self.clone(), position: start }.take(length as u64).read_to_end(&mut bytes)?;
        if bytes.len() < length {
            return Err(ParquetError::EOF("a part is beyond the end of the file".to_owned()));
        }
        Ok(bytes.into())
    }
}

/// An opened Parquet file: its columns, then its rows in batches.
pub(super) struct ParquetRows {
    reader: ParquetRecordBatchReader,
    pub columns: Vec<(String, FieldType)>,
    pub rows: u64,
    pub uncompressed_bytes: u64,
}

impl ParquetRows {
    pub fn open(file: CountedFile, limits: &Limits) -> Result<Self> {
        let size_bytes = file.size_bytes;
        let file = SharedFile { file: Arc::new(Mutex::new(file)), size_bytes };
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata = ArrowReaderMetadata::load(&file, options).map_err(damaged)?;
        let rows = u64::try_from(metadata.metadata().file_metadata().num_rows()).unwrap_or(0);
        let groups = metadata.metadata().row_groups();
        let uncompressed_bytes =
            groups.iter().map(|g| u64::try_from(g.total_byte_size()).unwrap_or(u64::MAX)).fold(0, u64::saturating_add);
        if uncompressed_bytes > limits.max_uncompressed_bytes {
            return Err(IngestError::input(
                "too_much_data",
                format!(
                    "The file holds {uncompressed_bytes} bytes after decompression; the limit MAX_UNCOMPRESSED_BYTES is {}.",
                    limits.max_uncompressed_bytes
                ),
            ));
        }
        let fields = metadata.schema().fields();
        if fields.len() > limits.max_columns {
            return Err(IngestError::input(
                "too_many_columns",
                format!("The file has {} columns; the limit MAX_COLUMNS is {}.", fields.len(), limits.max_columns),
            ));
        }
        let mut columns = Vec::with_capacity(fields.len());
        for field in fields {
            let Some(field_type) = field_type_of(field.data_type()) else {
                return Err(IngestError::input(
                    "unsupported_type",
                    format!(
                        "The column {:?} has the type {}, which cannot be taken. Use numbers, texts, Booleans, times, \
                         lists of texts, or maps from text to number.",
                        field.name(),
                        field.data_type()
                    ),
                ));
            };
            columns.push((field.name().trim().to_owned(), field_type));
        }
        check_names(&columns.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), 1)?;
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(damaged)?;
        Ok(Self { reader, columns, rows, uncompressed_bytes })
    }

    /// The next rows; `None` at the end. Columns are in the file's order.
    pub fn next_batch(&mut self) -> Result<Option<Table>> {
        let Some(batch) = self.reader.next() else { return Ok(None) };
        let batch = batch.map_err(|error| match IngestError::from(error) {
            IngestError::Corrupt(why) => damaged_file(&why),
            other => other,
        })?;
        let mut table = Table { rows: batch.num_rows(), columns: Vec::with_capacity(self.columns.len()) };
        for ((name, _), array) in self.columns.iter().zip(batch.columns()) {
            table.columns.push((name.clone(), column_of(array)?));
        }
        Ok(Some(table))
    }
}

fn damaged(error: ParquetError) -> IngestError {
    match IngestError::from(error) {
        IngestError::Corrupt(why) => damaged_file(&why),
        other => other,
    }
}

fn damaged_file(why: &str) -> IngestError {
    IngestError::input("damaged_parquet", format!("The Parquet file is damaged ({why}). Write and upload it again."))
}
