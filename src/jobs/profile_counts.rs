//! Counts a profile's values: what waits in the journal, or everything anew.
//!
//! Under a flood of appends there is always a portion to count, and a job that was asked for while another one ran. So
//! jobs of one process that count one profile take turns (two at once would read the same entries, one of them in vain),
//! rest between portions, and end after a while, so that other profiles' jobs are not kept waiting. Counts are right
//! without all this: see [`crate::profiles::counting`].

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Done, JobError, JobRun, RunJob, enqueue};
use crate::context::Context;
use crate::domain::id::JobId;
use crate::domain::job::{Job, JobState, Topic};
use crate::profiles::counting::{CountError, Counted, Counter};
use crate::profiles::{Profile, journal};
use crate::store::{Batch, Collection, Key, Record, StoreError, StoreExt, Stored};

/// The pause between two portions: reading and writing all the counts costs as much for a few records as for many.
const REST: Duration = Duration::from_millis(200);
/// After this time a job leaves what waits to the next one, which the appends have asked for.
const LONGEST_TURN: Duration = Duration::from_secs(1);
/// For so long after asking nobody asks again, unless this process has begun to count in between. Another process may have; then
/// what it did not see is asked for by the next append, or by the watch.
const ASKED: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CountProfile {
    pub profile: Profile,
    pub full: bool,
}

#[async_trait]
impl RunJob for CountProfile {
    const KIND: &'static str = "count_profile";
    const TOPIC: Topic = Topic::Analysis;

    async fn run(&self, run: &JobRun) -> Result<Done, JobError> {
        let counter =
            Counter { ctx: &run.ctx, profile: &self.profile, job: &run.job.id, fence: run.guard(), reporter: run };
        let counted = if self.full { counter.count_all().await } else { self.count_portions(run, &counter).await };
        let result = match counted.map_err(job_error)? {
            Counted::Records(records) => {
                json!({"profile": self.profile.kind, "full": self.full, "records_counted": records})
            }
            Counted::Deferred => {
                json!({"profile": self.profile.kind, "deferred_to": "the full count that is under way"})
            }
            Counted::Superseded => json!({"profile": self.profile.kind, "superseded_by": "a later full count"}),
        };
        let mut effects = Batch::new();
        if self.full {
            // What was appended meanwhile was left pending, and nobody else counts while a full count is alive.
            let pending = journal::pending(&run.ctx.store, &self.profile).await?;
            if pending >= run.ctx.config.add_cardinalities_every_n_records.max(1) {
                let next = CountProfile { profile: self.profile.clone(), full: false };
                enqueue(&mut effects, &run.ctx, &self.profile.account_id, &next)
                    .map_err(|error| JobError::Failed(error.to_string()))?;
            }
        }
        Ok(Done { effects, result })
    }
}

impl CountProfile {
    /// Counts what waits, while that is a whole portion.
    async fn count_portions(&self, run: &JobRun, counter: &Counter<'_>) -> Result<Counted, CountError> {
        let turns = turns(&self.profile);
        let _turn = run.cancel.run_until_cancelled(turns.counting.lock()).await.ok_or(CountError::Cancelled)?;
        turns.set_asked(None);
        let every = run.ctx.config.add_cardinalities_every_n_records.max(1);
        let (started, mut total) = (Instant::now(), 0);
        while journal::pending(&run.ctx.store, &self.profile).await? >= every && started.elapsed() < LONGEST_TURN {
            if total > 0 {
                run.cancel.run_until_cancelled(tokio::time::sleep(REST)).await.ok_or(CountError::Cancelled)?;
            }
            match counter.count_waiting().await? {
                Counted::Records(records) => total += records,
                ended => return Ok(ended),
            }
        }
        Ok(Counted::Records(total))
    }
}

/// What this process knows of a profile's counting.
#[derive(Default)]
struct Turns {
    counting: tokio::sync::Mutex<()>,
    /// When a count was asked for that has not begun here.
    asked: Mutex<Option<Instant>>,
}

impl Turns {
    fn set_asked(&self, asked: Option<Instant>) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = asked;
    }

    fn asked_lately(&self, now: Instant) -> bool {
        let asked = *self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.is_some_and(|asked| now.saturating_duration_since(asked) < ASKED)
    }
}

