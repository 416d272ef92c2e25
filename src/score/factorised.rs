//! Boosted trees in the form that scores: factorised QuickScorer.
//!
//! QuickScorer (Lucchese et al., SIGIR 2015): a tree's leaves are numbered from the left, the first one being a mask's highest bit, and
//! each split has a mask in which the leaves under its left child are 0. The masks of the splits that send the input right, ANDed, have
//! their highest set bit at the leaf that is reached. Every split tests either the waiting interaction or the agent, and AND is associative: an
//! agent's masks are computed when the agent changes, a request's once, and a pair costs one AND, one count of leading zeros, one load
//! and one addition a tree.
//!
//! Leaves are whole numbers of the forest's unit (see [`Forest::round_leaves`]), so that sums do not depend on their order. Trees that test
//! one side alone are summed on that side; trees of at most 32 leaves have masks of half the size; a tree whose leaf is
//! decided by the context is added once for all agents. Where the processor can, agents go by their bytes instead (`bytes.rs`), and only contexts
//! have masks.

use pulp::{Arch, NullaryFnOnce};

use super::bytes::{ByteForest, Row, has_few, write_places};
use super::encoding::Encoding;
use super::forest::Forest;
use super::numbered::{NumberedTree, below};
use super::splits::{InputSplits, ValueMasks};
use super::wide::{ByteInstructions, WIDE, Wide, WideMask};

/// Trees whose masks lie side by side.
pub(super) const SIDE_BY_SIDE: usize = 8;
/// Agents whose sums advance together without [`Wide`], so that one's additions need not wait for another's.
const LANES: usize = 4;
/// Fewer agents than this are quicker by [`LANES`] than as [`WIDE`].
const WORTH_WIDE: usize = 7;
/// Of the trees with masks, the share that a context must decide for leaving them out to pay: without and with [`Wide`].
const WORTH_SKIPPING: [f64; 2] = [0.2, 0.6];

/// The forest, ready to score. Trees are in an order of their own: those of [`Trees`] first, the small ones before the large ones (and of these
/// those with few splits of the agent, see [`ByteForest`]), then those of one side alone.
#[derive(Debug, Clone)]
pub(super) struct FactorisedForest {
    wide: Option<Wide>,
    /// The same trees for many agents at once.
    bytes: Option<ByteForest>,
    unit: f64,
    /// Per tree, a bit for each leaf.
    leaves: Vec<u64>,
    /// Per tree input.
    inputs: Vec<InputSplits>,
    is_agent: Vec<bool>,
    small: Trees<u32>,
    large: Trees<u64>,
    /// Trees that test the context alone or nothing, and those that test the agent alone.
    context_alone: Vec<[i32; 64]>,
    agent_alone: Vec<NumberedTree>,
}

/// Trees that test both sides.
#[derive(Debug, Clone)]
struct Trees<M: WideMask> {
    /// By eights; the last eight are filled up with trees that add nothing.
    leaves: Vec<M::Leaves>,
    count: usize,
}

/// One bit a leaf.
pub(super) trait Mask: Copy {
    type Eight: Copy + std::fmt::Debug;
    fn eight(masks: [Self; SIDE_BY_SIDE]) -> Self::Eight;
    fn masks(eight: &Self::Eight) -> &[Self; SIDE_BY_SIDE];
    type Leaves: AsRef<[i32]> + Clone + std::fmt::Debug;
    fn of(mask: u64) -> Self;
    fn leaves(values: &[i32; 64]) -> Self::Leaves;
    fn and(self, other: Self) -> Self;
    /// The leaf that is reached.
    fn leaf(self) -> usize;
    fn is_decided(self) -> bool;
}

