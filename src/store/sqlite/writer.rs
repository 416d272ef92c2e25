//! The one writer: a thread that commits waiting batches together.
//!
//! Batches that arrive while the disk is busy share the next transaction: one `fsync` acknowledges them all. A
//! conflict undoes its own batch only: the transaction is done again, each batch in a savepoint of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{CachedStatement, Connection, TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot};

use super::elements;
use super::error::copy;
use super::indexes;
use crate::store::followers::Followers;
use crate::store::{Batch, Collection, Conflict, IndexSpec, Key, Op, Result, StoreError};

/// Batches and operations in one transaction, at most.
const MAX_BATCHES: usize = 128;
const MAX_OPERATIONS: usize = 20_000;
/// How long building indexes rests after a failure (a full disk, say).
const BUILD_PAUSE: Duration = Duration::from_secs(30);

pub(super) type Reply = oneshot::Sender<Result<()>>;

pub(super) enum Request {
    Commit(Batch, Reply),
    CreateIndex(IndexSpec, Reply),
    DropIndex(Collection, String, Reply),
}

pub(super) struct Writer {
    pub connection: Connection,
    pub catalog: Arc<indexes::Catalog>,
    pub followers: Followers,
    /// The last revision given out.
    pub revision: u64,
}

impl Writer {
    /// Works until every sender is gone.
    pub(super) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut building = true;
        let mut build_not_before: Option<Instant> = None;
        let mut next = None;
        loop {
            let may_build = building && build_not_before.is_none_or(|time| time <= Instant::now());
            let request = match next.take() {
                Some(request) => Some(request),
                None if may_build => match requests.try_recv() {
                    Ok(request) => Some(request),
                    Err(mpsc::error::TryRecvError::Empty) => None,
                    Err(mpsc::error::TryRecvError::Disconnected) => break,
                },
                None => match requests.blocking_recv() {
                    Some(request) => Some(request),
                    None => break,
                },
            };
            match request {
                Some(Request::Commit(batch, reply)) => next = self.commit_waiting(batch, reply, &mut requests),
                Some(Request::CreateIndex(spec, reply)) => {
                    let outcome = indexes::create(&mut self.connection, &self.catalog, &spec);
                    building = true;
                    // A caller that went away does not mind.
                    let _ = reply.send(outcome);
                }
                Some(Request::DropIndex(collection, name, reply)) => {
                    let _ = reply.send(indexes::drop(&mut self.connection, &self.catalog, collection, &name));
                }
                None => {}
            }
            if may_build {
                match indexes::build_step(&mut self.connection, &self.catalog) {
                    Ok(more) => building = more,
                    Err(error) => {
                        tracing::error!(error = &error as &dyn std::error::Error, "an index could not be built");
                        build_not_before = Some(Instant::now() + BUILD_PAUSE);
                    }
                }
            }
        }
        self.followers.close();
    }

    /// Commits this batch and those that wait behind it; gives back the first request of another kind.
    fn commit_waiting(
        &mut self,
        batch: Batch,
        reply: Reply,
        requests: &mut mpsc::Receiver<Request>,
    ) -> Option<Request> {
        let mut operations = batch.len();
        let mut batches = vec![batch];
        let mut replies = vec![reply];
        let mut other = None;
        while batches.len() < MAX_BATCHES && operations < MAX_OPERATIONS {
            match requests.try_recv() {
                Ok(Request::Commit(batch, reply)) => {
                    operations += batch.len();
                    batches.push(batch);
                    replies.push(reply);
                }
                Ok(request) => {
                    other = Some(request);
                    break;
                }
                Err(_) => break,
            }
        }
        match self.commit_group(&batches) {
            Ok(Committed { outcomes, written }) => {
                let ops = batches.into_iter().flat_map(|batch| batch.ops);
                let changes = ops.zip(written).filter(|(_, written)| *written).map(|(op, _)| change(op));
                self.followers.publish(changes, self.revision);
                for (reply, outcome) in replies.into_iter().zip(outcomes) {
                    let _ = reply.send(outcome);
                }
            }
            Err(error) => {
                for reply in replies {
                    let _ = reply.send(Err(copy(&error)));
                }
            }
        }
        other
    }

    /// One transaction. An error means that nothing of it happened, and that revisions that were not stored may be
    /// given out again.
    fn commit_group(&mut self, batches: &[Batch]) -> Result<Committed> {
        // Failures are rare, and a savepoint keeps a copy of each page that its batch writes: first without.
        let catalog = Arc::clone(&self.catalog);
        let at_once = self.in_transaction(|transaction, revision| {
            let mut written = Vec::with_capacity(batches.iter().map(Batch::len).sum());
            for batch in batches {
                Applying::new(transaction, &catalog, revision).apply(batch, &mut written)?;
            }
            Ok(Committed { outcomes: batches.iter().map(|_| Ok(())).collect(), written })
        });
        match at_once {
            Err(_) if batches.len() > 1 => self.in_transaction(|transaction, revision| {
                let mut committed = Committed { outcomes: Vec::with_capacity(batches.len()), written: Vec::new() };
                for batch in batches {
                    Applying::new(transaction, &catalog, revision).apply_or_undo(batch, &mut committed)?;
                }
                Ok(committed)
            }),
            outcome => outcome,
        }
    }

    /// Runs `work` with the last revision that was given out, which it counts up.
    fn in_transaction(&mut self, work: impl FnOnce(&Connection, &mut u64) -> Result<Committed>) -> Result<Committed> {
        // Dropped without a commit it is rolled back.
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut revision = self.revision;
        let committed = work(&transaction, &mut revision)?;
        if revision != self.revision {
            let stored = i64::try_from(revision).map_err(|error| StoreError::Failed(error.into()))?;
            transaction
                .prepare_cached("UPDATE store_state SET value = ? WHERE name = 'revision'")?
                .execute([stored])?;
        }
        transaction.commit()?;
        self.revision = revision;
        Ok(committed)
    }
}

