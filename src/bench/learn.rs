//! `tango bench learn`: quality of the three model types on public data, beside other tools on the same split.
//!
//! Test rows are scored one by one by the engine that serves requests, so that the figures cover the artifact, its
//! encoding and the ranking, not only the trainer's own arithmetic.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::public_data::{folder, read, take};
use super::{cpu_seconds, number};
use crate::domain::Timestamp;
use crate::domain::column::{Column, MISSING_CODE, Table};
use crate::domain::job::Silent;
use crate::domain::model::{Holdout, ModelSettings, ModelType};
use crate::domain::predictor::{AgentSource, Features, Goal, MetricKind};
use crate::learn::measure::{auc, log_loss};
use crate::learn::{TrainingSpec, TrainingTable, train};
use crate::score::{AgentSet, CompiledModel, DefaultPolicy, Eligible, ScoreInput};

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only tasks whose name contains this.
    pub only: Option<String>,
    pub threads: Option<usize>,
    /// Measure Python's tools on the same split too, when they are installed.
    pub python: bool,
    /// Train again on one thread (and first on two, unless `threads` says otherwise) and compare the artifacts.
    pub repeat: bool,
}

struct TaskData {
    table: Table,
    agent_id: &'static str,
    timestamp: Option<&'static str>,
    features: Features,
    /// Rows to learn from and to test on.
    train: Vec<usize>,
    test: Vec<usize>,
    holdout: Holdout,
    /// Published in the data's notes: one-hot logistic regression and LightGBM, AUC / log loss.
    named: [(f64, f64); 2],
}

const OUTCOME: &str = "outcome";
/// How far below the better named figure an AUC may be.
const TOLERANCE: f64 = 0.005;

/// `tango bench learn`.
pub fn command(arguments: &[String]) -> Result<()> {
    let options = Options {
        only: arguments.first().filter(|name| !name.starts_with("--")).cloned(),
        threads: number(arguments, "--threads")?,
        python: arguments.iter().any(|argument| argument == "--python"),
        repeat: arguments.iter().any(|argument| argument == "--repeat"),
    };
    run(&options, &mut std::io::stdout())
}

/// Prints the table to `out`.
pub fn run(options: &Options, out: &mut dyn Write) -> Result<()> {
    let Some(folder) = folder() else {
        writeln!(
            out,
            "The public data sets are not here: set TANGO_TEST_DATA to the folder with flights.csv.gz and insteval.csv.gz."
        )?;
        return Ok(());
    };
    for name in ["insteval", "flights-random", "flights-time"] {
        if options.only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let task = task(name, &folder)?;
        writeln!(out, "\n{name}: {} rows to learn from, {} to test on", task.train.len(), task.test.len())?;
        writeln!(
            out,
            "  {:<30} {:>7} {:>8} {:>9} {:>7} {:>7} {:>6} {:>9}",
            "", "AUC", "target", "log loss", "CPU s", "wall s", "trees", "bytes"
        )?;
        for (tool, (auc, loss)) in ["one-hot regression (named)", "LightGBM (named)"].iter().zip(task.named) {
            writeln!(out, "  {tool:<30} {auc:>7.4} {:>8} {loss:>9.4}", "")?;
        }
        if options.python {
            python(&task, out)?;
        }
        let target = task.named[0].0.max(task.named[1].0) - TOLERANCE;
        let mut measured = [0.0; 3];
        for (auc, model_type) in measured.iter_mut().zip([ModelType::Global, ModelType::Disjoint, ModelType::Hybrid]) {
            *auc = measure(&task, model_type, target, options, out)?;
        }
        let [global, disjoint, hybrid] = measured;
        let verdict = |holds: bool| if holds { "holds" } else { "MISSED" };
        writeln!(
            out,
            "  HYBRID, the type that a predictor comes with: {hybrid:.4}, at least {target:.4} (the better named one less {TOLERANCE}): {}",
            verdict(hybrid >= target)
        )?;
        writeln!(
            out,
            "  HYBRID less the better of the other two: {:+.4}, at least -0.002: {}",
            hybrid - global.max(disjoint),
            verdict(hybrid >= global.max(disjoint) - 0.002)
        )?;
    }
    Ok(())
}

