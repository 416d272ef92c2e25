//! A new version against the one before, on the same rows, which neither has seen.
//!
//! The version before was fitted to everything up to its training's last time, its holdout included; only later rows are new to it. The
//! newest half of those (at most the setting's share of all rows) is held back; a model with the new version's settings is fitted to all
//! rows before them, so it has had the older half of what is new. Their losses are compared row by row.

use super::boosting;
use super::error::TrainError;
use super::held_out::Plan;
use super::inputs;
use super::measure::log_loss;
use super::part::{Part, Task, TreeColumns, linear_margins};
use super::quality::Z;
use super::spec::{TrainingSpec, TrainingTable, check_settings, field_type};
use super::target::{self, NO_AGENT, Target};
use super::train::in_pool;
use crate::domain::Timestamp;
use crate::domain::comparison::{Compared, ComparisonVerdict};
use crate::domain::job::Reporter;
use crate::domain::model::Holdout;
use crate::domain::predictor::MetricKind;
use crate::score::Artifact;

/// Fewer compared rows decide nothing.
const LEAST_COMPARED: usize = 200;

/// Compares what `spec` would learn from the table with an artifact that was learned earlier.
///
/// # Errors
/// Those of a training. What cannot be compared is no error: the verdict says so.
pub fn compare(
    table: &TrainingTable,
    spec: &TrainingSpec,
    before: &Artifact,
    reporter: &dyn Reporter,
    threads: Option<usize>,
) -> Result<Compared, TrainError> {
    check_settings(&spec.settings)?;
    in_pool(threads, || compare_in_pool(table, spec, before, reporter))
}

fn compare_in_pool(
    table: &TrainingTable,
    spec: &TrainingSpec,
    before: &Artifact,
    reporter: &dyn Reporter,
) -> Result<Compared, TrainError> {
    let refused = |detail: &str| Ok(Compared::without(ComparisonVerdict::NotComparable, detail, 0));
    let target = target::read(table, spec, &mut Vec::new())?;
    let Some(learned_to) = before.encoding.reference_time.filter(|_| !target.times.is_empty()) else {
        return refused("The data has no timestamp field, so nobody knows which rows are new to the version before.");
    };
    if !has_features_of(table, before) || before.outcome.kind != spec.kind {
        return refused("The version before reads other features than the data has now.");
    }
    let rows = target.times.len();
    let new_rows = target.times.iter().filter(|at| **at > learned_to).count();
    let compared = (new_rows / 2).min((rows as f64 * spec.settings.holdout_share).round() as usize);
    if compared < LEAST_COMPARED {
        let text = format!(
            "{new_rows} rows are later than all that the version before learned from; at least {} are needed to compare.",
            2 * LEAST_COMPARED
        );
        return Ok(Compared::without(ComparisonVerdict::TooFewNewRows, text, new_rows as u64));
    }
    let mut settings = spec.settings.clone();
    settings.holdout = Holdout::Time;
    settings.holdout_share = compared as f64 / rows as f64;
    let spec = TrainingSpec { settings, ..spec.clone() };
    let task = Task { table, spec: &spec, target: &target };
    let plan = Plan::make(task, reporter, &mut Vec::new())?;
    let held_out = plan.fit(reporter)?;
    let old = predict(table, &target, &plan.parts.holdout, before)?;
    let loss = |outcome: f64, predicted: f64| match spec.kind {
        MetricKind::Classification => log_loss(outcome, predicted),
        MetricKind::Regression => (outcome - predicted).powi(2),
    };
    let losses = |predicted: &[f64]| -> Vec<f64> {
        held_out.outcomes.iter().zip(predicted).map(|(outcome, predicted)| loss(*outcome, *predicted)).collect()
    };
    let (old, new) = (losses(&old), losses(&held_out.predicted));
    let from = plan.parts.holdout.iter().filter_map(|at| target.times.get(*at as usize)).min();
    Ok(judge(&old, &new, spec.kind, new_rows as u64, from.and_then(|at| Timestamp::from_timestamp_micros(*at))))
}

