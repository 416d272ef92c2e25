//! Counting: the journal's entries incrementally, or every record anew.
//!
//! Both commit under the job's fence and under the head's revision. A full count scans while appends go on:
//!
//! 1. It puts its job's id into the head. From then on no other counter consumes entries.
//! 2. It notes the entries that wait (`covered`): their records were written before the scan begins.
//! 3. It scans. A record whose last change is in an entry that still waits but is not covered was changed
//!    during the scan: its values will be counted with that entry, so that they are left out here.
//!    Any other record is counted as it is.
//! 4. Of the records left out, those that existed before the scan still count as rows; the new ones count as rows with
//!    their entry.
//! 5. One commit replaces the counts and deletes the covered entries. The others stay pending.

use std::collections::HashSet;

use super::counts::{self, Head};
use super::journal::{self, Entry};
use super::record::StoredProfile;
use super::{Profile, schema};
use crate::context::Context;
use crate::domain::id::{AccountId, JobId};
use crate::domain::job::{Job, Progress, Reporter};
use crate::sketch::CardinalityState;
use crate::store::{Batch, Collection, Conflict, Key, Op, Query, StoreError, StoreExt, Stored};

/// Journal entries of one counting commit: at most this many, and about this many records.
const ENTRIES_A_COMMIT: usize = 500;
const RECORDS_A_COMMIT: u64 = 20_000;
/// Entries whose values are in memory at once: of the largest, some 4 MB each.
const ENTRIES_A_READ: usize = 8;
/// Records of one page of a full count.
const PAGE: usize = 1_000;
/// Entry ids known to be counted already; forgotten beyond this, then looked up again.
const MAX_KNOWN_ENTRIES: usize = 100_000;

#[derive(Debug, thiserror::Error)]
pub enum CountError {
    /// The fence no longer holds.
    #[error("another worker took the job over")]
    LostLease,
    #[error("cancelled")]
    Cancelled,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How a count ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// So many accepted records joined the counts.
    Records(u64),
    /// A full count is under way and will count, or leave pending, what is there.
    Deferred,
    /// A later full count took over.
    Superseded,
}

/// The job that counts: its id, and the precondition that it still owns its lease.
pub struct Counter<'a> {
    pub ctx: &'a Context,
    pub profile: &'a Profile,
    pub job: &'a JobId,
    pub fence: Op,
    pub reporter: &'a dyn Reporter,
}

/// Journal entries for one commit.
struct Portion {
    entries: Vec<Stored<Entry>>,
    /// Others wait behind them.
    more: bool,
}

enum Committed {
    Yes,
    /// Another counter changed the head or the entries.
    Conflict,
}

