//! A file's records on their way into a profile: several batches at a time, with the effect of one after the other.

use std::collections::{HashSet, VecDeque};

use serde_json::Value;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::dataset_objects::{RejectedObject, storage_error};
use super::{JobError, JobRun};
use crate::domain::dataset::RejectedReport;
use crate::ingest::{FileRecord, IngestError, RecordBatch, RejectedRow, RejectedSink};
use crate::profiles::Profile;
use crate::profiles::append::{Appended, Present, append};
use crate::profiles::posted::Posted;
use crate::profiles::values::ID;
use crate::store::StoreError;

/// Batches that are committed side by side: the store's members work on one while the others are being prepared.
const AT_ONCE: usize = 4;

/// What became of the file's rows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Totals {
    pub accepted: u64,
    pub unchanged: u64,
    pub stale: u64,
    pub rejected: u64,
}

/// Takes the batches of a file in order. Made inside the runtime, used on a blocking thread.
pub struct Upserts {
    run: JobRun,
    profile: Profile,
    present: Present,
    runtime: Handle,
    report: RejectedObject,
    totals: Totals,
    under_way: VecDeque<UnderWay>,
    /// Why it goes no further.
    failure: Option<JobError>,
}

struct UnderWay {
    ids: HashSet<String>,
    /// Of each record in the file.
    lines: Vec<u64>,
    task: JoinHandle<Result<Appended, JobError>>,
}

impl Upserts {
    /// `present` is what is believed of the file's records.
    pub fn new(run: JobRun, profile: Profile, present: Present, report: RejectedObject) -> Self {
        let (totals, under_way) = Default::default();
        Self { run, profile, present, runtime: Handle::current(), report, totals, under_way, failure: None }
    }

    /// Upserts a batch's records and reports its refused rows. A failure is told by [`Upserts::finish`]: the reader of files
    /// knows only its own errors.
    pub fn take(&mut self, batch: RecordBatch) -> Result<(), IngestError> {
        let taken = self.report_rows(&batch.rejected).and_then(|()| self.start(batch.records));
        taken.map_err(|failure| {
            self.failure = Some(failure);
            IngestError::Cancelled
        })
    }

    fn report_rows(&mut self, rows: &[RejectedRow]) -> Result<(), JobError> {
        self.totals.rejected += rows.len() as u64;
        rows.iter().try_for_each(|row| self.report.reject(row)).map_err(storage_error)
    }

    fn start(&mut self, records: Vec<FileRecord>) -> Result<(), JobError> {
        if records.is_empty() {
            return Ok(());
        }
        // Of an id's rows the last one counts: they must not overtake each other.
        let ids: HashSet<String> = records.iter().map(|record| record.id.clone()).collect();
        let last_shared = self.under_way.iter().rposition(|other| !other.ids.is_disjoint(&ids));
        let waited_for = last_shared.map_or(0, |position| position + 1);
        let left = self.under_way.len() - waited_for;
        self.wait_until_left(left.min(AT_ONCE - 1))?;
        let lines = records.iter().map(|record| record.line).collect();
        let task = self.runtime.spawn(append_fenced(self.run.clone(), self.profile.clone(), records, self.present));
        self.under_way.push_back(UnderWay { ids, lines, task });
        Ok(())
    }

    /// Waits for the oldest batches until no more than `left` are under way.
    fn wait_until_left(&mut self, left: usize) -> Result<(), JobError> {
        while self.under_way.len() > left
            && let Some(UnderWay { lines, task, .. }) = self.under_way.pop_front()
        {
            let appended = self.runtime.block_on(task).map_err(|panicked| JobError::Retry(panicked.into()))??;
            self.totals.accepted += appended.accepted;
            self.totals.unchanged += appended.unchanged;
            self.totals.stale += appended.stale;
            let rows = appended.rejected.into_iter().map(|rejection| RejectedRow {
                line: lines.get(rejection.index).copied().unwrap_or_default(),
                column: rejection.field.unwrap_or_default(),
                value: String::new(),
                reason: rejection.reason,
            });
            self.report_rows(&rows.collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// Waits for all batches and stores the report, if there is anything to report.
    pub fn finish(mut self) -> Result<(Totals, Option<RejectedReport>), JobError> {
        let ended = match self.failure.take() {
            Some(failure) => Err(failure),
            None => self.wait_until_left(0),
        };
        if let Err(failure) = ended {
            // Nothing of this run goes on behind its end.
            for other in self.under_way {
                let _ = self.runtime.block_on(other.task);
            }
            return Err(failure);
        }
        let report = self.report.finish().map_err(storage_error)?;
        Ok((self.totals, report))
    }
}

async fn append_fenced(
    run: JobRun,
    profile: Profile,
    records: Vec<FileRecord>,
    present: Present,
) -> Result<Appended, JobError> {
    let guard = run.shared_guard();
    let records: Vec<Value> = records.into_iter().map(as_posted).collect();
    let records: Vec<Posted<'_>> = records.iter().map(Posted::from).collect();
    let appended = append(&run.ctx, &profile, &records, present, &mut |_, batch| {
        batch.push(guard.clone());
    })
    .await;
    match appended {
        Ok(appended) => Ok(appended),
        // Conflicts of the records are decided again inside; what is left is the fence.
        Err(StoreError::Conflict(_)) => Err(JobError::LostLease),
        Err(error) => Err(error.into()),
    }
}

/// A row in the shape in which records are posted.
fn as_posted(record: FileRecord) -> Value {
    let mut posted = record.fields;
    posted.insert(ID.to_owned(), record.id.into());
    Value::Object(posted)
}
