//! Dozens of agents by their bytes: the instructions of `score/bytes.rs`.
//!
//! Plain loops: closures that contain instructions are not inlined, and pass registers through memory.
#![expect(
    unsafe_code,
    reason = "pulp does not have these instructions, and without them the engine takes half as long again"
)]

/// An array by the numbers of its entries.
macro_rules! table {
    ($count:expr, $at:ident => $entry:expr) => {{
        let mut entries = [{
            let $at = 0;
            $entry
        }; $count];
        let mut $at = 0;
        while $at < $count {
            entries[$at] = $entry;
            $at += 1;
        }
        entries
    }};
}

mod live;
mod sums;

use std::arch::x86_64::*;

use crate::score::bytes::{ByteForest, GROUP, LANES, Live, Rows};

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
            && is_x86_feature_detected!("avx512vpopcntdq")
            && is_x86_feature_detected!("popcnt");
        has.then_some(Self(()))
    }

    /// What the masks of a context leave; the first ones are those of the forest's trees.
    pub fn fill(self, live: &mut Live, forest: &ByteForest, masks: &[u64]) {
        // SAFETY: there is a `ByteInstructions` only where `new` has found the instructions.
        unsafe { live::fill(live, forest, &masks[..forest.trees()]) }
    }

    /// Adds what the trees that are left say of up to [`GROUP`] agents.
    pub fn add_sums(self, live: &Live, forest: &ByteForest, rows: &Rows, sums: &mut [i64]) {
        // SAFETY: as above.
        unsafe {
            if sums.len() > LANES {
                sums::add::<{ GROUP / LANES }>(live, forest, rows, sums);
            } else {
                sums::add::<1>(live, forest, rows, sums);
            }
        }
    }
}

/// Those who are at a leaf and go left change its bits.
#[inline]
#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,avx512vpopcntdq,popcnt")]
fn moved(own: __m256i, left: __m256i, leaf: __m256i, change: __m256i) -> __m256i {
    const AND: i32 = 0x80;
    let here = _mm256_cmpeq_epi8(own, leaf);
    _mm256_xor_si256(own, _mm256_ternarylogic_epi32::<AND>(here, left, change))
}

#[inline]
#[target_feature(enable = "avx512vl,avx512vbmi,avx512vbmi2,avx512bitalg,avx512vpopcntdq,popcnt")]
fn whole(halves: [__m256i; 2]) -> __m512i {
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(halves[0]), halves[1])
}