/// What became of a group of batches.
struct Committed {
    outcomes: Vec<Result<()>>,
    /// Whether followers are told of each operation, of all batches in order.
    written: Vec<bool>,
}

/// What the operations of one batch are applied with.
struct Applying<'c> {
    connection: &'c Connection,
    catalog: &'c indexes::Catalog,
    /// The last revision that was given out.
    revision: &'c mut u64,
    statements: Statements<'c>,
    /// The element indexes of the collection and scope that the last operation wrote.
    elements: Option<(Collection, &'c str, Vec<indexes::Index>)>,
}

impl<'c> Applying<'c> {
    fn new(connection: &'c Connection, catalog: &'c indexes::Catalog, revision: &'c mut u64) -> Self {
        Self { connection, catalog, revision, statements: Statements { connection, last: None }, elements: None }
    }

    /// Applies a batch, or nothing of it. An error ends the whole transaction.
    fn apply_or_undo(self, batch: &'c Batch, group: &mut Committed) -> Result<()> {
        let connection = self.connection;
        connection.prepare_cached("SAVEPOINT batch")?.execute([])?;
        let before = group.written.len();
        let outcome = self.apply(batch, &mut group.written);
        if let Err(error) = outcome {
            // Some failures (a full disk) end the whole transaction.
            if connection.is_autocommit() {
                return Err(error);
            }
            group.written.truncate(before);
            group.written.resize(before + batch.len(), false);
            connection.prepare_cached("ROLLBACK TO batch")?.execute([])?;
            group.outcomes.push(Err(error));
        } else {
            group.outcomes.push(Ok(()));
        }
        connection.prepare_cached("RELEASE batch")?.execute([])?;
        Ok(())
    }

    /// Applies the operations in order; notes for each whether followers are told.
    fn apply(mut self, batch: &'c Batch, written: &mut Vec<bool>) -> Result<()> {
        for (position, op) in batch.ops.iter().enumerate() {
            written.push(self.apply_one(op, position)?);
        }
        Ok(())
    }

    /// Applies one operation; whether it is a change that followers are told of.
    fn apply_one(&mut self, op: &'c Op, position: usize) -> Result<bool> {
        let written = match op {
            Op::Insert { collection, key, body } => {
                let sql =
                    "INSERT INTO {} (scope, id, revision, body) VALUES (?, ?, ?, ?) ON CONFLICT (scope, id) DO NOTHING";
                let revision = self.next_revision();
                let written =
                    self.statements.of(*collection, sql)?.execute(params![key.scope, key.id, revision, body])?;
                if written > 0 {
                    elements::follow(self.connection, self.elements_of(*collection, key), None, Some(body))?;
                }
                written
            }
            Op::Put { collection, key, body } => {
                let sql = "INSERT INTO {} (scope, id, revision, body) VALUES (?, ?, ?, ?) \
                           ON CONFLICT (scope, id) DO UPDATE SET revision = excluded.revision, body = excluded.body";
                let revision = self.next_revision();
                self.followed(*collection, key, Some(body), |statements| {
                    Ok(statements.of(*collection, sql)?.execute(params![key.scope, key.id, revision, body])?)
                })?
            }
            Op::Replace { collection, key, body, revision: expected } => {
                let sql = "UPDATE {} SET revision = ?, body = ? WHERE scope = ? AND id = ? AND revision = ?";
                let (revision, expected) = (self.next_revision(), expected.cast_signed());
                self.followed(*collection, key, Some(body), |statements| {
                    Ok(statements
                        .of(*collection, sql)?
                        .execute(params![revision, body, key.scope, key.id, expected])?)
                })?
            }
            Op::Delete { collection, key, revision: Some(expected) } => {
                let sql = "DELETE FROM {} WHERE scope = ? AND id = ? AND revision = ?";
                self.followed(*collection, key, None, |statements| {
                    Ok(statements.of(*collection, sql)?.execute(params![key.scope, key.id, expected.cast_signed()])?)
                })?
            }
            Op::Delete { collection, key, revision: None } => {
                let sql = "DELETE FROM {} WHERE scope = ? AND id = ?";
                // Absent is fine, and no change.
                return Ok(self.followed(*collection, key, None, |statements| {
                    Ok(statements.of(*collection, sql)?.execute(params![key.scope, key.id])?)
                })? > 0);
            }
            Op::Guard { collection, key, field, equals, .. } => {
                if !holds(self.connection, *collection, key, field, equals)? {
                    return Err(StoreError::Conflict(Conflict { op: position }));
                }
                return Ok(false);
            }
            Op::PutBlob { key, bytes } => {
                let sql = "INSERT INTO {} (scope, id, bytes) VALUES (?, ?, ?) \
                           ON CONFLICT (scope, id) DO UPDATE SET bytes = excluded.bytes";
                self.statements.get(Collection::Blobs, sql)?.execute(params![key.scope, key.id, bytes.as_ref()])?
            }
            Op::DeleteBlob { key } => {
                let sql = "DELETE FROM {} WHERE scope = ? AND id = ?";
                return Ok(self.statements.get(Collection::Blobs, sql)?.execute(params![key.scope, key.id])? > 0);
            }
        };
        if written == 0 { Err(StoreError::Conflict(Conflict { op: position })) } else { Ok(true) }
    }

