//! Some of the rows, encoded: what one fit learns from, or what it is measured on.

use std::collections::HashMap;

use super::coverage::MIN_LOCAL_SAMPLES;
use super::error::TrainError;
use super::inputs::{self, Drifting, InputColumn};
use super::means::{Means, means};
use super::random::folds;
use super::spec::{TrainingSpec, TrainingTable};
use super::target::{NO_AGENT, Target};
use crate::domain::model::ModelType;
use crate::domain::predictor::MetricKind;
use crate::score::LinearPart;
use crate::score::encoding::{Encoding, TreeInput};

/// Folds of target means and of the regression's margins.
pub(super) const FOLDS: usize = 5;

/// Everything that is the same for every fit of one training.
#[derive(Clone, Copy)]
pub(super) struct Task<'a> {
    pub table: &'a TrainingTable,
    pub spec: &'a TrainingSpec,
    pub target: &'a Target,
}

/// How outcomes become what is fitted: 0/1 stay, a metric is standardised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Standard {
    pub mean: f64,
    pub deviation: f64,
}

/// Encoded rows.
pub(super) struct Part {
    pub columns: Vec<InputColumn>,
    pub outcomes: Vec<f32>,
    pub weights: Vec<f32>,
    /// Only agents with a local model; [`NO_AGENT`] otherwise.
    pub agents: Vec<u32>,
}

/// Encoded rows with the encoding that was learned from them.
pub(super) struct FitPart {
    pub part: Part,
    pub encoding: Encoding,
    pub standard: Standard,
    /// Per agent of the target: has it a local model?
    pub local: Vec<bool>,
    folds: Vec<u8>,
}

/// What trees read, for the rows that they learn from and for all others.
pub(super) struct TreeColumns {
    /// One a tree input; target means are out of fold.
    pub columns: Vec<Vec<f32>>,
    /// Per input, per level; empty for inputs that are not target-encoded.
    pub target_means: Vec<Vec<f32>>,
    /// Per agent of the target; empty when agents are not encoded.
    pub agent_means: Vec<f32>,
    /// The overall mean.
    pub prior: f32,
}

impl Task<'_> {
    /// Learns an encoding from the rows and encodes them.
    pub fn fit_part(
        &self,
        positions: &[u32],
        drifting: &[Drifting],
        warnings: &mut Vec<String>,
    ) -> Result<FitPart, TrainError> {
        let encoding = inputs::fit(self.table, self.target, positions, self.spec, drifting, warnings)?;
        let standard = self.standard(positions);
        let local = self.local_agents(positions);
        let part = self.part(positions, &encoding, standard, &local)?;
        let folds = folds(positions.len(), FOLDS, self.spec.seed);
        Ok(FitPart { part, encoding, standard, local, folds })
    }

    /// Encodes other rows with what was learned from `fit`.
    pub fn other_part(&self, positions: &[u32], fit: &FitPart) -> Result<Part, TrainError> {
        self.part(positions, &fit.encoding, fit.standard, &fit.local)
    }

    fn part(
        &self,
        positions: &[u32],
        encoding: &Encoding,
        standard: Standard,
        local: &[bool],
    ) -> Result<Part, TrainError> {
        let at = |position: &u32| *position as usize;
        let agent = |position: &u32| match self.target.agents[at(position)] {
            NO_AGENT => NO_AGENT,
            agent if local[agent as usize] => agent,
            _ => NO_AGENT,
        };
        Ok(Part {
            columns: inputs::encode(self.table, self.target, positions, encoding)?,
            outcomes: positions
                .iter()
                .map(|p| ((self.target.outcomes[at(p)] - standard.mean) / standard.deviation) as f32)
                .collect(),
            weights: self.target.weights_of(positions),
            agents: positions.iter().map(agent).collect(),
        })
    }

    fn standard(&self, positions: &[u32]) -> Standard {
        if self.spec.kind == MetricKind::Classification {
            return Standard { mean: 0.0, deviation: 1.0 };
        }
        let outcomes = || positions.iter().map(|p| self.target.outcomes[*p as usize]);
        let mean = outcomes().sum::<f64>() / positions.len() as f64;
        let variance = outcomes().map(|y| (y - mean).powi(2)).sum::<f64>() / positions.len() as f64;
        Standard { mean, deviation: if variance > 0.0 { variance.sqrt() } else { 1.0 } }
    }

    fn local_agents(&self, positions: &[u32]) -> Vec<bool> {
        if self.spec.model_type == ModelType::Global {
            return vec![false; self.target.agent_ids.len()];
        }
        let seen = agent_samples(self.target, positions);
        seen.iter().map(|seen| seen.samples >= MIN_LOCAL_SAMPLES && seen.low < seen.high).collect()
    }
}

