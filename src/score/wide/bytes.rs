//! Sixty-four agents by their bytes: the instructions of `bytes.rs`.
//!
//! Places are compared in registers of half the size: compares of whole ones write a bit for each byte, which is slower to go on with.
#![expect(
    unsafe_code,
    reason = "pulp does not have these instructions, and without them the engine takes a third longer"
)]

use std::arch::x86_64::*;

use pulp::cast;

use crate::score::bytes::{
    ByteForest, First, GROUP, LANES, LIMB_DIGITS, LIMBS, Limbs, Live, Long, OUTCOMES, Rows, SPLITS, Short, Split,
    Splits, TREES_A_SUM, TreeLimbs,
};

/// A processor that has them: Intel's servers since 2021, AMD's processors since 2022.
#[derive(Debug, Clone, Copy)]
pub struct ByteInstructions(());

impl ByteInstructions {
    pub fn new() -> Option<Self> {
        let has = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("avx512vbmi2")
            && is_x86_feature_detected!("avx512bitalg")
            && is_x86_feature_detected!("popcnt");
        has.then_some(Self(()))
    }

    /// What the masks of a context leave; the first ones are those of the forest's trees.
    pub fn fill_live(self, forest: &ByteForest, context: &[u64], live: &mut Live) {
        // SAFETY: there is a `ByteInstructions` only where `new` has found the instructions.
        unsafe { fill_live(forest, context, live) }
    }

    /// Adds what the trees that are left say of up to [`GROUP`] agents.
    pub fn add_sums(self, live: &Live, rows: &Rows, sums: &mut [i64]) {
        // SAFETY: as above.
        unsafe {
            if sums.len() > LANES {
                add_sums::<{ GROUP / LANES }>(live, rows, sums);
            } else {
                add_sums::<1>(live, rows, sums);
            }
        }
    }
}

const fn by_byte(bits_below: usize) -> [u8; 64] {
    let mut bytes = [0; 64];
    let mut at = 0;
    while at < 64 {
        bytes[at] = ((1u16 << (at % 8 + bits_below)) - 1) as u8;
        at += 1;
    }
    bytes
}

/// In the byte of each bit of a mask: those below it, and with itself.
const BELOW: [u8; 64] = by_byte(0);
const UNTIL: [u8; 64] = by_byte(1);
/// For each bit of a mask, its byte.
const BYTE: [u8; 64] = {
    let mut bytes = [0; 64];
    let mut at = 0;
    while at < 64 {
        bytes[at] = at as u8 / 8;
        at += 1;
    }
    bytes
};
/// For each binary digit, all ones at the entries of a table whose number has a one there.
const WITH_DIGIT: [[u8; 64]; OUTCOMES] = {
    let mut bytes = [[0; 64]; OUTCOMES];
    let mut at = 0;
    while at < 64 * OUTCOMES {
        if (at % 64) & (1 << (at / 64)) != 0 {
            bytes[at / 64][at % 64] = u8::MAX;
        }
        at += 1;
    }
    bytes
};

#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,popcnt")]
fn fill_live(forest: &ByteForest, context: &[u64], live: &mut Live) {
    let mut found = Found { leaves: [0; 64], changes: [0; 64], bounds: [0; 64], rows: [0; 64] };
    let mut rest = forest.splits.as_slice();
    let mut from = 0;
    let trees = forest.limbs.iter().zip(&forest.splits_until).zip(context);
    for ((TreeLimbs(limbs), until), mask) in trees {
        let own;
        (own, rest) = rest.split_at((*until - from) as usize);
        from = *until;
        let leaves = mask.count_ones() as usize;
        if leaves < 2 {
            live.decided += ByteForest::leaf(limbs, mask.trailing_zeros() as usize % 64);
            continue;
        }
        let count = leaves - 1;
        let [rights, changes, bounds, rows] = find_splits(own, counts(*mask), &mut found);
        let leaf = outcomes(rights, changes);
        let mut first = First::default();
        first.bounds.0.copy_from_slice(&cast::<__m256i, [u8; SPLITS]>(bounds)[..8]);
        first.rows.0.copy_from_slice(&cast::<__m256i, [u8; SPLITS]>(rows)[..8]);
        let mut left = [_mm512_setzero_si512(); LIMBS];
        for (limb, all) in left.iter_mut().zip(limbs) {
            *limb = _mm512_maskz_compress_epi8(*mask, cast(*all));
        }
        if count <= OUTCOMES {
            for limb in &mut left {
                *limb = _mm512_permutexvar_epi8(leaf, *limb);
            }
            live.short[count].push(Short { limbs: cast(left), first });
        } else {
            live.long[count].push(Long { leaf: cast(leaf), limbs: cast(left), first });
            let Found { leaves, changes, bounds, rows } = &found;
            let split = |at| Split { leaf: leaves[at], change: changes[at], bound: bounds[at], row: rows[at] };
            live.further[count].extend((OUTCOMES..count).map(split));
        }
    }
}

