//! Whom the model would choose: the agents who usually take an interaction's kind of contact, ranked by the engine.

use std::sync::Arc;

use rayon::prelude::*;

use super::super::error::TrainError;
use super::super::held_out::HeldOut;
use super::super::part::{FitPart, Part, Task};
use super::super::spec::TrainingSpec;
use super::super::target::{NO_AGENT, Parts, Target};
use super::super::train::artifact;
use super::propensity::{Cell, Propensities};
use crate::domain::job::{Progress, Reporter};
use crate::domain::predictor::{AgentSource, MetricKind};
use crate::score::encoding::{Encoded, Encoding};
use crate::score::{AgentSet, Artifact, CompiledModel};

/// Rows between two looks at whether the estimation was cancelled.
const CHUNK: usize = 2_048;

/// One interaction of the holdout with its agents, best last.
#[derive(Debug, Clone)]
pub(super) struct Ranked {
    /// Row of the holdout.
    pub row: u32,
    /// Its agents, as places in its cell.
    pub places: Vec<u32>,
    /// What the model predicts of each, on the scale of the regression: log odds, or standardised.
    pub links: Vec<f32>,
    /// Mean of these by the cell's probabilities.
    pub mean_link: f64,
    /// Where the actual agent stands in the ranking; none when it hardly ever takes such contacts.
    pub actual: Option<u32>,
}

/// Ranks the agents of each of the rows (of the holdout).
pub(super) fn rank(
    held: HeldOut<'_>,
    propensities: &Propensities,
    rows: &[u32],
    reporter: &dyn Reporter,
) -> Result<Vec<Ranked>, TrainError> {
    let HeldOut { task, parts, fit, fitted, holdout, .. } = held;
    let target = task.target;
    let spec = TrainingSpec { agent_source: AgentSource::Profile, ..task.spec.clone() };
    let mut artifact = artifact(&Task { spec: &spec, ..task }, &fit, fitted);
    let latest = latest_inputs(target, &fit, &holdout, parts);
    artifact.agent_source = AgentSource::Dataset;
    (artifact.agents.latest_numbers, artifact.agents.latest_levels) = latest;
    let model = CompiledModel::new(Arc::new(artifact));
    let agents = AgentSet::build(&model, []);
    let positions: Vec<u32> = target
        .agent_ids
        .iter()
        .map(|id| agents.position(id).ok_or_else(|| TrainError::Internal(format!("agent {id} was not encoded"))))
        .collect::<Result<_, _>>()?;
    let rank_row = |row: &u32| -> Ranked {
        let cell = &propensities.cells[propensities.of_row[*row as usize] as usize];
        let inputs = encoded(&model.artifact().encoding, &holdout, *row as usize);
        let at: Vec<u32> = cell.agents.iter().map(|agent| positions[*agent as usize]).collect();
        let margins = model.margins_of_encoded(inputs, &agents, &at);
        let actual = target.agents[parts.holdout[*row as usize] as usize];
        ranked(*row, model.artifact(), cell, &margins, actual)
    };
    let mut found = Vec::with_capacity(rows.len());
    for chunk in rows.chunks(CHUNK) {
        if reporter.is_cancelled() {
            return Err(TrainError::Cancelled);
        }
        reporter.report(Progress {
            done: found.len() as u64,
            total: Some(rows.len() as u64),
            unit: "interactions".into(),
            phase: "ranking the free agents".into(),
            ..Progress::default()
        });
        found.par_extend(chunk.par_iter().map(rank_row));
    }
    Ok(found)
}

/// In the engine's order: by score, ties by agent id (agents of a cell ascend by it).
fn ranked(row: u32, artifact: &Artifact, cell: &Cell, margins: &[f64], actual: u32) -> Ranked {
    let outcome = &artifact.outcome;
    let scores: Vec<f64> = margins.iter().map(|margin| outcome.score(outcome.p_score(*margin))).collect();
    let mut places: Vec<u32> = (0..margins.len() as u32).collect();
    places.sort_by(|a, b| scores[*a as usize].total_cmp(&scores[*b as usize]).then_with(|| b.cmp(a)));
    let limit =
        |margin: f64| if outcome.kind == MetricKind::Classification { margin.clamp(-30.0, 30.0) } else { margin };
    let links: Vec<f32> = places.iter().map(|at| limit(margins[*at as usize]) as f32).collect();
    let weighted = places.iter().zip(&links).map(|(at, link)| cell.probabilities[*at as usize] * f64::from(*link));
    let mean_link = weighted.sum::<f64>() / cell.kept;
    let actual = places.iter().position(|at| cell.agents[*at as usize] == actual).map(|at| at as u32);
    Ranked { row, places, links, mean_link, actual }
}

/// A row's inputs as the engine reads them.
fn encoded(encoding: &Encoding, part: &Part, row: usize) -> Vec<Encoded> {
    (0..encoding.inputs.len())
        .map(|input| {
            let column = &part.columns[input];
            Encoded {
                number: column.numbers.get(row).copied().unwrap_or(f32::NAN),
                level: column.levels.get(row).copied().unwrap_or(0),
            }
        })
        .collect()
}

/// Each agent's features in its last row before the holdout; of an agent who is new in it, in its first row there: a
/// profile would have known them.
fn latest_inputs(target: &Target, fit: &FitPart, holdout: &Part, parts: &Parts) -> (Vec<f32>, Vec<u32>) {
    let time = |position: u32| target.times.get(position as usize).copied();
    let last = |positions: &[u32], latest: bool| -> Vec<Option<usize>> {
        let mut found: Vec<Option<usize>> = vec![None; target.agent_ids.len()];
        for (row, position) in positions.iter().enumerate() {
            let agent = target.agents[*position as usize];
            if agent == NO_AGENT {
                continue;
            }
            let slot = &mut found[agent as usize];
            let better = slot.is_none_or(|other| {
                let (own, other) = (time(*position), time(positions[other]));
                if latest { own >= other } else { own < other }
            });
            if better {
                *slot = Some(row);
            }
        }
        found
    };
    let (before, within) = (last(&parts.train, true), last(&parts.holdout, false));
    let (mut numbers, mut levels) = (Vec::new(), Vec::new());
    for (before, within) in before.into_iter().zip(within) {
        let source = before.map(|row| (&fit.part, row)).or(within.map(|row| (holdout, row)));
        let inputs = source.map(|(part, row)| encoded(&fit.encoding, part, row));
        for input in fit.encoding.agent_inputs() {
            let missing = fit.encoding.inputs[input].levels.as_ref().map_or(0, |levels| levels.missing());
            let value = inputs.as_ref().map_or(Encoded { number: f32::NAN, level: missing }, |inputs| inputs[input]);
            numbers.push(value.number);
            levels.push(value.level);
        }
    }
    (numbers, levels)
}
