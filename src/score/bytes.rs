//! Many agents at once, a byte each: what a context leaves of the trees, walked for dozens of agents by each instruction.
//!
//! A context decides most splits. Of a tree's leaves it leaves a few, and of its splits those that test the agent and have leaves left on
//! both sides: always one less than leaves. They are found by counting. Leaves are bits of a mask, the rightmost one first. How many are set below
//! a bit says which one is the first that is left from there on, and so, for each split of the tree at once, which leaf is the rightmost under
//! it, which one is the rightmost under its left child, and whether both children have any.
//!
//! An agent is a byte for each input of the trees: its place among the thresholds. A split compares places with a bound. The first splits of a tree
//! are a binary digit each of an agent's outcome, and a table says which leaf that is; each further split, its parents before it, moves on those
//! agents that stand at the rightmost leaf under it and go left. A leaf's value is looked up in two limbs of seven binary digits: those of two trees
//! are added as bytes, those of some hundreds as words, and limbs become numbers at the end.

#![cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "read by instructions that other processors lack"))]

use std::array::from_fn;
use std::cell::RefCell;
use std::ops::Range;

use super::factorised::ContextTrees;
use super::forest::PIECE;
use super::numbered::{NumberedSplit, NumberedTree};
use super::wide::ByteInstructions;

/// Agents in a register.
pub(super) const LANES: usize = 64;
/// Agents that are scored at once: two registers of them, as what is read of a tree serves both.
pub(super) const GROUP: usize = 2 * LANES;
/// An input of the agent's has a row of places for each of the two ways in which splits on it send missing values.
const MOST_ROWS: usize = 256;

/// A leaf's value in limbs of so many binary digits, the lowest first: two of them add up to a byte.
pub(super) const LIMB_DIGITS: usize = 7;
pub(super) const LIMBS: usize = 2;
const _: () = assert!(2 * ((1 << LIMB_DIGITS) - 1) <= u8::MAX as usize);
const _: () = assert!(PIECE < 1 << (LIMBS * LIMB_DIGITS), "two leaves of a tree differ by no more");
/// Bytes that add up to a word.
pub(super) const BYTES_A_SUM: usize = 257;
const _: () = assert!(BYTES_A_SUM * u8::MAX as usize <= u16::MAX as usize);

/// Splits whose outcomes number the entries of a table.
pub(super) const OUTCOMES: usize = 6;
/// Splits of a tree that are few: half a register of them.
pub(super) const FEW: usize = 32;
/// Most leaves of a tree.
pub(super) const LEAVES: usize = 64;

/// What the leaves of a tree add to its least one, limb by limb.
pub(super) type Limbs = [[u8; LEAVES]; LIMBS];

/// Places of a group's agents on one input, as numbers from -128.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Row(pub [u8; GROUP]);
pub(super) type Rows = [Row; MOST_ROWS];

thread_local! {
    /// Taken up again by the thread's next request: new memory of this size would cost as much as what is done in it.
    static SCRATCH: RefCell<(Live, Box<Rows>)> =
        RefCell::new((Live::default(), Box::new([Row([0; GROUP]); MOST_ROWS])));
}

/// The trees of both sides.
#[derive(Debug, Clone)]
pub(super) struct ByteForest {
    instructions: ByteInstructions,
    /// Of each tree, by bits of a mask: the last leaf comes first. One more adds nothing.
    pub limbs: Vec<TreeLimbs>,
    /// Of each tree, those of its splits that test the agent: first the trees with few of them, then those with more.
    pub few: Vec<Splits<FEW>>,
    pub many: Vec<Splits<LEAVES>>,
    /// The least leaf of each tree, added up. Values are counted from it.
    least: i64,
    inputs: Vec<Input>,
    rows: Vec<InputRow>,
}

#[derive(Debug, Clone)]
#[repr(align(64))]
pub(super) struct TreeLimbs(pub Limbs);

