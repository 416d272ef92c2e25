//! A profile record as it is stored.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
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
        Self::parse(&document.key.id, &document.body)
    }

    /// `id` is for the message only.
    pub fn parse(id: &str, body: &str) -> Result<Self, StoreError> {
        serde_json::from_str(body).map_err(|error| StoreError::Corrupt(format!("profile record {id}: {error}")))
    }

    pub fn encode(&self) -> String {
        // Maps with string keys and finite numbers always have a JSON form.
        serde_json::to_string(self).expect("a profile record has a JSON form")
    }
}

/// What a write reads of a stored record: its values stay text.
#[derive(Debug, Deserialize)]
pub struct StoredText<'a> {
    pub version: Option<i64>,
    #[serde(borrow)]
    fields: &'a RawValue,
    #[serde(borrow)]
    updated_at: &'a RawValue,
    #[serde(borrow)]
    entry: &'a RawValue,
}

impl<'a> StoredText<'a> {
    /// `id` is for the message only.
    pub fn parse(id: &str, body: &'a str) -> Result<Self, StoreError> {
        serde_json::from_str(body).map_err(|error| StoreError::Corrupt(format!("profile record {id}: {error}")))
    }

    pub fn fields(&self) -> &'a str {
        self.fields.get()
    }

    /// The same record under another version.
    pub fn with_version(&self, id: &str, version: Option<i64>) -> String {
        write(id, version, self.fields.get(), self.updated_at.get(), self.entry.get())
    }
}

/// A record as it is stored: the text that [`StoredProfile::encode`] gives. `fields` and `updated_at` are JSON already.
pub fn write_record(id: &str, version: Option<i64>, fields: &str, updated_at: &str, entry: &str) -> String {
    write(id, version, fields, updated_at, &quoted(entry))
}

fn write(id: &str, version: Option<i64>, fields: &str, updated_at: &str, entry: &str) -> String {
    let mut body = String::with_capacity(fields.len() + id.len() + 160);
    body.push_str("{\"id\":");
    body.push_str(&quoted(id));
    body.push_str(",\"version\":");
    match version {
        Some(version) => body.push_str(itoa::Buffer::new().format(version)),
        None => body.push_str("null"),
    }
    for (name, json) in [("fields", fields), ("updated_at", updated_at), ("entry", entry)] {
        body.push_str(",\"");
        body.push_str(name);
        body.push_str("\":");
        body.push_str(json);
    }
    body.push('}');
    body
}

/// A text as JSON.
pub(super) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text has a JSON form")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_is_written_as_a_tree_would_be() {
        let Value::Object(fields) = json!({"a": 1.5, "b": ["x\"y", "ü"], "c": {"k": true}}) else {
            panic!("an object")
        };
        for version in [None, Some(-7)] {
            let updated_at = Timestamp::from_timestamp_micros(1_714_552_200_123_400).unwrap();
            let id = "a \"quoted\" id\\".to_owned();
            let record = StoredProfile { id, version, fields: fields.clone(), updated_at, entry: "jrn_1".to_owned() };
            let text = serde_json::to_string(&fields).unwrap();
            let time = serde_json::to_string(&updated_at).unwrap();
            let body = write_record(&record.id, version, &text, &time, &record.entry);
            assert_eq!(body, record.encode());
            let read = StoredText::parse(&record.id, &body).unwrap();
            assert_eq!((read.version, read.fields()), (version, text.as_str()));
            let newer = StoredProfile { version: Some(9), ..record.clone() };
            assert_eq!(read.with_version(&record.id, Some(9)), newer.encode());
        }
    }
}
