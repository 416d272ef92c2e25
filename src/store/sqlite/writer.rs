//! The one writer: a thread that commits waiting batches together.
//!
//! Batches that arrive while the disk is busy share the next transaction, each in a savepoint of its
//! own: one `fsync` acknowledges them all, and a conflict undoes its own batch only.

use std::time::{Duration, Instant};

use rusqlite::{CachedStatement, Connection, params};
use tokio::sync::{mpsc, oneshot};

use super::error::copy;
use super::feed::Followers;
use super::indexes;
use crate::store::{Batch, Change, Collection, Conflict, IndexSpec, Key, Op, Result, StoreError};

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
    pub catalog: std::sync::Arc<indexes::Catalog>,
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
        let before = self.revision;
        match self.commit_group(batches) {
            Ok((outcomes, changes)) => {
                self.followers.publish(&changes);
                for (reply, outcome) in replies.into_iter().zip(outcomes) {
                    let _ = reply.send(outcome);
                }
            }
            Err(error) => {
                // Nothing of the group is stored; revisions that were not stored may be given out again.
                self.revision = before;
                for reply in replies {
                    let _ = reply.send(Err(copy(&error)));
                }
            }
        }
        other
    }

    /// One transaction. An error means that nothing of it happened.
    fn commit_group(&mut self, batches: Vec<Batch>) -> Result<(Vec<Result<()>>, Vec<Change>)> {
        let transaction = self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let start = self.revision;
        let mut revision = start;
        let mut outcomes = Vec::with_capacity(batches.len());
        let mut changes = Vec::new();
        for batch in batches {
            transaction.prepare_cached("SAVEPOINT batch")?.execute([])?;
            let published = changes.len();
            let outcome = apply(&transaction, batch, &mut revision, &mut changes);
            if let Err(error) = outcome {
                // Some failures (a full disk) end the whole transaction.
                if transaction.is_autocommit() {
                    return Err(error);
                }
                changes.truncate(published);
                transaction.prepare_cached("ROLLBACK TO batch")?.execute([])?;
                outcomes.push(Err(error));
            } else {
                outcomes.push(Ok(()));
            }
            transaction.prepare_cached("RELEASE batch")?.execute([])?;
        }
        if revision != start {
            let stored = i64::try_from(revision).map_err(|error| StoreError::Failed(error.into()))?;
            transaction
                .prepare_cached("UPDATE store_state SET value = ? WHERE name = 'revision'")?
                .execute([stored])?;
        }
        transaction.commit()?;
        self.revision = revision;
        Ok((outcomes, changes))
    }
}

fn apply(connection: &Connection, batch: Batch, revision: &mut u64, changes: &mut Vec<Change>) -> Result<()> {
    for (position, op) in batch.ops.into_iter().enumerate() {
        if let Some(change) = apply_one(connection, op, position, revision)? {
            changes.push(change);
        }
    }
    Ok(())
}

/// Applies one operation; gives the change that followers are told.
fn apply_one(connection: &Connection, op: Op, position: usize, revision: &mut u64) -> Result<Option<Change>> {
    let conflict = || StoreError::Conflict(Conflict { op: position });
    let mut next_revision = || {
        *revision += 1;
        revision.cast_signed()
    };
    let (collection, key, written) = match op {
        Op::Insert { collection, key, body } => {
            let sql =
                "INSERT INTO {} (scope, id, revision, body) VALUES (?, ?, ?, ?) ON CONFLICT (scope, id) DO NOTHING";
            let written =
                prepare(connection, collection, sql)?.execute(params![key.scope, key.id, next_revision(), body])?;
            (collection, key, written)
        }
        Op::Put { collection, key, body } => {
            let sql = "INSERT INTO {} (scope, id, revision, body) VALUES (?, ?, ?, ?) \
                       ON CONFLICT (scope, id) DO UPDATE SET revision = excluded.revision, body = excluded.body";
            let written =
                prepare(connection, collection, sql)?.execute(params![key.scope, key.id, next_revision(), body])?;
            (collection, key, written)
        }
        Op::Replace { collection, key, body, revision } => {
            let sql = "UPDATE {} SET revision = ?, body = ? WHERE scope = ? AND id = ? AND revision = ?";
            let expected = revision.cast_signed();
            let written = prepare(connection, collection, sql)?.execute(params![
                next_revision(),
                body,
                key.scope,
                key.id,
                expected
            ])?;
            (collection, key, written)
        }
        Op::Delete { collection, key, revision: Some(revision) } => {
            let sql = "DELETE FROM {} WHERE scope = ? AND id = ? AND revision = ?";
            let written =
                prepare(connection, collection, sql)?.execute(params![key.scope, key.id, revision.cast_signed()])?;
            (collection, key, written)
        }
        Op::Delete { collection, key, revision: None } => {
            let sql = "DELETE FROM {} WHERE scope = ? AND id = ?";
            let written = prepare(connection, collection, sql)?.execute(params![key.scope, key.id])?;
            // Absent is fine, and no change.
            return Ok((written > 0).then_some(Change { collection, key }));
        }
        Op::Guard { collection, key, field, equals } => {
            return if holds(connection, collection, &key, &field, &equals)? { Ok(None) } else { Err(conflict()) };
        }
        Op::PutBlob { key, bytes } => {
            let sql = "INSERT INTO {} (scope, id, bytes) VALUES (?, ?, ?) \
                       ON CONFLICT (scope, id) DO UPDATE SET bytes = excluded.bytes";
            let written = connection.prepare_cached(&sql.replace("{}", Collection::Blobs.name()))?.execute(params![
                key.scope,
                key.id,
                bytes.as_ref()
            ])?;
            (Collection::Blobs, key, written)
        }
        Op::DeleteBlob { key } => {
            let sql = "DELETE FROM blobs WHERE scope = ? AND id = ?";
            let written = connection.prepare_cached(sql)?.execute(params![key.scope, key.id])?;
            return Ok((written > 0).then_some(Change { collection: Collection::Blobs, key }));
        }
    };
    if written == 0 { Err(conflict()) } else { Ok(Some(Change { collection, key })) }
}

/// The statement for a collection's table.
fn prepare<'c>(connection: &'c Connection, collection: Collection, sql: &str) -> Result<CachedStatement<'c>> {
    if collection == Collection::Blobs {
        return Err(StoreError::Invalid("blobs are written with PutBlob".to_owned()));
    }
    Ok(connection.prepare_cached(&sql.replace("{}", collection.name()))?)
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
