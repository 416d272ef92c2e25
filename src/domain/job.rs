//! Jobs: long work that survives the process that started it.

use serde::{Deserialize, Serialize};

use super::Timestamp;
use super::id::{AccountId, JobId};
use super::job_log::{self, Entry, Event};

/// What a worker can be told to take; each topic scales on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    DatasetUpload,
    Analysis,
    ModelTraining,
    Purging,
}

impl Topic {
    pub const ALL: [Topic; 4] = [Topic::DatasetUpload, Topic::Analysis, Topic::ModelTraining, Topic::Purging];

    pub fn as_str(self) -> &'static str {
        match self {
            Topic::DatasetUpload => "dataset_upload",
            Topic::Analysis => "analysis",
            Topic::ModelTraining => "model_training",
            Topic::Purging => "purging",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
    /// Every attempt failed; listed, and can be retried by hand.
    Dead,
}

/// How far a job is. `unit` is a plural word such as `rows` or `bytes`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Progress {
    pub done: u64,
    pub total: Option<u64>,
    pub unit: String,
    pub phase: String,
    /// Of a training: how good the model is so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<LiveMetric>,
    /// Of a training: the share of all its work that is done, 0 to 1. It never falls, and jumps when trees end early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// How long the rest takes at the pace so far; absent until there is a pace to go by. While trees are being tried it is
    /// the longest that it can take, since they may end early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_left_ms: Option<u64>,
}

/// How a measure went so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Curve {
    pub name: String,
    /// Share of the work that was done then, and the value.
    pub points: Vec<[f64; 2]>,
}

impl Curve {
    const MOST_POINTS: usize = 120;

    /// Adds what was just measured to its curve. A curve that becomes too long loses every other point.
    pub fn add(curves: &mut Vec<Curve>, metric: &LiveMetric, share: f64) {
        let at = curves.iter().position(|curve| curve.name == metric.name).unwrap_or_else(|| {
            curves.push(Curve { name: metric.name.clone(), points: Vec::new() });
            curves.len() - 1
        });
        let points = &mut curves[at].points;
        if points.last() == Some(&[share, metric.value]) {
            return;
        }
        points.push([share, metric.value]);
        if points.len() > Self::MOST_POINTS {
            let mut place = 0;
            points.retain(|_| {
                place += 1;
                place % 2 == 1
            });
        }
    }
}

/// A measure of a model that is being trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LiveMetric {
    /// What it is and of which rows, such as `log loss on the validation part`.
    pub name: String,
    pub value: f64,
}

/// One job. Every effect of a run is guarded by `fence`: a worker that lost its lease changes nothing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    pub id: JobId,
    pub account_id: AccountId,
    pub topic: Topic,
    /// Names the code that runs it; a worker claims only kinds that it knows.
    pub kind: String,
    pub payload: serde_json::Value,
    pub state: JobState,
    /// Counts claims, also those whose worker died.
    pub attempt: u32,
    /// Failed attempts before the job is dead.
    pub max_attempts: u32,
    /// Attempts that ended in a failure that another attempt may not have.
    #[serde(default)]
    pub failures: u32,
    /// Grows with each claim.
    pub fence: u64,
    /// Grows while the job's worker is alive; a claimer that sees it stand still for one lease takes the job over.
    pub heartbeat: u64,
    pub lease_ms: u64,
    pub worker: Option<String>,
    pub cancel_requested: bool,
    /// When its pause before the next attempt ends, by the clock of `updated_at`; workers measure the pause by their own.
    pub not_before: Option<Timestamp>,
    pub progress: Progress,
    pub error: Option<String>,
    pub result: Option<serde_json::Value>,
    /// What became of it so far, oldest first; empty in documents of earlier programs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<Entry>,
    /// Of the present or last run: how what it measured went.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curves: Vec<Curve>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Job {
    /// Writes into the log that this happened to the present attempt.
    pub fn note(&mut self, at: Timestamp, event: Event, text: Option<&str>) {
        let entry = Entry::new(at, event, self.attempt).with_worker(self.worker.clone());
        job_log::add(
            &mut self.log,
            match text {
                Some(text) => entry.with_text(text),
                None => entry,
            },
        );
    }
}

impl JobState {
    /// As it is written in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            JobState::Queued => "queued",
            JobState::Running => "running",
            JobState::Succeeded => "succeeded",
            JobState::Failed => "failed",
            JobState::Cancelled => "cancelled",
            JobState::Dead => "dead",
        }
    }

    pub fn is_final(self) -> bool {
        !matches!(self, JobState::Queued | JobState::Running)
    }
}

/// How long work tells how far it is and learns that it should stop. Cheap to call often.
pub trait Reporter: Send + Sync {
    fn report(&self, progress: Progress);
    fn is_cancelled(&self) -> bool;
}

/// For work that nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn report(&self, _progress: Progress) {}
    fn is_cancelled(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_bounded_and_keeps_its_shape() {
        let mut curves = Vec::new();
        let measure = |name: &str, value| LiveMetric { name: name.to_owned(), value };
        for step in 0..10_000 {
            Curve::add(&mut curves, &measure("log loss", f64::from(step)), f64::from(step) / 10_000.0);
            Curve::add(&mut curves, &measure("log loss", f64::from(step)), f64::from(step) / 10_000.0);
        }
        Curve::add(&mut curves, &measure("AUC", 0.7), 1.0);
        assert_eq!(curves.len(), 2);
        let points = &curves[0].points;
        assert!((60..=120).contains(&points.len()), "{}", points.len());
        assert_eq!(points[0], [0.0, 0.0]);
        assert!(points.is_sorted_by(|a, b| a[0] < b[0]));
    }
}
