//! What a context leaves of the trees.
//!
//! One step after the other for all trees, not tree after tree: a step's instructions wait for each other, those of many trees do not. Trees with
//! as many splits left come together, so that what depends on the number is the same over and over.

use std::arch::x86_64::*;
use std::array::from_fn;

use pulp::cast;

use super::{moved, whole};
use crate::score::bytes::{
    BySplits, ByteForest, FEW, First, Head, LEAVES, LIMBS, Live, Long, OUTCOMES, Short, Split, Splits,
};

/// Further splits that are written at once.
const AT_ONCE: usize = 16;

/// The bits of a mask, and the byte of each.
const BITS: [u8; LEAVES] = table!(LEAVES, bit => bit as u8);
const BYTE: [u8; LEAVES] = table!(LEAVES, bit => bit as u8 / 8);
/// In the byte of each bit: those below it.
const BELOW: [u8; LEAVES] = table!(LEAVES, bit => (1 << (bit % 8)) - 1);
/// Of each byte: those before it; and from eight numbers to one for each bit.
const BEFORE: [u64; 8] = table!(8, byte => (1 << (8 * byte)) - 1);
const EIGHT_TIMES: [u8; LEAVES] = table!(LEAVES, bit => bit as u8 & 8);

/// For each binary digit but the last one, all ones at the entries of half a table whose number has a one there.
const WITH_DIGIT: [[u8; LEAVES / 2]; OUTCOMES - 1] =
    table!(OUTCOMES - 1, digit => table!(LEAVES / 2, entry => if entry & (1 << digit) != 0 { u8::MAX } else { 0 }));
/// Of each entry's number, so many digits from one on.
const DIGITS: [[[u8; LEAVES]; OUTCOMES + 1]; OUTCOMES] = table!(OUTCOMES, from =>
    table!(OUTCOMES + 1, count => table!(LEAVES, entry => ((entry >> from) & ((1 << count) - 1)) as u8)));

/// Which of the splits that are left are a head's, again and again; and which are further ones, each four times (beyond all of them, any).
const OF_HEAD: [u8; LEAVES] = table!(LEAVES, at => at as u8 % 8);
const OF_FURTHER: [[u8; LEAVES]; LEAVES / AT_ONCE] =
    table!(LEAVES / AT_ONCE, some => table!(LEAVES, at => ((OUTCOMES + AT_ONCE * some + at / 4) % LEAVES) as u8));

#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,avx512vpopcntdq,popcnt")]
pub(super) fn fill(live: &mut Live, forest: &ByteForest, masks: &[u64]) {
    let Live { decided, by_splits, heads, short, long, long_ends, further } = live;
    sort(by_splits, masks);
    *decided = 0;
    for tree in by_splits.trees(0..1) {
        *decided += forest.leaf(usize::from(*tree), masks[usize::from(*tree)].trailing_zeros());
    }

    heads.clear();
    for tree in by_splits.trees(1..OUTCOMES + 1) {
        heads.push(find(forest, usize::from(*tree), masks).head());
    }
    fill_short(short, forest, masks, by_splits, heads);

    heads.clear();
    let trees = by_splits.trees(OUTCOMES + 1..LEAVES);
    further.resize(further.len().max(trees.len() * LEAVES), [0; 4]);
    let mut end = 0;
    for tree in trees {
        let found = find(forest, usize::from(*tree), masks);
        heads.push(found.head());
        let count = by_splits.count(*tree) - OUTCOMES;
        found.write_further(count, &mut further[end..]);
        end += count;
    }
    fill_long(long, long_ends, forest, masks, by_splits, heads);
}

/// One count after the other, the trees that have it, found by comparing many at once.
#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,avx512vpopcntdq,popcnt")]
fn sort(by_splits: &mut BySplits, masks: &[u64]) {
    let BySplits { counts, order, ends } = by_splits;
    // What fills up has more than there can be.
    counts.clear();
    counts.resize(masks.len().next_multiple_of(LEAVES), u8::MAX);
    let mut most = 0;
    for (count, mask) in counts.iter_mut().zip(masks) {
        *count = mask.count_ones().saturating_sub(1) as u8;
        most = most.max(*count);
    }
    order.resize(counts.len() + LEAVES, 0);
    let mut end = 0;
    for (count, end_of_count) in (0..).zip(ends) {
        for (some, counts) in counts.as_chunks::<LEAVES>().0.iter().enumerate().filter(|_| count <= most) {
            let own = _mm512_cmpeq_epi8_mask(cast(*counts), _mm512_set1_epi8(count as i8));
            let places = _mm512_maskz_compress_epi8(own, cast(BITS));
            let first = _mm512_set1_epi16((LEAVES * some) as i16);
            let numbers = [_mm512_castsi512_si256(places), _mm512_extracti64x4_epi64::<1>(places)];
            for (into, places) in order[end..].as_chunks_mut::<{ LEAVES / 2 }>().0.iter_mut().zip(numbers) {
                *into = cast(_mm512_add_epi16(_mm512_cvtepu8_epi16(places), first));
            }
            end += own.count_ones() as usize;
        }
        *end_of_count = end;
    }
}

