//! Columns of a dataset at a pinned version, for training, counting and reports.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::dataset_change::{Current, load_schema, load_version};
use super::dataset_objects::{ObjectSegmentSource, blocking, job_error};
use super::sample::Sample;
use super::segment_cache::SegmentCache;
use super::{JobError, JobRun};
use crate::context::Context;
use crate::domain::Timestamp;
use crate::domain::column::{Column, MISSING_CODE, Table};
use crate::domain::dataset::{Dataset, DatasetVersion};
use crate::domain::id::{AccountId, DatasetId};
use crate::domain::schema::Schema;
use crate::domain::segment::Segment;
use crate::ingest::scan;
use crate::learn::{field_type, memory};

/// A dataset's data at one version: appends and deletions after it are not seen.
#[derive(Debug, Clone)]
pub struct PinnedDataset {
    pub dataset: Dataset,
    pub version: DatasetVersion,
    pub schema: Schema,
    pub segments: Vec<Arc<Segment>>,
}

impl PinnedDataset {
    /// Pins a version; the current one when none is named, with what its fields are for by now: a role that was changed since its rows
    /// were written counts at once.
    pub async fn pin(
        ctx: &Context,
        cache: &SegmentCache,
        account: &AccountId,
        id: &DatasetId,
        version: Option<u64>,
    ) -> Result<Self, JobError> {
        let current = Current::load(ctx, account, id).await?;
        let version = match version {
            Some(number) if number != current.version.version => load_version(ctx, id, number).await?,
            _ => current.version,
        };
        let mut schema = load_schema(ctx, id, version.schema_version).await?;
        let dataset = current.dataset.value;
        if version.version == dataset.version && dataset.schema_version != schema.version {
            let newest = load_schema(ctx, id, dataset.schema_version).await?;
            if newest.accepted {
                schema.describe_as(&newest);
            }
        }
        let segments = cache.load(ctx, id, &version.segments).await?;
        Ok(Self { dataset, version, schema, segments })
    }

    /// Reads columns into memory: rows with `from` ≤ timestamp field < `to`, in the order of the segments.
    /// `columns` empty: all of the schema's. What does not fit into the budget is sampled.
    pub async fn table(
        &self,
        run: &JobRun,
        columns: &[String],
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        budget: Budget,
    ) -> Result<SampledTable, JobError> {
        let source = ObjectSegmentSource::new(&run.ctx);
        let (segments, schema, columns) = (self.segments.clone(), self.schema.clone(), columns.to_vec());
        let cancel = run.cancel.clone();
        blocking(move || {
            let mut whole = TableBuilder::new(budget);
            for table in scan(&source, &segments, &schema, &columns, from, to).map_err(job_error)? {
                if cancel.is_cancelled() {
                    return Err(JobError::Cancelled);
                }
                whole.append(table.map_err(job_error)?);
                if !whole.fit() {
                    return Err(JobError::Failed(format!(
                        "Not even {FEWEST_ROWS} rows of the chosen columns fit into {} MB of memory \
                         (TRAINING_MEMORY_MB). Choose fewer features, or raise the limit.",
                        budget.max_bytes >> 20
                    )));
                }
            }
            Ok(whole.finish())
        })
        .await
    }
}

/// Memory of a sample for people to look at.
const LOOK_BYTES: u64 = 64 << 20;

impl PinnedDataset {
    /// Columns of whole segments, evenly spread over the dataset, with at most about `most_rows` rows: quick to read, for
    /// people to look at.
    pub async fn look(&self, ctx: &Context, columns: &[String], most_rows: u64) -> Result<Table, JobError> {
        let source = ObjectSegmentSource::new(ctx);
        let (schema, columns) = (self.schema.clone(), columns.to_vec());
        let every = self.version.rows.div_ceil(most_rows.max(1)).max(1);
        let every = usize::try_from(every).unwrap_or(usize::MAX);
        // The middle one of each group stands for it.
        let segments: Vec<Arc<Segment>> =
            self.segments.chunks(every).map(|group| group[group.len() / 2].clone()).collect();
        blocking(move || {
            let budget = Budget { max_bytes: LOOK_BYTES, row_bytes: 0, seed: 0 };
            let mut whole = TableBuilder::new(budget);
            for table in scan(&source, &segments, &schema, &columns, None, None).map_err(job_error)? {
                whole.append(table.map_err(job_error)?);
                if !whole.fit() {
                    return Err(JobError::Failed("These columns are too wide to be looked at together.".to_owned()));
                }
            }
            Ok(whole.finish().table)
        })
        .await
    }
}

