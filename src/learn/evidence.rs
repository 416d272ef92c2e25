//! Whether there is enough to measure a model by, and whether its scores can tell agents apart: warnings for people.

use super::held_out::HeldOut;
use crate::domain::predictor::{Goal, MetricKind};

/// Rows of the holdout below which its measures are rough.
const FEW_HELD: usize = 100;
/// Rows of the rarer class below which a model of it is hardly more than a guess: to learn from, and to measure by.
const FEW_OF_A_CLASS: [usize; 2] = [50, 20];
/// Share of predictions below 0 that is worth a word.
const MANY_BELOW_ZERO: f64 = 0.01;

impl HeldOut<'_> {
    /// In words for people.
    pub fn evidence_warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let held = self.outcomes.len();
        if held < FEW_HELD {
            warnings.push(format!(
                "{held} rows are held back to measure the model: its measures are rough (see their intervals). Add data, or raise \
                 settings.holdout_share"
            ));
        }
        match self.task.spec.kind {
            MetricKind::Classification => warnings.extend(self.rare_class()),
            MetricKind::Regression => warnings.extend(self.scores_cut_at_zero()),
        }
        warnings
    }

    fn rare_class(&self) -> Option<String> {
        let rarer = |hits: usize, rows: usize| hits.min(rows - hits);
        let hits = |outcomes: &mut dyn Iterator<Item = f64>| outcomes.filter(|outcome| *outcome > 0.5).count();
        let learned = self.parts.train.iter().map(|at| self.task.target.outcomes[*at as usize]);
        let learned = rarer(hits(&mut learned.into_iter()), self.parts.train.len());
        let held = rarer(hits(&mut self.outcomes.iter().copied()), self.outcomes.len());
        let few = learned < FEW_OF_A_CLASS[0] || held < FEW_OF_A_CLASS[1];
        few.then(|| {
            let measured = if held == 0 { "; AUC cannot be measured" } else { "" };
            format!(
                "the rarer outcome is there {learned} times to learn from and {held} times in the holdout{measured}: what the model \
                 knows of it is little more than a guess. Add data, or set settings.holdout to \"random\""
            )
        })
    }

    /// A score is at least 0, so that agents with predictions below it are all alike.
    fn scores_cut_at_zero(&self) -> Option<String> {
        let below = self.predicted.iter().filter(|predicted| **predicted < 0.0).count();
        let share = below as f64 / self.predicted.len() as f64;
        (self.task.spec.goal == Goal::Maximize && share > MANY_BELOW_ZERO).then(|| {
            format!(
                "{:.0} % of the predictions on the holdout are below 0, and their score is 0, so that these are not ranked: give the \
                 predictor a score_expression that lifts them, such as p_score + {:.0}",
                100.0 * share,
                self.predicted.iter().copied().fold(0.0, f64::min).abs().mul_add(2.0, 1.0).ceil()
            )
        })
    }
}