    fn next_revision(&mut self) -> i64 {
        *self.revision += 1;
        self.revision.cast_signed()
    }

    /// Runs a write of a document that may be there already, and brings the element indexes after it.
    fn followed(
        &mut self,
        collection: Collection,
        key: &'c Key,
        body: Option<&str>,
        write: impl FnOnce(&mut Statements<'c>) -> Result<usize>,
    ) -> Result<usize> {
        if self.elements_of(collection, key).is_empty() {
            return write(&mut self.statements);
        }
        let before = elements::before(self.connection, collection, key)?;
        let written = write(&mut self.statements)?;
        if written > 0 {
            elements::follow(self.connection, self.elements_of(collection, key), before.as_ref(), body)?;
        }
        Ok(written)
    }

    fn elements_of(&mut self, collection: Collection, key: &'c Key) -> &[indexes::Index] {
        let known = self.elements.take().filter(|known| known.0 == collection && known.1 == key.scope);
        let look_up = || (collection, key.scope.as_str(), self.catalog.element_indexes(collection, &key.scope));
        &self.elements.insert(known.unwrap_or_else(look_up)).2
    }
}

/// What followers are told of an operation: what has changed, and the document that is there now.
fn change(op: Op) -> (Collection, Key, Option<String>) {
    match op {
        Op::Insert { collection, key, body }
        | Op::Put { collection, key, body }
        | Op::Replace { collection, key, body, .. } => (collection, key, Some(body)),
        Op::Delete { collection, key, .. } | Op::Guard { collection, key, .. } => (collection, key, None),
        Op::PutBlob { key, .. } | Op::DeleteBlob { key } => (Collection::Blobs, key, None),
    }
}

/// The statement for a collection's table.
fn prepare<'c>(connection: &'c Connection, collection: Collection, sql: &str) -> Result<CachedStatement<'c>> {
    Ok(connection.prepare_cached(&sql.replace("{}", collection.name()))?)
}

/// Prepared statements. The last one stays at hand: most batches are many operations of one kind.
struct Statements<'c> {
    connection: &'c Connection,
    last: Option<(Collection, &'static str, CachedStatement<'c>)>,
}

impl<'c> Statements<'c> {
    /// The statement for a collection of documents.
    fn of(&mut self, collection: Collection, sql: &'static str) -> Result<&mut CachedStatement<'c>> {
        if collection == Collection::Blobs {
            return Err(StoreError::Invalid("blobs are written with PutBlob".to_owned()));
        }
        self.get(collection, sql)
    }

    fn get(&mut self, collection: Collection, sql: &'static str) -> Result<&mut CachedStatement<'c>> {
        let last = match self.last.take() {
            Some(last) if last.0 == collection && last.1 == sql => last,
            // Put back first, for the next who needs it.
            other => {
                drop(other);
                (collection, sql, prepare(self.connection, collection, sql)?)
            }
        };
        Ok(&mut self.last.insert(last).2)
    }
}

/// Whether the document exists and its top-level field has this value.
fn holds(
    connection: &Connection,
    collection: Collection,
    key: &Key,
    field: &str,
    equals: &serde_json::Value,
) -> Result<bool> {
    let mut statement = prepare(connection, collection, "SELECT body FROM {} WHERE scope = ? AND id = ?")?;
    let mut rows = statement.query([&key.scope, &key.id])?;
    let Some(row) = rows.next()? else { return Ok(false) };
    let body: serde_json::Value = serde_json::from_str(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)
        .map_err(|error| StoreError::Corrupt(format!("{} {}/{}: {error}", collection.name(), key.scope, key.id)))?;
    Ok(body.get(field).is_some_and(|value| value == equals))
}
