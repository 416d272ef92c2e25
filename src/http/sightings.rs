//! For how long the other processes have been silent: measured by this process's own stopwatch, since their clocks may be minutes off.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::Timestamp;
use crate::domain::node::Node;

/// Nodes whose clocks differ by more do not start.
const MOST_SKEW: Duration = Duration::from_secs(15 * 60);

/// When each process's entry was last seen to have changed. Cheap to clone.
#[derive(Clone, Default)]
pub struct Sightings(Arc<Mutex<HashMap<String, (Timestamp, Instant)>>>);

impl Sightings {
    /// Looks at all entries; how long each has been silent, as far as is known. `now` only tells of those that have been so for
    /// longer than clocks may differ.
    pub fn silences(&self, nodes: &[Node], now: Timestamp) -> Vec<Duration> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *seen);
        let silence = |node: &Node| {
            let fresh = (node.seen_at, Instant::now());
            let last = before.get(&node.id).filter(|last| last.0 == node.seen_at).copied().unwrap_or(fresh);
            seen.insert(node.id.clone(), last);
            let by_clock = (now - node.seen_at).to_std().unwrap_or_default().saturating_sub(MOST_SKEW);
            last.1.elapsed().max(by_clock)
        };
        nodes.iter().map(silence).collect()
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::domain::node::Role;

    fn node(minutes_ahead: i64) -> Node {
        let time = Timestamp::UNIX_EPOCH + TimeDelta::minutes(minutes_ahead);
        let (name, version, state) = Default::default();
        Node {
            id: format!("{minutes_ahead}"),
            name,
            version,
            settings: String::new(),
            role: Role::BOTH,
            state,
            topics: Vec::new(),
            started_at: time,
            seen_at: time,
        }
    }

    #[test]
    fn silence_is_what_was_watched_whatever_the_clocks_say() {
        let sightings = Sightings::default();
        let mut nodes = [node(-5), node(5), node(-60)];
        let first = sightings.silences(&nodes, Timestamp::UNIX_EPOCH);
        assert!(first[..2].iter().all(|silence| *silence < Duration::from_secs(20)), "{first:?}");
        assert_eq!(first[2], Duration::from_secs(45 * 60), "for longer than clocks may differ");
        nodes[0].seen_at += TimeDelta::seconds(5);
        let second = sightings.silences(&nodes, Timestamp::UNIX_EPOCH);
        assert!(second[0] < second[1], "one has said something, the other has not: {second:?}");
    }
}
