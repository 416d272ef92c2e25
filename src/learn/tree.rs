//! One boosted tree, grown on histograms of binned inputs, the best split first.
//!
//! The leaf whose best split gains most is split next, and a child's histogram is its parent's less its sibling's (LightGBM: Ke et
//! al., NeurIPS 2017). Gains and leaf values are those of a second-order step with ridge `l2` (XGBoost: Chen & Guestrin, KDD
//! 2016). Along a monotone input the middle between two siblings bounds everything below them.
//!
//! Sums are taken input by input in the order of the rows, so a tree does not depend on the number of threads.

use std::ops::Range;

use rayon::prelude::*;

use crate::domain::model::Direction;

/// Bins of an input: 0 is for missing values, the others ascend.
const BINS: usize = 256;
/// Cuts of an input, at most.
const CUTS: usize = BINS - 2;
/// Rows that cuts are taken from, at most.
const BINNING_SAMPLE: usize = 200_000;
/// Fewer rows × inputs are not worth a thread.
const WORTH_A_THREAD: usize = 30_000;
/// A sum of second derivatives below this is what subtracting histograms has left of nothing.
const NOTHING: f64 = 1e-7;

/// Sums of first and second derivatives.
type Sums = [f64; 2];

/// Inputs in bins: bin `k` from 1 on holds the values from cut `k − 2` (included) to cut `k − 1` (excluded).
pub(super) struct Binned {
    rows: usize,
    /// Per input, ascending.
    cuts: Vec<Vec<f32>>,
    /// Per input, one a row.
    bins: Vec<Vec<u8>>,
}

/// How trees may look.
pub(super) struct Limits<'a> {
    pub max_leaves: usize,
    pub l2: f64,
    /// Least sum of second derivatives in a leaf.
    pub min_leaf_weight: f64,
    /// Of each input, the way that the sum may go by it.
    pub directions: &'a [Option<Direction>],
}

/// Where a node sends its rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fork {
    pub input: usize,
    /// Smaller values go to the first child.
    pub threshold: f32,
    pub children: [usize; 2],
    /// The child that missing values go to.
    pub missing: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Node {
    /// None of a leaf.
    pub fork: Option<Fork>,
    /// The step that its rows would take as a leaf, not shortened by a learning rate.
    pub step: f64,
    /// Sum of second derivatives.
    pub weight: f64,
}

/// A grown tree. Node 0 is the root; children come after their parents.
pub(super) struct Tree {
    pub nodes: Vec<Node>,
    /// All rows, those of a leaf side by side.
    rows: Vec<u32>,
    ranges: Vec<Range<usize>>,
}

impl Tree {
    /// Each leaf's node and its rows.
    pub fn leaves(&self) -> impl Iterator<Item = (&Node, &[u32])> {
        let leaves = self.nodes.iter().zip(&self.ranges).filter(|(node, _)| node.fork.is_none());
        leaves.map(|(node, range)| (node, &self.rows[range.clone()]))
    }
}

impl Binned {
    /// One column an input.
    pub fn new(columns: &[Vec<f32>]) -> Self {
        let cuts: Vec<Vec<f32>> = columns.par_iter().map(|column| cuts(column)).collect();
        let bin = |cuts: &[f32], value: f32| {
            if value.is_nan() { 0 } else { 1 + cuts.partition_point(|cut| *cut <= value) as u8 }
        };
        let bins = columns
            .par_iter()
            .zip(&cuts)
            .map(|(column, cuts)| column.iter().map(|value| bin(cuts, *value)).collect())
            .collect();
        Self { rows: columns.first().map_or(0, Vec::len), cuts, bins }
    }

    /// The first value of bin `bin + 1`; beyond all values for the last bin.
    fn threshold(&self, input: usize, bin: usize) -> f32 {
        self.cuts[input].get(bin - 1).copied().unwrap_or(f32::INFINITY)
    }
}

