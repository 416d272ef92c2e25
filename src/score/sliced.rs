//! Many agents at once, a bit each: what a context leaves of the trees, evaluated on bit planes.
//!
//! A context decides most splits; of a tree's leaves it leaves a few, and what tells those apart are splits that test the agent. The outcome
//! of such a split is one bit. So each distinct split has a plane, one bit for each of [`LANES`] agents; which agents reach a leaf is
//! the AND of some planes; and the leaves' values are added by binary adders on planes, one a binary digit (bit-slicing). An agent is
//! no more than its place among the thresholds of each input: hundreds of times fewer bytes than its masks.
//!
//! Which agents' leaf has a one at some digit is the OR of those that reach one of some leaves. For every four leaves the ORs of all sixteen
//! choices are made once, and each digit looks up its own (the "method of the four Russians": Arlazarov, Dinic, Kronrod, Faradzhev, 1970).

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

/// The place of a value that is missing.
pub(super) const MISSING: u16 = 1 << 15;
/// Places of agents, as planes.
#[derive(Default)]
pub(super) struct Places {
    /// Binary digits, the lowest one first.
    pub digits: [[u32; LANES / 32]; 15],
    pub missing: [u32; LANES / 32],
}

/// Binary digits of the difference between two leaves of a tree, with its sign.
pub(super) const DIGITS: usize = LEAF_DIGITS as usize + 2;
/// For each binary digit of four leaves, which of them have a one there.
pub(super) type Digits = [u8; 32];
/// Binary digits of a sum, and the trees that fit.
const SUM_DIGITS: usize = 32;
const TREES_A_SUM: usize = 1 << (SUM_DIGITS - DIGITS);
/// Sums as planes, the lowest digit first.
pub(super) type Sums = [Plane; SUM_DIGITS];

/// Trees that are added together: then their sum is read and written as often less.
pub(super) const TREES: usize = 4;
/// Leaves that share a table, and the choices among them.
pub(super) const LEAVES: usize = 4;
pub(super) const CHOICES: usize = 1 << LEAVES;
/// For every four leaves of each tree, the agents that reach one of those chosen. Nobody does where none is chosen.
pub(super) type Tables = [[[Plane; CHOICES]; TREES]; 64 / LEAVES];

/// Splits that a leaf has at hand; those of further ones are in [`SlicedForest::more`].
const AT_HAND: usize = 3;
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
    tables: Box<Tables>,
}

/// The trees of both sides, and the splits that test agents.
#[derive(Debug, Clone)]
pub(super) struct SlicedForest {
    trees: Vec<[Leaf; 64]>,
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
    first_plane: usize,
}

/// A split, whichever trees have it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Test {
    threshold: f32,
    pub missing_right: bool,
}

#[derive(Debug, Clone, Copy)]
struct Leaf {
    /// In units of the forest.
    value: i32,
    splits: Splits,
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
    /// The rightmost leaf of each tree, added up. Values of the others are counted from it.
    rightmost: i64,
    groups: Vec<Group>,
    /// The other leaves, tree after tree.
    leaves: Vec<Splits>,
    /// Group after group, as many as it has tables.
    digits: Vec<[Digits; TREES]>,
}

