//! Boosted trees: the plain form that the artifact stores, and the factorised form that scores.
//!
//! The factorised form is QuickScorer (Lucchese et al., SIGIR 2015) split in two. A tree's leaves are numbered from the
//! left; each split has a mask of 64 bits in which the leaves under its left child are 0. The masks of the splits that
//! send the input right, ANDed, have their lowest set bit at the leaf that is reached. Every split tests either the
//! waiting interaction or the agent, and AND is associative: an agent's masks are computed once, a request's once, and
//! a pair costs one AND, one count of trailing zeros, one load and one addition a tree.

use super::artifact::ArtifactError;
use super::container::{Reader, Writer};
use super::encoding::Encoding;

/// Most leaves a tree can have: one bit each.
pub const MAX_LEAVES: usize = 64;
/// In [`Forest::inputs`]: the node is a leaf.
pub const LEAF: u16 = u16::MAX;
/// Agents whose sums advance together, so that additions of one agent need not wait for each other.
pub(super) const LANES: usize = 4;

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

    /// The sum over all trees, in their order.
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
        if !self.weights.iter().all(|weight| weight.is_finite() && *weight > 0.0) {
            return Err("a node has no weight");
        }
        if self.starts.is_empty() {
            return if nodes == 0 { Ok(()) } else { Err("the trees have no roots") };
        }
        if self.starts[0] != 0 || self.starts.last().copied() != Some(nodes as u32) {
            return Err("the trees' roots are wrong");
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

/// A split as a mask, of one side.
#[derive(Debug, Clone, Copy)]
struct MaskedSplit {
    threshold: f32,
    tree: u32,
    /// Zeros at the leaves under the left child.
    mask: u64,
}

/// The splits that test one tree input.
#[derive(Debug, Clone, Default)]
struct InputSplits {
    /// Ascending by threshold: a value sends every split up to itself right.
    splits: Vec<MaskedSplit>,
    /// Those that send a missing value right.
    missing_right: Vec<(u32, u64)>,
}

/// The forest, ready to score.
#[derive(Debug, Clone)]
pub(super) struct FactorisedForest {
    /// Per tree input.
    inputs: Vec<InputSplits>,
    is_agent: Vec<bool>,
    /// Per tree, its leaves from the left.
    leaves: Vec<[f32; MAX_LEAVES]>,
}

impl FactorisedForest {
    pub fn new(forest: &Forest, encoding: &Encoding) -> Self {
        let mut inputs = vec![InputSplits::default(); encoding.tree_inputs.len()];
        let mut leaves = Vec::with_capacity(forest.trees());
        for tree in 0..forest.trees() {
            let start = forest.starts[tree] as usize;
            let mut values = [0.0; MAX_LEAVES];
            let mut count = 0;
            number_leaves(forest, start, 0, &mut count, &mut |event| match event {
                Visited::Leaf { number, value } => values[number] = value,
                Visited::Split { node, first, middle } => {
                    let splits = &mut inputs[forest.inputs[node] as usize];
                    let mask = !(below(middle) & !below(first));
                    splits.splits.push(MaskedSplit { threshold: forest.values[node], tree: tree as u32, mask });
                    if forest.missing[node] == forest.right[node] {
                        splits.missing_right.push((tree as u32, mask));
                    }
                }
            });
            leaves.push(values);
        }
        for input in &mut inputs {
            input.splits.sort_by(|a, b| a.threshold.total_cmp(&b.threshold).then(a.tree.cmp(&b.tree)));
        }
        let is_agent = encoding.tree_inputs.iter().map(|input| encoding.is_agent_tree_input(*input)).collect();
        Self { inputs, is_agent, leaves }
    }

    pub fn trees(&self) -> usize {
        self.leaves.len()
    }

    /// Writes one side's masks, one a tree.
    pub fn masks(&self, agent_side: bool, tree_inputs: &[f32], masks: &mut [u64]) {
        masks.fill(u64::MAX);
        for ((input, value), is_agent) in self.inputs.iter().zip(tree_inputs).zip(&self.is_agent) {
            if *is_agent != agent_side {
                continue;
            }
            if value.is_nan() {
                for (tree, mask) in &input.missing_right {
                    masks[*tree as usize] &= mask;
                }
            } else {
                for split in input.splits.iter().take_while(|split| split.threshold <= *value) {
                    masks[split.tree as usize] &= split.mask;
                }
            }
        }
    }

    /// The sums of a few agents' trees, each in the order of the trees, as [`Forest::sum`] adds them.
    pub fn sums(&self, context: &[u64], agents: [&[u64]; LANES]) -> [f64; LANES] {
        let mut sums = [0.0; LANES];
        let [a, b, c, d] = agents;
        for (((((leaves, context), a), b), c), d) in self.leaves.iter().zip(context).zip(a).zip(b).zip(c).zip(d) {
            for (sum, agent) in sums.iter_mut().zip([a, b, c, d]) {
                let leaf = (context & agent).trailing_zeros() as usize % MAX_LEAVES;
                *sum += f64::from(leaves[leaf]);
            }
        }
        sums
    }
}

/// The lowest `count` bits.
fn below(count: usize) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

enum Visited {
    Leaf {
        number: usize,
        value: f32,
    },
    /// Leaves from `first` up to `middle` are under the left child.
    Split {
        node: usize,
        first: usize,
        middle: usize,
    },
}

/// Walks a tree from the left. A tree is at most 63 splits deep.
fn number_leaves(forest: &Forest, start: usize, node: usize, count: &mut usize, visit: &mut dyn FnMut(Visited)) {
    let at = start + node;
    if forest.inputs[at] == LEAF {
        visit(Visited::Leaf { number: *count, value: forest.values[at] });
        *count += 1;
        return;
    }
    let first = *count;
    number_leaves(forest, start, forest.left[at] as usize, count, visit);
    visit(Visited::Split { node: at, first, middle: *count });
    number_leaves(forest, start, forest.right[at] as usize, count, visit);
}
