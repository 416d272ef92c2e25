//! Checksums of a copy's files, in the format of `sha256sum`, so that a person can check one without tango.
//!
//! The last line, a comment to `sha256sum`, is the checksum of the lines before it: a list that was cut off or changed is told from a whole one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Component, Path};

use sha2::{Digest, Sha256};

use super::{Result, TransferError};

const LAST_LINE: &str = "# the lines above have the sha256 ";
/// Bytes that are read at once.
pub const READ_BYTES: usize = 1 << 20;

/// Path below the copy's folder, with `/`, to the SHA-256 of the file in hexadecimal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sums(pub BTreeMap<String, String>);

impl Sums {
    fn lines(&self) -> String {
        self.0.iter().map(|(path, sum)| format!("{sum}  {path}\n")).collect()
    }

    /// Writes the list; durable when this returns.
    pub fn write(&self, path: &Path) -> Result<()> {
        let lines = self.lines();
        let text = format!("{lines}{LAST_LINE}{}\n", hex::encode(Sha256::digest(&lines)));
        write_durably(path, text.as_bytes())
    }

    /// Reads a list, and answers what names it: the checksum of its lines.
    pub fn read(path: &Path) -> Result<(Self, String)> {
        let text = std::fs::read_to_string(path).map_err(TransferError::at(path))?;
        let damaged = |problem: &str| TransferError::damaged(path, problem);
        let at = text.rfind(LAST_LINE).ok_or_else(|| damaged("its end is missing"))?;
        let (lines, last) = text.split_at(at);
        let id = last.trim_end().trim_start_matches(LAST_LINE).to_owned();
        if hex::encode(Sha256::digest(lines)) != id {
            return Err(damaged("it does not match the checksum in its last line"));
        }
        let mut sums = BTreeMap::new();
        for line in lines.lines() {
            let (sum, name) = line.split_once("  ").ok_or_else(|| damaged("a line is not `checksum  path`"))?;
            if sum.len() != 64 || !is_below(name) {
                return Err(damaged("a line is not `checksum  path`"));
            }
            sums.insert(name.to_owned(), sum.to_owned());
        }
        Ok((Self(sums), id))
    }
}

/// A relative path that stays below its folder.
pub fn is_below(path: &str) -> bool {
    !path.is_empty()
        && !path.contains(['\n', '\\'])
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

/// The file's SHA-256 in hexadecimal; `read` hears of every piece. Call it on a blocking thread.
pub fn sum_of_file(path: &Path, mut read: impl FnMut(u64) -> Result<()>) -> Result<String> {
    let mut file = File::open(path).map_err(TransferError::at(path))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let count = file.read(&mut buffer).map_err(TransferError::at(path))?;
        if count == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(&buffer[..count]);
        read(count as u64)?;
    }
}

/// Writes a small file beside its name and renames it: it is there whole, or not at all.
pub fn write_durably(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_added_extension("part");
    let mut file = File::create(&temporary).map_err(TransferError::at(&temporary))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(TransferError::at(&temporary))?;
    std::fs::rename(&temporary, path).map_err(TransferError::at(path))?;
    sync_folder_of(path)
}

/// Makes the names in the folder of this file durable.
pub fn sync_folder_of(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(TransferError::at(folder))
}

/// Hashes and counts what is written through it.
pub struct Hashing<W> {
    inner: W,
    hash: Sha256,
    pub bytes: u64,
}

impl<W> Hashing<W> {
    pub fn new(inner: W) -> Self {
        Self { inner, hash: Sha256::new(), bytes: 0 }
    }

    /// What is behind it, and the SHA-256 in hexadecimal.
    pub fn finish(self) -> (W, String) {
        (self.inner, hex::encode(self.hash.finalize()))
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> Sums {
        Sums(
            [("tango/agents.bson", "a"), ("objects/seg/x.parquet", "b")]
                .map(|(path, sum)| (path.to_owned(), sum.repeat(64)))
                .into(),
        )
    }

    #[test]
    fn a_list_comes_back_and_every_cut_or_changed_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("SHA256SUMS");
        list().write(&path).unwrap();
        assert_eq!(Sums::read(&path).unwrap().0, list());
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() - 1 {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(matches!(Sums::read(&path), Err(TransferError::Damaged { .. })), "cut to {cut} bytes");
        }
        for at in 0..whole.len() - 1 {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            std::fs::write(&path, &changed).unwrap();
            assert!(Sums::read(&path).is_err(), "byte {at} changed");
        }
    }

    #[test]
    fn paths_stay_below_the_folder() {
        for bad in ["", "../x", "/etc/passwd", "a/../../b", "a\nb", "a/./../b", "./a"] {
            assert!(!is_below(bad), "{bad:?}");
        }
        assert!(is_below("objects/seg/ds_1/seg_2.parquet"));
    }
}
