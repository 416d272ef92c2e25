//! What the trees that are left say of agents.
//!
//! Places are compared in registers of half the size: compares of whole ones write a bit for each byte, which is slower to go on with.

use std::arch::x86_64::*;

use pulp::cast;

use super::{moved, whole};
use crate::score::bytes::{
    BYTES_A_SUM, ByteForest, First, LANES, LIMB_DIGITS, LIMBS, Limbs, Live, Long, OUTCOMES, Row, Rows, Short, Split,
};

/// Of three: the second one's bits where the first one's are set, elsewhere the third one's.
const SELECT: i32 = 0xca;

/// Registers of agents, in halves.
type Halves<const N: usize> = [[__m256i; 2]; N];
/// Of each limb, words for two agents each: the second one's sum a byte higher than the first one's, and the second one's alone.
type Sums<const N: usize> = [[[__m512i; 2]; LIMBS]; N];

#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,avx512vpopcntdq,popcnt")]
pub(super) fn add<const N: usize>(live: &Live, forest: &ByteForest, rows: &Rows, sums: &mut [i64]) {
    let mut part: Sums<N> = [[[_mm512_setzero_si512(); 2]; LIMBS]; N];
    let mut bytes = 0;
    // `$a_byte` of them add up to a byte.
    macro_rules! add {
        ($all:expr, $a_byte:literal, $some:ident => $add:expr) => {
            for $some in $all.chunks(BYTES_A_SUM / 2 * $a_byte) {
                bytes += $some.len() / $a_byte;
                if bytes > BYTES_A_SUM {
                    add_words(&part, sums);
                    part = [[[_mm512_setzero_si512(); 2]; LIMBS]; N];
                    bytes = $some.len() / $a_byte;
                }
                $add
            }
        };
    }
    add!(live.short[1], 1, some => add_short::<N, 1>(some, rows, &mut part));
    add!(live.short[2], 1, some => add_short::<N, 2>(some, rows, &mut part));
    add!(live.short[3], 1, some => add_short::<N, 3>(some, rows, &mut part));
    add!(live.short[4], 1, some => add_short::<N, 4>(some, rows, &mut part));
    add!(live.short[5], 1, some => add_short::<N, 5>(some, rows, &mut part));
    add!(live.short[6], 1, some => add_short::<N, 6>(some, rows, &mut part));
    let mut from = 0;
    for (count, end) in live.long_ends.iter().enumerate().skip(OUTCOMES + 1) {
        let long = &live.long[from..*end];
        from = *end;
        add!(long, 2, some => add_long(forest, some, count - OUTCOMES, &live.further, rows, &mut part));
    }
    add_words(&part, sums);
}

#[inline]
#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,avx512vpopcntdq,popcnt")]
fn add_short<const N: usize, const TESTS: usize>(trees: &[Short], rows: &Rows, sums: &mut Sums<N>) {
    let mut own = *sums;
    for tree in trees {
        let outcome = all_whole(&numbered::<N, TESTS>(&tree.first, rows));
        let mut limbs = [[_mm512_setzero_si512(); LIMBS]; N];
        add_limbs(&tree.limbs, &outcome, &mut limbs);
        widen(&limbs, &mut own);
    }
    *sums = own;
}

#[inline]
#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,avx512vpopcntdq,popcnt")]
fn add_long<const N: usize>(
    forest: &ByteForest,
    trees: &[Long],
    count: usize,
    further: &[Split],
    rows: &Rows,
    sums: &mut Sums<N>,
) {
    let mut own = *sums;
    for [one, other] in trees.as_chunks::<2>().0 {
        let (mut leaves, mut others) = (before_further::<N>(one, rows), before_further::<N>(other, rows));
        let of_one = &further[one.further as usize..][..count];
        let of_other = &further[other.further as usize..][..count];
        // Both at once: neither waits for its own last split.
        for (split, other) in of_one.iter().zip(of_other) {
            pass(split, rows, &mut leaves);
            pass(other, rows, &mut others);
        }
        let mut both = [[_mm512_setzero_si512(); LIMBS]; N];
        add_limbs(&forest.limbs[one.tree as usize].0, &all_whole(&leaves), &mut both);
        add_limbs(&forest.limbs[other.tree as usize].0, &all_whole(&others), &mut both);
        widen(&both, &mut own);
    }
    *sums = own;
}

