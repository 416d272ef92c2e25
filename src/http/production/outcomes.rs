//! Reads the score log of a period: counts, outcomes by mode, predictions beside outcomes.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::body::ScoreLogCounts;
use crate::domain::Timestamp;
use crate::domain::predictor::{Goal, Metric, MetricKind, Predictor, PredictorDefinition};
use crate::domain::score_log::{Mode, Outcome, ScoreLogEntry, StoredEntry};
use crate::http::{ApiError, ApiResult, AppState};
use crate::learn::monitor::Arm;
use crate::store::{Collection, Comparison, Condition, Path, Query, StoreExt};

/// Entries that one report reads: some seconds of work.
const MAX_ENTRIES: u64 = 500_000;

#[derive(Default)]
pub struct Log {
    pub counts: ScoreLogCounts,
    pub on: Arm,
    pub off: Arm,
    /// Prediction and outcome.
    pub predictions: Vec<(f64, f64)>,
    /// Routed interactions by agent.
    pub served: HashMap<String, u64>,
}

/// What is larger is a mistake, and would spoil every mean that it is part of.
const LARGEST: f64 = 1e15;

/// Entries whose first report is in the period.
pub async fn read(app: &AppState, predictor: &Predictor, from: Timestamp, to: Timestamp) -> ApiResult<Log> {
    let at = |comparison, time: Timestamp| Condition::Compare {
        path: Path::key("created_at"),
        comparison,
        value: json!(time),
    };
    let mut query = Query::new(Collection::ScoreLog, predictor.account_id.as_str())
        .filter(Condition::equal(Path::key("predictor_id"), predictor.id.as_str()))
        .filter(at(Comparison::GreaterOrEqual, from))
        .filter(at(Comparison::Less, to))
        .sort_by(Path::key("created_at"), false)
        .limit(1_000);
    let high = app
        .live
        .account(&predictor.account_id)
        .predictor_by_id(&predictor.id)
        .and_then(|live| live.models.first().map(|model| model.compiled.artifact().outcome.high));
    let mut log = Log::default();
    loop {
        let (page, next) = app.ctx.store.list::<StoredEntry>(&query).await?;
        for stored in page {
            log.add(&predictor.definition, &stored.value.entry, high);
        }
        if log.counts.entries > MAX_ENTRIES {
            let text = format!(
                "The period has more than {MAX_ENTRIES} score log entries, which one report does not read: choose a shorter one \
                 (`from`, `to`)."
            );
            return Err(ApiError::unprocessable("period_too_long", text).field("from", "the period is too long"));
        }
        match next {
            Some(cursor) => query.after = Some(cursor),
            None => break,
        }
    }
    let counts = &mut log.counts;
    counts.missing_outcome_share =
        (counts.routed > 0).then(|| counts.routed_without_outcome as f64 / counts.routed as f64);
    Ok(log)
}

impl Log {
    fn add(&mut self, definition: &PredictorDefinition, entry: &ScoreLogEntry, high: Option<f64>) {
        let counts = &mut self.counts;
        counts.entries += 1;
        match entry.mode {
            Mode::On => counts.on += 1,
            Mode::Off => counts.off += 1,
            Mode::DryRun => counts.dry_run += 1,
        }
        if let (Outcome::Routed, Some(agent)) = (&entry.outcome, &entry.agent_id) {
            *self.served.entry(agent.clone()).or_default() += 1;
        }
        match entry.outcome {
            Outcome::Routed => counts.routed += 1,
            Outcome::Abandoned => counts.abandoned += 1,
            Outcome::Failed => counts.failed += 1,
        }
        let PredictorDefinition::Simple { metric, score_expression, .. } = definition else { return };
        let Some(outcome) = entry.metric.as_ref().and_then(|value| outcome_of(metric, value)) else {
            counts.routed_without_outcome += u64::from(entry.outcome == Outcome::Routed);
            return;
        };
        match entry.mode {
            Mode::On => self.on.add(outcome),
            Mode::Off => self.off.add(outcome),
            Mode::DryRun => {}
        }
        let predicted = entry.p_score.or_else(|| {
            let score = entry.score.filter(|_| score_expression.is_none())?;
            prediction_behind(metric, score, high)
        });
        let possible = |predicted: &f64| match metric.kind {
            MetricKind::Classification => (0.0..=1.0).contains(predicted),
            MetricKind::Regression => predicted.abs() <= LARGEST,
        };
        self.predictions.extend(predicted.filter(possible).map(|predicted| (predicted, outcome)));
    }
}

/// 0 or 1, or the metric; none when the value is not one of the metric's.
fn outcome_of(metric: &Metric, value: &Value) -> Option<f64> {
    let number = |value: &Value| value.as_f64().or_else(|| value.as_bool().map(|flag| f64::from(u8::from(flag))));
    match metric.kind {
        MetricKind::Regression => number(value).filter(|number| number.abs() <= LARGEST),
        MetricKind::Classification => {
            let positive = metric.positive.clone().unwrap_or(Value::Bool(true));
            let hit = match (number(value), number(&positive)) {
                (Some(value), Some(positive)) => value == positive,
                _ => match (value, &positive) {
                    (Value::String(value), Value::String(positive)) => value == positive,
                    _ => return None,
                },
            };
            Some(f64::from(u8::from(hit)))
        }
    }
}

/// The prediction that became this score without a score expression.
fn prediction_behind(metric: &Metric, score: f64, high: Option<f64>) -> Option<f64> {
    match (metric.kind, metric.goal) {
        (MetricKind::Classification, Goal::Maximize) => Some(score / 1_000.0),
        (MetricKind::Classification, Goal::Minimize) => Some(1.0 - score / 1_000.0),
        (MetricKind::Regression, Goal::Maximize) => Some(score),
        (MetricKind::Regression, Goal::Minimize) => high.map(|high| high - score),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_an_outcome_when_it_is_one_of_the_metrics() {
        let metric = |kind, positive: Value| Metric {
            field: "m".to_owned(),
            kind,
            goal: Goal::Maximize,
            positive: (!positive.is_null()).then_some(positive),
        };
        let flag = metric(MetricKind::Classification, Value::Null);
        let outcomes = [json!(true), json!(1), json!(false), json!(0), json!("yes")].map(|v| outcome_of(&flag, &v));
        assert_eq!(outcomes, [Some(1.0), Some(1.0), Some(0.0), Some(0.0), None]);
        let word = metric(MetricKind::Classification, json!("yes"));
        assert_eq!(
            [json!("yes"), json!("no"), json!(true)].map(|v| outcome_of(&word, &v)),
            [Some(1.0), Some(0.0), None]
        );
        let number = metric(MetricKind::Regression, Value::Null);
        assert_eq!(
            [json!(3.5), json!(true), json!("3")].map(|v| outcome_of(&number, &v)),
            [Some(3.5), Some(1.0), None]
        );
    }

    #[test]
    fn a_score_tells_its_prediction_where_no_expression_is_between() {
        let metric = |kind, goal| Metric { field: "m".to_owned(), kind, goal, positive: None };
        let behind = |kind, goal, score| prediction_behind(&metric(kind, goal), score, Some(900.0));
        assert_eq!(behind(MetricKind::Classification, Goal::Maximize, 612.0), Some(0.612));
        assert!((behind(MetricKind::Classification, Goal::Minimize, 900.0).unwrap() - 0.1).abs() < 1e-12);
        assert_eq!(behind(MetricKind::Regression, Goal::Maximize, 42.0), Some(42.0));
        assert_eq!(behind(MetricKind::Regression, Goal::Minimize, 600.0), Some(300.0));
    }
}
