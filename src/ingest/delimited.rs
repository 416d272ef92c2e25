//! Rows of separated text (RFC 4180): found in place in a buffer, with bounds on memory and lines for errors.
//!
//! Written for this product because errors need what general readers don't keep: the line where an unclosed quote
//! was opened, a bound on a row while it is read, text after a closing quote.

use super::source::empty_file;
use super::text::TextReader;
use super::{IngestError, Result};
use crate::config::Limits;

/// Separators that are detected.
pub(super) const SEPARATORS: [u8; 4] = [b',', b'\t', b';', b'|'];

/// How much of the file's start detection looks at.
const SAMPLE_BYTES: usize = 64 << 10;
const SAMPLE_ROWS: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Plain,
    Quoted,
    /// Quoted, with doubled quotes inside.
    Escaped,
    /// Something other than a separator or the row's end follows the closing quote.
    Malformed,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
    shape: Shape,
}

/// Reads a file row by row.
pub(super) struct DelimitedRows {
    text: TextReader,
    buffer: Vec<u8>,
    /// Where the next row starts in the buffer.
    position: usize,
    ended: bool,
    separator: u8,
    newline: u8,
    spans: Vec<Span>,
    /// The line of the row read last, and of the next.
    line: u64,
    next_line: u64,
    malformed: Option<usize>,
    max_row_bytes: usize,
    pub header: Vec<String>,
}

enum Scan {
    /// The row ends before this position; some of its values may be quoted.
    Row { end: usize, quoted: bool },
    /// The buffer ends within the row; inside quotes that opened at this position.
    More { quote: Option<usize> },
}

impl DelimitedRows {
    /// Detects the separator unless it is given, and reads the header.
    pub fn open(text: TextReader, separator: Option<u8>, filename: &str, limits: &Limits) -> Result<Self> {
        let mut rows = Self {
            text,
            buffer: Vec::new(),
            position: 0,
            ended: false,
            separator: b',',
            newline: b'\n',
            spans: Vec::new(),
            line: 0,
            next_line: 1,
            malformed: None,
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
            rows.newline = b'\r';
        }
        rows.separator = separator.unwrap_or_else(|| detect_separator(sample, rows.newline, filename));
        if !rows.next_row()? {
            return Err(empty_file());
        }
        rows.header = rows.read_header(limits)?;
        Ok(rows)
    }

    pub fn separator(&self) -> u8 {
        self.separator
    }

    pub fn text(&self) -> &TextReader {
        &self.text
    }

    /// The line on which the current row starts, counted from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Bytes of text before the next row.
    pub fn bytes_read(&self) -> u64 {
        self.text.bytes_out() - (self.buffer.len() - self.position) as u64
    }

    /// How many values the current row has.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// A value of the current row.
    #[inline]
    pub fn value(&self, at: usize) -> &[u8] {
        let span = self.spans[at];
        &self.buffer[span.start as usize..span.end as usize]
    }

    /// A value with text after its closing quote, if the row has one: its position.
    pub fn malformed(&self) -> Option<usize> {
        self.malformed
    }

    /// The longest value's position and length, for rows that are long as a whole.
    pub fn longest(&self) -> Option<(usize, usize)> {
        self.spans.iter().enumerate().map(|(i, span)| (i, (span.end - span.start) as usize)).max_by_key(|(_, len)| *len)
    }

    /// Length of the current row in bytes.
    pub fn row_bytes(&self) -> usize {
        match (self.spans.first(), self.spans.last()) {
            (Some(first), Some(last)) => (last.end - first.start) as usize,
            _ => 0,
        }
    }