fn turns(profile: &Profile) -> Arc<Turns> {
    static TURNS: LazyLock<Mutex<HashMap<Profile, Arc<Turns>>>> = LazyLock::new(Mutex::default);
    let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(turns.entry(profile.clone()).or_default())
}

fn job_error(error: CountError) -> JobError {
    match error {
        CountError::LostLease => JobError::LostLease,
        CountError::Cancelled => JobError::Cancelled,
        CountError::Store(error) => error.into(),
    }
}

/// Names the counting job that is queued for a profile, so that many appends ask for one.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Ticket {
    scope: String,
    full: bool,
    job_id: JobId,
}

impl Record for Ticket {
    const COLLECTION: Collection = Collection::Cardinalities;
    fn key(&self) -> Key {
        Self::key_of(self.scope.clone(), self.full)
    }
}

impl Ticket {
    fn key_of(scope: String, full: bool) -> Key {
        Key::new(scope, if full { "ticket/full" } else { "ticket/waiting" })
    }
}

/// A counting job for a profile.
#[derive(Debug, Clone)]
pub enum Requested {
    /// One is queued and has not started: it will see what is committed now.
    Queued(JobId),
    /// A new one. Commit the batch alone or with what it is to count; a conflict means that somebody else asked
    /// at the same moment: ask again.
    New { job_id: JobId, batch: Batch },
}

impl Requested {
    pub fn job_id(&self) -> &JobId {
        match self {
            Requested::Queued(job_id) | Requested::New { job_id, .. } => job_id,
        }
    }
}

/// Prepares a request for a count.
pub async fn prepare(ctx: &Context, profile: &Profile, full: bool) -> Result<Requested, StoreError> {
    let key = Ticket::key_of(profile.scope(), full);
    let old = ctx.store.load::<Ticket>(&key).await?;
    if let Some(old) = &old {
        let key = Key::new(profile.account_id.as_str(), old.value.job_id.as_str());
        if let Some(job) = ctx.store.load::<Job>(&key).await?
            && job.value.state == JobState::Queued
            && !job.value.cancel_requested
        {
            return Ok(Requested::Queued(job.value.id));
        }
    }
    let mut batch = Batch::new();
    let job = CountProfile { profile: profile.clone(), full };
    let job_id =
        enqueue(&mut batch, ctx, &profile.account_id, &job).map_err(|error| StoreError::Failed(error.into()))?;
    let ticket = Ticket { scope: profile.scope(), full, job_id: job_id.clone() };
    match old {
        None => batch.insert(&ticket),
        Some(old) => batch.replace(&Stored { value: ticket, revision: old.revision }),
    };
    Ok(Requested::New { job_id, batch })
}

/// Asks for a count in a commit of its own.
pub async fn request(ctx: &Context, profile: &Profile, full: bool) -> Result<JobId, StoreError> {
    loop {
        match prepare(ctx, profile, full).await? {
            Requested::Queued(job_id) => return Ok(job_id),
            Requested::New { job_id, batch } => match ctx.store.commit(batch).await {
                Ok(()) => return Ok(job_id),
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error),
            },
        }
    }
}

/// Asks for a count if a whole portion waits. Called after an append, and now and then for appends whose process
/// ended in between.
pub async fn request_if_due(ctx: &Context, profile: &Profile, pending: u64) -> Result<(), StoreError> {
    if pending < ctx.config.add_cardinalities_every_n_records.max(1) {
        return Ok(());
    }
    let turns = turns(profile);
    let now = Instant::now();
    if !turns.asked_lately(now) {
        // Before the request: a count that begins right after it takes the note away.
        turns.set_asked(Some(now));
        request(ctx, profile, false).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_not_asked_for_again_for_a_while_unless_it_begins() {
        let (turns, now) = (Turns::default(), Instant::now());
        assert!(!turns.asked_lately(now));
        turns.set_asked(Some(now));
        assert!(turns.asked_lately(now + ASKED / 2));
        assert!(!turns.asked_lately(now + ASKED));
        turns.set_asked(None);
        assert!(!turns.asked_lately(now));
    }
}
