//! Short decimal numerals, eight digits at a time, without a loop or a branch a digit (as in Daniel Lemire, "Quickly
//! parsing eight digits"; the division by a power of ten is exact as in William Clinger, "How to read floating point
//! numbers accurately", section 3).
//!
//! A numeral is looked at in the word of the buffer that *ends* with it, so that its digits have fixed places whatever
//! its length. What these functions leave undecided (`None`) is no error: the general parsers decide.

const ZEROS: u64 = 0x3030_3030_3030_3030;
const HIGH: u64 = 0x8080_8080_8080_8080;
/// `'.'` once `'0'` is taken off every byte by an exclusive or.
const POINT: u8 = b'.' ^ b'0';
/// Integers up to here are floats exactly.
const EXACT: u64 = 1 << 53;

const POWERS_OF_TEN: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// The eight bytes before `end`, `'0'` taken off each.
#[inline]
fn word_before(buffer: &[u8], end: usize) -> Option<u64> {
    let bytes = buffer.get(end.checked_sub(8)?..end)?;
    Some(u64::from_le_bytes(*bytes.first_chunk()?) ^ ZEROS)
}

/// Keeps the last `bytes` (1 to 8) bytes of a word; the others become digits 0.
#[inline]
fn last(word: u64, bytes: usize) -> u64 {
    word & (u64::MAX << (64 - 8 * bytes))
}

/// Eight bytes 0 to 9, the first one the most significant digit.
#[inline]
fn eight_digits(digits: u64) -> u64 {
    let pairs = digits.wrapping_mul(10 * 256 + 1) >> 8 & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100 * 65_536 + 1) >> 16 & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(10_000 * (1 << 32) + 1) >> 32
}

#[inline]
fn are_digits(bytes: u64) -> bool {
    // A byte above 9 reaches the highest bit.
    (bytes.wrapping_add(0x7676_7676_7676_7676) | bytes) & HIGH == 0
}

/// Where the sign ends, and whether it is a minus.
#[inline]
fn signed(buffer: &[u8], start: usize) -> (usize, bool) {
    let negative = buffer.get(start) == Some(&b'-');
    (start + usize::from(negative), negative)
}

/// An integer of up to 16 digits at `start..end` of the buffer.
#[inline]
pub(super) fn short_integer(buffer: &[u8], start: usize, end: usize) -> Option<i64> {
    let (first, negative) = signed(buffer, start);
    let value = short_unsigned(buffer, first, end)?.cast_signed();
    Some(if negative { -value } else { value })
}

#[inline]
fn short_unsigned(buffer: &[u8], first: usize, end: usize) -> Option<u64> {
    let length = end.wrapping_sub(first);
    let low = word_before(buffer, end)?;
    if length.wrapping_sub(1) < 8 {
        let digits = last(low, length);
        return are_digits(digits).then(|| eight_digits(digits));
    }
    if length.wrapping_sub(9) < 8 {
        let high = last(word_before(buffer, end - 8)?, length - 8);
        return (are_digits(high) && are_digits(low)).then(|| eight_digits(high) * 100_000_000 + eight_digits(low));
    }
    None
}

/// A number of up to 16 characters without an exponent at `start..end` of the buffer: the nearest float.
#[inline]
pub(super) fn short_float(buffer: &[u8], start: usize, end: usize) -> Option<f64> {
    let (first, negative) = signed(buffer, start);
    let length = end.wrapping_sub(first);
    let value = if length.wrapping_sub(1) < 8 {
        float_of_eight(last(word_before(buffer, end)?, length))?
    } else if length.wrapping_sub(9) < 8 {
        float_of_sixteen(last(word_before(buffer, end - 8)?, length - 8), word_before(buffer, end)?)?
    } else {
        return None;
    };
    Some(if negative { -value } else { value })
}

