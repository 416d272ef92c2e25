//! How far a training is as a whole, and how good its model is so far.
//!
//! A training knows its phases before it begins, and about what each costs. The unit of work is a tree grown on all rows; what
//! other phases cost beside it was measured (`tango bench learn --progress`) and need not be exact: the pace is taken from
//! what is done.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::spec::TrainingSpec;
use crate::domain::job::{LiveMetric, Progress, Reporter};
use crate::domain::model::ModelType;
use crate::domain::predictor::MetricKind;

/// Names of phases, as they are reported.
pub(super) const REGRESSION: &str = "regression";
pub(super) const SHRINKAGE: &str = "trying shrinkage";
pub(super) const FOLDS: &str = "out-of-fold margins";
pub(super) const TRYING: &str = "trying trees";
pub(super) const TREES: &str = "trees";

/// Work in trees: a regression, its trial fits, its fits without a fold. Both grow with rows and inputs.
const REGRESSION_WORK: f64 = 220.0;
const SHRINKAGE_WORK: f64 = 170.0;
const FOLDS_WORK: f64 = 420.0;
/// Rows of the part that choices are made on.
const CHOOSING: f64 = 0.8;

struct Phase {
    name: &'static str,
    /// Share of all rows that it works on.
    rows: f64,
    /// In trees.
    work: f64,
}

impl Phase {
    fn work(&self) -> f64 {
        self.rows * self.work
    }
}

struct State {
    phases: Vec<Phase>,
    /// The phase that is under way, and how much of it is done.
    at: usize,
    within: f64,
    share: f64,
    metric: Option<LiveMetric>,
}

/// A reporter that adds what is known of the whole.
pub(super) struct Course<'a> {
    reporter: &'a dyn Reporter,
    state: Mutex<State>,
}

impl<'a> Course<'a> {
    /// Of choices, a fit to the training part, a fit to all rows.
    pub fn new(spec: &TrainingSpec, reporter: &'a dyn Reporter) -> Self {
        let settings = &spec.settings;
        let trees = if spec.model_type == ModelType::Disjoint { 0 } else { settings.trees };
        let training = 1.0 - settings.holdout_share;
        let mut phases = Vec::new();
        let mut add = |name, rows, work| phases.push(Phase { name, rows, work });
        let chosen_from = if spec.model_type != ModelType::Global && settings.crosses.is_none() { 2 } else { 1 };
        for _ in 0..chosen_from {
            add(REGRESSION, CHOOSING * training, REGRESSION_WORK);
            add(SHRINKAGE, CHOOSING * training, SHRINKAGE_WORK);
        }
        if trees > 0 && settings.early_stop {
            add(FOLDS, CHOOSING * training, FOLDS_WORK);
            add(TRYING, CHOOSING * training, f64::from(trees));
        }
        for rows in [training, 1.0] {
            add(REGRESSION, rows, REGRESSION_WORK);
            if trees > 0 {
                add(FOLDS, rows, FOLDS_WORK);
                add(TREES, rows, f64::from(trees));
            }
        }
        let state = State { phases, at: 0, within: 0.0, share: 0.0, metric: None };
        Self { reporter, state: Mutex::new(state) }
    }

    /// So many trees will be grown.
    pub fn chose(&self, trees: usize) {
        let mut state = self.state();
        state.leave();
        let rest = state.at + 1;
        for phase in &mut state.phases[rest..] {
            match phase.name {
                TREES => phase.work = trees as f64,
                FOLDS if trees == 0 => phase.work = 0.0,
                _ => {}
            }
        }
    }