/// A tree of at most 32 leaves needs 32 bits.
impl Mask for u32 {
    type Eight = SmallEight;
    fn eight(masks: [u32; SIDE_BY_SIDE]) -> SmallEight {
        SmallEight(masks)
    }
    #[inline(always)]
    fn masks(eight: &SmallEight) -> &[u32; SIDE_BY_SIDE] {
        &eight.0
    }
    type Leaves = [i32; 32];
    fn of(mask: u64) -> Self {
        (mask >> 32) as u32
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
        (self | 1).leading_zeros() as usize
    }
    fn is_decided(self) -> bool {
        self.is_power_of_two()
    }
}

impl Mask for u64 {
    type Eight = LargeEight;
    fn eight(masks: [u64; SIDE_BY_SIDE]) -> LargeEight {
        LargeEight(masks)
    }
    #[inline(always)]
    fn masks(eight: &LargeEight) -> &[u64; SIDE_BY_SIDE] {
        &eight.0
    }
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
        (self | 1).leading_zeros() as usize
    }
    fn is_decided(self) -> bool {
        self.is_power_of_two()
    }
}

/// One side's masks of the trees that test both sides, by eights; the last eight are filled up.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Masks {
    pub small: Vec<SmallEight>,
    pub large: Vec<LargeEight>,
}

/// An agent's masks.
pub(super) type AgentMasks<'a, M> = &'a [<M as Mask>::Eight];

/// Eight masks in one line of the cache, or in half of one.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(align(32))]
pub(super) struct SmallEight(pub [u32; SIDE_BY_SIDE]);

#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(align(64))]
pub(super) struct LargeEight(pub [u64; SIDE_BY_SIDE]);

/// What trees know of an agent: those of both sides its places where agents go by their bytes, its masks where they do not; and the sum of those
/// that test the agent alone.
#[derive(Debug, Clone, Default)]
pub(super) struct AgentTrees {
    pub places: Vec<u8>,
    pub masks: Masks,
    pub alone: i64,
}

/// What a request knows of the trees.
#[derive(Debug, Clone)]
pub(super) struct ContextTrees {
    /// Of all trees.
    all: Vec<u64>,
    /// The same for agents by their masks.
    masks: Masks,
    /// Trees that an agent decides and their masks; none when too few are decided already for leaving them out.
    open: Option<Open>,
    /// The sum of the trees that test the context alone, and of all that no agent decides.
    context_alone: i64,
    decided: i64,
}

impl ContextTrees {
    /// The masks of all trees, those that test both sides first; and the sum of the trees that test the context alone.
    pub fn all(&self) -> (&[u64], i64) {
        (&self.all, self.context_alone)
    }
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
    /// Agents go by their bytes, not by their masks.
    pub by_bytes: bool,
}

impl FactorisedForest {
    /// `bytes` for agents by their bytes, if the trees fit; otherwise they go by their masks.
    pub fn new(forest: &Forest, encoding: &Encoding, bytes: Option<ByteInstructions>) -> Self {
        let is_agent: Vec<bool> =
            encoding.tree_inputs.iter().map(|input| encoding.is_agent_tree_input(*input)).collect();
        let unit = forest.unit();
        let mut factorised = Self {
            wide: Wide::new(),
            bytes: None,
            unit,
            leaves: Vec::new(),
            inputs: Vec::new(),
            is_agent,
            small: Trees::new(),
            large: Trees::new(),
            context_alone: Vec::new(),
            agent_alone: Vec::new(),
        };
        let numbered = (0..forest.trees()).map(|tree| NumberedTree::new(forest, tree, unit));
        let trees: Vec<NumberedTree> = numbered.flat_map(NumberedTree::into_pieces).collect();
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
        order.sort_by_key(|tree| (kinds[*tree], !has_few(&trees[*tree], &factorised.is_agent)));
        factorised.bytes = bytes.and_then(|instructions| {
            let both = order.iter().filter(|tree| kinds[**tree] < 2).map(|tree| &trees[*tree]);
            ByteForest::new(instructions, &both.collect::<Vec<_>>(), &factorised.is_agent)
        });
        let mut splits = vec![Vec::new(); factorised.is_agent.len()];
        for (place, tree) in order.iter().enumerate() {
            factorised.add(kinds[*tree], &trees[*tree]);
            // Agents who go by their bytes have no masks, and trees that test the agent alone need none.
            let by_masks =
                |input: usize| !factorised.is_agent[input] || (factorised.bytes.is_none() && kinds[*tree] < 3);
            for split in trees[*tree].splits.iter().filter(|split| by_masks(split.input)) {
                splits[split.input].push((split, place));
            }
        }
        factorised.inputs = splits.into_iter().map(|splits| InputSplits::new(splits, trees.len())).collect();
        factorised.small.fill_up();
        factorised.large.fill_up();
        factorised
    }

