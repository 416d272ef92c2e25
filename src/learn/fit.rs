//! One fit with settled choices: the regression, its out-of-fold margins, the trees on them.

use super::boosting::{self, Grower, Rows, Until};
use super::course;
use super::design::{Block, Design, Term};
use super::error::TrainError;
use super::inputs::Drifting;
use super::part::{FOLDS, FitPart, Part, Task, TreeColumns, linear_margins};
use super::regression::{Problem, sigmoid};
use crate::domain::job::{Progress, Reporter};
use crate::domain::model::{Direction, ModelType};
use crate::domain::predictor::MetricKind;
use crate::score::encoding::{Derive, Encoding, Levels, Side, TreeInput};
use crate::score::{Cross, Forest, LinearPart};

/// Rounds of estimating the ridge strengths.
const RIDGE_ROUNDS: usize = 6;
/// Levels of an input that is crossed with agents, at most.
const MAX_CROSS_LEVELS: usize = 256;

/// An input as every encoding of the same training knows it (indexes differ when a part lacks an input).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CrossKey {
    pub field: u32,
    pub derive: Derive,
    pub ranges: bool,
}

/// What is chosen before the final fits.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choices {
    /// Factors of the estimated ridge strengths: of all, and additionally of crosses.
    pub ridge: f64,
    pub cross_ridge: f64,
    pub crosses: Vec<CrossKey>,
    pub drifting: Vec<Drifting>,
    pub trees: usize,
}

/// A fitted regression with what is needed to fit it again.
pub(super) struct LinearFit<'a> {
    pub design: Design<'a>,
    /// Estimated strengths, one a group.
    pub estimated: Vec<f64>,
    pub coefficients: Vec<f64>,
}

/// A fit that can predict.
pub(super) struct Fitted {
    pub linear: LinearPart,
    /// Per agent: see [`LinearFit::kept`]; empty without agents.
    pub kept: Vec<f64>,
    pub trees: TreeColumns,
    pub forest: Forest,
}

/// The inputs that can be crossed with agents.
pub(super) fn cross_candidates(encoding: &Encoding) -> Vec<(usize, CrossKey)> {
    let mut found = Vec::new();
    for (index, input) in encoding.inputs.iter().enumerate() {
        let side = encoding.fields[input.field as usize].side;
        let Some(levels) = &input.levels else { continue };
        // The age of the interaction itself is always the newest when it is scored.
        let fits = side != Side::Agent && levels.len() <= MAX_CROSS_LEVELS && input.derive != Derive::AgeDays;
        if fits {
            let ranges = matches!(levels, Levels::Cuts(_));
            found.push((index, CrossKey { field: input.field, derive: input.derive.clone(), ranges }));
        }
    }
    found
}