    /// How good the model is, from now on.
    pub fn measured(&self, metric: Option<LiveMetric>) {
        self.state().metric = metric;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What the phase under way was to cost beyond what it did is not needed any more.
    fn leave(&mut self) {
        if self.phases[self.at].name == TRYING {
            self.phases[self.at].work *= self.within;
            self.within = 1.0;
        }
    }

    fn follow(&mut self, phase: &str, within: f64) {
        let again = self.phases[self.at].name == phase && within >= self.within;
        if !again {
            let next = self.phases.iter().skip(self.at + 1).position(|next| next.name == phase);
            let Some(next) = next else { return };
            self.leave();
            self.at += 1 + next;
        }
        self.within = within;
        let all: f64 = self.phases.iter().map(Phase::work).sum();
        let before: f64 = self.phases[..self.at].iter().map(Phase::work).sum();
        let done = before + within * self.phases[self.at].work();
        self.share = self.share.max((done / all.max(f64::MIN_POSITIVE)).min(1.0));
    }
}

impl Reporter for Course<'_> {
    fn report(&self, mut progress: Progress) {
        let mut state = self.state();
        if let Some(total) = progress.total.filter(|total| *total > 0) {
            state.follow(&progress.phase, progress.done as f64 / total as f64);
        }
        match &progress.metric {
            Some(metric) => state.metric = Some(metric.clone()),
            None => progress.metric = state.metric.clone(),
        }
        progress.share = Some(state.share);
        drop(state);
        self.reporter.report(progress);
    }

    fn is_cancelled(&self) -> bool {
        self.reporter.is_cancelled()
    }
}

/// A mean loss as people know it. `deviation` is that of the metric, which losses are divided by.
pub(super) fn live_metric(kind: MetricKind, loss: f64, deviation: f64, part: &str) -> LiveMetric {
    let (name, value) = match kind {
        MetricKind::Classification => ("log loss", loss),
        MetricKind::Regression => ("RMSE", (2.0 * loss).sqrt() * deviation),
    };
    LiveMetric { name: format!("{name} on the {part}"), value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::tests::{simulated, spec};
    use crate::learn::train;

    #[derive(Default)]
    struct Listener(Mutex<Vec<Progress>>);

    impl Reporter for Listener {
        fn report(&self, progress: Progress) {
            self.0.lock().unwrap().push(progress);
        }

        fn is_cancelled(&self) -> bool {
            false
        }
    }

    fn heard(model_type: ModelType, kind: MetricKind, early_stop: bool) -> Vec<Progress> {
        let mut table = simulated(1_500);
        let mut spec = spec(model_type);
        (spec.kind, spec.settings.early_stop) = (kind, early_stop);
        if kind == MetricKind::Regression {
            table.metric = "minutes".into();
        }
        let listener = Listener::default();
        train(&table, &spec, &listener, Some(1)).unwrap();
        listener.0.into_inner().unwrap()
    }

    #[test]
    fn the_share_of_the_work_never_falls_and_reaches_the_end() {
        for (model_type, early_stop) in [
            (ModelType::Global, true),
            (ModelType::Global, false),
            (ModelType::Disjoint, true),
            (ModelType::Hybrid, true),
            (ModelType::Hybrid, false),
        ] {
            let heard = heard(model_type, MetricKind::Classification, early_stop);
            let shares: Vec<f64> = heard.iter().filter_map(|progress| progress.share).collect();
            assert!(shares.len() > 20, "{model_type:?} {early_stop}: {}", shares.len());
            assert!(shares.is_sorted() && shares[0] < 0.05, "{model_type:?} {early_stop}: {shares:?}");
            let last = shares.last().unwrap();
            assert!((0.85..=1.0).contains(last), "{model_type:?} {early_stop}: {last}");
        }
    }

    #[test]
    fn a_live_metric_is_told_of_the_validation_part_by_tree_and_then_of_the_holdout() {
        for (kind, name) in [(MetricKind::Classification, "log loss"), (MetricKind::Regression, "RMSE")] {
            let heard = heard(ModelType::Hybrid, kind, true);
            let trying: Vec<&LiveMetric> =
                heard.iter().filter(|p| p.phase == TRYING).map(|p| p.metric.as_ref().unwrap()).collect();
            assert!(trying.len() > 5 && trying.iter().all(|m| m.name == format!("{name} on the validation part")));
            assert!(trying.windows(2).any(|pair| pair[0].value != pair[1].value), "{trying:?}");
            let last = heard.last().unwrap().metric.as_ref().unwrap();
            assert_eq!(last.name, format!("{name} on the holdout"));
            // In the metric's unit: minutes around 12, give or take some.
            let usual = if kind == MetricKind::Classification { 0.3..0.7 } else { 1.0..6.0 };
            assert!(trying.iter().all(|m| usual.contains(&m.value)) && usual.contains(&last.value), "{last:?}");
        }
    }
}
