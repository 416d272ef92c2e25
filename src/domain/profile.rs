//! Agent and customer profiles: records upserted by id.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Timestamp;
use super::dataset::RejectedReport;
use super::id::AccountId;
use super::schema::{Field, FieldType, Schema};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProfileKind {
    Agents,
    Customers,
}

/// One agent or customer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProfileRecord {
    pub id: String,
    /// A number that grows: an older version never overwrites a newer one.
    pub version: Option<i64>,
    /// Values by field name. Timestamps are RFC 3339 UTC text with six decimals, so that text order is time order.
    pub fields: serde_json::Map<String, serde_json::Value>,
    pub updated_at: Timestamp,
}

/// An account's agent or customer schema. Without a stored one, [`ProfileSchema::initial`] holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProfileSchema {
    pub account_id: AccountId,
    pub kind: ProfileKind,
    pub schema: Schema,
    /// Keys seen in each Dict field, at most [`MAX_KNOWN_DICT_KEYS`] a field: what indexes are made for.
    #[serde(default)]
    pub dict_keys: BTreeMap<String, BTreeSet<String>>,
    /// Rows that the last uploaded file had refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<RejectedReport>,
}

/// Keys of one Dict field that a schema remembers.
pub const MAX_KNOWN_DICT_KEYS: usize = 1_000;

impl ProfileSchema {
    /// Mandatory fields only, not accepted.
    pub fn initial(account_id: AccountId, kind: ProfileKind) -> Self {
        let schema = Schema { version: 1, accepted: false, fields: kind.mandatory_fields() };
        Self { account_id, kind, schema, dict_keys: BTreeMap::new(), rejected: None }
    }
}

/// Names of an agent's mandatory fields beside its id.
pub const LOGIN_STATUS: &str = "loginStatus";
pub const SKILLS: &str = "skills";
pub const GROUPS: &str = "groups";

impl ProfileKind {
    pub fn as_str(self) -> &'static str {
        match self {
            ProfileKind::Agents => "agents",
            ProfileKind::Customers => "customers",
        }
    }

    /// The column that holds the id in a file, unless the upload names another.
    pub fn default_id_field(self) -> &'static str {
        match self {
            ProfileKind::Agents => "agent_id",
            ProfileKind::Customers => "customer_id",
        }
    }

    /// Whether a field is one of [`Self::mandatory_fields`], whose types never change.
    pub fn is_mandatory(self, name: &str) -> bool {
        self == ProfileKind::Agents && [LOGIN_STATUS, SKILLS, GROUPS].contains(&name)
    }

    /// The fields that exist from the start, so that a connector's first post is accepted.
    pub fn mandatory_fields(self) -> Vec<Field> {
        match self {
            ProfileKind::Agents => vec![
                Field::new(LOGIN_STATUS, FieldType::Integer),
                Field::new(SKILLS, FieldType::Dict),
                Field::new(GROUPS, FieldType::List),
            ],
            ProfileKind::Customers => Vec::new(),
        }
    }
}

/// How a profile stores a time: RFC 3339 UTC with six decimals, so that text order is time order.
pub fn timestamp_text(time: Timestamp) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

/// A time as people and programs write it: RFC 3339, or a date with or without a time of day, which is then UTC.
/// `None` when it is none of these, or when its year has not four digits (text order would not be time order).
pub fn parse_timestamp(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let time = if let Ok(time) = chrono::DateTime::parse_from_rfc3339(text) {
        time.with_timezone(&chrono::Utc)
    } else if let Some(time) = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"]
        .iter()
        .find_map(|format| chrono::NaiveDateTime::parse_from_str(text, format).ok())
    {
        time.and_utc()
    } else {
        chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0)?.and_utc()
    };
    (0..=9999).contains(&chrono::Datelike::year(&time)).then_some(time)
}
