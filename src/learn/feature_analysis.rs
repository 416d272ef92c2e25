//! Which features tell something about the outcome: importance to a model, association alone, redundancy.

use serde::{Deserialize, Serialize};

use super::error::TrainError;
use super::held_out::Plan;
use super::importance::{Dealt, Importance, importances};
use super::part::Task;
use super::quality::{Estimate, Quality};
use super::redundancy::{MAX_FIELDS, redundant};
use super::spec::{TrainingSpec, TrainingTable, check_settings};
use super::target;
use super::train::in_pool;
use super::univariate::{Univariate, strength_with_interval, univariate};
use crate::domain::job::Reporter;
use crate::domain::model::ModelType;
use crate::domain::predictor::MetricKind;
use crate::score::encoding::Side;

/// One feature. The agent's identity is one, too, when the model has local parts: its `side` is `agent`, its name that of the
/// field with the agent's id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FeatureFinding {
    pub feature: String,
    /// `context`, `customer` or `agent`.
    #[schema(value_type = String)]
    pub side: Side,
    /// How much the holdout's loss rises when the feature's values are dealt to other rows: log loss, or the squared error in
    /// the metric's unit squared. None for a feature that has one value.
    pub importance: Option<Estimate>,
    /// How much the AUC falls then; classification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auc_decrease: Option<f64>,
    /// What the feature says alone on the holdout: AUC (0.5 is chance), or R². None for the agent's identity.
    pub alone: Option<Estimate>,
    /// The importance is above what chance gives: its interval lies above 0.
    pub contributes: bool,
    /// Why, in words.
    pub reason: String,
}

/// Two features that say nearly the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RedundantPair {
    pub first: String,
    pub second: String,
    /// The share of the simpler one's information that the other one gives, 0.7 to 1.
    pub shared: f64,
}

/// The report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FeatureAnalysis {
    /// The model that was looked at, fitted without the holdout.
    pub quality: Quality,
    /// `log_loss` or `squared_error`: what `importance` is an increase of.
    pub importance_measure: String,
    /// `auc` or `r2`.
    pub alone_measure: String,
    /// Names of the features that contribute, the most important first.
    pub likely_contribute: Vec<String>,
    /// The most important first.
    pub features: Vec<FeatureFinding>,
    /// The closest first.
    pub redundant: Vec<RedundantPair>,
    /// How it was computed, and its sources.
    pub method: String,
    pub warnings: Vec<String>,
}

const METHOD: &str = "A model is fitted without the holdout. Importance: the increase of its loss on the holdout (at most 20,000 \
    rows) when one feature's values are dealt to other rows, all inputs of the feature together, mean of 5 deals (Breiman, Machine \
    Learning 45, 2001; Fisher, Rudin & Dominici, JMLR 20, 2019), with a 95 % bootstrap interval over rows. Features that say the \
    same share their importance. Alone: the mean outcome of the feature's values in the training part, or a straight line, judged on \
    the holdout. Redundant: mutual information over the smaller entropy. A feature contributes to predictions; whether it is a cause \
    is another question.";

/// Fits a model of the specification and looks at its features. `threads` as in [`super::train()`].
pub fn feature_analysis(
    table: &TrainingTable,
    spec: &TrainingSpec,
    reporter: &dyn Reporter,
    threads: Option<usize>,
) -> Result<FeatureAnalysis, TrainError> {
    check_settings(&spec.settings)?;
    in_pool(threads, || in_this_pool(table, spec, reporter))
}

