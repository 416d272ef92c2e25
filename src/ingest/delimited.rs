//! Rows of separated text (RFC 4180): found in place in a buffer, with bounds on memory and lines for errors.
//!
//! Written for this product because errors need what general readers don't keep: the line where an unclosed quote
//! was opened, a bound on a row while it is read, text after a closing quote. Rows come in blocks, so that values can
//! be parsed column by column.

use std::ops::Range;

use super::source::empty_file;
use super::split::{Dialect, Line, Scan, Shape, Span, detect_separator};
use super::text::TextReader;
use super::{IngestError, Result};
use crate::config::Limits;

/// How much of the file's start detection looks at.
const SAMPLE_BYTES: usize = 64 << 10;
/// Rows of a block, and bytes of its text (a longer row is a block by itself): small enough for a processor's cache.
const BLOCK_ROWS: usize = 256;
const BLOCK_BYTES: usize = 64 << 10;

/// A row of the block.
#[derive(Debug)]
struct Row {
    line: u64,
    /// Where its values end in the block's spans.
    spans_end: usize,
    malformed: Option<usize>,
}

/// Reads a file block by block.
pub(super) struct DelimitedRows {
    text: TextReader,
    buffer: Vec<u8>,
    /// Where the next row starts in the buffer.
    position: usize,
    ended: bool,
    dialect: Dialect,
    /// Values and rows of the block.
    spans: Vec<Span>,
    rows: Vec<Row>,
    /// Quoted values of the row split last.
    quoted: Vec<(usize, Shape)>,
    /// The line of the next row.
    next_line: u64,
    max_row_bytes: usize,
    pub header: Vec<String>,
}

/// A row of a block.
#[derive(Clone, Copy)]
pub(super) struct RowView<'a> {
    /// The line on which the row starts, counted from 1.
    pub line: u64,
    /// A value with text after its closing quote, if the row has one: its position.
    pub malformed: Option<usize>,
    buffer: &'a [u8],
    spans: &'a [Span],
}

impl<'a> RowView<'a> {
    /// How many values the row has.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    #[inline]
    pub fn value(&self, at: usize) -> &'a [u8] {
        &self.buffer[self.spans[at].range()]
    }

    /// The longest value's position and length, for rows that are long as a whole.
    pub fn longest(&self) -> Option<(usize, usize)> {
        self.spans.iter().map(|span| span.range().len()).enumerate().max_by_key(|(_, len)| *len)
    }

    /// Length in bytes.
    pub fn size_bytes(&self) -> usize {
        match (self.spans.first(), self.spans.last()) {
            (Some(first), Some(last)) => (last.end - first.start) as usize,
            _ => 0,
        }
    }
}

/// One column's texts in some rows of a regular block.
#[derive(Clone, Copy)]
pub(super) struct ColumnTexts<'a> {
    /// What the spans are places in.
    pub buffer: &'a [u8],
    spans: &'a [Span],
    width: usize,
    at: usize,
}

impl<'a> ColumnTexts<'a> {
    pub fn len(&self) -> usize {
        self.spans.len() / self.width
    }

    #[inline]
    pub fn spans(&self) -> impl Iterator<Item = Span> + use<'a> {
        let at = self.at;
        self.spans.chunks_exact(self.width).map(move |row| row[at])
    }
}

impl DelimitedRows {
    /// Detects the separator unless it is given, and reads the header.
    pub fn open(text: TextReader, separator: Option<u8>, filename: &str, limits: &Limits) -> Result<Self> {
        let mut rows = Self {
            text,
            buffer: Vec::new(),
            position: 0,
            ended: false,
            dialect: Dialect { separator: b',', newline: b'\n' },
            spans: Vec::new(),
            rows: Vec::new(),
            quoted: Vec::new(),
            next_line: 1,
            max_row_bytes: limits.max_row_bytes,
            header: Vec::new(),
        };
        while rows.buffer.len() < SAMPLE_BYTES && !rows.ended {
            rows.fill()?;
        }
        if rows.buffer.iter().all(u8::is_ascii_whitespace) && rows.ended {
            return Err(empty_file());
        }
        let sample = &rows.buffer[..rows.buffer.len().min(SAMPLE_BYTES)];
        if memchr::memchr(b'\n', sample).is_none() && memchr::memchr(b'\r', sample).is_some() {
            rows.dialect.newline = b'\r';
        }
        let newline = rows.dialect.newline;
        rows.dialect.separator = separator.unwrap_or_else(|| detect_separator(sample, newline, filename));
        if !rows.read_rows(1)? {
            return Err(empty_file());
        }
        rows.header = header_of(rows.row(0), limits)?;
        Ok(rows)
    }

