//! From a value to the masks of all trees: what the splits on one input leave.

use super::factorised::SIDE_BY_SIDE;
use super::numbered::NumberedSplit;

/// Fewest splits of a step, see [`InputSplits`].
const LEAST_STEP: usize = 32;

/// The splits that test one tree input.
#[derive(Debug, Clone)]
pub(super) struct InputSplits {
    /// Ascending, each once: a value sends every split up to itself right, the others left.
    thresholds: Vec<f32>,
    /// After so many thresholds, how many splits.
    ends: Vec<usize>,
    /// By threshold.
    splits: Vec<MaskedSplit>,
    /// So many splits are ANDed one by one.
    step: usize,
    /// For each step, the masks of all splits before it and after it together: one a tree.
    together: Vec<u64>,
    /// Those of a missing value.
    missing: Vec<u64>,
}

/// A split as masks: zeros at the leaves that are not reached when it sends a value right, and left.
#[derive(Debug, Clone, Copy)]
struct MaskedSplit {
    tree: usize,
    right: u64,
    left: u64,
}

impl InputSplits {
    /// Of splits and their trees; `trees` are all.
    pub fn new(mut all: Vec<(&NumberedSplit, usize)>, trees: usize) -> Self {
        all.sort_by(|(a, in_a), (b, in_b)| a.threshold.total_cmp(&b.threshold).then(in_a.cmp(in_b)));
        let mut missing = vec![u64::MAX; if all.is_empty() { 0 } else { trees }];
        for (split, tree) in &all {
            missing[*tree] &= if split.missing_right { split.right } else { split.left };
        }
        let masked =
            |(split, tree): &(&NumberedSplit, usize)| MaskedSplit { tree: *tree, right: split.right, left: split.left };
        let splits: Vec<MaskedSplit> = all.iter().map(masked).collect();
        let (mut thresholds, mut ends) = (Vec::new(), Vec::new());
        for same in all.chunk_by(|(a, _), (b, _)| a.threshold == b.threshold) {
            thresholds.push(same[0].0.threshold);
            ends.push(ends.last().copied().unwrap_or(0) + same.len());
        }
        // About as much work as ANDing what is together.
        let step = (trees / SIDE_BY_SIDE).max(LEAST_STEP);
        let steps = splits.len() / step + 1;
        let mut together = vec![u64::MAX; if splits.is_empty() { 0 } else { steps * trees }];
        for (at, row) in together.chunks_exact_mut(trees.max(1)).enumerate() {
            for split in &splits[..at * step] {
                row[split.tree] &= split.right;
            }
            for split in splits.iter().skip((at + 1) * step) {
                row[split.tree] &= split.left;
            }
        }
        Self { thresholds, ends, splits, step, together, missing }
    }

    /// ANDs the masks that go with the value.
    #[inline(always)]
    pub fn apply(&self, value: f32, masks: &mut [u64]) {
        if self.splits.is_empty() {
            return;
        }
        let and = |masks: &mut [u64], others: &[u64]| {
            for (mask, other) in masks.iter_mut().zip(others) {
                *mask &= other;
            }
        };
        if value.is_nan() {
            return and(masks, &self.missing);
        }
        let passed = self.thresholds.partition_point(|threshold| *threshold <= value);
        let count = passed.checked_sub(1).map_or(0, |last| self.ends[last]);
        let at = count / self.step;
        let first = at * self.step;
        and(masks, &self.together[at * masks.len()..]);
        for split in &self.splits[first..count] {
            masks[split.tree] &= split.right;
        }
        for split in self.splits[count..].iter().take(first + self.step - count) {
            masks[split.tree] &= split.left;
        }
    }
}