/// For each bit of a mask, how many are set below it, and with itself.
#[inline]
#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,popcnt")]
fn counts(mask: u64) -> [__m512i; 2] {
    // In each byte, and in those before it.
    let ones = mask - ((mask >> 1) & (u64::MAX / 3));
    let ones = (ones & (u64::MAX / 5)) + ((ones >> 2) & (u64::MAX / 5));
    let ones = (ones + (ones >> 4)) & (u64::MAX / 17);
    let before = ones.wrapping_mul(u64::MAX / 255) << 8;
    let before = _mm512_permutexvar_epi8(cast(BYTE), _mm512_set1_epi64(before as i64));
    let own = _mm512_permutexvar_epi8(cast(BYTE), _mm512_set1_epi64(mask as i64));
    let below = _mm512_popcnt_epi8(_mm512_and_si512(own, cast(BELOW)));
    let until = _mm512_popcnt_epi8(_mm512_and_si512(own, cast(UNTIL)));
    [_mm512_add_epi8(before, below), _mm512_add_epi8(before, until)]
}

/// The splits of a tree that have leaves left on both sides, parents before children. Leaves are numbers of those that are left.
struct Found {
    leaves: [u8; 64],
    changes: [u8; 64],
    bounds: [u8; 64],
    rows: [u8; 64],
}

/// Writes all of them, and gives the first ones at once: what is just written takes time to read. Zeros fill up.
#[inline]
#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,popcnt")]
fn find_splits(all: &[Splits], [below, until]: [__m512i; 2], found: &mut Found) -> [__m256i; 4] {
    let (mut first, mut end) = ([_mm256_setzero_si256(); 4], 0);
    for some in all {
        let firsts = _mm512_permutexvar_epi8(cast(some.firsts), below);
        let last = _mm512_permutexvar_epi8(_mm512_castsi256_si512(cast(some.last)), until);
        let (right, left) = (_mm512_castsi512_si256(firsts), _mm512_extracti64x4_epi64::<1>(firsts));
        let is_right = _mm256_cmplt_epu8_mask(right, left);
        let both = _mm256_mask_cmplt_epu8_mask(is_right, left, _mm512_castsi512_si256(last));
        let mut own = [right, _mm256_xor_si256(right, left), cast(some.bounds), cast(some.rows)];
        let Found { leaves, changes, bounds, rows } = &mut *found;
        for (own, all) in own.iter_mut().zip([leaves, changes, bounds, rows]) {
            *own = _mm256_maskz_compress_epi8(both, *own);
            all[end..][..SPLITS].copy_from_slice(&cast::<__m256i, [u8; SPLITS]>(*own));
        }
        first = own;
        end += both.count_ones() as usize;
    }
    if all.len() > 1 {
        let first_ones = |bytes: &[u8; 64]| cast(bytes.as_chunks::<SPLITS>().0[0]);
        let Found { leaves, changes, bounds, rows } = found;
        first = [first_ones(leaves), first_ones(changes), first_ones(bounds), first_ones(rows)];
    }
    first
}

/// For all outcomes of the first splits, the leaf that is the rightmost by then.
#[inline]
#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,popcnt")]
fn outcomes(rights: __m256i, changes: __m256i) -> __m512i {
    let mut leaves = [_mm256_setzero_si256(); 2];
    // Where there are fewer, the last ones change nothing.
    for (at, digit) in WITH_DIGIT.iter().enumerate() {
        let at = _mm256_set1_epi8(at as i8);
        let (right, change) = (_mm256_permutexvar_epi8(at, rights), _mm256_permutexvar_epi8(at, changes));
        for (own, left) in leaves.iter_mut().zip(digit.as_chunks::<32>().0) {
            *own = moved(*own, cast(*left), right, change);
        }
    }
    whole(&[leaves])[0]
}

