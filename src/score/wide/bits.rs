//! Five hundred agents by their bits: the operations on planes of `sliced.rs`.

use std::arch::x86_64::__m512i;

use pulp::cast;

use super::Wide;
use crate::score::sliced::{
    CHOICES, DIGITS, Digits, LANES, LEAVES, MISSING, Places, Plane, Splits, Sums, TREES, Tables, Test,
};

/// What an operation on three planes makes of a bit of each: a digit for each of the eight cases.
const AND: i32 = 0x80;
const XOR: i32 = 0x96;
const MAJORITY: i32 = 0xe8;
/// `a | (b & c)`.
const OR_AND: i32 = 0xf8;
/// `a & (b ^ c)`.
const AND_XOR: i32 = 0x60;

impl Wide {
    /// Sets `bit` in the byte of each binary digit that is one.
    #[inline(always)]
    pub fn spread(self, value: i32, bit: usize, bytes: &mut Digits) {
        let ones = self.0.avx512bw._mm256_maskz_set1_epi8(value as u32, 1 << bit);
        *bytes = cast(self.0.avx2._mm256_or_si256(cast(*bytes), ones));
    }

    /// From places to their lowest binary digits, a plane each, and a plane of those that are missing.
    #[inline(always)]
    pub fn turn(self, places: &[u16; LANES], digits: usize, turned: &mut Places) {
        let simd = self.0.avx512bw;
        for (at, places) in places.as_chunks::<32>().0.iter().enumerate() {
            let places: __m512i = cast(*places);
            for (digit, plane) in turned.digits[..digits].iter_mut().enumerate() {
                plane[at] = simd._mm512_test_epi16_mask(places, cast([1u16 << digit; 32]));
            }
            turned.missing[at] = simd._mm512_test_epi16_mask(places, cast([MISSING; 32]));
        }
    }

    /// For each test of an input, the agents that it sends left: those whose place is not higher, and those without a value if it
    /// says so. Eight tests have all but the lowest three digits of their place in common.
    #[inline(always)]
    pub fn fill_tests(self, places: &Places, digits: usize, tests: &[Test], planes: &mut [Plane]) {
        let simd = self.0.avx512f;
        let ones = simd._mm512_set1_epi64(-1);
        let missing: __m512i = cast(places.missing);
        let unless = |digit: usize| simd._mm512_set1_epi64(digit as i64 - 1);
        let mut low = [simd._mm512_andnot_si512(missing, ones); 8];
        for (at, low) in low.iter_mut().enumerate() {
            for (digit, plane) in places.digits[..3].iter().enumerate() {
                *low = simd._mm512_ternarylogic_epi64::<AND_XOR>(*low, cast(*plane), unless((at >> digit) & 1));
            }
        }
        let mut left = simd._mm512_setzero_si512();
        for (at, (planes, tests)) in planes.chunks_mut(8).zip(tests.chunks(8)).enumerate() {
            let mut high = ones;
            for (digit, plane) in places.digits[3..digits].iter().enumerate() {
                high = simd._mm512_ternarylogic_epi64::<AND_XOR>(high, cast(*plane), unless((at >> digit) & 1));
            }
            for ((plane, test), low) in planes.iter_mut().zip(tests).zip(&low) {
                left = simd._mm512_ternarylogic_epi64::<OR_AND>(left, high, *low);
                let too = unless(usize::from(test.missing_right));
                plane.0 = cast(simd._mm512_ternarylogic_epi64::<OR_AND>(left, missing, too));
            }
        }
    }

    /// For every four leaves of a tree and each choice among them, the agents that reach one of the chosen.
    #[inline(always)]
    pub fn fill_tables(self, leaves: &[Splits], more: &[u16], planes: &[Plane], tables: &mut Tables, tree: usize) {
        let simd = self.0.avx512f;
        let mut rest = simd._mm512_set1_epi64(-1);
        for (leaves, tables) in leaves.chunks(LEAVES).zip(tables) {
            let table = &mut tables[tree];
            let a = self.reach(&leaves[0], more, planes, &mut rest);
            table[1].0 = cast(a);
            let Some(leaf) = leaves.get(1) else { return };
            let b = self.reach(leaf, more, planes, &mut rest);
            let ab = simd._mm512_or_si512(a, b);
            table[2].0 = cast(b);
            table[3].0 = cast(ab);
            let Some(leaf) = leaves.get(2) else { return };
            let c = self.reach(leaf, more, planes, &mut rest);
            let ac = simd._mm512_or_si512(a, c);
            let bc = simd._mm512_or_si512(b, c);
            let abc = simd._mm512_or_si512(ab, c);
            table[4].0 = cast(c);
            table[5].0 = cast(ac);
            table[6].0 = cast(bc);
            table[7].0 = cast(abc);
            let Some(leaf) = leaves.get(3) else { return };
            let d = self.reach(leaf, more, planes, &mut rest);
            table[8].0 = cast(d);
            table[9].0 = cast(simd._mm512_or_si512(a, d));
            table[10].0 = cast(simd._mm512_or_si512(b, d));
            table[11].0 = cast(simd._mm512_or_si512(ab, d));
            table[12].0 = cast(simd._mm512_or_si512(c, d));
            table[13].0 = cast(simd._mm512_or_si512(ac, d));
            table[14].0 = cast(simd._mm512_or_si512(bc, d));
            table[15].0 = cast(simd._mm512_or_si512(abc, d));
        }
    }

