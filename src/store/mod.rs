//! The document store: small, mutable things looked up by key.
//!
//! One small interface, [`Store`]: documents of JSON under `(collection, scope, id)`, queries with
//! conditions and keyset pages, and *atomic batches with preconditions*. Everything that must happen
//! together (a domain write, its job, its idempotency record) goes into one [`Batch`].
//! What the documents mean is written once, above this interface, for every backend.
//!
//! Invariant: nothing outside a backend's folder sees SQL or BSON.

mod batch;
pub mod bson;
pub mod chunks;
#[cfg(test)]
mod conformance;
mod error;
mod followers;
mod matches;
mod migration;
pub mod mongo;
mod query;
mod records;
pub mod sqlite;
mod status;
mod typed;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

pub use batch::{Batch, Op};
pub use error::{Conflict, StoreError};
pub use migration::MigrationStatus;
pub use query::{Comparison, Condition, Path, Query, Sort};
pub use records::NODES_SCOPE;
pub use status::{Member, MemberState, StoreStatus};
pub use typed::{Record, StoreExt, Stored};

pub type Result<T, E = StoreError> = std::result::Result<T, E>;
pub type SharedStore = Arc<dyn Store>;

/// The kinds of documents. Each has its own table or collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Collection {
    /// Installation-wide facts: schema version, generated secrets (sealed), node records.
    Meta,
    Accounts,
    Users,
    SigningKeys,
    Uploads,
    Datasets,
    DatasetVersions,
    /// Schema versions of datasets and profiles.
    Schemas,
    Segments,
    Agents,
    Customers,
    /// Accepted profile mutations that are not counted yet.
    Journal,
    /// Counted cardinalities (mergeable state).
    Cardinalities,
    Predictors,
    Models,
    /// Model artifacts and other binary chunks; see [`Op::PutBlob`].
    Blobs,
    Reports,
    Jobs,
    Idempotency,
    ScoreLog,
    Audit,
    /// What is done again and again: refreshes, trainings.
    Schedules,
    /// What each process counted of its scores, an hour a document.
    ScoringHours,
    /// What was scored, for the outcomes that arrive later.
    ScoredContexts,
    /// Score requests kept whole.
    ScoreSamples,
}

impl Collection {
    pub const ALL: [Collection; 25] = [
        Collection::Meta,
        Collection::Accounts,
        Collection::Users,
        Collection::SigningKeys,
        Collection::Uploads,
        Collection::Datasets,
        Collection::DatasetVersions,
        Collection::Schemas,
        Collection::Segments,
        Collection::Agents,
        Collection::Customers,
        Collection::Journal,
        Collection::Cardinalities,
        Collection::Predictors,
        Collection::Models,
        Collection::Blobs,
        Collection::Reports,
        Collection::Jobs,
        Collection::Idempotency,
        Collection::ScoreLog,
        Collection::Audit,
        Collection::Schedules,
        Collection::ScoringHours,
        Collection::ScoredContexts,
        Collection::ScoreSamples,
    ];

    /// The table's or collection's name.
    pub fn name(self) -> &'static str {
        match self {
            Collection::Meta => "meta",
            Collection::Accounts => "accounts",
            Collection::Users => "users",
            Collection::SigningKeys => "signing_keys",
            Collection::Uploads => "uploads",
            Collection::Datasets => "datasets",
            Collection::DatasetVersions => "dataset_versions",
            Collection::Schemas => "schemas",
            Collection::Segments => "segments",
            Collection::Agents => "agents",
            Collection::Customers => "customers",
            Collection::Journal => "journal",
            Collection::Cardinalities => "cardinalities",
            Collection::Predictors => "predictors",
            Collection::Models => "models",
            Collection::Blobs => "blobs",
            Collection::Reports => "reports",
            Collection::Jobs => "jobs",
            Collection::Idempotency => "idempotency",
            Collection::ScoreLog => "score_log",
            Collection::Audit => "audit",
            Collection::Schedules => "schedules",
            Collection::ScoringHours => "scoring_hours",
            Collection::ScoredContexts => "scored_contexts",
            Collection::ScoreSamples => "score_samples",
        }
    }
}

/// Names one document: `scope` is what it belongs to (an account, a dataset; empty for the
/// installation), `id` is unique within collection and scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub scope: String,
    pub id: String,
}

impl Key {
    pub fn new(scope: impl Into<String>, id: impl Into<String>) -> Self {
        Self { scope: scope.into(), id: id.into() }
    }
}

/// A stored document.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    pub key: Key,
    /// Changes with every write, never repeats for the same key; the token of optimistic concurrency.
    pub revision: u64,
    /// A JSON object as text.
    pub body: String,
}

/// A page of documents.
#[derive(Debug, Clone, Default)]
pub struct Page {
    pub documents: Vec<Document>,
    /// Pass as [`Query::after`] for the next page; `None` on the last.
    pub next: Option<String>,
}

