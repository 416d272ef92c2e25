//! Postings: a column's values → the rows that hold them, found by one small read.
//!
//! A value's 64-bit hash names a bucket by its upper bits. A bucket is a sequence of entries, one a value, in the
//! order of hashes: the hash's lower 24 bits, the number of rows, the first row, then the distances between rows
//! (LEB128 numbers). Two values can share an entry's 24 bits, so what a lookup gives are candidates.
//! Buckets are about 4 KiB; their offsets are in the segment's directory.

use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::packing::push_number;
use crate::domain::segment::{ByteRange, PostingsLocation};

const BUCKET_BYTES: usize = 4_096;
const MAX_BUCKETS: usize = 512;

/// The bytes of a column's postings, with offsets that the directory keeps.
pub(super) struct Postings {
    pub bytes: Vec<u8>,
    offsets: Vec<u32>,
}

fn bucket_of(hash: u64, buckets: u32) -> usize {
    ((u128::from(hash) * u128::from(buckets)) >> 64) as usize
}

/// Builds postings from the rows of each value, in the order of the values' hashes.
/// `rows` is how many rows they have together, for the size of buckets.
#[expect(clippy::cast_possible_truncation, reason = "postings of a segment are far below 4 GiB")]
pub(super) fn build<'a, R>(rows: usize, values: impl Iterator<Item = (u64, R)>) -> Postings
where
    R: ExactSizeIterator<Item = &'a u32>,
{
    // About four bytes a value and two a row.
    let buckets = (rows * 6).div_ceil(BUCKET_BYTES).clamp(1, MAX_BUCKETS);
    let mut bytes = Vec::with_capacity(rows * 7);
    let mut offsets = vec![0u32; buckets + 1];
    let mut bucket = 0;
    for (hash, rows) in values {
        while bucket < bucket_of(hash, buckets as u32) {
            bucket += 1;
            offsets[bucket] = bytes.len() as u32;
        }
        bytes.extend_from_slice(&hash.to_le_bytes()[..3]);
        push_number(&mut bytes, rows.len() as u64);
        let mut previous = 0;
        for row in rows {
            push_number(&mut bytes, u64::from(row - previous));
            previous = *row;
        }
    }
    for offset in &mut offsets[bucket + 1..] {
        *offset = bytes.len() as u32;
    }
    Postings { bytes, offsets }
}

impl Postings {
    /// The directory's entry for postings that were written at `start`.
    pub fn location(&self, start: u64) -> PostingsLocation {
        let offsets: Vec<u8> = self.offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect();
        PostingsLocation {
            range: ByteRange { start, end: start + self.bytes.len() as u64 },
            buckets: u32::try_from(self.offsets.len() - 1).unwrap_or(u32::MAX),
            offsets: STANDARD.encode(offsets),
        }
    }
}

/// The bytes of the object to read for a value's bucket; `None` when the directory's entry is damaged.
pub(super) fn bucket_range(location: &PostingsLocation, hash: u64) -> Option<Range<u64>> {
    let offsets = STANDARD.decode(&location.offsets).ok()?;
    let bucket = bucket_of(hash, location.buckets);
    let offset = |at: usize| Some(u64::from(u32::from_le_bytes(*offsets.get(at * 4..)?.first_chunk()?)));
    Some(location.range.start + offset(bucket)?..location.range.start + offset(bucket + 1)?)
}

/// The rows that may hold the value, in order; `None` when the bucket is damaged.
pub(super) fn rows_in_bucket(bucket: &[u8], hash: u64) -> Option<Vec<u32>> {
    let wanted = &hash.to_le_bytes()[..3];
    let mut rows = Vec::new();
    let mut rest = bucket;
    while !rest.is_empty() {
        let (fingerprint, tail) = rest.split_at_checked(3)?;
        rest = tail;
        let count = take_number(&mut rest)?;
        let mut row = 0u32;
        for _ in 0..count {
            row = row.checked_add(take_number(&mut rest)?)?;
            if fingerprint == wanted {
                rows.push(row);
            }
        }
    }
    rows.sort_unstable();
    rows.dedup();
    Some(rows)
}

fn take_number(bytes: &mut &[u8]) -> Option<u32> {
    let mut number = 0u32;
    for shift in [0, 7, 14, 21, 28] {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sketch::hash_integer;

    #[test]
    fn every_value_is_found_with_all_its_rows_in_one_small_bucket() {
        let rows = 100_000u32;
        let mut values: std::collections::BTreeMap<u64, Vec<u32>> = std::collections::BTreeMap::new();
        (0..rows).for_each(|row| values.entry(hash_integer(i64::from(row % 33_333))).or_default().push(row));
        let postings = build(rows as usize, values.iter().map(|(hash, rows)| (*hash, rows.iter())));
        let location = postings.location(1_000);
        for value in [0, 1, 17, 33_332] {
            let range = bucket_range(&location, hash_integer(value)).unwrap();
            assert!(range.end - range.start < 8_192);
            let at = (range.start - 1_000) as usize..(range.end - 1_000) as usize;
            let found = rows_in_bucket(&postings.bytes[at], hash_integer(value)).unwrap();
            let expected: Vec<u32> = (0..rows).filter(|row| i64::from(row % 33_333) == value).collect();
            assert!(expected.iter().all(|row| found.contains(row)), "{value}");
            assert!(found.len() <= expected.len() + 3);
        }
        let range = bucket_range(&location, hash_integer(99_999)).unwrap();
        let at = (range.start - 1_000) as usize..(range.end - 1_000) as usize;
        assert!(rows_in_bucket(&postings.bytes[at], hash_integer(99_999)).unwrap().len() <= 3);
    }
}