/// Memory that may be used (estimated while a table grows).
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    pub max_bytes: u64,
    /// What a row takes beside its columns and their encoding.
    pub row_bytes: u64,
    /// Decides which rows stay.
    pub seed: u64,
}

/// A table that may have fewer rows than there are.
pub struct SampledTable {
    pub table: Table,
    pub rows_seen: u64,
}

/// A sample of fewer rows is of no use.
const FEWEST_ROWS: u64 = 500;

/// Tables of equal columns put below each other, with fewer of their rows when they get too large.
pub struct TableBuilder {
    budget: Budget,
    sample: Sample,
    columns: Vec<Growing>,
}

/// One column of the table.
struct Growing {
    name: String,
    column: Column,
    /// Codes by text, so that dictionaries are merged without comparing.
    codes: HashMap<Arc<str>, u32>,
    /// Keys of lists and dictionaries.
    keys: HashSet<Arc<str>>,
    bytes: u64,
}

impl TableBuilder {
    pub fn new(budget: Budget) -> Self {
        Self { budget, sample: Sample::new(budget.seed), columns: Vec::new() }
    }

    pub fn append(&mut self, table: Table) {
        if self.columns.is_empty() {
            self.columns = table.columns.iter().map(|(name, column)| Growing::like(name, column)).collect();
        }
        let flags = self.sample.admit(table.rows);
        let all = flags.iter().all(|is_in| *is_in);
        for (growing, (_, mut part)) in self.columns.iter_mut().zip(table.columns) {
            if !all {
                part.retain(&flags);
            }
            growing.append(part);
        }
    }

    /// Lets rows go until the rest fits; false when too few would be left.
    pub fn fit(&mut self) -> bool {
        while self.bytes() > self.budget.max_bytes {
            let flags = self.sample.shrink();
            if self.sample.rows() < FEWEST_ROWS.min(self.sample.seen()) {
                return false;
            }
            for growing in &mut self.columns {
                growing.column.retain(&flags);
                let part = std::mem::replace(&mut growing.column, Column::Float(Vec::new()));
                *growing = Growing::like(&growing.name, &part);
                growing.append(part);
            }
        }
        true
    }

    fn bytes(&self) -> u64 {
        let row_bytes: u64 = self.columns.iter().map(Growing::row_bytes).sum();
        let table: u64 = self.columns.iter().map(|growing| growing.bytes).sum();
        table + self.sample.rows() * (row_bytes + self.budget.row_bytes)
    }

    pub fn finish(self) -> SampledTable {
        let columns = self.columns.into_iter().map(|growing| (growing.name, growing.column)).collect();
        // As many as the columns have entries.
        let rows = usize::try_from(self.sample.rows()).unwrap_or(usize::MAX);
        SampledTable { table: Table { rows, columns }, rows_seen: self.sample.seen() }
    }
}

impl Growing {
    fn like(name: &str, column: &Column) -> Self {
        let (codes, keys) = (HashMap::new(), HashSet::new());
        Self { name: name.to_owned(), column: empty_like(column), codes, keys, bytes: 0 }
    }

    fn append(&mut self, part: Column) {
        match &part {
            Column::List(values) => self.keys.extend(values.iter().flatten().flatten().cloned()),
            Column::Dict(values) => self.keys.extend(values.iter().flatten().flatten().map(|(key, _)| key.clone())),
            _ => {}
        }
        self.bytes += append_column(&mut self.column, &mut self.codes, part);
    }

    /// What learning from the column takes a row.
    fn row_bytes(&self) -> u64 {
        memory::bytes_per_row(field_type(&self.column), self.keys.len())
    }
}

fn empty_like(column: &Column) -> Column {
    match column {
        Column::Boolean(_) => Column::Boolean(Vec::new()),
        Column::Integer(_) => Column::Integer(Vec::new()),
        Column::Float(_) => Column::Float(Vec::new()),
        Column::Text { .. } => Column::Text { codes: Vec::new(), dictionary: Vec::new() },
        Column::Timestamp(_) => Column::Timestamp(Vec::new()),
        Column::List(_) => Column::List(Vec::new()),
        Column::Dict(_) => Column::Dict(Vec::new()),
    }
}