/// An index over documents' values that the product (not a backend) asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexSpec {
    /// Unique within the collection; letters, digits, underscore.
    pub name: String,
    pub collection: Collection,
    /// Restricts the index to one scope.
    pub scope: Option<String>,
    pub path: Path,
    /// The value is an array and the index finds its elements.
    pub elements: bool,
}

impl IndexSpec {
    /// Whether every backend can have such an index.
    fn check(&self) -> Result<()> {
        let name_is_good = (1..=100).contains(&self.name.len())
            && self.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !name_is_good {
            return Err(StoreError::Invalid(format!(
                "{:?} cannot name an index: use 1 to 100 letters, digits and underscores",
                self.name
            )));
        }
        if self.path.0.is_empty() || self.scope.as_ref().is_some_and(|scope| scope.contains('\0')) {
            return Err(StoreError::Invalid(format!("index {} needs a path, and a scope without NUL", self.name)));
        }
        if self.collection == Collection::Blobs {
            return Err(StoreError::Invalid("blobs have no values to index".to_owned()));
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexState {
    Building,
    Ready,
}

/// An index as it stands. `uses` is `None` where the backend does not count.
#[derive(Debug, Clone)]
pub struct IndexInfo {
    pub spec: IndexSpec,
    pub state: IndexState,
    pub size_bytes: Option<u64>,
    pub uses: Option<u64>,
}

/// One change as a follower sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub collection: Collection,
    pub key: Key,
    /// The document as this change left it, where the backend has it at hand; `None` when it is gone, is large, or only keys
    /// are sent: read it then.
    pub body: Option<Arc<str>>,
}

/// What a follower receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedEvent {
    Changed(Change),
    /// Changes may have been missed: reload everything.
    Gap,
}

/// Changes in commit order, starting when it was opened.
pub struct ChangeFeed(pub tokio::sync::mpsc::Receiver<FeedEvent>);

impl ChangeFeed {
    /// The next event; `None` when the store is closed.
    pub async fn next(&mut self) -> Option<FeedEvent> {
        self.0.recv().await
    }
}

/// The document store. Every method has a test in the conformance suite, which runs over every backend.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    async fn get(&self, collection: Collection, key: &Key) -> Result<Option<Document>>;

    /// One entry a key, in the order of the keys.
    async fn get_many(&self, collection: Collection, keys: &[Key]) -> Result<Vec<Option<Document>>>;

    async fn find(&self, query: &Query) -> Result<Page>;

    /// How many documents match (the query's page and order are ignored).
    async fn count(&self, query: &Query) -> Result<u64>;

    /// Applies all operations or none; acknowledged means durable (on disk, or on a majority).
    /// A failed precondition is [`StoreError::Conflict`] with the operation's position.
    async fn commit(&self, batch: Batch) -> Result<()>;

    async fn get_blob(&self, key: &Key) -> Result<Option<Bytes>> {
        Ok(self.get_blobs(std::slice::from_ref(key)).await?.pop().flatten())
    }

    /// In the order of the keys.
    async fn get_blobs(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>>;

    /// Ids of a scope's blobs, sorted.
    async fn list_blobs(&self, scope: &str) -> Result<Vec<String>>;

    /// Starts to build an index; returns when it is known, not when it is built. Known already: nothing happens.
    async fn create_index(&self, spec: IndexSpec) -> Result<()>;

    /// Drops an index by name; unknown: nothing happens.
    async fn drop_index(&self, collection: Collection, name: &str) -> Result<()>;

    async fn indexes(&self, collection: Collection) -> Result<Vec<IndexInfo>>;

    /// Follows changes of these collections.
    async fn changes(&self, collections: &[Collection]) -> Result<ChangeFeed>;

    /// How the store is doing, from memory: never waits.
    fn status(&self) -> StoreStatus;

    /// Everything as of one moment, for copies of the whole store. Keep it open for no longer than the reading takes: the
    /// store holds on to what changes meanwhile.
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>>;

    /// A cheap question that fails when the store cannot be used.
    async fn ping(&self) -> Result<()>;
}

/// The store as it was when [`Store::snapshot`] was called, whatever is written since.
#[async_trait]
pub trait Snapshot: Send {
    /// Documents of a collection (not [`Collection::Blobs`]) after `after`, in the order of (scope, id) by bytes, at most `limit`.
    async fn documents(&mut self, collection: Collection, after: Option<&Key>, limit: usize) -> Result<Vec<Document>>;

    /// Blobs after `after`, in the order of (scope, id) by bytes, at most `limit`.
    async fn blobs(&mut self, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Bytes)>>;
}

/// Blobs have methods of their own.
fn has_documents(collection: Collection) -> Result<()> {
    if collection == Collection::Blobs {
        return Err(StoreError::Invalid("blobs are read with get_blob".to_owned()));
    }
    Ok(())
}
