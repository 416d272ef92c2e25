//! Takes new and changed score log entries of a predictor into its outcome dataset: one version a refresh.
//!
//! Entries are read by the time of their last report, from a little before where the last refresh ended (clocks of nodes may be minutes
//! apart, and commits overtake each other). What is in the dataset already, in the same state, is left alone; a changed entry's row is
//! taken out of its segment and written anew. So however often an entry is read, and however often the job runs, each interaction has
//! one row.

use std::collections::{HashMap, HashSet};
use std::io::Cursor;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::dataset_cardinality::Counts;
use super::dataset_change::{
    Current, NewVersion, Totals, check_cancelled, load_schema, load_segments, made_before, try_commit,
};
use super::dataset_compact::{CompactDataset, is_worthwhile};
use super::dataset_count::Counting;
use super::dataset_ingest::ingest_options;
use super::dataset_objects::{ObjectSegmentSink, ObjectSegmentSource, blocking, job_error, storage_error};
use super::outcome_rows::{Names, Rows};
use super::{Done, JobError, JobRun, RunJob, enqueue};
use crate::domain::Timestamp;
use crate::domain::column::{Column, MISSING_CODE, Table};
use crate::domain::dataset::OutcomeSource;
use crate::domain::id::{DatasetId, PredictorId, RequestId};
use crate::domain::job::{Progress, Reporter, Topic};
use crate::domain::predictor::{Predictor, PredictorDefinition};
use crate::domain::schema::{Role, Schema};
use crate::domain::score_log::{ScoreLogEntry, StoredEntry};
use crate::domain::scoring::{Scored, ScoredPack};
use crate::domain::segment::Segment;
use crate::domain::upload::FileFormat;
use crate::ingest::{InputFile, SegmentSink, Summary, UnknownColumns, filter_texts, ingest, scan, value_at};
use crate::store::{Batch, Collection, Comparison, Condition, Key, Path, Query, StoreExt};

/// Entries of one refresh; when there are more, another one follows at once.
const ENTRIES: usize = 50_000;
/// How far a refresh reads back behind the last report that an earlier one saw.
const OVERLAP: chrono::Duration = chrono::Duration::minutes(15);
/// Other changes of the dataset may come first so often; then the job is tried again later.
const MAX_STARTS: u32 = 5;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RefreshOutcomes {
    pub dataset_id: DatasetId,
}

#[async_trait]
impl RunJob for RefreshOutcomes {
    const KIND: &'static str = "dataset_outcomes";
    const TOPIC: Topic = Topic::DatasetUpload;

    async fn run(&self, run: &JobRun) -> Result<Done, JobError> {
        if let Some(version) = made_before(&run.ctx, &self.dataset_id, &run.job.id).await? {
            let result = json!({"dataset_id": self.dataset_id, "version": version.version, "rows": version.rows});
            return Ok(Done { effects: Batch::new(), result });
        }
        for _ in 0..MAX_STARTS {
            check_cancelled(run)?;
            if let Some(done) = self.refresh(run).await? {
                return Ok(done);
            }
        }
        Err(JobError::Retry(anyhow::anyhow!("other changes of the dataset came first each time")))
    }
}

/// Score log entries, in the order of their last report.
struct Reports {
    entries: Vec<ScoreLogEntry>,
    /// There are more than fit into one refresh.
    more: bool,
}

/// An entry's row as the dataset has it.
struct Known {
    segment: usize,
    reported_at: Option<i64>,
}

