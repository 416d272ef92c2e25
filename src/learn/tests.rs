//! What training promises, on simulated interactions of a few thousand rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Map, Value, json};

use super::random::Random;
use super::*;
use crate::domain::Timestamp;
use crate::domain::column::{Column, MISSING_CODE, Table};
use crate::domain::job::{Progress, Reporter, Silent};
use crate::domain::model::{Direction, Holdout, ModelSettings, ModelType};
use crate::domain::predictor::{AgentSource, Features, Goal, MetricKind};
use crate::score::encoding::Side;
use crate::score::{AgentInput, AgentSet, Artifact, CompiledModel, DefaultPolicy, Eligible, ScoreInput, ScoreSource};

mod odd_data;
mod proof;

const AGENTS: usize = 30;
const REASONS: usize = 6;

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn text(codes: Vec<u32>, prefix: &str, count: usize) -> Column {
    Column::Text { codes, dictionary: (0..count).map(|at| Arc::from(format!("{prefix}{at}"))).collect() }
}

/// Agents with a strength, and a hidden one for one reason each; wait and tenure matter too.
pub(super) fn simulated(rows: usize) -> TrainingTable {
    let mut random = Random::new(42);
    let mut uniform = move || random.unit();
    let (mut agents, mut reasons, mut waits, mut tenures) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut won, mut minutes, mut times, mut skills) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for row in 0..rows {
        let agent = (uniform() * AGENTS as f64) as usize;
        let reason = (uniform() * REASONS as f64) as usize;
        let wait = uniform() * 20.0;
        let tenure = (agent % 7) as f64;
        let margin = -0.4 + 0.25 * (tenure - 3.0) - 0.06 * (wait - 10.0)
            + if agent % REASONS == reason { 1.5 } else { -0.3 }
            + (agent % 5) as f64 * 0.3
            - 0.6;
        agents.push(agent as u32);
        reasons.push(if row % 97 == 0 { MISSING_CODE } else { reason as u32 });
        waits.push(if row % 53 == 0 { f64::NAN } else { wait });
        tenures.push(Some(tenure as i64));
        skills.push(Some(vec![(Arc::from("english"), (agent % 3) as f64)]));
        let p = 1.0 / (1.0 + (-margin).exp());
        won.push(Some(uniform() < p));
        minutes.push(12.0 - 3.0 * margin + 4.0 * (uniform() - 0.5));
        times.push(Some(1_700_000_000_000_000 + row as i64 * 60_000_000));
    }
    let columns = vec![
        ("agent".to_owned(), text(agents, "agent", AGENTS)),
        ("reason".to_owned(), text(reasons, "reason", REASONS)),
        ("wait".to_owned(), Column::Float(waits)),
        ("tenure".to_owned(), Column::Integer(tenures)),
        ("skills".to_owned(), Column::Dict(skills)),
        ("at".to_owned(), Column::Timestamp(times)),
        ("won".to_owned(), Column::Boolean(won)),
        ("minutes".to_owned(), Column::Float(minutes)),
    ];
    TrainingTable {
        table: Table { rows, columns },
        metric: "won".into(),
        agent_id: Some("agent".into()),
        timestamp: Some("at".into()),
        features: TrainingTable::feature_columns(&Features {
            context: strings(&["reason", "wait", "at"]),
            customer: Vec::new(),
            agent: strings(&["tenure", "skills"]),
        }),
    }
}

pub(super) fn spec(model_type: ModelType) -> TrainingSpec {
    TrainingSpec {
        model_type,
        settings: ModelSettings { trees: 20, max_leaves: 8, learning_rate: 0.2, ..ModelSettings::default() },
        kind: MetricKind::Classification,
        goal: Goal::Maximize,
        positive: None,
        agent_source: AgentSource::Profile,
        seed: 7,
    }
}

