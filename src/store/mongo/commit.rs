//! Atomic batches as transactions.
//!
//! Operations are grouped into as few commands as their order permits. Each batch is one transaction on a snapshot, acknowledged by
//! the majority. A transaction that an election or another writer broke off is run again; a commit whose outcome is
//! unknown is asked for again on its own session, which MongoDB answers truthfully: so a batch happens once or not at all.

use std::collections::HashMap;
use std::time::Duration;

use mongodb::bson::{Bson, Document as Bdoc, RawArrayBuf, RawDocumentBuf, doc};
use mongodb::error::Error;
use mongodb::options::{ReadConcern, TransactionOptions};
use mongodb::{ClientSession, Database};
use serde_json::Value;
use tokio::time::Instant;

use super::MongoStore;
use super::connect::majority;
use super::error::{Meaning, meaning, store_error};
use super::filter;
use crate::store::bson::{encode, encode_blob, encode_key, escape};
use crate::store::{Batch, Collection, Conflict, Key, Op, Result, StoreError};

/// One command holds at most so many operations and bytes.
const MAX_GROUP_OPERATIONS: usize = 5_000;
const MAX_GROUP_BYTES: usize = 12 << 20;
/// A command that takes longer hangs on a member that does not answer.
const COMMAND_PATIENCE: Duration = Duration::from_secs(5);
/// Large batches take their time: this much more for each megabyte.
const PATIENCE_PER_MEGABYTE: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Insert,
    /// Replace, Put and PutBlob: each names what it replaces.
    Write,
    Delete,
    Guard,
    SharedGuard,
}

/// Operations of one kind on one collection, which one command carries out.
struct Group {
    collection: Collection,
    kind: Kind,
    statements: Vec<Statement>,
    bytes: usize,
}

struct Statement {
    /// Of the operation in the batch.
    position: usize,
    key: Key,
    /// What an insert stores, what an update or delete does, or what a shared guard looks for.
    command: RawDocumentBuf,
    /// The operation has a precondition.
    conditional: bool,
    /// The revision of what a conditional delete deletes.
    deleted: Option<u64>,
}

/// A batch, ready to be sent as often as needed.
struct Plan {
    groups: Vec<Group>,
    /// The revision of everything that this batch writes.
    revision: u64,
    bytes: usize,
}

impl Plan {
    fn new(batch: &Batch) -> Result<Self> {
        let revision = new_revision()?;
        let mut plan = Plan { groups: Vec::new(), revision, bytes: 0 };
        // The last group that has the key: later operations on it come after that group.
        let mut last: HashMap<(Collection, &Key), usize> = HashMap::with_capacity(batch.len());
        for (position, op) in batch.ops.iter().enumerate() {
            let (collection, kind, key) = target(op)?;
            let command = raw(statement(op, revision)?)?;
            let deleted = if let Op::Delete { revision, .. } = op { *revision } else { None };
            let conditional = matches!(op, Op::Replace { .. } | Op::Guard { .. }) || deleted.is_some();
            let from = last.get(&(collection, key)).map_or(0, |group| group + 1);
            let size = command.as_bytes().len();
            let fits = |group: &Group| {
                group.collection == collection
                    && group.kind == kind
                    && group.statements.len() < MAX_GROUP_OPERATIONS
                    && group.bytes + size <= MAX_GROUP_BYTES
            };
            let at = match (from..plan.groups.len()).find(|at| fits(&plan.groups[*at])) {
                Some(at) => at,
                None => {
                    plan.groups.push(Group { collection, kind, statements: Vec::new(), bytes: 0 });
                    plan.groups.len() - 1
                }
            };
            let group = &mut plan.groups[at];
            group.bytes += size;
            group.statements.push(Statement { position, key: key.clone(), command, conditional, deleted });
            plan.bytes += size;
            last.insert((collection, key), at);
        }
        Ok(plan)
    }
}

/// Random, so that no node has to ask another for the next one. Never 0.
fn new_revision() -> Result<u64> {
    let random = getrandom::u64().map_err(|error| StoreError::Failed(anyhow::anyhow!("no random numbers: {error}")))?;
    Ok((random >> 1).max(1))
}

