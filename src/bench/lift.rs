//! `tango bench lift`: how often a lift estimation's 95 % intervals hold the truth, over many simulated contact centres.
//!
//! Each run is another centre: other agents, other interactions, another model. The truth is the simulation's expectation of
//! the model's choices on the holdout's interactions under exactly the free sets that the estimation assumes, so that what is
//! tested is the statistics, not the assumption.

use std::collections::HashMap;
use std::io::Write;

use anyhow::Result;

use super::number;
use crate::domain::job::Silent;
use crate::domain::model::{ModelSettings, ModelType};
use crate::domain::predictor::{AgentSource, Goal, MetricKind};
use crate::learn::lift::{Estimated, FreeAgentsPoint, TrueValues, estimate_lift_beside_truth};
use crate::learn::{LiftEstimation, LiftOptions, TrainingSpec, TrainingTable};
use crate::simulation::{Centre, Outcome, Settings};

type Estimator = fn(&FreeAgentsPoint) -> &Estimated;

const ESTIMATORS: [(&str, Estimator); 5] = [
    ("replay", |point| &point.replay),
    ("ips", |point| &point.ips),
    ("snips", |point| &point.snips),
    ("direct_method", |point| &point.direct_method),
    ("doubly_robust", |point| &point.doubly_robust),
];
/// Seeded runs, unless the argument says otherwise.
const RUNS: usize = 200;

/// What a run simulates.
#[derive(Debug, Clone, Copy)]
struct Size {
    interactions: usize,
    agents: usize,
    outcome: Outcome,
    trees: u32,
    /// A choosing model that is shrunk too little: it chooses by its errors.
    overfitted: bool,
}

/// `tango bench lift`.
pub fn command(arguments: &[String]) -> Result<()> {
    let runs = arguments.first().and_then(|argument| argument.parse().ok()).unwrap_or(RUNS);
    let handle_time = arguments.iter().any(|argument| argument == "--handle-time");
    let size = Size {
        interactions: number(arguments, "--interactions")?.unwrap_or(12_000),
        agents: number(arguments, "--agents")?.unwrap_or(50),
        outcome: if handle_time { Outcome::HandleTime } else { Outcome::FirstContactResolution },
        trees: number(arguments, "--trees")?.unwrap_or(30) as u32,
        overfitted: arguments.iter().any(|argument| argument == "--overfitted"),
    };
    run(runs, size, &mut std::io::stdout())
}

fn run(runs: usize, size: Size, out: &mut dyn Write) -> Result<()> {
    writeln!(
        out,
        "{runs} simulated centres: {} interactions, {} agents, {:?}",
        size.interactions, size.agents, size.outcome
    )?;
    let mut tally = Tally::default();
    for seed in 1..=runs as u64 {
        let (estimation, truth) = estimate(seed, size)?;
        tally.add(&estimation, &truth);
    }
    tally.print(out)
}

/// One centre's estimation and its truth.
fn estimate(seed: u64, size: Size) -> Result<(LiftEstimation, TrueValues)> {
    let centre = Centre::generate(Settings {
        seed,
        interactions: size.interactions,
        agents: size.agents,
        customers: size.interactions / 10,
        ..Settings::default()
    });
    let positions: HashMap<&str, usize> =
        centre.agents.iter().enumerate().map(|(position, agent)| (agent.id.as_str(), position)).collect();
    let truth = |row: usize, agent: &str| centre.expected(size.outcome, &centre.interactions[row], positions[agent]);
    let (table, spec) = training(&centre, size, seed);
    Ok(estimate_lift_beside_truth(&table, &spec, &LiftOptions::default(), &truth, &Silent, None)?)
}

fn training(centre: &Centre, size: Size, seed: u64) -> (TrainingTable, TrainingSpec) {
    let (metric, kind, goal) = match size.outcome {
        Outcome::FirstContactResolution => ("first_contact_resolution", MetricKind::Classification, Goal::Maximize),
        Outcome::HandleTime => ("handle_time_seconds", MetricKind::Regression, Goal::Minimize),
    };
    let table = TrainingTable {
        table: centre.table(),
        metric: metric.to_owned(),
        agent_id: Some("agent_id".to_owned()),
        timestamp: Some("start_time".to_owned()),
        features: TrainingTable::feature_columns(&Centre::features()),
    };
    let spec = TrainingSpec {
        model_type: ModelType::Hybrid,
        settings: ModelSettings {
            trees: size.trees,
            learning_rate: 0.1,
            l2: if size.overfitted { 0.02 } else { 1.0 },
            ..ModelSettings::default()
        },
        kind,
        goal,
        positive: None,
        agent_source: AgentSource::Profile,
        seed,
    };
    (table, spec)
}

