//! What is known of a field's values: how many distinct ones, nulls, minimum and maximum.

use serde::{Deserialize, Serialize};

use super::Timestamp;
use super::schema::FieldType;

/// A value with the number of rows that have it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ValueCount {
    pub value: serde_json::Value,
    pub count: u64,
}

/// One field's counts, as answered by `GET …/cardinalities`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FieldCardinality {
    pub field: String,
    #[serde(rename = "type")]
    pub field_type: FieldType,
    pub rows: u64,
    pub nulls: u64,
    pub distinct: u64,
    /// True while `distinct` is a count and not an estimate (up to about 16,384 values).
    pub exact: bool,
    pub min: Option<serde_json::Value>,
    pub max: Option<serde_json::Value>,
    /// The values with their counts while they are few, most frequent first.
    pub values: Option<Vec<ValueCount>>,
}

/// The counts of a dataset or a profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Cardinalities {
    #[schema(value_type = Option<String>, format = DateTime)]
    pub as_of: Option<Timestamp>,
    pub records_counted: u64,
    /// Accepted records that the next computation will count.
    pub records_pending: u64,
    pub fields: Vec<FieldCardinality>,
}
