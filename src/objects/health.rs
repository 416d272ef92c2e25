//! Whether the object store can be used at this moment, and looking after that in the background.

use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{ObjectStore, Trouble};
use crate::telemetry;

/// How often a store that is well is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// How soon one that is away is looked at again: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A clock off by more is worth a word; answers tell the time in whole seconds.
const MOST_SKEW_SECONDS: i64 = 3;

/// What is known of the object store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It was well when it was looked at last.
    Ready,
    /// What stands in the way.
    Troubled(Trouble),
}

/// Shared by everybody who uses the store.
#[derive(Debug)]
pub(super) struct Watch {
    health: watch::Sender<Health>,
    /// A call failed in a way that lets one think that the store is away.
    pub suspected: Notify,
}

impl Default for Watch {
    fn default() -> Self {
        Self { health: watch::Sender::new(Health::Ready), suspected: Notify::new() }
    }
}

impl Health {
    /// `ok`, `unavailable` or `misconfigured`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Health::Ready => "ok",
            Health::Troubled(Trouble::Away(_)) => "unavailable",
            Health::Troubled(Trouble::Wrong(_)) => "misconfigured",
        }
    }
}

impl ObjectStore {
    pub fn health(&self) -> Health {
        self.watch.health.borrow().clone()
    }

    /// Writes down what a look found.
    pub(super) fn set_health(&self, health: Health) {
        let up = if health == Health::Ready { 1.0 } else { 0.0 };
        metrics::gauge!(telemetry::OBJECT_STORE_UP).set(up);
        self.watch.health.send_replace(health);
    }

    /// Looks after the store until `stop`: notices that it is away and that it is back, and makes its bucket when that
    /// was not possible at the start. Never makes a bucket that has been there: it was lost with everything in it.
    pub async fn keep(&self, stop: CancellationToken) {
        let mut away_since = (self.health() != Health::Ready).then(Instant::now);
        let mut is_set_up = away_since.is_none();
        let mut pause = FIRST_PAUSE;
        loop {
            let wait = async {
                if away_since.is_some() {
                    return tokio::time::sleep(pause).await;
                }
                tokio::select! {
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                    () = self.watch.suspected.notified() => {}
                }
            };
            if stop.run_until_cancelled(wait).await.is_none() {
                return;
            }
            let Some(looked) = stop.run_until_cancelled(self.look(is_set_up)).await else { return };
            match looked {
                Ok(()) => {
                    is_set_up = true;
                    pause = FIRST_PAUSE;
                    if let Some(since) = away_since.take() {
                        tracing::info!(after_seconds = since.elapsed().as_secs(), "the object store can be used again");
                    }
                    self.set_health(Health::Ready);
                }
                Err(trouble) => {
                    if away_since.is_none() {
                        away_since = Some(Instant::now());
                        tracing::warn!("{trouble}; uploads and reading rows wait, everything else goes on");
                    }
                    pause = if self.health() == Health::Ready { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
                    self.set_health(Health::Troubled(trouble));
                }
            }
        }
    }

    async fn look(&self, is_set_up: bool) -> Result<(), Trouble> {
        if !is_set_up {
            let state = self.set_up().await?;
            self.tell(&state);
            return Ok(());
        }
        if self.has_bucket().await? {
            return Ok(());
        }
        Err(self.place.wrong(&format!(
            "has lost the bucket {}, which was there before: restore it (a restart would make an empty one)",
            self.bucket
        )))
    }

    /// What a start says about the store that it found.
    pub(super) fn tell(&self, state: &super::BucketState) {
        if state.is_new {
            tracing::info!(bucket = &*self.bucket, "made the bucket of the object store");
        }
        for feature in &state.features {
            match &feature.missing {
                Some(missing) => tracing::info!("the object store lacks {}: {missing}", feature.name),
                None => tracing::debug!("the object store has {}", feature.name),
            }
        }
        if let Some(skew) = self.clock_skew() {
            tracing::warn!("{skew}");
        }
    }

    /// A sentence about this machine's clock when it differs from the store's by more than a few seconds.
    pub fn clock_skew(&self) -> Option<String> {
        let ahead = self.clock.ahead_seconds().filter(|ahead| ahead.abs() > MOST_SKEW_SECONDS)?;
        let direction = if ahead > 0 { "ahead of" } else { "behind" };
        Some(format!(
            "this machine's clock is {} seconds {direction} the object store's; at 15 minutes it refuses everything: set the wrong one right (NTP)",
            ahead.abs()
        ))
    }
}
