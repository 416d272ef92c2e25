//! Documents in SQLite: the single node's store, one file in the data folder.
//!
//! Write-ahead logging with `synchronous = FULL`: an acknowledged commit is on the disk.
//! One thread writes ([`writer`]), a few connections read ([`readers`]), followers hear of every
//! commit through channels ([`feed`]). A lock on the folder keeps a second process out.

mod bench;
mod elements;
mod error;
mod indexes;
mod lock;
mod migrate;
mod paging;
mod readers;
mod snapshot;
mod sql;
#[cfg(test)]
mod tests;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension};
use tokio::sync::{mpsc, oneshot};

pub use bench::{BareLoop, BareRecord, BareTransaction, bare_append_loop};
pub use error::OpenError;
pub use lock::is_in_use;
pub use migrate::migration_status;

use self::error::closed;
use self::indexes::Catalog;
use self::lock::FolderLock;
use self::readers::Readers;
use self::snapshot::SqliteSnapshot;
use self::writer::{Reply, Request, Writer};
use super::followers::{FEED_CAPACITY, Followers};
use super::{
    Batch, ChangeFeed, Collection, Document, IndexInfo, IndexSpec, Key, Member, MemberState, Op, Page, Query, Result,
    Snapshot, Sort, Store, StoreError, StoreStatus, has_documents,
};

/// The store's file in the data folder.
pub const FILE_NAME: &str = "tango.db";

/// What tests change; the defaults are what production uses.
#[derive(Debug, Clone)]
pub struct Options {
    pub readers: usize,
    /// Events that a follower may be behind before it gets a `Gap`.
    pub feed_capacity: usize,
    /// The file grows to so many pages of 4 KiB, then the disk counts as full.
    pub max_pages: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self { readers: 4, feed_capacity: FEED_CAPACITY, max_pages: None }
    }
}

/// An open data folder. Dropping it writes what was accepted and lets the folder go.
pub struct SqliteStore {
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
    readers: Arc<Readers>,
    catalog: Arc<Catalog>,
    followers: Followers,
    /// Last, so that the folder is free only when everything is closed.
    _lock: FolderLock,
}

impl SqliteStore {
    /// Opens or creates the store in this folder, applies missing schema steps and resumes building indexes.
    pub fn open(data_dir: &Path) -> Result<Self, OpenError> {
        Self::open_with(data_dir, &Options::default())
    }

    pub fn open_with(data_dir: &Path, options: &Options) -> Result<Self, OpenError> {
        let lock = FolderLock::take(data_dir)?;
        let file = data_dir.join(FILE_NAME);
        let in_folder = |source: StoreError| OpenError::Store { folder: data_dir.to_owned(), source };
        let mut connection = open_writer(&file).map_err(in_folder)?;
        migrate::migrate(&mut connection, data_dir)?;
        if let Some(pages) = options.max_pages {
            connection.pragma_update(None, "max_page_count", pages).map_err(|error| in_folder(error.into()))?;
        }
        let catalog = Arc::new(Catalog::load(&connection).map_err(in_folder)?);
        let revision = connection
            .query_row("SELECT value FROM store_state WHERE name = 'revision'", [], |row| row.get::<_, i64>(0))
            .map_err(|error| in_folder(error.into()))?;
        let followers = Followers::new(options.feed_capacity);
        let writer = Writer {
            connection,
            catalog: Arc::clone(&catalog),
            followers: followers.clone(),
            revision: revision.unsigned_abs(),
        };
        let (requests, receiver) = mpsc::channel(256);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(receiver))
            .map_err(|source| OpenError::Folder { folder: data_dir.to_owned(), source })?;
        Ok(Self {
            requests: Some(requests),
            writer: Some(thread),
            readers: Arc::new(Readers::new(&file, options.readers)),
            catalog,
            followers,
            _lock: lock,
        })
    }

    async fn ask(&self, request: impl FnOnce(Reply) -> Request) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or_else(closed)?;
        requests.send(request(reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        // Closes the channel; the writer ends after what is in it.
        self.requests = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the store's writer had died");
        }
    }
}

fn open_writer(file: &Path) -> Result<Connection> {
    let connection = Connection::open(file)?;
    connection.set_prepared_statement_cache_capacity(256);
    keep_plans(&connection)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // 16 MB of log between checkpoints: fewer pauses, and still opened at once after a crash.
    connection.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.pragma_update(None, "cache_size", -32_768)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}

/// A prepared statement keeps its plan whatever values are bound to it. Otherwise SQLite, which is built with STAT4 here,
/// prepares it again and again.
fn keep_plans(connection: &Connection) -> Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Every body must be a JSON object: a broken one would make every later query of its collection fail.
fn check_bodies(batch: &Batch) -> Result<()> {
    for (position, op) in batch.ops.iter().enumerate() {
        if let Op::Insert { body, .. } | Op::Put { body, .. } | Op::Replace { body, .. } = op
            && (!body.starts_with('{') || serde_json::from_str::<serde::de::IgnoredAny>(body).is_err())
        {
            return Err(StoreError::Invalid(format!(
                "operation {position} of the batch has a body that is no JSON object"
            )));
        }
    }
    Ok(())
}

fn get_all(connection: &Connection, collection: Collection, keys: Vec<Key>) -> Result<Vec<Option<Document>>> {
    let sql = format!("SELECT revision, body FROM {} WHERE scope = ? AND id = ?", collection.name());
    let mut statement = connection.prepare_cached(&sql)?;
    let documents = keys.into_iter().map(|key| {
        let mut rows = statement.query([&key.scope, &key.id])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        Ok(Some(Document { revision: row.get::<_, i64>(0)?.unsigned_abs(), body: row.get(1)?, key }))
    });
    documents.collect()
}

