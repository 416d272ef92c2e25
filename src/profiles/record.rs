//! A profile record as it is stored.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::Timestamp;
use crate::store::{Document, StoreError};

/// The members of [`crate::domain::profile::ProfileRecord`], and where its last change waits to be counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredProfile {
    pub id: String,
    pub version: Option<i64>,
    /// Checked and normalised values; a missing value is absent.
    pub fields: Map<String, Value>,
    pub updated_at: Timestamp,
    /// The journal entry of the last accepted change: while that entry exists, the change is not counted.
    pub entry: String,
}

impl StoredProfile {
    pub fn decode(document: &Document) -> Result<Self, StoreError> {
        serde_json::from_str(&document.body).map_err(|error| {
            StoreError::Corrupt(format!("profile record {}/{}: {error}", document.key.scope, document.key.id))
        })
    }

    pub fn encode(&self) -> String {
        // Maps with string keys and finite numbers always have a JSON form.
        serde_json::to_string(self).expect("a profile record has a JSON form")
    }
}
