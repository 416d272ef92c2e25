//! The encodings of Parquet pages: packed bits, the hybrid of runs and packed bits, deltas (the Parquet format's
//! "Encodings", sections RLE, DELTA_BINARY_PACKED and DELTA_LENGTH_BYTE_ARRAY).

/// Values of a block of deltas, and of each of its four parts with a width of its own.
const BLOCK: usize = 128;
const MINI: usize = 32;

/// An unsigned LEB128 number.
pub(super) fn push_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A signed number: small ones of either sign are short.
fn push_signed(out: &mut Vec<u8>, number: i64) {
    push_number(out, (number << 1 ^ number >> 63).cast_unsigned());
}

/// How many bits numbers up to this one take.
pub(super) fn bits_of(largest: u64) -> u32 {
    u64::BITS - largest.leading_zeros()
}

/// Values of `width` bits each, the first in the lowest bits. The last byte is filled up with zeros.
fn pack(out: &mut Vec<u8>, values: impl Iterator<Item = u64>, width: u32) {
    let mut held = 0u128;
    let mut bits = 0;
    for value in values {
        held |= u128::from(value) << bits;
        bits += width;
        if bits >= 64 {
            out.extend_from_slice(&(held as u64).to_le_bytes());
            held >>= 64;
            bits -= 64;
        }
    }
    out.extend_from_slice(&held.to_le_bytes()[..bits.div_ceil(8) as usize]);
}

/// Packs values of up to 32 bits.
fn pack_narrow(out: &mut Vec<u8>, values: impl Iterator<Item = u64>, width: u32) {
    let mut held = 0u64;
    let mut bits = 0;
    for value in values {
        held |= value << bits;
        bits += width;
        if bits >= 32 {
            out.extend_from_slice(&(held as u32).to_le_bytes());
            held >>= 32;
            bits -= 32;
        }
    }
    out.extend_from_slice(&held.to_le_bytes()[..bits.div_ceil(8) as usize]);
}

/// Booleans (0 or 1), eight a byte.
pub(super) fn push_bits(out: &mut Vec<u8>, values: &[u8]) {
    pack_narrow(out, values.iter().map(|value| u64::from(*value)), 1);
}

/// One run, or packed bits: what `width` bits a value hold.
pub(super) fn push_hybrid(out: &mut Vec<u8>, values: &[u32], width: u32) {
    let first = values.first().copied().unwrap_or(0);
    if values.iter().all(|value| *value == first) {
        push_number(out, (values.len() as u64) << 1);
        out.extend_from_slice(&first.to_le_bytes()[..width.div_ceil(8) as usize]);
        return;
    }
    let groups = values.len().div_ceil(8);
    push_number(out, (groups as u64) << 1 | 1);
    let padding = std::iter::repeat_n(0, groups * 8 - values.len());
    pack_narrow(out, values.iter().map(|value| u64::from(*value)).chain(padding), width);
}

/// Which values of a page are there (1) and which are missing (0), with the length before it.
pub(super) fn push_levels(out: &mut Vec<u8>, present: &[u32]) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    push_hybrid(out, present, 1);
    let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Integers as distances from one to the next, packed.
pub(super) fn push_deltas(out: &mut Vec<u8>, values: &[i64]) {
    push_number(out, BLOCK as u64);
    push_number(out, (BLOCK / MINI) as u64);
    push_number(out, values.len() as u64);
    let Some(first) = values.first() else { return push_signed(out, 0) };
    push_signed(out, *first);
    let mut deltas = [0i64; BLOCK];
    let mut previous = *first;
    for block in values[1..].chunks(BLOCK) {
        for (delta, value) in deltas.iter_mut().zip(block) {
            *delta = value.wrapping_sub(previous);
            previous = *value;
        }
        let deltas = &deltas[..block.len()];
        let least = deltas.iter().copied().min().unwrap_or(0);
        push_signed(out, least);
        let widths_at = out.len();
        out.extend_from_slice(&[0; BLOCK / MINI]);
        for (at, mini) in deltas.chunks(MINI).enumerate() {
            let over = |delta: &i64| delta.wrapping_sub(least).cast_unsigned();
            let width = bits_of(mini.iter().map(over).fold(0, |all, over| all | over));
            out[widths_at + at] = width as u8;
            let padded = mini.iter().map(over).chain(std::iter::repeat_n(0, MINI - mini.len()));
            if width <= 32 { pack_narrow(out, padded, width) } else { pack(out, padded, width) }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads `width` bits from a position.
    fn bits_at(bytes: &[u8], start: usize, width: u32) -> u64 {
        (0..width as usize).fold(0, |value, i| {
            let bit = start + i;
            value | u64::from(bytes[bit / 8] >> (bit % 8) & 1) << i
        })
    }

    proptest! {
        #[test]
        fn packed_values_are_where_they_should_be(values in proptest::collection::vec(any::<u64>(), 0..100), width in 1u32..=64) {
            let mask = u64::MAX >> (64 - width);
            let values: Vec<u64> = values.into_iter().map(|value| value & mask).collect();
            let mut wide = Vec::new();
            pack(&mut wide, values.iter().copied(), width);
            prop_assert_eq!(wide.len(), (values.len() * width as usize).div_ceil(8));
            for (at, value) in values.iter().enumerate() {
                prop_assert_eq!(bits_at(&wide, at * width as usize, width), *value);
            }
            if width <= 32 {
                let mut narrow = Vec::new();
                pack_narrow(&mut narrow, values.iter().copied(), width);
                prop_assert_eq!(narrow, wide);
            }
        }
    }
}
