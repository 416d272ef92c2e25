//! Objects as blocking readers, for the synchronous code that parses them on its own threads.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::{ObjectError, ObjectStore, Result};

/// Bytes that one request asks for; two such pieces are in memory at most (one in use, one read ahead).
const PIECE_BYTES: u64 = 4 << 20;

/// Reads an object on a thread of `spawn_blocking`; sequential reads are one piece ahead.
/// Errors of the store are `io::Error`s with the [`ObjectError`] inside.
pub struct ObjectReader {
    store: Arc<ObjectStore>,
    runtime: Handle,
    key: Arc<str>,
    size: u64,
    position: u64,
    piece: Bytes,
    piece_start: u64,
    ahead: Option<(u64, JoinHandle<Result<Bytes>>)>,
    bytes_read: Arc<AtomicU64>,
}

impl ObjectReader {
    /// Asks for the object's size. `runtime` is where requests run; the reader itself must be used on a blocking thread.
    pub async fn open(store: Arc<ObjectStore>, key: &str) -> Result<Self> {
        let size = store.size(key).await?;
        Ok(Self {
            store,
            runtime: Handle::current(),
            key: key.into(),
            size,
            position: 0,
            piece: Bytes::new(),
            piece_start: 0,
            ahead: None,
            bytes_read: Arc::default(),
        })
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// Counts the bytes handed out so far; readable while another thread reads.
    pub fn counter(&self) -> Arc<AtomicU64> {
        self.bytes_read.clone()
    }

    fn fetch(&self, start: u64) -> JoinHandle<Result<Bytes>> {
        let (store, key) = (self.store.clone(), self.key.clone());
        let end = (start + PIECE_BYTES).min(self.size);
        self.runtime.spawn(async move { store.get_range(&key, start..end).await })
    }

    /// Makes `piece` hold the byte at `position`.
    fn load(&mut self) -> io::Result<()> {
        let fetching = match self.ahead.take() {
            Some((start, fetching)) if start == self.position => fetching,
            other => {
                if let Some((_, unwanted)) = other {
                    unwanted.abort();
                }
                self.fetch(self.position)
            }
        };
        let piece = self.runtime.block_on(fetching).map_err(io::Error::other)?;
        self.piece = piece.map_err(object_io_error)?;
        self.piece_start = self.position;
        let next = self.piece_start + self.piece.len() as u64;
        if next < self.size {
            self.ahead = Some((next, self.fetch(next)));
        }
        Ok(())
    }
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.size || buffer.is_empty() {
            return Ok(0);
        }
        let within = self.position.checked_sub(self.piece_start).filter(|at| *at < self.piece.len() as u64);
        let offset = match within {
            Some(offset) => usize::try_from(offset).unwrap_or(usize::MAX),
            None => {
                self.load()?;
                0
            }
        };
        let available = self.piece.get(offset..).unwrap_or_default();
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.position += count as u64;
        self.bytes_read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

impl Seek for ObjectReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = target.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a seek before the start"))?;
        Ok(self.position)
    }
}

impl Drop for ObjectReader {
    fn drop(&mut self) {
        if let Some((_, fetching)) = self.ahead.take() {
            fetching.abort();
        }
    }
}

/// The store's error inside an I/O error, so that it can be told from bad data again.
pub fn object_io_error(error: ObjectError) -> io::Error {
    let kind = match &error {
        ObjectError::NotFound(_) => io::ErrorKind::NotFound,
        ObjectError::Full(_) => io::ErrorKind::StorageFull,
        ObjectError::Unavailable(_) | ObjectError::Refused(_) => io::ErrorKind::NotConnected,
        ObjectError::Unsupported(_) => io::ErrorKind::Unsupported,
        ObjectError::Failed(_) => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

/// One ranged read from a blocking thread.
pub fn fetch_blocking(
    runtime: &Handle,
    store: &Arc<ObjectStore>,
    key: &str,
    range: std::ops::Range<u64>,
) -> io::Result<Bytes> {
    let (store, key) = (store.clone(), key.to_owned());
    let fetching = runtime.spawn(async move { store.get_range(&key, range).await });
    runtime.block_on(fetching).map_err(io::Error::other)?.map_err(object_io_error)
}
