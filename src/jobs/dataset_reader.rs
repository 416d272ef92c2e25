//! Columns of a dataset at a pinned version, for training, counting and reports.

use std::collections::HashMap;
use std::sync::Arc;

use super::dataset_change::{Current, load_schema, load_segments, load_version};
use super::dataset_objects::{ObjectSegmentSource, blocking, job_error};
use super::{JobError, JobRun};
use crate::context::Context;
use crate::domain::Timestamp;
use crate::domain::column::{Column, MISSING_CODE, Table};
use crate::domain::dataset::{Dataset, DatasetVersion};
use crate::domain::id::{AccountId, DatasetId};
use crate::domain::schema::Schema;
use crate::domain::segment::Segment;
use crate::ingest::scan;

/// A dataset's data at one version: appends and deletions after it are not seen.
#[derive(Debug, Clone)]
pub struct PinnedDataset {
    pub dataset: Dataset,
    pub version: DatasetVersion,
    pub schema: Schema,
    pub segments: Vec<Segment>,
}

impl PinnedDataset {
    /// Pins a version; the current one when none is named.
    pub async fn pin(
        ctx: &Context,
        account: &AccountId,
        id: &DatasetId,
        version: Option<u64>,
    ) -> Result<Self, JobError> {
        let current = Current::load(ctx, account, id).await?;
        let version = match version {
            Some(number) if number != current.version.version => load_version(ctx, id, number).await?,
            _ => current.version,
        };
        let schema = load_schema(ctx, id, version.schema_version).await?;
        let segments = load_segments(ctx, id, &version.segments).await?;
        Ok(Self { dataset: current.dataset.value, version, schema, segments })
    }

    /// Reads columns into memory: rows with `from` ≤ timestamp field < `to`, in the order of the segments.
    /// `columns` empty: all of the schema's. `max_bytes` bounds the table's memory (estimated while it grows):
    /// beyond it the job fails with a text that says what to do.
    pub async fn table(
        &self,
        run: &JobRun,
        columns: &[String],
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        max_bytes: u64,
    ) -> Result<Table, JobError> {
        let source = ObjectSegmentSource::new(&run.ctx);
        let (segments, schema, columns) = (self.segments.clone(), self.schema.clone(), columns.to_vec());
        let cancel = run.cancel.clone();
        blocking(move || {
            let mut whole = TableBuilder::default();
            for table in scan(&source, &segments, &schema, &columns, from, to).map_err(job_error)? {
                if cancel.is_cancelled() {
                    return Err(JobError::Cancelled);
                }
                whole.append(table.map_err(job_error)?);
                if whole.bytes > max_bytes {
                    return Err(JobError::Failed(format!(
                        "The chosen columns and rows need more than {} MB of memory (TRAINING_MEMORY_MB). \
                         Choose a shorter period or fewer features, or raise the limit.",
                        max_bytes >> 20
                    )));
                }
            }
            Ok(whole.finish())
        })
        .await
    }
}

/// Tables of equal columns put below each other.
#[derive(Default)]
pub struct TableBuilder {
    table: Table,
    /// Texts by column, so that dictionaries are merged without comparing.
    codes: Vec<HashMap<Arc<str>, u32>>,
    bytes: u64,
}

impl TableBuilder {
    pub fn append(&mut self, table: Table) {
        if self.table.columns.is_empty() {
            self.codes = table.columns.iter().map(|_| HashMap::new()).collect();
            self.table.columns =
                table.columns.iter().map(|(name, column)| (name.clone(), empty_like(column))).collect();
        }
        self.table.rows += table.rows;
        for (((_, whole), codes), (_, part)) in self.table.columns.iter_mut().zip(&mut self.codes).zip(table.columns) {
            self.bytes += append_column(whole, codes, part);
        }
    }

    pub fn finish(self) -> Table {
        self.table
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

    #[test]
    fn dictionaries_of_several_tables_are_merged() {
        let mut whole = TableBuilder::default();
        for (values, dictionary) in
            [(vec![Some("b"), None], vec!["a", "b"]), (vec![Some("c"), Some("b")], vec!["c", "b"])]
        {
            whole.append(Table { rows: 2, columns: vec![("x".into(), text(&values, &dictionary))] });
        }
        let table = whole.finish();
        assert_eq!(table.rows, 4);
        let Some(Column::Text { codes, dictionary }) = table.column("x") else { panic!("a text column") };
        let read: Vec<_> = codes.iter().map(|code| dictionary.get(*code as usize).map(|text| &**text)).collect();
        assert_eq!(read, [Some("b"), None, Some("c"), Some("b")]);
    }
}
