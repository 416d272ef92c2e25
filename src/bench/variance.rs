//! `tango bench variance`: how often the 95 % intervals of the agent variance report hold the truth, over many simulated contact
//! centres.
//!
//! An agent's true effect is the mean difference from the average of those who may take such contacts, over the interactions
//! that the agent had; where a field has a value, over all interactions with that value.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;

use super::number;
use crate::domain::job::Silent;
use crate::domain::model::{ModelSettings, ModelType};
use crate::domain::predictor::{AgentSource, Goal, MetricKind};
use crate::learn::{AgentVariance, TrainingSpec, TrainingTable, agent_variance};
use crate::simulation::world::REASONS;
use crate::simulation::{Centre, Interaction, Outcome, Settings};

/// Seeded runs, unless the argument says otherwise.
const RUNS: usize = 200;

/// What a run simulates.
#[derive(Debug, Clone, Copy)]
struct Size {
    interactions: usize,
    agents: usize,
    outcome: Outcome,
}

/// `tango bench variance`.
pub fn command(arguments: &[String]) -> Result<()> {
    let runs = arguments.first().and_then(|argument| argument.parse().ok()).unwrap_or(RUNS);
    let handle_time = arguments.iter().any(|argument| argument == "--handle-time");
    let size = Size {
        interactions: number(arguments, "--interactions")?.unwrap_or(12_000),
        agents: number(arguments, "--agents")?.unwrap_or(50),
        outcome: if handle_time { Outcome::HandleTime } else { Outcome::FirstContactResolution },
    };
    let mut tally = Tally::default();
    for seed in 1..=runs as u64 {
        tally.add(&Run::simulate(seed, size)?);
    }
    tally.print(runs, size, &mut std::io::stdout())
}

/// One centre's report beside its truth.
struct Run {
    found: AgentVariance,
    centre: Centre,
    /// Per interaction, then agent: the expected outcome less the average of those who may take it.
    effects: Vec<Vec<f64>>,
}

impl Run {
    fn simulate(seed: u64, size: Size) -> Result<Self> {
        let centre = Centre::generate(Settings {
            seed,
            interactions: size.interactions,
            agents: size.agents,
            customers: size.interactions / 10,
            ..Settings::default()
        });
        let (metric, kind, goal) = match size.outcome {
            Outcome::FirstContactResolution => ("first_contact_resolution", MetricKind::Classification, Goal::Maximize),
            Outcome::HandleTime => ("handle_time_seconds", MetricKind::Regression, Goal::Minimize),
        };
        let mut features = Centre::features();
        features.agent.clear();
        let table = TrainingTable {
            table: centre.table(),
            metric: metric.to_owned(),
            agent_id: Some("agent_id".to_owned()),
            timestamp: Some("start_time".to_owned()),
            features: TrainingTable::feature_columns(&features),
        };
        let spec = TrainingSpec {
            model_type: ModelType::Hybrid,
            settings: ModelSettings::default(),
            kind,
            goal,
            positive: None,
            agent_source: AgentSource::Profile,
            seed,
        };
        let found = agent_variance(table, &spec, None, &Silent, None)?;
        let effects = centre
            .interactions
            .iter()
            .map(|interaction| {
                let of = |agent| centre.expected(size.outcome, interaction, agent);
                let all: Vec<f64> = (0..centre.agents.len()).map(of).collect();
                let skill = REASONS[interaction.reason].skill;
                let fits = |agent: &usize| centre.agents[*agent].can_take(interaction.language, skill);
                let compared: Vec<usize> =
                    (0..all.len()).filter(|agent| *agent == interaction.agent || fits(agent)).collect();
                let mean = compared.iter().map(|agent| all[*agent]).sum::<f64>() / compared.len() as f64;
                all.into_iter().map(|own| own - mean).collect()
            })
            .collect();
        Ok(Self { found, centre, effects })
    }

    /// Per agent, less the mean of all.
    fn own_effects(&self) -> Vec<f64> {
        let mut sums = vec![(0.0, 0.0); self.centre.agents.len()];
        for (interaction, effects) in self.centre.interactions.iter().zip(&self.effects) {
            let own = &mut sums[interaction.agent];
            *own = (own.0 + effects[interaction.agent], own.1 + 1.0);
        }
        let effects: Vec<f64> = sums.iter().map(|(sum, rows)| sum / f64::max(*rows, 1.0)).collect();
        let mean = effects.iter().sum::<f64>() / effects.len() as f64;
        effects.into_iter().map(|own| own - mean).collect()
    }

