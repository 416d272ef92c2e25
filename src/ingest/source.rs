//! Opening a file: what is around its content (gzip, zip, nothing), and limits on what comes out.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::Crc;
use flate2::bufread::GzDecoder;
use flate2::read::DeflateDecoder;

use super::{FileRead, IngestError, InputFile, Result};
use crate::config::Limits;

/// A file, opened as far as its content's first bytes.
pub(super) struct Opened {
    pub container: &'static str,
    pub content: Content,
    /// Bytes of the stored file read so far, for progress.
    pub read_bytes: Arc<AtomicU64>,
}

pub(super) enum Content {
    /// Decompressed bytes of a text format.
    Text(Box<dyn Read>),
    Parquet(CountedFile),
}

/// The stored file with its errors marked as its own and its bytes counted.
pub(super) struct CountedFile {
    inner: Box<dyn FileRead>,
    pub size_bytes: u64,
    read_bytes: Arc<AtomicU64>,
}

impl Read for CountedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buffer) {
            Ok(n) => {
                self.read_bytes.fetch_add(n as u64, Ordering::Relaxed);
                Ok(n)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => Err(IngestError::Source(error).into()),
        }
    }
}

impl Seek for CountedFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to).map_err(|error| IngestError::Source(error).into())
    }
}

/// Detects the container by its first bytes and opens it.
pub(super) fn open(file: InputFile<'_>, limits: &Limits) -> Result<Opened> {
    let read_bytes = Arc::new(AtomicU64::new(0));
    if file.size_bytes > limits.max_upload_bytes {
        return Err(IngestError::input(
            "upload_too_large",
            format!(
                "The file has {} bytes; the limit MAX_UPLOAD_BYTES is {}.",
                file.size_bytes, limits.max_upload_bytes
            ),
        ));
    }
    let mut stored = CountedFile { inner: file.reader, size_bytes: file.size_bytes, read_bytes: read_bytes.clone() };
    let mut magic = Vec::with_capacity(8);
    stored.seek(SeekFrom::Start(0))?;
    (&mut stored).take(8).read_to_end(&mut magic)?;
    stored.seek(SeekFrom::Start(0))?;
    read_bytes.store(0, Ordering::Relaxed);
    let (container, content) = match magic.as_slice() {
        [] => return Err(empty_file()),
        [b'P', b'A', b'R', b'1', ..] => ("none", Content::Parquet(stored)),
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => ("zip", text(open_zip(stored)?, limits)),
        [0x1f, 0x8b, ..] => ("gzip", text(Gunzip::new(stored), limits)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => return Err(unsupported("zstd")),
        [b'B', b'Z', b'h', ..] => return Err(unsupported("bzip2")),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => return Err(unsupported("xz")),
        [b'7', b'z', 0xbc, 0xaf, ..] => return Err(unsupported("7-Zip")),
        [0xd0, 0xcf, 0x11, 0xe0, ..] => {
            return Err(IngestError::input(
                "unsupported_format",
                "This is an Excel or other Office file. Save the sheet as CSV and upload that.",
            ));
        }
        start => match no_table(start) {
            Some(what) => return Err(not_a_table(what)),
            None => ("none", text(stored, limits)),
        },
    };
    Ok(Opened { container, content, read_bytes })
}

/// Kinds of files that hold no table, by how they begin: what is said of their bytes would help nobody.
fn no_table(start: &[u8]) -> Option<&'static str> {
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    let begins = |word: &[u8]| start.get(..word.len()).is_some_and(|it| it.eq_ignore_ascii_case(word));
    let kinds: [(&[u8], &str); 7] = [
        (b"\x89PNG", "a picture"),
        (b"\xff\xd8\xff", "a picture"),
        (b"GIF8", "a picture"),
        (b"%PDF-", "a PDF document"),
        (b"<!doc", "a web page"),
        (b"<html", "a web page"),
        (b"<?xml", "an XML file"),
    ];
    kinds.into_iter().find(|(word, _)| begins(word)).map(|(_, kind)| kind)
}

fn not_a_table(what: &str) -> IngestError {
    let text = format!("This is {what}, which holds no table. Upload a table as CSV, NDJSON or Parquet.");
    IngestError::input("unsupported_format", text)
}

pub(super) fn empty_file() -> IngestError {
    IngestError::input("empty_file", "The file is empty. Upload a file with a header line and at least one row.")
}

