//! The mark of a restore in the store itself: how far it is, so that it goes on after a crash and nothing else starts meanwhile.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Result, TransferError};
use crate::domain::Timestamp;
use crate::store::{Collection, Key, Record, SharedStore, StoreExt as _};

/// Written with every batch of a restore, and removed with its last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// The run that holds the mark.
    pub run: String,
    /// [`super::layout::Backup::id`].
    pub backup: String,
    pub folder: PathBuf,
    /// What was there was to be replaced.
    pub drop: bool,
    pub started_at: Timestamp,
    pub step: Step,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// What was there goes.
    Dropping,
    /// Everything up to this key of this collection is in.
    Loading { collection: String, after: Option<(String, String)> },
}

impl Record for Mark {
    const COLLECTION: Collection = Collection::Meta;
    fn key(&self) -> Key {
        key()
    }
}

pub fn key() -> Key {
    Key::new("", "restore")
}

pub async fn load(store: &SharedStore) -> Result<Option<Mark>> {
    Ok(store.load::<Mark>(&key()).await?.map(|stored| stored.value))
}

/// Refuses a store that is restored by half. Call it before anything is done with a store.
pub async fn refuse_unfinished(store: &SharedStore) -> Result<()> {
    match load(store).await? {
        Some(mark) => Err(TransferError::Unfinished { folder: mark.folder }),
        None => Ok(()),
    }
}