impl RefreshOutcomes {
    /// One attempt; `None` when the dataset changed meanwhile.
    async fn refresh(&self, run: &JobRun) -> Result<Option<Done>, JobError> {
        let ctx = &run.ctx;
        let current = Current::load(ctx, &run.job.account_id, &self.dataset_id).await?;
        let Some(source) = current.dataset.value.source.clone() else {
            return Err(JobError::Failed("The dataset is not made from score logs.".to_owned()));
        };
        let predictor = self.predictor(run, &source.predictor_id).await?;
        let lost = || JobError::Failed("The predictor is a composite now, which has no metric.".to_owned());
        let names = Names::of(&predictor.definition).ok_or_else(lost)?;
        let schema = load_schema(ctx, &self.dataset_id, current.dataset.value.schema_version).await?;
        for name in [names.interaction_id(), names.time(), names.reported_at()] {
            if schema.field(name).is_none() {
                let text = format!(
                    "The dataset has no field {name} any more, by which its rows are found again: bring the schema back \
                     (POST …/revert), or make another outcome dataset."
                );
                return Err(JobError::Failed(text));
            }
        }
        report(run, "reading the score log", "entries");
        let reports = read_reports(run, &source).await?;
        let segments = load_segments(ctx, &self.dataset_id, &current.version.segments).await?;
        let (segments, known) = find_known(run, segments, &schema, &names, &reports.entries).await?;
        let changed: Vec<&ScoreLogEntry> = reports
            .entries
            .iter()
            .filter(|entry| {
                let row = known.get(entry.interaction_id.as_str());
                row.is_none_or(|row| row.reported_at != Some(entry.updated_at.timestamp_micros()))
            })
            .collect();
        let updated: HashMap<String, usize> = changed
            .iter()
            .filter_map(|entry| Some((entry.interaction_id.clone(), known.get(entry.interaction_id.as_str())?.segment)))
            .collect();
        let source = next_source(&source, &reports, changed.len() - updated.len(), updated.len(), ctx.clock.now());
        if changed.is_empty() {
            return self.commit_unchanged(run, &current, source, reports.more).await;
        }
        let scored = read_scored(run, &source.predictor_id, &changed).await?;
        let before = read_rows(run, &segments, &schema, &names, &updated).await?;
        let time_feature = self.time_feature(run, &predictor).await?;
        let limits = &ctx.config.limits;
        let mut rows =
            Rows { names: &names, schema: &schema, limits, time_feature: time_feature.as_deref(), left_out: 0 };
        let mut lines = Vec::new();
        for entry in &changed {
            let kept = find_scored(&scored, entry);
            let row = rows.row(entry, kept, before.get(&entry.interaction_id).cloned());
            serde_json::to_writer(&mut lines, &row).map_err(|error| JobError::Retry(error.into()))?;
            lines.push(b'\n');
        }
        let left_out = rows.left_out;
        report(run, "writing rows", "rows");
        let (summary, added) = self.write(run, &schema, lines).await?;
        let replaced = self.take_out(run, &segments, &schema, &names, &updated).await?;
        let written = Written { summary, added, replaced };
        self.commit(run, &current, &schema, &segments, written, source, reports.more, left_out).await
    }

    async fn predictor(&self, run: &JobRun, id: &PredictorId) -> Result<Predictor, JobError> {
        let key = Key::new(run.job.account_id.as_str(), id.as_str());
        let found = run.ctx.store.load::<Predictor>(&key).await?;
        let deleted = || {
            JobError::Failed(
                "The predictor of these outcomes was deleted: the dataset stays as it is. Stop its refreshes: PUT …/refresh \
                 with `refresh_minutes` null."
                    .to_owned(),
            )
        };
        Ok(found.ok_or_else(deleted)?.value)
    }

    /// The context feature that is the interaction's own time: the predictor's dataset says which.
    async fn time_feature(&self, run: &JobRun, predictor: &Predictor) -> Result<Option<String>, JobError> {
        let PredictorDefinition::Simple { dataset_id, features, .. } = &predictor.definition else { return Ok(None) };
        let Ok(current) = Current::load(&run.ctx, &run.job.account_id, dataset_id).await else { return Ok(None) };
        let schema = load_schema(&run.ctx, dataset_id, current.dataset.value.schema_version).await?;
        let time = schema.with_role(Role::Timestamp).map(|field| field.name.clone());
        Ok(time.filter(|time| features.context.contains(time)))
    }

