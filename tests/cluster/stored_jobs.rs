//! Jobs as the database has them: with the worker that runs each, which the API does not tell.

use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use mongodb::bson::{Document, doc};
use mongodb::{ClientSession, Collection};

use crate::node::Node;
use crate::replica_set::ReplicaSet;

/// Until a job whose worker is silent is taken over.
pub const LEASE: Duration = Duration::from_secs(10);
/// Promised for noticing and claiming, after the lease.
pub const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(12);

#[derive(Debug, Clone, PartialEq)]
pub struct StoredJob {
    pub id: String,
    pub kind: String,
    pub state: String,
    /// Claims so far.
    pub attempt: i64,
    worker: Option<String>,
    /// All of it.
    pub document: Document,
}

impl StoredJob {
    fn of(document: Document) -> Self {
        let job = document.get_document("v").unwrap();
        let text = |name: &str| job.get_str(name).unwrap().to_owned();
        Self {
            id: text("id"),
            kind: text("kind"),
            state: text("state"),
            attempt: job.get_i64("attempt").unwrap(),
            worker: job.get_str("worker").ok().map(str::to_owned),
            document,
        }
    }

    /// Whether it is this process that runs it.
    pub fn is_run_by(&self, worker: &Node) -> bool {
        let process = format!("(process {})", worker.process.id());
        self.state == "running" && self.worker.as_ref().is_some_and(|worker| worker.ends_with(&process))
    }
}

/// The database's jobs.
#[derive(Clone)]
pub struct StoredJobs(Collection<Document>);

impl StoredJobs {
    pub async fn of(set: &ReplicaSet) -> Self {
        Self(set.client().await.default_database().unwrap().collection("jobs"))
    }

    async fn find(&self, filter: Document) -> Vec<StoredJob> {
        self.0.find(filter).await.unwrap().map_ok(StoredJob::of).try_collect().await.unwrap()
    }

    pub async fn all(&self) -> Vec<StoredJob> {
        self.find(doc! {}).await
    }

    pub async fn running(&self) -> Vec<StoredJob> {
        self.find(doc! {"v.state": "running"}).await
    }

    pub async fn get(&self, id: &str) -> StoredJob {
        self.find(doc! {"_id.i": id}).await.pop().unwrap()
    }

    /// Writes to a job in a transaction that stays open: nobody else can write to it until the session is dropped.
    pub async fn lock(&self, id: &str) -> ClientSession {
        let mut session = self.0.client().start_session().await.unwrap();
        session.start_transaction().await.unwrap();
        let mark = doc! {"$set": {"locked": true}};
        let locked = self.0.update_one(doc! {"_id.i": id}, mark).session(&mut session).await.unwrap();
        assert_eq!(locked.matched_count, 1, "{id}");
        session
    }

    /// How long after its worker's end another one takes the job up.
    pub async fn taken_over(self, orphan: StoredJob, since: Instant) -> Duration {
        loop {
            let now = self.get(&orphan.id).await;
            if now.attempt > orphan.attempt {
                let took = since.elapsed();
                println!("{} taken over after {took:?}", orphan.kind);
                return took;
            }
            assert!(since.elapsed() < TAKEN_OVER_WITHIN * 3, "nobody takes the job: {now:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