    /// Goes to the next row that is not blank; false at the end.
    pub fn next_row(&mut self) -> Result<bool> {
        loop {
            self.skip_blank_lines();
            self.line = self.next_line;
            if self.position == self.buffer.len() && self.ended {
                self.spans.clear();
                return Ok(false);
            }
            match scan_row(&self.buffer, self.position, self.separator, self.newline, self.ended, &mut self.spans) {
                Scan::Row { end, quoted } => {
                    if end - self.position > self.max_row_bytes {
                        return Err(self.too_long());
                    }
                    self.position = end;
                    self.next_line += 1;
                    self.malformed = None;
                    if quoted {
                        self.finish_quotes();
                    }
                    return Ok(true);
                }
                Scan::More { quote } if self.ended || self.buffer.len() - self.position > self.max_row_bytes => {
                    return Err(match quote {
                        Some(at) => self.unclosed_quote(at),
                        None => self.too_long(),
                    });
                }
                Scan::More { .. } => self.fill()?,
            }
        }
    }

    fn skip_blank_lines(&mut self) {
        while let Some(byte) = self.buffer.get(self.position) {
            if *byte == self.newline {
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

    /// Counts line ends within quotes and puts doubled quotes right in place.
    fn finish_quotes(&mut self) {
        for (at, span) in self.spans.iter_mut().enumerate() {
            if span.shape == Shape::Plain {
                continue;
            }
            if span.shape == Shape::Malformed {
                self.malformed = Some(at);
            }
            let (start, mut end) = (span.start as usize, span.end as usize);
            self.next_line += memchr::memchr_iter(self.newline, &self.buffer[start..end]).count() as u64;
            if span.shape == Shape::Escaped {
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
    }

    /// Drops what was read and appends more text.
    fn fill(&mut self) -> Result<()> {
        self.buffer.drain(..self.position);
        self.position = 0;
        self.ended = !self.text.read_into(&mut self.buffer)?;
        Ok(())
    }

    fn too_long(&self) -> IngestError {
        IngestError::at_line(
            "row_too_long",
            self.line,
            format!(
                "The row is longer than {} bytes, the limit max_row_bytes. Check the file's line ends and quotes.",
                self.max_row_bytes
            ),
        )
    }

    fn unclosed_quote(&self, at: usize) -> IngestError {
        let line = self.line + memchr::memchr_iter(self.newline, &self.buffer[self.position..at]).count() as u64;
        let until = if self.ended { "before the end of the file" } else { "within max_row_bytes" };
        let text: String = String::from_utf8_lossy(&self.buffer[at..]).chars().take(40).collect();
        IngestError::at_line(
            "unclosed_quote",
            line,
            format!(
                "The quote that opens here ({text}) is not closed {until}. Close it, or double quotes inside a value."
            ),
        )
    }

    fn read_header(&self, limits: &Limits) -> Result<Vec<String>> {
        if self.spans.len() > limits.max_columns {
            return Err(IngestError::input(
                "too_many_columns",
                format!("The file has {} columns; the limit max_columns is {}.", self.spans.len(), limits.max_columns),
            ));
        }
        let names: Vec<String> =
            (0..self.spans.len()).map(|i| String::from_utf8_lossy(self.value(i)).trim().to_owned()).collect();
        check_names(&names, self.line)?;
        Ok(names)
    }
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

/// The first separator or line end at or after `at`.
#[inline]
fn find_end(buffer: &[u8], mut at: usize, separator: u8, newline: u8) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (separators, newlines) = (ONES * u64::from(separator), ONES * u64::from(newline));
    // Eight bytes at a time: a byte that equals is zero after the exclusive or, and only the lowest flagged byte,
    // which is exact, is used.
    while let Some(word) = buffer.get(at..at + 8) {
        let word = u64::from_le_bytes(word.try_into().unwrap_or([0; 8]));
        let (a, b) = (word ^ separators, word ^ newlines);
        let hit = ((a.wrapping_sub(ONES) & !a) | (b.wrapping_sub(ONES) & !b)) & HIGH;
        if hit != 0 {
            return Some(at + (hit.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    buffer.get(at..)?.iter().position(|byte| *byte == separator || *byte == newline).map(|i| at + i)
}

#[expect(clippy::cast_possible_truncation, reason = "the buffer holds at most a row of max_row_bytes and a chunk")]
fn scan_row(buffer: &[u8], start: usize, separator: u8, newline: u8, ended: bool, spans: &mut Vec<Span>) -> Scan {
    spans.clear();
    let mut at = start;
    let mut quoted = false;
    loop {
        if buffer.get(at) == Some(&b'"') {
            quoted = true;
            let open = at;
            let mut shape = Shape::Quoted;
            at += 1;
            let close = loop {
                let Some(quote) = memchr::memchr(b'"', &buffer[at..]) else { return Scan::More { quote: Some(open) } };
                at += quote + 1;
                match buffer.get(at) {
                    Some(b'"') => {
                        shape = Shape::Escaped;
                        at += 1;
                    }
                    None if !ended => return Scan::More { quote: Some(open) },
                    _ => break at - 1,
                }
            };
            let (span_start, mut span_end) = (open + 1, close);
            let end = match buffer.get(at) {
                None => None,
                Some(byte) if *byte == separator || *byte == newline => Some(at),
                Some(b'\r') if newline == b'\n' && buffer.get(at + 1) == Some(&b'\n') => Some(at + 1),
                Some(b'\r') if newline == b'\n' && at + 1 == buffer.len() => {
                    if !ended {
                        return Scan::More { quote: None };
                    }
                    None
                }
                Some(_) => {
                    shape = Shape::Malformed;
                    let end = find_end(buffer, at, separator, newline);
                    span_end = end.unwrap_or(buffer.len());
                    end
                }
            };
            spans.push(Span { start: span_start as u32, end: span_end as u32, shape });
            match end {
                Some(end) if buffer[end] == separator => at = end + 1,
                Some(end) => return Scan::Row { end: end + 1, quoted },
                None if ended => return Scan::Row { end: buffer.len(), quoted },
                None => return Scan::More { quote: None },
            }
        } else {
            match find_end(buffer, at, separator, newline) {
                Some(end) if buffer[end] == separator => {
                    spans.push(Span { start: at as u32, end: end as u32, shape: Shape::Plain });
                    at = end + 1;
                }
                Some(end) => {
                    let text_end = if end > at && buffer[end - 1] == b'\r' { end - 1 } else { end };
                    spans.push(Span { start: at as u32, end: text_end as u32, shape: Shape::Plain });
                    return Scan::Row { end: end + 1, quoted };
                }
                None if ended => {
                    let end = buffer.len();
                    let text_end = if end > at && buffer[end - 1] == b'\r' { end - 1 } else { end };
                    spans.push(Span { start: at as u32, end: text_end as u32, shape: Shape::Plain });
                    return Scan::Row { end, quoted };
                }
                None => return Scan::More { quote: None },
            }
        }
    }
}

/// The separator by which most of the first rows have the same number (more than one) of values.
fn detect_separator(sample: &[u8], newline: u8, filename: &str) -> u8 {
    let by_name = if filename.to_ascii_lowercase().contains(".tsv") { b'\t' } else { b',' };
    let mut best = (0.0, by_name);
    let mut spans = Vec::new();
    for separator in SEPARATORS {
        let mut widths = Vec::new();
        let mut at = 0;
        while at < sample.len() && widths.len() < SAMPLE_ROWS {
            match scan_row(sample, at, separator, newline, false, &mut spans) {
                Scan::Row { end, .. } => {
                    widths.push(spans.len());
                    at = end;
                }
                Scan::More { .. } => {
                    if widths.is_empty() {
                        widths.push(spans.len() + 1);
                    }
                    break;
                }
            }
        }
        let width = widths.first().copied().unwrap_or(1);
        if width < 2 {
            continue;
        }
        let equal = widths.iter().filter(|w| **w == width).count() as f64 / widths.len() as f64;
        // Equal rows count most; more columns decide between separators that both fit.
        let points = equal + (width as f64).min(1_000.0) / 10_000.0 + if separator == by_name { 0.05 } else { 0.0 };
        if points > best.0 {
            best = (points, separator);
        }
    }
    best.1
}
