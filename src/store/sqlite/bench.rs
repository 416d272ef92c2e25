//! The yardstick for appends: SQLite itself, with nothing of ours around it.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior, params};

use super::{FILE_NAME, open_writer};
use crate::store::{Result, StoreError};

/// What the bare loop reached.
#[derive(Debug, Clone, Copy)]
pub struct BareLoop {
    pub transactions: u64,
    pub records: u64,
    pub elapsed: Duration,
}

impl BareLoop {
    pub fn records_per_second(&self) -> f64 {
        self.records as f64 / self.elapsed.as_secs_f64()
    }
}

/// Upserts records into one table of one file from several threads, each with a connection of its own,
/// for `duration`: transactions of `per_transaction` records, write-ahead logging, `synchronous = FULL`, as the store does.
/// `body` makes the JSON of a record from (thread, counter); ids repeat after `ids` per thread.
pub fn bare_append_loop(
    folder: &Path,
    threads: usize,
    per_transaction: usize,
    ids: usize,
    duration: Duration,
    body: &(dyn Fn(usize, usize) -> String + Sync),
) -> Result<BareLoop> {
    let file = folder.join(FILE_NAME);
    open_writer(&file)?.execute_batch(
        "CREATE TABLE IF NOT EXISTS records (row INTEGER PRIMARY KEY, scope TEXT NOT NULL, id TEXT NOT NULL, \
         revision INTEGER NOT NULL, body TEXT NOT NULL, UNIQUE (scope, id))",
    )?;
    let started = Instant::now();
    let transactions = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let file = &file;
                scope.spawn(move || {
                    let mut connection = open_writer(file)?;
                    connection.busy_timeout(Duration::from_secs(60))?;
                    let mut transactions = 0_u64;
                    while started.elapsed() < duration {
                        let first = transactions as usize * per_transaction;
                        append(&mut connection, thread, first..first + per_transaction, ids, body)?;
                        transactions += 1;
                    }
                    Ok::<u64, StoreError>(transactions)
                })
            })
            .collect();
        let mut total = 0;
        for worker in workers {
            total += worker.join().map_err(|_| StoreError::Failed(anyhow::anyhow!("a benchmark thread died")))??;
        }
        Ok::<u64, StoreError>(total)
    })?;
    Ok(BareLoop { transactions, records: transactions * per_transaction as u64, elapsed: started.elapsed() })
}

fn append(
    connection: &mut Connection,
    thread: usize,
    records: std::ops::Range<usize>,
    ids: usize,
    body: &(dyn Fn(usize, usize) -> String + Sync),
) -> Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let mut statement = transaction.prepare_cached(
            "INSERT INTO records (scope, id, revision, body) VALUES ('account', ?, ?, ?) \
             ON CONFLICT (scope, id) DO UPDATE SET revision = excluded.revision, body = excluded.body",
        )?;
        for record in records {
            let id = format!("{thread}-{}", record % ids.max(1));
            statement.execute(params![id, record as i64, body(thread, record)])?;
        }
    }
    transaction.commit()?;
    Ok(())
}