/// Registers of agents, in halves.
type Halves<const N: usize> = [[__m256i; 2]; N];
/// Of each limb, words for two agents each: the second one's sum a byte higher than the first one's, and the second one's alone.
type Sums<const N: usize> = [[[__m512i; 2]; LIMBS]; N];

#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,popcnt")]
fn add_sums<const N: usize>(live: &Live, rows: &Rows, sums: &mut [i64]) {
    let mut part: Sums<N> = [[[_mm512_setzero_si512(); 2]; LIMBS]; N];
    let mut trees = 0;
    macro_rules! add {
        ($all:expr, $some:ident => $add:expr) => {
            for $some in $all.chunks(TREES_A_SUM / 2) {
                trees += $some.len();
                if trees > TREES_A_SUM {
                    add_words(&part, sums);
                    part = [[[_mm512_setzero_si512(); 2]; LIMBS]; N];
                    trees = $some.len();
                }
                $add
            }
        };
    }
    add!(live.short[1], some => add_short::<N, 1>(some, rows, &mut part));
    add!(live.short[2], some => add_short::<N, 2>(some, rows, &mut part));
    add!(live.short[3], some => add_short::<N, 3>(some, rows, &mut part));
    add!(live.short[4], some => add_short::<N, 4>(some, rows, &mut part));
    add!(live.short[5], some => add_short::<N, 5>(some, rows, &mut part));
    add!(live.short[6], some => add_short::<N, 6>(some, rows, &mut part));
    for (count, (long, further)) in live.long.iter().zip(&live.further).enumerate().skip(OUTCOMES + 1) {
        let mut further = further.as_slice();
        add!(long, some => {
            let own;
            (own, further) = further.split_at(some.len() * (count - OUTCOMES));
            add_long(some, own, rows, &mut part);
        });
    }
    add_words(&part, sums);
}

#[inline]
#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,popcnt")]
fn add_short<const N: usize, const TESTS: usize>(trees: &[Short], rows: &Rows, sums: &mut Sums<N>) {
    let mut own = *sums;
    for trees in trees.as_chunks::<2>().0 {
        let mut both = [[_mm512_setzero_si512(); LIMBS]; N];
        for tree in trees {
            let outcome = whole(&numbered::<N, TESTS>(&tree.first, rows));
            add_limbs(&tree.limbs, &outcome, &mut both);
        }
        widen(&both, &mut own);
    }
    *sums = own;
}

#[inline]
#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,popcnt")]
fn add_long<const N: usize>(trees: &[Long], further: &[Split], rows: &Rows, sums: &mut Sums<N>) {
    let mut own = *sums;
    let count = further.len() / trees.len().max(1);
    let mut further = further.chunks_exact(2 * count.max(1));
    for [one, other] in trees.as_chunks::<2>().0 {
        let (mut leaves, mut others) = (before_further::<N>(one, rows), before_further::<N>(other, rows));
        let (of_one, of_other) = further.next().unwrap_or_default().split_at(count);
        // Both at once: neither waits for its own last split.
        for (split, other) in of_one.iter().zip(of_other) {
            pass(split, rows, &mut leaves);
            pass(other, rows, &mut others);
        }
        let mut both = [[_mm512_setzero_si512(); LIMBS]; N];
        add_limbs(&one.limbs, &whole(&leaves), &mut both);
        add_limbs(&other.limbs, &whole(&others), &mut both);
        widen(&both, &mut own);
    }
    *sums = own;
}

/// The leaves that are the rightmost ones so far after the first splits.
#[inline]
#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,popcnt")]
fn before_further<const N: usize>(tree: &Long, rows: &Rows) -> Halves<N> {
    let mut leaves = numbered::<N, OUTCOMES>(&tree.first, rows);
    let outcomes = whole(&leaves);
    for (leaves, outcomes) in leaves.iter_mut().zip(outcomes) {
        *leaves = cast(_mm512_permutexvar_epi8(outcomes, cast(tree.leaf)));
    }
    leaves
}

