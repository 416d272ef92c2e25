//! Many agents at once, for processors with AVX-512.
//!
//! Sixteen by their masks. Of eight trees and sixteen agents, the masks are ANDed with the context's eight at a time. The number of leading
//! zeros fits a byte, so that shifting each agent's eight numbers to a byte of their own and ORing them turns them from "trees of an agent" into
//! "agents of a tree" on the way. A tree's leaves fill two or four registers, from which sixteen are looked up by one or two permutations. Leaves are twice
//! as many bytes as the masks of sixteen agents: some trees' stay in the first-level cache while many agents pass by. What remains
//! is reading the masks, one after the other: their bytes are the limit.
//!
//! Five hundred by their bits: see `sliced.rs`.
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
    use crate::score::factorised::{AgentMasks, LargeEight, Mask, SIDE_BY_SIDE, SmallEight, TREES_A_SUM};
    use crate::score::sliced::{BYTES, DIGITS, Leaf, Plane, Sums};

    /// A processor that can.
    #[derive(Debug, Clone, Copy)]
    pub struct Wide(V4);

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

    /// Eights of trees whose leaves stay in the first-level cache while all agents of a call pass by.
    const TILE: usize = 4;
    const _: () = assert!(TILE * SIDE_BY_SIDE <= TREES_A_SUM);

    impl Wide {
        pub fn new() -> Option<Self> {
            V4::try_new().map(Self)
        }

        /// Adds the agents' sums over all trees. A tree has one place in each of the lists.
        pub fn add_sums<M: WideMask>(
            self,
            leaves: &[M::Leaves],
            context: &[M::Eight],
            agents: &[[AgentMasks<'_, M>; WIDE]],
            sums: &mut [[i64; WIDE]],
        ) {
            self.vectorize(MaskSums::<M> { simd: self.0, leaves, context, agents, sums });
        }
    }

    /// For each byte and each of its digits, all ones where the digit is 1.
    static DIGITS_OF_BYTES: [[u64; 8]; 256] = {
        let mut all = [[0; 8]; 256];
        let mut at = 0;
        while at < 256 * 8 {
            all[at / 8][at % 8] = 0u64.wrapping_sub((((at / 8) >> (at % 8)) & 1) as u64);
            at += 1;
        }
        all
    };

    impl Wide {
        /// Does work with the instructions at hand; all of it has to become part of the function that may use them.
        #[inline(always)]
        pub fn vectorize<T>(self, work: impl NullaryFnOnce<Output = T>) -> T {
            self.0.vectorize(work)
        }

        /// Adds what trees of so many leaves (but for the rightmost one) say of the agents of the planes. Two trees at a time: then their
        /// sum is read and written half as often.
        #[inline(always)]
        pub fn add_trees(self, leaves: &[Leaf], of_each: usize, more: &[u16], planes: &[Plane], sums: &mut Sums) {
            const XOR: i32 = 0x96;
            const MAJORITY: i32 = 0xe8;
            let simd = self.0.avx512f;
            let zero = simd._mm512_setzero_si512();
            let mut reached = [[zero; 64]; 2];
            for pair in leaves.chunks(2 * of_each) {
                let trees = pair.split_at(of_each);
                self.reach(trees.0, more, planes, &mut reached[0]);
                self.reach(trees.1, more, planes, &mut reached[1]);
                let mut carry = [zero; 2];
                let mut add = |sum: &mut Plane, a: __m512i, b: __m512i| {
                    let before: __m512i = cast(*sum);
                    let one = simd._mm512_ternarylogic_epi64::<XOR>(before, a, b);
                    let next = simd._mm512_ternarylogic_epi64::<MAJORITY>(before, a, b);
                    *sum = cast(simd._mm512_ternarylogic_epi64::<XOR>(one, carry[0], carry[1]));
                    carry = [next, simd._mm512_ternarylogic_epi64::<MAJORITY>(one, carry[0], carry[1])];
                };
                let mut sign = [zero; 2];
                for byte in 0..BYTES {
                    let a = self.digits(trees.0, &reached[0], byte);
                    let b = self.digits(trees.1, &reached[1], byte);
                    for (sum, (a, b)) in sums[8 * byte..].iter_mut().zip(a.into_iter().zip(b)) {
                        add(sum, a, b);
                    }
                    sign = [a[7], b[7]];
                }
                for sum in &mut sums[DIGITS..] {
                    add(sum, sign[0], sign[1]);
                }
            }
        }

        /// Which agents reach each of the leaves.
        #[inline(always)]
        fn reach(self, leaves: &[Leaf], more: &[u16], planes: &[Plane], reached: &mut [__m512i; 64]) {
            const AND: i32 = 0x80;
            let simd = self.0.avx512f;
            let plane = |at: u16| cast::<Plane, __m512i>(planes[usize::from(at)]);
            let mut rest = simd._mm512_set1_epi64(-1);
            for (leaf, reached) in leaves.iter().zip(reached) {
                let [a, b, c] = leaf.lefts.map(plane);
                let mut left = simd._mm512_ternarylogic_epi64::<AND>(a, b, c);
                if leaf.more > 0 {
                    let list = &more[leaf.more as usize..];
                    for further in &list[1..][..usize::from(list[0])] {
                        left = simd._mm512_and_si512(left, plane(*further));
                    }
                }
                *reached = simd._mm512_and_si512(left, rest);
                rest = simd._mm512_andnot_si512(left, rest);
            }
        }

        /// Eight digits of each agent's leaf.
        #[inline(always)]
        fn digits(self, leaves: &[Leaf], reached: &[__m512i; 64], byte: usize) -> [__m512i; 8] {
            const OR_AND: i32 = 0xf8;
            let simd = self.0.avx512f;
            let mut digits = [simd._mm512_setzero_si512(); 8];
            for (leaf, reached) in leaves.iter().zip(reached) {
                let of_byte = &DIGITS_OF_BYTES[usize::from(leaf.value.to_le_bytes()[byte])];
                for (digit, is_one) in digits.iter_mut().zip(of_byte) {
                    let is_one = simd._mm512_set1_epi64(*is_one as i64);
                    *digit = simd._mm512_ternarylogic_epi64::<OR_AND>(*digit, *reached, is_one);
                }
            }
            digits
        }
    }

    struct MaskSums<'a, M: WideMask> {
        simd: V4,
        leaves: &'a [M::Leaves],
        context: &'a [M::Eight],
        agents: &'a [[AgentMasks<'a, M>; WIDE]],
        sums: &'a mut [[i64; WIDE]],
    }

    impl<M: WideMask> NullaryFnOnce for MaskSums<'_, M> {
        type Output = ();

        // All of it has to become part of the function that may use the instructions.
        #[inline(always)]
        fn call(self) {
            let MaskSums { simd, leaves, context, agents, sums } = self;
            let tiles = leaves.as_chunks::<SIDE_BY_SIDE>().0.chunks(TILE).zip(context.chunks(TILE));
            for (tile, (leaves, context)) in tiles.enumerate() {
                let begin = tile * TILE;
                for (agents, sums) in agents.iter().zip(sums.iter_mut()) {
                    let mut part = simd.avx512f._mm512_setzero_si512();
                    for ((leaves, context), eight) in leaves.iter().zip(context).zip(begin..) {
                        part = add_eight::<M>(simd, part, leaves, context, |agent| &agents[agent][eight]);
                    }
                    for (sum, part) in sums.iter_mut().zip(cast::<__m512i, [i32; WIDE]>(part)) {
                        *sum += i64::from(part);
                    }
                }
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
}

#[cfg(not(target_arch = "x86_64"))]
mod without {
    use pulp::NullaryFnOnce;

    use super::WIDE;
    use crate::score::factorised::{AgentMasks, Mask};
    use crate::score::sliced::{Leaf, Plane, Sums};

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

        pub fn vectorize<T>(self, _: impl NullaryFnOnce<Output = T>) -> T {
            match self {}
        }

        pub fn add_trees(self, _: &[Leaf], _: usize, _: &[u16], _: &[Plane], _: &mut Sums) {
            match self {}
        }

        pub fn add_sums<M: WideMask>(
            self,
            _: &[M::Leaves],
            _: &[M::Eight],
            _: &[[AgentMasks<'_, M>; WIDE]],
            _: &mut [[i64; WIDE]],
        ) {
            match self {}
        }
    }
}
