//! Five hundred agents by their bits: the operations on planes of `sliced.rs`.

use std::arch::x86_64::__m512i;

use pulp::cast;

use super::Wide;
use crate::score::sliced::{
    BATCH, LANES, LEAVES_A_TABLE, LIMB_DIGITS, LIMBS, Leaf, LimbSums, MISSING, MissingLeft, Numbers, Places, Plane,
    TESTS_TOGETHER, Table, tables_of,
};

/// What an operation on three planes makes of a bit of each: a digit for each of the eight cases.
const AND: i32 = 0x80;
const OR: i32 = 0xfe;
/// `a | (b & c)`.
const OR_AND: i32 = 0xf8;
/// `a & (b ^ c)`.
const AND_XOR: i32 = 0x60;

impl Wide {
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
    pub fn fill_tests(self, places: &Places, digits: usize, missing_left: &[MissingLeft], planes: &mut [Plane]) {
        let simd = self.0.avx512f;
        let ones = simd._mm512_set1_epi64(-1);
        let missing: __m512i = cast(places.missing);
        let none_missing = places.missing == [0; LANES / 32];
        let low = self.eighths(simd._mm512_andnot_si512(missing, ones), &places.digits[..3]);
        let mut left = simd._mm512_setzero_si512();
        let planes = planes.as_chunks_mut::<TESTS_TOGETHER>().0;
        for (upper, (planes, missing_left)) in planes.chunks_mut(8).zip(missing_left.chunks(8)).enumerate() {
            let mut high = ones;
            for (digit, plane) in places.digits[6..digits].iter().enumerate() {
                let unless = simd._mm512_set1_epi64(((upper >> digit) & 1) as i64 - 1);
                high = simd._mm512_ternarylogic_epi64::<AND_XOR>(high, cast(*plane), unless);
            }
            let middle = self.eighths(high, &places.digits[3..6]);
            for ((planes, missing_left), middle) in planes.iter_mut().zip(missing_left).zip(&middle) {
                for (at, plane) in planes.iter_mut().enumerate() {
                    left = simd._mm512_ternarylogic_epi64::<OR_AND>(left, *middle, low[at]);
                    plane.0 = if none_missing {
                        cast(left)
                    } else {
                        cast(simd._mm512_ternarylogic_epi64::<OR_AND>(
                            left,
                            missing,
                            simd._mm512_set1_epi64(missing_left.0[at] as i64),
                        ))
                    };
                }
            }
        }
    }

    /// Those of some agents with each of the eight cases of three binary digits.
    #[inline(always)]
    fn eighths(self, all: __m512i, digits: &[[u32; LANES / 32]]) -> [__m512i; 8] {
        let [one, two, four] = [0, 1, 2].map(|digit| cast::<[u32; LANES / 32], __m512i>(digits[digit]));
        let simd = self.0.avx512f;
        let without = |some, digit| simd._mm512_andnot_si512(digit, some);
        let with = |some, digit| simd._mm512_and_si512(digit, some);
        let [a, b] = [without(all, four), with(all, four)];
        let [a, b, c, d] = [without(a, two), with(a, two), without(b, two), with(b, two)];
        [
            without(a, one),
            with(a, one),
            without(b, one),
            with(b, one),
            without(c, one),
            with(c, one),
            without(d, one),
            with(d, one),
        ]
    }

    /// From sixteen values, each with its limbs, to each limb of all of them.
    #[inline(always)]
    pub fn table(self, values: &[[u8; 4]; LEAVES_A_TABLE]) -> Table {
        // The same exchange of rows and columns twice: of bytes among every four values, then of fours.
        let bytes: [u8; 16] = [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15];
        let fours = self.0.avx512bw._mm512_shuffle_epi8(cast(*values), cast([bytes; 4]));
        let limbs = self.0.avx512f._mm512_permutexvar_epi32(cast(bytes.map(u32::from)), fours);
        let [first, second, third, _]: [[u8; LEAVES_A_TABLE]; 4] = cast(limbs);
        [first, second, third]
    }