/// Values at which bins begin: each bin gets its share of what is left, so that a frequent value takes one bin and not the
/// room of others.
fn cuts(column: &[f32]) -> Vec<f32> {
    let mut present: Vec<f32> = column.iter().copied().filter(|v| !v.is_nan()).collect();
    if present.len() > BINNING_SAMPLE {
        let step = present.len() as f64 / BINNING_SAMPLE as f64;
        present = (0..BINNING_SAMPLE).map(|k| present[(k as f64 * step) as usize]).collect();
    }
    present.sort_unstable_by(f32::total_cmp);
    let values: Vec<(f32, usize)> = present.chunk_by(|a, b| a == b).map(|equal| (equal[0], equal.len())).collect();
    if values.len() <= CUTS + 1 {
        return values.iter().skip(1).map(|(value, _)| *value).collect();
    }
    let (mut found, mut inside, mut left) = (Vec::new(), 0, present.len());
    for (value, count) in values {
        // The bins that are left, the one being filled among them.
        let bins = CUTS + 1 - found.len();
        if inside > 0 && found.len() < CUTS && (inside + count / 2) * bins >= left {
            found.push(value);
            left -= inside;
            inside = 0;
        }
        inside += count;
    }
    found
}

/// A split of a leaf.
#[derive(Debug, Clone, Copy)]
struct Split {
    gain: f64,
    input: usize,
    /// The last bin that goes to the first child.
    bin: usize,
    missing_first: bool,
    sums: [Sums; 2],
    steps: [f64; 2],
}

/// A leaf that may be split.
struct Leaf {
    node: usize,
    /// Per input, then bin.
    histogram: Vec<Sums>,
    bounds: [f64; 2],
    best: Option<Split>,
}

impl Limits<'_> {
    /// The best step for rows with these sums within bounds, and how much it lowers twice the loss.
    fn step(&self, sums: Sums, bounds: [f64; 2]) -> (f64, f64) {
        let curvature = (sums[1] + self.l2).max(1e-12);
        let step = (-sums[0] / curvature).clamp(bounds[0], bounds[1]);
        (step, -(2.0 * sums[0] * step + curvature * step * step))
    }

    /// The best split by one input.
    fn search(&self, input: usize, bins: usize, histogram: &[Sums], whole: Sums, bounds: [f64; 2]) -> Option<Split> {
        let missing = histogram[0];
        let some_missing = missing[1] > NOTHING;
        let before = self.step(whole, bounds).1;
        let mut best: Option<Split> = None;
        let mut present = [0.0; 2];
        for (bin, own) in histogram.iter().enumerate().take(bins).skip(1) {
            present = add(present, *own);
            // Past the last bin only missing values are left for the second child.
            let last = bin + 1 == bins;
            if own[1] <= NOTHING && !last || last && !some_missing {
                continue;
            }
            for missing_first in [false, true] {
                if missing_first && (last || !some_missing) {
                    continue;
                }
                let first = if missing_first { add(present, missing) } else { present };
                let second = [whole[0] - first[0], whole[1] - first[1]];
                if first[1] < self.min_leaf_weight || second[1] < self.min_leaf_weight {
                    continue;
                }
                let (steps, gains): ([f64; 2], [f64; 2]) = {
                    let (one, other) = (self.step(first, bounds), self.step(second, bounds));
                    ([one.0, other.0], [one.1, other.1])
                };
                let allowed = match self.directions.get(input).copied().flatten() {
                    None => true,
                    Some(Direction::Increasing) => steps[0] <= steps[1],
                    Some(Direction::Decreasing) => steps[0] >= steps[1],
                };
                let gain = gains[0] + gains[1] - before;
                if allowed && gain > best.as_ref().map_or(1e-9, |best| best.gain) {
                    best = Some(Split { gain, input, bin, missing_first, sums: [first, second], steps });
                }
            }
        }
        best
    }
}

/// Grows a tree on the derivatives of the loss, a pair a row.
pub(super) fn grow(binned: &Binned, derivatives: &[[f32; 2]], limits: &Limits<'_>) -> Tree {
    let inputs = binned.bins.len();
    let mut tree = Tree { nodes: Vec::new(), rows: (0..binned.rows as u32).collect(), ranges: Vec::new() };
    let mut buffer: Vec<u32> = vec![0; binned.rows];
    let sums = derivatives.iter().fold([0.0; 2], |sums, own| add(sums, own.map(f64::from)));
    let unbounded = [f64::NEG_INFINITY, f64::INFINITY];
    tree.push(sums, limits.step(sums, unbounded).0, 0..binned.rows);
    let mut root = Leaf { node: 0, histogram: vec![[0.0; 2]; inputs * BINS], bounds: unbounded, best: None };
    let work = Work { binned, derivatives, limits };
    root.best = work.first(&tree.rows, &mut root.histogram, sums, unbounded);
    let mut leaves = vec![root];
    while leaves.len() < limits.max_leaves {
        // The first of the best, in the order of their nodes.
        let mut next: Option<(usize, f64)> = None;
        for (at, leaf) in leaves.iter().enumerate() {
            if let Some(split) = &leaf.best
                && next.is_none_or(|(_, gain)| split.gain > gain)
            {
                next = Some((at, split.gain));
            }
        }
        let Some((at, _)) = next else { break };
        let parent = leaves.remove(at);
        let Some(split) = parent.best else { break };
        let children = work.split(&mut tree, &mut buffer, parent, &split, leaves.len() + 2 < limits.max_leaves);
        leaves.extend(children);
    }
    tree
}