    /// Rows as new segments, to which nothing refers yet.
    async fn write(&self, run: &JobRun, schema: &Schema, lines: Vec<u8>) -> Result<(Summary, Vec<Segment>), JobError> {
        let options = ingest_options(&run.ctx, UnknownColumns::Refuse);
        let mut sink = ObjectSegmentSink::new(run, &self.dataset_id, schema.version);
        let (schema, reporter) = (schema.clone(), run.clone());
        blocking(move || {
            let format = FileFormat { format: Some("ndjson".to_owned()), ..FileFormat::default() };
            let size_bytes = lines.len() as u64;
            let reader = Box::new(Cursor::new(lines));
            let file = InputFile { reader, size_bytes, filename: "score_log.ndjson", format: &format };
            let mut rejected = Vec::new();
            let summary = ingest(file, &schema, &options, &mut sink, &mut rejected, &reporter).map_err(job_error)?;
            match rejected.first() {
                None => Ok((summary, sink.segments)),
                Some(row) => Err(JobError::Failed(format!(
                    "A row does not fit the dataset's schema: the value {:?} of {}: {}.",
                    row.value, row.column, row.reason
                ))),
            }
        })
        .await
    }

    /// The segments that have updated rows, without them; none where no row is left.
    async fn take_out(
        &self,
        run: &JobRun,
        segments: &[Segment],
        schema: &Schema,
        names: &Names,
        updated: &HashMap<String, usize>,
    ) -> Result<HashMap<usize, Option<Segment>>, JobError> {
        let mut gone: HashMap<usize, HashSet<String>> = HashMap::new();
        for (id, segment) in updated {
            gone.entry(*segment).or_default().insert(id.clone());
        }
        let mut replaced = HashMap::new();
        for (at, ids) in gone {
            check_cancelled(run)?;
            let source = ObjectSegmentSource::new(&run.ctx);
            let options = ingest_options(&run.ctx, UnknownColumns::Refuse);
            let mut sink = ObjectSegmentSink::new(run, &self.dataset_id, schema.version);
            let (segment, schema, field) = (segments[at].clone(), schema.clone(), names.interaction_id().to_owned());
            let made = blocking(move || {
                match filter_texts(&source, &segment, &schema, &field, &ids, &options).map_err(job_error)? {
                    None => Ok(None),
                    Some(encoded) => {
                        sink.put(encoded).map_err(storage_error)?;
                        Ok(sink.segments.pop())
                    }
                }
            })
            .await?;
            replaced.insert(at, made);
        }
        Ok(replaced)
    }

