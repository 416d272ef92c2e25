//! Many agents at once, a bit each: what a context leaves of the trees, evaluated on bit planes.
//!
//! A context decides most splits; of a tree's leaves it leaves a few, and what tells those apart are splits that test the agent. The outcome
//! of such a split is one bit. So each distinct split has a plane, one bit for each of [`LANES`] agents, and which agents reach a leaf is
//! the AND of some planes. An agent is no more than its place among the thresholds of each input: hundreds of times fewer bytes than its
//! masks.
//!
//! The leaves that are left of a tree are numbered. A binary digit of the number of the leaf that an agent reaches is the OR of such planes;
//! from there on an agent is a byte: sixty-four of them look up in a table of sixteen bytes at once. A leaf's value is three such bytes, limbs of
//! seven binary digits: those of two trees are added as bytes, those of some hundreds as words, and limbs become numbers at the end.

use std::cell::RefCell;

use pulp::NullaryFnOnce;

use super::forest::LEAF_DIGITS;
use super::numbered::{NumberedSplit, NumberedTree};
use super::wide::Wide;

/// Agents in a plane.
pub(super) const LANES: usize = 512;
/// A bit for each of the agents.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
pub(super) struct Plane(pub [u64; LANES / 64]);

/// Splits that are found together: all but the lowest three digits of their places are the same.
pub(super) const TESTS_TOGETHER: usize = 8;
/// The place of a value that is missing.
pub(super) const MISSING: u16 = 1 << 15;
/// Places of agents, as planes.
#[derive(Default)]
pub(super) struct Places {
    /// Binary digits, the lowest one first.
    pub digits: [[u32; LANES / 32]; 15],
    pub missing: [u32; LANES / 32],
}

/// A leaf's value in limbs of so many binary digits, the lowest first: two of them add up to a byte.
pub(super) const LIMB_DIGITS: usize = 7;
pub(super) const LIMBS: usize = 3;
const _: () = assert!(2 * ((1 << LIMB_DIGITS) - 1) <= u8::MAX as usize);
const _: () = assert!(LIMBS * LIMB_DIGITS > LEAF_DIGITS as usize, "two leaves of a tree differ by no more");
/// What up to sixteen leaves add to the tree's least one, limb by limb.
pub(super) type Table = [[u8; LEAVES_A_TABLE]; LIMBS];
pub(super) const LEAVES_A_TABLE: usize = 16;

/// Trees that are added while their leaves' numbers are in the first-level cache; an even number.
pub(super) const BATCH: usize = 16;
const _: () = assert!(BATCH.is_multiple_of(2));
/// Trees whose limbs add up to a word.
const TREES_A_SUM: usize = 32 * BATCH;
const _: () = assert!(TREES_A_SUM * ((1 << LIMB_DIGITS) - 1) <= u16::MAX as usize);

/// The numbers of the leaves that agents reach in a tree: the lowest four binary digits as planes, and who is in the second sixteen, the third
/// and the fourth.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Numbers {
    pub digits: [Plane; 4],
    pub further: [Plane; 3],
}

/// Sums of sixty-four agents. Of each limb there are words for two agents each: the second one's sum a byte higher than the first one's, and the
/// second one's alone.
pub(super) type LimbSums = [[Plane; 2]; LIMBS];

/// Splits that a leaf has at hand; those of further ones are in [`SlicedForest::more`].
const AT_HAND: usize = 4;
/// The plane of all agents.
const EVERYBODY: u16 = 0;