    pub fn separator(&self) -> u8 {
        self.dialect.separator
    }

    pub fn text(&self) -> &TextReader {
        &self.text
    }

    /// Bytes of text before the next block.
    pub fn bytes_read(&self) -> u64 {
        self.text.bytes_out() - (self.buffer.len() - self.position) as u64
    }

    /// Rows in the block.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn row(&self, at: usize) -> RowView<'_> {
        let row = &self.rows[at];
        let start = if at == 0 { 0 } else { self.rows[at - 1].spans_end };
        let spans = &self.spans[start..row.spans_end];
        RowView { line: row.line, malformed: row.malformed, buffer: &self.buffer, spans }
    }

    /// Lines on which these rows start.
    pub fn lines(&self, rows: Range<usize>) -> impl Iterator<Item = u64> + '_ {
        self.rows[rows].iter().map(|row| row.line)
    }

    /// Whether every row of the block has as many values as the header, well formed and none longer than this.
    pub fn is_regular(&self, max_value_bytes: usize) -> bool {
        let width = self.header.len();
        let regular = |(at, row): (usize, &Row)| {
            let start = at * width;
            row.spans_end == start + width
                && row.malformed.is_none()
                && (self.spans[start + width - 1].end - self.spans[start].start) as usize <= max_value_bytes
        };
        self.rows.iter().enumerate().all(regular)
    }

    /// A column in some rows of a regular block.
    pub fn column(&self, at: usize, rows: Range<usize>) -> ColumnTexts<'_> {
        let width = self.header.len();
        ColumnTexts { buffer: &self.buffer, spans: &self.spans[rows.start * width..rows.end * width], width, at }
    }

    /// Goes to the next block of rows, blank lines left out; false at the end.
    pub fn next_block(&mut self) -> Result<bool> {
        self.read_rows(BLOCK_ROWS)
    }

    fn read_rows(&mut self, max_rows: usize) -> Result<bool> {
        self.spans.clear();
        self.rows.clear();
        let mut plain = true;
        loop {
            if plain {
                self.split_plain_rows(max_rows);
            } else {
                self.skip_blank_lines();
            }
            let at_end = self.position == self.buffer.len() && self.ended;
            if at_end || self.rows.len() >= max_rows || self.block_bytes() >= BLOCK_BYTES {
                return Ok(!self.rows.is_empty());
            }
            // A row with quotes, or one that is too long or not whole.
            let before = self.spans.len();
            let scan =
                self.dialect.scan_row(&self.buffer, self.position, self.ended, &mut self.spans, &mut self.quoted);
            let quote = match scan {
                Scan::Row { end } if end - self.position <= self.max_row_bytes => {
                    self.position = end;
                    self.finish_row();
                    // After a row with quotes the next one likely has some, too.
                    plain = self.quoted.is_empty();
                    continue;
                }
                Scan::Row { .. } => None,
                Scan::More { quote } => quote,
            };
            self.spans.truncate(before);
            if !self.rows.is_empty() {
                // What is wrong, or not whole yet, has its turn after the rows before it.
                return Ok(true);
            }
            let whole = matches!(scan, Scan::Row { .. }) || self.ended;
            if !whole && self.buffer.len() - self.position <= self.max_row_bytes {
                self.fill()?;
                continue;
            }
            return Err(match quote {
                Some(at) => self.unclosed_quote(at),
                None => self.too_long(),
            });
        }
    }

    /// Bytes from the block's first value to its last.
    fn block_bytes(&self) -> usize {
        self.spans.first().map_or(0, |first| self.position - first.start as usize)
    }

    fn split_plain_rows(&mut self, max_rows: usize) {
        let (rows, next_line) = (&mut self.rows, &mut self.next_line);
        let mut room =
            BLOCK_BYTES.saturating_sub(self.spans.first().map_or(0, |first| self.position - first.start as usize));
        let take = |line: Line, spans_end: usize| {
            if let Line::Row(size_bytes) = line {
                rows.push(Row { line: *next_line, spans_end, malformed: None });
                room = room.saturating_sub(size_bytes);
            }
            *next_line += 1;
            rows.len() < max_rows && room > 0
        };
        self.position = self.dialect.plain_rows(&self.buffer, self.position, self.max_row_bytes, &mut self.spans, take);
    }

    fn skip_blank_lines(&mut self) {
        while let Some(byte) = self.buffer.get(self.position) {
            if *byte == self.dialect.newline {
                self.next_line += 1;
                self.position += 1;
            } else if *byte == b'\r' && self.buffer.get(self.position + 1) == Some(&b'\n') {
                self.next_line += 1;
                self.position += 2;
            } else {
                return;
            }
        }
    }

    /// Adds the row whose values were split last. Counts line ends within quotes and puts doubled quotes right in
    /// place.
    fn finish_row(&mut self) {
        let mut row = Row { line: self.next_line, spans_end: self.spans.len(), malformed: None };
        let first = self.rows.last().map_or(0, |row| row.spans_end);
        self.next_line += 1;
        for (at, shape) in &self.quoted {
            if *shape == Shape::Malformed {
                row.malformed = Some(at - first);
            }
            let span = &mut self.spans[*at];
            let Range { start, mut end } = span.range();
            self.next_line += memchr::memchr_iter(self.dialect.newline, &self.buffer[start..end]).count() as u64;
            if *shape == Shape::Escaped {
                let mut to = start;
                let mut from = start;
                while from < end {
                    self.buffer[to] = self.buffer[from];
                    from += if self.buffer[from] == b'"' { 2 } else { 1 };
                    to += 1;
                }
                end = to;
                span.end = u32::try_from(end).unwrap_or(u32::MAX);
            }
        }
        self.rows.push(row);
    }

    /// Drops what was read and appends more text. The block must be empty.
    fn fill(&mut self) -> Result<()> {
        self.buffer.drain(..self.position);
        self.position = 0;
        self.ended = !self.text.read_into(&mut self.buffer)?;
        Ok(())
    }

    fn too_long(&self) -> IngestError {
        IngestError::at_line(
            "row_too_long",
            self.next_line,
            format!(
                "The row is longer than {} bytes, the limit MAX_ROW_BYTES. Check the file's line ends and quotes.",
                self.max_row_bytes
            ),
        )
    }

    fn unclosed_quote(&self, at: usize) -> IngestError {
        let lines = memchr::memchr_iter(self.dialect.newline, &self.buffer[self.position..at]).count() as u64;
        let until = if self.ended { "before the end of the file" } else { "within MAX_ROW_BYTES" };
        let text: String = String::from_utf8_lossy(&self.buffer[at..]).chars().take(40).collect();
        IngestError::at_line(
            "unclosed_quote",
            self.next_line + lines,
            format!(
                "The quote that opens here ({text}) is not closed {until}. Close it, or double quotes inside a value."
            ),
        )
    }
}