/// How one estimator did at one point, over the runs.
#[derive(Debug, Clone, Copy, Default)]
struct Record {
    runs: f64,
    covered: f64,
    lift_covered: f64,
    gain_covered: f64,
    bias: f64,
    squares: f64,
    width: f64,
}

#[derive(Debug, Default)]
struct Tally {
    /// By point, then estimator.
    records: Vec<[Record; ESTIMATORS.len()]>,
    /// By point: free agents, different ones, truth, truth less actual, model's own expectation less truth, size, weight.
    points: Vec<(u32, [f64; 6])>,
    clipped: f64,
    fields: HashMap<String, usize>,
    agent_slope: f64,
    runs: f64,
}

impl Tally {
    fn add(&mut self, estimation: &LiftEstimation, truth: &TrueValues) {
        self.runs += 1.0;
        self.clipped += estimation.propensities.clipped_share;
        self.agent_slope += estimation.outcome_model.agent;
        for field in &estimation.propensities.fields {
            *self.fields.entry(field.clone()).or_default() += 1;
        }
        let sign = if estimation.goal == Goal::Maximize { 1.0 } else { -1.0 };
        self.records.resize(estimation.curve.len(), Default::default());
        self.points.resize(estimation.curve.len(), Default::default());
        for (at, (point, value)) in estimation.curve.iter().zip(&truth.curve).enumerate() {
            self.points[at].0 = point.agents_free;
            let found = [
                point.distinct_agents,
                *value,
                value - truth.actual,
                point.model_expects - value,
                point.effective_sample_size,
                point.mean_weight,
            ];
            self.points[at].1.iter_mut().zip(found).for_each(|(sum, own)| *sum += own);
            for (record, (_, of)) in self.records[at].iter_mut().zip(ESTIMATORS) {
                let own = of(point);
                record.runs += 1.0;
                record.covered += holds(own.interval, *value);
                record.lift_covered += holds(own.against_actual.interval, sign * (value - truth.actual));
                record.gain_covered += holds(own.against_random.interval, sign * (value - truth.random));
                record.bias += own.estimate - value;
                record.squares += (own.estimate - value).powi(2);
                record.width += own.interval[1] - own.interval[0];
            }
        }
    }

    fn print(&self, out: &mut dyn Write) -> Result<()> {
        let mut fields: Vec<_> = self.fields.iter().collect();
        fields.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
        writeln!(
            out,
            "who takes what: {}; {:.1} % of interactions clipped; the model's differences between agents are worth {:.2} of what it says",
            fields.iter().map(|(name, runs)| format!("{name} ({runs})")).collect::<Vec<_>>().join(", "),
            100.0 * self.clipped / self.runs,
            self.agent_slope / self.runs
        )?;
        for ((free, sums), records) in self.points.iter().zip(&self.records) {
            let [distinct, truth, lift, excess, size, weight] = sums.map(|sum| sum / self.runs);
            writeln!(
                out,
                "\n{free} free ({distinct:.1} different): truth {truth:.4}, {lift:+.4} against actual; the model itself expects {excess:+.4} \
                 more; effective sample size {size:.0}, mean weight {weight:.3}"
            )?;
            writeln!(
                out,
                "  {:<15}{:>11}{:>13}{:>13}{:>11}{:>11}{:>11}",
                "", "covers", "vs actual", "vs random", "bias", "error", "width"
            )?;
            for (record, (name, _)) in records.iter().zip(ESTIMATORS) {
                let share = |sum: f64| format!("{:.1} %", 100.0 * sum / record.runs);
                writeln!(
                    out,
                    "  {name:<15}{:>11}{:>13}{:>13}{:>11.4}{:>11.4}{:>11.4}",
                    share(record.covered),
                    share(record.lift_covered),
                    share(record.gain_covered),
                    record.bias / record.runs,
                    (record.squares / record.runs).sqrt(),
                    record.width / record.runs
                )?;
            }
        }
        Ok(())
    }
}