/// Trees that are added together.
struct Group {
    leaves: [u8; TREES],
    tables: usize,
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
            tests.dedup();
            if tests.len() >= usize::from(MISSING) {
                return None;
            }
            if !tests.is_empty() {
                let first_plane = planes;
                planes += tests.len();
                inputs.push(Tests { tree_input, tests, first_plane });
            }
        }
        if planes > usize::from(u16::MAX) {
            return None;
        }
        let mut sliced = Self { trees: Vec::with_capacity(trees.len()), more: vec![0], inputs, planes };
        for tree in trees {
            let leaves = sliced.leaves(tree, is_agent);
            sliced.trees.push(leaves);
        }
        Some(sliced)
    }

    fn leaves(&mut self, tree: &NumberedTree, is_agent: &[bool]) -> [Leaf; 64] {
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
            Leaf { value: tree.leaves[at], splits: self.splits(&planes) }
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
        let Live { order, rightmost, groups, leaves, digits } = live;
        let mut counts = [0; 65];
        for mask in context {
            counts[mask.count_ones() as usize] += 1;
        }
        let mut ends = [0; 65];
        for count in 1..65 {
            ends[count] = ends[count - 1] + counts[count - 1];
        }
        order.resize(context.len(), 0);
        *rightmost = 0;
        for (tree, mask) in context.iter().enumerate() {
            let end = &mut ends[mask.count_ones() as usize];
            order[*end] = tree as u32;
            *end += 1;
            *rightmost += i64::from(self.rightmost(tree, *mask));
        }
        let all = (2..65).map(|count| (count - 1) * counts[count]).sum();
        leaves.resize(all, Splits::default());
        groups.clear();
        digits.clear();
        let mut free = leaves.as_mut_slice();
        for trees in order[counts[1]..].chunks(TREES) {
            let others = |tree: u32| context[tree as usize].count_ones() as usize - 1;
            let mut group = Group { leaves: [0; TREES], tables: others(trees[trees.len() - 1]).div_ceil(LEAVES) };
            let first = digits.len();
            digits.resize(first + group.tables, [Digits::default(); TREES]);
            for (place, tree) in trees.iter().enumerate() {
                let (mut mask, of_tree) = (context[*tree as usize], &self.trees[*tree as usize]);
                let rightmost = self.rightmost(*tree as usize, mask);
                let own;
                (own, free) = free.split_at_mut(others(*tree));
                group.leaves[place] = own.len() as u8;
                for (own, digits) in own.chunks_mut(LEAVES).zip(&mut digits[first..]) {
                    for (number, splits) in own.iter_mut().enumerate() {
                        let at = mask.leading_zeros() as usize % 64;
                        mask &= !(1 << (63 - at));
                        *splits = of_tree[at].splits;
                        wide.spread(of_tree[at].value - rightmost, number, &mut digits[place]);
                    }
                }
            }
            groups.push(group);
        }
    }

    fn rightmost(&self, tree: usize, mask: u64) -> i32 {
        self.trees[tree][63 - mask.trailing_zeros() as usize % 64].value
    }

    /// For each split, the agents that it sends left.
    #[inline(always)]
    fn fill_planes(&self, wide: Wide, places_on: impl Fn(usize, &mut [u16; LANES]), all: &mut Vec<Plane>) {
        all.resize(self.planes, Plane::default());
        all[usize::from(EVERYBODY)] = Plane([u64::MAX; LANES / 64]);
        let (mut places, mut turned) = ([0; LANES], Places::default());
        for (at, input) in self.inputs.iter().enumerate() {
            places_on(at, &mut places);
            let digits = (input.tests.len().ilog2() as usize + 1).max(3);
            wide.turn(&places, digits, &mut turned);
            let planes = &mut all[input.first_plane..][..input.tests.len()];
            wide.fill_tests(&turned, digits, &input.tests, planes);
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
        let Self { forest, wide, context, agents, scratch: Scratch { live, planes, tables } } = self;
        forest.fill_live(wide, context, live);
        for (places_on, sums) in agents {
            forest.fill_planes(wide, places_on, planes);
            sums.fill(live.rightmost);
            let (mut leaves, mut digits) = (live.leaves.as_slice(), live.digits.as_slice());
            for groups in live.groups.chunks(TREES_A_SUM / TREES) {
                let mut part = Sums::default();
                for group in groups {
                    for (tree, count) in group.leaves.iter().enumerate() {
                        let own;
                        (own, leaves) = leaves.split_at(usize::from(*count));
                        wide.fill_tables(own, &forest.more, planes, tables, tree);
                    }
                    let own;
                    (own, digits) = digits.split_at(group.tables);
                    wide.add_trees(own, tables, &mut part);
                }
                let too_much = ((groups.len() * TREES) as i64) << (DIGITS - 1);
                wide.add_lanes(&part, too_much, sums);
            }
        }
    }
}
