//! Documents in a MongoDB replica set: the cluster's store.
//!
//! Every write is a transaction that a majority has in its journal before it is acknowledged ([`commit`]). Reads see what a majority
//! has. Each call has a deadline, which the driver has not: while most members answer, an election is waited for; when
//! they do not, writes are refused soon, and reads are answered by any member.

mod abandoned;
mod bench;
mod commit;
mod connect;
mod error;
mod feed;
mod filter;
mod health;
mod indexes;
mod migrate;
mod paging;
pub mod replica_set;
mod snapshot;
#[cfg(test)]
mod tests;

use std::future::IntoFuture as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mongodb::bson::{Bson, RawDocumentBuf, doc};
use mongodb::options::{ReadPreference, SelectionCriteria};
use mongodb::{Client, Cursor, Database};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use bench::PlainLoops;
pub use connect::MongoSettings;
pub use error::OpenError;

use self::abandoned::Abandoned;
use self::error::{Meaning, meaning, store_error};
use self::feed::Freshness;
use self::health::Health;
use self::snapshot::MongoSnapshot;
use super::bson::{decode, decode_blob, encode_key};
use super::followers::{FEED_CAPACITY, Followers};
use super::{
    Batch, ChangeFeed, Collection, Document, IndexInfo, IndexSpec, Key, MigrationStatus, Page, Query, Result, Snapshot,
    Sort, Store, StoreError, StoreStatus, has_documents,
};
use crate::domain::Timestamp;

/// How long members are waited for, attempt by attempt: the first one may have been suspended.
const ATTEMPTS: [Duration; 3] = [Duration::from_millis(1_500), Duration::from_secs(5), Duration::from_secs(30)];
/// Keys looked up in one command.
const MAX_KEYS: usize = 10_000;

/// An open replica set. Dropping it ends its background tasks.
pub struct MongoStore {
    client: Client,
    database: Database,
    health: Health,
    abandoned: Abandoned,
    followers: Followers,
    freshness: Freshness,
    build_indexes: Arc<Notify>,
    _stop: DropGuard,
}

/// How fresh a read has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Freshest {
    /// From the primary while most members answer: a decision is made from it.
    Primary,
    /// From the primary when there is one; a secondary during an election.
    WhoeverAnswers,
}

/// One try of a read.
struct Attempt {
    criteria: SelectionCriteria,
    /// The server gives up after it, too.
    max_time: Duration,
}

impl MongoStore {
    /// Connects, checks, applies missing schema steps and follows changes. `now` is this machine's clock.
    ///
    /// Also while most members are away, when no step is missing: sign-in and scores need nothing but reads.
    pub async fn open(settings: &MongoSettings, now: Timestamp) -> Result<Self, OpenError> {
        let connection = connect::connect(settings, now).await?;
        let connect::Connection { client, app_name, database, health, hosts, is_writable } = connection;
        if is_writable {
            migrate::migrate(&database).await?;
        } else if migrate::usable(&database).await?.pending.is_empty() {
            tracing::warn!(%hosts, "most members of the replica set are away: this process starts on what it can read, and cannot write");
        } else {
            return Err(OpenError::NoPrimary { hosts });
        }
        let start = operation_time(&database).await.map_err(store_error)?;
        let stop = CancellationToken::new();
        let (followers, freshness) = (Followers::new(FEED_CAPACITY), Freshness::default());
        let build_indexes = Arc::new(Notify::new());
        tokio::spawn(feed::follow(database.clone(), start, followers.clone(), freshness.clone(), stop.clone()));
        tokio::spawn(indexes::keep(database.clone(), Arc::clone(&build_indexes), stop.clone()));
        tokio::spawn(health.clone().look_when_deserted(database.clone(), stop.clone()));
        if !is_writable {
            tokio::spawn(reload_from_primary(health.clone(), followers.clone(), stop.clone()));
        }
        let abandoned = Abandoned::new(client.clone(), app_name);
        Ok(Self { client, database, health, abandoned, followers, freshness, build_indexes, _stop: stop.drop_guard() })
    }

    /// Everything that would make [`MongoStore::open`] fail, and which steps it would apply. Changes nothing.
    pub async fn check(settings: &MongoSettings, now: Timestamp) -> Result<MigrationStatus, OpenError> {
        let connection = connect::connect(settings, now).await?;
        if !connection.is_writable {
            return Err(OpenError::NoPrimary { hosts: connection.hosts });
        }
        migrate::usable(&connection.database).await
    }

    /// The database, for questions about the replica set itself.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Removes everything. For benchmarks, on a database of their own.
    pub async fn drop_database(&self) -> Result<()> {
        self.database.drop().await.map_err(store_error)
    }