    /// The numbers of the leaves that agents reach, from 1; 0 for those that reach none of these.
    #[inline(always)]
    pub fn fill_numbers(self, leaves: &[Leaf], more: &[u16], planes: &[Plane], numbers: &mut Numbers) {
        let simd = self.0.avx512f;
        let zero = simd._mm512_setzero_si512();
        let mut rest = simd._mm512_set1_epi64(-1);
        let mut digits = [zero; 4];
        let mut further = [zero; 3];
        for (at, leaves) in leaves.chunks(4).enumerate() {
            // Four times `at`, and one to four more.
            let a = self.reach(&leaves[0], more, planes, &mut rest);
            let (mut b, mut c, mut d) = (zero, zero, zero);
            if let Some(leaf) = leaves.get(1) {
                b = self.reach(leaf, more, planes, &mut rest);
                if let Some(leaf) = leaves.get(2) {
                    c = self.reach(leaf, more, planes, &mut rest);
                    if let Some(leaf) = leaves.get(3) {
                        d = self.reach(leaf, more, planes, &mut rest);
                    }
                }
            }
            digits[0] = simd._mm512_ternarylogic_epi64::<OR>(digits[0], a, c);
            digits[1] = simd._mm512_ternarylogic_epi64::<OR>(digits[1], b, c);
            let abc = simd._mm512_ternarylogic_epi64::<OR>(a, b, c);
            for (high, reached) in [(at, abc), (at + 1, d)] {
                if high & 1 != 0 {
                    digits[2] = simd._mm512_or_si512(digits[2], reached);
                }
                if high & 2 != 0 {
                    digits[3] = simd._mm512_or_si512(digits[3], reached);
                }
                if high >= 4
                    && let Some(further) = further.get_mut(high / 4 - 1)
                {
                    *further = simd._mm512_or_si512(*further, reached);
                }
            }
        }
        for (plane, digit) in numbers.digits.iter_mut().zip(digits) {
            plane.0 = cast(digit);
        }
        if leaves.len() >= LEAVES_A_TABLE {
            for (plane, further) in numbers.further.iter_mut().zip(further) {
                plane.0 = cast(further);
            }
        }
    }

    /// The agents that reach a leaf; `rest` are those that have reached none so far.
    #[inline(always)]
    fn reach(self, leaf: &Leaf, more: &[u16], planes: &[Plane], rest: &mut __m512i) -> __m512i {
        let simd = self.0.avx512f;
        let leaf = leaf.splits;
        let [a, b, c, d] = leaf.lefts;
        let [a, b, c, d] =
            [planes[usize::from(a)].0, planes[usize::from(b)].0, planes[usize::from(c)].0, planes[usize::from(d)].0];
        let left = simd._mm512_ternarylogic_epi64::<AND>(cast(a), cast(b), cast(c));
        let mut reached = simd._mm512_ternarylogic_epi64::<AND>(left, cast(d), *rest);
        if leaf.more > 0 {
            let list = &more[leaf.more as usize..];
            for further in &list[1..][..usize::from(list[0])] {
                reached = simd._mm512_and_si512(reached, cast(planes[usize::from(*further)].0));
            }
        }
        *rest = simd._mm512_andnot_si512(reached, *rest);
        reached
    }

    /// Adds what agents reach in an even number of trees; `others` is the highest number of a leaf in each, and the last tree has most.
    #[inline(always)]
    pub fn add_trees(self, others: &[u8], numbers: &[Numbers; BATCH], tables: &[Table], sums: &mut [LimbSums]) {
        // Straight code for each number of digits.
        match others.last().copied().unwrap_or(0) {
            0..2 => self.add_digits::<1, false>(others, numbers, tables, sums),
            2..4 => self.add_digits::<2, false>(others, numbers, tables, sums),
            4..8 => self.add_digits::<3, false>(others, numbers, tables, sums),
            8..16 => self.add_digits::<4, false>(others, numbers, tables, sums),
            _ => self.add_digits::<4, true>(others, numbers, tables, sums),
        }
    }