/// Trains, scores the test rows and prints one line; answers the AUC.
fn measure(task: &TaskData, model_type: ModelType, target: f64, options: &Options, out: &mut dyn Write) -> Result<f64> {
    let training = training_table(task);
    let spec = TrainingSpec {
        model_type,
        settings: ModelSettings { holdout: task.holdout, ..ModelSettings::default() },
        kind: MetricKind::Classification,
        goal: Goal::Maximize,
        positive: None,
        agent_source: AgentSource::Dataset,
        seed: 0,
    };
    let threads = options.threads.or(options.repeat.then_some(2));
    let (wall, cpu) = (Instant::now(), cpu_seconds());
    let trained = train(&training, &spec, &Silent, threads)?;
    let (wall, cpu) = (wall.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let bytes = trained.artifact.encode()?;
    let model = CompiledModel::new(Arc::new(trained.artifact));
    let (outcomes, predictions) = score_rows(task, &model);
    let loss = outcomes.iter().zip(&predictions).map(|(y, p)| log_loss(*y, *p)).sum::<f64>() / outcomes.len() as f64;
    let auc = auc(&outcomes, &predictions).unwrap_or(f64::NAN);
    let name = format!("tango {}", format!("{model_type:?}").to_uppercase());
    let reached = if auc >= target { "reached" } else { "below" };
    writeln!(
        out,
        "  {name:<30} {auc:>7.4} {reached:>8} {loss:>9.4} {cpu:>7.1} {wall:>7.1} {:>6} {:>9}",
        trained.quality.trees,
        bytes.len()
    )?;
    if options.repeat {
        let again = train(&training, &spec, &Silent, Some(1))?.artifact.encode()?;
        let [first, second] = [&bytes, &again].map(|bytes| hex::encode(Sha256::digest(bytes)));
        let verdict = if bytes == again { "identical bytes" } else { "DIFFERENT BYTES" };
        writeln!(out, "    trained again on 1 thread: {verdict}, sha256 {} and {}", &first[..16], &second[..16])?;
    }
    Ok(auc)
}

fn training_table(task: &TaskData) -> TrainingTable {
    TrainingTable {
        table: take(&task.table, &task.train),
        metric: OUTCOME.to_owned(),
        agent_id: Some(task.agent_id.to_owned()),
        timestamp: task.timestamp.map(str::to_owned),
        features: TrainingTable::feature_columns(&task.features),
    }
}

/// Every test row as a request for the agent who served it.
fn score_rows(task: &TaskData, model: &CompiledModel) -> (Vec<f64>, Vec<f64>) {
    let agents = AgentSet::build(model, []);
    let names: Vec<&String> = task.features.context.iter().chain(&task.features.customer).collect();
    let (mut outcomes, mut predictions) = (Vec::new(), Vec::new());
    for row in &task.test {
        let Some(Value::Number(outcome)) = value(&task.table, OUTCOME, *row) else { continue };
        let context: Map<String, Value> =
            names.iter().filter_map(|name| Some(((*name).clone(), value(&task.table, name, *row)?))).collect();
        let agent = match value(&task.table, task.agent_id, *row) {
            Some(Value::String(text)) => Some(text),
            Some(other) => Some(other.to_string()),
            None => None,
        };
        let ids: Vec<&str> = agent.as_deref().into_iter().collect();
        let answer = model.score(
            &ScoreInput {
                context: &context,
                customer: None,
                now: Timestamp::UNIX_EPOCH,
                eligible: Eligible::Ids(&ids),
                top: None,
                default: DefaultPolicy::Global,
                expression: None,
            },
            &agents,
        );
        let score = answer.scores.first().map_or(answer.global, |agent| agent.score);
        outcomes.push(outcome.as_f64().unwrap_or(0.0));
        predictions.push(score / 1000.0);
    }
    (outcomes, predictions)
}

fn value(table: &Table, name: &str, row: usize) -> Option<Value> {
    match table.column(name)? {
        Column::Boolean(v) => v[row].map(Value::from),
        Column::Integer(v) => v[row].map(Value::from),
        Column::Float(v) => v[row].is_finite().then(|| Value::from(v[row])),
        Column::Text { codes, dictionary } => {
            (codes[row] != MISSING_CODE).then(|| Value::from(dictionary[codes[row] as usize].as_ref()))
        }
        Column::Timestamp(v) => {
            v[row].and_then(Timestamp::from_timestamp_micros).map(|at| Value::from(at.to_rfc3339()))
        }
        Column::List(_) | Column::Dict(_) => None,
    }
}

fn task(name: &str, folder: &Path) -> Result<TaskData> {
    let strings = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
    if name == "insteval" {
        let mut table = read(&folder.join("insteval.csv.gz"))?;
        add_outcome(&mut table, "rating", |rating| rating >= 4)?;
        let (train, test) = random_split(table.rows);
        return Ok(TaskData {
            agent_id: "lecturer_id",
            timestamp: None,
            features: Features {
                context: strings(&["lecture_age", "service", "department"]),
                customer: strings(&["student_id", "student_age"]),
                agent: Vec::new(),
            },
            table,
            train,
            test,
            holdout: Holdout::Random,
            named: [(0.6982, 0.6239), (0.6954, 0.6262)],
        });
    }
    let mut table = read(&folder.join("flights.csv.gz"))?;
    add_outcome(&mut table, "arr_delay", |delay| delay > 15)?;
    let by_time = name == "flights-time";
    let Some(Column::Integer(months)) = table.column("month") else { anyhow::bail!("flights have no month") };
    let (train, test) = if by_time {
        (0..table.rows).partition(|row| months[*row].is_some_and(|month| month <= 9))
    } else {
        random_split(table.rows)
    };
    Ok(TaskData {
        agent_id: "tailnum",
        timestamp: Some("time_hour"),
        features: Features {
            context: strings(&[
                "month",
                "day",
                "sched_dep_time",
                "sched_arr_time",
                "carrier",
                "flight",
                "origin",
                "dest",
                "distance",
                "hour",
                "minute",
                "time_hour",
            ]),
            ..Features::default()
        },
        table,
        train,
        test,
        holdout: if by_time { Holdout::Time } else { Holdout::Random },
        named: if by_time { [(0.6259, 0.5148), (0.6220, 0.5438)] } else { [(0.6572, 0.5192), (0.7233, 0.4881)] },
    })
}

/// Adds the 0/1 outcome of a whole-number column; missing stays missing.
fn add_outcome(table: &mut Table, from: &str, positive: impl Fn(i64) -> bool) -> Result<()> {
    let Some(Column::Integer(values)) = table.column(from) else { anyhow::bail!("no whole numbers in {from}") };
    let outcome = values.iter().map(|value| value.map(|value| i64::from(positive(value)))).collect();
    table.columns.push((OUTCOME.to_owned(), Column::Integer(outcome)));
    Ok(())
}

/// 80 % to learn from, by a fixed shuffle.
fn random_split(rows: usize) -> (Vec<usize>, Vec<usize>) {
    use rand::SeedableRng;
    use rand::seq::SliceRandom;
    let mut order: Vec<usize> = (0..rows).collect();
    order.shuffle(&mut rand::rngs::ChaCha8Rng::seed_from_u64(0));
    let mut test = order.split_off(rows * 4 / 5);
    order.sort_unstable();
    test.sort_unstable();
    (order, test)
}

/// One-hot logistic regression and LightGBM on out-of-fold target encoding, on the same rows and features.
const PYTHON: &str = include_str!("learn_reference.py");

fn python(task: &TaskData, out: &mut dyn Write) -> Result<()> {
    let mut names: Vec<&str> =
        task.features.context.iter().chain(&task.features.customer).map(String::as_str).collect();
    names.push(task.agent_id);
    let file = std::env::temp_dir().join(format!("tango-bench-learn-{}.csv", std::process::id()));
    write_csv(task, &names, &file)?;
    let child =
        Command::new("python3").arg("-c").arg(PYTHON).arg(&file).stdout(Stdio::piped()).stderr(Stdio::null()).output();
    match child {
        Ok(output) if output.status.success() => {
            for line in String::from_utf8_lossy(&output.stdout).lines() {
                writeln!(out, "  {line}")?;
            }
        }
        _ => writeln!(out, "  (python3 with pandas, scikit-learn and lightgbm is not installed: nothing re-measured)")?,
    }
    std::fs::remove_file(&file).context("removing the temporary file")
}

fn write_csv(task: &TaskData, names: &[&str], path: &Path) -> Result<()> {
    let mut writer = csv::Writer::from_path(path)?;
    writer.write_record(names.iter().copied().chain([OUTCOME, "is_test"]))?;
    for (rows, test) in [(&task.train, "0"), (&task.test, "1")] {
        for row in rows {
            let text = |name: &str| match value(&task.table, name, *row) {
                Some(Value::String(text)) => text,
                Some(other) => other.to_string(),
                None => String::new(),
            };
            writer.write_record(names.iter().map(|name| text(name)).chain([text(OUTCOME), test.to_owned()]))?;
        }
    }
    writer.flush()?;
    Ok(())
}
