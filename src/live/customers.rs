//! Customers by id: a bounded cache of profile records, absent ones too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use moka::sync::Cache;
use serde_json::{Map, Value};

use crate::domain::id::AccountId;
use crate::domain::profile::ProfileRecord;
use crate::store::{Collection, Key, SharedStore, StoreError};

/// About this much memory is used at most.
const CAPACITY_BYTES: u64 = 64 << 20;

/// A customer's fields; `None` is a customer that does not exist.
pub type Customer = Option<Arc<Map<String, Value>>>;

pub(super) struct Customers {
    store: SharedStore,
    cache: Cache<Key, Customer>,
    /// Grows with every eviction.
    evictions: AtomicU64,
}

impl Customers {
    pub(super) fn new(store: SharedStore) -> Self {
        let weigh = |key: &Key, customer: &Customer| {
            let fields =
                customer.as_ref().map_or(0, |fields| fields.iter().map(|(name, value)| name.len() + size(value)).sum());
            u32::try_from(key.scope.len() + key.id.len() + 128 + fields).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder().max_capacity(CAPACITY_BYTES).weigher(weigh).build();
        Self { store, cache, evictions: AtomicU64::new(0) }
    }

    /// From memory, else from the store.
    pub(super) async fn get(&self, account: &AccountId, id: &str) -> Result<Customer, StoreError> {
        let key = Key::new(account.as_str(), id);
        if let Some(customer) = self.cache.get(&key) {
            return Ok(customer);
        }
        let before = self.evictions.load(Ordering::SeqCst);
        let customer = match self.store.get(Collection::Customers, &key).await? {
            None => None,
            Some(document) => {
                let record: ProfileRecord = serde_json::from_str(&document.body)
                    .map_err(|error| StoreError::Corrupt(format!("customer {}: {error}", key.id)))?;
                Some(Arc::new(record.fields))
            }
        };
        self.cache.insert(key.clone(), customer.clone());
        // A change that arrived while the record was read may have found nothing to evict. Its counter
        // moved first, so either it is seen here or its eviction comes after the insert.
        if self.evictions.load(Ordering::SeqCst) != before {
            self.cache.invalidate(&key);
        }
        Ok(customer)
    }

    pub(super) fn evict(&self, key: &Key) {
        self.evictions.fetch_add(1, Ordering::SeqCst);
        self.cache.invalidate(key);
    }

    pub(super) fn evict_all(&self) {
        self.evictions.fetch_add(1, Ordering::SeqCst);
        self.cache.invalidate_all();
    }
}

/// About how many bytes a value takes.
fn size(value: &Value) -> usize {
    32 + match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(map) => map.iter().map(|(key, value)| key.len() + size(value)).sum(),
        _ => 0,
    }
}
