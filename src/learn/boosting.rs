//! Boosted trees on an offset: `forust-ml` grows each tree, the loop is ours.
//!
//! Its own loop has only one starting score for all rows and cannot be cancelled; here each row starts from its own
//! margin (the regression's, out of fold), progress and cancellation are per tree, and no tree at all is a valid choice.
//! Trees do not depend on the number of threads.

use forust_ml::Matrix;
use forust_ml::binning::TiledBins;
use forust_ml::constraints::Constraint;
use forust_ml::data::JaggedMatrix;
use forust_ml::gradientbooster::GrowPolicy;
use forust_ml::sampler::SampleMethod;
use forust_ml::splitter::MissingImputerSplitter;
use forust_ml::tree::Tree;
use rayon::prelude::*;

use super::error::TrainError;
use super::regression::{mean_loss, sigmoid};
use crate::domain::job::{Progress, Reporter};
use crate::domain::model::{Direction, ModelSettings};
use crate::domain::predictor::MetricKind;
use crate::score::Forest;

/// Cuts of a column, at most.
const BINS: usize = 255;
/// Rows that cuts are taken from, at most.
const BINNING_SAMPLE: usize = 200_000;
/// Least sum of second derivatives in a leaf: about twenty rows of a balanced classification.
const MIN_LEAF_WEIGHT: f32 = 5.0;
/// Deeper than any tree of 64 leaves.
const MAX_DEPTH: usize = 64;

/// Rows to learn from or to measure on. One column a tree input.
pub(super) struct Rows<'a> {
    pub columns: &'a [Vec<f32>],
    pub outcomes: &'a [f32],
    pub weights: &'a [f32],
    pub offset: &'a [f64],
}

/// How long to boost.
pub(super) enum Until<'a> {
    /// Exactly so many trees.
    Trees(usize),
    /// At most so many, as many as are best on these rows.
    Best { most: usize, rows: Rows<'a> },
}

/// What grows the trees, and how they may look.
pub(super) struct Grower<'a> {
    pub kind: MetricKind,
    pub settings: &'a ModelSettings,
    /// Of each tree input, the way that the sum may go by it.
    pub directions: &'a [Option<Direction>],
}

impl Grower<'_> {
    fn splitter(&self) -> MissingImputerSplitter {
        let constraint = |(at, direction): (usize, &Option<Direction>)| match direction {
            Some(Direction::Increasing) => Some((at, Constraint::Positive)),
            Some(Direction::Decreasing) => Some((at, Constraint::Negative)),
            None => None,
        };
        MissingImputerSplitter {
            l1: 0.0,
            l2: self.settings.l2 as f32,
            max_delta_step: 0.0,
            gamma: 0.0,
            min_leaf_weight: MIN_LEAF_WEIGHT,
            learning_rate: self.settings.learning_rate as f32,
            allow_missing_splits: true,
            constraints_map: self.directions.iter().enumerate().filter_map(constraint).collect(),
        }
    }

    /// Grows trees on the rows' offsets.
    pub fn boost(
        &self,
        rows: &Rows<'_>,
        until: &Until<'_>,
        reporter: &dyn Reporter,
        phase: &str,
    ) -> Result<Forest, TrainError> {
        let (kind, settings) = (self.kind, self.settings);
        let mut forest = Forest { starts: vec![0], ..Forest::default() };
        let (most, judge) = match until {
            Until::Trees(count) => (*count, None),
            Until::Best { most, rows } => (*most, Some(rows)),
        };
        let count = rows.outcomes.len();
        let width = rows.columns.len();
        if most == 0 || width == 0 || count == 0 {
            return Ok(Forest::default());
        }
        let cuts: Vec<Vec<f64>> = rows.columns.par_iter().map(|column| cuts(column)).collect();
        let mut bins = vec![0u16; count * width];
        bins.par_chunks_mut(count).zip(rows.columns).zip(&cuts).for_each(|((bins, column), cuts)| {
            for (bin, value) in bins.iter_mut().zip(column) {
                *bin = if value.is_nan() { 0 } else { cuts.partition_point(|cut| *cut <= f64::from(*value)) as u16 };
            }
        });
        let cuts = JaggedMatrix::from_vecs(&cuts);
        let bins = Matrix::new(&bins, count, width);
        let tiles = TiledBins::new(&bins, &cuts, true);
        let has_missing: Vec<bool> = rows.columns.iter().map(|column| column.iter().any(|v| v.is_nan())).collect();
        let splitter = self.splitter();
        let columns: Vec<usize> = (0..width).collect();
        let mut margins = rows.offset.to_vec();
        let mut judged = judge.map(|judge| Judge::new(kind, judge, settings.learning_rate));
        for done in 0..most {
            if reporter.is_cancelled() {
                return Err(TrainError::Cancelled);
            }
            reporter.report(Progress {
                done: done as u64,
                total: Some(most as u64),
                unit: "trees".into(),
                phase: phase.into(),
            });
            let (gradient, hessian) = derivatives(kind, rows, &margins);
            let mut tree = Tree::new();
            let tree_rows = tree.fit_with_tiles(
                &bins,
                (0..count).collect(),
                &columns,
                &cuts,
                &gradient,
                &hessian,
                &splitter,
                settings.max_leaves as usize,
                MAX_DEPTH,
                true,
                &SampleMethod::None,
                &GrowPolicy::LossGuide,
                Some(&tiles),
            );
            // Nothing is left to split; a fixed number of trees is filled up with single leaves.
            if tree.nodes.len() <= 1 && judged.is_some() {
                break;
            }
            append(&mut forest, &tree, &has_missing);
            match tree_rows {
                Some(tree_rows) => {
                    for (rows, value) in tree_rows.leaves(&tree) {
                        for row in rows {
                            margins[*row] += value;
                        }
                    }
                }
                None => add_tree(&forest, done, rows.columns, &mut margins),
            }
            if let Some(judged) = &mut judged
                && judged.stop(&forest, done)
            {
                break;
            }
        }
        if let Some(judged) = judged {
            truncate(&mut forest, judged.best);
        }
        if forest.trees() == 0 {
            return Ok(Forest::default());
        }
        Ok(forest)
    }
}

