//! Boosted trees in the plain form that the artifact stores.

use super::artifact::ArtifactError;
use super::container::{Reader, Writer};

/// Most leaves a tree can have: one bit each.
pub const MAX_LEAVES: usize = 64;
/// Most trees.
pub(super) const MAX_TREES: usize = 1 << 15;
const _: () = assert!(most_pieces(MAX_TREES) <= u16::MAX as usize, "a piece's number");
const _: () = assert!(most_pieces(MAX_TREES) * PIECE <= i32::MAX as usize, "the sum of a leaf of each");
/// In [`Forest::inputs`]: the node is a leaf.
pub const LEAF: u16 = u16::MAX;
/// Leaves have so many binary digits in the forest's common unit, more in a few trees only (see [`Forest::unit`]). With 500 trees, rounding
/// to them moves a probability by 0.00002 in the mean.
pub(super) const LEAF_DIGITS: u32 = 13;
/// So many units at most are between two leaves of a tree, or between a leaf and 0. A larger tree is added in pieces.
pub(super) const PIECE: usize = (1 << (LEAF_DIGITS + 1)) - 1;
/// Digits that leaves shall differ by in most trees, and how many more than [`LEAF_DIGITS`] are taken for that in the largest.
const TYPICAL_DIGITS: i32 = 10;
const MORE_DIGITS: usize = 7;

/// Of so many trees.
const fn most_pieces(trees: usize) -> usize {
    trees + trees / 8
}

/// In how many pieces a tree of so many units is added.
pub(super) fn pieces(size: usize) -> usize {
    size.div_ceil(PIECE).max(1)
}

/// Trees as arrays of nodes. A tree's first node is its root.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Forest {
    /// Index of each tree's root, then the number of all nodes.
    pub starts: Vec<u32>,
    /// The tree input that a node tests, or [`LEAF`].
    pub inputs: Vec<u16>,
    /// Values below go left, others right; a leaf's value.
    pub values: Vec<f32>,
    /// Children, counted from the tree's root.
    pub left: Vec<u16>,
    pub right: Vec<u16>,
    /// Where a missing value goes: the left or the right child.
    pub missing: Vec<u16>,
    /// The weight of the training rows that reached the node (the sum of their second derivatives), above 0.
    pub weights: Vec<f32>,
}