    #[expect(clippy::too_many_arguments, reason = "each is one of the things that are committed together")]
    async fn commit(
        &self,
        run: &JobRun,
        current: &Current,
        schema: &Schema,
        segments: &[Segment],
        written: Written,
        source: OutcomeSource,
        more: bool,
        left_out: u64,
    ) -> Result<Option<Done>, JobError> {
        let ctx = &run.ctx;
        let Written { summary, added, replaced } = written;
        let mut all = Vec::new();
        let mut new = Vec::new();
        for (at, segment) in segments.iter().enumerate() {
            match replaced.get(&at) {
                None => all.push(segment.clone()),
                Some(None) => {}
                Some(Some(made)) => {
                    all.push(made.clone());
                    new.push(made.clone());
                }
            }
        }
        all.extend(added.iter().cloned());
        new.extend(added);
        let now = ctx.clock.now();
        let mut batch = Batch::new();
        let version = NewVersion {
            reason: "outcomes",
            schema_version: schema.version,
            segments: all.iter().map(|segment| (segment.id.clone(), segment.directory.rows)).collect(),
            totals: Totals::default().with(&all),
            added: &new,
        };
        let version = current.write(&mut batch, version, &run.job.id, now);
        let mut after = current.dataset_after(&version, &run.job.id, now);
        after.value.source = Some(source.clone());
        batch.replace(&after);
        let counts = Counts::load(ctx, &self.dataset_id).await?;
        let mut counting = Counting::default();
        if current.version.version == 0 {
            counts.replace(&mut batch, &summary.cardinality, now);
        } else if replaced.is_empty() {
            let every = ctx.config.add_cardinalities_every_n_records;
            counts.append(ctx, &mut batch, &summary.cardinality, schema, every, now).await?;
        } else {
            let all = counting.of_version(run, &version, schema, &new).await?;
            counts.replace(&mut batch, all, now);
        }
        if !try_commit(run, batch).await? {
            return Ok(None);
        }
        let mut done = Done {
            effects: Batch::new(),
            result: json!({
                "dataset_id": self.dataset_id,
                "version": version.version,
                "rows": version.rows,
                "rows_added": source.last_rows_added,
                "rows_updated": source.last_rows_updated,
                "values_left_out": left_out,
                "more": more,
            }),
        };
        if is_worthwhile(&version) {
            follow_up(run, &mut done, &CompactDataset { dataset_id: self.dataset_id.clone() })?;
        }
        self.go_on(run, &mut done, more)?;
        Ok(Some(done))
    }

    /// Nothing new: only where the next refresh begins is written down, and no version made.
    async fn commit_unchanged(
        &self,
        run: &JobRun,
        current: &Current,
        source: OutcomeSource,
        more: bool,
    ) -> Result<Option<Done>, JobError> {
        let mut after = current.dataset.clone();
        after.value.source = Some(source);
        after.value.last_job = Some(run.job.id.clone());
        after.value.updated_at = run.ctx.clock.now();
        let mut batch = Batch::new();
        batch.replace(&after);
        if !try_commit(run, batch).await? {
            return Ok(None);
        }
        let result = json!({
            "dataset_id": self.dataset_id, "version": after.value.version, "rows": after.value.rows,
            "rows_added": 0, "rows_updated": 0, "more": more,
        });
        let mut done = Done { effects: Batch::new(), result };
        self.go_on(run, &mut done, more)?;
        Ok(Some(done))
    }

    fn go_on(&self, run: &JobRun, done: &mut Done, more: bool) -> Result<(), JobError> {
        if more { follow_up(run, done, self) } else { Ok(()) }
    }
}

/// What was stored and is not committed yet.
struct Written {
    summary: Summary,
    added: Vec<Segment>,
    replaced: HashMap<usize, Option<Segment>>,
}

fn follow_up<J: RunJob>(run: &JobRun, done: &mut Done, job: &J) -> Result<(), JobError> {
    enqueue(&mut done.effects, &run.ctx, &run.job.account_id, job).map_err(|error| JobError::Retry(error.into()))?;
    Ok(())
}

fn report(run: &JobRun, phase: &str, unit: &str) {
    run.report(Progress { phase: phase.to_owned(), unit: unit.to_owned(), ..Progress::default() });
}

/// Where the next refresh begins, and what this one did.
fn next_source(
    source: &OutcomeSource,
    reports: &Reports,
    added: usize,
    updated: usize,
    now: Timestamp,
) -> OutcomeSource {
    let seen = reports.entries.iter().map(|entry| entry.updated_at).max();
    // Only what is cut off goes on without an overlap: otherwise a full refresh might never get past it.
    let read_from = match (seen, reports.more) {
        (Some(seen), true) => Some(seen),
        (Some(seen), false) => Some((seen - OVERLAP).max(source.read_from.unwrap_or(seen - OVERLAP))),
        (None, _) => source.read_from,
    };
    OutcomeSource {
        predictor_id: source.predictor_id.clone(),
        read_from,
        refreshed_at: Some(now),
        last_rows_added: added as u64,
        last_rows_updated: updated as u64,
    }
}