/// Splits of a tree that test the agent, parents before children, each with the bits of a mask under it: those under its right child come
/// first. What fills up has none.
#[derive(Debug, Clone)]
#[repr(align(32))]
pub(super) struct Splits<const N: usize> {
    /// The first bit under the right child, and the first one under the left child.
    pub firsts: [[u8; N]; 2],
    pub last: [u8; N],
    /// The bound that a value's place is below to go left, and the row of places.
    pub tested: [[u8; N]; 2],
}

/// A split that a context leaves: agents at a leaf, the first byte, whose place is below a bound, the third, on a row, the fourth, go left, which
/// changes bits of their leaf, the second.
pub(super) type Split = [u8; 4];

/// The first ones of the splits of a tree that a context leaves.
#[derive(Debug, Clone, Copy)]
#[repr(align(32))]
pub(super) struct Head {
    pub leaves: [u8; 8],
    pub changes: [u8; 8],
    pub bounds: [u8; 8],
    pub rows: [u8; 8],
}

impl From<[u64; 4]> for Head {
    fn from(words: [u64; 4]) -> Self {
        let [leaves, changes, bounds, rows] = words.map(u64::to_le_bytes);
        Self { leaves, changes, bounds, rows }
    }
}

/// Of the first splits that are left of one tree or two, what an agent's place has to be below, and on which row.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct First {
    pub bounds: Apart,
    pub rows: Apart,
}

/// A few bytes that the compiler does not read together with others, only to take them out of a register one by one.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(32))]
pub(super) struct Apart(pub [u8; 8]);

impl From<Head> for First {
    fn from(head: Head) -> Self {
        Self { bounds: Apart(head.bounds), rows: Apart(head.rows) }
    }
}

impl First {
    /// So many of them, then those of another tree.
    pub fn before(self, other: First, count: usize) -> First {
        let own = (1u64 << (8 * count)) - 1;
        let both = |Apart(own_ones): Apart, Apart(others): Apart| {
            let others = u64::from_le_bytes(others) << (8 * count);
            Apart((u64::from_le_bytes(own_ones) & own | others).to_le_bytes())
        };
        First { bounds: both(self.bounds, other.bounds), rows: both(self.rows, other.rows) }
    }
}

/// An input of the agent's that trees test.
#[derive(Debug, Clone)]
struct Input {
    tree_input: usize,
    /// Ascending, each once.
    thresholds: Vec<f32>,
}

/// The places of an input's values, with those that are missing on one of the sides.
#[derive(Debug, Clone, Copy)]
struct InputRow {
    input: usize,
    missing_right: bool,
}

/// What a context leaves of the trees: those with as many splits stand together, so that what is done for them is straight and the processor
/// foresees it.
#[derive(Debug)]
pub(super) struct Live {
    /// The sum of the trees that the context decides.
    pub decided: i64,
    /// Scratch: what order the trees come in, and the heads of those that are at hand.
    pub by_splits: BySplits,
    pub heads: Vec<Head>,
    /// By tests, up to [`OUTCOMES`] of them.
    pub short: [Vec<Short>; OUTCOMES + 1],
    /// Trees with more splits.
    pub long: Vec<Long>,
    /// Where those with so many splits end: an even number of them.
    pub long_ends: [usize; LEAVES],
    /// Their further splits.
    pub further: Vec<Split>,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            decided: 0,
            by_splits: BySplits { counts: Vec::new(), order: Vec::new(), ends: [0; LEAVES] },
            heads: Vec::new(),
            short: Default::default(),
            long: Vec::new(),
            long_ends: [0; LEAVES],
            further: Vec::new(),
        }
    }
}

/// The trees by how many of their splits are left.
#[derive(Debug)]
pub(super) struct BySplits {
    /// Of each tree.
    pub counts: Vec<u8>,
    /// The trees' numbers, those with fewer first.
    pub order: Vec<u16>,
    /// Where the trees with so many end.
    pub ends: [usize; LEAVES],
}

