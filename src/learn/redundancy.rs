//! Fields that say nearly the same, by mutual information.

use rayon::prelude::*;

use super::inputs::InputColumn;
use super::random::Random;

/// Rows that are looked at, most values of a field that are told apart, and most fields that are compared.
const MAX_ROWS: usize = 20_000;
const MAX_VALUES: usize = 30;
pub(super) const MAX_FIELDS: usize = 100;
/// Share of what the simpler field tells from which on it is told by the other.
const NEARLY_ALL: f64 = 0.7;

/// Positions among the columns, the first one before the second, and the share of the simpler one's information (entropy)
/// that the other one gives: 1 means that it follows from it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pair {
    pub first: usize,
    pub second: usize,
    pub shared: f64,
}

/// Pairs of columns of levels that share at least 0.7, the closest first. Of a column's levels the 30 most frequent are told
/// apart. Mutual information over the smaller entropy; its bias in finite data is taken off (Miller, Information Theory in
/// Psychology, 1955).
pub(super) fn redundant(columns: &[&InputColumn], seed: u64) -> Vec<Pair> {
    let columns = &columns[..columns.len().min(MAX_FIELDS)];
    let total = columns.first().map_or(0, |column| column.levels.len());
    let mut rows: Vec<u32> = (0..total as u32).collect();
    if total > MAX_ROWS {
        Random::new(seed ^ 0x0011_e5a3).shuffle(&mut rows);
        rows.truncate(MAX_ROWS);
    }
    let simple: Vec<Simple> = columns.par_iter().map(|column| Simple::new(&column.levels, &rows)).collect();
    let pairs: Vec<(usize, usize)> =
        (0..simple.len()).flat_map(|first| (first + 1..simple.len()).map(move |second| (first, second))).collect();
    let mut found: Vec<Pair> = pairs
        .into_par_iter()
        .map(|(first, second)| Pair { first, second, shared: simple[first].shared(&simple[second]) })
        .filter(|pair| pair.shared >= NEARLY_ALL)
        .collect();
    found.sort_by(|a, b| b.shared.total_cmp(&a.shared));
    found
}

/// A column with few values.
struct Simple {
    codes: Vec<u8>,
    counts: Vec<f64>,
    /// In nats.
    entropy: f64,
}

impl Simple {
    fn new(levels: &[u32], rows: &[u32]) -> Simple {
        let mut counts: std::collections::HashMap<u32, usize> = std::collections::HashMap::new();
        for row in rows {
            *counts.entry(levels[*row as usize]).or_default() += 1;
        }
        let mut frequent: Vec<(u32, usize)> = counts.into_iter().collect();
        frequent.sort_unstable_by_key(|(level, count)| (std::cmp::Reverse(*count), *level));
        frequent.truncate(MAX_VALUES);
        frequent.sort_unstable();
        let code = |level: &u32| frequent.binary_search_by_key(level, |(own, _)| *own).unwrap_or(frequent.len()) as u8;
        let codes: Vec<u8> = rows.iter().map(|row| code(&levels[*row as usize])).collect();
        let mut counts = vec![0.0; frequent.len() + 1];
        codes.iter().for_each(|code| counts[usize::from(*code)] += 1.0);
        let entropy = entropy(&counts, codes.len() as f64);
        Simple { codes, counts, entropy }
    }

    fn shared(&self, other: &Simple) -> f64 {
        let (rows, smaller) = (self.codes.len() as f64, self.entropy.min(other.entropy));
        if smaller <= 1e-9 {
            return 0.0;
        }
        let mut both = vec![0.0; self.counts.len() * other.counts.len()];
        for (one, another) in self.codes.iter().zip(&other.codes) {
            both[usize::from(*one) * other.counts.len() + usize::from(*another)] += 1.0;
        }
        let used = |counts: &[f64]| counts.iter().filter(|count| **count > 0.0).count() as f64;
        // The cells that occur by chance alone, too.
        let bias = (used(&both) - used(&self.counts) - used(&other.counts) + 1.0).max(0.0) / (2.0 * rows);
        let mutual = self.entropy + other.entropy - entropy(&both, rows) - bias;
        (mutual / smaller).clamp(0.0, 1.0)
    }
}

fn entropy(counts: &[f64], rows: f64) -> f64 {
    counts.iter().filter(|count| **count > 0.0).map(|count| -(count / rows) * (count / rows).ln()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_follows_from_another_is_found_and_an_independent_one_is_not() {
        let mut random = Random::new(2);
        let city: Vec<u32> = (0..5_000).map(|_| random.below(40) as u32).collect();
        let region: Vec<u32> = city.iter().map(|city| city % 4).collect();
        let noisy =
            region.iter().map(|own| if random.below(10) == 0 { random.below(4) as u32 } else { *own }).collect();
        let other = (0..5_000).map(|_| random.below(12) as u32).collect();
        let constant = vec![0; 5_000];
        let columns: Vec<InputColumn> = [city, region, noisy, other, constant]
            .into_iter()
            .map(|levels| InputColumn { numbers: Vec::new(), levels })
            .collect();
        let found = redundant(&columns.iter().collect::<Vec<_>>(), 1);
        let shared = |first: usize, second: usize| found.iter().find(|p| (p.first, p.second) == (first, second));
        // The ten rarest cities are one "other" to the comparison.
        assert!(shared(0, 1).unwrap().shared > 0.7 && shared(1, 2).unwrap().shared < 0.85, "{found:?}");
        assert!(found.iter().all(|pair| pair.second < 3), "{found:?}");
    }
}