impl Tree {
    fn push(&mut self, sums: Sums, step: f64, rows: Range<usize>) -> usize {
        self.nodes.push(Node { fork: None, step, weight: sums[1] });
        self.ranges.push(rows);
        self.nodes.len() - 1
    }
}

/// What growing a tree reads.
struct Work<'a> {
    binned: &'a Binned,
    derivatives: &'a [[f32; 2]],
    limits: &'a Limits<'a>,
}

impl Work<'_> {
    /// The root's histogram and best split.
    fn first(&self, rows: &[u32], histogram: &mut [Sums], whole: Sums, bounds: [f64; 2]) -> Option<Split> {
        let of_input = |(input, histogram): (usize, &mut [Sums])| {
            self.fill(input, rows, self.derivatives, histogram);
            self.limits.search(input, self.bins(input), histogram, whole, bounds)
        };
        let found: Vec<Option<Split>> = histogram.par_chunks_mut(BINS).enumerate().map(of_input).collect();
        best(found.into_iter())
    }

    /// Bins that an input uses, the one of missing values among them.
    fn bins(&self, input: usize) -> usize {
        self.binned.cuts[input].len() + 2
    }

    /// `derivatives` are those of `rows`, in their order.
    fn fill(&self, input: usize, rows: &[u32], derivatives: &[[f32; 2]], histogram: &mut [Sums]) {
        let bins = &self.binned.bins[input];
        let Some(histogram) = histogram.first_chunk_mut::<BINS>() else { return };
        for (row, own) in rows.iter().zip(derivatives) {
            let cell = &mut histogram[usize::from(bins[*row as usize])];
            cell[0] += f64::from(own[0]);
            cell[1] += f64::from(own[1]);
        }
    }

    /// Splits a leaf; the children's own splits are looked for when one of them may be split again.
    fn split(&self, tree: &mut Tree, buffer: &mut [u32], parent: Leaf, split: &Split, again: bool) -> [Leaf; 2] {
        let range = tree.ranges[parent.node].clone();
        let middle = range.start + self.part(&mut tree.rows[range.clone()], buffer, split);
        let ranges = [range.start..middle, middle..range.end];
        let children: [usize; 2] = [0, 1].map(|at| tree.push(split.sums[at], split.steps[at], ranges[at].clone()));
        let heavier = usize::from(split.sums[1][1] > split.sums[0][1]);
        let missing_here = parent.histogram[split.input * BINS][1] > NOTHING;
        tree.nodes[parent.node].fork = Some(Fork {
            input: split.input,
            threshold: self.binned.threshold(split.input, split.bin),
            children,
            // Where training saw none, one is most likely like most.
            missing: children[if missing_here { usize::from(!split.missing_first) } else { heavier }],
        });
        let bounds = self.child_bounds(&parent, split);
        let leaf = |at: usize, histogram, best| Leaf { node: children[at], histogram, bounds: bounds[at], best };
        if !again {
            return [leaf(0, Vec::new(), None), leaf(1, Vec::new(), None)];
        }
        let small = usize::from(ranges[1].len() < ranges[0].len());
        let large = 1 - small;
        let rows = &tree.rows[ranges[small].clone()];
        let mut own = vec![[0.0; 2]; parent.histogram.len()];
        let mut rest = parent.histogram;
        let near: Vec<[f32; 2]> = rows.iter().map(|row| self.derivatives[*row as usize]).collect();
        let of_input = |(input, (own, rest)): (usize, (&mut [Sums], &mut [Sums]))| {
            self.fill(input, rows, &near, own);
            for (rest, own) in rest.iter_mut().zip(own.iter()) {
                *rest = [rest[0] - own[0], rest[1] - own[1]];
            }
            let search = |at: usize, histogram: &[Sums]| {
                self.limits.search(input, self.bins(input), histogram, split.sums[at], bounds[at])
            };
            (search(small, own), search(large, rest))
        };
        let found: Vec<(Option<Split>, Option<Split>)> = if rows.len() * self.binned.bins.len() < WORTH_A_THREAD {
            own.chunks_mut(BINS).zip(rest.chunks_mut(BINS)).enumerate().map(of_input).collect()
        } else {
            own.par_chunks_mut(BINS).zip(rest.par_chunks_mut(BINS)).enumerate().map(of_input).collect()
        };
        let of_small = best(found.iter().map(|(small, _)| *small));
        let of_large = best(found.iter().map(|(_, large)| *large));
        let (small_leaf, large_leaf) = (leaf(small, own, of_small), leaf(large, rest, of_large));
        if small == 0 { [small_leaf, large_leaf] } else { [large_leaf, small_leaf] }
    }

    /// Along a monotone input nothing below one child may pass the middle between the two.
    fn child_bounds(&self, parent: &Leaf, split: &Split) -> [[f64; 2]; 2] {
        let [low, high] = parent.bounds;
        let middle = 0.5 * (split.steps[0] + split.steps[1]);
        match self.limits.directions.get(split.input).copied().flatten() {
            None => [[low, high]; 2],
            Some(Direction::Increasing) => [[low, middle], [middle, high]],
            Some(Direction::Decreasing) => [[middle, high], [low, middle]],
        }
    }

    /// Puts the first child's rows before the second's, each in their order; answers how many are the first's.
    fn part(&self, rows: &mut [u32], buffer: &mut [u32], split: &Split) -> usize {
        let bins = &self.binned.bins[split.input];
        let (mut first, mut second) = (0, 0);
        for at in 0..rows.len() {
            let row = rows[at];
            let bin = usize::from(bins[row as usize]);
            if if bin == 0 { split.missing_first } else { bin <= split.bin } {
                rows[first] = row;
                first += 1;
            } else {
                buffer[second] = row;
                second += 1;
            }
        }
        rows[first..].copy_from_slice(&buffer[..second]);
        first
    }
}