thread_local! {
    /// Taken up again by the thread's next agents: new memory of this size would cost as much as what is done in it.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

#[derive(Default)]
struct Scratch {
    live: Live,
    planes: Vec<Plane>,
    numbers: Box<[Numbers; BATCH]>,
    sums: [LimbSums; LANES / 64],
}

/// The trees of both sides, and the splits that test agents.
#[derive(Debug, Clone)]
pub(super) struct SlicedForest {
    trees: Vec<[Leaf; 64]>,
    /// The least leaf of each tree, added up. Values are counted from it.
    least: i64,
    /// Lists of planes, each after its length. The first one is empty.
    more: Vec<u16>,
    inputs: Vec<Tests>,
    planes: usize,
}

/// The distinct splits on one input of the agent's.
#[derive(Debug, Clone)]
struct Tests {
    tree_input: usize,
    /// Ascending.
    tests: Vec<Test>,
    /// By eights; the last ones are filled up.
    missing_left: Vec<MissingLeft>,
    first_plane: usize,
}

/// A split, whichever trees have it.
#[derive(Debug, Clone, Copy)]
struct Test {
    threshold: f32,
    missing_right: bool,
}

/// Of eight tests, all ones for those that send a missing value left.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct MissingLeft(pub [u64; TESTS_TOGETHER]);

#[derive(Debug, Clone, Copy, Default)]
#[repr(align(16))]
pub(super) struct Leaf {
    /// In units of the forest, counted from the tree's least leaf; in limbs.
    value: [u8; 4],
    pub splits: Splits,
}

/// The splits of the agent's whose left child a leaf is under. Of the leaves that a context leaves, an agent reaches the leftmost one whose
/// splits all send it left.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Splits {
    /// Planes of those who go left.
    pub lefts: [u16; AT_HAND],
    /// Where the list of further ones begins.
    pub more: u32,
}

/// What a context leaves of the trees. Those with as many leaves stand together: what is done for them is the same.
#[derive(Default)]
struct Live {
    order: Vec<u32>,
    /// What all agents have in common.
    decided: i64,
    /// For each tree that is open, its leaves besides the rightmost one. Where their number is odd, one that adds nothing comes first.
    others: Vec<u8>,
    /// All but the rightmost one, tree after tree.
    leaves: Vec<Leaf>,
    /// The rightmost leaf has number 0.
    tables: Vec<Table>,
}

impl MissingLeft {
    fn of(tests: &[Test]) -> Self {
        let is_left = |at: usize| tests.get(at).is_some_and(|test| !test.missing_right);
        Self(std::array::from_fn(|at| if is_left(at) { u64::MAX } else { 0 }))
    }
}

impl Test {
    fn of(split: &NumberedSplit) -> Self {
        Self { threshold: split.threshold, missing_right: split.missing_right }
    }

    fn order(&self, other: &Self) -> std::cmp::Ordering {
        self.threshold.total_cmp(&other.threshold).then(self.missing_right.cmp(&other.missing_right))
    }

    /// Whoever goes left here goes left there.
    fn implies(&self, other: &Self) -> bool {
        self.threshold <= other.threshold && (self.missing_right || !other.missing_right)
    }
}

impl SlicedForest {
    /// None when there are more distinct splits than numbers for them.
    pub fn new(trees: &[&NumberedTree], is_agent: &[bool]) -> Option<Self> {
        let mut inputs = Vec::new();
        let mut planes = 1;
        for tree_input in (0..is_agent.len()).filter(|input| is_agent[*input]) {
            let own = trees.iter().flat_map(|tree| &tree.splits).filter(|split| split.input == tree_input);
            let mut tests: Vec<Test> = own.map(Test::of).collect();
            tests.sort_by(Test::order);
            tests.dedup_by(|a, b| a.order(b).is_eq());
            if tests.len() >= usize::from(MISSING) {
                return None;
            }
            if !tests.is_empty() {
                let first_plane = planes;
                let missing_left: Vec<MissingLeft> = tests.chunks(TESTS_TOGETHER).map(MissingLeft::of).collect();
                planes += missing_left.len() * TESTS_TOGETHER;
                inputs.push(Tests { tree_input, tests, missing_left, first_plane });
            }
        }
        if planes > usize::from(u16::MAX) {
            return None;
        }
        let mut sliced = Self { trees: Vec::with_capacity(trees.len()), least: 0, more: vec![0], inputs, planes };
        for tree in trees {
            let leaves = sliced.leaves(tree, is_agent);
            sliced.trees.push(leaves);
        }
        Some(sliced)
    }