pub(super) fn column<'a>(table: &'a mut TrainingTable, name: &str) -> &'a mut Column {
    &mut table.table.columns.iter_mut().find(|(n, _)| n == name).unwrap().1
}

fn code(result: Result<Trained, TrainError>) -> &'static str {
    match result {
        Err(TrainError::Unusable { code, .. }) => code,
        other => panic!("expected an unusable training, got {other:?}"),
    }
}

#[test]
fn every_type_learns_and_hybrid_finds_the_hidden_strengths() {
    let table = simulated(3_000);
    let auc = |model_type| {
        let trained = train(&table, &spec(model_type), &Silent, Some(2)).unwrap();
        assert_eq!((trained.quality.train_rows, trained.quality.holdout_rows), (2_400, 600));
        assert_eq!(trained.quality.holdout, Holdout::Time);
        Artifact::decode(&trained.artifact.encode().unwrap()).unwrap();
        trained.quality.classification.unwrap().auc.unwrap().value
    };
    let (global, disjoint, hybrid) = (auc(ModelType::Global), auc(ModelType::Disjoint), auc(ModelType::Hybrid));
    // Measured on 600 rows: an AUC has a standard error of 0.02 there.
    assert!(global > 0.60 && disjoint > 0.68 && hybrid > 0.67, "{global} {disjoint} {hybrid}");
}

#[test]
fn a_field_is_listed_once_among_the_crosses() {
    let mut table = simulated(1_500);
    // A number whose values repeat gives two inputs, ranges and single values.
    let lines = (0..1_500).map(|row| Some(i64::from(row % 50))).collect();
    table.table.columns.push(("line".into(), Column::Integer(lines)));
    table.features.push(FeatureColumn { name: "line".into(), column: "line".into(), side: Side::Context });
    let mut spec = spec(ModelType::Disjoint);
    spec.settings.crosses = Some(strings(&["line", "reason", "line"]));
    let trained = train(&table, &spec, &Silent, None).unwrap();
    assert_eq!(trained.choices.crosses, ["line", "reason"]);
    assert_eq!(trained.quality.crosses, ["line", "reason"]);
}

#[test]
fn a_monotone_feature_moves_predictions_one_way_only() {
    let table = simulated(3_000);
    let predictions = |direction: Option<Direction>| {
        let mut spec = spec(ModelType::Hybrid);
        spec.settings.early_stop = false;
        spec.settings.monotone = direction.map(|direction| ("wait".to_owned(), direction)).into_iter().collect();
        let model = CompiledModel::new(Arc::new(train(&table, &spec, &Silent, None).unwrap().artifact));
        let agents = AgentSet::build(&model, []);
        let score = |wait: u32, reason: usize| {
            let context = json!({"reason": format!("reason{reason}"), "wait": f64::from(wait) / 2.0});
            let input = ScoreInput {
                context: context.as_object().unwrap(),
                customer: None,
                now: Timestamp::UNIX_EPOCH,
                eligible: Eligible::Ids(&["agent3"]),
                top: None,
                default: DefaultPolicy::Global,
                expression: None,
            };
            model.score(&input, &agents).scores[0].p_score.unwrap()
        };
        (0..REASONS).map(|reason| (0..50).map(|wait| score(wait, reason)).collect()).collect::<Vec<Vec<f64>>>()
    };
    let falls = |curve: &Vec<f64>| curve.is_sorted_by(|a, b| a >= b);
    let rises = |curve: &Vec<f64>| curve.is_sorted_by(|a, b| a <= b);
    assert!(!predictions(None).iter().any(|curve| falls(curve) || rises(curve)), "noise goes both ways");
    // Waiting longer is worse in truth: one way it may say so, the other way it may say nothing at all.
    let with_the_truth = predictions(Some(Direction::Decreasing));
    assert!(with_the_truth.iter().all(|curve| falls(curve) && curve[0] - curve[49] > 0.1));
    let against_it = predictions(Some(Direction::Increasing));
    assert!(against_it.iter().all(|curve| rises(curve) && curve[49] - curve[0] < 0.1));
    let mut spec = spec(ModelType::Global);
    spec.settings.monotone = [("reason".to_owned(), Direction::Increasing)].into();
    assert_eq!(code(train(&table, &spec, &Silent, None)), "bad_settings");
    spec.settings.monotone = [("moon".to_owned(), Direction::Increasing)].into();
    assert_eq!(code(train(&table, &spec, &Silent, None)), "bad_settings");
}

