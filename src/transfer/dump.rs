//! `<collection>.bson`: documents one after the other, in the order of their keys. Used on blocking threads.

use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::sums::{Hashing, READ_BYTES};
use super::{Result, TransferError};
use crate::store::{Collection, Document, Key, bson};

/// No document is longer, whoever wrote it (MongoDB's own limit is 16 MiB).
const MAX_DOCUMENT_BYTES: usize = 64 << 20;

/// Something of a collection.
#[derive(Debug, Clone)]
pub enum Item {
    Document(Document),
    Blob(Key, Bytes),
}

impl Item {
    pub fn key(&self) -> &Key {
        match self {
            Item::Document(document) => &document.key,
            Item::Blob(key, _) => key,
        }
    }

    /// About how many bytes it takes.
    pub fn size_bytes(&self) -> usize {
        match self {
            Item::Document(document) => document.body.len(),
            Item::Blob(_, bytes) => bytes.len(),
        }
    }
}

pub struct DumpWriter {
    path: PathBuf,
    file: Hashing<BufWriter<File>>,
    pub items: u64,
}

impl DumpWriter {
    pub fn create(path: &Path) -> Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(TransferError::at(folder))?;
        }
        let file = File::create(path).map_err(TransferError::at(path))?;
        let file = Hashing::new(BufWriter::with_capacity(READ_BYTES, file));
        Ok(Self { path: path.to_owned(), file, items: 0 })
    }

    pub fn write(&mut self, item: &Item) -> Result<()> {
        let bytes = match item {
            Item::Document(document) => bson::encode_document(document)?,
            Item::Blob(key, bytes) => bson::encode_blob(key, bytes)?,
        };
        self.file.write_all(&bytes).map_err(TransferError::at(&self.path))?;
        self.items += 1;
        Ok(())
    }

    /// Checksum and size; durable when this returns.
    pub fn finish(self) -> Result<(String, u64)> {
        let size_bytes = self.file.bytes;
        let (file, sum) = self.file.finish();
        let file = file.into_inner().map_err(|error| TransferError::at(&self.path)(error.into_error()))?;
        file.sync_all().map_err(TransferError::at(&self.path))?;
        Ok((sum, size_bytes))
    }
}

pub struct DumpReader {
    path: PathBuf,
    collection: Collection,
    file: Hashing<BufReader<File>>,
    last: Option<Key>,
}

impl DumpReader {
    pub fn open(path: &Path, collection: Collection) -> Result<Self> {
        let file = File::open(path).map_err(TransferError::at(path))?;
        let file = Hashing::new(BufReader::with_capacity(READ_BYTES, file));
        Ok(Self { path: path.to_owned(), collection, file, last: None })
    }

    /// Bytes read so far.
    pub fn bytes(&self) -> u64 {
        self.file.bytes
    }

    /// The next one; `None` at the end. What is no document, or not in order, is damage.
    pub fn next(&mut self) -> Result<Option<Item>> {
        let mut length = [0; 4];
        match self.file.read(&mut length[..1]).map_err(TransferError::at(&self.path))? {
            0 => return Ok(None),
            _ => self.read(&mut length[1..])?,
        }
        let size = usize::try_from(i32::from_le_bytes(length)).ok();
        let size = size.filter(|size| (5..=MAX_DOCUMENT_BYTES).contains(size));
        let size = size.ok_or_else(|| self.damaged("something in it is no document"))?;
        let mut bytes = vec![0; size];
        bytes[..4].copy_from_slice(&length);
        self.read(&mut bytes[4..])?;
        let item = match self.collection {
            Collection::Blobs => bson::decode_blob(&bytes).map(|(key, bytes)| Item::Blob(key, bytes)),
            _ => bson::decode_document(&bytes).map(Item::Document),
        };
        let item = item.map_err(|error| self.damaged(&error.to_string()))?;
        if self.last.as_ref().is_some_and(|last| last >= item.key()) {
            return Err(self.damaged("its documents are not in the order of their keys"));
        }
        self.last = Some(item.key().clone());
        Ok(Some(item))
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<()> {
        self.file.read_exact(buffer).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => self.damaged("it ends in the middle of a document"),
            _ => TransferError::at(&self.path)(error),
        })
    }

    fn damaged(&self, problem: &str) -> TransferError {
        TransferError::damaged(&self.path, problem)
    }

    /// The checksum of all that was read.
    pub fn finish(self) -> String {
        self.file.finish().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents() -> Vec<Item> {
        let document =
            |n: u64| Document { key: Key::new("s", format!("{n}")), revision: n, body: format!("{{\"n\":{n}}}") };
        (0..5).map(|n| Item::Document(document(n))).collect()
    }

    fn written(items: &[Item]) -> (tempfile::TempDir, PathBuf, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tango/agents.bson");
        let mut writer = DumpWriter::create(&path).unwrap();
        for item in items {
            writer.write(item).unwrap();
        }
        let (sum, _) = writer.finish().unwrap();
        (folder, path, sum)
    }

    fn read(path: &Path) -> Result<(Vec<Key>, String)> {
        let mut reader = DumpReader::open(path, Collection::Agents)?;
        let mut keys = Vec::new();
        while let Some(item) = reader.next()? {
            keys.push(item.key().clone());
        }
        Ok((keys, reader.finish()))
    }

    #[test]
    fn a_dump_comes_back_with_its_checksum_and_cut_or_unordered_ones_are_damaged() {
        let (_keep, path, sum) = written(&documents());
        let (keys, same) = read(&path).unwrap();
        assert_eq!((keys.len(), same), (5, sum));
        let whole = std::fs::read(&path).unwrap();
        let one = whole.len() / 5;
        for cut in (0..whole.len()).filter(|cut| cut % one != 0) {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(matches!(read(&path), Err(TransferError::Damaged { .. })), "cut to {cut} bytes");
        }
        let mut items = documents();
        items.swap(1, 2);
        let (_keep, path, _) = written(&items);
        assert!(read(&path).unwrap_err().to_string().contains("order"));
    }
}