/// The splits of a tree that have leaves left on both sides, parents before children.
struct Found {
    /// Which of the tree's splits; zeros fill up (and give what nobody reads).
    splits: __m512i,
    /// Of all of the tree's splits, the rightmost leaf and how its bits change to the left, bound and row: two each in a table of 128 bytes, or, of
    /// few splits, all four, and the same table twice.
    tables: [[__m512i; 2]; 2],
    /// Where each of the four begins in its table.
    begins: [u8; 4],
}

impl Found {
    #[inline]
    #[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,avx512vpopcntdq,popcnt")]
    fn head(&self) -> Head {
        let begins = _mm512_permutexvar_epi8(cast(BYTE), self.begins());
        let splits = _mm512_add_epi8(_mm512_permutexvar_epi8(cast(OF_HEAD), self.splits), begins);
        let both = _mm512_mask_blend_epi64(0b1100, self.look_up(0, splits), self.look_up(1, splits));
        Head::from(cast::<__m256i, [u64; 4]>(_mm512_castsi512_si256(both)))
    }

    /// So many further ones, and perhaps something after them.
    #[inline]
    #[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,avx512vpopcntdq,popcnt")]
    fn write_further(&self, count: usize, into: &mut [Split]) {
        let into = into.as_chunks_mut::<AT_ONCE>().0.iter_mut().zip(&OF_FURTHER).take(count.div_ceil(AT_ONCE));
        for (into, places) in into {
            let splits = _mm512_add_epi8(_mm512_permutexvar_epi8(cast(*places), self.splits), self.begins());
            let both = _mm512_mask_blend_epi16(0xaaaa_aaaa, self.look_up(0, splits), self.look_up(1, splits));
            *into = cast(both);
        }
    }

    #[inline]
    #[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,avx512vpopcntdq,popcnt")]
    fn begins(&self) -> __m512i {
        _mm512_set1_epi32(i32::from_le_bytes(self.begins))
    }

    #[inline]
    #[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,avx512vpopcntdq,popcnt")]
    fn look_up(&self, table: usize, entries: __m512i) -> __m512i {
        let [first, second] = self.tables[table];
        _mm512_permutex2var_epi8(first, entries, second)
    }
}

#[inline]
#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,avx512vpopcntdq,popcnt")]
fn find(forest: &ByteForest, tree: usize, masks: &[u64]) -> Found {
    let next = next_leaves(masks[tree]);
    match forest.few.get(tree) {
        Some(splits) => find_few(splits, next),
        None => find_many(&forest.many[tree - forest.few.len()], next),
    }
}

/// For each bit of a mask, the first one from there on that is set; after all of them where there is none.
#[inline]
#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,avx512vpopcntdq,popcnt")]
fn next_leaves(mask: u64) -> __m512i {
    let all = _mm512_set1_epi64(mask as i64);
    let in_bytes_before = _mm512_popcnt_epi64(_mm512_and_si512(all, cast(BEFORE)));
    let in_bytes_before = _mm512_shuffle_epi8(in_bytes_before, cast(EIGHT_TIMES));
    let own = _mm512_permutexvar_epi8(cast(BYTE), all);
    let below = _mm512_popcnt_epi8(_mm512_and_si512(own, cast(BELOW)));
    let leaves = _mm512_mask_compress_epi8(_mm512_set1_epi8(LEAVES as i8), mask, cast(BITS));
    _mm512_permutexvar_epi8(_mm512_add_epi8(in_bytes_before, below), leaves)
}

#[inline]
#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,avx512vpopcntdq,popcnt")]
fn find_few(splits: &Splits<FEW>, next: __m512i) -> Found {
    // Right and left in one register.
    let leaves = _mm512_permutexvar_epi8(cast(splits.firsts), next);
    let (right, left) = (_mm512_castsi512_si256(leaves), _mm512_extracti64x4_epi64::<1>(leaves));
    let on_right = _mm256_cmplt_epu8_mask(right, cast(splits.firsts[1]));
    let on_both = _mm256_mask_cmple_epu8_mask(on_right, left, cast(splits.last));
    let numbers = _mm256_maskz_compress_epi8(on_both, cast(BITS.as_chunks::<FEW>().0[0]));
    let leaves_and_changes = whole([right, _mm256_xor_si256(right, left)]);
    Found {
        splits: _mm512_zextsi256_si512(numbers),
        tables: [[leaves_and_changes, cast(splits.tested)]; 2],
        begins: [0, FEW as u8, 2 * FEW as u8, 3 * FEW as u8],
    }
}

