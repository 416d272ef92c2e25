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

/// Trees whose masks are ANDed at once: a few registers.
const AT_ONCE: usize = 32;

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

    /// What goes with a value; none where no tree tests the input.
    #[inline(always)]
    pub fn of(&self, value: f32) -> Option<ValueMasks<'_>> {
        if self.splits.is_empty() {
            return None;
        }
        if value.is_nan() {
            return Some(ValueMasks { together: &self.missing, right: &[], left: &[] });
        }
        let trees = self.missing.len();
        let passed = self.thresholds.partition_point(|threshold| *threshold <= value);
        let count = passed.checked_sub(1).map_or(0, |last| self.ends[last]);
        let at = count / self.step;
        let first = at * self.step;
        let left = &self.splits[count..];
        Some(ValueMasks {
            together: &self.together[at * trees..][..trees],
            right: &self.splits[first..count],
            left: &left[..left.len().min(first + self.step - count)],
        })
    }
}

/// The masks that go with a value: of most splits together, one a tree, and of those that it passes or does not pass besides.
pub(super) struct ValueMasks<'a> {
    together: &'a [u64],
    right: &'a [MaskedSplit],
    left: &'a [MaskedSplit],
}

impl ValueMasks<'_> {
    /// ANDs those of all inputs: for some trees, whose masks stay in registers, then for the next ones.
    #[inline(always)]
    pub fn and_all(all: &[Self], masks: &mut [u64]) {
        let (chunks, rest) = masks.as_chunks_mut::<AT_ONCE>();
        let done = chunks.len() * AT_ONCE;
        for (at, chunk) in chunks.iter_mut().enumerate() {
            let mut own = *chunk;
            for others in all.iter().flat_map(|of| of.together[at * AT_ONCE..].first_chunk::<AT_ONCE>()) {
                for (mask, other) in own.iter_mut().zip(others) {
                    *mask &= other;
                }
            }
            *chunk = own;
        }
        for of in all {
            for (mask, other) in rest.iter_mut().zip(&of.together[done..]) {
                *mask &= other;
            }
        }
        for of in all {
            for split in of.right {
                masks[split.tree] &= split.right;
            }
            for split in of.left {
                masks[split.tree] &= split.left;
            }
        }
    }
}