    #[inline(always)]
    fn add_digits<const DIGITS: usize, const FURTHER: bool>(
        self,
        others: &[u8],
        numbers: &[Numbers; BATCH],
        tables: &[Table],
        sums: &mut [LimbSums],
    ) {
        let simd = self.0.avx512bw;
        let (pairs, numbers) = (others.as_chunks::<2>().0, numbers.as_chunks::<2>().0);
        for (at, sums) in sums.iter_mut().enumerate() {
            let mut own = [[self.0.avx512f._mm512_setzero_si512(); 2]; LIMBS];
            for (own, sums) in own.iter_mut().zip(sums.iter()) {
                *own = [cast(sums[0].0), cast(sums[1].0)];
            }
            let mut rest = tables;
            for (others, numbers) in pairs.iter().zip(numbers) {
                let first = self.values::<DIGITS, FURTHER>(others[0], &numbers[0], &mut rest, at);
                let second = self.values::<DIGITS, FURTHER>(others[1], &numbers[1], &mut rest, at);
                for ((own, first), second) in own.iter_mut().zip(first).zip(second) {
                    let both = simd._mm512_add_epi8(first, second);
                    own[0] = simd._mm512_add_epi16(own[0], both);
                    own[1] = simd._mm512_add_epi16(own[1], simd._mm512_srli_epi16::<8>(both));
                }
            }
            for (own, sums) in own.iter().zip(sums.iter_mut()) {
                sums[0].0 = cast(own[0]);
                sums[1].0 = cast(own[1]);
            }
        }
    }

    /// The limbs of what sixty-four agents reach in a tree, a byte each.
    #[inline(always)]
    fn values<const DIGITS: usize, const FURTHER: bool>(
        self,
        others: u8,
        numbers: &Numbers,
        tables: &mut &[Table],
        at: usize,
    ) -> [__m512i; LIMBS] {
        let (simd, plain) = (self.0.avx512bw, self.0.avx512f);
        let mut digits = [plain._mm512_setzero_si512(); 4];
        for (digit, (value, plane)) in digits[..DIGITS].iter_mut().zip(&numbers.digits).enumerate() {
            *value = simd._mm512_maskz_set1_epi8(plane.0[at], 1 << digit);
        }
        let [one, two, four, eight] = digits;
        let mut number = match DIGITS {
            1 => one,
            2 => plain._mm512_or_si512(one, two),
            _ => plain._mm512_ternarylogic_epi64::<OR>(one, two, four),
        };
        if DIGITS == 4 {
            number = plain._mm512_or_si512(number, eight);
        }
        let own;
        (own, *tables) = tables.split_at(if FURTHER { tables_of(others) } else { 1 });
        let mut values = [number; LIMBS];
        for (value, limb) in values.iter_mut().zip(&own[0]) {
            *value = simd._mm512_shuffle_epi8(plain._mm512_broadcast_i32x4(cast(*limb)), number);
        }
        if FURTHER {
            for (table, reached) in own[1..].iter().zip(&numbers.further) {
                for (value, limb) in values.iter_mut().zip(table) {
                    let row = plain._mm512_broadcast_i32x4(cast(*limb));
                    *value = simd._mm512_mask_shuffle_epi8(*value, reached.0[at], row, number);
                }
            }
        }
        values
    }

    /// Adds sums of limbs to those of agents.
    #[inline(always)]
    pub fn add_lanes(self, part: &[LimbSums], sums: &mut [i64]) {
        for (part, sums) in part.iter().zip(sums.chunks_mut(64)) {
            let limbs = part.map(|[both, second]| {
                let [both, second] = [both, second].map(|plane| cast::<[u64; 8], [u16; 32]>(plane.0));
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
}
