//! A tree with its leaves numbered, and its splits as masks of them.

use super::forest::{self, Forest, LEAF};

/// Leaves count from the left, the first one being a mask's highest bit.
#[derive(Debug, Clone)]
pub(super) struct NumberedTree {
    pub splits: Vec<NumberedSplit>,
    /// In units of the forest.
    pub leaves: [i32; 64],
    pub leaf_count: usize,
}

#[derive(Debug, Clone)]
pub(super) struct NumberedSplit {
    pub input: usize,
    pub threshold: f32,
    pub missing_right: bool,
    /// Zeros at the leaves under the left child: what is left when a value goes right; and the other way round.
    pub right: u64,
    pub left: u64,
}

impl NumberedTree {
    pub fn new(forest: &Forest, tree: usize, unit: f64) -> Self {
        let mut numbered = Self { splits: Vec::new(), leaves: [0; 64], leaf_count: 0 };
        numbered.number(forest, forest.starts[tree] as usize, 0, unit);
        numbered
    }

    /// Trees that add up to it, each with leaves that differ by no more than [`forest::PIECE`] units.
    pub fn into_pieces(self) -> impl Iterator<Item = Self> {
        let (least, greatest) =
            self.leaves.iter().fold((0, 0), |(least, greatest), leaf| (*leaf.min(&least), *leaf.max(&greatest)));
        let count = forest::pieces(greatest.abs_diff(least) as usize) as i32;
        // The shares of a whole number that are rounded down, each after one more was added to it, add up to it.
        let share = move |at: i32, leaf: i32| (leaf + at).div_euclid(count);
        (0..count).map(move |at| Self { leaves: self.leaves.map(|leaf| share(at, leaf)), ..self.clone() })
    }

    /// The value of the leaf that is reached.
    pub fn value(&self, tree_inputs: &[f32]) -> i32 {
        let reached = self.splits.iter().fold(u64::MAX, |left, split| {
            let value = tree_inputs[split.input];
            let is_right = if value.is_nan() { split.missing_right } else { value >= split.threshold };
            left & if is_right { split.right } else { split.left }
        });
        self.leaves[reached.leading_zeros() as usize % 64]
    }

    /// Walks a tree from the left. A tree is at most 63 splits deep.
    fn number(&mut self, forest: &Forest, start: usize, node: usize, unit: f64) {
        let at = start + node;
        if forest.inputs[at] == LEAF {
            self.leaves[self.leaf_count] = (f64::from(forest.values[at]) / unit).round() as i32;
            self.leaf_count += 1;
            return;
        }
        let first = self.leaf_count;
        self.number(forest, start, forest.left[at] as usize, unit);
        let middle = self.leaf_count;
        self.number(forest, start, forest.right[at] as usize, unit);
        let without = |from: usize, to: usize| !(below(to) & !below(from)).reverse_bits();
        self.splits.push(NumberedSplit {
            input: forest.inputs[at] as usize,
            threshold: forest.values[at],
            missing_right: forest.missing[at] == forest.right[at],
            right: without(first, middle),
            left: without(middle, self.leaf_count),
        });
    }
}

/// The lowest `count` bits.
pub(super) fn below(count: usize) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}
