//! `tango bench learn`: quality of the three model types on public and simulated data, beside other tools on the same
//! split, and what a training costs.
//!
//! Test rows are scored one by one by the engine that serves requests, so that the figures cover the artifact, its
//! encoding and the ranking, not only the trainer's own arithmetic.

mod cost;
mod progress;
mod python;
mod tasks;

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use rand::{RngExt, SeedableRng};
use rayon::prelude::*;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use self::progress::Watch;
use self::tasks::{OUTCOME, Task, value};
use super::public_data::{folder, take};
use super::{cpu_seconds, number};
use crate::domain::Timestamp;
use crate::domain::job::Silent;
use crate::domain::model::{Holdout, ModelSettings, ModelType};
use crate::domain::predictor::{AgentSource, Goal, MetricKind};
use crate::learn::measure::{auc, log_loss};
use crate::learn::{TrainingSpec, TrainingTable, train};
use crate::score::{AgentSet, CompiledModel, DefaultPolicy, Eligible, ScoreInput};

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only tasks whose name contains this; `cost` is the one about CPU time and memory.
    pub only: Option<String>,
    pub threads: Option<usize>,
    /// Measure Python's tools on the same split too. They are imported by the program that `TANGO_BENCH_PYTHON` names,
    /// else by `python3`.
    pub python: bool,
    /// Train again on one thread (and first on two, unless `threads` says otherwise) and compare the artifacts.
    pub repeat: bool,
    /// Print how long each phase took, and how long the rest was said to take.
    pub progress: bool,
}

const FILES: &str = "flights.csv.gz and insteval.csv.gz";

/// `tango bench learn`.
pub fn command(arguments: &[String]) -> Result<()> {
    let options = Options {
        only: arguments.first().filter(|name| !name.starts_with("--")).cloned(),
        threads: number(arguments, "--threads")?,
        python: arguments.iter().any(|argument| argument == "--python"),
        repeat: arguments.iter().any(|argument| argument == "--repeat"),
        progress: arguments.iter().any(|argument| argument == "--progress"),
    };
    run(&options, &mut std::io::stdout())
}

/// Prints the table to `out`.
pub fn run(options: &Options, out: &mut dyn Write) -> Result<()> {
    let folder = folder();
    for name in tasks::NAMES {
        if options.only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let Some(task) = tasks::task(name, folder.as_deref())? else {
            writeln!(out, "\n{name}: its data is not here: set TANGO_TEST_DATA to the folder with {FILES}.")?;
            continue;
        };
        compare(name, &task, options, out)?;
    }
    if options.only.as_ref().is_none_or(|only| "cost".contains(only.as_str())) {
        cost::run(options, out)?;
    }
    Ok(())
}

fn compare(name: &str, task: &Task, options: &Options, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "\n{name}: {} rows to learn from, {} to test on", task.train.len(), task.test.len())?;
    writeln!(
        out,
        "  {:<34} {:>7} {:>9} {:>7} {:>7} {:>6} {:>9}",
        "", "AUC", "log loss", "CPU s", "wall s", "trees", "bytes"
    )?;
    let outcomes = outcomes(task);
    if let Some(truth) = &task.truth {
        line(out, &Measured::new("the truth itself", &outcomes, truth.clone()))?;
    }
    let others = if options.python { python::run(task, &outcomes, out)? } else { Vec::new() };
    for other in &others {
        line(out, other)?;
    }
    let mut own = Vec::new();
    for model_type in [ModelType::Global, ModelType::Disjoint, ModelType::Hybrid] {
        let measured = measure(task, model_type, &outcomes, options, out)?;
        line(out, &measured)?;
        own.push(measured);
    }
    let [global, disjoint, hybrid] = &own[..] else { unreachable!("three types") };
    versus(out, hybrid, [global, disjoint].into_iter(), &outcomes)?;
    versus(out, hybrid, others.iter(), &outcomes)
}

/// Predictions of the test rows and what they cost.
struct Measured {
    name: String,
    predictions: Vec<f64>,
    auc: f64,
    log_loss: f64,
    cpu_seconds: Option<f64>,
    wall_seconds: Option<f64>,
    trees: Option<u32>,
    bytes: Option<usize>,
}