impl<'a> LinearFit<'a> {
    /// Builds the design and estimates the ridge strengths.
    pub fn estimate(
        task: &Task<'_>,
        fit: &'a FitPart,
        crosses: &[CrossKey],
        reporter: &dyn Reporter,
    ) -> Result<LinearFit<'a>, TrainError> {
        let mut design = Design::new(&fit.encoding, &fit.part.columns, fit.rows());
        if task.spec.model_type != ModelType::Global {
            design.add_agents(&fit.part.agents, fit.local.len());
            for (input, key) in cross_candidates(&fit.encoding) {
                if crosses.contains(&key) {
                    design.add_cross(input, &fit.part.agents, &fit.part.columns[input].levels);
                }
            }
        }
        let mut estimated = vec![10.0; design.groups];
        let mut coefficients = vec![0.0; design.coefficients];
        coefficients[0] = starting_intercept(task.spec.kind, &fit.part);
        for round in 0..RIDGE_ROUNDS {
            let step = Progress {
                done: round as u64,
                total: Some(RIDGE_ROUNDS as u64),
                unit: "rounds".into(),
                phase: course::REGRESSION.into(),
                ..Progress::default()
            };
            reporter.report(step);
            let problem = problem(task.spec.kind, &design, &fit.part, &fit.part.weights);
            let ridge = problem.spread(&estimated);
            let (tolerance, steps) = if round == 0 { (1e-4, 20) } else { (2e-5, 15) };
            coefficients = problem.minimize(&coefficients, &ridge, tolerance, steps, reporter)?;
            // Half of the way, by logarithm: blocks that could say the same (an agent, and the agent's only reason) would
            // otherwise all take it and all leave it in turn.
            for (before, found) in estimated.iter_mut().zip(problem.estimate_ridge(&coefficients)) {
                *before = (*before * found).sqrt();
            }
        }
        Ok(LinearFit { design, estimated, coefficients })
    }

    /// Ridge strengths, one a coefficient, under the choices and the setting `l2`.
    fn ridge(&self, problem: &Problem<'_>, l2: f64, choices: &Choices) -> Vec<f64> {
        let mut groups: Vec<f64> = self.estimated.iter().map(|ridge| (ridge * choices.ridge * l2).max(1e-3)).collect();
        for block in &self.design.blocks {
            if matches!(block.term, Term::Cross { .. }) {
                groups[block.group] *= choices.cross_ridge;
            }
        }
        problem.spread(&groups)
    }

    /// The coefficients under the choices.
    pub fn refit(
        &mut self,
        task: &Task<'_>,
        fit: &FitPart,
        choices: &Choices,
        reporter: &dyn Reporter,
    ) -> Result<LinearPart, TrainError> {
        let problem = problem(task.spec.kind, &self.design, &fit.part, &fit.part.weights);
        let ridge = self.ridge(&problem, task.spec.settings.l2, choices);
        let signs = self.signs(task, &fit.encoding);
        self.coefficients = problem.minimize_signed(&self.coefficients, &ridge, &signs, 1e-7, 60, reporter)?;
        Ok(self.linear_part(&fit.encoding))
    }

    /// The slopes of monotone features with the sign that they may have.
    fn signs(&self, task: &Task<'_>, encoding: &Encoding) -> Vec<(usize, f64)> {
        let sign = |block: &Block<'_>| match block.term {
            Term::Number { input } => direction_of(task, encoding, input).map(|direction| {
                let sign = match direction {
                    Direction::Increasing => 1.0,
                    Direction::Decreasing => -1.0,
                };
                (block.start, sign)
            }),
            _ => None,
        };
        self.design.blocks.iter().filter_map(sign).collect()
    }

    fn agents(&self) -> Option<&Block<'a>> {
        self.design.blocks.iter().find(|block| block.term == Term::Agents)
    }

    /// How much of each agent's own deviation its coefficient keeps: `h / (h + λ)`, where `h` is what its rows tell (the
    /// diagonal of the Hessian) and `λ` the ridge strength.
    fn kept(&self, task: &Task<'_>, fit: &FitPart, choices: &Choices) -> Vec<f64> {
        let Some(block) = self.agents() else { return Vec::new() };
        let problem = problem(task.spec.kind, &self.design, &fit.part, &fit.part.weights);
        let ridge = self.ridge(&problem, task.spec.settings.l2, choices);
        let curvature = problem.curvature(&self.coefficients);
        (block.start..block.start + block.count).map(|at| curvature[at] / (curvature[at] + ridge[at])).collect()
    }

    /// Margins of the fitted rows, each by a regression that did not see the row's fold; those of an average agent where
    /// `agents` is false.
    pub fn out_of_fold(
        &self,
        task: &Task<'_>,
        fit: &FitPart,
        choices: &Choices,
        agents: bool,
        reporter: &dyn Reporter,
    ) -> Result<Vec<f64>, TrainError> {
        let mut margins = vec![0.0; fit.rows()];
        let signs = self.signs(task, &fit.encoding);
        for fold in 0..FOLDS as u8 {
            let step = Progress {
                done: u64::from(fold),
                total: Some(FOLDS as u64),
                unit: "folds".into(),
                phase: course::FOLDS.into(),
                ..Progress::default()
            };
            reporter.report(step);
            let kept = |(weight, own): (&f32, &u8)| if *own == fold { 0.0 } else { *weight };
            let weights: Vec<f32> = fit.part.weights.iter().zip(fit.folds()).map(kept).collect();
            let problem = problem(task.spec.kind, &self.design, &fit.part, &weights);
            let ridge = self.ridge(&problem, task.spec.settings.l2, choices);
            let mut start = vec![0.0; self.design.coefficients];
            start[0] = starting_intercept(task.spec.kind, &fit.part);
            let mut coefficients = problem.minimize_signed(&start, &ridge, &signs, 1e-6, 50, reporter)?;
            if let Some(block) = self.agents().filter(|_| !agents) {
                coefficients[block.start..block.start + block.count].fill(0.0);
            }
            let all = self.design.margins(&coefficients, &[]);
            for (row, own) in fit.folds().iter().enumerate().filter(|(_, own)| **own == fold) {
                margins[row] = all[row];
                debug_assert_eq!(*own, fold);
            }
        }
        Ok(margins)
    }

    fn linear_part(&self, encoding: &Encoding) -> LinearPart {
        let inputs = encoding.inputs.len();
        let mut linear = LinearPart {
            intercept: self.coefficients[0],
            numbers: vec![0.0; inputs],
            levels: vec![Vec::new(); inputs],
            agents: Vec::new(),
            crosses: Vec::new(),
        };
        for block in &self.design.blocks {
            let values = || self.coefficients[block.start..block.start + block.count].iter().map(|value| *value as f32);
            match &block.term {
                Term::Number { input } => linear.numbers[*input] = self.coefficients[block.start] as f32,
                Term::Levels { input } => linear.levels[*input] = values().collect(),
                Term::Agents => linear.agents = values().collect(),
                Term::Cross { input, pairs } => linear.crosses.push(Cross {
                    input: *input as u32,
                    agents: pairs.iter().map(|pair| pair.0).collect(),
                    levels: pairs.iter().map(|pair| pair.1).collect(),
                    values: values().collect(),
                }),
            }
        }
        linear
    }
}