impl BySplits {
    pub fn count(&self, tree: u16) -> usize {
        usize::from(self.counts[usize::from(tree)])
    }

    /// Where the trees with so many stand.
    pub fn range(&self, count: usize) -> Range<usize> {
        count.checked_sub(1).map_or(0, |before| self.ends[before])..self.ends[count]
    }

    pub fn trees(&self, counts: Range<usize>) -> &[u16] {
        &self.order[self.range(counts.start).start..self.ends[counts.end - 1]]
    }
}

/// A tree with few splits, or two: outcomes say what it adds.
#[derive(Debug, Clone)]
#[repr(align(64))]
pub(super) struct Short {
    pub limbs: Limbs,
    pub first: First,
}

/// A tree with many: the outcomes of the first ones say which leaf is the rightmost so far.
#[derive(Debug, Clone)]
#[repr(align(64))]
pub(super) struct Long {
    pub leaf: [u8; LEAVES],
    pub first: First,
    pub tree: u32,
    /// Where its further splits begin.
    pub further: u32,
}

impl Long {
    /// What fills up beside another tree with as many splits: it adds nothing, whatever splits it walks.
    pub fn nothing(forest: &ByteForest) -> Self {
        Self { leaf: [0; LEAVES], first: First::default(), tree: forest.trees() as u32, further: 0 }
    }
}

impl ByteForest {
    /// Trees with few splits that test the agent ([`has_few`]) come first. None where bytes do not suffice: with more than 255 thresholds of an
    /// input, or more than 256 rows.
    pub fn new(instructions: ByteInstructions, trees: &[&NumberedTree], is_agent: &[bool]) -> Option<Self> {
        let mut inputs = Vec::new();
        let mut rows = Vec::new();
        for tree_input in (0..is_agent.len()).filter(|input| is_agent[*input]) {
            let own = || trees.iter().flat_map(|tree| &tree.splits).filter(|split| split.input == tree_input);
            let mut thresholds: Vec<f32> = own().map(|split| split.threshold).collect();
            thresholds.sort_by(f32::total_cmp);
            // 0 and -0 are the same.
            thresholds.dedup();
            for missing_right in [false, true] {
                if own().any(|split| split.missing_right == missing_right) {
                    rows.push(InputRow { input: inputs.len(), missing_right });
                }
            }
            if !thresholds.is_empty() {
                inputs.push(Input { tree_input, thresholds });
            }
        }
        if rows.len() > MOST_ROWS || inputs.iter().any(|input| input.thresholds.len() > usize::from(u8::MAX)) {
            return None;
        }
        let (limbs, few, many) = (Vec::new(), Vec::new(), Vec::new());
        let mut forest = Self { instructions, limbs, few, many, least: 0, inputs, rows };
        for tree in trees {
            let least = tree.leaves[..tree.leaf_count].iter().copied().min().unwrap_or(0);
            forest.least += i64::from(least);
            let value = |bit: usize| (63 - bit < tree.leaf_count).then(|| tree.leaves[63 - bit] - least);
            let limbs = from_fn(|limb| from_fn(|bit| value(bit).map_or(0, |value| limb_of(value, limb))));
            forest.limbs.push(TreeLimbs(limbs));
            if has_few(tree, is_agent) {
                assert!(forest.many.is_empty(), "trees with few splits come first");
                forest.few.push(forest.splits(tree, is_agent));
            } else {
                forest.many.push(forest.splits(tree, is_agent));
            }
        }
        forest.limbs.push(TreeLimbs([[0; LEAVES]; LIMBS]));
        Some(forest)
    }

