//! Many agents at once, a bit each: what a context leaves of the trees, evaluated on bit planes.
//!
//! A context decides most splits; of a tree's leaves it leaves a few, and what tells those apart are splits that test the agent. The outcome
//! of such a split is one bit. So each distinct split has a plane, one bit for each of [`LANES`] agents; which agents reach a leaf is
//! the AND of some planes; and the leaves' values are added by binary adders on planes, one a binary digit (bit-slicing). An agent is
//! no more than its place among the thresholds of each input: hundreds of times fewer bytes than its masks, which is what many agents'
//! scores would spend their time reading.

use std::cell::RefCell;

use pulp::NullaryFnOnce;

use super::forest::LEAF_DIGITS;
use super::numbered::NumberedTree;
use super::wide::Wide;

/// Agents in a plane.
pub(super) const LANES: usize = 512;
/// A bit for each of the agents.
pub(super) type Plane = [u64; LANES / 64];
/// The place of a value that is missing.
const MISSING: u16 = u16::MAX;

/// Binary digits of the difference between two leaves of a tree, with its sign.
pub(super) const DIGITS: usize = LEAF_DIGITS as usize + 2;
/// Binary digits of a sum, and the trees that fit.
pub(super) const SUM_DIGITS: usize = 32;
pub(super) const TREES_A_SUM: usize = 1 << (SUM_DIGITS - DIGITS);
/// Sums as planes, the lowest digit first.
pub(super) type Sums = [Plane; SUM_DIGITS];
/// Bytes of a difference.
pub(super) const BYTES: usize = DIGITS / 8;
const _: () = assert!(DIGITS == 8 * BYTES);

/// Splits that a leaf has at hand; those of further ones are in [`SlicedForest::more`].
const AT_HAND: usize = 3;
/// The plane of all agents.
const EVERYBODY: u16 = 0;

thread_local! {
    /// Taken up again by the thread's next agents: new memory of this size would cost as much as what is done in it.
    static PLANES: RefCell<Vec<Plane>> = const { RefCell::new(Vec::new()) };
}

/// The trees of both sides, and the splits that test agents.
#[derive(Debug, Clone)]
pub(super) struct SlicedForest {
    trees: Vec<[Leaf; 64]>,
    /// Lists of planes, each after its length. The first one is empty.
    more: Vec<u16>,
    tests: Vec<Tests>,
    planes: usize,
}

/// The distinct splits on one input of the agent's.
#[derive(Debug, Clone)]
struct Tests {
    tree_input: usize,
    /// Ascending, with whether a missing value goes right.
    splits: Vec<(f32, bool)>,
    first_plane: usize,
}

/// A leaf: its value, and the splits of the agent's whose left child it is under. Of the leaves that a context leaves, an agent reaches the
/// leftmost one whose splits all send it left.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Leaf {
    /// In units of the forest.
    pub value: i32,
    /// Planes of those who go left.
    pub lefts: [u16; AT_HAND],
    /// Where the list of further ones begins.
    pub more: u32,
}

/// What a context leaves of the trees.
pub(super) struct Live {
    /// The rightmost leaf of each tree, added up. Values of the others are counted from it.
    pub rightmost: i64,
    /// How many trees have so many other leaves.
    pub runs: Vec<Run>,
    pub leaves: Vec<Leaf>,
}

pub(super) struct Run {
    pub leaves: usize,
    pub trees: usize,
}

impl SlicedForest {
    /// None when there are more distinct splits than numbers for them.
    pub fn new(trees: &[&NumberedTree], is_agent: &[bool]) -> Option<Self> {
        let mut tests = Vec::new();
        let mut planes = 1;
        for tree_input in (0..is_agent.len()).filter(|input| is_agent[*input]) {
            let own = trees.iter().flat_map(|tree| &tree.splits).filter(|split| split.input == tree_input);
            let mut splits: Vec<(f32, bool)> = own.map(|split| (split.threshold, split.missing_right)).collect();
            splits.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            splits.dedup();
            let first_plane = planes;
            planes += splits.len();
            tests.push(Tests { tree_input, splits, first_plane });
        }
        if planes >= usize::from(MISSING) {
            return None;
        }
        let mut sliced = Self { trees: Vec::with_capacity(trees.len()), more: vec![0], tests, planes };
        for tree in trees {
            let leaves = sliced.leaves(tree, is_agent);
            sliced.trees.push(leaves);
        }
        Some(sliced)
    }

    fn leaves(&mut self, tree: &NumberedTree, is_agent: &[bool]) -> [Leaf; 64] {
        std::array::from_fn(|at| {
            let mut leaf = Leaf { value: tree.leaves[at], lefts: [EVERYBODY; AT_HAND], more: 0 };
            let bit = 1 << (63 - at);
            let above = tree.splits.iter().filter(|split| is_agent[split.input] && split.right & bit == 0);
            let planes: Vec<u16> =
                above.filter_map(|split| self.plane(split.input, split.threshold, split.missing_right)).collect();
            for (place, plane) in leaf.lefts.iter_mut().zip(&planes) {
                *place = *plane;
            }
            if let Some(further) = planes.get(AT_HAND..).filter(|further| !further.is_empty()) {
                leaf.more = self.more.len() as u32;
                self.more.push(further.len() as u16);
                self.more.extend_from_slice(further);
            }
            leaf
        })
    }

    fn plane(&self, input: usize, threshold: f32, missing_right: bool) -> Option<u16> {
        let tests = self.tests.iter().find(|tests| tests.tree_input == input)?;
        let order = |split: &(f32, bool)| split.0.total_cmp(&threshold).then(split.1.cmp(&missing_right));
        let at = tests.splits.binary_search_by(order).ok()?;
        Some((tests.first_plane + at) as u16)
    }

