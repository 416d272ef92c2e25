//! Schedules: what is done again and again, once for each time that it is due, however many nodes there are.

use serde::{Deserialize, Serialize};

use super::Timestamp;
use super::id::{AccountId, DatasetId, JobId, ModelId, PredictorId};

/// Longest pause between two runs: a year.
pub const MAX_MINUTES: u32 = 366 * 24 * 60;

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Task {
    /// Takes new and changed score log entries into a dataset.
    RefreshOutcomes { dataset_id: DatasetId },
    /// Trains a model again on what has come since.
    Retrain { predictor_id: PredictorId, model_id: ModelId, activate: Activate },
}

/// What becomes of a version that a schedule trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activate {
    /// It replaces the version before when it predicts better: the whole interval of the difference is above 0.
    IfBetter,
    /// It is compared and dropped.
    Never,
}

/// One document a schedule. Whoever finds it due replaces it, in the revision that was read, together with the new job:
/// so a due time starts one job, however many look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    pub account_id: AccountId,
    pub task: Task,
    /// At least 1.
    pub every_minutes: u32,
    pub enabled: bool,
    pub next_due: Timestamp,
    pub last_run: Option<Timestamp>,
    pub last_job: Option<JobId>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Task {
    /// Of a dataset there is one refresh, of a predictor one retraining.
    pub fn id(&self) -> String {
        match self {
            Task::RefreshOutcomes { dataset_id } => refresh_id(dataset_id),
            Task::Retrain { predictor_id, .. } => retraining_id(predictor_id),
        }
    }
}

/// The id of a dataset's refresh.
pub fn refresh_id(dataset: &DatasetId) -> String {
    format!("refresh:{dataset}")
}

/// The id of a predictor's retraining.
pub fn retraining_id(predictor: &PredictorId) -> String {
    format!("retrain:{predictor}")
}

impl Schedule {
    /// Due for the first time after one period.
    pub fn new(account_id: AccountId, task: Task, every_minutes: u32, enabled: bool, now: Timestamp) -> Self {
        let next_due = now + period(every_minutes);
        let (last_run, last_job) = (None, None);
        Self {
            account_id,
            task,
            every_minutes,
            enabled,
            next_due,
            last_run,
            last_job,
            created_at: now,
            updated_at: now,
        }
    }

    pub fn is_due(&self, now: Timestamp) -> bool {
        self.enabled && self.next_due <= now
    }

    /// It ran: due again at the first later time of its beat. Times that nobody was there for are left out, not caught up.
    pub fn ran(&mut self, job: JobId, now: Timestamp) {
        let period = period(self.every_minutes);
        if self.next_due <= now {
            let missed = (now - self.next_due).num_seconds() / period.num_seconds();
            self.next_due += period * i32::try_from(missed + 1).unwrap_or(i32::MAX);
        }
        self.last_run = Some(now);
        self.last_job = Some(job);
        self.updated_at = now;
    }
}

fn period(every_minutes: u32) -> chrono::Duration {
    chrono::Duration::minutes(i64::from(every_minutes.clamp(1, MAX_MINUTES)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_its_beat_and_catches_nothing_up() {
        let start = Timestamp::UNIX_EPOCH;
        let after = |minutes: i64| start + chrono::Duration::minutes(minutes);
        let task = Task::RefreshOutcomes { dataset_id: DatasetId::parse("ds_1").unwrap() };
        let mut schedule = Schedule::new(AccountId::parse("acc_1").unwrap(), task, 15, true, start);
        let job = || JobId::parse("job_1").unwrap();
        assert!(!schedule.is_due(after(14)) && schedule.is_due(after(15)));
        schedule.ran(job(), after(16));
        assert_eq!(schedule.next_due, after(30), "the beat is that of the start");
        schedule.ran(job(), after(100));
        assert_eq!(schedule.next_due, after(105), "one run for all that was missed");
        schedule.ran(job(), after(101));
        assert_eq!(schedule.next_due, after(105), "a run by hand takes none away");
        schedule.enabled = false;
        assert!(!schedule.is_due(after(500)));
    }
}
