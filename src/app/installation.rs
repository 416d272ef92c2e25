//! Which installation a document store belongs to. Its objects are its own: two that share a bucket would delete each other's.

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::domain::Timestamp;
use crate::domain::id::RequestId;
use crate::store::{Batch, Collection, Key, Record, SharedStore, StoreError, StoreExt as _};

/// Made at the first start, never copied by a restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Installation {
    id: String,
}

impl Record for Installation {
    const COLLECTION: Collection = Collection::Meta;
    fn key(&self) -> Key {
        key()
    }
}

fn key() -> Key {
    Key::new("", "installation")
}

/// The store's own id, made when it has none; none while nothing can be written.
pub async fn id(store: &SharedStore, now: Timestamp) -> anyhow::Result<Option<String>> {
    for _ in 0..2 {
        if let Some(stored) = known(store).await.context("the installation's id could not be read")? {
            return Ok(Some(stored));
        }
        let mut batch = Batch::new();
        batch.insert(&Installation { id: RequestId::generate(now).to_string() });
        match store.commit(batch).await {
            Ok(()) => {}
            // Another node was first: read again.
            Err(error) if error.is_conflict() => {}
            Err(StoreError::Unavailable(_)) => return Ok(None),
            Err(error) => return Err(error).context("the installation's id could not be stored"),
        }
    }
    Ok(known(store).await?)
}

/// The store's own id, if it has one.
pub async fn known(store: &SharedStore) -> Result<Option<String>, StoreError> {
    Ok(store.load::<Installation>(&key()).await?.map(|stored| stored.value.id))
}
