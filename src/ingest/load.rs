//! Ingest: a file's rows into segments.

use std::io::{self, Write};
use std::time::Instant;

use super::columns::ColumnBuilder;
use super::rows::{RowTarget, feed};
use super::segment_builder::SegmentBuilder;
use super::{
    EncodedSegment, IngestError, IngestOptions, InputFile, RejectedRow, RejectedSink, Result, SegmentSink, StageTimes,
    Summary,
};
use crate::domain::job::Reporter;
use crate::domain::schema::Schema;
use crate::sketch::CardinalityState;

/// Reads the file by an accepted schema into segments, in the order of the file.
/// A row with a value that does not fit is rejected; over `limits.max_rejected_share` of such rows the whole fails
/// (what the sink got by then is to be thrown away).
pub fn ingest(
    file: InputFile<'_>,
    schema: &Schema,
    options: &IngestOptions,
    segments: &mut dyn SegmentSink,
    rejected: &mut dyn RejectedSink,
    reporter: &dyn Reporter,
) -> Result<Summary> {
    let started = Instant::now();
    let mut loader = Loader {
        builder: SegmentBuilder::new(schema, options),
        segments,
        rejected,
        summary: Summary {
            rows: 0,
            rejected_rows: 0,
            segments: 0,
            size_bytes: 0,
            uncompressed_bytes: 0,
            from: None,
            to: None,
            cardinality: CardinalityState::new(schema),
            times: StageTimes::default(),
        },
    };
    let totals = feed(file, schema, options, &mut loader, reporter)?;
    loader.flush()?;
    let mut summary = loader.summary;
    let stages = loader.builder.times;
    summary.times =
        StageTimes { read: totals.read_time, store: summary.times.store, total: started.elapsed(), ..stages };
    summary.rejected_rows = totals.rejected;
    summary.uncompressed_bytes = totals.uncompressed_bytes;
    Ok(summary)
}

struct Loader<'a> {
    builder: SegmentBuilder,
    segments: &'a mut dyn SegmentSink,
    rejected: &'a mut dyn RejectedSink,
    summary: Summary,
}

impl Loader<'_> {
    fn flush(&mut self) -> Result<()> {
        match self.builder.finish(&mut self.summary.cardinality)? {
            None => Ok(()),
            Some(segment) => self.put(segment),
        }
    }

    fn put(&mut self, segment: EncodedSegment) -> Result<()> {
        let directory = &segment.directory;
        self.summary.segments += 1;
        self.summary.size_bytes += directory.size_bytes;
        self.summary.from = self.summary.from.into_iter().chain(directory.from).min();
        self.summary.to = self.summary.to.into_iter().chain(directory.to).max();
        let started = Instant::now();
        let result = self.segments.put(segment).map_err(IngestError::Sink);
        self.summary.times.store += started.elapsed();
        result
    }
}

impl RowTarget for Loader<'_> {
    fn columns(&mut self) -> &mut [ColumnBuilder] {
        &mut self.builder.columns
    }

    fn undo(&mut self) {
        self.builder.undo_rows();
    }

    fn room(&self) -> usize {
        self.builder.room()
    }

    fn accept(&mut self, lines: impl IntoIterator<Item = u64>) -> Result<()> {
        let rows = lines.into_iter().count();
        self.summary.rows += rows as u64;
        if self.builder.end_rows(rows) { self.flush() } else { Ok(()) }
    }

    fn reject(&mut self, row: RejectedRow) -> Result<()> {
        self.rejected.reject(&row).map_err(IngestError::Sink)
    }
}

/// Writes rejected rows as the report that is offered for download: CSV with line, column, value and reason.
pub struct RejectedCsv<W: Write> {
    writer: csv::Writer<W>,
    rows: u64,
}

impl<W: Write> RejectedCsv<W> {
    pub fn new(writer: W) -> Self {
        Self { writer: csv::Writer::from_writer(writer), rows: 0 }
    }

    /// Rows written.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Flushes and hands back what was written to.
    pub fn into_inner(self) -> io::Result<W> {
        self.writer.into_inner().map_err(|error| io::Error::other(error.to_string()))
    }
}

impl<W: Write> RejectedSink for RejectedCsv<W> {
    fn reject(&mut self, row: &RejectedRow) -> io::Result<()> {
        if self.rows == 0 {
            self.writer.write_record(["line", "column", "value", "reason"])?;
        }
        self.rows += 1;
        self.writer.write_record([&row.line.to_string(), &row.column, &row.value, &row.reason])?;
        Ok(())
    }
}
