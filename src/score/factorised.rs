//! Boosted trees in the form that scores: factorised QuickScorer.
//!
//! QuickScorer (Lucchese et al., SIGIR 2015): a tree's leaves are numbered from the left, and each split has a mask in which the
//! leaves under its left child are 0. The masks of the splits that send the input right, ANDed, have their lowest set bit at
//! the leaf that is reached. Every split tests either the waiting interaction or the agent, and AND is associative: an
//! agent's masks are computed when the agent changes, a request's once, and a pair costs one AND, one count of trailing zeros, one load
//! and one addition a tree.
//!
//! Leaves are whole numbers of the forest's unit (see [`Forest::round_leaves`]), so that sums do not depend on their order. Trees that test
//! one side alone are summed on that side; trees of at most 32 leaves have masks of half the size; a tree whose leaf is
//! decided by the context is added once for all agents.

use super::encoding::Encoding;
use super::forest::{Forest, LEAF};
use super::wide::{WIDE, Wide, WideMask};

/// Agents whose sums advance together without [`Wide`], so that one's additions need not wait for another's.
const LANES: usize = 4;
/// Fewer agents than this are quicker by [`LANES`] than as [`WIDE`].
const WORTH_WIDE: usize = 7;
/// Splits after which the masks of all before are kept together, so that a value needs few.
const STEP: usize = 64;
/// Trees after which sums of 24 bits leave their 32 bits.
pub(super) const TREES_A_SUM: usize = 128;
/// Of the trees with masks, the share that a context must decide for leaving them out to pay: without and with [`Wide`].
const WORTH_SKIPPING: [f64; 2] = [0.2, 0.6];

/// A split as a mask.
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
    /// After every [`STEP`] splits, their masks together: one a tree.
    together: Vec<u64>,
    /// Those that send a missing value right.
    missing_right: Vec<(u32, u64)>,
}

impl InputSplits {
    fn finish(&mut self, trees: usize) {
        self.splits.sort_by(|a, b| a.threshold.total_cmp(&b.threshold).then(a.tree.cmp(&b.tree)));
        let mut masks = vec![u64::MAX; trees];
        for step in self.splits.chunks_exact(STEP) {
            for split in step {
                masks[split.tree as usize] &= split.mask;
            }
            self.together.extend_from_slice(&masks);
        }
    }

    /// ANDs the masks of the splits that the value sends right.
    fn apply(&self, value: f32, masks: &mut [u64]) {
        if value.is_nan() {
            for (tree, mask) in &self.missing_right {
                masks[*tree as usize] &= mask;
            }
            return;
        }
        let count = self.splits.partition_point(|split| split.threshold <= value);
        if let Some(steps) = (count / STEP).checked_sub(1) {
            let together = &self.together[steps * masks.len()..];
            for (mask, together) in masks.iter_mut().zip(together) {
                *mask &= together;
            }
        }
        for split in &self.splits[count / STEP * STEP..count] {
            masks[split.tree as usize] &= split.mask;
        }
    }
}

/// The forest, ready to score. Trees are in an order of their own: those of [`Trees`] first, the small ones before the large ones, then
/// those of one side alone.
#[derive(Debug, Clone)]
pub(super) struct FactorisedForest {
    wide: Option<Wide>,
    unit: f64,
    /// Per tree input.
    inputs: Vec<InputSplits>,
    is_agent: Vec<bool>,
    small: Trees<u32>,
    large: Trees<u64>,
    /// Trees that test the context alone or nothing, and those that test the agent alone: their leaves, from the left.
    context_alone: Vec<[i32; 64]>,
    agent_alone: Vec<[i32; 64]>,
}

/// Trees that test both sides.
#[derive(Debug, Clone)]
struct Trees<M: WideMask> {
    leaves: Vec<M::Leaves>,
    /// Leaves under the left child of some split of the agent's: when the lowest leaf that a context leaves is none of them, it is
    /// reached whoever the agent is.
    agents_say: Vec<M>,
}