fn unsupported(name: &str) -> IngestError {
    IngestError::input(
        "unsupported_compression",
        format!("The file is compressed with {name}. Upload it plain, with gzip, or in a zip file."),
    )
}

fn text(reader: impl Read + 'static, limits: &Limits) -> Content {
    Content::Text(Box::new(Limited {
        inner: reader,
        left: limits.max_uncompressed_bytes,
        limit: limits.max_uncompressed_bytes,
    }))
}

/// Ends with an error when more comes out than allowed: a decompression bomb costs time in proportion to the limit,
/// and no memory.
struct Limited<R> {
    inner: R,
    left: u64,
    limit: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        match self.left.checked_sub(n as u64) {
            Some(left) => self.left = left,
            None => {
                return Err(IngestError::input(
                    "too_much_data",
                    format!(
                        "The file holds more than {} bytes after decompression, the limit MAX_UNCOMPRESSED_BYTES. \
                         Split it into several uploads.",
                        self.limit
                    ),
                )
                .into());
            }
        }
        Ok(n)
    }
}

/// The members of a gzip file one after the other.
struct Gunzip(Option<GzDecoder<BufReader<CountedFile>>>);

impl Gunzip {
    fn new(stored: CountedFile) -> Self {
        Self(Some(GzDecoder::new(BufReader::with_capacity(64 << 10, stored))))
    }

    /// Goes on to the next member, if there is one.
    fn next_member(&mut self) -> io::Result<()> {
        let Some(ended) = self.0.take() else { return Ok(()) };
        let mut rest = ended.into_inner();
        match rest.fill_buf()? {
            [] => Ok(()),
            [0x1f] | [0x1f, 0x8b, ..] => {
                self.0 = Some(GzDecoder::new(rest));
                Ok(())
            }
            _ => Err(IngestError::input(
                "damaged_gzip",
                "Something that is not gzip follows the compressed data: the file was added to after it was compressed. \
                 Compress and upload the file again.",
            )
            .into()),
        }
    }
}

impl Read for Gunzip {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.0 {
            let read = gunzip(member, buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            self.next_member()?;
        }
        Ok(0)
    }
}

fn gunzip(member: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    member.read(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::Interrupted | io::ErrorKind::Other => error,
        io::ErrorKind::UnexpectedEof => IngestError::input(
            "truncated_gzip",
            "The gzip file ends too early: part of it is missing. Compress and upload the file again.",
        )
        .into(),
        _ => IngestError::input(
            "damaged_gzip",
            format!("The gzip file is damaged ({error}). Compress and upload the file again."),
        )
        .into(),
    })
}

/// The single file of a zip: inflated, its length and checksum compared at the end.
struct ZipEntry<R> {
    inner: R,
    crc: Crc,
    expected_crc: u32,
    expected_bytes: u64,
    bytes: u64,
}

impl<R: Read> Read for ZipEntry<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = match self.inner.read(buffer) {
            Ok(n) => n,
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::Other) => {
                return Err(error);
            }
            Err(error) => return Err(damaged_zip(&error.to_string()).into()),
        };
        self.crc.update(&buffer[..n]);
        self.bytes += n as u64;
        if n == 0 && !buffer.is_empty() {
            if self.bytes != self.expected_bytes {
                return Err(damaged_zip("the file in it does not have the length that the zip names").into());
            }
            if self.crc.sum() != self.expected_crc {
                return Err(damaged_zip("the checksum of the file in it is wrong").into());
            }
        }
        Ok(n)
    }
}

fn damaged_zip(why: &str) -> IngestError {
    IngestError::input("damaged_zip", format!("The zip file is damaged: {why}. Make and upload it again."))
}

/// More files than this are not even listed.
const MAX_ZIP_ENTRIES: u64 = 1_000;