fn target(op: &Op) -> Result<(Collection, Kind, &Key)> {
    let (collection, kind, key) = match op {
        Op::Insert { collection, key, .. } => (*collection, Kind::Insert, key),
        Op::Put { collection, key, .. } | Op::Replace { collection, key, .. } => (*collection, Kind::Write, key),
        Op::Delete { collection, key, .. } => (*collection, Kind::Delete, key),
        Op::Guard { collection, key, shared, .. } => {
            (*collection, if *shared { Kind::SharedGuard } else { Kind::Guard }, key)
        }
        Op::PutBlob { key, .. } => return Ok((Collection::Blobs, Kind::Write, key)),
        Op::DeleteBlob { key } => return Ok((Collection::Blobs, Kind::Delete, key)),
    };
    if collection == Collection::Blobs {
        return Err(StoreError::Invalid("blobs are written with PutBlob".to_owned()));
    }
    Ok((collection, kind, key))
}

/// The document of an insert, the statement of an update or a delete.
fn statement(op: &Op, revision: u64) -> Result<Vec<u8>> {
    let replacement = |key: &Key, expected: Option<u64>, body: Vec<u8>| -> Result<Vec<u8>> {
        let mut filter = doc! { "_id": encode_key(key) };
        if let Some(expected) = expected {
            filter.insert("r", expected.cast_signed());
        }
        let mut statement = RawDocumentBuf::new();
        statement.append(c("q"), to_raw(&filter)?);
        statement.append(c("u"), raw(body)?);
        statement.append(c("upsert"), expected.is_none());
        Ok(statement.into_bytes())
    };
    match op {
        Op::Insert { key, body, .. } => encode(key, revision, body),
        Op::Put { key, body, .. } => replacement(key, None, encode(key, revision, body)?),
        Op::Replace { key, body, revision: expected, .. } => {
            replacement(key, Some(*expected), encode(key, revision, body)?)
        }
        Op::PutBlob { key, bytes } => replacement(key, None, encode_blob(key, bytes)?),
        Op::Delete { key, revision: expected, .. } => {
            let mut filter = doc! { "_id": encode_key(key) };
            if let Some(expected) = expected {
                filter.insert("r", expected.cast_signed());
            }
            Ok(to_raw(&doc! { "q": filter, "limit": 1 })?.into_bytes())
        }
        Op::DeleteBlob { key } => Ok(to_raw(&doc! { "q": { "_id": encode_key(key) }, "limit": 1 })?.into_bytes()),
        Op::Guard { key, field, equals, shared, .. } => {
            let path = format!("v.{}", escape(field));
            let holds = match equals {
                Value::Null => doc! { path: { "$type": "null" } },
                other => match filter::scalar(other) {
                    Some(value) => doc! { path.as_str(): { "$eq": value, "$not": { "$type": "array" } } },
                    None => {
                        return Err(StoreError::Invalid("a guard compares a text, a number or a Boolean".to_owned()));
                    }
                },
            };
            let mut filter = doc! { "_id": encode_key(key) };
            filter.extend(holds);
            if *shared {
                return Ok(to_raw(&filter)?.into_bytes());
            }
            // A real write of a member that nobody reads: without it two transactions could pass each other, one that
            // takes the job over and one that is guarded by it.
            let mark = doc! { "$set": { "g": revision.cast_signed() } };
            Ok(to_raw(&doc! { "q": filter, "u": mark })?.into_bytes())
        }
    }
}

