//! Target encoding: the mean outcome of a level, shrunk towards the overall mean.
//!
//! Rows that trees learn from get means computed without their own fold, or the trees would read the outcome itself
//! from rare levels; scoring uses the means of all rows. Shrinkage is `(sum + k·prior) / (n + k)` (Micci-Barreca,
//! SIGKDD Explorations 3, 2001) where `k` is the ratio of the variance within levels to that between them, estimated
//! by moments, held within 2 and 200.

use super::target::NO_AGENT;

/// Means of one column of levels.
pub(super) struct Means {
    /// Per level, from all rows.
    pub full: Vec<f32>,
    /// Per row, from the other folds.
    pub out_of_fold: Vec<f32>,
}

/// `levels` holds one level a row, [`NO_AGENT`] for rows to be given the prior.
pub(super) fn means(
    levels: &[u32],
    count: usize,
    outcomes: &[f32],
    weights: &[f32],
    folds: &[u8],
    fold_count: usize,
) -> Means {
    let mut sums = vec![(0.0f64, 0.0f64); count * fold_count];
    let (mut total, mut total_weight, mut total_square) = (0.0f64, 0.0f64, 0.0f64);
    for (row, level) in levels.iter().enumerate() {
        let (weight, outcome) = (f64::from(weights[row]), f64::from(outcomes[row]));
        total += weight * outcome;
        total_square += weight * outcome * outcome;
        total_weight += weight;
        if *level != NO_AGENT {
            let cell = &mut sums[*level as usize * fold_count + folds[row] as usize];
            cell.0 += weight * outcome;
            cell.1 += weight;
        }
    }
    let prior = total / total_weight;
    let per_level: Vec<(f64, f64)> = sums
        .chunks(fold_count)
        .map(|cells| cells.iter().fold((0.0, 0.0), |sum, cell| (sum.0 + cell.0, sum.1 + cell.1)))
        .collect();
    let k = shrinkage(&per_level, prior, total_square / total_weight - prior * prior);
    let smooth = |(sum, weight): (f64, f64)| ((sum + k * prior) / (weight + k)) as f32;
    let full = per_level.iter().map(|cell| smooth(*cell)).collect();
    let out_of_fold = levels
        .iter()
        .enumerate()
        .map(|(row, level)| {
            if *level == NO_AGENT {
                return prior as f32;
            }
            let (sum, weight) = per_level[*level as usize];
            let own = sums[*level as usize * fold_count + folds[row] as usize];
            smooth((sum - own.0, weight - own.1))
        })
        .collect();
    Means { full, out_of_fold }
}

/// Variance within ÷ variance between levels, by moments.
fn shrinkage(levels: &[(f64, f64)], prior: f64, variance: f64) -> f64 {
    let (mut between, mut expected, mut weight) = (0.0, 0.0, 0.0);
    for (sum, n) in levels.iter().filter(|(_, n)| *n > 0.0) {
        between += n * (sum / n - prior).powi(2);
        expected += variance;
        weight += n;
    }
    let excess = (between - expected).max(1e-12) / weight.max(1.0);
    (variance / excess).clamp(2.0, 200.0)
}