fn judge(old: &[f64], new: &[f64], kind: MetricKind, new_rows: u64, from: Option<Timestamp>) -> Compared {
    let rows = old.len() as f64;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / rows;
    let differences: Vec<f64> = old.iter().zip(new).map(|(old, new)| old - new).collect();
    let difference = mean(&differences);
    let variance = differences.iter().map(|d| (d - difference).powi(2)).sum::<f64>() / (rows - 1.0);
    let radius = Z * (variance / rows).sqrt();
    let (low, high) = (difference - radius, difference + radius);
    let (verdict, detail) = if low > 0.0 {
        (ComparisonVerdict::Better, "The new version predicts the newest rows better than the version before.")
    } else if high < 0.0 {
        (ComparisonVerdict::Worse, "The new version predicts the newest rows worse than the version before.")
    } else {
        (ComparisonVerdict::NoDifference, "The two versions predict the newest rows alike, as far as these can tell.")
    };
    Compared {
        verdict,
        detail: detail.to_owned(),
        new_rows,
        compared_rows: old.len() as u64,
        compared_from: from,
        loss: if kind == MetricKind::Classification { "log_loss" } else { "squared_error" }.to_owned(),
        before: Some(mean(old)),
        after: Some(mean(new)),
        difference: Some(difference),
        low: Some(low),
        high: Some(high),
    }
}

/// The table has the artifact's fields, in its order, of its types.
fn has_features_of(table: &TrainingTable, artifact: &Artifact) -> bool {
    let fields = &artifact.encoding.fields;
    fields.len() == table.features.len()
        && fields.iter().zip(&table.features).all(|(field, feature)| {
            let column = table.table.column(&feature.column);
            field.name == feature.name
                && field.side == feature.side
                && column.is_some_and(|column| field_type(column) == field.field_type)
        })
}