#[inline]
#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,popcnt")]
fn whole<const N: usize>(halves: &Halves<N>) -> [__m512i; N] {
    let mut whole = [_mm512_setzero_si512(); N];
    for (whole, halves) in whole.iter_mut().zip(halves) {
        *whole = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(halves[0]), halves[1]);
    }
    whole
}

/// Numbers of which each test is a binary digit; what is above their digits does not matter.
#[inline]
#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,popcnt")]
fn numbered<const N: usize, const TESTS: usize>(splits: &First, rows: &Rows) -> Halves<N> {
    const SELECT: i32 = 0xca;
    let mut numbers = [[_mm256_setzero_si256(); 2]; N];
    for at in 0..TESTS {
        let (bound, digit) = (_mm256_set1_epi8(splits.bounds.0[at] as i8), _mm256_set1_epi8(1 << at));
        let row = &rows[usize::from(splits.rows.0[at])];
        for (register, numbers) in numbers.iter_mut().enumerate() {
            for (half, number) in numbers.iter_mut().enumerate() {
                let left = _mm256_cmpgt_epi8(bound, cast(row.0[2 * register + half]));
                *number = if at == 0 { left } else { _mm256_ternarylogic_epi32::<SELECT>(digit, left, *number) };
            }
        }
    }
    numbers
}

/// Agents that a split sends left move on from its rightmost leaf.
#[inline]
#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,popcnt")]
fn pass<const N: usize>(split: &Split, rows: &Rows, leaves: &mut Halves<N>) {
    let bound = _mm256_set1_epi8(split.bound as i8);
    let (leaf, change) = (_mm256_set1_epi8(split.leaf as i8), _mm256_set1_epi8(split.change as i8));
    let row = &rows[usize::from(split.row)];
    for (register, leaves) in leaves.iter_mut().enumerate() {
        for (half, own) in leaves.iter_mut().enumerate() {
            let left = _mm256_cmpgt_epi8(bound, cast(row.0[2 * register + half]));
            *own = moved(*own, left, leaf, change);
        }
    }
}

/// Those who are at a leaf and go left change its bits.
#[inline]
#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,popcnt")]
fn moved(own: __m256i, left: __m256i, leaf: __m256i, change: __m256i) -> __m256i {
    const AND: i32 = 0x80;
    let here = _mm256_cmpeq_epi8(own, leaf);
    _mm256_xor_si256(own, _mm256_ternarylogic_epi32::<AND>(here, left, change))
}

#[inline]
#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,popcnt")]
fn add_limbs<const N: usize>(limbs: &Limbs, entries: &[__m512i; N], sums: &mut [[__m512i; LIMBS]; N]) {
    for (at, limb) in limbs.iter().enumerate() {
        for (entries, sums) in entries.iter().zip(sums.iter_mut()) {
            sums[at] = _mm512_add_epi8(sums[at], _mm512_permutexvar_epi8(*entries, cast(*limb)));
        }
    }
}

/// Adds bytes to words.
#[inline]
#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,popcnt")]
fn widen<const N: usize>(bytes: &[[__m512i; LIMBS]; N], sums: &mut Sums<N>) {
    for (sums, bytes) in sums.iter_mut().flatten().zip(bytes.as_flattened()) {
        sums[0] = _mm512_add_epi16(sums[0], *bytes);
        sums[1] = _mm512_add_epi16(sums[1], _mm512_srli_epi16::<8>(*bytes));
    }
}

#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,popcnt")]
fn add_words<const N: usize>(part: &Sums<N>, sums: &mut [i64]) {
    for (part, sums) in part.iter().zip(sums.chunks_mut(LANES)) {
        let limbs = part.map(|limb| {
            let [both, second] = limb.map(cast::<__m512i, [u16; 32]>);
            let first: [u16; 32] = std::array::from_fn(|at| both[at].wrapping_sub(second[at] << 8));
            [first, second]
        });
        for (pair, sums) in sums.chunks_mut(2).enumerate() {
            for (place, sum) in sums.iter_mut().enumerate() {
                *sum += limbs.iter().rev().fold(0, |sum, limb| (sum << LIMB_DIGITS) + i64::from(limb[place][pair]));
            }
        }
    }
}
