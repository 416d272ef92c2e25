//! Sixteen agents at once, for processors with AVX-512.
//!
//! Of eight trees and sixteen agents, the masks are ANDed with the context's eight at a time. The lowest set bit's number fits a byte, so that
//! shifting each agent's eight numbers to a byte of their own and ORing them turns them from "trees of an agent" into "agents of a tree"
//! on the way. A tree's leaves fill two or four registers, from which sixteen are looked up by one or two permutations. Nothing is gathered
//! from memory but the masks, one after the other: their bytes are the limit.
//!
//! What is unsafe about instructions that a processor may lack is left to `pulp`.

#[cfg(target_arch = "x86_64")]
pub(super) use with_avx512::{Wide, WideMask};
#[cfg(not(target_arch = "x86_64"))]
pub(super) use without::{Wide, WideMask};

/// Agents at once.
pub(super) const WIDE: usize = 16;

#[cfg(target_arch = "x86_64")]
mod with_avx512 {
    use std::arch::x86_64::{__m128i, __m512i};

    use pulp::x86::V4;
    use pulp::{NullaryFnOnce, cast};

    use super::WIDE;
    use crate::score::factorised::{Mask, TREES_A_SUM};

    /// A processor that can.
    #[derive(Debug, Clone, Copy)]
    pub struct Wide(V4);

    /// What differs between masks of 32 and 64 bits.
    pub trait WideMask: Mask {
        /// Those of eight trees.
        fn eight(masks: &[Self], tree: usize) -> __m512i;
        fn look_up(simd: V4, leaves: &Self::Leaves, at: __m512i) -> __m512i;
    }

    impl WideMask for u32 {
        #[inline(always)]
        fn eight(masks: &[Self], tree: usize) -> __m512i {
            let mut eight = [0; 8];
            for (wide, mask) in eight.iter_mut().zip(&masks[tree..tree + 8]) {
                *wide = u64::from(*mask);
            }
            cast(eight)
        }

        #[inline(always)]
        fn look_up(simd: V4, leaves: &[i32; 32], at: __m512i) -> __m512i {
            let [low, high] = cast::<[i32; 32], [[i32; 16]; 2]>(*leaves);
            simd.avx512f._mm512_permutex2var_epi32(cast(low), at, cast(high))
        }
    }

    impl WideMask for u64 {
        #[inline(always)]
        fn eight(masks: &[Self], tree: usize) -> __m512i {
            let mut eight = [0; 8];
            eight.copy_from_slice(&masks[tree..tree + 8]);
            cast(eight)
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

    impl Wide {
        pub fn new() -> Option<Self> {
            V4::try_new().map(Self)
        }

        /// Adds the agents' sums over all trees. A tree has one place in each of the lists.
        pub fn add_sums<M: WideMask>(
            self,
            leaves: &[M::Leaves],
            context: &[M],
            agents: [&[M]; WIDE],
            sums: &mut [i64; WIDE],
        ) {
            self.0.vectorize(Sums { simd: self.0, leaves, context, agents, sums });
        }
    }

    struct Sums<'a, M: WideMask> {
        simd: V4,
        leaves: &'a [M::Leaves],
        context: &'a [M],
        agents: [&'a [M]; WIDE],
        sums: &'a mut [i64; WIDE],
    }

    impl<M: WideMask> NullaryFnOnce for Sums<'_, M> {
        type Output = ();

        // All of it has to become part of the function that may use the instructions.
        #[inline(always)]
        fn call(self) {
            let Sums { simd, leaves, context, agents, sums } = self;
            let trees = leaves.len();
            let (context, agents) = (&context[..trees], agents.map(|masks| &masks[..trees]));
            let whole = trees / 8 * 8;
            for begin in (0..whole).step_by(TREES_A_SUM) {
                let mut part = simd.avx512f._mm512_setzero_si512();
                for tree in (begin..whole.min(begin + TREES_A_SUM)).step_by(8) {
                    let masks = M::eight(context, tree);
                    let (first, second) = agents.split_at(WIDE / 2);
                    let first = numbers(simd, masks, first, tree);
                    let second = numbers(simd, masks, second, tree);
                    let even: [[u8; WIDE]; 4] = cast(simd.avx512f._mm512_unpacklo_epi64(first, second));
                    let odd: [[u8; WIDE]; 4] = cast(simd.avx512f._mm512_unpackhi_epi64(first, second));
                    for pair in 0..4 {
                        let at = simd.avx512f._mm512_cvtepu8_epi32(cast::<[u8; WIDE], __m128i>(even[pair]));
                        part = simd.avx512f._mm512_add_epi32(part, M::look_up(simd, &leaves[tree + 2 * pair], at));
                        let at = simd.avx512f._mm512_cvtepu8_epi32(cast::<[u8; WIDE], __m128i>(odd[pair]));
                        part = simd.avx512f._mm512_add_epi32(part, M::look_up(simd, &leaves[tree + 2 * pair + 1], at));
                    }
                }
                for (sum, part) in sums.iter_mut().zip(cast::<__m512i, [i32; WIDE]>(part)) {
                    *sum += i64::from(part);
                }
            }
            for tree in whole..trees {
                for (sum, masks) in sums.iter_mut().zip(agents) {
                    *sum += i64::from(leaves[tree].as_ref()[context[tree].and(masks[tree]).leaf()]);
                }
            }
        }
    }

    /// The numbers of the leaves that eight agents reach in eight trees: a tree in each word, an agent in each of its bytes.
    #[inline(always)]
    fn numbers<M: WideMask>(simd: V4, context: __m512i, agents: &[&[M]], tree: usize) -> __m512i {
        let (plain, conflict) = (simd.avx512f, simd.avx512cd);
        let zero = plain._mm512_setzero_si512();
        let mut all = zero;
        macro_rules! add {
            ($($agent:literal)*) => {$(
                let both = plain._mm512_and_si512(context, M::eight(agents[$agent], tree));
                let lowest = plain._mm512_and_si512(both, plain._mm512_sub_epi64(zero, both));
                let zeros_above = conflict._mm512_lzcnt_epi64(lowest);
                all = plain._mm512_or_si512(all, plain._mm512_slli_epi64::<{ 8 * $agent }>(zeros_above));
            )*};
        }
        add!(0 1 2 3 4 5 6 7);
        // From the zeros above the bit to those below it: 63 less so many.
        plain._mm512_xor_si512(all, plain._mm512_set1_epi8(63))
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod without {
    use super::WIDE;
    use crate::score::factorised::Mask;

    /// There is no such processor.
    #[derive(Debug, Clone, Copy)]
    pub enum Wide {}

    pub trait WideMask: Mask {}
    impl WideMask for u32 {}
    impl WideMask for u64 {}

    impl Wide {
        pub fn new() -> Option<Self> {
            None
        }

        pub fn add_sums<M: WideMask>(self, _: &[M::Leaves], _: &[M], _: [&[M]; WIDE], _: &mut [i64; WIDE]) {
            match self {}
        }
    }
}
