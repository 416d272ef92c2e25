//! Whether an input is distributed as it was in training.

use serde::Serialize;

/// From here on a shift is worth a look, and from there on the model should be trained again: the usual limits of credit scoring
/// (Siddiqi, *Credit Risk Scorecards*, 2006).
const MODERATE: f64 = 0.1;
const LARGE: f64 = 0.25;
/// The standard normal distribution's 95th percentile.
const Z_ONE_SIDED: f64 = 1.644_853_626_951_472;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StabilityVerdict {
    /// Below 0.1, or not above what chance does with so few requests.
    Stable,
    /// 0.1 to 0.25: look at it.
    Moderate,
    /// 0.25 and more: train again, or find out what changed.
    Large,
}

/// The population stability index of two counts by bin.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Stability {
    /// `Σ (a − e) ln(a / e)` over the bins' shares.
    pub psi: f64,
    /// What 95 of 100 samples as large as these stay below when nothing has changed.
    pub by_chance: f64,
    pub verdict: StabilityVerdict,
}

/// Compares counts of now with counts of training, bin by bin; a bin that is absent counts 0. None when one of them is empty.
///
/// Half a row is added to each bin, so that an empty one stays finite. When nothing has changed the index is distributed as
/// `(1/n + 1/m) χ²` with one degree of freedom less than bins (Yurdakul, *Statistical properties of population stability index*, 2018); the
/// quantile is Wilson and Hilferty's.
pub fn stability(expected: &[u64], actual: &[u64]) -> Option<Stability> {
    let at = |counts: &[u64], bin: usize| counts.get(bin).copied().unwrap_or(0);
    let bins: Vec<(u64, u64)> = (0..expected.len().max(actual.len()))
        .map(|bin| (at(expected, bin), at(actual, bin)))
        .filter(|(e, a)| e + a > 0)
        .collect();
    let total = |side: fn(&(u64, u64)) -> u64| bins.iter().map(side).sum::<u64>();
    let (expected_rows, actual_rows) = (total(|bin| bin.0), total(|bin| bin.1));
    if expected_rows == 0 || actual_rows == 0 {
        return None;
    }
    let share = |count: u64, rows: u64| (count as f64 + 0.5) / (rows as f64 + 0.5 * bins.len() as f64);
    let psi = bins
        .iter()
        .map(|(e, a)| (share(*a, actual_rows), share(*e, expected_rows)))
        .map(|(a, e)| (a - e) * (a / e).ln())
        .sum::<f64>();
    let freedom = bins.len() as f64 - 1.0;
    let by_chance = match freedom > 0.0 {
        true => {
            let spread = 2.0 / (9.0 * freedom);
            let quantile = freedom * (1.0 - spread + Z_ONE_SIDED * spread.sqrt()).powi(3);
            quantile * (1.0 / expected_rows as f64 + 1.0 / actual_rows as f64)
        }
        false => 0.0,
    };
    let verdict = if psi < MODERATE || psi <= by_chance {
        StabilityVerdict::Stable
    } else if psi < LARGE {
        StabilityVerdict::Moderate
    } else {
        StabilityVerdict::Large
    };
    Some(Stability { psi, by_chance, verdict })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::random::Random;

    #[test]
    fn the_index_is_what_the_formula_says() {
        // 0.1 ln 2 + 0.1 ln 1.25 = 0.0916.
        let half = stability(&[4_000_000, 6_000_000], &[5_000_000, 5_000_000]).unwrap();
        assert!((half.psi - (0.1 * 1.25_f64.ln() + 0.1 * 1.2_f64.ln())).abs() < 1e-6, "{half:?}");
        let verdict = |expected: &[u64], actual: &[u64]| stability(expected, actual).unwrap().verdict;
        assert_eq!(verdict(&[4_000, 6_000], &[5_000, 5_000]), StabilityVerdict::Stable);
        assert_eq!(verdict(&[3_000, 7_000], &[5_000, 5_000]), StabilityVerdict::Moderate);
        assert_eq!(verdict(&[1_000, 9_000], &[5_000, 5_000]), StabilityVerdict::Large);
        assert_eq!(verdict(&[1_000, 9_000, 0], &[1_000, 0, 9_000]), StabilityVerdict::Large, "a value that is new");
        assert_eq!(stability(&[], &[1]), None);
        assert_eq!(stability(&[5], &[7]).unwrap().psi, 0.0);
    }

    #[test]
    fn few_requests_are_no_drift() {
        let mut random = Random::new(5);
        let mut beyond = 0;
        for _ in 0..400 {
            let mut draw = |rows: usize| {
                let mut counts = vec![0; 20];
                (0..rows).for_each(|_| counts[random.below(20)] += 1);
                counts
            };
            let found = stability(&draw(10_000), &draw(200)).unwrap();
            beyond += u32::from(found.psi > found.by_chance);
        }
        assert!((4..=45).contains(&beyond), "{beyond} of 400 beyond the 95th percentile");
    }
}