/// Adds one tree's leaves to the margins of columnar rows.
pub(super) fn add_tree(forest: &Forest, tree: usize, columns: &[Vec<f32>], margins: &mut [f64]) {
    const CHUNK: usize = 4_096;
    margins.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, margins)| {
        let mut values = vec![0.0; columns.len()];
        for (at, margin) in margins.iter_mut().enumerate() {
            for (value, column) in values.iter_mut().zip(columns) {
                *value = column[chunk * CHUNK + at];
            }
            *margin += f64::from(forest.leaf(tree, &values));
        }
    });
}

/// Follows the loss on rows that the trees do not learn from.
struct Judge<'a> {
    kind: MetricKind,
    rows: &'a Rows<'a>,
    margins: Vec<f64>,
    best_loss: f64,
    best: usize,
    patience: usize,
}

impl<'a> Judge<'a> {
    fn new(kind: MetricKind, rows: &'a Rows<'a>, learning_rate: f64) -> Self {
        let margins = rows.offset.to_vec();
        let best_loss = mean_loss(kind, rows.outcomes, rows.weights, &margins);
        let patience = (2.0 / learning_rate).clamp(20.0, 200.0) as usize;
        Self { kind, rows, margins, best_loss, best: 0, patience }
    }

    /// Takes the newest tree in; true when the best is long past.
    fn stop(&mut self, forest: &Forest, tree: usize) -> bool {
        add_tree(forest, tree, self.rows.columns, &mut self.margins);
        let loss = mean_loss(self.kind, self.rows.outcomes, self.rows.weights, &self.margins);
        if loss < self.best_loss * (1.0 - 1e-6) {
            (self.best_loss, self.best) = (loss, tree + 1);
        }
        tree + 1 >= self.best + self.patience
    }
}

/// First and second derivatives of the weighted loss.
fn derivatives(kind: MetricKind, rows: &Rows<'_>, margins: &[f64]) -> (Vec<f32>, Vec<f32>) {
    margins
        .par_iter()
        .zip(rows.outcomes)
        .zip(rows.weights)
        .map(|((margin, outcome), weight)| match kind {
            MetricKind::Classification => {
                let p = sigmoid(*margin);
                ((p - f64::from(*outcome)) as f32 * weight, (p * (1.0 - p)) as f32 * weight)
            }
            MetricKind::Regression => ((*margin - f64::from(*outcome)) as f32 * weight, *weight),
        })
        .unzip()
}

/// The smallest value, up to 254 quantiles, and the largest number of all: as `forust-ml` lays out its bins, where a
/// value's bin is the number of cuts at or below it and bin 0 is for missing values.
fn cuts(column: &[f32]) -> Vec<f64> {
    let mut present: Vec<f32> = column.iter().copied().filter(|v| !v.is_nan()).collect();
    present.sort_unstable_by(f32::total_cmp);
    let smallest = present.first().copied();
    if present.len() > BINNING_SAMPLE {
        let step = present.len() as f64 / BINNING_SAMPLE as f64;
        present = (0..BINNING_SAMPLE).map(|k| present[(k as f64 * step) as usize]).collect();
    }
    let mut distinct = present.clone();
    distinct.dedup();
    if distinct.len() > BINS {
        distinct = (0..BINS).map(|k| present[k * present.len() / BINS]).collect();
        distinct.dedup();
    }
    let mut cuts: Vec<f64> = smallest.into_iter().chain(distinct).map(f64::from).collect();
    cuts.push(f64::MAX);
    cuts.dedup();
    cuts
}

/// Adds a grown tree in the artifact's form. Where training saw no missing value of the input at all, a missing one
/// goes to the side with more weight.
fn append(forest: &mut Forest, tree: &Tree, has_missing: &[bool]) {
    for node in &tree.nodes {
        let weight = node.hessian_sum.max(f32::MIN_POSITIVE);
        if node.is_leaf {
            forest.push_leaf(node.weight_value, weight);
            continue;
        }
        let heavier = if tree.nodes[node.left_child].hessian_sum > tree.nodes[node.right_child].hessian_sum {
            node.left_child
        } else {
            node.right_child
        };
        let missing = if has_missing[node.split_feature] { node.missing_node } else { heavier };
        // Cuts were made from 32-bit numbers, so nothing is lost; the top one is beyond every value.
        let top = node.split_value >= f64::from(f32::MAX);
        let threshold = if top { f32::INFINITY } else { node.split_value as f32 };
        let children = [node.left_child as u16, node.right_child as u16];
        forest.push_split(node.split_feature as u16, threshold, children, missing as u16, weight);
    }
    forest.starts.push(forest.inputs.len() as u32);
}

fn truncate(forest: &mut Forest, trees: usize) {
    let nodes = forest.starts[trees] as usize;
    forest.starts.truncate(trees + 1);
    forest.inputs.truncate(nodes);
    forest.values.truncate(nodes);
    forest.left.truncate(nodes);
    forest.right.truncate(nodes);
    forest.missing.truncate(nodes);
    forest.weights.truncate(nodes);
}