fn open_zip(mut stored: CountedFile) -> Result<Box<dyn Read>> {
    let entries = zip_entries(&mut stored)?;
    if entries > MAX_ZIP_ENTRIES {
        return Err(not_one_file(&format!("{entries} files")));
    }
    let mut archive = zip::ZipArchive::new(stored).map_err(zip_error)?;
    let names: Vec<String> = archive.file_names_raw().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    if names.iter().any(|name| name == "xl/workbook.xml") {
        return Err(IngestError::input(
            "unsupported_format",
            "This is an Excel workbook. Save the sheet as CSV and upload that.",
        ));
    }
    // The Finder of macOS adds these beside every file.
    let wanted: Vec<usize> = (0..names.len()).filter(|i| !names[*i].starts_with("__MACOSX/")).collect();
    let [only] = wanted.as_slice() else {
        return Err(match wanted.len() {
            0 => not_one_file("no file"),
            n => {
                let list: Vec<&str> = wanted.iter().take(3).map(|i| names[*i].as_str()).collect();
                not_one_file(&format!("{n} files ({}{})", list.join(", "), if n > 3 { ", …" } else { "" }))
            }
        });
    };
    let name = &names[*only];
    if name.contains(['/', '\\', '\0']) || name.contains("..") || name.get(1..2) == Some(":") || name.is_empty() {
        return Err(IngestError::input(
            "zip_path_name",
            format!("The zip file holds {name:?}: a name with a path. Zip the file itself, without its folder."),
        ));
    }
    let entry = archive.by_index(*only).map_err(zip_error)?;
    if entry.is_dir() || entry.is_symlink() {
        return Err(not_one_file("a folder or link"));
    }
    let (method, start) = (entry.compression(), entry.data_start());
    let (compressed, expected_bytes, expected_crc) = (entry.compressed_size(), entry.size(), entry.crc32());
    drop(entry);
    let start = start.ok_or_else(|| damaged_zip("the start of the file in it is unknown"))?;
    let mut stored = archive.into_inner();
    stored.seek(SeekFrom::Start(start))?;
    let raw = stored.take(compressed);
    let crc = Crc::new();
    match method {
        zip::CompressionMethod::Stored => {
            Ok(Box::new(ZipEntry { inner: raw, crc, expected_crc, expected_bytes, bytes: 0 }))
        }
        zip::CompressionMethod::Deflated => {
            Ok(Box::new(ZipEntry { inner: DeflateDecoder::new(raw), crc, expected_crc, expected_bytes, bytes: 0 }))
        }
        other => Err(IngestError::input(
            "unsupported_compression",
            format!("The zip file uses the method {other}. Make it with the usual method, deflate."),
        )),
    }
}

fn not_one_file(holds: &str) -> IngestError {
    IngestError::input("zip_not_one_file", format!("The zip file holds {holds}. Put exactly one file into it."))
}

fn zip_error(error: zip::result::ZipError) -> IngestError {
    match error {
        zip::result::ZipError::Io(error) => match IngestError::from(error) {
            IngestError::Source(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                damaged_zip("it ends too early")
            }
            other => other,
        },
        zip::result::ZipError::UnsupportedArchive(why) if why.contains("assword") => {
            IngestError::input("zip_encrypted", "The zip file is protected by a password. Make it again without one.")
        }
        other => damaged_zip(&other.to_string()),
    }
}

/// The number of entries that the end record names, read before anything is allocated for them.
fn zip_entries(stored: &mut CountedFile) -> Result<u64> {
    let tail_bytes = stored.size_bytes.min(66_000);
    stored.seek(SeekFrom::Start(stored.size_bytes - tail_bytes))?;
    let mut tail = Vec::new();
    stored.by_ref().take(tail_bytes).read_to_end(&mut tail)?;
    let at = memchr::memmem::rfind(&tail, b"PK\x05\x06").ok_or_else(|| damaged_zip("its end is missing"))?;
    let entries = u64::from(little_endian(&tail, at + 10, 2));
    if entries < 0xffff {
        return Ok(entries);
    }
    // More are named in the zip64 end record.
    let at = memchr::memmem::rfind(&tail, b"PK\x06\x06").ok_or_else(|| damaged_zip("its end is missing"))?;
    Ok(u64::from(little_endian(&tail, at + 32, 4)))
}

fn little_endian(bytes: &[u8], at: usize, len: usize) -> u32 {
    (0..len).rev().fold(0, |n, i| (n << 8) | u32::from(bytes.get(at + i).copied().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_no_table_is_named() {
        for (start, kind) in [
            (&b"\x89PNG\r\n\x1a\n"[..], Some("a picture")),
            (b"%PDF-1.7", Some("a PDF document")),
            (b"<!DOCTYP", Some("a web page")),
            (b"\xef\xbb\xbf<?xml", Some("an XML file")),
            (b"id,ok\n1,", None),
            (b"{\"id\":1}", None),
            (b"", None),
        ] {
            assert_eq!(no_table(start), kind, "{start:?}");
        }
    }
}