#[inline]
fn float_of_eight(bytes: u64) -> Option<f64> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let differs = bytes ^ (ONES * POINT as u64);
    // The lowest byte flagged is exactly the first point.
    let points = differs.wrapping_sub(ONES) & !differs & HIGH;
    if points == 0 {
        return are_digits(bytes).then(|| eight_digits(bytes) as f64);
    }
    let at = points.trailing_zeros() / 8;
    if at == 7 {
        return None;
    }
    let before = (1u64 << (8 * at)) - 1;
    let after = u64::MAX << (8 * at + 8);
    let digits = bytes & after | (bytes & before) << 8;
    are_digits(digits).then(|| eight_digits(digits) as f64 / POWERS_OF_TEN[7 - at as usize])
}

fn float_of_sixteen(high: u64, low: u64) -> Option<f64> {
    const ONES: u128 = 0x0101_0101_0101_0101_0101_0101_0101_0101;
    const HIGHEST: u128 = ONES << 7;
    // The first characters are in the lowest bytes.
    let bytes = u128::from(high) | u128::from(low) << 64;
    let differs = bytes ^ (ONES * POINT as u128);
    let points = differs.wrapping_sub(ONES) & !differs & HIGHEST;
    let at = points.trailing_zeros() / 8;
    let digits = match at {
        15 => return None,
        // No point: trailing zeros of zero are all bits.
        16 => bytes,
        at => bytes & (u128::MAX << (8 * at + 8)) | (bytes & ((1u128 << (8 * at)) - 1)) << 8,
    };
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    let (high, low) = (digits as u64, (digits >> 64) as u64);
    if !are_digits(high) || !are_digits(low) {
        return None;
    }
    let value = eight_digits(high) * 100_000_000 + eight_digits(low);
    (value <= EXACT).then(|| value as f64 / if at == 16 { 1.0 } else { POWERS_OF_TEN[15 - at as usize] })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ingest::values::{parse_float, parse_integer};

    /// The text behind others, as in a file.
    fn placed(text: &str) -> (Vec<u8>, usize, usize) {
        let buffer = format!("9.9,x-12345678,{text},77.7");
        (buffer.clone().into_bytes(), 15, 15 + text.len())
    }

    fn agree(text: &str) {
        let (buffer, start, end) = placed(text);
        if let Some(value) = short_integer(&buffer, start, end) {
            assert_eq!(Some(value), parse_integer(text.as_bytes()), "{text:?}");
        }
        if let Some(value) = short_float(&buffer, start, end) {
            assert_eq!(Some(value.to_bits()), parse_float(text.as_bytes()).map(f64::to_bits), "{text:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        /// What is decided is what the general parsers say.
        #[test]
        fn short_numerals_are_parsed_as_others_are(text in "-?[0-9]{0,9}\\.?[0-9]{0,9}", other in "[-+0-9.,eE: /;x]{0,18}") {
            agree(&text);
            agree(&other);
        }
    }

    #[test]
    fn usual_numerals_are_decided() {
        for text in ["0", "-0", "7", "12345678", "-123456789", "1234567890123456", "0000"] {
            let (buffer, start, end) = placed(text);
            assert!(short_integer(&buffer, start, end).is_some(), "{text}");
            agree(text);
        }
        for text in [
            "0.1",
            "-0.0",
            ".5",
            "9999.99",
            "1234567.8",
            "0.12345678901234",
            "-12345678.901234",
            "42",
            "9007199254740992",
        ] {
            let (buffer, start, end) = placed(text);
            assert!(short_float(&buffer, start, end).is_some(), "{text}");
            agree(text);
        }
        for text in ["", "-", ".", "-.", "1.", "1.2.3", "1e5", "+1", "9007199254740993", "12345678901234567"] {
            let (buffer, start, end) = placed(text);
            assert_eq!(short_float(&buffer, start, end), None, "{text}");
        }
        // Nothing before the buffer's start is looked at.
        assert_eq!(short_integer(b"1234567", 0, 7), None);
    }
}