/// Appends a column of the same type; returns about how many bytes that took.
fn append_column(whole: &mut Column, known: &mut HashMap<Arc<str>, u32>, part: Column) -> u64 {
    let rows = part.len() as u64;
    match (whole, part) {
        (Column::Boolean(whole), Column::Boolean(part)) => {
            whole.extend(part);
            rows
        }
        (Column::Integer(whole), Column::Integer(part)) | (Column::Timestamp(whole), Column::Timestamp(part)) => {
            whole.extend(part);
            rows * 16
        }
        (Column::Float(whole), Column::Float(part)) => {
            whole.extend(part);
            rows * 8
        }
        (Column::Text { codes, dictionary }, Column::Text { codes: part, dictionary: texts }) => {
            let mut bytes = rows * 4;
            let mut translation = Vec::with_capacity(texts.len());
            for text in texts {
                let code = match known.get(&text) {
                    Some(code) => *code,
                    None => {
                        let code = u32::try_from(dictionary.len()).unwrap_or(MISSING_CODE);
                        bytes += text.len() as u64 + 64;
                        dictionary.push(text.clone());
                        known.insert(text, code);
                        code
                    }
                };
                translation.push(code);
            }
            let translate = |code: u32| {
                usize::try_from(code).ok().and_then(|index| translation.get(index)).copied().unwrap_or(MISSING_CODE)
            };
            codes.extend(part.into_iter().map(translate));
            bytes
        }
        (Column::List(whole), Column::List(part)) => {
            let elements: usize = part.iter().flatten().map(Vec::len).sum();
            whole.extend(part);
            rows * 24 + elements as u64 * 32
        }
        (Column::Dict(whole), Column::Dict(part)) => {
            let entries: usize = part.iter().flatten().map(Vec::len).sum();
            whole.extend(part);
            rows * 24 + entries as u64 * 40
        }
        // A scan gives a column one type; there is nothing to append otherwise.
        (_, _) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(values: &[Option<&str>], dictionary: &[&str]) -> Column {
        let code = |value: &str| dictionary.iter().position(|text| *text == value).unwrap() as u32;
        Column::Text {
            codes: values.iter().map(|value| value.map_or(MISSING_CODE, code)).collect(),
            dictionary: dictionary.iter().map(|text| Arc::from(*text)).collect(),
        }
    }

    const LARGE: Budget = Budget { max_bytes: 1 << 30, row_bytes: 0, seed: 1 };

    #[test]
    fn a_table_that_does_not_fit_is_sampled_alike_however_it_comes() {
        let rows_of = |batch: usize| {
            let mut whole = TableBuilder::new(Budget { max_bytes: 200_000, row_bytes: 50, ..LARGE });
            let all: Vec<i64> = (0..20_000).collect();
            for rows in all.chunks(batch) {
                let numbers = Column::Integer(rows.iter().copied().map(Some).collect());
                let texts: Vec<Arc<str>> = rows.iter().map(|row| Arc::from(format!("row {row}"))).collect();
                let texts = Column::Text { codes: (0..rows.len() as u32).collect(), dictionary: texts };
                whole.append(Table { rows: rows.len(), columns: vec![("n".into(), numbers), ("t".into(), texts)] });
                assert!(whole.fit());
            }
            whole.finish()
        };
        let sampled = rows_of(20_000);
        assert_eq!(sampled.rows_seen, 20_000);
        let Some(Column::Integer(numbers)) = sampled.table.column("n") else { panic!("numbers") };
        let Some(Column::Text { codes, dictionary }) = sampled.table.column("t") else { panic!("texts") };
        assert!((500..1_300).contains(&numbers.len()), "{}", numbers.len());
        assert_eq!((numbers.len(), dictionary.len()), (sampled.table.rows, sampled.table.rows));
        for (number, code) in numbers.iter().zip(codes) {
            assert_eq!(*dictionary[*code as usize], *format!("row {}", number.unwrap()), "rows stay together");
        }
        let Some(Column::Integer(again)) = rows_of(777).table.column("n").cloned() else { panic!("numbers") };
        assert_eq!(*numbers, again);
    }

    #[test]
    fn dictionaries_of_several_tables_are_merged() {
        let mut whole = TableBuilder::new(LARGE);
        for (values, dictionary) in
            [(vec![Some("b"), None], vec!["a", "b"]), (vec![Some("c"), Some("b")], vec!["c", "b"])]
        {
            whole.append(Table { rows: 2, columns: vec![("x".into(), text(&values, &dictionary))] });
        }
        let table = whole.finish().table;
        assert_eq!(table.rows, 4);
        let Some(Column::Text { codes, dictionary }) = table.column("x") else { panic!("a text column") };
        let read: Vec<_> = codes.iter().map(|code| dictionary.get(*code as usize).map(|text| &**text)).collect();
        assert_eq!(read, [Some("b"), None, Some("c"), Some("b")]);
    }
}