    fn add(&mut self, kind: usize, tree: &NumberedTree) {
        self.leaves.push(!below(64 - tree.leaf_count));
        let by_masks = self.bytes.is_none();
        match kind {
            0 => self.small.add(tree, by_masks),
            1 => self.large.add(tree, by_masks),
            2 => self.context_alone.push(tree.leaves),
            _ => self.agent_alone.push(tree.clone()),
        }
    }

    pub fn counts(&self) -> TreeCounts {
        TreeCounts {
            small: self.small.count,
            large: self.large.count,
            context_alone: self.context_alone.len(),
            agent_alone: self.agent_alone.len(),
            by_bytes: self.bytes.is_some(),
        }
    }

    /// From units to the trees' sum.
    pub fn in_margin(&self, sum: i64) -> f64 {
        sum as f64 * self.unit
    }

    pub fn agent(&self, tree_inputs: &[f32]) -> AgentTrees {
        let (places, masks) = match &self.bytes {
            Some(forest) => (forest.places(tree_inputs).collect(), Masks::default()),
            None => (Vec::new(), self.split_masks(&self.masks(true, tree_inputs))),
        };
        let alone = self.agent_alone.iter().map(|tree| i64::from(tree.value(tree_inputs))).sum();
        AgentTrees { places, masks, alone }
    }

    pub fn context(&self, tree_inputs: &[f32]) -> ContextTrees {
        let all = self.masks(false, tree_inputs);
        let undecided = self.small.count + self.large.count;
        let alone = &all[undecided..][..self.context_alone.len()];
        let context_alone = sum_alone(&self.context_alone, alone);
        if self.bytes.is_some() {
            return ContextTrees { all, masks: Masks::default(), open: None, context_alone, decided: context_alone };
        }
        let mut decided = context_alone;
        let masks = self.split_masks(&all);
        let skipped = self.small.decided(&masks.small) + self.large.decided(&masks.large);
        let worth = WORTH_SKIPPING[usize::from(self.wide.is_some())];
        let open = (skipped as f64 >= worth * undecided as f64 && skipped > 0).then(|| {
            let (small, small_decided) = self.small.open(&masks.small);
            let (large, large_decided) = self.large.open(&masks.large);
            decided += small_decided + large_decided;
            Open { small, large }
        });
        ContextTrees { all, masks, open, context_alone, decided }
    }

    /// The sums of agents' trees, of no more agents than are scored at once by their bytes.
    pub fn sums(&self, context: &ContextTrees, agents: &[AgentTrees]) -> Vec<i64> {
        let Some(forest) = &self.bytes else {
            return agents.iter().map(|agent| self.sum(context, &agent.masks) + agent.alone).collect();
        };
        let mut sums = vec![0; agents.len()];
        let write_all = |rows: &mut [Row]| {
            for (at, agent) in agents.iter().enumerate() {
                write_places(rows, at, agent.places.iter().copied());
            }
        };
        forest.sums(context, [(write_all, sums.as_mut_slice())].into_iter());
        for (sum, agent) in sums.iter_mut().zip(agents) {
            *sum += agent.alone;
        }
        sums
    }

