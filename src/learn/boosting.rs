//! Boosted trees on an offset: each row starts from its own margin (the regression's, out of fold), progress and
//! cancellation are per tree, and no tree at all is a valid choice.
//! Trees do not depend on the number of threads.

use rayon::prelude::*;

use super::course::live_metric;
use super::error::TrainError;
use super::regression::{mean_loss, sigmoid};
use super::tree::{Binned, Limits, Tree, grow};
use crate::domain::job::{Progress, Reporter};
use crate::domain::model::{Direction, ModelSettings};
use crate::domain::predictor::MetricKind;
use crate::score::Forest;

/// Least sum of second derivatives in a leaf: about twenty rows of a balanced classification.
const MIN_LEAF_WEIGHT: f64 = 5.0;

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
    /// Of the metric: what its outcomes were divided by.
    pub deviation: f64,
}

impl Grower<'_> {
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
        let binned = Binned::new(rows.columns);
        let limits = Limits {
            max_leaves: settings.max_leaves as usize,
            l2: settings.l2,
            min_leaf_weight: MIN_LEAF_WEIGHT,
            directions: self.directions,
        };
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
                metric: judged.as_ref().map(|judged| live_metric(kind, judged.loss, self.deviation, "validation part")),
                ..Progress::default()
            });
            let tree = grow(&binned, &derivatives(kind, rows, &margins), &limits);
            // Nothing is left to split; a fixed number of trees is filled up with single leaves.
            if tree.nodes.len() <= 1 && judged.is_some() {
                break;
            }
            append(&mut forest, &tree, settings.learning_rate);
            for (leaf, rows) in tree.leaves() {
                let value = f64::from(shortened(leaf.step, settings.learning_rate));
                rows.iter().for_each(|row| margins[*row as usize] += value);
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
    /// With all trees so far.
    loss: f64,
    best_loss: f64,
    best: usize,
    patience: usize,
}

impl<'a> Judge<'a> {
    fn new(kind: MetricKind, rows: &'a Rows<'a>, learning_rate: f64) -> Self {
        let margins = rows.offset.to_vec();
        let best_loss = mean_loss(kind, rows.outcomes, rows.weights, &margins);
        let patience = (2.0 / learning_rate).clamp(20.0, 200.0) as usize;
        Self { kind, rows, margins, loss: best_loss, best_loss, best: 0, patience }
    }

    /// Takes the newest tree in; true when the best is long past.
    fn stop(&mut self, forest: &Forest, tree: usize) -> bool {
        add_tree(forest, tree, self.rows.columns, &mut self.margins);
        self.loss = mean_loss(self.kind, self.rows.outcomes, self.rows.weights, &self.margins);
        if self.loss < self.best_loss * (1.0 - 1e-6) {
            (self.best_loss, self.best) = (self.loss, tree + 1);
        }
        tree + 1 >= self.best + self.patience
    }
}

/// First and second derivatives of the weighted loss.
fn derivatives(kind: MetricKind, rows: &Rows<'_>, margins: &[f64]) -> Vec<[f32; 2]> {
    margins
        .par_iter()
        .zip(rows.outcomes)
        .zip(rows.weights)
        .map(|((margin, outcome), weight)| match kind {
            MetricKind::Classification => {
                let p = sigmoid(*margin);
                [(p - f64::from(*outcome)) as f32 * weight, (p * (1.0 - p)) as f32 * weight]
            }
            MetricKind::Regression => [(*margin - f64::from(*outcome)) as f32 * weight, *weight],
        })
        .collect()
}

/// A leaf's value as the artifact keeps it.
fn shortened(step: f64, learning_rate: f64) -> f32 {
    (step * learning_rate) as f32
}

/// Adds a grown tree in the artifact's form.
fn append(forest: &mut Forest, tree: &Tree, learning_rate: f64) {
    for node in &tree.nodes {
        let weight = (node.weight as f32).max(f32::MIN_POSITIVE);
        match &node.fork {
            None => forest.push_leaf(shortened(node.step, learning_rate), weight),
            Some(fork) => {
                let children = fork.children.map(|child| child as u16);
                forest.push_split(fork.input as u16, fork.threshold, children, fork.missing as u16, weight);
            }
        }
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