    fn leaves(&mut self, tree: &NumberedTree, is_agent: &[bool]) -> [Leaf; 64] {
        let least = tree.leaves[..tree.leaf_count].iter().copied().min().unwrap_or(0);
        self.least += i64::from(least);
        std::array::from_fn(|at| {
            let bit = 1 << (63 - at);
            let above = tree.splits.iter().filter(|split| is_agent[split.input] && split.right & bit == 0);
            let mut lefts: Vec<(usize, Test)> = Vec::new();
            for (input, test) in above.map(|split| (split.input, Test::of(split))) {
                if !lefts.iter().any(|(other, stricter)| *other == input && stricter.implies(&test)) {
                    lefts.retain(|(other, weaker)| *other != input || !test.implies(weaker));
                    lefts.push((input, test));
                }
            }
            let planes: Vec<u16> = lefts.iter().filter_map(|(input, test)| self.plane(*input, test)).collect();
            let value = if at < tree.leaf_count { tree.leaves[at] - least } else { 0 };
            Leaf { value: limbs(value), splits: self.splits(&planes) }
        })
    }

    fn splits(&mut self, planes: &[u16]) -> Splits {
        let mut splits = Splits { lefts: [EVERYBODY; AT_HAND], more: 0 };
        for (place, plane) in splits.lefts.iter_mut().zip(planes) {
            *place = *plane;
        }
        if let Some(further) = planes.get(AT_HAND..).filter(|further| !further.is_empty()) {
            splits.more = self.more.len() as u32;
            self.more.push(further.len() as u16);
            self.more.extend_from_slice(further);
        }
        splits
    }

    fn plane(&self, input: usize, test: &Test) -> Option<u16> {
        let own = self.inputs.iter().find(|tests| tests.tree_input == input)?;
        let at = own.tests.binary_search_by(|other| other.order(test)).ok()?;
        Some((own.first_plane + at) as u16)
    }

    /// Inputs of the agent's that trees test.
    pub fn width(&self) -> usize {
        self.inputs.len()
    }

    /// The agent's place on each of them: how many thresholds its value passes.
    pub fn places<'a>(&'a self, tree_inputs: &'a [f32]) -> impl Iterator<Item = u16> + 'a {
        self.inputs.iter().map(|input| match tree_inputs[input.tree_input] {
            value if value.is_nan() => MISSING,
            value => input.tests.partition_point(|test| test.threshold <= value) as u16,
        })
    }

    /// The sums of agents' trees, by up to [`LANES`] of them: where their sums go, and what writes their places on one of the inputs. The first of
    /// `context`'s masks are those of the trees.
    pub fn sums<'a, P: Fn(usize, &mut [u16; LANES])>(
        &self,
        wide: Wide,
        context: &[u64],
        agents: impl Iterator<Item = (P, &'a mut [i64])>,
    ) {
        let context = &context[..self.trees.len()];
        SCRATCH.with_borrow_mut(|scratch| wide.vectorize(SlicedSums { forest: self, wide, context, agents, scratch }));
    }

    /// What the masks of a context leave.
    #[inline(always)]
    fn fill_live(&self, wide: Wide, context: &[u64], live: &mut Live) {
        let Live { order, decided, others, leaves, tables } = live;
        let mut counts = [0; 65];
        for mask in context {
            counts[mask.count_ones() as usize] += 1;
        }
        let mut ends = [0; 65];
        for count in 1..65 {
            ends[count] = ends[count - 1] + counts[count - 1];
        }
        order.resize(context.len(), 0);
        for (tree, mask) in context.iter().enumerate() {
            let end = &mut ends[mask.count_ones() as usize];
            order[*end] = tree as u32;
            *end += 1;
        }
        let (decided_trees, open) = order.split_at(counts[0] + counts[1]);
        let leaf = |tree: u32, mask: u64| &self.trees[tree as usize][63 - mask.trailing_zeros() as usize % 64];
        *decided = self.least
            + decided_trees.iter().map(|tree| of_limbs(leaf(*tree, context[*tree as usize]).value)).sum::<i64>();
        let all = (2..65).map(|count| (count - 1) * counts[count]).sum();
        leaves.resize(all, Leaf::default());
        others.clear();
        tables.clear();
        let mut free = leaves.as_mut_slice();
        if open.len() % 2 == 1 {
            others.push(0);
            tables.push(Table::default());
        }
        for tree in open {
            let (of_tree, mut mask) = (&self.trees[*tree as usize], context[*tree as usize]);
            let count = mask.count_ones() as usize - 1;
            others.push(count as u8);
            let own;
            (own, free) = free.split_at_mut(count);
            let mut values = [[0; 4]; LEAVES_A_TABLE];
            values[0] = leaf(*tree, mask).value;
            for (leaf, number) in own.iter_mut().zip(1usize..) {
                let at = mask.leading_zeros() as usize % 64;
                mask &= !(1 << (63 - at));
                *leaf = of_tree[at];
                if number.is_multiple_of(LEAVES_A_TABLE) {
                    tables.push(wide.table(&values));
                }
                values[number % LEAVES_A_TABLE] = leaf.value;
            }
            tables.push(wide.table(&values));
        }
    }