/// The agents of [`simulated`] with what their profile says.
fn profile() -> Vec<(String, Map<String, Value>)> {
    let agent = |agent: usize| {
        let fields = json!({"tenure": agent % 7, "skills": {"english": agent % 3}});
        (format!("agent{agent}"), fields.as_object().unwrap().clone())
    };
    (0..AGENTS).map(agent).collect()
}

#[test]
fn scoring_agrees_with_training_and_ranks_the_strong_agent_first() {
    let table = simulated(4_000);
    let trained = train(&table, &spec(ModelType::Hybrid), &Silent, None).unwrap();
    assert_eq!(trained.coverage.local, AGENTS as u64);
    let model = CompiledModel::new(Arc::new(trained.artifact));
    let profile = profile();
    let agents = AgentSet::build(&model, profile.iter().map(|(id, fields)| AgentInput { id, fields }));
    let context = json!({"reason": "reason2", "wait": 5.0}).as_object().unwrap().clone();
    let input = ScoreInput {
        context: &context,
        customer: None,
        now: Timestamp::from_timestamp_micros(1_700_300_000_000_000).unwrap(),
        eligible: Eligible::Positions(&agents.all_positions()),
        top: None,
        default: DefaultPolicy::Global,
        expression: None,
    };
    let answer = model.score(&input, &agents);
    assert_eq!(answer, model.score_plainly(&input, &agents));
    assert!(answer.warnings.is_empty(), "{:?}", answer.warnings);
    assert!(answer.scores.iter().all(|agent| agent.source == ScoreSource::Local));
    let number = |id: &str| id.trim_start_matches("agent").parse::<usize>().unwrap();
    let strong = answer.scores.iter().take(5).filter(|agent| number(agent.agent_id) % REASONS == 2).count();
    assert!(strong >= 3, "the agents that are good at this reason lead: {:?}", &answer.scores[..5]);
}

#[test]
fn the_same_training_gives_the_same_bytes_on_any_number_of_threads() {
    let table = simulated(1_000);
    for model_type in [ModelType::Global, ModelType::Disjoint, ModelType::Hybrid] {
        let bytes =
            |threads| train(&table, &spec(model_type), &Silent, Some(threads)).unwrap().artifact.encode().unwrap();
        assert!(bytes(1) == bytes(3), "{model_type:?} depends on the number of threads");
    }
}

#[test]
fn a_regression_is_learned_in_the_metrics_unit() {
    let mut table = simulated(1_500);
    table.metric = "minutes".into();
    for model_type in [ModelType::Global, ModelType::Disjoint, ModelType::Hybrid] {
        let spec = TrainingSpec { kind: MetricKind::Regression, goal: Goal::Minimize, ..spec(model_type) };
        let trained = train(&table, &spec, &Silent, None).unwrap();
        let quality = trained.quality.regression.unwrap();
        let bound = if model_type == ModelType::Global { 0.2 } else { 0.7 };
        assert!(quality.r2.unwrap().value > bound, "{model_type:?} {quality:?}");
        assert!(quality.mae.value < quality.baseline_mae);
        let outcome = &trained.artifact.outcome;
        assert!(outcome.high > 15.0 && outcome.score(outcome.high + 1.0) == 0.0);
    }
}

