//! Jobs that pause before their next attempt. The pause is measured by this worker's own stopwatch, from when it saw the job: the
//! wall clock of whoever wrote the job down may be minutes off, and would make the pause that much longer, or skip it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::domain::Timestamp;
use crate::domain::id::JobId;
use crate::domain::job::Job;

#[derive(Default)]
pub(super) struct Resting {
    /// By job: the fence that it had, and since when it was seen with it; `None` when its pause is over.
    seen: HashMap<JobId, (u64, Option<Instant>)>,
    looked: bool,
}

impl Resting {
    /// Notes all jobs that pause; keeps those whose pause is over. What a worker finds when it starts may have been waiting for
    /// long: for that once, the wall clock may also say so.
    pub(super) fn rested<T>(&mut self, mut jobs: Vec<T>, job: impl Fn(&T) -> &Job, now: Timestamp) -> Vec<T> {
        let before = std::mem::take(&mut self.seen);
        let first = !std::mem::replace(&mut self.looked, true);
        jobs.retain(|stored| {
            let job = job(stored);
            let since = match before.get(&job.id) {
                Some((fence, since)) if *fence == job.fence => *since,
                _ if first && job.not_before.is_none_or(|time| time <= now) => None,
                _ => Some(Instant::now()),
            };
            let since = since.filter(|since| since.elapsed() < pause(job));
            self.seen.insert(job.id.clone(), (job.fence, since));
            since.is_none()
        });
        jobs
    }
}

/// Both times are of the same clock.
fn pause(job: &Job) -> Duration {
    let pause = job.not_before.map(|until| until - job.updated_at).unwrap_or_default();
    pause.to_std().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use serde_json::json;

    use super::*;

    const PAUSE: Duration = Duration::from_millis(30);
    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    /// Written down by somebody whose clock is so many minutes ahead.
    fn failed(fence: u64, minutes_ahead: i64) -> Job {
        let now = NOW + TimeDelta::minutes(minutes_ahead);
        let value = json!({
            "id": JobId::generate(NOW), "account_id": "acc_01hxyzabcdefghjkmnpqrstvwx", "topic": "analysis", "kind": "k", "payload": {},
            "state": "queued", "attempt": 1, "max_attempts": 5, "failures": 1, "fence": fence, "heartbeat": 1, "lease_ms": 1, "worker": null,
            "cancel_requested": false, "not_before": now + TimeDelta::from_std(PAUSE).unwrap(), "progress": {"done": 0, "total": null,
            "unit": "", "phase": ""}, "error": null, "result": null, "created_at": now, "updated_at": now,
        });
        serde_json::from_value(value).unwrap()
    }

    /// How long a worker lets it rest.
    fn rest(resting: &mut Resting, job: &Job) -> Duration {
        let began = Instant::now();
        while resting.rested(vec![job], |job| job, NOW).is_empty() {
            assert!(began.elapsed() < Duration::from_secs(30), "for ever");
            std::thread::yield_now();
        }
        began.elapsed()
    }

    #[test]
    fn a_pause_is_as_long_as_it_was_meant_whatever_the_clocks_say() {
        for minutes in [-5, 0, 5] {
            let mut worker = Resting::default();
            assert!(worker.rested(Vec::<Job>::new(), |job| job, NOW).is_empty());
            let mut job = failed(1, minutes);
            let took = rest(&mut worker, &job);
            assert!(took >= PAUSE && took < Duration::from_secs(20), "{minutes}: {took:?}");
            assert_eq!(worker.rested(vec![job.clone()], |job| job, NOW).len(), 1, "once over, it is over");
            job.fence = 2;
            assert!(rest(&mut worker, &job) >= PAUSE, "{minutes}: its next failure pauses anew");
        }
    }

    #[test]
    fn a_worker_that_starts_takes_up_at_once_what_has_long_waited() {
        let mut worker = Resting::default();
        assert_eq!(worker.rested(vec![failed(1, -5)], |job| job, NOW).len(), 1);
        let mut worker = Resting::default();
        let ahead = failed(1, 5);
        assert!(worker.rested(vec![ahead.clone()], |job| job, NOW).is_empty());
        assert!(rest(&mut worker, &ahead) < Duration::from_secs(20), "and waits no longer than the pause for another");
    }
}