fn header_of(row: RowView<'_>, limits: &Limits) -> Result<Vec<String>> {
    if row.len() > limits.max_columns {
        return Err(IngestError::input(
            "too_many_columns",
            format!("The file has {} columns; the limit MAX_COLUMNS is {}.", row.len(), limits.max_columns),
        ));
    }
    let names: Vec<String> =
        (0..row.len()).map(|at| String::from_utf8_lossy(row.value(at)).trim().to_owned()).collect();
    check_names(&names, row.line)?;
    Ok(names)
}

/// Column names must be there, differ, and be at most 255 bytes long.
pub(super) fn check_names(names: &[String], line: u64) -> Result<()> {
    let mut seen = std::collections::HashMap::with_capacity(names.len());
    for (at, name) in names.iter().enumerate() {
        let column = at + 1;
        if name.is_empty() {
            return Err(IngestError::at_line(
                "empty_header",
                line,
                format!("Column {column} has no name. Give every column a name in the header."),
            ));
        }
        if name.len() > 255 {
            let start: String = name.chars().take(40).collect();
            return Err(IngestError::at_line(
                "long_header",
                line,
                format!("The name of column {column} ({start}…) is longer than 255 bytes. Is the first line a header?"),
            ));
        }
        if let Some(earlier) = seen.insert(name.as_str(), column) {
            return Err(IngestError::at_line(
                "duplicate_header",
                line,
                format!("Columns {earlier} and {column} are both named {name:?}. Rename one of them."),
            ));
        }
    }
    Ok(())
}
