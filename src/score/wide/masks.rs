//! Sixteen agents by their masks.
//!
//! Of eight trees and sixteen agents, the masks are ANDed with the context's eight at a time. The number of leading
//! zeros fits a byte, so that shifting each agent's eight numbers to a byte of their own and ORing them turns them from "trees of an agent" into
//! "agents of a tree" on the way. A tree's leaves fill two or four registers, from which sixteen are looked up by one or two permutations. What
//! remains is reading the masks: each agent's from the first to the last, which the processor foresees. (Keeping some trees' leaves, twice as many
//! bytes, in the first-level cache while more agents pass by is a seventh faster where the masks are in the second-level one, and takes 1.7 times as long
//! where they are not.)

use std::arch::x86_64::{__m128i, __m512i};

use pulp::x86::V4;
use pulp::{NullaryFnOnce, cast};

use super::WIDE;
use crate::score::factorised::{AgentMasks, LargeEight, Mask, SIDE_BY_SIDE, SmallEight};

/// What differs between masks of 32 and 64 bits.
pub trait WideMask: Mask {
    /// A word each.
    fn words(eight: &Self::Eight) -> __m512i;
    fn look_up(simd: V4, leaves: &Self::Leaves, at: __m512i) -> __m512i;
}

impl WideMask for u32 {
    #[inline(always)]
    fn words(eight: &SmallEight) -> __m512i {
        cast(eight.0.map(u64::from))
    }

    #[inline(always)]
    fn look_up(simd: V4, leaves: &[i32; 32], at: __m512i) -> __m512i {
        let [low, high] = cast::<[i32; 32], [[i32; 16]; 2]>(*leaves);
        simd.avx512f._mm512_permutex2var_epi32(cast(low), at, cast(high))
    }
}

impl WideMask for u64 {
    #[inline(always)]
    fn words(eight: &LargeEight) -> __m512i {
        cast(eight.0)
    }

    #[inline(always)]
    fn look_up(simd: V4, leaves: &[i32; 64], at: __m512i) -> __m512i {
        let simd = simd.avx512f;
        let [a, b, c, d] = cast::<[i32; 64], [[i32; 16]; 4]>(*leaves);
        let low = simd._mm512_permutex2var_epi32(cast(a), at, cast(b));
        let high = simd._mm512_permutex2var_epi32(cast(c), at, cast(d));
        let is_high = simd._mm512_test_epi32_mask(at, simd._mm512_set1_epi32(32));
        simd._mm512_mask_blend_epi32(is_high, low, high)
    }
}

/// A processor that can.
#[derive(Debug, Clone, Copy)]
pub struct Wide(V4);

impl Wide {
    pub fn new() -> Option<Self> {
        V4::try_new().map(Self)
    }

    /// Adds sixteen agents' sums over all trees. A tree has one place in each of the lists.
    pub fn add_sums<M: WideMask>(
        self,
        leaves: &[M::Leaves],
        context: &[M::Eight],
        agents: &[AgentMasks<'_, M>; WIDE],
        sums: &mut [i64; WIDE],
    ) {
        self.0.vectorize(MaskSums::<M> { simd: self.0, leaves, context, agents, sums });
    }
}

struct MaskSums<'a, M: WideMask> {
    simd: V4,
    leaves: &'a [M::Leaves],
    context: &'a [M::Eight],
    agents: &'a [AgentMasks<'a, M>; WIDE],
    sums: &'a mut [i64; WIDE],
}

impl<M: WideMask> NullaryFnOnce for MaskSums<'_, M> {
    type Output = ();

    // All of it has to become part of the function that may use the instructions.
    #[inline(always)]
    fn call(self) {
        let MaskSums { simd, leaves, context, agents, sums } = self;
        let mut part = simd.avx512f._mm512_setzero_si512();
        let eights = leaves.as_chunks::<SIDE_BY_SIDE>().0.iter().zip(context);
        for (at, (leaves, context)) in eights.enumerate() {
            part = add_eight::<M>(simd, part, leaves, context, |agent| &agents[agent][at]);
        }
        for (sum, part) in sums.iter_mut().zip(cast::<__m512i, [i32; WIDE]>(part)) {
            *sum += i64::from(part);
        }
    }
}

/// Adds what eight trees say of sixteen agents.
#[inline(always)]
fn add_eight<'a, M: WideMask + 'a>(
    simd: V4,
    mut part: __m512i,
    leaves: &[M::Leaves; SIDE_BY_SIDE],
    context: &M::Eight,
    agent: impl Fn(usize) -> &'a M::Eight + Copy,
) -> __m512i {
    let context = M::words(context);
    let first = numbers::<M>(simd, context, agent);
    let second = numbers::<M>(simd, context, |at| agent(WIDE / 2 + at));
    let even: [[u8; WIDE]; 4] = cast(simd.avx512f._mm512_unpacklo_epi64(first, second));
    let odd: [[u8; WIDE]; 4] = cast(simd.avx512f._mm512_unpackhi_epi64(first, second));
    for pair in 0..4 {
        let at = simd.avx512f._mm512_cvtepu8_epi32(cast::<[u8; WIDE], __m128i>(even[pair]));
        part = simd.avx512f._mm512_add_epi32(part, M::look_up(simd, &leaves[2 * pair], at));
        let at = simd.avx512f._mm512_cvtepu8_epi32(cast::<[u8; WIDE], __m128i>(odd[pair]));
        part = simd.avx512f._mm512_add_epi32(part, M::look_up(simd, &leaves[2 * pair + 1], at));
    }
    part
}

/// The numbers of the leaves that eight agents reach in eight trees: a tree in each word, an agent in each of its bytes.
#[inline(always)]
fn numbers<'a, M: WideMask + 'a>(simd: V4, context: __m512i, agent: impl Fn(usize) -> &'a M::Eight) -> __m512i {
    let (plain, conflict) = (simd.avx512f, simd.avx512cd);
    let mut all = plain._mm512_setzero_si512();
    macro_rules! add {
        ($($agent:literal)*) => {$(
            let both = plain._mm512_and_si512(context, M::words(agent($agent)));
            // A mask of 32 bits has 32 zeros more, which the look-up does not see.
            let leaf = conflict._mm512_lzcnt_epi64(both);
            all = plain._mm512_or_si512(all, plain._mm512_slli_epi64::<{ 8 * $agent }>(leaf));
        )*};
    }
    add!(0 1 2 3 4 5 6 7);
    all
}