impl Measured {
    fn new(name: impl Into<String>, outcomes: &[f64], predictions: Vec<f64>) -> Self {
        let losses = outcomes.iter().zip(&predictions).map(|(y, p)| log_loss(*y, *p));
        Self {
            name: name.into(),
            auc: auc(outcomes, &predictions).unwrap_or(f64::NAN),
            log_loss: losses.sum::<f64>() / outcomes.len() as f64,
            predictions,
            cpu_seconds: None,
            wall_seconds: None,
            trees: None,
            bytes: None,
        }
    }
}

fn line(out: &mut dyn Write, measured: &Measured) -> Result<()> {
    let number = |value: Option<f64>| value.map(|value| format!("{value:.1}")).unwrap_or_default();
    let count = |value: Option<String>| value.unwrap_or_default();
    writeln!(
        out,
        "  {:<34} {:>7.4} {:>9.4} {:>7} {:>7} {:>6} {:>9}",
        measured.name,
        measured.auc,
        measured.log_loss,
        number(measured.cpu_seconds),
        number(measured.wall_seconds),
        count(measured.trees.map(|trees| trees.to_string())),
        count(measured.bytes.map(|bytes| bytes.to_string()))
    )?;
    Ok(())
}

/// What HYBRID has more than the best of others, with the interval of 200 paired bootstrap samples of the test rows.
fn versus<'a>(
    out: &mut dyn Write,
    hybrid: &Measured,
    others: impl Iterator<Item = &'a Measured> + Clone,
    outcomes: &[f64],
) -> Result<()> {
    let best_auc = others.clone().max_by(|a, b| a.auc.total_cmp(&b.auc));
    let best_loss = others.min_by(|a, b| a.log_loss.total_cmp(&b.log_loss));
    let (Some(best_auc), Some(best_loss)) = (best_auc, best_loss) else { return Ok(()) };
    let mean_loss = |y: &[f64], p: &[f64]| y.iter().zip(p).map(|(y, p)| log_loss(*y, *p)).sum::<f64>() / y.len() as f64;
    let gain =
        |y: &[f64], ours: &[f64], theirs: &[f64]| auc(y, ours).unwrap_or(f64::NAN) - auc(y, theirs).unwrap_or(f64::NAN);
    let saved = |y: &[f64], ours: &[f64], theirs: &[f64]| mean_loss(y, theirs) - mean_loss(y, ours);
    let (low, high) = paired_interval(outcomes, &hybrid.predictions, &best_auc.predictions, gain);
    let verdict = |high: f64| if high >= 0.0 { "holds" } else { "MISSED" };
    writeln!(
        out,
        "  HYBRID's AUC less that of {}: {:+.4} [{low:+.4}, {high:+.4}], not below 0: {}",
        best_auc.name,
        hybrid.auc - best_auc.auc,
        verdict(high)
    )?;
    let (low, high) = paired_interval(outcomes, &hybrid.predictions, &best_loss.predictions, saved);
    writeln!(
        out,
        "  log loss that HYBRID saves beside {}: {:+.4} [{low:+.4}, {high:+.4}], not below 0: {}",
        best_loss.name,
        best_loss.log_loss - hybrid.log_loss,
        verdict(high)
    )?;
    Ok(())
}

/// The 2.5 % and 97.5 % quantiles of a difference over resampled rows.
fn paired_interval(
    outcomes: &[f64],
    ours: &[f64],
    theirs: &[f64],
    difference: impl Fn(&[f64], &[f64], &[f64]) -> f64 + Sync,
) -> (f64, f64) {
    let mut found: Vec<f64> = (0..200u64)
        .into_par_iter()
        .map(|seed| {
            let mut random = rand::rngs::ChaCha8Rng::seed_from_u64(seed);
            let rows: Vec<usize> = (0..outcomes.len()).map(|_| random.random_range(0..outcomes.len())).collect();
            let taken = |values: &[f64]| rows.iter().map(|row| values[*row]).collect::<Vec<f64>>();
            difference(&taken(outcomes), &taken(ours), &taken(theirs))
        })
        .collect();
    found.sort_unstable_by(f64::total_cmp);
    (found[4], found[195])
}