/// A time without its fraction and zone: a text that sorts before every time of its second, however many digits those have.
fn second(time: Timestamp) -> String {
    time.format("%Y-%m-%dT%H:%M:%S").to_string()
}

async fn read_reports(run: &JobRun, source: &OutcomeSource) -> Result<Reports, JobError> {
    let mut query = Query::new(Collection::ScoreLog, run.job.account_id.as_str())
        .filter(Condition::equal(Path::key("predictor_id"), source.predictor_id.as_str()))
        .sort_by(Path::key("updated_at"), false)
        .limit(1_000);
    if let Some(from) = source.read_from {
        query = query.filter(Condition::Compare {
            path: Path::key("updated_at"),
            comparison: Comparison::GreaterOrEqual,
            value: second(from).into(),
        });
    }
    let mut entries: Vec<ScoreLogEntry> = Vec::new();
    loop {
        check_cancelled(run)?;
        let (page, next) = run.ctx.store.list::<StoredEntry>(&query).await?;
        entries.extend(page.into_iter().map(|stored| stored.value.entry));
        match next {
            Some(_) if entries.len() >= ENTRIES => return Ok(Reports { entries, more: true }),
            Some(cursor) => query.after = Some(cursor),
            None => return Ok(Reports { entries, more: false }),
        }
    }
}

/// Which of the entries have a row. Rows are sorted by the time of the first report, which never changes: most segments need not be read.
async fn find_known(
    run: &JobRun,
    segments: Vec<Segment>,
    schema: &Schema,
    names: &Names,
    entries: &[ScoreLogEntry],
) -> Result<(Vec<Segment>, HashMap<String, Known>), JobError> {
    let mut times: Vec<Timestamp> = entries.iter().map(|entry| entry.created_at).collect();
    times.sort_unstable();
    let wanted: HashSet<String> = entries.iter().map(|entry| entry.interaction_id.clone()).collect();
    let may_have = move |segment: &Segment| match (segment.directory.from, segment.directory.to) {
        (Some(from), Some(to)) => {
            // Segments keep microseconds, documents may have more digits.
            let first = times.partition_point(|time| *time < from);
            times.get(first).is_some_and(|time| time.timestamp_micros() <= to.timestamp_micros())
        }
        _ => true,
    };
    let source = ObjectSegmentSource::new(&run.ctx);
    let columns = [names.interaction_id().to_owned(), names.reported_at().to_owned()];
    let (schema, run) = (schema.clone(), run.clone());
    blocking(move || {
        let mut known = HashMap::new();
        for (at, segment) in segments.iter().enumerate().filter(|(_, segment)| may_have(segment)) {
            check_cancelled(&run)?;
            for table in scan(&source, &[segment], &schema, &columns, None, None).map_err(job_error)? {
                let table = table.map_err(job_error)?;
                let (Some(ids), Some(Column::Timestamp(reported))) =
                    (ids_of(&table, 0), table.columns.get(1).map(|c| &c.1))
                else {
                    continue;
                };
                for (row, id) in ids.enumerate() {
                    if let Some(id) = id.filter(|id| wanted.contains(*id)) {
                        known.insert(id.to_owned(), Known { segment: at, reported_at: reported[row] });
                    }
                }
            }
        }
        Ok((segments, known))
    })
    .await
}

/// The texts of a column, one a row.
fn ids_of(table: &Table, column: usize) -> Option<impl Iterator<Item = Option<&str>>> {
    match table.columns.get(column) {
        Some((_, Column::Text { codes, dictionary })) => Some(codes.iter().map(|code| match *code {
            MISSING_CODE => None,
            code => dictionary.get(code as usize).map(AsRef::as_ref),
        })),
        _ => None,
    }
}

