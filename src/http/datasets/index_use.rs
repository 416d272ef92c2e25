//! How often each field of a dataset is searched for, since this process started.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::domain::id::DatasetId;

/// Counts by dataset and field. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct IndexUse(Arc<Mutex<HashMap<DatasetId, HashMap<String, u64>>>>);

impl IndexUse {
    fn lock(&self) -> MutexGuard<'_, HashMap<DatasetId, HashMap<String, u64>>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// One search by these fields.
    pub fn add<'a>(&self, dataset: &DatasetId, fields: impl Iterator<Item = &'a str>) {
        let mut uses = self.lock();
        let uses = uses.entry(dataset.clone()).or_default();
        for field in fields {
            *uses.entry(field.to_owned()).or_default() += 1;
        }
    }

    /// Searches by each field; those that were never searched for are absent.
    pub fn of(&self, dataset: &DatasetId) -> HashMap<String, u64> {
        self.lock().get(dataset).cloned().unwrap_or_default()
    }

    /// Forgets a deleted dataset.
    pub fn forget(&self, dataset: &DatasetId) {
        self.lock().remove(dataset);
    }
}