/// One bit a leaf.
pub(super) trait Mask: Copy {
    type Leaves: AsRef<[i32]> + Clone + std::fmt::Debug;
    fn of(mask: u64) -> Self;
    fn leaves(values: &[i32; 64]) -> Self::Leaves;
    fn and(self, other: Self) -> Self;
    /// The leaf that is reached. The rightmost leaf's bit and those above it are never cleared.
    fn leaf(self) -> usize;
    fn has(self, leaf: usize) -> bool;
}

/// A tree of at most 32 leaves needs 32 bits.
impl Mask for u32 {
    type Leaves = [i32; 32];
    fn of(mask: u64) -> Self {
        mask as u32
    }
    fn leaves(values: &[i32; 64]) -> [i32; 32] {
        std::array::from_fn(|leaf| values[leaf])
    }
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        self & other
    }
    #[inline(always)]
    fn leaf(self) -> usize {
        (self | 1 << 31).trailing_zeros() as usize
    }
    fn has(self, leaf: usize) -> bool {
        self >> leaf & 1 == 1
    }
}

impl Mask for u64 {
    type Leaves = [i32; 64];
    fn of(mask: u64) -> Self {
        mask
    }
    fn leaves(values: &[i32; 64]) -> [i32; 64] {
        *values
    }
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        self & other
    }
    #[inline(always)]
    fn leaf(self) -> usize {
        (self | 1 << 63).trailing_zeros() as usize
    }
    fn has(self, leaf: usize) -> bool {
        self >> leaf & 1 == 1
    }
}

/// One side's masks of the trees that test both sides.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Masks {
    pub small: Vec<u32>,
    pub large: Vec<u64>,
}

/// What a request knows of the trees.
#[derive(Debug, Clone)]
pub(super) struct ContextTrees {
    masks: Masks,
    /// Trees that an agent decides and their masks; none when too few are decided already for leaving them out.
    open: Option<Open>,
    /// The sum of the trees that no agent decides.
    decided: i64,
}

#[derive(Debug, Clone, Default)]
struct Open {
    small: Vec<(u32, u32)>,
    large: Vec<(u32, u64)>,
}

/// How many trees of each kind there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeCounts {
    /// Of both sides, with at most 32 leaves and with more.
    pub small: usize,
    pub large: usize,
    pub context_alone: usize,
    pub agent_alone: usize,
}

impl FactorisedForest {
    pub fn new(forest: &Forest, encoding: &Encoding) -> Self {
        let is_agent: Vec<bool> =
            encoding.tree_inputs.iter().map(|input| encoding.is_agent_tree_input(*input)).collect();
        let unit = forest.unit();
        let mut factorised = Self {
            wide: Wide::new(),
            unit,
            inputs: vec![InputSplits::default(); is_agent.len()],
            is_agent,
            small: Trees::new(),
            large: Trees::new(),
            context_alone: Vec::new(),
            agent_alone: Vec::new(),
        };
        let trees: Vec<NumberedTree> = (0..forest.trees()).map(|tree| NumberedTree::new(forest, tree, unit)).collect();
        let kind = |tree: &NumberedTree| {
            let tests = |agent: bool| tree.splits.iter().any(|split| factorised.is_agent[split.input] == agent);
            match (tests(false), tests(true)) {
                (true, true) if tree.leaf_count <= 32 => 0,
                (true, true) => 1,
                (_, false) => 2,
                (false, true) => 3,
            }
        };
        let kinds: Vec<usize> = trees.iter().map(kind).collect();
        let mut order: Vec<usize> = (0..trees.len()).collect();
        order.sort_by_key(|tree| kinds[*tree]);
        for (place, tree) in order.into_iter().enumerate() {
            factorised.add(place as u32, kinds[tree], &trees[tree]);
        }
        for input in &mut factorised.inputs {
            input.finish(trees.len());
        }
        factorised
    }

    fn add(&mut self, place: u32, kind: usize, tree: &NumberedTree) {
        let mut agents_say = 0;
        for split in &tree.splits {
            if self.is_agent[split.input] {
                agents_say |= !split.mask;
            }
            let splits = &mut self.inputs[split.input];
            splits.splits.push(MaskedSplit { threshold: split.threshold, tree: place, mask: split.mask });
            if split.missing_right {
                splits.missing_right.push((place, split.mask));
            }
        }
        match kind {
            0 => self.small.push(tree, agents_say),
            1 => self.large.push(tree, agents_say),
            2 => self.context_alone.push(tree.leaves),
            _ => self.agent_alone.push(tree.leaves),
        }
    }

