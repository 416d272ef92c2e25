//! Many agents at once, a byte each: what a context leaves of the trees, walked for dozens of agents by each instruction.
//!
//! A context decides most splits. Of a tree's leaves it leaves a few, and of its splits those that test the agent and have leaves left on
//! both sides: always one less than leaves. They are found by counting. The leaves that are left are numbered from the right; how many of
//! them there are below a place says for each split of the tree at once which one is the rightmost under it, which one is the rightmost under
//! its left child, and whether both children have any.
//!
//! An agent is a byte for each input of the trees: its place among the thresholds. A split compares places with a bound. The first splits of a tree
//! are a binary digit each of an agent's outcome, and a table says which leaf that is; each further split, its parents before it, moves on those
//! agents that stand at the rightmost leaf under it and go left. A leaf's value is looked up in three limbs of seven binary digits: those of two trees
//! are added as bytes, those of some hundreds as words, and limbs become numbers at the end.

#![cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "read by instructions that other processors lack"))]

use std::array::from_fn;
use std::cell::RefCell;

use super::factorised::ContextTrees;
use super::forest::LEAF_DIGITS;
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
pub(super) const LIMBS: usize = 3;
const _: () = assert!(2 * ((1 << LIMB_DIGITS) - 1) <= u8::MAX as usize);
const _: () = assert!(LIMBS * LIMB_DIGITS > LEAF_DIGITS as usize, "two leaves of a tree differ by no more");
/// Trees whose limbs add up to a word; half of them are an even number.
pub(super) const TREES_A_SUM: usize = 512;
const _: () = assert!(TREES_A_SUM * ((1 << LIMB_DIGITS) - 1) <= u16::MAX as usize);

/// Splits whose outcomes number the entries of a table.
pub(super) const OUTCOMES: usize = 6;
/// Splits of a tree that are looked at together.
pub(super) const SPLITS: usize = 32;
/// Most leaves of a tree.
const LEAVES: usize = 64;

/// What the leaves of a tree add to its least one, limb by limb.
pub(super) type Limbs = [[u8; LEAVES]; LIMBS];

/// Places of a group's agents on one input, as numbers from -128.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Row(pub [[u8; LANES / 2]; 4]);
pub(super) type Rows = [Row; MOST_ROWS];

thread_local! {
    /// Taken up again by the thread's next request: new memory of this size would cost as much as what is done in it.
    static SCRATCH: RefCell<(Live, Box<Rows>)> =
        RefCell::new((Live::default(), Box::new([Row([[0; LANES / 2]; 4]); MOST_ROWS])));
}

/// The trees of both sides.
#[derive(Debug, Clone)]
pub(super) struct ByteForest {
    instructions: ByteInstructions,
    /// Of each tree, by bits of a mask: the last leaf comes first.
    pub limbs: Vec<TreeLimbs>,
    /// Of each tree, those of its splits that test the agent: [`SPLITS`] or twice as many.
    pub splits: Vec<Splits>,
    /// Where each tree's end in `splits`.
    pub splits_until: Vec<u32>,
    /// The least leaf of each tree, added up. Values are counted from it.
    pub least: i64,
    inputs: Vec<Input>,
    rows: Vec<InputRow>,
}

#[derive(Debug, Clone)]
#[repr(align(64))]
pub(super) struct TreeLimbs(pub Limbs);

/// Splits of a tree that test the agent, parents before children, each with the bits of a mask under it: those under its right child come first. What
/// fills up has none.
#[derive(Debug, Clone, Default)]
#[repr(align(32))]
pub(super) struct Splits {
    /// The first bit under the right child, and the first one under the left child.
    pub firsts: [[u8; SPLITS]; 2],
    pub last: [u8; SPLITS],
    /// A value whose place is below the bound goes left.
    pub bounds: [u8; SPLITS],
    pub rows: [u8; SPLITS],
}

/// A split that a context leaves: agents at a leaf whose place on a row is below a bound go left, which changes bits of their leaf.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Split {
    pub leaf: u8,
    pub change: u8,
    pub bound: u8,
    pub row: u8,
}

/// Of the first ones of a tree, what an agent's place has to be below, and on which row.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct First {
    pub bounds: Apart,
    pub rows: Apart,
}

/// A few bytes that the compiler does not read together with others, only to take them out of a register one by one.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(32))]
pub(super) struct Apart(pub [u8; 8]);

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

/// What a context leaves of the trees: those with as many splits stand together, an even number of them, so that what is done for them is
/// straight and the processor foresees it.
#[derive(Debug)]
pub(super) struct Live {
    /// The sum of the trees that the context decides.
    pub decided: i64,
    /// By splits, with no more than [`OUTCOMES`].
    pub short: [Vec<Short>; OUTCOMES + 1],
    /// By splits, with more.
    pub long: [Vec<Long>; LEAVES],
    /// The further splits of the long ones.
    pub further: [Vec<Split>; LEAVES],
}