/// Trains and scores the test rows.
fn measure(
    task: &Task,
    model_type: ModelType,
    outcomes: &[f64],
    options: &Options,
    out: &mut dyn Write,
) -> Result<Measured> {
    let training = training_table(task);
    let spec = spec(model_type, task.holdout);
    let threads = options.threads.or(options.repeat.then_some(2));
    let (wall, cpu) = (Instant::now(), cpu_seconds());
    let watch = Watch::start();
    let trained = train(&training, &spec, &watch, threads)?;
    let (wall, cpu) = (wall.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    if options.progress {
        watch.print(out)?;
    }
    let bytes = trained.artifact.encode()?;
    let model = CompiledModel::new(Arc::new(trained.artifact));
    let name = format!("tango {}", format!("{model_type:?}").to_uppercase());
    if options.repeat {
        let again = train(&training, &spec, &Silent, Some(1))?.artifact.encode()?;
        let [first, second] = [&bytes, &again].map(|bytes| hex::encode(Sha256::digest(bytes)));
        let verdict = if bytes == again { "identical bytes" } else { "DIFFERENT BYTES" };
        writeln!(out, "    {name} again on 1 thread: {verdict}, sha256 {} and {}", &first[..16], &second[..16])?;
    }
    Ok(Measured {
        cpu_seconds: Some(cpu),
        wall_seconds: Some(wall),
        trees: Some(trained.quality.trees),
        bytes: Some(bytes.len()),
        ..Measured::new(name, outcomes, score_rows(task, &model))
    })
}

/// Default settings.
fn spec(model_type: ModelType, holdout: Holdout) -> TrainingSpec {
    TrainingSpec {
        model_type,
        settings: ModelSettings { holdout, ..ModelSettings::default() },
        kind: MetricKind::Classification,
        goal: Goal::Maximize,
        positive: None,
        agent_source: AgentSource::Dataset,
        seed: 0,
    }
}

/// Of the test rows; those without one are not in the tasks.
fn outcomes(task: &Task) -> Vec<f64> {
    let outcome = |row: &usize| value(&task.table, OUTCOME, *row).and_then(|value| value.as_f64());
    task.test.iter().filter_map(outcome).collect()
}

fn training_table(task: &Task) -> TrainingTable {
    TrainingTable {
        table: take(&task.table, &task.train),
        metric: OUTCOME.to_owned(),
        agent_id: Some(task.agent_id.to_owned()),
        timestamp: task.timestamp.map(str::to_owned),
        features: TrainingTable::feature_columns(&task.features),
    }
}

/// The prediction of every test row that has an outcome, asked for as a request for the agent who served it.
fn score_rows(task: &Task, model: &CompiledModel) -> Vec<f64> {
    let agents = AgentSet::build(model, []);
    let names: Vec<&String> = task.features.context.iter().chain(&task.features.customer).collect();
    let with_outcome = |row: &&usize| value(&task.table, OUTCOME, **row).is_some();
    let predict = |row: &usize| {
        let context: Map<String, Value> =
            names.iter().filter_map(|name| Some(((*name).clone(), value(&task.table, name, *row)?))).collect();
        let agent = match value(&task.table, task.agent_id, *row) {
            Some(Value::String(text)) => Some(text),
            Some(other) => Some(other.to_string()),
            None => None,
        };
        let ids: Vec<&str> = agent.as_deref().into_iter().collect();
        let input = ScoreInput {
            context: &context,
            customer: None,
            now: Timestamp::UNIX_EPOCH,
            eligible: Eligible::Ids(&ids),
            top: None,
            default: DefaultPolicy::Global,
            expression: None,
        };
        let answer = model.score(&input, &agents);
        answer.scores.first().map_or(answer.global, |agent| agent.score) / 1000.0
    };
    task.test.iter().filter(with_outcome).map(predict).collect()
}
