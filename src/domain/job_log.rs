//! What became of a job, one entry an event: who took it, its phases, why it was tried again, how it ended. Bounded, so that
//! it stays a part of the job's document.

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// Most entries of a log.
pub const MAX_ENTRIES: usize = 50;
const MAX_TEXT_CHARACTERS: usize = 500;

/// What happened to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// It was put into the queue.
    Queued,
    /// A worker took it.
    Started,
    /// A worker took it over from another one, `text`, which is gone.
    TakenOver,
    /// It went on to another phase: `text`.
    Phase,
    /// The attempt failed because of `text`; another one follows.
    WillRetry,
    /// Its worker ended and gave it back, without counting the attempt.
    Released,
    /// A person asked for its end.
    CancelAsked,
    Cancelled,
    Succeeded,
    /// For good: `text` says why, and what to do.
    Failed,
    /// Every attempt failed, the last one because of `text`.
    Dead,
}

/// An entry of a job's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Entry {
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    pub event: Event,
    /// Which run it was, beginning with 1; 0 before the first.
    pub attempt: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl Entry {
    pub fn new(at: Timestamp, event: Event, attempt: u32) -> Self {
        Self { at, event, attempt, worker: None, text: None }
    }

    pub fn with_text(mut self, text: &str) -> Self {
        self.text = Some(text.chars().take(MAX_TEXT_CHARACTERS).collect());
        self
    }

    pub fn with_worker(mut self, worker: Option<String>) -> Self {
        self.worker = worker;
        self
    }
}

/// Adds an entry that is not there yet. What there is no room for any more goes: the oldest phase, else the oldest entry
/// but the first.
pub fn add(log: &mut Vec<Entry>, entry: Entry) {
    if log.contains(&entry) {
        return;
    }
    log.push(entry);
    if log.len() > MAX_ENTRIES {
        let oldest_phase = log.iter().position(|entry| entry.event == Event::Phase);
        log.remove(oldest_phase.unwrap_or(1));
    }
}

/// Whether two phases are told by the same words. Numbers in them are how far the work is.
pub fn same_phase(one: &str, other: &str) -> bool {
    let words = |text: &'_ str| text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    one == other || words(one) == words(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_bounded_and_keeps_its_beginning_and_its_end() {
        let entry = |second: i64, event| Entry::new(Timestamp::from_timestamp(second, 0).unwrap(), event, 1);
        let mut log = Vec::new();
        add(&mut log, entry(0, Event::Queued));
        add(&mut log, entry(1, Event::Started));
        for second in 2..200 {
            add(&mut log, entry(second, Event::Phase));
        }
        add(&mut log, entry(200, Event::Succeeded));
        add(&mut log, entry(200, Event::Succeeded));
        assert_eq!(log.len(), MAX_ENTRIES);
        let events: Vec<Event> = log.iter().map(|entry| entry.event).collect();
        assert_eq!((events[0], events[1], events[MAX_ENTRIES - 1]), (Event::Queued, Event::Started, Event::Succeeded));
        assert_eq!(log[MAX_ENTRIES - 2].at.timestamp(), 199);
        for second in 201..400 {
            add(&mut log, entry(second, Event::WillRetry));
        }
        assert_eq!((log.len(), log[0].event, log[1].at.timestamp()), (MAX_ENTRIES, Event::Queued, 351));
    }

    #[test]
    fn numbers_do_not_make_a_phase() {
        assert!(same_phase("245760 rows read", "8 rows read"));
        assert!(!same_phase("245760 rows read", "245760 rows written"));
    }
}