/// An artifact's predictions of rows of a table: probabilities, or values in the metric's unit.
fn predict(
    table: &TrainingTable,
    target: &Target,
    positions: &[u32],
    artifact: &Artifact,
) -> Result<Vec<f64>, TrainError> {
    let encoding = &artifact.encoding;
    let known: Vec<u32> = target
        .agent_ids
        .iter()
        .map(|id| match artifact.agents.ids.binary_search(id) {
            Ok(at) if artifact.agents.local[at] => at as u32,
            _ => NO_AGENT,
        })
        .collect();
    let agent = |at: &u32| match target.agents[*at as usize] {
        NO_AGENT => NO_AGENT,
        agent => known[agent as usize],
    };
    let part = Part {
        columns: inputs::encode(table, target, positions, encoding)?,
        outcomes: vec![0.0; positions.len()],
        weights: vec![1.0; positions.len()],
        agents: positions.iter().map(agent).collect(),
    };
    let mut margins = linear_margins(&artifact.linear, encoding, &part);
    let trees = TreeColumns {
        columns: Vec::new(),
        target_means: artifact.target_means.clone(),
        agent_means: artifact.agents.target_means.clone(),
        prior: artifact.prior,
    };
    let columns = trees.of(&part, encoding);
    for tree in 0..artifact.forest.trees() {
        boosting::add_tree(&artifact.forest, tree, &columns, &mut margins);
    }
    Ok(margins.into_iter().map(|margin| artifact.outcome.p_score(margin)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::column::Column;
    use crate::domain::job::Silent;
    use crate::domain::model::ModelType;
    use crate::learn::tests::{column, simulated, spec};
    use crate::learn::train;

    /// What was learned from the first rows, against all of them.
    fn compared(table: &TrainingTable, first: usize, model_type: ModelType) -> Compared {
        let before = train(&simulated(first), &spec(model_type), &Silent, Some(2)).unwrap().artifact;
        compare(table, &spec(model_type), &before, &Silent, Some(2)).unwrap()
    }

    #[test]
    fn a_version_that_knows_the_changed_world_beats_the_one_before_and_otherwise_none_does() {
        let mut table = simulated(4_000);
        let same = compared(&table, 2_000, ModelType::Hybrid);
        assert_eq!((same.new_rows, same.compared_rows), (2_000, 800));
        assert!(matches!(same.verdict, ComparisonVerdict::NoDifference), "{same:?}");
        assert!((same.before.unwrap() - same.after.unwrap() - same.difference.unwrap()).abs() < 1e-12);
        let Column::Boolean(won) = column(&mut table, "won") else { panic!() };
        won[2_000..].iter_mut().for_each(|won| *won = won.map(|won| !won));
        for model_type in [ModelType::Global, ModelType::Hybrid] {
            let changed = compared(&table, 2_000, model_type);
            assert_eq!(changed.verdict, ComparisonVerdict::Better, "{changed:?}");
            assert!(changed.low.unwrap() > 0.0 && changed.loss == "log_loss");
        }
    }

    #[test]
    fn only_rows_that_the_version_before_has_not_seen_are_compared() {
        let few = compared(&simulated(2_300), 2_000, ModelType::Global);
        assert_eq!((few.verdict, few.new_rows), (ComparisonVerdict::TooFewNewRows, 300), "{few:?}");
        let none = compared(&simulated(2_000), 2_000, ModelType::Global);
        assert_eq!((none.verdict, none.new_rows), (ComparisonVerdict::TooFewNewRows, 0));
        // Half of what is new, where that is less than the setting's share of all.
        let half = compared(&simulated(2_400), 2_000, ModelType::Global);
        assert_eq!(half.compared_rows, 200);
        let first_compared = 1_700_000_000_000_000 + 2_200 * 60_000_000;
        assert_eq!(half.compared_from.unwrap().timestamp_micros(), first_compared);
    }

    #[test]
    fn what_cannot_be_compared_is_said() {
        let mut table = simulated(3_000);
        table.timestamp = None;
        assert_eq!(compared(&table, 2_000, ModelType::Global).verdict, ComparisonVerdict::NotComparable);
        let mut table = simulated(3_000);
        table.features.swap(0, 1);
        assert_eq!(compared(&table, 2_000, ModelType::Global).verdict, ComparisonVerdict::NotComparable);
    }

    #[test]
    fn an_artifact_predicts_rows_as_its_own_training_does() {
        let (table, spec) = (simulated(3_000), spec(ModelType::Hybrid));
        let trained = train(&table, &spec, &Silent, Some(2)).unwrap();
        let target = target::read(&table, &spec, &mut Vec::new()).unwrap();
        let positions = target.positions();
        let predicted = predict(&table, &target, &positions, &trained.artifact).unwrap();
        let model = crate::score::CompiledModel::new(std::sync::Arc::new(trained.artifact));
        let text = |name: &str, row: usize| match table.table.column(name) {
            Some(Column::Text { codes, dictionary }) => dictionary.get(codes[row] as usize).map(ToString::to_string),
            _ => None,
        };
        let Some(Column::Float(waits)) = table.table.column("wait") else { panic!() };
        let Some(Column::Timestamp(times)) = table.table.column("at") else { panic!() };
        for row in [0, 53, 97, 1_234, 2_999] {
            let time = Timestamp::from_timestamp_micros(times[row].unwrap()).unwrap();
            let mut context = serde_json::Map::new();
            context.extend(text("reason", row).map(|reason| ("reason".to_owned(), reason.into())));
            if waits[row].is_finite() {
                context.insert("wait".to_owned(), waits[row].into());
            }
            context.insert("at".to_owned(), time.to_rfc3339().into());
            let agent = text("agent", row).unwrap();
            let number: usize = agent[5..].parse().unwrap();
            let fields = serde_json::json!({"tenure": number % 7, "skills": {"english": number % 3}});
            let profile = [crate::score::AgentInput { id: &agent, fields: fields.as_object().unwrap() }];
            let agents = crate::score::AgentSet::build(&model, profile);
            let input = crate::score::ScoreInput {
                context: &context,
                customer: None,
                now: time,
                eligible: crate::score::Eligible::Ids(&[&agent]),
                top: None,
                default: crate::score::DefaultPolicy::default(),
                expression: None,
            };
            let scored = model.score(&input, &agents).scores[0].p_score.unwrap();
            assert!((scored - predicted[row]).abs() < 1e-5, "row {row}: {scored} {}", predicted[row]);
        }
    }
}