    pub fn counts(&self) -> TreeCounts {
        TreeCounts {
            small: self.small.leaves.len(),
            large: self.large.leaves.len(),
            context_alone: self.context_alone.len(),
            agent_alone: self.agent_alone.len(),
        }
    }

    /// From units to the trees' sum.
    pub fn in_margin(&self, sum: i64) -> f64 {
        sum as f64 * self.unit
    }

    /// The masks of an agent, and the sum of the trees that test nothing else.
    pub fn agent(&self, tree_inputs: &[f32]) -> (Masks, i64) {
        let all = self.masks(true, tree_inputs);
        let (small, large) = (self.small.leaves.len(), self.large.leaves.len());
        let alone = &all[small + large + self.context_alone.len()..];
        (self.split_masks(&all), sum_alone(&self.agent_alone, alone))
    }

    pub fn context(&self, tree_inputs: &[f32]) -> ContextTrees {
        let all = self.masks(false, tree_inputs);
        let masks = self.split_masks(&all);
        let alone = &all[masks.small.len() + masks.large.len()..][..self.context_alone.len()];
        let mut decided = sum_alone(&self.context_alone, alone);
        let (small, small_decided) = self.small.open(&masks.small);
        let (large, large_decided) = self.large.open(&masks.large);
        let all = masks.small.len() + masks.large.len();
        let skipped = all - small.len() - large.len();
        let worth = WORTH_SKIPPING[usize::from(self.wide.is_some())];
        let open = (skipped as f64 >= worth * all as f64 && skipped > 0).then_some(Open { small, large });
        if open.is_some() {
            decided += small_decided + large_decided;
        }
        ContextTrees { masks, open, decided }
    }

    /// The sums of the first `count` agents' trees, apart from those that test an agent alone.
    pub fn sums(
        &self,
        context: &ContextTrees,
        small: [&[u32]; WIDE],
        large: [&[u64]; WIDE],
        count: usize,
    ) -> [i64; WIDE] {
        let mut sums = [context.decided; WIDE];
        match (&context.open, self.wide.filter(|_| count >= WORTH_WIDE)) {
            (None, Some(wide)) => {
                wide.add_sums(&self.small.leaves, &context.masks.small, small, &mut sums);
                wide.add_sums(&self.large.leaves, &context.masks.large, large, &mut sums);
            }
            (open, _) => {
                for (few, sums) in sums.as_chunks_mut().0.iter_mut().enumerate().take(count.div_ceil(LANES)) {
                    let (small, large) = (lanes(&small, few), lanes(&large, few));
                    match open {
                        None => {
                            self.small.add_sums(&context.masks.small, small, sums);
                            self.large.add_sums(&context.masks.large, large, sums);
                        }
                        Some(open) => {
                            self.small.add_open_sums(&open.small, small, sums);
                            self.large.add_open_sums(&open.large, large, sums);
                        }
                    }
                }
            }
        }
        sums
    }

    /// The sum of one agent's trees, apart from those that test it alone.
    pub fn sum(&self, context: &ContextTrees, masks: &Masks) -> i64 {
        self.sums(context, [&masks.small; WIDE], [&masks.large; WIDE], 1)[0]
    }

    /// One side's masks of all trees, in the order of this form.
    fn masks(&self, agent_side: bool, tree_inputs: &[f32]) -> Vec<u64> {
        let counts = self.counts();
        let mut masks = vec![u64::MAX; counts.small + counts.large + counts.context_alone + counts.agent_alone];
        for ((input, value), is_agent) in self.inputs.iter().zip(tree_inputs).zip(&self.is_agent) {
            if *is_agent != agent_side {
                continue;
            }
            input.apply(*value, &mut masks);
        }
        masks
    }

