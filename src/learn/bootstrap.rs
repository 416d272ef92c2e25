//! 95 % intervals by resampling rows.

use super::quality::Estimate;
use super::random::Random;

const REPLICATES: usize = 200;
/// Rows × replicates, at most: large holdouts have narrow intervals anyway.
const BOOTSTRAP_WORK: usize = 30_000_000;

/// 95 % percentile interval by Poisson weights (Oza & Russell, AISTATS 2001), which sum to about the rows. `measure` gets one
/// weight a row; a replicate without a measure is left out.
pub(super) fn bootstrap(value: f64, rows: usize, seed: u64, mut measure: impl FnMut(&[u8]) -> Option<f64>) -> Estimate {
    let replicates = (BOOTSTRAP_WORK / rows.max(1)).clamp(20, REPLICATES);
    let mut random = Random::new(seed ^ 0x0b00_7572);
    let mut weights = vec![0u8; rows];
    let mut values: Vec<f64> = Vec::with_capacity(replicates);
    for _ in 0..replicates {
        weights.iter_mut().for_each(|weight| *weight = poisson(&mut random));
        values.extend(measure(&weights));
    }
    values.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| {
        values.get((share * (values.len().saturating_sub(1)) as f64).round() as usize).copied().unwrap_or(value)
    };
    Estimate { value, low: at(0.025).min(value), high: at(0.975).max(value) }
}

/// The mean of one value a row.
pub(super) fn mean_with_interval(values: &[f64], seed: u64) -> Estimate {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    bootstrap(mean, values.len(), seed, |weights| {
        let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
        let sum: f64 = values.iter().zip(weights).map(|(v, w)| v * f64::from(*w)).sum();
        (total > 0.0).then(|| sum / total)
    })
}

/// A Poisson number with mean 1, by its distribution function.
fn poisson(random: &mut Random) -> u8 {
    const CUMULATIVE: [f64; 7] = [0.367879, 0.735759, 0.919699, 0.981012, 0.996340, 0.999406, 0.999917];
    let u = random.unit();
    CUMULATIVE.iter().take_while(|edge| u >= **edge).count() as u8
}
