//! Interactions with ten context numbers, a reason and ten numbers of their agent, and an outcome that depends on both.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::domain::column::{Column, Table};
use crate::domain::predictor::Features;
use crate::learn::TrainingTable;

/// Numbers of either side.
pub const NUMBERS: usize = 10;
pub const REASONS: usize = 12;
pub const ROWS_PER_AGENT: usize = 40;

/// A number in 0..1 that looks random.
pub fn mixed(row: usize, feature: usize) -> f64 {
    let mut x =
        (row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (feature as u64 + 1).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 29;
    x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^= x >> 32;
    (x % 100_000) as f64 / 100_000.0
}

pub fn agent_of(row: usize, agents: usize) -> usize {
    (mixed(row, 100) * agents as f64) as usize
}

pub fn agent_value(agent: usize, number: usize) -> f64 {
    mixed(agent, 200 + number)
}

pub fn context_value(row: usize, number: usize) -> f64 {
    mixed(row, number)
}

pub fn reason_of(row: usize) -> usize {
    row % REASONS
}

pub fn won(row: usize, agents: usize) -> bool {
    let a = |number: usize| agent_value(agent_of(row, agents), number);
    let c = |number: usize| context_value(row, number);
    let strength = 2.0 * (a(0) - 0.5) * (c(0) - 0.5) + (a(1) - c(1)).abs() + 0.5 * (c(2) * c(3)) + 0.3 * a(2);
    mixed(row, 300) < strength.clamp(0.05, 0.95)
}

/// A waiting interaction.
pub fn context(row: usize) -> Map<String, Value> {
    let mut context = Map::new();
    context.insert("reason".into(), Value::from(format!("reason {}", reason_of(row))));
    for number in 0..NUMBERS {
        context.insert(format!("c{number}"), Value::from(context_value(row, number)));
    }
    context
}

/// What the profile knows of an agent.
pub fn agent(agent: usize) -> Map<String, Value> {
    (0..NUMBERS).map(|number| (format!("a{number}"), Value::from(agent_value(agent, number)))).collect()
}

pub fn features() -> Features {
    let names = |prefix: &str| (0..NUMBERS).map(|number| format!("{prefix}{number}")).collect::<Vec<_>>();
    let mut context = names("c");
    context.push("reason".into());
    Features { context, customer: Vec::new(), agent: names("a") }
}

pub fn table(agents: usize) -> TrainingTable {
    let rows = agents * ROWS_PER_AGENT;
    let mut columns = vec![(
        "reason".to_owned(),
        Column::Text {
            codes: (0..rows).map(|row| reason_of(row) as u32).collect(),
            dictionary: (0..REASONS).map(|reason| Arc::from(format!("reason {reason}"))).collect(),
        },
    )];
    for number in 0..NUMBERS {
        let values = (0..rows).map(|row| context_value(row, number)).collect();
        columns.push((format!("c{number}"), Column::Float(values)));
    }
    for number in 0..NUMBERS {
        let values = (0..rows).map(|row| agent_value(agent_of(row, agents), number)).collect();
        columns.push((format!("a{number}"), Column::Float(values)));
    }
    let ids = (0..rows).map(|row| Some(agent_of(row, agents) as i64)).collect();
    columns.push(("agent".into(), Column::Integer(ids)));
    columns.push(("won".into(), Column::Boolean((0..rows).map(|row| Some(won(row, agents))).collect())));
    TrainingTable {
        table: Table { rows, columns },
        metric: "won".into(),
        agent_id: Some("agent".into()),
        timestamp: None,
        features: TrainingTable::feature_columns(&features()),
    }
}