/// The rows that are to be updated, as they are.
async fn read_rows(
    run: &JobRun,
    segments: &[Segment],
    schema: &Schema,
    names: &Names,
    updated: &HashMap<String, usize>,
) -> Result<HashMap<String, Map<String, Value>>, JobError> {
    let places: HashSet<usize> = updated.values().copied().collect();
    let chosen: Vec<Segment> = places.into_iter().map(|at| segments[at].clone()).collect();
    let source = ObjectSegmentSource::new(&run.ctx);
    let wanted: HashSet<String> = updated.keys().cloned().collect();
    let (schema, id) = (schema.clone(), names.interaction_id().to_owned());
    blocking(move || {
        let mut rows = HashMap::new();
        for table in scan(&source, &chosen, &schema, &[], None, None).map_err(job_error)? {
            let table = table.map_err(job_error)?;
            let column = table.columns.iter().position(|(name, _)| *name == id);
            let Some(ids) = column.and_then(|column| ids_of(&table, column)) else { continue };
            for (row, id) in ids.enumerate() {
                let Some(id) = id.filter(|id| wanted.contains(*id)) else { continue };
                let values = table.columns.iter().map(|(name, column)| (name.clone(), value_at(column, row)));
                rows.insert(id.to_owned(), values.filter(|(_, value)| !value.is_null()).collect());
            }
        }
        Ok(rows)
    })
    .await
}

/// What was kept of the requests that the entries name.
async fn read_scored(
    run: &JobRun,
    predictor: &PredictorId,
    entries: &[&ScoreLogEntry],
) -> Result<HashMap<String, Vec<Scored>>, JobError> {
    let wanted: HashSet<&str> = entries.iter().filter_map(|entry| entry.request_id.as_deref()).collect();
    let times = || wanted.iter().filter_map(|id| RequestId::parse(id).ok()?.created_at_ms());
    let (Some(first), Some(last)) = (times().min(), times().max()) else { return Ok(HashMap::new()) };
    let compare = |name: &str, comparison, value: i64| Condition::Compare {
        path: Path::key(name),
        comparison,
        value: value.into(),
    };
    let mut query = Query::new(Collection::ScoredContexts, run.job.account_id.as_str())
        .filter(Condition::equal(Path::key("predictor_id"), predictor.as_str()))
        .filter(compare("last_ms", Comparison::GreaterOrEqual, first))
        .filter(compare("first_ms", Comparison::LessOrEqual, last))
        .sort_by(Path::key("last_ms"), false)
        .limit(20);
    let mut found: HashMap<String, Vec<Scored>> = HashMap::new();
    loop {
        check_cancelled(run)?;
        let (packs, next) = run.ctx.store.list::<ScoredPack>(&query).await?;
        for scored in packs.into_iter().flat_map(|pack| pack.value.scored) {
            if wanted.contains(scored.request_id.as_str()) {
                found.entry(scored.request_id.clone()).or_default().push(scored);
            }
        }
        match next {
            Some(cursor) => query.after = Some(cursor),
            None => return Ok(found),
        }
    }
}

/// Of several interactions of one request (a batch), the one of the same customer, if there is one.
fn find_scored<'a>(scored: &'a HashMap<String, Vec<Scored>>, entry: &ScoreLogEntry) -> Option<&'a Map<String, Value>> {
    let of_request = scored.get(entry.request_id.as_deref()?)?;
    let mut fitting = of_request.iter().filter(|scored| of_request.len() == 1 || scored.context_id == entry.context_id);
    let found = fitting.next()?;
    fitting.next().is_none().then_some(&found.context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_its_fraction_sorts_before_all_of_its_second() {
        let time = Timestamp::from_timestamp_micros(1_700_000_000_250_000).unwrap();
        let whole = Timestamp::from_timestamp_micros(1_700_000_000_000_000).unwrap();
        let text = |time: Timestamp| json!(time).as_str().unwrap().to_owned();
        assert!(second(time) < text(time) && second(time) < text(whole) && text(time) < text(whole));
    }
}
