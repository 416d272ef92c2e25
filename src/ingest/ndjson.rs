//! Rows of newline-delimited JSON: one object a line.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::rows::shown;
use super::text::TextReader;
use super::{IngestError, RejectedRow, Result};
use crate::config::Limits;

/// An object's entries in the order of the text.
#[derive(Debug, Default)]
pub(super) struct Entries(pub Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;
        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(EntriesVisitor)
    }
}

/// Reads a file line by line.
pub(super) struct JsonRows {
    text: TextReader,
    buffer: Vec<u8>,
    position: usize,
    ended: bool,
    line: u64,
    max_row_bytes: usize,
}

/// A line: its object, or why it is none.
pub(super) type JsonRow = Result<Entries, BadLine>;

/// A line that is no JSON object.
#[derive(Debug)]
pub(super) struct BadLine {
    /// The line, cut when it is long.
    pub value: String,
    pub reason: String,
}

impl BadLine {
    fn new(line: &[u8], error: &serde_json::Error) -> Self {
        let what = match line.first() {
            Some(b'[') => "a list",
            Some(b'"') => "a text",
            _ => "a single value",
        };
        let reason = if error.is_data() {
            format!("the line is {what} and not a JSON object such as {{\"name\": 1}}")
        } else {
            let text = error.to_string();
            let text = text.split(" at line ").next().unwrap_or_default();
            format!("the line is not valid JSON: {text} at character {}", error.column())
        };
        Self { value: shown(&String::from_utf8_lossy(line)), reason }
    }

    pub fn rejected(self, line: u64) -> RejectedRow {
        RejectedRow { line, column: String::new(), value: self.value, reason: self.reason }
    }
}

/// One array with the rows' objects in it, on one line or many; not a line with some list.
fn is_array_of_objects(line: &[u8]) -> bool {
    line.first() == Some(&b'[') && matches!(line[1..].trim_ascii_start().first(), None | Some(b'{' | b']'))
}

impl JsonRows {
    pub fn open(text: TextReader, limits: &Limits) -> Self {
        Self { text, buffer: Vec::new(), position: 0, ended: false, line: 0, max_row_bytes: limits.max_row_bytes }
    }

    pub fn text(&self) -> &TextReader {
        &self.text
    }

    pub fn line(&self) -> u64 {
        self.line
    }

    pub fn bytes_read(&self) -> u64 {
        self.text.bytes_out() - (self.buffer.len() - self.position) as u64
    }

    /// The next line that is not blank; `None` at the end.
    pub fn next_row(&mut self) -> Result<Option<JsonRow>> {
        loop {
            let rest = &self.buffer[self.position..];
            let (line, length) = match memchr::memchr(b'\n', rest) {
                Some(end) => (&rest[..end], end + 1),
                None if self.ended => (rest, rest.len()),
                None if rest.len() > self.max_row_bytes => return Err(self.too_long()),
                None => {
                    self.buffer.drain(..self.position);
                    self.position = 0;
                    self.ended = !self.text.read_into(&mut self.buffer)?;
                    continue;
                }
            };
            if length == 0 {
                return Ok(None);
            }
            self.line += 1;
            if line.len() > self.max_row_bytes {
                return Err(self.too_long());
            }
            let line = line.trim_ascii();
            if line.is_empty() {
                self.position += length;
                continue;
            }
            if self.line == 1 && is_array_of_objects(line) {
                return Err(IngestError::at_line(
                    "json_array",
                    1,
                    "The file is one JSON array. Put one object on each line, without brackets and commas around them.",
                ));
            }
            let row = match serde_json::from_slice::<Entries>(line) {
                Ok(entries) => Ok(entries),
                Err(error) => Err(BadLine::new(line, &error)),
            };
            self.position += length;
            return Ok(Some(row));
        }
    }

    fn too_long(&self) -> IngestError {
        IngestError::at_line(
            "row_too_long",
            self.line.max(1),
            format!("The row is longer than {} bytes, the limit MAX_ROW_BYTES.", self.max_row_bytes),
        )
    }
}