impl Default for Live {
    fn default() -> Self {
        Self { decided: 0, short: Default::default(), long: from_fn(|_| Vec::new()), further: from_fn(|_| Vec::new()) }
    }
}

/// A tree with few splits: outcomes say what it adds.
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
    pub limbs: Limbs,
    pub first: First,
}

impl ByteForest {
    /// None where bytes do not suffice: with more than 255 thresholds of an input, or more than 256 rows.
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
        let (limbs, splits, splits_until) = (Vec::new(), Vec::new(), Vec::new());
        let mut forest = Self { instructions, limbs, splits, splits_until, least: 0, inputs, rows };
        for tree in trees {
            let least = tree.leaves[..tree.leaf_count].iter().copied().min().unwrap_or(0);
            forest.least += i64::from(least);
            let value = |bit: usize| (63 - bit < tree.leaf_count).then(|| tree.leaves[63 - bit] - least);
            let limbs = from_fn(|limb| from_fn(|bit| value(bit).map_or(0, |value| limb_of(value, limb))));
            forest.limbs.push(TreeLimbs(limbs));
            forest.add_splits(tree, is_agent);
            forest.splits_until.push(forest.splits.len() as u32);
        }
        Some(forest)
    }

    fn add_splits(&mut self, tree: &NumberedTree, is_agent: &[bool]) {
        // The mask of one way has zeros at the leaves under the other child.
        let bits = |split: &NumberedSplit| (!split.left, !split.right);
        let mut own: Vec<&NumberedSplit> = tree.splits.iter().filter(|split| is_agent[split.input]).collect();
        // Parents first: they begin with no later bit, and end with a later one.
        own.sort_by_key(|split| (bits(split).0.trailing_zeros(), bits(split).1.leading_zeros()));
        for some in own.chunks(SPLITS) {
            let mut splits = Splits::default();
            for (at, split) in some.iter().enumerate() {
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
                    (splits.rows[at], splits.bounds[at]) = (row as u8, signed(place as u8 + 1));
                }
            }
            self.splits.push(splits);
        }
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

    /// The sums of agents' trees, by up to [`GROUP`] of them: what writes their places of one row, and where their sums go.
    pub fn sums<'a, P: Fn(usize, &mut [u8])>(
        &self,
        context: &ContextTrees,
        agents: impl Iterator<Item = (P, &'a mut [i64])>,
    ) {
        let (masks, alone) = context.all();
        SCRATCH.with_borrow_mut(|(live, rows)| {
            live.clear();
            self.instructions.fill_live(self, masks, live);
            live.even();
            for (places_on, sums) in agents {
                for (at, row) in rows[..self.rows.len()].iter_mut().enumerate() {
                    places_on(at, row.0.as_flattened_mut());
                }
                sums.fill(self.least + live.decided + alone);
                self.instructions.add_sums(live, rows, sums);
            }
        });
    }

    /// What a leaf adds to its tree's least one.
    pub fn leaf(limbs: &Limbs, bit: usize) -> i64 {
        limbs.iter().rev().fold(0, |value, limb| (value << LIMB_DIGITS) + i64::from(limb[bit]))
    }
}

impl Live {
    fn clear(&mut self) {
        self.decided = 0;
        self.short.iter_mut().for_each(Vec::clear);
        self.long.iter_mut().for_each(Vec::clear);
        self.further.iter_mut().for_each(Vec::clear);
    }

    /// Fills up with trees that add nothing.
    fn even(&mut self) {
        for trees in self.short.iter_mut().filter(|trees| !trees.len().is_multiple_of(2)) {
            trees.push(Short { limbs: [[0; LEAVES]; LIMBS], first: First::default() });
        }
        let odd = self.long.iter_mut().zip(&mut self.further).enumerate();
        for (splits, (trees, further)) in odd.filter(|(_, (trees, _))| !trees.len().is_multiple_of(2)) {
            trees.push(Long { leaf: [0; LEAVES], limbs: [[0; LEAVES]; LIMBS], first: First::default() });
            further.resize(trees.len() * (splits - OUTCOMES), Split::default());
        }
    }
}

fn limb_of(value: i32, limb: usize) -> u8 {
    debug_assert!((0..1 << (LIMBS * LIMB_DIGITS)).contains(&value), "leaves are rounded");
    (value >> (limb * LIMB_DIGITS)) as u8 & ((1 << LIMB_DIGITS) - 1)
}

/// From 0..=255 to the byte that is as far from -128.
fn signed(place: u8) -> u8 {
    place ^ (1 << 7)
}