/// The way that the settings allow the prediction to go by an input.
fn direction_of(task: &Task<'_>, encoding: &Encoding, input: usize) -> Option<Direction> {
    let field = &encoding.fields[encoding.inputs[input].field as usize];
    task.spec.settings.monotone.get(&field.name).copied()
}

/// The same of each tree input.
fn tree_directions(task: &Task<'_>, encoding: &Encoding) -> Vec<Option<Direction>> {
    let direction = |tree_input: &TreeInput| tree_input.input().and_then(|input| direction_of(task, encoding, input));
    encoding.tree_inputs.iter().map(direction).collect()
}

fn problem<'a>(kind: MetricKind, design: &'a Design<'a>, part: &'a Part, weights: &'a [f32]) -> Problem<'a> {
    Problem { design, kind, outcomes: &part.outcomes, weights, offset: &[] }
}

/// The margin of the mean outcome.
fn starting_intercept(kind: MetricKind, part: &Part) -> f64 {
    let (mut sum, mut weight) = (0.0, 0.0);
    for (outcome, w) in part.outcomes.iter().zip(&part.weights) {
        sum += f64::from(*outcome) * f64::from(*w);
        weight += f64::from(*w);
    }
    let mean = sum / weight;
    match kind {
        MetricKind::Regression => mean,
        MetricKind::Classification => {
            let p = mean.clamp(1e-3, 1.0 - 1e-3);
            (p / (1.0 - p)).ln()
        }
    }
}

/// How many trees a fit grows.
pub(super) enum Trees<'a> {
    Exactly(usize),
    /// At most so many, judged on these rows.
    Judged {
        most: usize,
        part: &'a Part,
    },
}

/// Fits everything. The regression is estimated by the caller, who may have tried choices on it.
pub(super) fn finish(
    task: &Task<'_>,
    fit: &FitPart,
    mut estimate: LinearFit<'_>,
    choices: &Choices,
    trees: &Trees<'_>,
    reporter: &dyn Reporter,
) -> Result<Fitted, TrainError> {
    let spec = task.spec;
    let linear = estimate.refit(task, fit, choices, reporter)?;
    let kept = estimate.kept(task, fit, choices);
    let columns = fit.tree_columns();
    let most = match trees {
        Trees::Exactly(count) => *count,
        Trees::Judged { most, .. } => *most,
    };
    if most == 0 || columns.columns.is_empty() {
        return Ok(Fitted { linear, kept, trees: columns, forest: Forest::default() });
    }
    let offset = estimate.out_of_fold(task, fit, choices, true, reporter)?;
    drop(estimate);
    let part = &fit.part;
    let rows = Rows { columns: &columns.columns, outcomes: &part.outcomes, weights: &part.weights, offset: &offset };
    let grower = Grower {
        kind: spec.kind,
        settings: &spec.settings,
        directions: &tree_directions(task, &fit.encoding),
        deviation: fit.standard.deviation,
    };
    let forest = match trees {
        Trees::Exactly(count) => grower.boost(&rows, &Until::Trees(*count), reporter, course::TREES)?,
        Trees::Judged { most, part: judge } => {
            let judge_columns = columns.of(judge, &fit.encoding);
            let judge_offset = linear_margins(&linear, &fit.encoding, judge);
            let judge = Rows {
                columns: &judge_columns,
                outcomes: &judge.outcomes,
                weights: &judge.weights,
                offset: &judge_offset,
            };
            grower.boost(&rows, &Until::Best { most: *most, rows: judge }, reporter, course::TRYING)?
        }
    };
    Ok(Fitted { linear, kept, trees: columns, forest })
}

impl Fitted {
    /// Margins of rows that were not fitted.
    pub fn margins(&self, fit: &FitPart, part: &Part) -> Vec<f64> {
        let mut margins = linear_margins(&self.linear, &fit.encoding, part);
        let columns = self.trees.of(part, &fit.encoding);
        for tree in 0..self.forest.trees() {
            boosting::add_tree(&self.forest, tree, &columns, &mut margins);
        }
        margins
    }
}

/// Predictions in the metric's unit, or probabilities.
pub(super) fn predictions(kind: MetricKind, fit: &FitPart, margins: &[f64]) -> Vec<f64> {
    let standard = fit.standard;
    let predict = |margin: &f64| match kind {
        MetricKind::Classification => sigmoid(*margin),
        MetricKind::Regression => standard.mean + standard.deviation * margin,
    };
    margins.iter().map(predict).collect()
}