/// 1 or 0; 1 also where the estimate is the baseline itself, such as a single free agent against any one.
fn holds(interval: [f64; 2], value: f64) -> f64 {
    f64::from(u8::from((interval[0] <= value && value <= interval[1]) || interval[0] == interval[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Size =
        Size { interactions: 3_000, agents: 24, outcome: Outcome::FirstContactResolution, trees: 0, overfitted: true };

    #[test]
    fn intervals_hold_the_truth_and_a_model_that_expects_too_much_is_corrected() {
        let (mut own, mut corrected, mut covered, mut all) = (0.0, 0.0, 0.0, 0.0);
        let slow = Size { outcome: Outcome::HandleTime, interactions: 1_500, ..SMALL };
        for (seed, size) in [(1, SMALL), (2, SMALL), (3, slow)] {
            let (estimation, truth) = estimate(seed, size).unwrap();
            let sign = if estimation.goal == Goal::Maximize { 1.0 } else { -1.0 };
            assert_eq!((estimation.rows as usize, estimation.curve.len()), (size.interactions / 5, 6));
            for (point, value) in estimation.curve.iter().zip(&truth.curve) {
                if size.outcome == Outcome::FirstContactResolution {
                    own += point.model_expects - value;
                    corrected += point.doubly_robust.estimate - value;
                    assert!(estimation.outcome_model.agent < 0.9, "{:?}", estimation.outcome_model);
                }
                covered += holds(point.doubly_robust.interval, *value) + holds(point.snips.interval, *value);
                all += 2.0;
                assert!((point.mean_weight - 1.0).abs() < 0.25, "{point:?}");
                assert!(point.largest_weight < 1.02 * f64::from(point.agents_free), "{point:?}");
                assert!(point.effective_sample_size > 30.0 && point.effective_sample_size <= 600.0, "{point:?}");
            }
            assert!(sign * (truth.curve[3] - truth.random) > 0.0, "a choice among five is worth something: {truth:?}");
            let propensities = &estimation.propensities;
            assert!(propensities.log_loss < propensities.log_loss_without_context - 0.5, "{propensities:?}");
            assert!(propensities.fields.contains(&"language".to_owned()), "{propensities:?}");
            // One free agent is any one, in truth and in every estimate.
            assert_eq!(estimation.curve[0].doubly_robust.estimate, estimation.random.estimate);
            let alone = [&estimation.curve[0].ips, &estimation.curve[0].doubly_robust];
            assert!(
                alone.iter().all(|own| own.against_actual.estimate == 0.0 && own.against_actual.interval == [0.0; 2])
            );
            assert_eq!(truth.curve[0], truth.random);
        }
        assert!(own > 0.1 && corrected.abs() < own, "the model overstates by {own}, the estimate by {corrected}");
        assert!(covered >= 0.8 * all, "{covered} of {all}");
    }

    #[test]
    fn the_same_estimation_on_any_number_of_threads() {
        let centre =
            Centre::generate(Settings { interactions: 1_000, agents: 12, customers: 100, ..Settings::default() });
        let (table, spec) = training(&centre, SMALL, 1);
        let options = LiftOptions { agents_free: vec![4], segment_by: Some("tier".to_owned()) };
        let once = |threads| crate::learn::estimate_lift(&table, &spec, &options, &Silent, Some(threads)).unwrap();
        let (one, three) = (once(1), once(3));
        assert_eq!(one, three);
        let segments = one.segments.unwrap();
        assert_eq!((segments.field.as_str(), segments.agents_free), ("tier", 4));
        assert_eq!(segments.values.iter().map(|segment| segment.rows).sum::<u64>(), 200);
        assert!(one.warnings.iter().any(|warning| warning.contains("values of tier")), "{:?}", one.warnings);
        let text = serde_json::to_value(&three).unwrap();
        for name in ["replay", "ips", "snips", "direct_method", "doubly_robust"] {
            assert!(text[name]["estimate"].is_f64() && text[name]["interval"][1].is_f64(), "{text:#}");
        }
        assert!(text["effective_sample_size"].is_f64());
        let again: LiftEstimation = serde_json::from_value(text).unwrap();
        assert_eq!(again, three);
    }

    #[test]
    fn what_cannot_be_estimated_is_said_plainly() {
        let centre = Centre::generate(Settings { interactions: 200, agents: 5, customers: 20, ..Settings::default() });
        let (table, spec) = training(&centre, SMALL, 1);
        let refused = |table: &TrainingTable, options: &LiftOptions| {
            crate::learn::estimate_lift(table, &spec, options, &Silent, Some(1)).unwrap_err().to_string()
        };
        let usual = LiftOptions::default();
        assert!(refused(&table, &usual).contains("40 interactions are held back"));
        let none = LiftOptions { agents_free: vec![0], ..usual.clone() };
        assert!(refused(&table, &none).contains("each 1 to 1000"));
        let nobody = TrainingTable { agent_id: None, ..table.clone() };
        assert!(refused(&nobody, &usual).contains("role agent_id"));
        for (field, part) in [("site", "no context or customer feature"), ("start_time", "a time, a list")] {
            let options = LiftOptions { segment_by: Some(field.to_owned()), ..usual.clone() };
            assert!(refused(&table, &options).contains(part));
        }
    }
}