    fn split_masks(&self, all: &[u64]) -> Masks {
        let (small, rest) = all.split_at(self.small.leaves.len());
        Masks {
            small: small.iter().map(|mask| u32::of(*mask)).collect(),
            large: rest[..self.large.leaves.len()].to_vec(),
        }
    }
}

fn lanes<'a, M>(all: &[&'a [M]; WIDE], few: usize) -> [&'a [M]; LANES] {
    std::array::from_fn(|lane| all[few * LANES + lane])
}

fn sum_alone(leaves: &[[i32; 64]], masks: &[u64]) -> i64 {
    leaves.iter().zip(masks).map(|(leaves, mask)| i64::from(leaves[mask.leaf()])).sum()
}

impl<M: WideMask> Trees<M> {
    fn new() -> Self {
        Self { leaves: Vec::new(), agents_say: Vec::new() }
    }

    fn push(&mut self, tree: &NumberedTree, agents_say: u64) {
        self.leaves.push(M::leaves(&tree.leaves));
        self.agents_say.push(M::of(agents_say));
    }

    /// The trees that an agent decides, and the sum of the others.
    fn open(&self, context: &[M]) -> (Vec<(u32, M)>, i64) {
        let mut open = Vec::with_capacity(context.len());
        let mut decided = 0;
        for (tree, ((leaves, say), mask)) in self.leaves.iter().zip(&self.agents_say).zip(context).enumerate() {
            if say.has(mask.leaf()) {
                open.push((tree as u32, *mask));
            } else {
                decided += i64::from(leaves.as_ref()[mask.leaf()]);
            }
        }
        (open, decided)
    }

    fn add_sums(&self, context: &[M], agents: [&[M]; LANES], sums: &mut [i64; LANES]) {
        let chunks = self.leaves.chunks(TREES_A_SUM).zip(context.chunks(TREES_A_SUM));
        for (chunk, (leaves, context)) in chunks.enumerate() {
            let [a, b, c, d] = agents.map(|masks| &masks[chunk * TREES_A_SUM..][..leaves.len()]);
            let mut part = [0i32; LANES];
            for (((((leaves, context), a), b), c), d) in leaves.iter().zip(context).zip(a).zip(b).zip(c).zip(d) {
                for (sum, agent) in part.iter_mut().zip([a, b, c, d]) {
                    *sum += leaves.as_ref()[context.and(*agent).leaf()];
                }
            }
            for (sum, part) in sums.iter_mut().zip(part) {
                *sum += i64::from(part);
            }
        }
    }

    fn add_open_sums(&self, open: &[(u32, M)], agents: [&[M]; LANES], sums: &mut [i64; LANES]) {
        for chunk in open.chunks(TREES_A_SUM) {
            let mut part = [0i32; LANES];
            for (tree, context) in chunk {
                let leaves = self.leaves[*tree as usize].as_ref();
                for (sum, agent) in part.iter_mut().zip(agents) {
                    *sum += leaves[context.and(agent[*tree as usize]).leaf()];
                }
            }
            for (sum, part) in sums.iter_mut().zip(part) {
                *sum += i64::from(part);
            }
        }
    }
}

/// A tree with its leaves numbered from the left.
struct NumberedTree {
    splits: Vec<NumberedSplit>,
    /// In units of the forest.
    leaves: [i32; 64],
    leaf_count: usize,
}

struct NumberedSplit {
    input: usize,
    threshold: f32,
    mask: u64,
    missing_right: bool,
}

impl NumberedTree {
    fn new(forest: &Forest, tree: usize, unit: f64) -> Self {
        let mut numbered = Self { splits: Vec::new(), leaves: [0; 64], leaf_count: 0 };
        numbered.number(forest, forest.starts[tree] as usize, 0, unit);
        numbered
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
        self.splits.push(NumberedSplit {
            input: forest.inputs[at] as usize,
            threshold: forest.values[at],
            mask: !(below(self.leaf_count) & !below(first)),
            missing_right: forest.missing[at] == forest.right[at],
        });
        self.number(forest, start, forest.right[at] as usize, unit);
    }
}

/// The lowest `count` bits.
fn below(count: usize) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}
