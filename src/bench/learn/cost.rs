//! What a training costs: CPU time and memory for 500,000 rows × 40 features, beside LightGBM.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use rand::{RngExt, SeedableRng};

use super::progress::Watch;
use super::tasks::OUTCOME;
use super::{Options, python, spec};
use crate::bench::{Folder, cpu_seconds, peak_memory_mb};
use crate::domain::column::{Column, Table};
use crate::domain::model::{Holdout, ModelType};
use crate::domain::predictor::Features;
use crate::learn::{TrainingTable, train};

const ROWS: usize = 500_000;
const AGENTS: usize = 1_000;
/// Levels of the categories; the rest of the 40 features are the agent and numbers.
const CATEGORIES: [usize; 10] = [200, 200, 200, 50, 50, 20, 20, 10, 5, 3];
const NUMBERS: usize = 29;

/// Trains HYBRID with default settings, then lets LightGBM do as many fits on as many rows, and prints both.
pub fn run(options: &Options, out: &mut dyn Write) -> Result<()> {
    let table = generate();
    writeln!(out, "\ncost: {ROWS} rows × {} features", CATEGORIES.len() + NUMBERS + 1)?;
    let folder = Folder::new("learn")?;
    let file = folder.0.join("rows.csv");
    if options.python {
        write_csv(&table, &file)?;
    }
    let (names, numbers) = (category_names(), number_names());
    let training = TrainingTable {
        table,
        metric: OUTCOME.to_owned(),
        agent_id: Some("agent".to_owned()),
        timestamp: None,
        features: TrainingTable::feature_columns(&Features {
            context: names.into_iter().chain(numbers).collect(),
            ..Features::default()
        }),
    };
    let (wall, cpu) = (Instant::now(), cpu_seconds());
    let watch = Watch::start();
    let trained = train(&training, &spec(ModelType::Hybrid, Holdout::Random), &watch, options.threads)?;
    let (wall, cpu) = (wall.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let peak = peak_memory_mb();
    if options.progress {
        watch.print(out)?;
    }
    let auc = trained.quality.classification.and_then(|quality| quality.auc).map_or(f64::NAN, |auc| auc.value);
    writeln!(
        out,
        "  tango HYBRID: {cpu:.1} CPU s, {wall:.1} s, {} trees, AUC of its holdout {auc:.4}, peak {peak:.0} MB",
        trained.quality.trees
    )?;
    if !options.python {
        return Ok(());
    }
    match python::script(&[&file], "cost")? {
        Ok(printed) => {
            let fields: Vec<f64> = printed.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
            let [their_cpu, their_wall, trees, auc, their_peak] = fields[..] else {
                anyhow::bail!("an unexpected answer: {printed}")
            };
            writeln!(
                out,
                "  LightGBM, target encoding out of fold, one fit with early stopping and two of as many trees: \
                 {their_cpu:.1} CPU s, {their_wall:.1} s, {trees} trees, AUC {auc:.4}, peak {their_peak:.0} MB"
            )?;
            let verdict = |holds: bool| if holds { "holds" } else { "MISSED" };
            writeln!(
                out,
                "  CPU {:.2} x (at most 2.2: {}), memory {:.2} x (at most 1: {})",
                cpu / their_cpu,
                verdict(cpu <= 2.2 * their_cpu),
                peak / their_peak,
                verdict(peak <= their_peak)
            )?;
        }
        Err(why) => writeln!(out, "  (nothing to compare with: {why})")?,
    }
    Ok(())
}

fn category_names() -> Vec<String> {
    (0..CATEGORIES.len()).map(|at| format!("category{at}")).collect()
}

fn number_names() -> Vec<String> {
    (0..NUMBERS).map(|at| format!("number{at}")).collect()
}

/// Agents with a strength, and one for each level of the first category; every second category and number tells something.
fn generate() -> Table {
    let mut random = rand::rngs::ChaCha8Rng::seed_from_u64(0);
    let mut unit = || random.random::<f64>();
    let mut effects = |count: usize, size: f64| (0..count).map(|_| size * (unit() - 0.5)).collect::<Vec<f64>>();
    let strengths = effects(AGENTS, 1.2);
    let pairs = effects(AGENTS * CATEGORIES[0], 1.5);
    let levels: Vec<Vec<f64>> = CATEGORIES.iter().map(|count| effects(*count, 0.8)).collect();
    let slopes = effects(NUMBERS, 0.8);
    let mut codes: Vec<Vec<u32>> = CATEGORIES.iter().map(|_| Vec::with_capacity(ROWS)).collect();
    let mut numbers: Vec<Vec<f64>> = (0..NUMBERS).map(|_| Vec::with_capacity(ROWS)).collect();
    let (mut agents, mut outcomes) = (Vec::with_capacity(ROWS), Vec::with_capacity(ROWS));
    for _ in 0..ROWS {
        let agent = random.random_range(0..AGENTS);
        let mut margin = strengths[agent];
        for (at, (codes, count)) in codes.iter_mut().zip(CATEGORIES).enumerate() {
            // Skewed, as categories are.
            let level = ((random.random::<f64>().powi(2)) * count as f64) as usize;
            codes.push(level as u32);
            if at % 2 == 0 {
                margin += levels[at][level];
            }
            if at == 0 {
                margin += pairs[agent * count + level];
            }
        }
        for (at, numbers) in numbers.iter_mut().enumerate() {
            let value = random.random::<f64>();
            numbers.push((value * 1_000.0).round() / 10.0);
            if at % 2 == 0 {
                margin += slopes[at] * if at % 4 == 0 { value - 0.5 } else { (6.0 * value).sin() };
            }
        }
        agents.push(agent as u32);
        outcomes.push(Some(i64::from(random.random::<f64>() < 1.0 / (1.0 + (-margin).exp()))));
    }
    let text = |codes: Vec<u32>, prefix: &str, count: usize| Column::Text {
        codes,
        dictionary: (0..count).map(|at| Arc::from(format!("{prefix}{at}"))).collect(),
    };
    let mut columns = vec![("agent".to_owned(), text(agents, "a", AGENTS))];
    let categories = category_names().into_iter().zip(codes).zip(CATEGORIES);
    columns.extend(categories.map(|((name, codes), count)| (name, text(codes, "l", count))));
    columns.extend(number_names().into_iter().zip(numbers).map(|(name, values)| (name, Column::Float(values))));
    columns.push((OUTCOME.to_owned(), Column::Integer(outcomes)));
    Table { rows: ROWS, columns }
}

fn write_csv(table: &Table, path: &Path) -> Result<()> {
    let mut file = BufWriter::new(std::fs::File::create(path)?);
    let names: Vec<&str> = table.columns.iter().map(|(name, _)| name.as_str()).collect();
    writeln!(file, "{}", names.join(","))?;
    for row in 0..table.rows {
        for (at, (_, column)) in table.columns.iter().enumerate() {
            let separator = if at == 0 { "" } else { "," };
            match column {
                Column::Text { codes, dictionary } => write!(file, "{separator}{}", dictionary[codes[row] as usize])?,
                Column::Float(values) => write!(file, "{separator}{}", values[row])?,
                Column::Integer(values) => write!(file, "{separator}{}", values[row].unwrap_or_default())?,
                _ => anyhow::bail!("no such column is generated"),
            }
        }
        writeln!(file)?;
    }
    file.flush()?;
    Ok(())
}
