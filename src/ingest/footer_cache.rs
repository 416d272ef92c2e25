//! Indexes and footers of segments in memory: a lookup needs them of every segment that it opens, and they never change.

use std::io;
use std::ops::Range;

use bytes::Bytes;
use moka::sync::Cache;

use super::SegmentSource;

/// What an entry takes beside its bytes and its key.
const ENTRY_BYTES: usize = 128;

/// The ends of segments that were read before, up to a bound of memory. Clones share it.
#[derive(Debug, Clone)]
pub struct FooterCache(Cache<(String, u64), Bytes>);

impl FooterCache {
    pub fn new(capacity_bytes: u64) -> Self {
        let weigh = |key: &(String, u64), bytes: &Bytes| {
            u32::try_from(key.0.len() + bytes.len() + ENTRY_BYTES).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().weigher(weigh).max_capacity(capacity_bytes).build())
    }

    /// A source that asks the cache first.
    pub fn over<'a>(&'a self, source: &'a dyn SegmentSource) -> CachedFooters<'a> {
        CachedFooters { cache: self, source }
    }
}

/// See [`FooterCache::over`].
pub struct CachedFooters<'a> {
    cache: &'a FooterCache,
    source: &'a dyn SegmentSource,
}

impl SegmentSource for CachedFooters<'_> {
    fn read_range(&self, object_key: &str, range: Range<u64>) -> io::Result<Bytes> {
        self.source.read_range(object_key, range)
    }

    fn read_footer(&self, object_key: &str, range: Range<u64>) -> io::Result<(Bytes, bool)> {
        let key = (object_key.to_owned(), range.start);
        let wanted = range.end - range.start;
        if let Some(bytes) = self.cache.0.get(&key).filter(|bytes| bytes.len() as u64 == wanted) {
            return Ok((bytes, true));
        }
        let bytes = self.source.read_range(object_key, range)?;
        if bytes.len() as u64 == wanted {
            self.cache.0.insert(key, bytes.clone());
        }
        Ok((bytes, false))
    }
}
