//! What every request and every job is given: the stores, the settings, the time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::SharedClock;
use crate::config::Config;
use crate::objects::ObjectStore;
use crate::store::SharedStore;

/// Cheap to clone; built by `app` with concrete backends and by tests in the same way.
#[derive(Clone)]
pub struct Context {
    pub store: SharedStore,
    pub objects: Arc<ObjectStore>,
    pub config: Arc<Config>,
    pub clock: SharedClock,
    pub backlog: Arc<Backlog>,
}

/// What a sum of the journal is good for, unless this process counts in between.
const KNOWN: Duration = Duration::from_millis(100);

/// How many records of each profile wait to be counted, as this process knows it: under a flood of appends summing up the
/// journal for each would cost as much as writing it. What other processes append or count is known within 100 ms.
#[derive(Default)]
pub struct Backlog(Mutex<HashMap<String, (Instant, u64)>>);

impl Backlog {
    /// Of the profile with this scope; `None`: sum up the journal, and tell.
    pub fn known(&self, scope: &str) -> Option<u64> {
        self.known_at(scope, Instant::now())
    }

    fn known_at(&self, scope: &str, now: Instant) -> Option<u64> {
        let lately = |read: Instant| now.saturating_duration_since(read) < KNOWN;
        self.with(|known| known.get(scope).filter(|(read, _)| lately(*read)).map(|(_, records)| *records))
    }

    /// The journal was summed up.
    pub fn set(&self, scope: String, records: u64) {
        self.with(|known| known.insert(scope, (Instant::now(), records)));
    }

    /// This process has appended.
    pub fn add(&self, scope: &str, appended: u64) {
        self.with(|known| known.get_mut(scope).map(|(_, records)| *records += appended));
    }

    /// This process has counted.
    pub fn forget(&self, scope: &str) {
        self.with(|known| known.remove(scope));
    }

    fn with<T>(&self, work: impl FnOnce(&mut HashMap<String, (Instant, u64)>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backlog_is_known_until_somebody_counts_or_others_may_have() {
        let backlog = Backlog::default();
        let now = Instant::now();
        backlog.add("a", 3);
        assert_eq!(backlog.known_at("a", now), None);
        backlog.set("a".to_owned(), 5);
        backlog.add("a", 3);
        assert_eq!((backlog.known_at("a", now), backlog.known_at("b", now)), (Some(8), None));
        assert_eq!(backlog.known_at("a", Instant::now() + KNOWN), None);
        backlog.forget("a");
        assert_eq!(backlog.known_at("a", now), None);
    }
}