/// The first of the best.
fn best(splits: impl Iterator<Item = Option<Split>>) -> Option<Split> {
    splits.flatten().fold(None, |best: Option<Split>, own| match best {
        Some(best) if best.gain >= own.gain => Some(best),
        _ => Some(own),
    })
}

fn add(a: Sums, b: Sums) -> Sums {
    [a[0] + b[0], a[1] + b[1]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::random::Random;

    const FREE: Limits<'static> = Limits { max_leaves: 8, l2: 1.0, min_leaf_weight: 2.0, directions: &[] };

    /// Three inputs, one of them with missing values; derivatives of a squared loss.
    fn rows(count: usize) -> (Vec<Vec<f32>>, Vec<[f32; 2]>) {
        let mut random = Random::new(11);
        let mut columns = vec![Vec::new(), Vec::new(), Vec::new()];
        let mut derivatives = Vec::new();
        for row in 0..count {
            let values = [random.unit(), (random.unit() * 6.0).floor(), random.unit()];
            let missing = row % 7 == 0;
            for (column, value) in columns.iter_mut().zip(values) {
                column.push(value as f32);
            }
            if missing {
                columns[0][row] = f32::NAN;
            }
            let outcome = if missing { -1.0 } else { values[0] } + f64::from(u8::from(values[1] > 3.0)) * values[2];
            derivatives.push([-outcome as f32, 1.0]);
        }
        (columns, derivatives)
    }

    fn child_of(fork: &Fork, value: f32) -> usize {
        if value.is_nan() { fork.missing } else { fork.children[usize::from(value >= fork.threshold)] }
    }

    #[test]
    fn the_first_split_is_the_best_that_there_is() {
        let (columns, derivatives) = rows(200);
        let tree = grow(&Binned::new(&columns), &derivatives, &Limits { max_leaves: 2, ..FREE });
        let fork = tree.nodes[0].fork.unwrap();
        let lowered = |goes_first: &dyn Fn(f32) -> bool, column: &[f32]| -> Option<f64> {
            let mut sums = [[0.0; 2]; 2];
            for (value, own) in column.iter().zip(&derivatives) {
                let side = &mut sums[usize::from(!goes_first(*value))];
                *side = add(*side, own.map(f64::from));
            }
            let whole = add(sums[0], sums[1]);
            let of = |sums: Sums| sums[0] * sums[0] / (sums[1] + FREE.l2);
            (sums.iter().all(|side| side[1] >= 2.0)).then(|| of(sums[0]) + of(sums[1]) - of(whole))
        };
        let mut most: f64 = 0.0;
        for column in &columns {
            for threshold in column.iter().copied().filter(|v| !v.is_nan()).chain([f32::INFINITY]) {
                for missing_first in [true, false] {
                    let first = |value: f32| if value.is_nan() { missing_first } else { value < threshold };
                    most = most.max(lowered(&first, column).unwrap_or(0.0));
                }
            }
        }
        let own = lowered(&|value| child_of(&fork, value) == fork.children[0], &columns[fork.input]).unwrap();
        assert!((own - most).abs() < 1e-6 * most, "{own} of {most}: {fork:?}");
    }

    #[test]
    fn rows_are_where_their_values_lead_and_leaves_are_the_best_steps() {
        let (columns, derivatives) = rows(3_000);
        let tree = grow(&Binned::new(&columns), &derivatives, &FREE);
        let mut seen = 0;
        for (leaf, rows) in tree.leaves() {
            let sums = rows.iter().fold([0.0; 2], |sums, row| add(sums, derivatives[*row as usize].map(f64::from)));
            assert!((leaf.step + sums[0] / (sums[1] + FREE.l2)).abs() < 1e-6, "{leaf:?} {sums:?}");
            for row in rows {
                let mut at = 0;
                while let Some(fork) = tree.nodes[at].fork {
                    at = child_of(&fork, columns[fork.input][*row as usize]);
                }
                assert_eq!(tree.nodes[at], *leaf);
            }
            seen += rows.len();
        }
        assert_eq!((seen, tree.leaves().count()), (3_000, 8));
    }

    #[test]
    fn what_gains_most_is_split_first() {
        // A root whose halves differ in weight, not in what is left to gain: only the second half has structure.
        let column: Vec<f32> = (0..400).map(|row| (row / 50) as f32).collect();
        let outcome = |row: usize| if row < 200 { 5.0 } else { [-3.0, 3.0, -3.0, 3.0][(row - 200) / 50] };
        let derivatives: Vec<[f32; 2]> = (0..400).map(|row| [-outcome(row) as f32, 1.0]).collect();
        let tree = grow(&Binned::new(&[column]), &derivatives, &Limits { max_leaves: 4, ..FREE });
        let largest = tree.leaves().map(|(_, rows)| rows.len()).max();
        assert_eq!(largest, Some(200), "the half without structure is left whole");
    }

    #[test]
    fn the_same_tree_on_any_number_of_threads() {
        let (columns, derivatives) = rows(20_000);
        let grown = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| grow(&Binned::new(&columns), &derivatives, &FREE))
        };
        let (one, three) = (grown(1), grown(3));
        assert_eq!((one.nodes, one.rows), (three.nodes, three.rows));
    }

    #[test]
    fn a_frequent_value_takes_one_bin_and_not_the_room_of_others() {
        let mut column: Vec<f32> = vec![0.0; 50_000];
        column.extend((0..50_000).map(|at| 1.0 + (at % 1_000) as f32));
        let found = cuts(&column);
        assert!((240..=CUTS).contains(&found.len()) && found.is_sorted(), "{}", found.len());
        assert_eq!(found[0], 1.0);
        let few = cuts(&[3.0, f32::NAN, 1.0, 3.0, 2.0]);
        assert_eq!(few, [2.0, 3.0]);
        assert!(cuts(&[f32::NAN; 3]).is_empty() && cuts(&[4.0; 3]).is_empty());
        let binned = Binned::new(&[vec![0.5, 2.0, f32::NAN, 9.0], vec![1.0; 4]]);
        assert_eq!((binned.bins[0].as_slice(), binned.bins[1].as_slice()), (&[1, 2, 0, 3][..], &[1; 4][..]));
    }
}
