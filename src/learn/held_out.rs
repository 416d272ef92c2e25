//! A model fitted without its holdout: what every measure and report looks at.

use super::card::ChoicesMade;
use super::choose::choose;
use super::error::TrainError;
use super::fit::{Choices, Fitted, predictions};
use super::measure;
use super::part::{FitPart, Part, Task};
use super::quality::Quality;
use super::target::{self, Parts};
use super::train::{check_features, fit_with};
use crate::domain::Timestamp;
use crate::domain::job::{Progress, Reporter};
use crate::domain::model::Holdout;
use crate::domain::predictor::MetricKind;

/// The rows that are held back, and the choices that were made without them.
pub(super) struct Plan<'a> {
    pub task: Task<'a>,
    pub parts: Parts,
    pub choices: Choices,
}

/// A model of the training part, and the holdout encoded for it.
pub(super) struct HeldOut<'a> {
    pub task: Task<'a>,
    pub parts: &'a Parts,
    pub choices: &'a Choices,
    pub fit: FitPart,
    pub fitted: Fitted,
    /// The holdout, in the order of `parts.holdout`.
    pub holdout: Part,
    /// Probabilities, or values in the metric's unit, of the holdout.
    pub predicted: Vec<f64>,
    /// Likewise what happened.
    pub outcomes: Vec<f64>,
}

impl<'a> Plan<'a> {
    /// Splits the rows and makes the choices on a validation part inside the training part.
    pub fn make(task: Task<'a>, reporter: &dyn Reporter, warnings: &mut Vec<String>) -> Result<Plan<'a>, TrainError> {
        let Task { table, spec, target } = task;
        check_features(table, spec)?;
        let settings = &spec.settings;
        let parts = target::split(target, &target.positions(), settings.holdout, settings.holdout_share, spec.seed);
        target::check_training_part(target, &parts, &table.metric, spec.kind)?;
        if settings.holdout == Holdout::Time && parts.kind == Holdout::Random {
            let why =
                if target.times.is_empty() { "the data has no timestamp field" } else { "all rows have the same time" };
            warnings.push(format!("{why}: the holdout is random instead of the latest part"));
        }
        if settings.half_life_days.is_some() && target.times.is_empty() {
            warnings.push("the data has no timestamp field: half_life_days has no effect".to_owned());
        }
        let inner = target::split(target, &parts.train, settings.holdout, 0.2, spec.seed.wrapping_add(1));
        let phase = "choosing settings".to_owned();
        reporter.report(Progress { done: 0, total: Some(3), unit: "rounds".into(), phase, ..Progress::default() });
        let choices = choose(&task, &inner, reporter)?;
        if settings.early_stop && settings.trees > 0 && choices.trees == settings.trees as usize {
            warnings.push(format!(
                "all {} trees are used and more would predict better: raise settings.trees or settings.learning_rate",
                settings.trees
            ));
        }
        Ok(Self { task, parts, choices })
    }

    /// Fits the training part and predicts the holdout.
    pub fn fit(&self, reporter: &dyn Reporter) -> Result<HeldOut<'_>, TrainError> {
        let Self { task, parts, choices } = self;
        let fit = task.fit_part(&parts.train, &choices.drifting, &mut Vec::new())?;
        let fitted = fit_with(task, &fit, choices, reporter)?;
        let holdout = task.other_part(&parts.holdout, &fit)?;
        let predicted = predictions(task.spec.kind, &fit, &fitted.margins(&fit, &holdout));
        let outcomes = parts.holdout.iter().map(|at| task.target.outcomes[*at as usize]).collect();
        Ok(HeldOut { task: *task, parts, choices, fit, fitted, holdout, predicted, outcomes })
    }
}

impl HeldOut<'_> {
    pub fn quality(&self) -> Quality {
        let (spec, target, parts) = (self.task.spec, self.task.target, self.parts);
        let prior = parts.train.iter().map(|at| target.outcomes[*at as usize]).sum::<f64>() / parts.train.len() as f64;
        let first = parts.holdout.iter().filter_map(|at| target.times.get(*at as usize)).min();
        let holdout_from =
            first.filter(|_| parts.kind == Holdout::Time).and_then(|at| Timestamp::from_timestamp_micros(*at));
        let choices = self.choices_made();
        let classification = spec.kind == MetricKind::Classification;
        let (outcomes, predicted) = (&self.outcomes, &self.predicted);
        Quality {
            train_rows: parts.train.len() as u64,
            holdout_rows: parts.holdout.len() as u64,
            holdout: parts.kind,
            holdout_from,
            trees: choices.trees,
            crosses: choices.crosses,
            classification: classification.then(|| measure::classification(outcomes, predicted, prior, spec.seed)),
            regression: (!classification).then(|| measure::regression(outcomes, predicted, prior, spec.seed)),
        }
    }

    /// What was chosen without the holdout.
    pub fn choices_made(&self) -> ChoicesMade {
        let names = |fields: &mut dyn Iterator<Item = u32>| {
            // A field may have several inputs, and they need not follow each other.
            let mut names: Vec<String> = Vec::new();
            for field in fields {
                let name = &self.fit.encoding.fields[field as usize].name;
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
            names
        };
        ChoicesMade {
            trees: self.fitted.forest.trees() as u32,
            crosses: names(&mut self.choices.crosses.iter().map(|key| key.field)),
            ridge: self.choices.ridge,
            cross_ridge: self.choices.cross_ridge,
            drifting: names(&mut self.choices.drifting.iter().map(|key| key.field)),
        }
    }
}