#[test]
fn without_early_stopping_the_trees_are_counted() {
    let table = simulated(1_000);
    let mut spec = spec(ModelType::Global);
    spec.settings = ModelSettings { trees: 7, early_stop: false, half_life_days: Some(1.0), ..spec.settings };
    let trained = train(&table, &spec, &Silent, None).unwrap();
    assert_eq!((trained.artifact.forest.trees(), trained.quality.trees), (7, 7));
}

#[test]
fn agents_with_little_or_one_sided_data_get_no_local_model() {
    let mut table = simulated(1_200);
    let rows = table.table.rows;
    let Column::Text { codes, dictionary } = column(&mut table, "agent") else { panic!() };
    dictionary.push("rare".into());
    dictionary.push("always".into());
    for (row, code) in codes.iter_mut().enumerate() {
        if row < 4 {
            *code = AGENTS as u32;
        } else if row % 40 == 0 {
            *code = AGENTS as u32 + 1;
        }
    }
    let Column::Boolean(won) = column(&mut table, "won") else { panic!() };
    for row in (40..rows).step_by(40) {
        won[row] = Some(true);
    }
    let coverage = train(&table, &spec(ModelType::Disjoint), &Silent, None).unwrap().coverage;
    let find = |id: &str| coverage.agents.iter().find(|agent| agent.agent_id == id).unwrap();
    assert_eq!(find("rare").reason, Some(NotLocal::TooFewInteractions));
    assert_eq!((find("always").reason, find("always").mean), (Some(NotLocal::OneOutcome), 1.0));
    assert!(find("agent3").local && find("agent3").reason.is_none());
}

#[test]
fn agents_of_the_dataset_keep_their_latest_values() {
    let mut table = simulated(1_000);
    let Column::Integer(tenure) = column(&mut table, "tenure") else { panic!() };
    tenure[999] = Some(3);
    let Column::Text { codes, .. } = column(&mut table, "agent") else { panic!() };
    let last = codes[999] as usize;
    let spec = TrainingSpec { agent_source: AgentSource::Dataset, ..spec(ModelType::Hybrid) };
    let artifact = train(&table, &spec, &Silent, None).unwrap().artifact;
    let width = artifact.encoding.agent_inputs().count();
    let at = artifact.agents.ids.iter().position(|id| id.as_ref() == format!("agent{last}")).unwrap();
    assert_eq!(artifact.agents.latest_numbers[at * width], 3.0);
}

#[test]
fn what_cannot_be_learned_from_is_said_plainly() {
    let global = spec(ModelType::Global);
    assert_eq!(code(train(&simulated(3), &global, &Silent, None)), "too_few_rows");
    let mut one = simulated(200);
    *column(&mut one, "won") = Column::Boolean(vec![Some(true); 200]);
    assert_eq!(code(train(&one, &global, &Silent, None)), "one_class");
    // The latest rows are held back: the others have one class.
    let mut late = simulated(200);
    let Column::Timestamp(times) = column(&mut late, "at").clone() else { panic!() };
    let mut sorted: Vec<_> = times.clone();
    sorted.sort_unstable();
    *column(&mut late, "won") = Column::Boolean(times.iter().map(|time| Some(*time >= sorted[190])).collect());
    let error = train(&late, &global, &Silent, None).unwrap_err();
    assert!(error.to_string().contains("settings.holdout to \"random\""), "{error}");
    assert_eq!(code(Err(error)), "one_class");
    let mut table = simulated(200);
    table.metric = "minutes".into();
    assert_eq!(code(train(&table, &global, &Silent, None)), "metric_values");
    table.metric = "reason".into();
    assert_eq!(code(train(&table, &global, &Silent, None)), "metric_values");
    table.metric = "nothing".into();
    assert_eq!(code(train(&table, &global, &Silent, None)), "unknown_field");
    let regression = TrainingSpec { kind: MetricKind::Regression, ..global.clone() };
    let mut flat = simulated(200);
    flat.metric = "minutes".into();
    *column(&mut flat, "minutes") = Column::Float(vec![4.0; 200]);
    assert_eq!(code(train(&flat, &regression, &Silent, None)), "constant_metric");
    *column(&mut flat, "minutes") = Column::Float(vec![f64::NAN; 200]);
    assert_eq!(code(train(&flat, &regression, &Silent, None)), "too_few_rows");
    let mut anonymous = simulated(200);
    anonymous.agent_id = None;
    assert_eq!(code(train(&anonymous, &spec(ModelType::Hybrid), &Silent, None)), "no_agent_id");
    let mut bad = global.clone();
    bad.settings.max_leaves = 65;
    assert_eq!(code(train(&simulated(200), &bad, &Silent, None)), "bad_settings");
    let mut crosses = spec(ModelType::Hybrid);
    crosses.settings.crosses = Some(strings(&["tenure"]));
    assert_eq!(code(train(&simulated(200), &crosses, &Silent, None)), "unknown_field");
}