impl Counter<'_> {
    async fn commit(&self, batch: Batch) -> Result<Committed, CountError> {
        let mut guarded = Batch::new();
        guarded.push(self.fence.clone());
        guarded.ops.extend(batch.ops);
        match self.ctx.store.commit(guarded).await {
            Ok(()) => Ok(Committed::Yes),
            Err(StoreError::Conflict(Conflict { op: 0 })) => Err(CountError::LostLease),
            Err(StoreError::Conflict(_)) => Ok(Committed::Conflict),
            Err(error) => Err(error.into()),
        }
    }

    fn stop_if_cancelled(&self) -> Result<(), CountError> {
        if self.reporter.is_cancelled() { Err(CountError::Cancelled) } else { Ok(()) }
    }

    /// Counts what waits now.
    pub async fn count_waiting(&self) -> Result<Counted, CountError> {
        let mut total = 0;
        loop {
            self.stop_if_cancelled()?;
            let stored = counts::load_head(&self.ctx.store, self.profile).await?;
            let mut head = stored.as_ref().map_or_else(|| Head::empty(self.profile), |stored| stored.value.clone());
            if let Some(full_job) = &head.full_job
                && is_alive(self.ctx, &self.profile.account_id, full_job).await?
            {
                return Ok(Counted::Deferred);
            }
            let portion = self.portion().await?;
            if portion.entries.is_empty() {
                return Ok(Counted::Records(total));
            }
            // Read after the entries: it has every field that they have.
            let schema = schema::load(&self.ctx.store, self.profile).await?.value.schema;
            let mut state = counts::load_state(&self.ctx.store, &head, &schema).await?;
            let Some(records) = self.add(&mut state, &portion.entries).await? else { continue };
            head.counted += records;
            head.as_of = Some(self.ctx.clock.now());
            head.full_job = None;
            let mut batch = Batch::new();
            counts::write(&mut batch, stored.as_ref(), head, &state);
            journal::consume(&mut batch, &portion.entries);
            if let Committed::Conflict = self.commit(batch).await? {
                continue;
            }
            self.ctx.backlog.forget(&self.profile.scope());
            total += records;
            self.reporter.report(progress("counting", total, None));
            if !portion.more {
                return Ok(Counted::Records(total));
            }
        }
    }

    /// Adds the entries' values to the counts, and answers how many records they were; `None` when another counter has
    /// consumed one of them.
    async fn add(&self, state: &mut CardinalityState, entries: &[Stored<Entry>]) -> Result<Option<u64>, CountError> {
        let mut records = 0;
        for entries in entries.chunks(ENTRIES_A_READ) {
            for (entry, values) in entries.iter().zip(journal::values(&self.ctx.store, entries).await?) {
                let Some(values) = values else { return Ok(None) };
                values.each(|mutation| {
                    let broken = |error| StoreError::Corrupt(format!("journal entry {}: {error}", entry.value.id));
                    state.add_text(mutation.fields.get(), mutation.new).map_err(broken)
                })?;
                records += entry.value.records;
            }
        }
        Ok(Some(records))
    }

    async fn portion(&self) -> Result<Portion, CountError> {
        let mut records = 0;
        let mut entries = journal::waiting(&self.ctx.store, self.profile, ENTRIES_A_COMMIT).await?;
        let wanted = entries.iter().take_while(|entry| {
            let before = records;
            records += entry.value.records;
            before < RECORDS_A_COMMIT
        });
        let wanted = wanted.count();
        let more = entries.len() == ENTRIES_A_COMMIT || wanted < entries.len();
        entries.truncate(wanted);
        Ok(Portion { entries, more })
    }

    /// Counts every record anew while appends go on.
    pub async fn count_all(&self) -> Result<Counted, CountError> {
        self.announce().await?;
        let covered = journal::waiting(&self.ctx.store, self.profile, usize::MAX).await?;
        let schema = schema::load(&self.ctx.store, self.profile).await?.value.schema;
        let mut state = CardinalityState::new(&schema);
        let left_out = self.scan(&mut state, &covered).await?;
        self.count_rows_left_out(&mut state, &covered, left_out).await?;

        let stored = counts::load_head(&self.ctx.store, self.profile).await?;
        // Nobody else writes the head while it names this job.
        let Some(stored) = stored.filter(|stored| stored.value.full_job.as_ref() == Some(self.job)) else {
            return Ok(Counted::Superseded);
        };
        let head =
            Head { counted: state.records, as_of: Some(self.ctx.clock.now()), full_job: None, ..stored.value.clone() };
        let mut batch = Batch::new();
        counts::write(&mut batch, Some(&stored), head, &state);
        journal::consume(&mut batch, &covered);
        match self.commit(batch).await? {
            Committed::Yes => {
                self.ctx.backlog.forget(&self.profile.scope());
                Ok(Counted::Records(state.records))
            }
            Committed::Conflict => Ok(Counted::Superseded),
        }
    }

    /// Puts this job into the head.
    async fn announce(&self) -> Result<(), CountError> {
        loop {
            self.stop_if_cancelled()?;
            let stored = counts::load_head(&self.ctx.store, self.profile).await?;
            let head = stored.as_ref().map_or_else(|| Head::empty(self.profile), |stored| stored.value.clone());
            let mut batch = Batch::new();
            counts::write_head(&mut batch, stored.as_ref(), Head { full_job: Some(self.job.clone()), ..head });
            if let Committed::Yes = self.commit(batch).await? {
                return Ok(());
            }
        }
    }

    /// Counts records page by page; answers the ids of those changed meanwhile.
    async fn scan(
        &self,
        state: &mut CardinalityState,
        covered: &[Stored<Entry>],
    ) -> Result<HashSet<String>, CountError> {
        let covered: HashSet<&str> = covered.iter().map(|entry| entry.value.id.as_str()).collect();
        let mut counted_before: HashSet<String> = HashSet::new();
        let mut left_out = HashSet::new();
        let collection = Collection::of_profile(self.profile.kind);
        let mut query = Query::new(collection, self.profile.account_id.as_str()).limit(PAGE);
        let total = self.ctx.store.count(&query).await?;
        let mut done = 0;
        loop {
            self.stop_if_cancelled()?;
            let page = self.ctx.store.find(&query).await?;
            let records = page.documents.iter().map(StoredProfile::decode).collect::<Result<Vec<_>, _>>()?;
            // Looked up after the page was read, and nobody consumes: what is not there now was counted before the scan.
            let unknown: HashSet<&String> = records
                .iter()
                .map(|record| &record.entry)
                .filter(|entry| !covered.contains(entry.as_str()) && !counted_before.contains(*entry))
                .collect();
            let unknown: Vec<String> = unknown.into_iter().cloned().collect();
            let moving: HashSet<String> = if unknown.is_empty() {
                HashSet::new()
            } else {
                journal::still_waiting(&self.ctx.store, self.profile, &unknown).await?.into_iter().collect()
            };
            if counted_before.len() > MAX_KNOWN_ENTRIES {
                counted_before.clear();
            }
            counted_before.extend(unknown.into_iter().filter(|entry| !moving.contains(entry)));
            for record in records {
                if moving.contains(&record.entry) {
                    left_out.insert(record.id);
                } else {
                    state.add_record(&record.fields, true);
                }
                done += 1;
            }
            self.reporter.report(progress("counting everything", done, Some(total.max(done))));
            match page.next {
                Some(cursor) => query.after = Some(cursor),
                None => return Ok(left_out),
            }
        }
    }

    async fn count_rows_left_out(
        &self,
        state: &mut CardinalityState,
        covered: &[Stored<Entry>],
        mut left_out: HashSet<String>,
    ) -> Result<(), CountError> {
        if left_out.is_empty() {
            return Ok(());
        }
        let covered: HashSet<&str> = covered.iter().map(|entry| entry.value.id.as_str()).collect();
        let mut later = journal::waiting(&self.ctx.store, self.profile, usize::MAX).await?;
        later.retain(|entry| !covered.contains(entry.value.id.as_str()));
        for entries in later.chunks(ENTRIES_A_READ) {
            self.stop_if_cancelled()?;
            // Consumed only after another full count took over; then this one's commit finds that out.
            for values in journal::values(&self.ctx.store, entries).await?.into_iter().flatten() {
                values.each(|mutation| {
                    if mutation.new {
                        left_out.remove(mutation.id.as_ref());
                    }
                    Ok(())
                })?;
            }
        }
        let rows = left_out.len() as u64;
        state.records += rows;
        for counter in state.fields.values_mut() {
            counter.rows += rows;
        }
        Ok(())
    }
}

fn progress(phase: &str, done: u64, total: Option<u64>) -> Progress {
    Progress { done, total, unit: "records".to_owned(), phase: phase.to_owned(), ..Progress::default() }
}

/// Queued or running.
pub async fn is_alive(ctx: &Context, account: &AccountId, job: &JobId) -> Result<bool, StoreError> {
    let job = ctx.store.load::<Job>(&Key::new(account.as_str(), job.as_str())).await?;
    Ok(job.is_some_and(|job| !job.value.state.is_final()))
}
