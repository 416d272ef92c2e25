//! Typed access: serde structs in and out of a [`Store`].

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Batch, Collection, Document, Key, Op, Query, Result, Store, StoreError};

/// A struct that is stored as one document.
pub trait Record: Serialize + DeserializeOwned + Send + Sync {
    const COLLECTION: Collection;
    fn key(&self) -> Key;
}

/// A record with the revision that it was read in.
#[derive(Debug, Clone)]
pub struct Stored<T> {
    pub value: T,
    pub revision: u64,
}

impl<T: Record> Stored<T> {
    fn decode(document: &Document) -> Result<Self> {
        let value = serde_json::from_str(&document.body).map_err(|error| {
            StoreError::Corrupt(format!("{} {}/{}: {error}", T::COLLECTION.name(), document.key.scope, document.key.id))
        })?;
        Ok(Self { value, revision: document.revision })
    }
}

fn encode<T: Record>(value: &T) -> String {
    // Our records are maps with string keys and finite numbers: they always have a JSON form.
    serde_json::to_string(value).expect("a record has a JSON form")
}

impl Batch {
    /// Conflict when a record with this key exists.
    pub fn insert<T: Record>(&mut self, value: &T) -> &mut Self {
        self.push(Op::Insert { collection: T::COLLECTION, key: value.key(), body: encode(value) })
    }

    pub fn put<T: Record>(&mut self, value: &T) -> &mut Self {
        self.push(Op::Put { collection: T::COLLECTION, key: value.key(), body: encode(value) })
    }

    /// Conflict unless the stored record is still in the revision that was read.
    pub fn replace<T: Record>(&mut self, stored: &Stored<T>) -> &mut Self {
        let value = &stored.value;
        self.push(Op::Replace {
            collection: T::COLLECTION,
            key: value.key(),
            body: encode(value),
            revision: stored.revision,
        })
    }

    pub fn delete<T: Record>(&mut self, stored: &Stored<T>) -> &mut Self {
        let key = stored.value.key();
        self.push(Op::Delete { collection: T::COLLECTION, key, revision: Some(stored.revision) })
    }
}

/// Typed reads over any store.
#[async_trait]
pub trait StoreExt: Store {
    async fn load<T: Record>(&self, key: &Key) -> Result<Option<Stored<T>>> {
        let document = self.get(T::COLLECTION, key).await?;
        document.as_ref().map(Stored::decode).transpose()
    }

    async fn load_many<T: Record>(&self, keys: &[Key]) -> Result<Vec<Option<Stored<T>>>> {
        let documents = self.get_many(T::COLLECTION, keys).await?;
        documents.iter().map(|document| document.as_ref().map(Stored::decode).transpose()).collect()
    }

    /// One page of records, with the cursor of the next.
    async fn list<T: Record>(&self, query: &Query) -> Result<(Vec<Stored<T>>, Option<String>)> {
        debug_assert_eq!(query.collection, T::COLLECTION);
        let page = self.find(query).await?;
        let records = page.documents.iter().map(Stored::decode).collect::<Result<Vec<_>>>()?;
        Ok((records, page.next))
    }

    /// Every record that matches, page after page.
    async fn list_all<T: Record>(&self, mut query: Query) -> Result<Vec<Stored<T>>> {
        let mut all = Vec::new();
        loop {
            let (records, next) = self.list::<T>(&query).await?;
            all.extend(records);
            match next {
                Some(cursor) => query.after = Some(cursor),
                None => return Ok(all),
            }
        }
    }
}

impl<S: Store + ?Sized> StoreExt for S {}
