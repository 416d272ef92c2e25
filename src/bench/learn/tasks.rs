//! What is learned in `tango bench learn`: public data, and a simulated contact centre whose truth is known.

use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use crate::bench::public_data::read;
use crate::domain::Timestamp;
use crate::domain::column::{Column, MISSING_CODE, Table};
use crate::domain::model::Holdout;
use crate::domain::predictor::Features;
use crate::simulation::world::SKILLS;
use crate::simulation::{Centre, Interaction, Settings};

/// The column to predict, 0 or 1.
pub const OUTCOME: &str = "outcome";
/// Names of all tasks.
pub const NAMES: [&str; 4] = ["insteval", "flights-random", "flights-time", "centre"];

pub struct Task {
    pub table: Table,
    pub agent_id: &'static str,
    pub timestamp: Option<&'static str>,
    pub features: Features,
    /// Rows to learn from and to test on.
    pub train: Vec<usize>,
    pub test: Vec<usize>,
    pub holdout: Holdout,
    /// The true probabilities of the test rows, where they are known.
    pub truth: Option<Vec<f64>>,
}

/// The task of this name; `folder` holds the public data, none skips those that need it.
pub fn task(name: &str, folder: Option<&Path>) -> Result<Option<Task>> {
    if name == "centre" {
        return centre().map(Some);
    }
    let Some(folder) = folder else { return Ok(None) };
    let strings = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
    if name == "insteval" {
        let mut table = read(&folder.join("insteval.csv.gz"))?;
        add_outcome(&mut table, "rating", |rating| rating >= 4)?;
        let (train, test) = random_split(table.rows);
        return Ok(Some(Task {
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
            truth: None,
        }));
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
    Ok(Some(Task {
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
        truth: None,
    }))
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

/// 100,000 simulated interactions, tested on the latest fifth.
fn centre() -> Result<Task> {
    let centre = Centre::generate(Settings { interactions: 100_000, ..Settings::default() });
    let mut table = centre.table();
    // One column a skill, as the other tools know no dictionaries.
    let whole = |value: &dyn Fn(&Interaction) -> i64| {
        Column::Integer(centre.interactions.iter().map(|interaction| Some(value(interaction))).collect())
    };
    for (at, skill) in SKILLS.iter().enumerate() {
        let level = |interaction: &Interaction| i64::from(centre.agents[interaction.agent].skills[at]);
        table.columns.push(((*skill).to_owned(), whole(&level)));
    }
    let outcome = |interaction: &Interaction| i64::from(interaction.first_contact_resolution);
    table.columns.push((OUTCOME.to_owned(), whole(&outcome)));
    let mut features = Centre::features();
    features.agent.retain(|name| name != "skills");
    features.agent.extend(SKILLS.map(str::to_owned));
    let cut = table.rows * 4 / 5;
    let truth = |row: usize| {
        let interaction = &centre.interactions[row];
        centre.true_probability(interaction, interaction.agent)
    };
    Ok(Task {
        agent_id: "agent_id",
        timestamp: Some("start_time"),
        features,
        truth: Some((cut..table.rows).map(truth).collect()),
        train: (0..cut).collect(),
        test: (cut..table.rows).collect(),
        holdout: Holdout::Time,
        table,
    })
}

/// A cell as JSON.
pub fn value(table: &Table, name: &str, row: usize) -> Option<Value> {
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