fn in_this_pool(
    table: &TrainingTable,
    spec: &TrainingSpec,
    reporter: &dyn Reporter,
) -> Result<FeatureAnalysis, TrainError> {
    let mut warnings = Vec::new();
    let target = target::read(table, spec, &mut warnings)?;
    let task = Task { table, spec, target: &target };
    let plan = Plan::make(task, reporter, &mut warnings)?;
    let held = plan.fit(reporter)?;
    warnings.extend(held.leakage_warnings());
    let fields = &held.fit.encoding.fields;
    let alone = univariate(spec.kind, &held.fit, &held.holdout);
    let mut wanted: Vec<Dealt> = alone.iter().map(|one| Dealt::Field(one.field)).collect();
    let by_agent = table.agent_id.as_ref().filter(|_| spec.model_type != ModelType::Global);
    if by_agent.is_some() {
        wanted.push(Dealt::Agent);
    }
    let found = importances(&held, &wanted, reporter)?;
    let redundant = redundant_pairs(&held.fit.part.columns, &alone, spec.seed, |field| fields[field].name.clone());
    let outcomes: Vec<f64> = held.holdout.outcomes.iter().map(|y| f64::from(*y)).collect();
    let mut features = Vec::new();
    for (dealt, importance) in wanted.iter().zip(&found) {
        let (feature, side, alone) = match dealt {
            Dealt::Agent => (by_agent.cloned().unwrap_or_default(), Side::Agent, None),
            Dealt::Field(field) => {
                let one = alone.iter().find(|one| one.field == *field);
                let alone = one.map(|one| strength_with_interval(spec.kind, &outcomes, &one.predicted, spec.seed));
                (fields[*field].name.clone(), fields[*field].side, alone)
            }
        };
        let same = redundant.iter().find_map(|pair| match (pair.first == feature, pair.second == feature) {
            (true, _) => Some(pair.second.as_str()),
            (_, true) => Some(pair.first.as_str()),
            _ => None,
        });
        let contributes = importance.loss_increase.low > 0.0;
        features.push(FeatureFinding {
            reason: reason(spec.kind, importance, alone, contributes, same),
            feature,
            side,
            importance: Some(importance.loss_increase),
            auc_decrease: importance.auc_decrease,
            alone,
            contributes,
        });
    }
    for (index, field) in fields.iter().enumerate() {
        if !alone.iter().any(|one| one.field == index) {
            features.push(FeatureFinding {
                feature: field.name.clone(),
                side: field.side,
                importance: None,
                auc_decrease: None,
                alone: None,
                contributes: false,
                reason: "It has at most one value that can be used in the training part, or only grows with time, so nothing \
                         can be learned from it."
                    .to_owned(),
            });
        }
    }
    let size = |finding: &FeatureFinding| finding.importance.map_or(f64::NEG_INFINITY, |own| own.value);
    features.sort_by(|a, b| size(b).total_cmp(&size(a)));
    let classification = spec.kind == MetricKind::Classification;
    Ok(FeatureAnalysis {
        quality: held.quality(),
        importance_measure: if classification { "log_loss" } else { "squared_error" }.to_owned(),
        alone_measure: if classification { "auc" } else { "r2" }.to_owned(),
        likely_contribute: features.iter().filter(|one| one.contributes).map(|one| one.feature.clone()).collect(),
        features,
        redundant,
        method: METHOD.to_owned(),
        warnings,
    })
}

fn redundant_pairs(
    columns: &[super::inputs::InputColumn],
    alone: &[Univariate],
    seed: u64,
    name: impl Fn(usize) -> String,
) -> Vec<RedundantPair> {
    // Each field by the input that speaks best for it; the strongest fields first, should there be very many.
    let mut order: Vec<&Univariate> = alone.iter().filter(|one| !columns[one.input].levels.is_empty()).collect();
    order.sort_by(|a, b| b.strength.total_cmp(&a.strength));
    order.truncate(MAX_FIELDS);
    let compared: Vec<_> = order.iter().map(|one| &columns[one.input]).collect();
    redundant(&compared, seed)
        .into_iter()
        .map(|pair| RedundantPair {
            first: name(order[pair.first].field),
            second: name(order[pair.second].field),
            shared: pair.shared,
        })
        .collect()
}

fn reason(
    kind: MetricKind,
    importance: &Importance,
    alone: Option<Estimate>,
    contributes: bool,
    same: Option<&str>,
) -> String {
    if contributes {
        return match same {
            Some(other) => format!("Without it the model predicts worse, although {other} says nearly the same."),
            None => "Without it the model predicts worse, by more than chance gives.".to_owned(),
        };
    }
    let chance = if kind == MetricKind::Classification { 0.5 } else { 0.0 };
    let speaks = alone.is_some_and(|alone| alone.low > chance);
    if importance.loss_increase.value == 0.0 && importance.loss_increase.high == 0.0 {
        return match same {
            Some(other) => format!("The model does not use it: {other} says nearly the same."),
            None => "The model does not use it.".to_owned(),
        };
    }
    match (same, speaks) {
        (Some(other), _) => format!("Nothing that chance could not give: {other} says nearly the same."),
        (None, true) => {
            "It is associated with the outcome, but the model's other features say so already: nothing that chance could not give."
                .to_owned()
        }
        (None, false) => "Neither to the model nor alone does it tell more than chance could give.".to_owned(),
    }
}
