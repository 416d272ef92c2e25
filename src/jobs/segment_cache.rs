//! What lookups need to know of segments before they read any row, in memory: directories (documents of the store) and
//! the segments' own indexes (ends of objects). Both never change once they are written.

use std::sync::Arc;

use moka::sync::Cache;

use super::JobError;
use super::dataset_change::load_segments;
use crate::context::Context;
use crate::domain::id::{DatasetId, SegmentId};
use crate::domain::segment::Segment;
use crate::ingest::FooterCache;

/// About this much memory is used at most, each.
const DIRECTORY_BYTES: u64 = 64 << 20;
const FOOTER_BYTES: u64 = 64 << 20;

/// Clones share it.
#[derive(Clone)]
pub struct SegmentCache {
    directories: Cache<SegmentId, Arc<Segment>>,
    pub footers: FooterCache,
}

impl Default for SegmentCache {
    fn default() -> Self {
        let weigh = |_: &SegmentId, segment: &Arc<Segment>| size_of_segment(segment);
        let directories = Cache::builder().weigher(weigh).max_capacity(DIRECTORY_BYTES).build();
        Self { directories, footers: FooterCache::new(FOOTER_BYTES) }
    }
}

impl SegmentCache {
    /// The directories of these segments, in their order; the store is asked for those only that are not in memory.
    /// Ids are taken from a version that was loaded within the account: the cache does not look at whose they are.
    pub async fn load(
        &self,
        ctx: &Context,
        dataset: &DatasetId,
        segments: &[SegmentId],
    ) -> Result<Vec<Arc<Segment>>, JobError> {
        let mut found: Vec<Option<Arc<Segment>>> = segments.iter().map(|id| self.directories.get(id)).collect();
        let missing: Vec<SegmentId> =
            segments.iter().zip(&found).filter(|(_, found)| found.is_none()).map(|(id, _)| id.clone()).collect();
        let mut loaded = load_segments(ctx, dataset, &missing).await?.into_iter().map(Arc::new);
        for slot in found.iter_mut().filter(|slot| slot.is_none()) {
            *slot = loaded.next();
            if let Some(segment) = slot {
                self.directories.insert(segment.id.clone(), segment.clone());
            }
        }
        Ok(found.into_iter().flatten().collect())
    }
}

/// About what a directory takes in memory.
fn size_of_segment(segment: &Segment) -> u32 {
    let columns = segment.directory.columns.iter().map(|column| {
        let bloom = column.bloom.as_ref().map_or(0, |bloom| bloom.bits.len());
        let postings = column.postings.as_ref().map_or(0, |postings| postings.offsets.len());
        // The name and two bounds (texts of up to 64 characters) beside the structures themselves.
        column.name.len() + bloom + postings + 400
    });
    u32::try_from(columns.sum::<usize>() + 400).unwrap_or(u32::MAX)
}
