//! Changes to whoever follows them: one bounded channel a follower.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::store::{Change, ChangeFeed, Collection, FeedEvent, Key};

/// Events that a slow follower may be behind before it is told to reload.
pub(super) const FEED_CAPACITY: usize = 16_384;

/// Longer documents are not sent: a full channel of them must fit in memory.
const MAX_SENT_BYTES: usize = 4 << 10;

struct Follower {
    collections: Vec<Collection>,
    sender: mpsc::Sender<FeedEvent>,
    /// Changes up to this moment of the store are not for this follower, who came later.
    after: u64,
    /// A `Gap` is in the channel: what follows is not sent until the follower has taken it.
    behind: bool,
}

/// Who follows. Shared by a store and whatever tells it of commits.
#[derive(Clone)]
pub(super) struct Followers {
    followers: Arc<Mutex<Vec<Follower>>>,
    capacity: usize,
}

impl Followers {
    pub(super) fn new(capacity: usize) -> Self {
        Self { followers: Arc::default(), capacity: capacity.max(2) }
    }

    /// A feed of the changes behind a moment of the store's own time, which only has to grow (0: all from now on).
    pub(super) fn follow(&self, collections: &[Collection], after: u64) -> ChangeFeed {
        let (sender, receiver) = mpsc::channel(self.capacity);
        let follower = Follower { collections: collections.to_vec(), sender, after, behind: false };
        self.followers.lock().unwrap_or_else(PoisonError::into_inner).push(follower);
        ChangeFeed(receiver)
    }

    /// Changes with the documents that were written. Called in the order of the commits, by one thread or task only.
    pub(super) fn publish(&self, changes: impl Iterator<Item = (Collection, Key, Option<String>)>, at: u64) {
        let mut followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
        for (collection, key, body) in changes {
            if !followers.iter().any(|follower| follower.collections.contains(&collection)) {
                continue;
            }
            let body = body.filter(|body| body.len() <= MAX_SENT_BYTES).map(Arc::from);
            let change = Change { collection, key, body };
            followers.retain_mut(|follower| at <= follower.after || follower.offer(&change));
        }
    }

    /// Tells everybody that changes may have been missed.
    pub(super) fn publish_gap(&self) {
        let mut followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
        followers.retain_mut(Follower::offer_gap);
    }

    /// Ends every feed.
    pub(super) fn close(&self) {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Follower {
    /// False when nobody listens any more. The last place in the channel is kept for the `Gap`.
    /// While a `Gap` waits to be taken, changes may be left out: they are committed already, and the
    /// follower reloads after it has taken the `Gap`.
    fn offer(&mut self, change: &Change) -> bool {
        if self.sender.is_closed() {
            return false;
        }
        if !self.collections.contains(&change.collection) {
            return true;
        }
        if self.behind {
            if self.sender.capacity() < self.sender.max_capacity() {
                return true;
            }
            self.behind = false;
        }
        if self.sender.capacity() <= 1 {
            return self.offer_gap();
        }
        self.sender.try_send(FeedEvent::Changed(change.clone())).is_ok()
    }

    /// One `Gap` in the channel is enough.
    fn offer_gap(&mut self) -> bool {
        if self.behind && self.sender.capacity() < self.sender.max_capacity() {
            return !self.sender.is_closed();
        }
        self.behind = true;
        self.sender.try_send(FeedEvent::Gap).is_ok()
    }
}