/// The leaves that are the rightmost ones so far after the first splits.
#[inline]
#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,avx512vpopcntdq,popcnt")]
fn before_further<const N: usize>(tree: &Long, rows: &Rows) -> Halves<N> {
    let mut leaves = numbered::<N, OUTCOMES>(&tree.first, rows);
    let outcomes = all_whole(&leaves);
    for (leaves, outcomes) in leaves.iter_mut().zip(outcomes) {
        *leaves = cast(_mm512_permutexvar_epi8(outcomes, cast(tree.leaf)));
    }
    leaves
}

#[inline]
#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,avx512vpopcntdq,popcnt")]
fn all_whole<const N: usize>(halves: &Halves<N>) -> [__m512i; N] {
    let mut all = [_mm512_setzero_si512(); N];
    for (all, halves) in all.iter_mut().zip(halves) {
        *all = whole(*halves);
    }
    all
}

/// Numbers of which each test is a binary digit; what is above their digits does not matter.
#[inline]
#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,avx512vpopcntdq,popcnt")]
fn numbered<const N: usize, const TESTS: usize>(splits: &First, rows: &Rows) -> Halves<N> {
    let mut numbers = [[_mm256_setzero_si256(); 2]; N];
    for at in 0..TESTS {
        let (bound, digit) = (_mm256_set1_epi8(splits.bounds.0[at] as i8), _mm256_set1_epi8(1 << at));
        let row = &rows[usize::from(splits.rows.0[at])];
        for (register, numbers) in numbers.iter_mut().enumerate() {
            for (half, number) in numbers.iter_mut().enumerate() {
                let left = below(bound, row, 2 * register + half);
                *number = if at == 0 { left } else { _mm256_ternarylogic_epi32::<SELECT>(digit, left, *number) };
            }
        }
    }
    numbers
}

/// Which agents' places are below a bound.
#[inline]
#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,avx512vpopcntdq,popcnt")]
fn below(bound: __m256i, row: &Row, half: usize) -> __m256i {
    _mm256_cmpgt_epi8(bound, cast(row.0.as_chunks::<{ LANES / 2 }>().0[half]))
}

/// Agents that a split sends left move on from its rightmost leaf.
#[inline]
#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,avx512vpopcntdq,popcnt")]
fn pass<const N: usize>(split: &Split, rows: &Rows, leaves: &mut Halves<N>) {
    let [leaf, change, bound, row] = *split;
    let bound = _mm256_set1_epi8(bound as i8);
    let (leaf, change) = (_mm256_set1_epi8(leaf as i8), _mm256_set1_epi8(change as i8));
    let row = &rows[usize::from(row)];
    for (register, leaves) in leaves.iter_mut().enumerate() {
        for (half, own) in leaves.iter_mut().enumerate() {
            let left = below(bound, row, 2 * register + half);
            *own = moved(*own, left, leaf, change);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,avx512vpopcntdq,popcnt")]
fn add_limbs<const N: usize>(limbs: &Limbs, entries: &[__m512i; N], sums: &mut [[__m512i; LIMBS]; N]) {
    for (at, limb) in limbs.iter().enumerate() {
        for (entries, sums) in entries.iter().zip(sums.iter_mut()) {
            sums[at] = _mm512_add_epi8(sums[at], _mm512_permutexvar_epi8(*entries, cast(*limb)));
        }
    }
}

/// Adds bytes to words.
#[inline]
#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,avx512vpopcntdq,popcnt")]
fn widen<const N: usize>(bytes: &[[__m512i; LIMBS]; N], sums: &mut Sums<N>) {
    for (sums, bytes) in sums.iter_mut().flatten().zip(bytes.as_flattened()) {
        sums[0] = _mm512_add_epi16(sums[0], *bytes);
        sums[1] = _mm512_add_epi16(sums[1], _mm512_srli_epi16::<8>(*bytes));
    }
}

#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,avx512vpopcntdq,popcnt")]
fn add_words<const N: usize>(part: &Sums<N>, sums: &mut [i64]) {
    for (part, sums) in part.iter().zip(sums.chunks_mut(LANES)) {
        let mut limbs = [[[0; 32]; 2]; LIMBS];
        for (limb, part) in limbs.iter_mut().zip(part) {
            limb[1] = cast(part[1]);
            limb[0] = cast(_mm512_sub_epi16(part[0], _mm512_slli_epi16::<8>(part[1])));
        }
        for (pair, sums) in sums.chunks_mut(2).enumerate() {
            for (place, sum) in sums.iter_mut().enumerate() {
                let mut own = 0;
                for limb in limbs.iter().rev() {
                    let limb: u16 = limb[place][pair];
                    own = (own << LIMB_DIGITS) + i64::from(limb);
                }
                *sum += own;
            }
        }
    }
}
