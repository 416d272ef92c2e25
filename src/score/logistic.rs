//! The logistic function, from log-odds to a probability: as precise as the mathematical library's, and written so that a compiler can compute
//! eight at once. The same operations in the same order give the same bits on every processor.

use pulp::Arch;

/// Beyond it a probability is 0 or 1 as far as anybody can tell, and powers of two leave the range of doubles.
const FURTHEST: f64 = 700.0;
/// Adding it leaves a whole number in the lowest bits of a double.
const TO_WHOLE: f64 = 6_755_399_441_055_744.0;
/// ln 2 in two parts: the first times a small whole number is exact.
const LN_2_HIGH: f64 = 0.693_147_180_369_123_8;
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// Of 12, 11, … and 0.
const INVERSE_FACTORIALS: [f64; 13] = {
    let mut inverse = [1.0; 13];
    let (mut factorial, mut n) = (1.0, 1);
    while n <= 12 {
        factorial *= n as f64;
        inverse[12 - n] = 1.0 / factorial;
        n += 1;
    }
    inverse
};

/// 1 / (1 + e^-x).
#[inline(always)]
pub fn logistic(log_odds: f64) -> f64 {
    1.0 / (1.0 + exp(-log_odds))
}

/// Of each.
pub fn logistic_of_all(log_odds: &mut [f64]) {
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for value in log_odds.iter_mut() {
                *value = logistic(*value);
            }
        },
    );
}

/// e^x = 2^n e^r with |r| ≤ ln 2 / 2, and e^r by its series.
#[inline(always)]
fn exp(x: f64) -> f64 {
    let x = x.clamp(-FURTHEST, FURTHEST);
    let shifted = x * std::f64::consts::LOG2_E + TO_WHOLE;
    let n = shifted - TO_WHOLE;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let mut series = INVERSE_FACTORIALS[0];
    for inverse in &INVERSE_FACTORIALS[1..] {
        series = series * r + inverse;
    }
    // The exponent's bits are those of n + 1023.
    series * f64::from_bits(shifted.to_bits().wrapping_add(1_023) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usual(x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }

    #[test]
    fn as_precise_as_the_library_and_never_falling() {
        let mut before = 0.0;
        for step in -320_000..=320_000 {
            let x = f64::from(step) / 8_000.0;
            let own = logistic(x);
            assert!((own - usual(x)).abs() <= 4.0 * f64::EPSILON * usual(x), "{x}: {own} and {}", usual(x));
            assert!(own >= before, "{x}");
            before = own;
        }
    }

    #[test]
    fn what_is_far_out_stays_a_probability() {
        for (x, expected) in [(0.0, 0.5), (1e300, 1.0), (f64::INFINITY, 1.0)] {
            assert_eq!(logistic(x), expected);
        }
        for x in [-1e300, f64::NEG_INFINITY] {
            assert!((0.0..1e-300).contains(&logistic(x)), "{x}: {}", logistic(x));
        }
        assert!(logistic(f64::NAN).is_nan());
    }

    #[test]
    fn many_at_once_are_the_same_bits() {
        let values: Vec<f64> = (-1_003..1_003).map(|step| f64::from(step) / 37.0).collect();
        let mut all = values.clone();
        logistic_of_all(&mut all);
        let singly: Vec<u64> = values.iter().map(|value| logistic(*value).to_bits()).collect();
        assert_eq!(all.iter().map(|value| value.to_bits()).collect::<Vec<_>>(), singly);
    }
}