/// What is known of an agent's outcomes.
#[derive(Debug, Clone, Copy)]
pub(super) struct AgentSamples {
    pub samples: u64,
    pub sum: f64,
    pub low: f64,
    pub high: f64,
}

/// One entry an agent of the target.
pub(super) fn agent_samples(target: &Target, positions: &[u32]) -> Vec<AgentSamples> {
    let nothing = AgentSamples { samples: 0, sum: 0.0, low: f64::INFINITY, high: f64::NEG_INFINITY };
    let mut seen = vec![nothing; target.agent_ids.len()];
    for position in positions {
        let (agent, outcome) = (target.agents[*position as usize], target.outcomes[*position as usize]);
        if agent != NO_AGENT {
            let entry = &mut seen[agent as usize];
            entry.samples += 1;
            entry.sum += outcome;
            entry.low = entry.low.min(outcome);
            entry.high = entry.high.max(outcome);
        }
    }
    seen
}

impl FitPart {
    pub fn rows(&self) -> usize {
        self.part.outcomes.len()
    }

    pub fn folds(&self) -> &[u8] {
        &self.folds
    }

    /// Target means and the trees' columns for the rows that were fitted.
    pub fn tree_columns(&self) -> TreeColumns {
        let part = &self.part;
        let encode = |levels: &[u32], count: usize| -> Means {
            means(levels, count, &part.outcomes, &part.weights, &self.folds, FOLDS)
        };
        let (mut sum, mut weight) = (0.0, 0.0);
        for (y, w) in part.outcomes.iter().zip(&part.weights) {
            sum += f64::from(*y) * f64::from(*w);
            weight += f64::from(*w);
        }
        let mut found = TreeColumns {
            columns: Vec::new(),
            target_means: vec![Vec::new(); self.encoding.inputs.len()],
            agent_means: Vec::new(),
            prior: (sum / weight) as f32,
        };
        for tree_input in &self.encoding.tree_inputs {
            found.columns.push(match tree_input {
                TreeInput::Number { input } => part.columns[*input as usize].numbers.clone(),
                TreeInput::Target { input } => {
                    let input = *input as usize;
                    let count = self.encoding.inputs[input].levels.as_ref().map_or(0, |levels| levels.len());
                    let Means { full, out_of_fold } = encode(&part.columns[input].levels, count);
                    found.target_means[input] = full;
                    out_of_fold
                }
                TreeInput::Agent => {
                    let Means { full, out_of_fold } = encode(&part.agents, self.local.len());
                    found.agent_means = full;
                    out_of_fold
                }
            });
        }
        found
    }
}

impl TreeColumns {
    /// The trees' columns for rows that were not fitted: means of all fitted rows.
    pub fn of(&self, part: &Part, encoding: &Encoding) -> Vec<Vec<f32>> {
        encoding
            .tree_inputs
            .iter()
            .map(|tree_input| match tree_input {
                TreeInput::Number { input } => part.columns[*input as usize].numbers.clone(),
                TreeInput::Target { input } => {
                    let means = &self.target_means[*input as usize];
                    part.columns[*input as usize].levels.iter().map(|level| means[*level as usize]).collect()
                }
                TreeInput::Agent => part
                    .agents
                    .iter()
                    .map(|agent| self.agent_means.get(*agent as usize).copied().unwrap_or(self.prior))
                    .collect(),
            })
            .collect()
    }
}

/// The regression's margins of encoded rows, as scoring computes them.
pub(super) fn linear_margins(linear: &LinearPart, encoding: &Encoding, part: &Part) -> Vec<f64> {
    let mut margins = vec![linear.intercept; part.outcomes.len()];
    for (input, column) in part.columns.iter().enumerate() {
        if let Some(scale) = encoding.inputs[input].scale {
            let coefficient = f64::from(linear.numbers[input]);
            for (margin, number) in margins.iter_mut().zip(&column.numbers) {
                *margin += coefficient * f64::from(scale.apply(*number));
            }
        }
        for (margin, level) in margins.iter_mut().zip(&column.levels) {
            *margin += linear.levels[input].get(*level as usize).map_or(0.0, |value| f64::from(*value));
        }
    }
    for (margin, agent) in margins.iter_mut().zip(&part.agents) {
        *margin += linear.agents.get(*agent as usize).map_or(0.0, |value| f64::from(*value));
    }
    for cross in &linear.crosses {
        let pairs: HashMap<(u32, u32), f32> = cross
            .agents
            .iter()
            .zip(&cross.levels)
            .zip(&cross.values)
            .map(|((agent, level), value)| ((*agent, *level), *value))
            .collect();
        let levels = &part.columns[cross.input as usize].levels;
        for ((margin, agent), level) in margins.iter_mut().zip(&part.agents).zip(levels) {
            *margin += pairs.get(&(*agent, *level)).map_or(0.0, |value| f64::from(*value));
        }
    }
    margins
}