#[test]
fn small_and_odd_data_still_give_a_model() {
    for (rows, model_type) in [(20, ModelType::Global), (21, ModelType::Disjoint), (60, ModelType::Hybrid)] {
        let mut table = simulated(rows);
        table.timestamp = None;
        let values = (0..rows).map(|row| Some(vec![Arc::from(format!("item{}", row % 3))])).collect();
        table.table.columns.push(("items".into(), Column::List(values)));
        table.table.columns.push(("blank".into(), Column::Float(vec![f64::NAN; rows])));
        let names = Features { context: strings(&["reason", "items", "blank", "at"]), ..Features::default() };
        table.features = TrainingTable::feature_columns(&names);
        let trained = train(&table, &spec(model_type), &Silent, None).unwrap();
        assert!(trained.warnings.iter().any(|warning| warning.contains("blank")), "{:?}", trained.warnings);
        assert!(trained.artifact.linear.intercept.is_finite());
        Artifact::decode(&trained.artifact.encode().unwrap()).unwrap();
    }
}

/// Two rows an agent: nobody has enough for a local model, and everybody is listed.
#[test]
fn fifty_thousand_agents_and_a_category_of_their_own_are_no_trouble() {
    let rows = 100_000;
    let mut table = simulated(rows);
    table.features = TrainingTable::feature_columns(&Features {
        context: strings(&["reason", "ticket", "odd"]),
        ..Features::default()
    });
    let codes = |divisor: usize| (0..rows).map(|row| (row / divisor) as u32).collect();
    *column(&mut table, "agent") = text(codes(2), "agent", rows / 2);
    table.table.columns.push(("ticket".into(), text(codes(1), "ticket", rows)));
    let odd = (0..rows).map(|row| if row % 2 == 0 { f64::INFINITY } else { row as f64 }).collect();
    table.table.columns.push(("odd".into(), Column::Float(odd)));
    let spec = TrainingSpec {
        settings: ModelSettings { trees: 2, ..spec(ModelType::Hybrid).settings },
        ..spec(ModelType::Hybrid)
    };
    let trained = train(&table, &spec, &Silent, None).unwrap();
    assert_eq!((trained.coverage.agents.len(), trained.coverage.local), (rows / 2, 0));
    assert!(trained.quality.classification.unwrap().log_loss.value.is_finite());
    // A text that never repeats is "other" throughout and keeps no names.
    assert!(trained.artifact.encode().unwrap().len() < 1 << 20);
}

struct StopAfter(AtomicUsize, usize);

impl Reporter for StopAfter {
    fn report(&self, _progress: Progress) {}
    fn is_cancelled(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) >= self.1
    }
}

#[test]
fn a_cancelled_training_ends_wherever_it_is() {
    let table = simulated(600);
    for calls in [0, 3, 40, 150] {
        let reporter = StopAfter(AtomicUsize::new(0), calls);
        let ended = train(&table, &spec(ModelType::Hybrid), &reporter, None);
        assert!(matches!(ended, Err(TrainError::Cancelled)), "after {calls} calls");
    }
}
