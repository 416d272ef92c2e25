//! Transactions whose process has died in the middle. MongoDB keeps them open, with a hold on everything that they wrote, for a minute
//! and a half: until then nobody could take over a dead worker's job, or change an agent that a dead server was changing.
//!
//! A transaction of ours sends its commands one right after the other. One that has sent nothing between several looks has lost its
//! process, or its process has been suspended: then it finds its transaction gone when it wakes up, and runs it again. The
//! server tells how long a transaction was idle *altogether*: that alone says nothing of one with many commands on a busy machine.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::ReadConcern;
use tokio::time::Instant;

/// A transaction is abandoned that was idle for so long altogether, by the server's stopwatch …
const ABANDONED_AFTER: Duration = Duration::from_secs(2);
/// … and has sent no command for so long, by ours.
const SILENT_FOR: Duration = Duration::from_millis(750);
/// Conflicts that last longer are looked into: another writer would be through.
const LOOK_AFTER: Duration = Duration::from_millis(250);
/// One process looks this often, however many of its batches wait.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Ends abandoned transactions that are in the way.
pub(super) struct Abandoned {
    client: Client,
    /// Connections of our kind have this name.
    app_name: String,
    looks: Mutex<Looks>,
}

/// What was seen of idle transactions.
#[derive(Default)]
struct Looks {
    last: Option<Instant>,
    /// By session.
    idle: HashMap<Vec<u8>, Idle>,
}

/// An idle transaction: as long as number and activity stay the same, no command of it has run.
#[derive(Clone, Copy)]
struct Idle {
    number: i64,
    active_micros: i64,
    since: Instant,
}

impl Looks {
    /// Takes in the idle transactions of a look, by session; those of them that have been silent for long enough.
    fn see(&mut self, seen: Vec<(Vec<u8>, i64, i64)>, now: Instant) -> Vec<Vec<u8>> {
        let before = std::mem::take(&mut self.idle);
        for (session, number, active_micros) in seen {
            let known = before.get(&session).filter(|old| (old.number, old.active_micros) == (number, active_micros));
            let since = known.map_or(now, |known| known.since);
            self.idle.insert(session, Idle { number, active_micros, since });
        }
        let silent = self.idle.iter().filter(|(_, idle)| now.duration_since(idle.since) >= SILENT_FOR);
        silent.map(|(session, _)| session.clone()).collect()
    }
}

impl Abandoned {
    pub(super) fn new(client: Client, app_name: String) -> Self {
        Self { client, app_name, looks: Mutex::default() }
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
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let due = looks.last.is_none_or(|last| last.elapsed() >= LOOK_EVERY);
        if due {
            looks.last = Some(Instant::now());
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
            doc! { "$project": {
                "lsid.id": 1, "transaction.parameters.txnNumber": 1, "transaction.timeActiveMicros": 1,
            } },
        ];
        let mut found = admin.aggregate(pipeline).read_concern(ReadConcern::local()).await?;
        let mut seen = Vec::new();
        while found.advance().await? {
            let operation: Document = found.deserialize_current()?;
            let (Ok(session), Ok(transaction)) =
                (operation.get_document("lsid"), operation.get_document("transaction"))
            else {
                continue;
            };
            let parameters = transaction.get_document("parameters").ok();
            let number = parameters.and_then(|parameters| parameters.get_i64("txnNumber").ok()).unwrap_or(-1);
            let active_micros = transaction.get_i64("timeActiveMicros").unwrap_or(-1);
            seen.push((session.to_vec()?, number, active_micros));
        }
        let silent = self.looks.lock().unwrap_or_else(PoisonError::into_inner).see(seen, Instant::now());
        let mut sessions = Vec::with_capacity(silent.len());
        for session in silent {
            sessions.push(Bson::Document(Document::from_reader(session.as_slice())?));
        }
        if !sessions.is_empty() {
            admin.run_command(doc! { "killSessions": &sessions }).await?;
        }
        Ok(sessions.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_transaction_that_sends_nothing_from_look_to_look_is_abandoned() {
        let began = Instant::now();
        let at = |ms: u64| began + Duration::from_millis(ms);
        let (dead, alive, next) = (vec![1], vec![2], vec![3]);
        let mut looks = Looks::default();
        let seen = |active: i64, number: i64| {
            vec![(dead.clone(), 7, 100), (alive.clone(), 7, active), (next.clone(), number, 100)]
        };
        assert!(looks.see(seen(100, 1), at(0)).is_empty());
        assert!(looks.see(seen(101, 2), at(500)).is_empty());
        assert_eq!(looks.see(seen(102, 3), at(1_000)), std::slice::from_ref(&dead));
        // Gone in between: another transaction of that session.
        assert!(looks.see(Vec::new(), at(1_500)).is_empty());
        assert!(looks.see(seen(102, 3), at(2_000)).is_empty());
    }
}