impl Forest {
    pub fn trees(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// The value of the leaf that the tree inputs reach (NaN is missing): plain traversal.
    pub fn leaf(&self, tree: usize, tree_inputs: &[f32]) -> f32 {
        let start = self.starts[tree] as usize;
        let mut node = start;
        while self.inputs[node] != LEAF {
            let value = tree_inputs[self.inputs[node] as usize];
            let next = if value.is_nan() {
                self.missing[node]
            } else if value < self.values[node] {
                self.left[node]
            } else {
                self.right[node]
            };
            node = start + next as usize;
        }
        self.values[node]
    }

    /// The common unit of [`Forest::round_leaves`], a power of two: the largest leaf is less than 2¹³ of it. Where a few trees are so much larger than
    /// the others that these would have few digits left, it is finer, and those few are added in pieces.
    pub(super) fn unit(&self) -> f64 {
        let leaves = self.inputs.iter().zip(&self.values).filter(|(input, _)| **input == LEAF);
        let largest = leaves.map(|(_, value)| value.abs()).fold(0.0, f32::max);
        // A float's exponent without a logarithm's rounding: 1 is the smallest normal number's.
        let exponent = (largest.to_bits() >> 23).max(1) as i32 - 127;
        let mut unit = 2f64.powi(exponent + 1 - LEAF_DIGITS as i32);
        let mut sizes: Vec<f64> = (0..self.trees()).map(|tree| self.size(tree)).collect();
        sizes.sort_by(f64::total_cmp);
        let typical = sizes.get(sizes.len() / 2).copied().unwrap_or(0.0);
        for _ in 0..MORE_DIGITS {
            let finer = unit / 2.0;
            let pieces_then = || sizes.iter().map(|size| pieces((size / finer) as usize)).sum::<usize>();
            if typical >= 2f64.powi(TYPICAL_DIGITS) * unit || pieces_then() > most_pieces(sizes.len()) {
                break;
            }
            unit = finer;
        }
        unit
    }

    /// What is between the least and the greatest of a tree's leaves and 0.
    fn size(&self, tree: usize) -> f64 {
        let nodes = self.starts[tree] as usize..self.starts[tree + 1] as usize;
        let leaves = nodes.filter(|at| self.inputs[*at] == LEAF).map(|at| f64::from(self.values[at]));
        let (least, greatest) =
            leaves.fold((0.0, 0.0), |(least, greatest), leaf| (leaf.min(least), leaf.max(greatest)));
        greatest - least
    }

    /// Rounds every leaf to a whole number of the forest's unit. Sums of leaves are then exact, and the same in any order,
    /// which the engine makes use of. An artifact's leaves are rounded when it is made and when it is read.
    pub fn round_leaves(&mut self) {
        loop {
            let unit = self.unit();
            for (_, value) in self.inputs.iter().zip(&mut self.values).filter(|(input, _)| **input == LEAF) {
                *value = ((f64::from(*value) / unit).round() * unit) as f32;
            }
            // The largest one may have become the next power of two; whole numbers of a unit are whole numbers of a finer one.
            if self.unit() <= unit {
                return;
            }
        }
    }

    /// The sum over all trees.
    pub fn sum(&self, tree_inputs: &[f32]) -> f64 {
        (0..self.trees()).map(|tree| f64::from(self.leaf(tree, tree_inputs))).sum::<f64>() + 0.0
    }

    pub fn push_leaf(&mut self, value: f32, weight: f32) {
        self.inputs.push(LEAF);
        self.values.push(value);
        self.left.push(0);
        self.right.push(0);
        self.missing.push(0);
        self.weights.push(weight);
    }

    /// A node that sends `values` below `threshold` to `left`; `missing` is one of the children.
    pub fn push_split(&mut self, input: u16, threshold: f32, children: [u16; 2], missing: u16, weight: f32) {
        self.inputs.push(input);
        self.values.push(threshold);
        self.left.push(children[0]);
        self.right.push(children[1]);
        self.missing.push(missing);
        self.weights.push(weight);
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.u32s(&self.starts);
        writer.u16s(&self.inputs);
        writer.f32s(&self.values);
        writer.u16s(&self.left);
        writer.u16s(&self.right);
        writer.u16s(&self.missing);
        writer.f32s(&self.weights);
    }

    /// Format 1 has no weights: each leaf counts as one.
    pub(super) fn read(reader: &mut Reader<'_>, format: u32) -> Result<Forest, ArtifactError> {
        let mut forest = Forest {
            starts: reader.u32s()?,
            inputs: reader.u16s()?,
            values: reader.f32s()?,
            left: reader.u16s()?,
            right: reader.u16s()?,
            missing: reader.u16s()?,
            weights: Vec::new(),
        };
        forest.weights = if format == 1 { forest.leaf_counts() } else { reader.f32s()? };
        forest.round_leaves();
        Ok(forest)
    }

    /// Of each node, the leaves below it. Children come after their parents.
    fn leaf_counts(&self) -> Vec<f32> {
        let mut counts: Vec<f32> = self.inputs.iter().map(|input| f32::from(u8::from(*input == LEAF))).collect();
        for start in self.starts.windows(2).rev().map(|tree| tree[0] as usize..tree[1] as usize) {
            for at in start.clone().rev().filter(|at| self.inputs[*at] != LEAF) {
                let below = |child: u16| counts.get(start.start + child as usize).copied().unwrap_or(0.0);
                counts[at] = below(self.left[at]) + below(self.right[at]);
            }
        }
        counts
    }

    /// Indexes in range, children after their parent (so that a traversal ends), at most 64 leaves.
    pub(super) fn check(&self, tree_inputs: usize) -> Result<(), &'static str> {
        let nodes = self.inputs.len();
        let lengths = [&self.left, &self.right, &self.missing].map(Vec::len);
        if lengths != [nodes; 3] || [&self.values, &self.weights].map(Vec::len) != [nodes; 2] {
            return Err("the trees' arrays differ in length");
        }
        let is_value = |(input, value): (&u16, &f32)| if *input == LEAF { value.is_finite() } else { !value.is_nan() };
        if !self.inputs.iter().zip(&self.values).all(is_value) {
            return Err("a threshold or a leaf is no number");
        }
        if !self.weights.iter().all(|weight| weight.is_finite() && *weight > 0.0) {
            return Err("a node has no weight");
        }
        if self.starts.is_empty() {
            return if nodes == 0 { Ok(()) } else { Err("the trees have no roots") };
        }
        if self.starts[0] != 0 || self.starts.last().copied() != Some(nodes as u32) {
            return Err("the trees' roots are wrong");
        }
        if self.trees() > MAX_TREES {
            return Err("there are more than 32,768 trees");
        }
        for pair in self.starts.windows(2) {
            if pair[0] >= pair[1] || pair[1] as usize > nodes {
                return Err("a tree is empty");
            }
            let (start, count) = (pair[0] as usize, (pair[1] - pair[0]) as usize);
            let mut leaves = 0;
            let mut parents = vec![0u8; count];
            for node in 0..count {
                let at = start + node;
                if self.inputs[at] == LEAF {
                    leaves += 1;
                    continue;
                }
                let (left, right) = (self.left[at] as usize, self.right[at] as usize);
                let fits = (self.inputs[at] as usize) < tree_inputs
                    && left > node
                    && right > node
                    && left != right
                    && left < count
                    && right < count
                    && (self.missing[at] == self.left[at] || self.missing[at] == self.right[at]);
                if !fits {
                    return Err("a split is out of range");
                }
                parents[left] = parents[left].saturating_add(1);
                parents[right] = parents[right].saturating_add(1);
            }
            if leaves > MAX_LEAVES || parents.iter().skip(1).any(|count| *count != 1) {
                return Err("a tree is not a tree of at most 64 leaves");
            }
        }
        Ok(())
    }
}