    /// The sums of the first `count` agents' trees by their masks, apart from those that test an agent alone.
    pub fn sums_by_masks(
        &self,
        context: &ContextTrees,
        small: &[AgentMasks<'_, u32>; WIDE],
        large: &[AgentMasks<'_, u64>; WIDE],
        count: usize,
    ) -> [i64; WIDE] {
        let mut sums = [context.decided; WIDE];
        if let (None, Some(wide), WORTH_WIDE..) = (&context.open, self.wide, count) {
            wide.add_sums::<u32>(&self.small.leaves, &context.masks.small, small, &mut sums);
            wide.add_sums::<u64>(&self.large.leaves, &context.masks.large, large, &mut sums);
            return sums;
        }
        let (small, large) = (small.as_chunks::<LANES>().0, large.as_chunks::<LANES>().0);
        let few = sums.as_chunks_mut::<LANES>().0.iter_mut().zip(small.iter().zip(large));
        for (sums, (small, large)) in few.take(count.div_ceil(LANES)) {
            match &context.open {
                None => {
                    self.small.add_sums(&context.masks.small, *small, sums);
                    self.large.add_sums(&context.masks.large, *large, sums);
                }
                Some(open) => {
                    self.small.add_open_sums(&open.small, *small, sums);
                    self.large.add_open_sums(&open.large, *large, sums);
                }
            }
        }
        sums
    }

    /// The same trees for many agents at once; none where that is not possible.
    pub fn bytes(&self) -> Option<&ByteForest> {
        self.bytes.as_ref()
    }

    /// The sum of one agent's trees, apart from those that test it alone.
    pub fn sum(&self, context: &ContextTrees, masks: &Masks) -> i64 {
        context.decided
            + match &context.open {
                None => {
                    self.small.sum(&context.masks.small, &masks.small)
                        + self.large.sum(&context.masks.large, &masks.large)
                }
                Some(open) => {
                    self.small.open_sum(&open.small, &masks.small) + self.large.open_sum(&open.large, &masks.large)
                }
            }
    }

    /// One side's masks of all trees, in the order of this form.
    fn masks(&self, agent_side: bool, tree_inputs: &[f32]) -> Vec<u64> {
        let mut masks = self.leaves.clone();
        Arch::new().dispatch(Apply { forest: self, agent_side, tree_inputs, masks: &mut masks });
        masks
    }

    fn split_masks(&self, all: &[u64]) -> Masks {
        let (small, rest) = all.split_at(self.small.count);
        Masks { small: by_eights::<u32>(small), large: by_eights::<u64>(&rest[..self.large.count]) }
    }
}

/// Makes one side's masks of all trees, with the widest registers that there are.
struct Apply<'a> {
    forest: &'a FactorisedForest,
    agent_side: bool,
    tree_inputs: &'a [f32],
    masks: &'a mut [u64],
}

impl NullaryFnOnce for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { forest, agent_side, tree_inputs, masks } = self;
        let inputs = forest.inputs.iter().zip(tree_inputs).zip(&forest.is_agent);
        let own = inputs.filter(|(_, is_agent)| **is_agent == agent_side);
        let all: Vec<ValueMasks<'_>> = own.filter_map(|((input, value), _)| input.of(*value)).collect();
        ValueMasks::and_all(&all, masks);
    }
}

/// What fills up does not matter: it belongs to trees that add nothing.
fn by_eights<M: Mask>(masks: &[u64]) -> Vec<M::Eight> {
    let eight = |some: &[u64]| M::eight(std::array::from_fn(|at| M::of(some.get(at).copied().unwrap_or(u64::MAX))));
    masks.chunks(SIDE_BY_SIDE).map(eight).collect()
}

fn sum_alone(leaves: &[[i32; 64]], masks: &[u64]) -> i64 {
    leaves.iter().zip(masks).map(|(leaves, mask)| i64::from(leaves[mask.leaf()])).sum()
}

