//! The alternatives, by Python's tools on the same rows and features.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Measured;
use super::tasks::{OUTCOME, Task, value};
use crate::bench::Folder;

const SCRIPT: &str = include_str!("reference.py");
const NEEDED: &str = "pandas, scikit-learn, lightgbm and xgboost";

/// Runs the script in one of its modes; what it printed, or why it could not run.
pub fn script(arguments: &[&Path], mode: &str) -> Result<Result<String, String>> {
    let program = std::env::var_os("TANGO_BENCH_PYTHON").unwrap_or_else(|| "python3".into());
    let output = match Command::new(&program).arg("-c").arg(SCRIPT).arg(mode).args(arguments).output() {
        Ok(output) => output,
        Err(error) => return Ok(Err(format!("{}: {error}", program.display()))),
    };
    if output.status.success() {
        return Ok(Ok(String::from_utf8(output.stdout)?));
    }
    let error = String::from_utf8_lossy(&output.stderr);
    let last = error.lines().last().unwrap_or_default();
    Ok(Err(format!("{} with {NEEDED} is needed (TANGO_BENCH_PYTHON names another one): {last}", program.display())))
}

/// Each tool's predictions of the test rows.
pub fn run(task: &Task, outcomes: &[f64], out: &mut dyn Write) -> Result<Vec<Measured>> {
    let folder = Folder::new("learn")?;
    let (input, answer) = (folder.0.join("rows.csv"), folder.0.join("predictions.csv"));
    write_csv(task, &input)?;
    let printed = match script(&[&input, &answer], "compare")? {
        Ok(printed) => printed,
        Err(why) => {
            writeln!(out, "  (nothing to compare with: {why})")?;
            return Ok(Vec::new());
        }
    };
    let mut columns = read_columns(&answer)?.into_iter();
    let mut found = Vec::new();
    // One line a tool: name, CPU seconds, wall seconds, trees; tab-separated.
    for line in printed.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, cpu, wall, trees] = fields[..] else { anyhow::bail!("an unexpected line: {line}") };
        let predictions = columns.next().context("a tool without predictions")?;
        anyhow::ensure!(predictions.len() == outcomes.len(), "{name} predicted other rows");
        found.push(Measured {
            cpu_seconds: Some(cpu.parse()?),
            wall_seconds: Some(wall.parse()?),
            trees: trees.parse().ok(),
            ..Measured::new(name, outcomes, predictions)
        });
    }
    Ok(found)
}

fn read_columns(path: &PathBuf) -> Result<Vec<Vec<f64>>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_path(path)?;
    let mut columns: Vec<Vec<f64>> = Vec::new();
    for record in reader.records() {
        let record = record?;
        columns.resize(record.len(), Vec::new());
        for (column, cell) in columns.iter_mut().zip(&record) {
            column.push(cell.parse()?);
        }
    }
    Ok(columns)
}

fn write_csv(task: &Task, path: &Path) -> Result<()> {
    let sides = [&task.features.context, &task.features.customer, &task.features.agent];
    let mut names: Vec<&str> = sides.into_iter().flatten().map(String::as_str).collect();
    names.push(task.agent_id);
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
