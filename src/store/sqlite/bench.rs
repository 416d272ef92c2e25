//! The yardstick for appends: SQLite itself, with nothing of ours around it.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rusqlite::{Connection, TransactionBehavior, params};

use super::indexes::{self, Catalog};
use super::{FILE_NAME, migrate, open_writer};
use crate::store::{IndexSpec, Result, StoreError};

/// The rows of one transaction, as the store writes them for one batch of agents.
#[derive(Debug, Clone)]
pub struct BareTransaction {
    pub records: Vec<BareRecord>,
    pub journal_body: String,
    pub journal_values: Bytes,
}

#[derive(Debug, Clone)]
pub struct BareRecord {
    pub id: String,
    pub body: String,
    /// Rows of the element index, for the transaction that has the id for the first time.
    pub elements: Vec<String>,
}

/// What the bare loop reached.
#[derive(Debug, Clone, Copy)]
pub struct BareLoop {
    pub records: u64,
    pub elapsed: Duration,
}

impl BareLoop {
    pub fn records_per_second(&self) -> f64 {
        self.records as f64 / self.elapsed.as_secs_f64()
    }
}

/// Runs transactions against one file from several threads, each with a connection of its own, for `duration`:
/// the tables, indexes and settings of the store (write-ahead logging, `synchronous = FULL`), prepared statements, and
/// rows that were made before. Each thread goes through its list again and again.
///
/// A record is an upsert by its key. The lists of an id have to stay the same, so that an index of elements is
/// written when a record is new, and has nothing to do later.
pub fn bare_append_loop(
    folder: &Path,
    scope: &str,
    indexes: &[IndexSpec],
    threads: &[Vec<BareTransaction>],
    duration: Duration,
) -> Result<BareLoop> {
    let file = folder.join(FILE_NAME);
    let mut connection = open_writer(&file)?;
    migrate::migrate(&mut connection, folder).map_err(|error| StoreError::Failed(error.into()))?;
    let catalog = Catalog::load(&connection)?;
    for spec in indexes {
        indexes::create(&mut connection, &catalog, spec)?;
    }
    while indexes::build_step(&mut connection, &catalog)? {}
    let elements = indexes.iter().find(|spec| spec.elements);
    let elements = elements.and_then(|spec| catalog.elements_table(spec.collection, Some(scope), &spec.path));
    drop(connection);
    let started = Instant::now();
    let records = std::thread::scope(|threads_scope| {
        let workers: Vec<_> = threads
            .iter()
            .enumerate()
            .map(|(thread, transactions)| {
                let (file, elements) = (&file, elements.as_deref());
                threads_scope.spawn(move || {
                    let mut connection = open_writer(file)?;
                    connection.busy_timeout(Duration::from_secs(60))?;
                    let (mut done, mut records) = (0_u64, 0_u64);
                    for transaction in transactions.iter().cycle() {
                        if started.elapsed() >= duration {
                            break;
                        }
                        let entry = format!("jrn_{thread:02}{done:024}");
                        let elements = elements.filter(|_| done < transactions.len() as u64);
                        append(&mut connection, scope, &entry, transaction, elements)?;
                        done += 1;
                        records += transaction.records.len() as u64;
                    }
                    Ok::<u64, StoreError>(records)
                })
            })
            .collect();
        let mut total = 0;
        for worker in workers {
            let died = |_| StoreError::Failed(anyhow::anyhow!("a benchmark thread died"));
            total += worker.join().map_err(died)??;
        }
        Ok::<u64, StoreError>(total)
    })?;
    Ok(BareLoop { records, elapsed: started.elapsed() })
}

fn append(
    connection: &mut Connection,
    scope: &str,
    entry: &str,
    rows: &BareTransaction,
    elements: Option<&str>,
) -> Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let state = "SELECT value FROM store_state WHERE name = 'revision'";
    let mut revision: i64 = transaction.prepare_cached(state)?.query_row([], |row| row.get(0))?;
    {
        let mut upsert = transaction.prepare_cached(
            "INSERT INTO agents (scope, id, revision, body) VALUES (?, ?, ?, ?) \
             ON CONFLICT (scope, id) DO UPDATE SET revision = excluded.revision, body = excluded.body",
        )?;
        let mut add = match elements {
            Some(table) => Some(
                transaction
                    .prepare_cached(&format!("INSERT OR IGNORE INTO {table} (kind, value, row) VALUES ('t', ?, ?)"))?,
            ),
            None => None,
        };
        for record in &rows.records {
            revision += 1;
            upsert.execute(params![scope, record.id, revision, record.body])?;
            if let Some(add) = &mut add {
                let row = transaction.last_insert_rowid();
                for element in &record.elements {
                    add.execute(params![element, row])?;
                }
            }
        }
    }
    revision += 1;
    let journal_scope = format!("{scope}/agents");
    transaction
        .prepare_cached("INSERT INTO journal (scope, id, revision, body) VALUES (?, ?, ?, ?)")?
        .execute(params![journal_scope, entry, revision, rows.journal_body])?;
    transaction.prepare_cached("INSERT INTO blobs (scope, id, bytes) VALUES (?, ?, ?)")?.execute(params![
        format!("journal/{journal_scope}"),
        entry,
        rows.journal_values.as_ref()
    ])?;
    transaction.prepare_cached("UPDATE store_state SET value = ? WHERE name = 'revision'")?.execute([revision])?;
    transaction.commit()?;
    Ok(())
}