impl<M: WideMask> Trees<M> {
    fn new() -> Self {
        Self { leaves: Vec::new(), count: 0 }
    }

    fn add(&mut self, tree: &NumberedTree, by_masks: bool) {
        if by_masks {
            self.leaves.push(M::leaves(&tree.leaves));
        }
        self.count += 1;
    }

    fn fill_up(&mut self) {
        let eights = self.leaves.len().next_multiple_of(SIDE_BY_SIDE);
        self.leaves.resize_with(eights, || M::leaves(&[0; 64]));
    }

    fn masks<'a>(eights: &'a [M::Eight]) -> impl Iterator<Item = &'a M>
    where
        M: 'a,
    {
        eights.iter().flat_map(M::masks)
    }

    /// How many trees the context decides.
    fn decided(&self, context: &[M::Eight]) -> usize {
        Self::masks(context).take(self.count).filter(|mask| mask.is_decided()).count()
    }

    /// The trees that an agent decides, and the sum of the others.
    fn open(&self, context: &[M::Eight]) -> (Vec<(u32, M)>, i64) {
        let mut open = Vec::with_capacity(self.count);
        let mut decided = 0;
        for (tree, (leaves, mask)) in self.leaves.iter().zip(Self::masks(context)).take(self.count).enumerate() {
            if mask.is_decided() {
                decided += i64::from(leaves.as_ref()[mask.leaf()]);
            } else {
                open.push((tree as u32, *mask));
            }
        }
        (open, decided)
    }

    fn sum(&self, context: &[M::Eight], agent: AgentMasks<'_, M>) -> i64 {
        let masks = Self::masks(context).zip(Self::masks(agent));
        let leaf = |(leaves, (context, agent)): (&M::Leaves, (&M, &M))| leaves.as_ref()[context.and(*agent).leaf()];
        self.leaves.iter().zip(masks).map(leaf).map(i64::from).sum()
    }

    fn open_sum(&self, open: &[(u32, M)], agent: AgentMasks<'_, M>) -> i64 {
        let leaf = |(tree, context): &(u32, M)| {
            let tree = *tree as usize;
            let mask = M::masks(&agent[tree / SIDE_BY_SIDE])[tree % SIDE_BY_SIDE];
            self.leaves[tree].as_ref()[context.and(mask).leaf()]
        };
        open.iter().map(leaf).map(i64::from).sum()
    }

    fn add_sums(&self, context: &[M::Eight], agents: [AgentMasks<'_, M>; LANES], sums: &mut [i64; LANES]) {
        let mut part = [0i32; LANES];
        let eights = self.leaves.as_chunks::<SIDE_BY_SIDE>().0.iter().zip(context);
        for (at, (leaves, context)) in eights.enumerate() {
            let agents = agents.map(|agent| M::masks(&agent[at]));
            for (tree, (leaves, context)) in leaves.iter().zip(M::masks(context)).enumerate() {
                for (sum, agent) in part.iter_mut().zip(&agents) {
                    *sum += leaves.as_ref()[context.and(agent[tree]).leaf()];
                }
            }
        }
        add_to(sums, part);
    }

    fn add_open_sums(&self, open: &[(u32, M)], agents: [AgentMasks<'_, M>; LANES], sums: &mut [i64; LANES]) {
        let mut part = [0i32; LANES];
        for (tree, context) in open {
            let tree = *tree as usize;
            let leaves = self.leaves[tree].as_ref();
            for (sum, agent) in part.iter_mut().zip(&agents) {
                let mask = M::masks(&agent[tree / SIDE_BY_SIDE])[tree % SIDE_BY_SIDE];
                *sum += leaves[context.and(mask).leaf()];
            }
        }
        add_to(sums, part);
    }
}

fn add_to(sums: &mut [i64; LANES], part: [i32; LANES]) {
    for (sum, part) in sums.iter_mut().zip(part) {
        *sum += i64::from(part);
    }
}
