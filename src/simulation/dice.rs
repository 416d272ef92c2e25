//! Random draws that are the same on every platform.
//!
//! A seeded ChaCha stream, and only additions, multiplications and divisions on top of it: the
//! libraries of different systems disagree in the last bits of `exp` and `ln`, ours cannot.

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

/// A seeded source of draws.
pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    /// Each `stream` of a seed is independent: customers do not change when there are more agents.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(stream);
        Self(generator)
    }

    fn bits(&mut self) -> u64 {
        use rand::Rng;
        self.0.next_u64()
    }

    /// Uniform in 0 (included) to 1 (excluded).
    pub(super) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `0..limit`; 0 when the limit is 0.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        // The multiply-shift method: its bias is below 2^-32 for any limit used here.
        ((u128::from(self.bits()) * limit as u128) >> 64) as usize
    }

    /// Uniform in `low..=high`.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1).max(1) as usize) as i64
    }

    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Close to a standard normal: the sum of twelve uniforms, within ±6.
    pub(super) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }

    /// A position, drawn in proportion to the weights.
    pub(super) fn weighted(&mut self, weights: impl Iterator<Item = f64> + Clone) -> usize {
        let mut rest = self.unit() * weights.clone().sum::<f64>();
        let mut last = 0;
        for (position, weight) in weights.enumerate() {
            last = position;
            if rest < weight {
                break;
            }
            rest -= weight;
        }
        last
    }

    /// Moves `count` randomly drawn elements to the front and cuts the rest off.
    pub(super) fn sample(&mut self, pool: &mut Vec<usize>, count: usize) {
        for position in 0..count.min(pool.len()) {
            let other = position + self.below(pool.len() - position);
            pool.swap(position, other);
        }
        pool.truncate(count);
    }
}

/// `e^x` by range reduction and a Taylor series; exact to about 1e-15, the same bits everywhere.
pub(super) fn exp(x: f64) -> f64 {
    let x = x.clamp(-700.0, 700.0);
    let power = (x * std::f64::consts::LOG2_E).round();
    let rest = x - power * std::f64::consts::LN_2;
    let mut term = 1.0;
    let mut sum = 1.0;
    for n in 1..=16 {
        term *= rest / f64::from(n);
        sum += term;
    }
    // Within -1010..=1010, so the exponent's bits are those of a normal number.
    let scale = f64::from_bits(((1023 + power as i64) as u64) << 52);
    sum * scale
}

/// The logistic function: log odds to probability.
pub(super) fn logistic(log_odds: f64) -> f64 {
    1.0 / (1.0 + exp(-log_odds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_the_exponential_function() {
        for x in [-30.0, -1.5, -0.1, 0.0, 0.3, 1.0, 7.7, 42.0] {
            assert!((exp(x) / f64::exp(x) - 1.0).abs() < 1e-13, "{x}");
        }
    }

    #[test]
    fn draws_have_the_promised_moments() {
        let mut dice = Dice::new(7, 0);
        let draws: Vec<f64> = (0..20_000).map(|_| dice.normal()).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
        let mut counts = [0u32; 3];
        for _ in 0..9_000 {
            counts[dice.weighted([1.0, 0.0, 2.0].into_iter())] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!((2_700..3_300).contains(&counts[0]), "{counts:?}");
    }
}