#[inline]
#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,avx512vpopcntdq,popcnt")]
fn find_many(splits: &Splits<LEAVES>, next: __m512i) -> Found {
    let right = _mm512_permutexvar_epi8(cast(splits.firsts[0]), next);
    let left = _mm512_permutexvar_epi8(cast(splits.firsts[1]), next);
    let on_right = _mm512_cmplt_epu8_mask(right, cast(splits.firsts[1]));
    let on_both = _mm512_mask_cmple_epu8_mask(on_right, left, cast(splits.last));
    Found {
        splits: _mm512_maskz_compress_epi8(on_both, cast(BITS)),
        tables: [[right, _mm512_xor_si512(right, left)], [cast(splits.tested[0]), cast(splits.tested[1])]],
        begins: [0, LEAVES as u8, 0, LEAVES as u8],
    }
}

/// Two trees share a table where their splits allow it.
#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,avx512vpopcntdq,popcnt")]
fn fill_short(
    short: &mut [Vec<Short>; OUTCOMES + 1],
    forest: &ByteForest,
    masks: &[u64],
    by_splits: &BySplits,
    heads: &[Head],
) {
    short.iter_mut().for_each(Vec::clear);
    let trees = by_splits.trees(1..OUTCOMES + 1);
    let first = by_splits.range(1).start;
    let mut rest: [_; OUTCOMES + 1] = from_fn(|count| by_splits.range(count));
    for count in (1..=OUTCOMES).rev() {
        while let Some(at) = rest[count].next() {
            let at = at - first;
            let mut limbs = outcomes(&heads[at], forest, usize::from(trees[at]), masks, 0, count);
            let mut tests = First::from(heads[at]);
            let mut partner = count.min(OUTCOMES - count);
            while partner > 0 && rest[partner].is_empty() {
                partner -= 1;
            }
            if partner > 0 {
                let at = rest[partner].start - first;
                rest[partner].start += 1;
                let others = outcomes(&heads[at], forest, usize::from(trees[at]), masks, count, partner);
                for (limb, other) in limbs.iter_mut().zip(others) {
                    *limb = _mm512_add_epi8(*limb, other);
                }
                tests = tests.before(heads[at].into(), count);
            }
            short[count + partner].push(Short { limbs: cast(limbs), first: tests });
        }
    }
}

/// What a tree adds by the outcomes of its splits, which are digits of an entry's number from one on.
#[inline]
#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,avx512vpopcntdq,popcnt")]
fn outcomes(
    head: &Head,
    forest: &ByteForest,
    tree: usize,
    masks: &[u64],
    from: usize,
    count: usize,
) -> [__m512i; LIMBS] {
    let leaves = _mm512_permutexvar_epi8(cast(DIGITS[from][count]), leaves(head, masks[tree], count));
    let mut limbs = [_mm512_setzero_si512(); LIMBS];
    for (limb, all) in limbs.iter_mut().zip(&forest.limbs[tree].0) {
        *limb = _mm512_permutexvar_epi8(leaves, cast(*all));
    }
    limbs
}

#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,avx512vpopcntdq,popcnt")]
fn fill_long(
    long: &mut Vec<Long>,
    ends: &mut [usize; LEAVES],
    forest: &ByteForest,
    masks: &[u64],
    by_splits: &BySplits,
    heads: &[Head],
) {
    long.clear();
    let (mut heads, mut further) = (heads.iter(), 0);
    for (count, end) in ends.iter_mut().enumerate().skip(OUTCOMES + 1) {
        for (tree, head) in by_splits.trees(count..count + 1).iter().zip(&mut heads) {
            let leaf = leaves(head, masks[usize::from(*tree)], OUTCOMES);
            long.push(Long { leaf: cast(leaf), first: First::from(*head), tree: u32::from(*tree), further });
            further += (count - OUTCOMES) as u32;
        }
        if !long.len().is_multiple_of(2) {
            long.push(Long::nothing(forest));
        }
        *end = long.len();
    }
}

/// For all outcomes of a tree's first splits, the leaf that is the rightmost by then. Of fewer than [`OUTCOMES`] splits half a register has all.
#[inline]
#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,avx512vpopcntdq,popcnt")]
fn leaves(head: &Head, mask: u64, count: usize) -> __m512i {
    let mut leaves = _mm256_set1_epi8(mask.trailing_zeros() as i8);
    for ((digit, leaf), change) in WITH_DIGIT.iter().zip(&head.leaves).zip(&head.changes).take(count) {
        leaves = moved(leaves, cast(*digit), _mm256_set1_epi8(*leaf as i8), _mm256_set1_epi8(*change as i8));
    }
    if count < OUTCOMES {
        return _mm512_castsi256_si512(leaves);
    }
    // In the first half the last split goes right, in the second one left.
    let (leaf, change) = (head.leaves[OUTCOMES - 1], head.changes[OUTCOMES - 1]);
    let left = moved(leaves, _mm256_set1_epi8(-1), _mm256_set1_epi8(leaf as i8), _mm256_set1_epi8(change as i8));
    whole([leaves, left])
}