    /// For each split, the agents that it sends left.
    #[inline(always)]
    fn fill_planes(&self, wide: Wide, places_on: impl Fn(usize, &mut [u16; LANES]), all: &mut Vec<Plane>) {
        all.resize(self.planes, Plane::default());
        all[usize::from(EVERYBODY)] = Plane([u64::MAX; LANES / 64]);
        let (mut places, mut turned) = ([0; LANES], Places::default());
        for (at, input) in self.inputs.iter().enumerate() {
            places_on(at, &mut places);
            let digits = (input.tests.len().ilog2() as usize + 1).max(6);
            wide.turn(&places, digits, &mut turned);
            let planes = &mut all[input.first_plane..][..input.missing_left.len() * TESTS_TOGETHER];
            wide.fill_tests(&turned, digits, &input.missing_left, planes);
        }
    }
}

/// All of it becomes part of a function that may use the widest registers.
struct SlicedSums<'a, A> {
    forest: &'a SlicedForest,
    wide: Wide,
    context: &'a [u64],
    agents: A,
    scratch: &'a mut Scratch,
}

impl<'s, P, A> NullaryFnOnce for SlicedSums<'_, A>
where
    P: Fn(usize, &mut [u16; LANES]),
    A: Iterator<Item = (P, &'s mut [i64])>,
{
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { forest, wide, context, agents, scratch: Scratch { live, planes, numbers, sums: part } } = self;
        forest.fill_live(wide, context, live);
        for (places_on, sums) in agents {
            forest.fill_planes(wide, places_on, planes);
            sums.fill(live.decided);
            let part = &mut part[..sums.len().div_ceil(64)];
            let (mut leaves, mut tables) = (live.leaves.as_slice(), live.tables.as_slice());
            for trees in live.others.chunks(TREES_A_SUM) {
                part.fill(Default::default());
                for batch in trees.chunks(BATCH) {
                    for (others, numbers) in batch.iter().zip(numbers.iter_mut()) {
                        let own;
                        (own, leaves) = leaves.split_at(usize::from(*others));
                        wide.fill_numbers(own, &forest.more, planes, numbers);
                    }
                    let own;
                    (own, tables) = tables.split_at(batch.iter().map(|others| tables_of(*others)).sum());
                    wide.add_trees(batch, numbers, own, part);
                }
                wide.add_lanes(part, sums);
            }
        }
    }
}

fn limbs(value: i32) -> [u8; 4] {
    debug_assert!((0..1 << (LIMBS * LIMB_DIGITS)).contains(&value), "leaves are rounded");
    std::array::from_fn(|limb| ((value >> (limb * LIMB_DIGITS)) & 0x7f) as u8)
}

fn of_limbs(limbs: [u8; 4]) -> i64 {
    limbs.iter().rev().fold(0, |value, limb| (value << LIMB_DIGITS) + i64::from(*limb))
}

/// How many tables a tree has.
pub(super) fn tables_of(others: u8) -> usize {
    usize::from(others) / LEAVES_A_TABLE + 1
}