    fn collection(&self, collection: Collection) -> mongodb::Collection<RawDocumentBuf> {
        self.database.collection(collection.name())
    }

    /// Reads until there is an answer, as long as it makes sense to wait.
    async fn read<T, F>(&self, freshest: Freshest, attempt: impl FnMut(Attempt) -> F + Send) -> Result<T>
    where
        F: Future<Output = mongodb::error::Result<T>> + Send,
    {
        tokio::select! {
            answer = self.read_until_it_works(freshest, attempt) => answer,
            () = self.health.deserted() => {
                Err(StoreError::Unavailable(anyhow::anyhow!("no member of the replica set answers")))
            }
        }
    }

    async fn read_until_it_works<T, F>(
        &self,
        freshest: Freshest,
        mut attempt: impl FnMut(Attempt) -> F + Send,
    ) -> Result<T>
    where
        F: Future<Output = mongodb::error::Result<T>> + Send,
    {
        let started = Instant::now();
        let mut patience = ATTEMPTS.into_iter();
        let mut max_time = ATTEMPTS[0];
        loop {
            max_time = patience.next().unwrap_or(max_time);
            let again = max_time != ATTEMPTS[0];
            let preference = match freshest {
                Freshest::Primary if self.health.has_majority() => ReadPreference::Primary,
                Freshest::WhoeverAnswers if again => ReadPreference::Nearest { options: None },
                _ => ReadPreference::PrimaryPreferred { options: None },
            };
            let answer = attempt(Attempt { criteria: preference.into(), max_time });
            let error = match tokio::time::timeout(max_time, answer).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) if meaning(&error) == Meaning::Final => return Err(store_error(error)),
                Ok(Err(error)) => store_error(error),
                Err(_) => StoreError::Unavailable(anyhow::anyhow!("MongoDB takes too long to answer")),
            };
            if started.elapsed() > health::ELECTION_PATIENCE {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Those of the keys' documents that exist, in no order.
    async fn with_keys(&self, collection: Collection, keys: &[Key], freshest: Freshest) -> Result<Vec<RawDocumentBuf>> {
        let documents = self.collection(collection);
        let mut all = Vec::with_capacity(keys.len());
        for some in keys.chunks(MAX_KEYS) {
            let ids: Vec<Bson> = some.iter().map(|key| Bson::Document(encode_key(key))).collect();
            let read = self.read(freshest, |attempt| {
                let find = documents.find(doc! { "_id": { "$in": ids.clone() } });
                let find = find.selection_criteria(attempt.criteria).max_time(attempt.max_time).into_future();
                async move { collect(find.await?).await }
            });
            all.extend(read.await?);
        }
        Ok(all)
    }

    /// The documents of one range, in its order.
    async fn range(&self, collection: Collection, range: &paging::Range, limit: usize) -> Result<Vec<Document>> {
        let documents = self.collection(collection);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let found = self.read(Freshest::WhoeverAnswers, |attempt| {
            let find = documents.find(range.filter.clone()).sort(range.sort.clone()).limit(limit);
            let find = find.selection_criteria(attempt.criteria).max_time(attempt.max_time).into_future();
            async move { collect(find.await?).await }
        });
        found.await?.iter().map(|raw| decode(raw)).collect()
    }
}

/// What was loaded at a start without a primary may be older than the place where the feed began: all of it is loaded again, once
/// there is a primary.
async fn reload_from_primary(health: Health, followers: Followers, stop: CancellationToken) {
    if stop.run_until_cancelled(health.writable()).await.is_some() {
        followers.publish_gap();
    }
}

/// The primary's logical time; without a primary that of a member that answers.
async fn operation_time(db: &Database) -> mongodb::error::Result<mongodb::bson::Timestamp> {
    let answer = db.run_command(doc! { "ping": 1 }).selection_criteria(connect::primary_if_any()).await?;
    Ok(answer.get_timestamp("operationTime").unwrap_or(mongodb::bson::Timestamp { time: 0, increment: 1 }))
}

/// Reads a cursor to its end.
async fn collect(mut cursor: Cursor<RawDocumentBuf>) -> mongodb::error::Result<Vec<RawDocumentBuf>> {
    let mut all = Vec::new();
    while cursor.advance().await? {
        all.push(cursor.current().to_owned());
    }
    Ok(all)
}

fn id_alone(raw: &mongodb::bson::RawDocument) -> Result<String> {
    let key = raw.get_document("_id").map_err(|error| StoreError::Corrupt(error.to_string()))?;
    Ok(super::bson::decode_key(key)?.id)
}

#[async_trait]
impl Store for MongoStore {
    async fn get(&self, collection: Collection, key: &Key) -> Result<Option<Document>> {
        has_documents(collection)?;
        let documents = self.collection(collection);
        let found = self
            .read(Freshest::WhoeverAnswers, |attempt| {
                documents
                    .find_one(doc! { "_id": encode_key(key) })
                    .selection_criteria(attempt.criteria)
                    .max_time(attempt.max_time)
                    .into_future()
            })
            .await?;
        found.map(|raw| decode(&raw)).transpose()
    }