#[async_trait]
impl Store for SqliteStore {
    async fn get(&self, collection: Collection, key: &Key) -> Result<Option<Document>> {
        has_documents(collection)?;
        let keys = vec![key.clone()];
        let documents = self.readers.read(move |connection| get_all(connection, collection, keys)).await?;
        Ok(documents.into_iter().flatten().next())
    }

    async fn get_many(&self, collection: Collection, keys: &[Key]) -> Result<Vec<Option<Document>>> {
        has_documents(collection)?;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let keys = keys.to_vec();
        self.readers
            .read(move |connection| {
                // One transaction: all documents as of one moment.
                let snapshot = connection.transaction()?;
                get_all(&snapshot, collection, keys)
            })
            .await
    }

    async fn find(&self, query: &Query) -> Result<Page> {
        has_documents(query.collection)?;
        if query.limit == 0 {
            return Ok(Page::default());
        }
        let (query, catalog) = (query.clone(), Arc::clone(&self.catalog));
        self.readers
            .read(move |connection| {
                // One transaction: a page of two ranges is as of one moment.
                let snapshot = connection.transaction()?;
                retry_when_dropped(|| {
                    let statements = paging::statements(&query, &catalog)?;
                    let page = paging::page(&snapshot, &statements, &query)?;
                    for sql in &statements {
                        catalog.count_uses(&snapshot, &sql.text)?;
                    }
                    Ok(page)
                })
            })
            .await
    }

    async fn count(&self, query: &Query) -> Result<u64> {
        has_documents(query.collection)?;
        // The order does not matter, and must not choose the index.
        let query = Query { sort: Sort { path: None, descending: false }, ..query.clone() };
        let catalog = Arc::clone(&self.catalog);
        self.readers
            .read(move |connection| {
                retry_when_dropped(|| {
                    let selection = paging::selection(&query, &catalog)?;
                    let sql = format!("SELECT COUNT(*){}", selection.text);
                    catalog.count_uses(connection, &sql)?;
                    readers::with_statement(connection, &sql, |statement| {
                        let values = rusqlite::params_from_iter(&selection.values);
                        Ok(statement.query_row(values, |row| row.get::<_, i64>(0))?.unsigned_abs())
                    })
                })
            })
            .await
    }

    async fn commit(&self, batch: Batch) -> Result<()> {
        check_bodies(&batch)?;
        if batch.is_empty() {
            return Ok(());
        }
        self.ask(|reply| Request::Commit(batch, reply)).await
    }

    async fn get_blobs(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        let keys = keys.to_vec();
        self.readers
            .read(move |connection| {
                let mut statement = connection.prepare_cached("SELECT bytes FROM blobs WHERE scope = ? AND id = ?")?;
                let blobs = keys.iter().map(|Key { scope, id }| {
                    let bytes = statement.query_row([scope, id], |row| row.get::<_, Vec<u8>>(0)).optional()?;
                    Ok(bytes.map(Bytes::from))
                });
                blobs.collect()
            })
            .await
    }

    async fn list_blobs(&self, scope: &str) -> Result<Vec<String>> {
        let scope = scope.to_owned();
        self.readers
            .read(move |connection| {
                let mut statement = connection.prepare_cached("SELECT id FROM blobs WHERE scope = ? ORDER BY id")?;
                let ids = statement.query_map([scope], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
                Ok(ids)
            })
            .await
    }

    async fn create_index(&self, spec: IndexSpec) -> Result<()> {
        self.ask(|reply| Request::CreateIndex(spec, reply)).await
    }

    async fn drop_index(&self, collection: Collection, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.ask(|reply| Request::DropIndex(collection, name, reply)).await
    }

    async fn indexes(&self, collection: Collection) -> Result<Vec<IndexInfo>> {
        let catalog = Arc::clone(&self.catalog);
        self.readers.read(move |connection| catalog.list(connection, collection)).await
    }

    async fn changes(&self, collections: &[Collection]) -> Result<ChangeFeed> {
        Ok(self.followers.follow(collections, 0))
    }

    fn status(&self) -> StoreStatus {
        let writable = self.requests.as_ref().is_some_and(|requests| !requests.is_closed());
        let state = if writable { MemberState::Primary } else { MemberState::Unreachable };
        let members = vec![Member { address: "embedded".to_owned(), state }];
        StoreStatus { writable, members, feed_lag: Some(Duration::ZERO) }
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        Ok(Box::new(SqliteSnapshot::begin(self.readers.file()).await?))
    }

    async fn ping(&self) -> Result<()> {
        if self.requests.as_ref().is_none_or(mpsc::Sender::is_closed) {
            return Err(closed());
        }
        self.readers
            .read(|connection| {
                let mut statement =
                    connection.prepare_cached("SELECT value FROM store_state WHERE name = 'revision'")?;
                statement.query_row([], |_| Ok(()))?;
                Ok(())
            })
            .await
    }
}

/// An index table may be dropped between writing a statement and running it: written again, it does without.
fn retry_when_dropped<T>(work: impl Fn() -> Result<T>) -> Result<T> {
    let answer = work();
    match &answer {
        Err(StoreError::Failed(source)) if is_dropped(&source.to_string()) => work(),
        _ => answer,
    }
}

fn is_dropped(message: &str) -> bool {
    message.contains("no such table") || message.contains("no such index")
}