    /// The deviation of agents' effects between values of a field around each agent's own level, over the values that each
    /// had.
    fn deviation_between(&self, value: fn(&Centre, &Interaction) -> usize) -> f64 {
        let values: Vec<usize> =
            self.centre.interactions.iter().map(|interaction| value(&self.centre, interaction)).collect();
        let count = values.iter().max().map_or(0, |most| most + 1);
        let agents = self.centre.agents.len();
        let (mut sums, mut rows) = (vec![vec![0.0; count]; agents], vec![0.0; count]);
        let mut had = vec![vec![false; count]; agents];
        for ((interaction, value), effects) in self.centre.interactions.iter().zip(&values).zip(&self.effects) {
            had[interaction.agent][*value] = true;
            rows[*value] += 1.0;
            sums.iter_mut().zip(effects).for_each(|(sums, effect)| sums[*value] += effect);
        }
        let (mut squares, mut degrees) = (0.0, 0.0);
        for (sums, had) in sums.iter().zip(&had) {
            let effects: Vec<f64> =
                (0..count).filter(|value| had[*value]).map(|value| sums[value] / rows[value]).collect();
            let mean = effects.iter().sum::<f64>() / f64::max(effects.len() as f64, 1.0);
            squares += effects.iter().map(|own| (own - mean).powi(2)).sum::<f64>();
            degrees += f64::max(effects.len() as f64 - 1.0, 0.0);
        }
        (squares / f64::max(degrees, 1.0)).sqrt()
    }
}

type FieldValue = fn(&Centre, &Interaction) -> usize;

/// Fields by which agents truly differ in what they are good at, and two by which they do not.
const FIELDS: [(&str, FieldValue); 5] = [
    ("reason", |_, interaction| interaction.reason),
    ("tier", |centre, interaction| centre.customers[interaction.customer].tier),
    ("channel", |_, interaction| interaction.channel),
    ("segment", |centre, interaction| centre.customers[interaction.customer].segment),
    ("region", |centre, interaction| centre.customers[interaction.customer].region),
];

/// How one interval did over the runs.
#[derive(Debug, Clone, Copy, Default)]
struct Record {
    runs: f64,
    covered: f64,
    from_zero: f64,
    truth: f64,
    found: f64,
    width: f64,
}

impl Record {
    fn add(&mut self, low: f64, value: f64, high: f64, truth: f64) {
        self.runs += 1.0;
        self.covered += f64::from(u8::from(low <= truth && truth <= high));
        self.from_zero += f64::from(u8::from(low <= 0.0));
        self.truth += truth;
        self.found += value;
        self.width += high - low;
    }
}

#[derive(Debug, Default)]
struct Tally {
    records: BTreeMap<String, Record>,
}

impl Tally {
    fn add(&mut self, run: &Run) {
        let own = run.own_effects();
        let squares: f64 = own.iter().map(|effect| effect * effect).sum();
        let whole = (squares / (own.len() as f64 - 1.0)).sqrt();
        let mut add = |name: &str, found: &crate::learn::Estimate, truth: f64| {
            let record = self.records.entry(name.to_owned()).or_default();
            record.add(found.low, found.value, found.high, truth);
        };
        add("1 between agents", &run.found.deviation, whole);
        for effect in &run.found.effects {
            let agent = run.centre.agents.iter().position(|agent| agent.id == effect.agent_id);
            if let Some(agent) = agent {
                add("2 an agent's effect", &effect.effect, own[agent]);
            }
        }
        for (name, value) in FIELDS {
            if let Some(field) = run.found.by_context.iter().find(|field| field.field == name) {
                add(&format!("3 by {name}"), &field.deviation, run.deviation_between(value));
            }
        }
    }

    fn print(&self, runs: usize, size: Size, out: &mut dyn Write) -> Result<()> {
        writeln!(
            out,
            "{runs} simulated centres: {} interactions, {} agents, {:?}",
            size.interactions, size.agents, size.outcome
        )?;
        writeln!(out, "  {:<22}{:>9}{:>10}{:>10}{:>10}{:>12}", "", "covers", "truth", "found", "width", "from 0 on")?;
        for (name, record) in &self.records {
            let mean = |sum: f64| sum / record.runs;
            writeln!(
                out,
                "  {:<22}{:>7.1} %{:>10.4}{:>10.4}{:>10.4}{:>10.1} %",
                &name[2..],
                100.0 * mean(record.covered),
                mean(record.truth),
                mean(record.found),
                mean(record.width),
                100.0 * mean(record.from_zero)
            )?;
        }
        Ok(())
    }
}