    async fn get_many(&self, collection: Collection, keys: &[Key]) -> Result<Vec<Option<Document>>> {
        has_documents(collection)?;
        let mut found = std::collections::HashMap::with_capacity(keys.len());
        for raw in self.with_keys(collection, keys, Freshest::Primary).await? {
            let document = decode(&raw)?;
            found.insert(document.key.clone(), document);
        }
        Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
    }

    async fn find(&self, query: &Query) -> Result<Page> {
        has_documents(query.collection)?;
        if query.limit == 0 {
            return Ok(Page::default());
        }
        let mut documents = Vec::new();
        for ranges in paging::ranges(query)? {
            // One more than asked for tells whether there is a next page.
            let missing = (query.limit + 1).saturating_sub(documents.len());
            if missing == 0 {
                break;
            }
            let mut lists = Vec::with_capacity(ranges.len());
            for range in &ranges {
                lists.push(self.range(query.collection, range, missing).await?);
            }
            documents.extend(paging::merge(query, lists)?.into_iter().take(missing));
        }
        let mut next = None;
        if documents.len() > query.limit {
            documents.truncate(query.limit);
            if let Some(last) = documents.last() {
                next = Some(paging::Cursor::of(query, last)?.encode()?);
            }
        }
        Ok(Page { documents, next })
    }

    async fn count(&self, query: &Query) -> Result<u64> {
        has_documents(query.collection)?;
        let query = Query { sort: Sort { path: None, descending: false }, ..query.clone() };
        let filter = paging::selection(&query)?;
        let documents = self.collection(query.collection);
        self.read(Freshest::WhoeverAnswers, |attempt| {
            documents
                .count_documents(filter.clone())
                .selection_criteria(attempt.criteria)
                .max_time(attempt.max_time)
                .into_future()
        })
        .await
    }

    async fn commit(&self, batch: Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        commit::commit(self, &batch).await
    }

    async fn get_blobs(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        let mut found = std::collections::HashMap::with_capacity(keys.len());
        for raw in self.with_keys(Collection::Blobs, keys, Freshest::WhoeverAnswers).await? {
            let (key, bytes) = decode_blob(raw.as_bytes())?;
            found.insert(key, bytes);
        }
        Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
    }

    async fn list_blobs(&self, scope: &str) -> Result<Vec<String>> {
        let blobs = self.collection(Collection::Blobs);
        let filter =
            doc! { "_id": { "$gte": { "s": scope, "i": Bson::MinKey }, "$lte": { "s": scope, "i": Bson::MaxKey } } };
        let found = self.read(Freshest::WhoeverAnswers, |attempt| {
            let find = blobs.find(filter.clone()).projection(doc! { "_id": 1 }).sort(doc! { "_id": 1 });
            let find = find.selection_criteria(attempt.criteria).max_time(attempt.max_time).into_future();
            async move { collect(find.await?).await }
        });
        found.await?.iter().map(|raw| id_alone(raw)).collect()
    }

    async fn create_index(&self, spec: IndexSpec) -> Result<()> {
        spec.check()?;
        indexes::create(&self.database, &spec, &self.build_indexes).await
    }

    async fn drop_index(&self, collection: Collection, name: &str) -> Result<()> {
        indexes::drop(&self.database, collection, name).await
    }

    async fn indexes(&self, collection: Collection) -> Result<Vec<IndexInfo>> {
        indexes::list(&self.database, collection).await
    }

    async fn changes(&self, collections: &[Collection]) -> Result<ChangeFeed> {
        let now = self
            .read(Freshest::Primary, |attempt| {
                self.database.run_command(doc! { "ping": 1 }).selection_criteria(attempt.criteria).into_future()
            })
            .await?;
        let now = now.get_timestamp("operationTime").map_or(0, feed::moment);
        Ok(self.followers.follow(collections, now))
    }

    fn status(&self) -> StoreStatus {
        StoreStatus {
            writable: self.health.has_majority(),
            members: self.health.members().all,
            feed_lag: self.freshness.lag(),
        }
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        Ok(Box::new(MongoSnapshot::begin(&self.client, &self.database).await?))
    }

    async fn ping(&self) -> Result<()> {
        self.read(Freshest::WhoeverAnswers, |attempt| {
            self.database.run_command(doc! { "ping": 1 }).selection_criteria(attempt.criteria).into_future()
        })
        .await
        .map(drop)
    }
}
