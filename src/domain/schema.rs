//! Schemas: the ordered fields of a dataset or a profile.

use serde::{Deserialize, Serialize};

/// The type of a field's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "PascalCase")]
pub enum FieldType {
    Boolean,
    Integer,
    Float,
    String,
    Timestamp,
    /// A list of strings.
    List,
    /// String to number or Boolean, one level, at most 200 keys.
    Dict,
}

/// What a dataset's field is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Context,
    Customer,
    Agent,
    AgentId,
    CustomerId,
    Timestamp,
    Metric,
    Ignored,
}

/// One field of a schema.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Field {
    pub name: String,
    #[serde(rename = "type")]
    pub field_type: FieldType,
    /// Only datasets give their fields roles; `ignored` for a profile's has no meaning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    #[serde(default = "yes")]
    pub visible: bool,
    #[serde(default)]
    pub anonymize: bool,
    /// How sure the type was when it was discovered: 1 when every value fits it; of a String, 1 less the share of values that look like
    /// something narrower; 0 without values. Information only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// A few values as they were written in the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<String>,
}

/// An ordered list of fields under a version that grows with every change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Schema {
    pub version: u32,
    /// False while discovered fields wait for a person's (or the API's) consent.
    pub accepted: bool,
    pub fields: Vec<Field>,
}

impl Field {
    pub fn new(name: impl Into<String>, field_type: FieldType) -> Self {
        Self {
            name: name.into(),
            field_type,
            role: None,
            visible: true,
            anonymize: false,
            confidence: None,
            samples: Vec::new(),
        }
    }

    pub fn with_role(mut self, role: Role) -> Self {
        self.role = Some(role);
        self
    }
}

impl Schema {
    /// Takes over what fields are for, and the version, from a newer schema that has the same fields of the same types.
    pub fn describe_as(&mut self, newer: &Schema) {
        let same = |field: &Field| newer.field(&field.name).is_some_and(|now| now.field_type == field.field_type);
        if self.fields.iter().all(same) && self.fields.len() == newer.fields.len() {
            self.clone_from(newer);
        }
    }

    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The first field that has the role.
    pub fn with_role(&self, role: Role) -> Option<&Field> {
        self.fields.iter().find(|field| field.role == Some(role))
    }
}

fn yes() -> bool {
    true
}