    fn splits<const N: usize>(&self, tree: &NumberedTree, is_agent: &[bool]) -> Splits<N> {
        // The mask of one way has zeros at the leaves under the other child.
        let bits = |split: &NumberedSplit| (!split.left, !split.right);
        let mut own: Vec<&NumberedSplit> = tree.splits.iter().filter(|split| is_agent[split.input]).collect();
        // Parents first: they begin with no later bit, and end with a later one.
        own.sort_by_key(|split| (bits(split).0.trailing_zeros(), bits(split).1.leading_zeros()));
        let mut splits = Splits { firsts: [[0; N]; 2], last: [0; N], tested: [[0; N]; 2] };
        for (at, split) in own.into_iter().enumerate() {
            let (right, left) = bits(split);
            splits.firsts[0][at] = right.trailing_zeros() as u8;
            splits.firsts[1][at] = left.trailing_zeros() as u8;
            splits.last[at] = 63 - left.leading_zeros() as u8;
            let input = |row: &InputRow| &self.inputs[row.input];
            let is_own =
                |row: &InputRow| input(row).tree_input == split.input && row.missing_right == split.missing_right;
            let rows = self.rows.iter().enumerate();
            for (row, own) in rows.filter(|(_, row)| is_own(row)) {
                let place = input(own).thresholds.partition_point(|other| *other < split.threshold);
                (splits.tested[0][at], splits.tested[1][at]) = (signed(place as u8 + 1), row as u8);
            }
        }
        splits
    }

    pub fn trees(&self) -> usize {
        self.few.len() + self.many.len()
    }

    /// Places that an agent has.
    pub fn width(&self) -> usize {
        self.rows.len()
    }

    /// An agent's places: how many thresholds its value passes, for each input and way of missing values.
    pub fn places<'a>(&'a self, tree_inputs: &'a [f32]) -> impl Iterator<Item = u8> + 'a {
        self.rows.iter().map(|row| {
            let input = &self.inputs[row.input];
            signed(match tree_inputs[input.tree_input] {
                value if !value.is_nan() => input.thresholds.partition_point(|threshold| *threshold <= value) as u8,
                _ if row.missing_right => u8::MAX,
                _ => 0,
            })
        })
    }

    /// The sums of agents' trees, by up to [`GROUP`] of them: what writes their places, and where their sums go.
    pub fn sums<'a, P: FnOnce(&mut [Row])>(
        &self,
        context: &ContextTrees,
        agents: impl Iterator<Item = (P, &'a mut [i64])>,
    ) {
        let (masks, alone) = context.all();
        SCRATCH.with_borrow_mut(|(live, rows)| {
            self.instructions.fill(live, self, masks);
            for (write_places, sums) in agents {
                write_places(&mut rows[..self.rows.len()]);
                sums.fill(self.least + live.decided + alone);
                self.instructions.add_sums(live, self, rows, sums);
            }
        });
    }

    /// What a leaf adds to its tree's least one.
    pub fn leaf(&self, tree: usize, bit: u32) -> i64 {
        let limbs = self.limbs[tree].0.iter().rev();
        limbs.fold(0, |value, limb| (value << LIMB_DIGITS) + i64::from(limb[bit as usize % LEAVES]))
    }
}

/// Writes an agent's places, one a row.
#[inline]
pub(super) fn write_places(rows: &mut [Row], at: usize, places: impl Iterator<Item = u8>) {
    for (row, place) in rows.iter_mut().zip(places) {
        row.0[at] = place;
    }
}

/// Whether a tree has few splits that test the agent.
pub(super) fn has_few(tree: &NumberedTree, is_agent: &[bool]) -> bool {
    tree.splits.iter().filter(|split| is_agent[split.input]).count() <= FEW
}

fn limb_of(value: i32, limb: usize) -> u8 {
    debug_assert!((0..1 << (LIMBS * LIMB_DIGITS)).contains(&value), "leaves are rounded");
    (value >> (limb * LIMB_DIGITS)) as u8 & ((1 << LIMB_DIGITS) - 1)
}

/// From 0..=255 to the byte that is as far from -128.
fn signed(place: u8) -> u8 {
    place ^ (1 << 7)
}