    /// Inputs of the agent's that trees test.
    pub fn width(&self) -> usize {
        self.tests.len()
    }

    /// The agent's place on each of them: how many thresholds its value passes.
    pub fn places<'a>(&'a self, tree_inputs: &'a [f32]) -> impl Iterator<Item = u16> + 'a {
        self.tests.iter().map(|tests| match tree_inputs[tests.tree_input] {
            value if value.is_nan() => MISSING,
            value => tests.splits.partition_point(|split| split.0 <= value) as u16,
        })
    }

    /// What the masks of a context leave. Trees with as many leaves stand together: what is done for them is the same.
    pub fn live(&self, context: &[u64]) -> Live {
        let mut counts = [0; 65];
        for mask in context {
            counts[mask.count_ones() as usize] += 1;
        }
        let mut ends = [0; 65];
        for count in 1..65 {
            ends[count] = ends[count - 1] + counts[count - 1];
        }
        let mut order = vec![0u32; context.len()];
        for (tree, mask) in context.iter().enumerate() {
            let end = &mut ends[mask.count_ones() as usize];
            order[*end] = tree as u32;
            *end += 1;
        }
        let all: usize = (1..65).map(|count| (count - 1) * counts[count]).sum();
        let mut live = Live { rightmost: 0, runs: Vec::with_capacity(64), leaves: Vec::with_capacity(all) };
        let mut order = order.iter();
        for (count, trees) in counts.into_iter().enumerate().filter(|(_, trees)| *trees > 0) {
            for tree in order.by_ref().take(trees) {
                let (mut mask, leaves) = (context[*tree as usize], &self.trees[*tree as usize]);
                let rightmost = leaves[63 - mask.trailing_zeros() as usize % 64].value;
                live.rightmost += i64::from(rightmost);
                for _ in 1..count {
                    let at = mask.leading_zeros() as usize % 64;
                    mask &= !(1 << (63 - at));
                    live.leaves.push(Leaf { value: leaves[at].value - rightmost, ..leaves[at] });
                }
            }
            live.runs.push(Run { leaves: count - 1, trees });
        }
        live
    }

    /// The sums of up to [`LANES`] agents' trees. `place` is an agent's place on one of the inputs.
    pub fn sums(&self, wide: Wide, live: &Live, place: impl Fn(usize, usize) -> u16, sums: &mut [i64]) {
        PLANES.with_borrow_mut(|planes| {
            wide.vectorize(SlicedSums { forest: self, wide, live, place, planes, sums });
        });
    }

    /// For each split, the agents that it sends left.
    #[inline(always)]
    fn fill_planes(&self, agents: usize, place: impl Fn(usize, usize) -> u16, all: &mut Vec<Plane>) {
        all.clear();
        all.resize(self.planes, Plane::default());
        all[usize::from(EVERYBODY)] = [u64::MAX; LANES / 64];
        for (input, tests) in self.tests.iter().enumerate() {
            let planes = &mut all[tests.first_plane..][..tests.splits.len()];
            let mut missing = Plane::default();
            for lane in 0..agents.min(LANES) {
                let (word, bit) = (lane / 64, 1 << (lane % 64));
                match place(input, lane) {
                    MISSING => missing[word] |= bit,
                    // Left at the first threshold that its value does not pass, and at all after it.
                    place => {
                        if let Some(plane) = planes.get_mut(usize::from(place)) {
                            plane[word] |= bit;
                        }
                    }
                }
            }
            let mut left = Plane::default();
            for (plane, (_, missing_right)) in planes.iter_mut().zip(&tests.splits) {
                let too = if *missing_right { 0 } else { u64::MAX };
                for word in 0..LANES / 64 {
                    left[word] |= plane[word];
                    plane[word] = left[word] | (missing[word] & too);
                }
            }
        }
    }
}

/// All of it becomes part of a function that may use the widest registers.
struct SlicedSums<'a, P> {
    forest: &'a SlicedForest,
    wide: Wide,
    live: &'a Live,
    place: P,
    planes: &'a mut Vec<Plane>,
    sums: &'a mut [i64],
}

impl<P: Fn(usize, usize) -> u16> NullaryFnOnce for SlicedSums<'_, P> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { forest, wide, live, place, planes, sums } = self;
        forest.fill_planes(sums.len(), place, planes);
        sums.fill(live.rightmost);
        let (mut part, mut trees) = (Sums::default(), 0);
        let mut leaves = live.leaves.as_slice();
        for run in live.runs.iter().filter(|run| run.leaves > 0) {
            let mut of_run = run.trees;
            while of_run > 0 {
                let some = of_run.min(TREES_A_SUM - trees);
                let (these, others) = leaves.split_at(some * run.leaves);
                wide.add_trees(these, run.leaves, &forest.more, planes, &mut part);
                (leaves, of_run, trees) = (others, of_run - some, trees + some);
                if trees == TREES_A_SUM {
                    add_lanes(&std::mem::take(&mut part), sums);
                    trees = 0;
                }
            }
        }
        add_lanes(&part, sums);
    }
}

/// From planes to numbers.
#[inline(always)]
fn add_lanes(part: &Sums, sums: &mut [i64]) {
    for (lane, sum) in sums.iter_mut().enumerate() {
        let mut value = 0u32;
        for (digit, plane) in part.iter().enumerate() {
            value |= ((plane[lane / 64 % (LANES / 64)] >> (lane % 64) & 1) as u32) << digit;
        }
        *sum += i64::from(value as i32);
    }
}
