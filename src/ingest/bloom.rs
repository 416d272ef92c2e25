//! Bloom filters for a segment's directory: is a value in here at all?

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::domain::segment::BloomFilter;

/// Odd constants of the split-block filter in the Parquet format's specification.
const SALTS: [u32; 8] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// About 1 % of absent values pass.
const BITS_PER_VALUE: usize = 10;
const BLOCK_BYTES: usize = 32;

fn block_of(hash: u64, blocks: u32) -> usize {
    (((hash >> 32) * u64::from(blocks)) >> 32) as usize * BLOCK_BYTES
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half of the hash is the key within a block")]
fn bits_of(hash: u64) -> impl Iterator<Item = (usize, u8)> {
    SALTS.iter().enumerate().map(move |(word, salt)| {
        let bit = (hash as u32).wrapping_mul(*salt) >> 27;
        (word * 4 + bit as usize / 8, 1u8 << (bit % 8))
    })
}

/// A filter of the values with these hashes.
pub(super) fn build(hashes: impl ExactSizeIterator<Item = u64>) -> BloomFilter {
    let blocks = u32::try_from((hashes.len() * BITS_PER_VALUE).div_ceil(BLOCK_BYTES * 8).max(1)).unwrap_or(u32::MAX);
    let mut bits = vec![0u8; blocks as usize * BLOCK_BYTES];
    for hash in hashes {
        let block = block_of(hash, blocks);
        bits_of(hash).for_each(|(byte, bit)| bits[block + byte] |= bit);
    }
    BloomFilter { blocks, bits: STANDARD.encode(bits) }
}

/// False only when no value with this hash is in the segment.
pub(super) fn may_hold(filter: &BloomFilter, hash: u64) -> bool {
    let Ok(bits) = STANDARD.decode(&filter.bits) else { return true };
    let block = block_of(hash, filter.blocks);
    bits_of(hash).all(|(byte, bit)| bits.get(block + byte).is_none_or(|byte| byte & bit != 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sketch::hash_integer;

    #[test]
    fn present_values_always_pass_and_absent_ones_seldom() {
        let filter = build((0..5_000i32).map(|value| hash_integer(value.into())));
        assert!((0..5_000).all(|value| may_hold(&filter, hash_integer(value))));
        let wrong = (5_000..15_000).filter(|value| may_hold(&filter, hash_integer(*value))).count();
        assert!(wrong < 300, "{wrong} of 10,000");
    }
}
