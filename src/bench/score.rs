//! `tango bench score`: the engine beside plain traversal of the same trees, and what counting adds to a score.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use serde_json::{Map, Value};

use super::{counting, number};
use crate::domain::Timestamp;
use crate::domain::column::{Column, Table};
use crate::domain::job::Silent;
use crate::domain::model::{ModelSettings, ModelType};
use crate::domain::predictor::{AgentSource, Features, Goal, MetricKind};
use crate::learn::{TrainingSpec, TrainingTable, train};
use crate::score::encoding::Side;
use crate::score::{AgentSet, CompiledModel, DefaultPolicy, Eligible, ScoreInput};

/// How large the model is and how often it is asked.
#[derive(Debug, Clone)]
pub struct Options {
    pub agents: usize,
    pub trees: u32,
    pub requests: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { agents: 1_000, trees: 500, requests: 300 }
    }
}

/// `tango bench score`.
pub fn command(arguments: &[String]) -> Result<()> {
    let default = Options::default();
    let options = Options {
        agents: number(arguments, "--agents")?.unwrap_or(default.agents),
        trees: number(arguments, "--trees")?.map_or(default.trees, |trees| trees.min(5_000) as u32),
        requests: number(arguments, "--requests")?.unwrap_or(default.requests),
    };
    run(&options, &mut std::io::stdout())
}

/// Trains a model of the given size on simulated data and prints medians and 99th percentiles.
pub fn run(options: &Options, out: &mut dyn Write) -> Result<()> {
    let table = simulated(options.agents);
    let spec = TrainingSpec {
        model_type: ModelType::Hybrid,
        settings: ModelSettings { trees: options.trees, max_leaves: 64, early_stop: false, ..ModelSettings::default() },
        kind: MetricKind::Classification,
        goal: Goal::Maximize,
        positive: None,
        agent_source: AgentSource::Dataset,
        seed: 1,
    };
    let trained = train(&table, &spec, &Silent, None)?;
    let forest = &trained.artifact.forest;
    let leaves = forest.inputs.iter().filter(|input| **input == crate::score::LEAF).count();
    writeln!(
        out,
        "{} agents, {} trees, {:.1} leaves a tree",
        options.agents,
        forest.trees(),
        leaves as f64 / forest.trees() as f64
    )?;
    let model = CompiledModel::new(Arc::new(trained.artifact));
    let agents = AgentSet::build(&model, []);
    let positions = agents.all_positions();
    let mut times = [Vec::new(), Vec::new()];
    for request in 0..options.requests {
        let context = context(request);
        let input = ScoreInput {
            context: &context,
            customer: None,
            now: Timestamp::UNIX_EPOCH,
            eligible: Eligible::Positions(&positions),
            top: Some(10),
            default: DefaultPolicy::Global,
            expression: None,
        };
        let started = Instant::now();
        let fast = model.score(&input, &agents);
        times[0].push(started.elapsed().as_secs_f64() * 1e3);
        // Plain traversal takes long: every tenth request is enough for a median.
        if request % 10 == 0 {
            let started = Instant::now();
            let plain = model.score_plainly(&input, &agents);
            times[1].push(started.elapsed().as_secs_f64() * 1e3);
            anyhow::ensure!(fast == plain, "the engine and plain traversal differ");
        }
    }
    for (name, times) in ["tango, factorised", "tango, plain traversal"].iter().zip(&mut times) {
        times.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        writeln!(
            out,
            "  {name:<24} median {:>8.3} ms   p99 {:>8.3} ms   ({} requests, whole request)",
            at(0.5),
            at(0.99),
            times.len()
        )?;
    }
    let middle = times[0].len() / 2;
    let (input, score_ms) = (context(0), times[0].get(middle).copied().unwrap_or(f64::NAN));
    let input = ScoreInput {
        context: &input,
        customer: None,
        now: Timestamp::UNIX_EPOCH,
        eligible: Eligible::Positions(&positions),
        top: None,
        default: DefaultPolicy::Global,
        expression: None,
    };
    let scored = model.score(&input, &agents);
    let side = |side: Side| -> Vec<String> {
        let features = table.features.iter().filter(|feature| feature.side == side);
        features.map(|feature| feature.name.clone()).collect()
    };
    let features = Features { context: side(Side::Context), customer: Vec::new(), agent: side(Side::Agent) };
    counting::run(Arc::new(model), &scored, features, context, score_ms, out)
}

fn context(row: usize) -> Map<String, Value> {
    let mut context = Map::new();
    context.insert("reason".into(), Value::from(format!("reason {}", row % 12)));
    for feature in 0..10 {
        context.insert(format!("c{feature}"), Value::from(mixed(row, feature)));
    }
    context
}

/// A number in 0..1 that looks random.
fn mixed(row: usize, feature: usize) -> f64 {
    let mut x =
        (row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (feature as u64 + 1).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 29;
    x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^= x >> 32;
    (x % 100_000) as f64 / 100_000.0
}

fn simulated(agents: usize) -> TrainingTable {
    let rows = agents * 40;
    let agent = |row: usize| (mixed(row, 100) * agents as f64) as usize;
    let mut columns = vec![(
        "reason".to_owned(),
        Column::Text {
            codes: (0..rows).map(|row| (row % 12) as u32).collect(),
            dictionary: (0..12).map(|reason| Arc::from(format!("reason {reason}"))).collect(),
        },
    )];
    for feature in 0..10 {
        columns.push((format!("c{feature}"), Column::Float((0..rows).map(|row| mixed(row, feature)).collect())));
    }
    for feature in 0..10 {
        let values = (0..rows).map(|row| mixed(agent(row), 200 + feature)).collect();
        columns.push((format!("a{feature}"), Column::Float(values)));
    }
    columns.push(("agent".into(), Column::Integer((0..rows).map(|row| Some(agent(row) as i64)).collect())));
    let outcome = |row: usize| {
        let a = |feature: usize| mixed(agent(row), 200 + feature);
        let c = |feature: usize| mixed(row, feature);
        let strength = 2.0 * (a(0) - 0.5) * (c(0) - 0.5) + (a(1) - c(1)).abs() + 0.5 * (c(2) * c(3)) + 0.3 * a(2);
        Some(mixed(row, 300) < strength.clamp(0.05, 0.95))
    };
    columns.push(("won".into(), Column::Boolean((0..rows).map(outcome).collect())));
    let names = |prefix: &str| (0..10).map(|feature| format!("{prefix}{feature}")).collect::<Vec<_>>();
    let mut context = names("c");
    context.push("reason".into());
    TrainingTable {
        table: Table { rows, columns },
        metric: "won".into(),
        agent_id: Some("agent".into()),
        timestamp: None,
        features: TrainingTable::feature_columns(&Features { context, customer: Vec::new(), agent: names("a") }),
    }
}
