//! Transactions whose process has died in the middle. MongoDB keeps them open, with a hold on everything that they wrote, for a minute
//! and a half: until then nobody could take over a dead worker's job, or change an agent that a dead server was changing.
//!
//! A transaction of ours sends its commands one right after the other. One that has sent nothing for a while, by the server's own
//! stopwatch, has lost its process, or its process has been suspended: then it finds its transaction gone when it wakes up, and
//! runs it again.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::ReadConcern;
use tokio::time::Instant;

/// A transaction that was idle for so long is abandoned.
const ABANDONED_AFTER: Duration = Duration::from_secs(2);
/// Conflicts that last longer are looked into: another writer would be through.
const LOOK_AFTER: Duration = Duration::from_millis(250);
/// One process looks this often, however many of its batches wait.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Ends abandoned transactions that are in the way.
pub(super) struct Abandoned {
    client: Client,
    /// Connections of our kind have this name.
    app_name: String,
    looked: Mutex<Option<Instant>>,
}

impl Abandoned {
    pub(super) fn new(client: Client, app_name: String) -> Self {
        Self { client, app_name, looked: Mutex::default() }
    }

    /// For a batch that has been conflicting since `started`.
    pub(super) async fn make_way(&self, started: Instant) {
        if started.elapsed() < LOOK_AFTER || !self.is_due() {
            return;
        }
        match tokio::time::timeout(ANSWER_WITHIN, self.end()).await {
            Ok(Ok(0)) => {}
            Ok(Ok(ended)) => tracing::warn!(ended, "transactions of processes that have died were ended"),
            Ok(Err(error)) => tracing::debug!(%error, "abandoned transactions could not be ended"),
            Err(_) => tracing::debug!("abandoned transactions could not be ended in time"),
        }
    }

    fn is_due(&self) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let due = looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY);
        if due {
            *looked = Some(Instant::now());
        }
        due
    }

    /// Every user may see and end what was begun in its own name.
    async fn end(&self) -> mongodb::error::Result<usize> {
        let admin = self.client.database("admin");
        let idle_micros = i64::try_from(ABANDONED_AFTER.as_micros()).unwrap_or(i64::MAX);
        let pipeline = [
            doc! { "$currentOp": { "allUsers": false, "idleSessions": true } },
            doc! { "$match": {
                "type": "idleSession",
                "appName": &self.app_name,
                "transaction.timeInactiveMicros": { "$gte": idle_micros },
            } },
            doc! { "$project": { "lsid.id": 1 } },
        ];
        let mut found = admin.aggregate(pipeline).read_concern(ReadConcern::local()).await?;
        let mut sessions = Vec::new();
        while found.advance().await? {
            let operation: Document = found.deserialize_current()?;
            if let Ok(session) = operation.get_document("lsid") {
                sessions.push(Bson::Document(session.clone()));
            }
        }
        if !sessions.is_empty() {
            admin.run_command(doc! { "killSessions": &sessions }).await?;
        }
        Ok(sessions.len())
    }
}
