//! What scoring needs, in memory, following the store's change feed.
//!
//! Every server holds its agents, predictors and active models as immutable views that are swapped as a
//! whole: a score takes one by a wait-free load and sees no change halfway. One task follows the feed and
//! makes the next view. Customers are many, so they are cached, and the feed only evicts.
//!
//! Invariant: no lock on the way of a score; nothing here is the truth, all of it can be loaded again.

mod agents;
pub mod artifacts;
mod customers;
mod follow;
mod gate;
mod view;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use moka::sync::Cache;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use agents::{Agent, Agents};
pub use customers::Customer;
pub use gate::{Gate, Overloaded, Work};
pub use view::{AccountView, ActiveModel, LivePredictor};

use crate::context::Context;
use crate::domain::id::AccountId;
use crate::domain::language::LanguageError;
use crate::filter::{CompiledFilter, Filter};
use crate::quick_map::QuickMap;
use crate::store::{SharedStore, StoreError};

/// Compiled filters that are kept; strategies use the same few over and over.
const FILTERS_KEPT: u64 = 10_000;

type Views = QuickMap<AccountId, Arc<AccountView>>;
/// Schema version, its number of fields (discovery adds some without a new version), account and text.
type FilterKey = (u32, usize, AccountId, String);

/// The in-memory follower.
pub struct Live {
    views: ArcSwap<Views>,
    /// For accounts of which nothing is stored yet.
    nothing: Arc<AccountView>,
    customers: customers::Customers,
    filters: Cache<FilterKey, Arc<CompiledFilter>>,
    /// The way into the engine.
    pub gate: Gate,
    /// Counts the views that were made.
    changed: watch::Sender<u64>,
}

impl Live {
    /// Loads everything and follows changes until `stop` fires. Returns when warm.
    pub async fn start(ctx: &Context, stop: CancellationToken) -> anyhow::Result<Arc<Self>> {
        let live = Arc::new(Self::new(ctx.store.clone(), ctx.config.score_queue_ms));
        follow::start(Arc::clone(&live), ctx.store.clone(), stop.clone()).await?;
        let ushered = Arc::clone(&live);
        tokio::spawn(async move { stop.run_until_cancelled(ushered.gate.usher()).await });
        Ok(live)
    }

    fn new(store: SharedStore, score_queue_ms: u64) -> Self {
        Self {
            views: ArcSwap::default(),
            nothing: Arc::new(AccountView::empty(Arc::new(follow::first_agent_schema()))),
            customers: customers::Customers::new(store),
            filters: Cache::new(FILTERS_KEPT),
            gate: Gate::new(score_queue_ms),
            changed: watch::Sender::new(0),
        }
    }

    /// The account as it is now.
    pub fn account(&self, account: &AccountId) -> Arc<AccountView> {
        self.views.load().get(account).unwrap_or(&self.nothing).clone()
    }

    /// A customer's fields; `None` when there is no such customer.
    pub async fn customer(&self, account: &AccountId, id: &str) -> Result<Customer, StoreError> {
        self.customers.get(account, id).await
    }

    /// A filter over the account's agents, from memory when it was used before.
    pub fn filter(
        &self,
        account: &AccountId,
        view: &AccountView,
        text: &str,
    ) -> Result<Arc<CompiledFilter>, LanguageError> {
        let schema = &view.agent_schema;
        let key = (schema.version, schema.fields.len(), account.clone(), text.to_owned());
        if let Some(filter) = self.filters.get(&key) {
            return Ok(filter);
        }
        let filter = Arc::new(Filter::parse(text)?.compile(schema)?);
        self.filters.insert(key, Arc::clone(&filter));
        Ok(filter)
    }

    /// Waits until this node's view of the account shows what was just written, so that a client's next
    /// request finds it. Gives up quietly after `patience`: the write stands all the same.
    pub async fn until(&self, account: &AccountId, patience: Duration, shows: impl Fn(&AccountView) -> bool) {
        let mut changed = self.changed.subscribe();
        let shown = async {
            while !shows(&self.account(account)) {
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        if tokio::time::timeout(patience, shown).await.is_err() {
            tracing::warn!(%account, "this node is late in following the store");
        }
    }

    fn swap(&self, views: Views) {
        self.views.store(Arc::new(views));
        self.changed.send_modify(|count| *count += 1);
    }

    fn swap_account(&self, account: &AccountId, view: AccountView) {
        let mut views = Views::clone(&self.views.load());
        views.insert(account.clone(), Arc::new(view));
        self.swap(views);
    }
}
