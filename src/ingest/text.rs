//! Bytes of a text file → valid UTF-8 without NUL, whatever the file's encoding.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8};

use super::{IngestError, Result};

/// Bytes asked of the file at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// Read at once to find a byte order mark and the format.
const FIRST_BYTES: usize = 64;

/// Decodes a file piece by piece. Invalid bytes are an error that names the place, never a replacement character.
pub(super) struct TextReader {
    reader: Box<dyn Read>,
    encoding: &'static Encoding,
    /// `None` for UTF-8, which is checked in place.
    decoder: Option<Decoder>,
    /// Undecoded bytes: an encoding's input, or the start of a UTF-8 character that the next piece completes.
    raw: Vec<u8>,
    /// Bytes of the file before `raw`.
    offset: u64,
    newlines: u64,
    bytes_out: u64,
    ended: bool,
    elapsed: Duration,
}

impl TextReader {
    /// `label` is a name of the WHATWG encoding standard; a byte order mark wins over it.
    pub fn open(mut reader: Box<dyn Read>, label: Option<&str>) -> Result<Self> {
        let chosen = match label {
            None => UTF_8,
            Some(label) => Encoding::for_label(label.as_bytes()).ok_or_else(|| {
                IngestError::input(
                    "unknown_encoding",
                    format!("The encoding {label:?} is not known. Use a name such as utf-8, windows-1252 or utf-16le."),
                )
            })?,
        };
        let mut raw = Vec::with_capacity(CHUNK_BYTES);
        read_some(&mut reader, &mut raw, FIRST_BYTES)?;
        let (encoding, mark_bytes) = Encoding::for_bom(&raw).unwrap_or((chosen, 0));
        raw.drain(..mark_bytes);
        let decoder = (encoding != UTF_8).then(|| encoding.new_decoder_without_bom_handling());
        Ok(Self {
            reader,
            encoding,
            decoder,
            raw,
            offset: mark_bytes as u64,
            newlines: 0,
            bytes_out: 0,
            ended: false,
            elapsed: Duration::ZERO,
        })
    }

    pub fn encoding_name(&self) -> &'static str {
        self.encoding.name()
    }

    /// Whether the first character is that of a JSON object (or of an array of them). Asked before reading.
    pub fn starts_with_json(&self) -> bool {
        let mut start = self.raw.iter().filter(|byte| **byte != 0 && !byte.is_ascii_whitespace());
        match start.next() {
            Some(b'{') => true,
            Some(b'[') => start.next() == Some(&b'{'),
            _ => false,
        }
    }

    /// Time spent in reading, decompressing, decoding and checking.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// UTF-8 bytes handed out so far.
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out
    }

    /// Appends some text; false at the end of the file.
    pub fn read_into(&mut self, out: &mut Vec<u8>) -> Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let started = Instant::now();
        let before = out.len();
        if self.decoder.is_none() {
            self.read_utf8(out)?
        } else {
            self.decode(out)?
        }
        let added = &out[before..];
        if let Some(at) = memchr::memchr(0, added) {
            return Err(self.nul_error(added, at));
        }
        self.newlines += memchr::memchr_iter(b'\n', added).count() as u64;
        self.bytes_out += added.len() as u64;
        self.elapsed += started.elapsed();
        Ok(!self.ended || out.len() > before)
    }

    fn read_utf8(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let before = out.len();
        out.append(&mut self.raw);
        let n = read_some(&mut self.reader, out, CHUNK_BYTES)?;
        self.ended = n == 0;
        let added = &out[before..];
        let Err(error) = std::str::from_utf8(added) else {
            self.offset += added.len() as u64;
            return Ok(());
        };
        let valid = error.valid_up_to();
        if error.error_len().is_some() || self.ended {
            return Err(self.invalid(added, valid));
        }
        self.raw.extend_from_slice(&added[valid..]);
        self.offset += valid as u64;
        out.truncate(before + valid);
        Ok(())
    }

    fn decode(&mut self, out: &mut Vec<u8>) -> Result<()> {
        if self.raw.len() < CHUNK_BYTES / 2 {
            let n = read_some(&mut self.reader, &mut self.raw, CHUNK_BYTES)?;
            self.ended = n == 0;
        }
        let Some(decoder) = &mut self.decoder else { return Ok(()) };
        let mut done = 0;
        loop {
            let before = out.len();
            let room =
                decoder.max_utf8_buffer_length_without_replacement(self.raw.len() - done).unwrap_or(CHUNK_BYTES * 3);
            out.resize(before + room, 0);
            let (result, read, written) =
                decoder.decode_to_utf8_without_replacement(&self.raw[done..], &mut out[before..], self.ended);
            out.truncate(before + written);
            done += read;
            match result {
                DecoderResult::InputEmpty => break,
                DecoderResult::OutputFull => {}
                DecoderResult::Malformed(bad, after) => {
                    let bad = usize::from(bad) + usize::from(after);
                    let at = (self.offset + done as u64).saturating_sub(bad as u64);
                    let line = self.newlines + 1 + memchr::memchr_iter(b'\n', &out[before..]).count() as u64;
                    return Err(IngestError::at_line(
                        "invalid_encoding",
                        line,
                        format!(
                            "The bytes at offset {at} are not valid {}. Choose the encoding that the file was saved with.",
                            self.encoding.name()
                        ),
                    ));
                }
            }
        }
        self.raw.drain(..done);
        self.offset += done as u64;
        Ok(())
    }

    fn invalid(&self, added: &[u8], at: usize) -> IngestError {
        let line = self.newlines + 1 + memchr::memchr_iter(b'\n', &added[..at]).count() as u64;
        IngestError::at_line(
            "invalid_encoding",
            line,
            format!(
                "The byte 0x{:02X} at offset {} is not valid UTF-8. Save the file as UTF-8, or choose its encoding \
                 (windows-1252, for instance).",
                added[at],
                self.offset + at as u64
            ),
        )
    }

    fn nul_error(&self, added: &[u8], at: usize) -> IngestError {
        let line = self.newlines + 1 + memchr::memchr_iter(b'\n', &added[..at]).count() as u64;
        let offset = self.bytes_out + at as u64;
        let nuls = memchr::memchr_iter(0, &added[..added.len().min(1024)]).count();
        let hint = if self.decoder.is_none() && nuls * 4 > added.len().min(1024) {
            "The file looks like UTF-16: choose the encoding utf-16le or utf-16be."
        } else {
            "Remove it, or choose the file's encoding."
        };
        IngestError::at_line("nul_byte", line, format!("There is a NUL character at byte {offset} of the text. {hint}"))
    }
}

/// Appends up to `want` bytes and returns how many; 0 only at the end.
fn read_some(reader: &mut dyn Read, out: &mut Vec<u8>, want: usize) -> Result<usize> {
    let before = out.len();
    out.resize(before + want, 0);
    let mut filled = before;
    while filled < out.len() {
        match reader.read(&mut out[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    out.truncate(filled);
    Ok(filled - before)
}