fn c(name: &'static str) -> &'static mongodb::bson::raw::CStr {
    name.try_into().expect("the names of command fields hold no NUL")
}

fn raw(bytes: Vec<u8>) -> Result<RawDocumentBuf> {
    RawDocumentBuf::from_bytes(bytes).map_err(|error| StoreError::Failed(error.into()))
}

fn to_raw(document: &Bdoc) -> Result<RawDocumentBuf> {
    RawDocumentBuf::try_from(document).map_err(|error| StoreError::Failed(error.into()))
}

/// Why an attempt ended.
enum Failure {
    Driver(Error),
    Store(StoreError),
    /// A member did not answer in time.
    TookTooLong,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Driver(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::Store(error)
    }
}

/// Commits the batch, waiting for the end of an election if need be.
pub(super) async fn commit(store: &MongoStore, batch: &Batch) -> Result<()> {
    let plan = Plan::new(batch)?;
    let started = Instant::now();
    let mut last = None;
    tokio::select! {
        outcome = commit_until_it_works(store, &plan, &mut last) => outcome,
        () = store.health.out_of_patience(started) => {
            Err(last.take().unwrap_or_else(|| StoreError::Unavailable(anyhow::anyhow!("MongoDB does not answer"))))
        }
    }
}

async fn commit_until_it_works(store: &MongoStore, plan: &Plan, last: &mut Option<StoreError>) -> Result<()> {
    let patience = COMMAND_PATIENCE + PATIENCE_PER_MEGABYTE * u32::try_from(plan.bytes >> 20).unwrap_or(u32::MAX);
    let (mut tries, started) = (0_u32, Instant::now());
    loop {
        let error = match attempt(store, plan, patience).await {
            Ok(()) => return Ok(()),
            Err(Failure::Store(error)) => return Err(error),
            Err(Failure::TookTooLong) => StoreError::Unavailable(anyhow::anyhow!("MongoDB takes too long to answer")),
            Err(Failure::Driver(error)) => match meaning(&error) {
                Meaning::Final => return Err(store_error(error)),
                Meaning::Again | Meaning::Unknown => store_error(error),
            },
        };
        tracing::debug!(error = &error as &dyn std::error::Error, tries, "a transaction is run again");
        *last = Some(error);
        store.abandoned.make_way(started).await;
        pause(tries).await;
        tries += 1;
    }
}

/// Doubles up to 100 ms, and varies, so that writers who met do not meet again.
async fn pause(tries: u32) {
    let longest = 100_000.min(2_000_u64 << tries.min(6));
    let random = u64::from(getrandom::u32().unwrap_or(u32::MAX));
    tokio::time::sleep(Duration::from_micros(longest / 2 + longest / 2 * random / u64::from(u32::MAX))).await;
}

async fn attempt(store: &MongoStore, plan: &Plan, patience: Duration) -> Result<(), Failure> {
    let mut session = store.client.start_session().await?;
    let options = TransactionOptions::builder()
        .read_concern(ReadConcern::snapshot())
        .write_concern(majority())
        .max_commit_time(COMMAND_PATIENCE)
        .build();
    session.start_transaction().with_options(options).await?;
    for group in &plan.groups {
        let applied = tokio::time::timeout(patience, apply(&store.database, &mut session, group, plan.revision)).await;
        match applied {
            Ok(Ok(())) => {}
            // Dropping the session aborts the transaction.
            Ok(Err(failure)) => return Err(failure),
            Err(_) => return Err(Failure::TookTooLong),
        }
    }
    loop {
        match tokio::time::timeout(patience, session.commit_transaction()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) if meaning(&error) == Meaning::Unknown => {
                tracing::debug!(%error, "the outcome of a commit is asked for again");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(Err(error)) => return Err(error.into()),
            // The session knows that the commit was sent: the next call asks for its outcome.
            Err(_) => {}
        }
    }
}

/// Carries out one group of the transaction.
async fn apply(db: &Database, session: &mut ClientSession, group: &Group, revision: u64) -> Result<(), Failure> {
    let (verb, list) = match group.kind {
        Kind::Insert => ("insert", "documents"),
        Kind::Write | Kind::Guard => ("update", "updates"),
        Kind::Delete => ("delete", "deletes"),
        Kind::SharedGuard => return hold(db, session, group).await,
    };
    if group.kind == Kind::Delete {
        check_deleted(db, session, group).await?;
    }
    let mut statements = RawArrayBuf::new();
    for statement in &group.statements {
        statements.push(statement.command.clone());
    }
    let mut command = RawDocumentBuf::new();
    command.append(c(verb), group.collection.name());
    command.append(c("ordered"), true);
    command.append(c(list), statements);
    let answer = db.run_raw_command(command).session(&mut *session).await?;
    if let Ok(errors) = answer.get_array("writeErrors")
        && let Some(Bson::Document(first)) = errors.first()
    {
        return Err(write_error(group, first));
    }
    let written = answer.get("n").and_then(number).unwrap_or(0);
    let conditional = group.statements.iter().any(|statement| statement.conditional);
    if conditional && group.kind != Kind::Delete && written < group.statements.len() as u64 {
        let position = unmet(db, session, group, revision).await?;
        return Err(StoreError::Conflict(Conflict { op: position }).into());
    }
    Ok(())
}

/// Looks whether what is to be deleted is there as it should be: afterwards nobody could tell what was deleted from what was never there.
/// One look for all of them, as each command is a round trip on which others wait.
async fn check_deleted(db: &Database, session: &mut ClientSession, group: &Group) -> Result<(), Failure> {
    let conditional: Vec<&Statement> = group.statements.iter().filter(|statement| statement.conditional).collect();
    if conditional.is_empty() {
        return Ok(());
    }
    let ids: Vec<Bson> = conditional.iter().map(|statement| Bson::Document(encode_key(&statement.key))).collect();
    let collection = db.collection::<Bdoc>(group.collection.name());
    let find = collection.find(doc! { "_id": { "$in": ids } }).projection(doc! { "r": 1 });
    let all_at_once = u32::try_from(conditional.len()).unwrap_or(u32::MAX);
    let mut found = find.batch_size(all_at_once).session(&mut *session).await?;
    let mut there = HashMap::with_capacity(conditional.len());
    while let Some(document) = found.next(&mut *session).await.transpose()? {
        if let (Ok(id), Ok(revision)) = (document.get_document("_id"), document.get_i64("r"))
            && let (Ok(scope), Ok(id)) = (id.get_str("s"), id.get_str("i"))
        {
            there.insert(Key::new(scope, id), revision.cast_unsigned());
        }
    }
    match conditional.iter().find(|statement| there.get(&statement.key).copied() != statement.deleted) {
        Some(unmet) => Err(StoreError::Conflict(Conflict { op: unmet.position }).into()),
        None => Ok(()),
    }
}

/// Looks at what shared guards name, in the transaction's snapshot.
async fn hold(db: &Database, session: &mut ClientSession, group: &Group) -> Result<(), Failure> {
    let collection = db.collection::<Bdoc>(group.collection.name());
    for statement in &group.statements {
        let filter = Bdoc::try_from(&statement.command).map_err(|error| StoreError::Failed(error.into()))?;
        let found = collection.find_one(filter).projection(doc! { "_id": 1 }).session(&mut *session).await?;
        if found.is_none() {
            return Err(StoreError::Conflict(Conflict { op: statement.position }).into());
        }
    }
    Ok(())
}

fn number(value: &Bson) -> Option<u64> {
    match value {
        Bson::Int32(number) => u64::try_from(*number).ok(),
        Bson::Int64(number) => u64::try_from(*number).ok(),
        Bson::Double(number) => Some(*number as u64),
        _ => None,
    }
}

fn write_error(group: &Group, error: &Bdoc) -> Failure {
    const DUPLICATE_KEY: u64 = 11_000;
    let code = error.get("code").and_then(number).unwrap_or(0);
    let index = error.get("index").and_then(number).and_then(|index| usize::try_from(index).ok()).unwrap_or(0);
    let position = group.statements.get(index).map_or(0, |statement| statement.position);
    if code == DUPLICATE_KEY && group.kind == Kind::Insert {
        return StoreError::Conflict(Conflict { op: position }).into();
    }
    let message = error.get_str("errmsg").unwrap_or("no reason given");
    // An upsert that met another's insert, a conflict with another transaction: the next attempt sees it.
    if matches!(code, DUPLICATE_KEY | 112 | 24) {
        return Failure::TookTooLong;
    }
    if code == 14_031 || message.contains("No space left on device") {
        return StoreError::Full(anyhow::anyhow!(message.to_owned())).into();
    }
    StoreError::Failed(anyhow::anyhow!("{}: {message} (code {code})", group.collection.name())).into()
}

/// The first operation of a group whose precondition did not hold, as the transaction sees it: what the group wrote has the
/// batch's revision (or mark).
async fn unmet(db: &Database, session: &mut ClientSession, group: &Group, revision: u64) -> Result<usize, Failure> {
    let ids: Vec<Bson> = group.statements.iter().map(|statement| Bson::Document(encode_key(&statement.key))).collect();
    let collection = db.collection::<Bdoc>(group.collection.name());
    let mut found = collection
        .find(doc! { "_id": { "$in": ids } })
        .projection(doc! { "r": 1, "g": 1 })
        .session(&mut *session)
        .await?;
    let mark = if group.kind == Kind::Guard { "g" } else { "r" };
    let mut met = std::collections::HashSet::new();
    while let Some(document) = found.next(&mut *session).await.transpose()? {
        if let Ok(id) = document.get_document("_id")
            && document.get_i64(mark).ok() == Some(revision.cast_signed())
            && let (Ok(scope), Ok(id)) = (id.get_str("s"), id.get_str("i"))
        {
            met.insert(Key::new(scope, id));
        }
    }
    let unmet = group.statements.iter().find(|statement| statement.conditional && !met.contains(&statement.key));
    Ok(unmet.map_or(0, |statement| statement.position))
}