    /// The agents that reach a leaf; `rest` are those that have reached none so far.
    #[inline(always)]
    fn reach(self, leaf: &Splits, more: &[u16], planes: &[Plane], rest: &mut __m512i) -> __m512i {
        let simd = self.0.avx512f;
        let [a, b, c] = leaf.lefts;
        let [a, b, c] = [planes[usize::from(a)].0, planes[usize::from(b)].0, planes[usize::from(c)].0];
        let mut left = simd._mm512_ternarylogic_epi64::<AND>(cast(a), cast(b), cast(c));
        if leaf.more > 0 {
            let list = &more[leaf.more as usize..];
            for further in &list[1..][..usize::from(list[0])] {
                left = simd._mm512_and_si512(left, cast(planes[usize::from(*further)].0));
            }
        }
        let reached = simd._mm512_and_si512(left, *rest);
        *rest = simd._mm512_andnot_si512(left, *rest);
        reached
    }

    /// Adds the leaves that agents reach in some trees. A table each for every four leaves, and a digit is a look-up in each.
    /// The highest digit of a difference, its sign, is turned round: each tree adds half of what the digits hold too much.
    #[inline(always)]
    pub fn add_trees(self, digits: &[[Digits; TREES]], tables: &Tables, sums: &mut Sums) {
        // Straight code for the usual numbers of leaves.
        match digits.len() {
            1 => self.add_digits(&digits[..1], tables, sums),
            2 => self.add_digits(&digits[..2], tables, sums),
            3 => self.add_digits(&digits[..3], tables, sums),
            _ => self.add_digits(digits, tables, sums),
        }
    }

    #[inline(always)]
    fn add_digits(self, digits: &[[Digits; TREES]], tables: &Tables, sums: &mut Sums) {
        let simd = self.0.avx512f;
        let zero = simd._mm512_setzero_si512();
        let mut carries = [zero; TREES];
        let (low, high) = sums.split_at_mut(DIGITS);
        for (digit, sum) in low.iter_mut().enumerate() {
            let mut of_trees = [zero; TREES];
            for (tables, digits) in tables.iter().zip(digits) {
                for ((of_tree, table), digits) in of_trees.iter_mut().zip(tables).zip(digits) {
                    let chosen = table[usize::from(digits[digit]) % CHOICES].0;
                    *of_tree = simd._mm512_or_si512(*of_tree, cast(chosen));
                }
            }
            if digit == DIGITS - 1 {
                for of_tree in &mut of_trees {
                    *of_tree = simd._mm512_xor_si512(*of_tree, simd._mm512_set1_epi64(-1));
                }
            }
            let (one, first) = self.add_pair(cast(sum.0), of_trees[0], of_trees[1]);
            let (one, second) = self.add_pair(one, of_trees[2], of_trees[3]);
            let (one, third) = self.add_pair(one, carries[0], carries[1]);
            let (one, fourth) = self.add_pair(one, carries[2], carries[3]);
            sum.0 = cast(one);
            carries = [first, second, third, fourth];
        }
        for sum in high {
            let (one, first) = self.add_pair(cast(sum.0), carries[0], carries[1]);
            let (one, second) = self.add_pair(one, carries[2], carries[3]);
            sum.0 = cast(one);
            carries = [first, second, zero, zero];
        }
    }

    /// The digit of a sum of three, and what is carried to the next one.
    #[inline(always)]
    fn add_pair(self, sum: __m512i, a: __m512i, b: __m512i) -> (__m512i, __m512i) {
        let simd = self.0.avx512f;
        (simd._mm512_ternarylogic_epi64::<XOR>(sum, a, b), simd._mm512_ternarylogic_epi64::<MAJORITY>(sum, a, b))
    }

    /// From planes to numbers, `too_much` less.
    #[inline(always)]
    pub fn add_lanes(self, part: &Sums, too_much: i64, sums: &mut [i64]) {
        let simd = self.0.avx512f;
        for (at, sums) in sums.chunks_mut(16).enumerate() {
            let mut values = simd._mm512_setzero_si512();
            for (digit, plane) in part.iter().enumerate() {
                let lanes = (plane.0[at / 4 % (LANES / 64)] >> (16 * (at % 4))) as u16;
                values = simd._mm512_mask_or_epi32(values, lanes, values, simd._mm512_set1_epi32(1 << digit));
            }
            for (sum, value) in sums.iter_mut().zip(cast::<__m512i, [u32; 16]>(values)) {
                *sum += i64::from(value) - too_much;
            }
        }
    }
}
