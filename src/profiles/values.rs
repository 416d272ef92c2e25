//! Checking what a client sends as a record: types, limits, names; discovery of fields.

use serde::Serialize;

use super::posted::{Members, Posted};
use crate::config::Limits;
use crate::domain::profile::{MAX_KNOWN_DICT_KEYS, ProfileSchema, parse_timestamp, timestamp_text};
use crate::domain::schema::{Field, FieldType};

/// The record's key, never a field.
pub const ID: &str = "id";
/// The record's optional version, never a field.
pub const VERSION: &str = "version";
/// Longest name of a field or key, in bytes.
const MAX_NAME_BYTES: usize = 256;
/// How much of a refused id or value is repeated in an answer, in characters.
const SHOWN_CHARACTERS: usize = 64;

/// A record that passed.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked<'r> {
    pub id: &'r str,
    pub version: Option<i64>,
    /// The values as they are stored: a JSON object of normalised values without white space, missing ones left out, names in
    /// order. Equal values give equal text, so that nobody needs them as a tree to compare or to keep them.
    pub fields: String,
}

/// A record that did not.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Rejection {
    /// Position in the request or row in the file, from 0.
    pub index: usize,
    /// The record's id as far as it can be shown.
    pub id: Option<String>,
    /// The field at fault.
    pub field: Option<String>,
    pub reason: String,
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    pub field: String,
    pub reason: String,
}

/// Checks records one after the other against a schema, which grows while it is not accepted.
pub struct Checker<'a> {
    limits: &'a Limits,
    schema: ProfileSchema,
    changed: bool,
    new_dict_keys: bool,
}

impl<'a> Checker<'a> {
    pub fn new(limits: &'a Limits, schema: ProfileSchema) -> Self {
        Self { limits, schema, changed: false, new_dict_keys: false }
    }

    /// The schema with what was discovered, and whether it differs from the one given.
    pub fn into_schema(mut self) -> (ProfileSchema, bool) {
        if self.changed {
            self.schema.schema.version += 1;
        }
        let changed = self.changed || self.new_dict_keys;
        (self.schema, changed)
    }

    /// A key of a Dict field was seen for the first time.
    pub fn found_dict_keys(&self) -> bool {
        self.new_dict_keys
    }

    /// Checks a record as sent: `id`, `version` and fields side by side.
    pub fn check<'r>(&mut self, index: usize, record: &'r Posted<'_>) -> Result<Checked<'r>, Rejection> {
        let Posted::Object(record) = record else {
            let reason = "a record is a JSON object such as {\"id\": \"a-17\", …}".to_owned();
            return Err(Rejection { index, id: None, field: None, reason });
        };
        self.check_object(record).map_err(|fault| {
            let id = match record.get(ID) {
                Some(Posted::Text(id)) => Some(shown(id)),
                None | Some(Posted::Null) => None,
                Some(other) => Some(shown(&other.to_string())),
            };
            Rejection { index, id, field: Some(fault.field), reason: fault.reason }
        })
    }

    fn check_object<'r>(&mut self, record: &'r Members<'_>) -> Result<Checked<'r>, Fault> {
        let id = self.check_id(record.get(ID))?;
        let version = check_version(record.get(VERSION))?;
        let fields = self.check_fields(record)?;
        Ok(Checked { id, version, fields })
    }

    fn check_id<'r>(&self, id: Option<&'r Posted<'_>>) -> Result<&'r str, Fault> {
        let fault = |reason: String| Err(Fault { field: ID.to_owned(), reason });
        let limit = self.limits.max_id_bytes;
        match id {
            None | Some(Posted::Null) => fault("the record has no id".to_owned()),
            Some(Posted::Text(id)) if id.is_empty() => fault("the id is empty".to_owned()),
            Some(Posted::Text(id)) if id.len() > limit => {
                fault(format!("the id has {} bytes; at most {limit} are allowed (MAX_ID_BYTES)", id.len()))
            }
            Some(Posted::Text(id)) if id.chars().any(char::is_control) => {
                fault("the id holds a control character".to_owned())
            }
            Some(Posted::Text(id)) => Ok(id),
            Some(Posted::Number(id)) => fault(format!("an id is text: put it in quotes, \"{id}\"")),
            Some(_) => fault("an id is text".to_owned()),
        }
    }

    /// Checks fields only and gives them as they are stored (see [`Checked::fields`]); discovered ones join the schema when
    /// all of the record's fields pass. What is a record's own member is passed over.
    pub fn check_fields(&mut self, record: &Members<'_>) -> Result<String, Fault> {
        let mut proposals: Vec<Proposal> = Vec::new();
        let mut text = Vec::with_capacity(256);
        text.push(b'{');
        for (name, value) in record.iter() {
            if name == ID || name == VERSION {
                continue;
            }
            let field = self.schema.schema.field(name);
            if value.is_null() {
                if self.schema.schema.accepted && field.is_none() {
                    return Err(self.unknown(name));
                }
                continue;
            }
            let field_type = match field {
                // What a connector may rely on keeps its type: one odd record does not change it.
                Some(field) if self.schema.schema.accepted || self.schema.kind.is_mandatory(name) => field.field_type,
                Some(field) => {
                    let widened = widened(field.field_type, value);
                    if widened != field.field_type {
                        proposals.push(Proposal::Widen(name.to_owned(), widened));
                    }
                    widened
                }
                None if self.schema.schema.accepted => return Err(self.unknown(name)),
                None => {
                    let field = self.discover(name, value, proposals.len())?;
                    let field_type = field.field_type;
                    proposals.push(Proposal::Add(field));
                    field_type
                }
            };
            write_member(&mut text, name);
            write_normalised(&mut text, self.limits, field_type, value)
                .map_err(|reason| Fault { field: shown(name), reason })?;
        }
        text.push(b'}');
        if text.len() > self.limits.max_row_bytes {
            let (bytes, limit) = (text.len(), self.limits.max_row_bytes);
            let reason = format!("the record's values have {bytes} bytes; at most {limit} are allowed (MAX_ROW_BYTES)");
            return Err(Fault { field: ID.to_owned(), reason });
        }
        self.adopt(proposals);
        self.remember_keys(record);
        Ok(String::from_utf8(text).expect("what was written as JSON is UTF-8"))
    }

    fn unknown(&self, name: &str) -> Fault {
        let close = self.schema.schema.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        let reason = match close {
            Some(field) => format!("there is no such field; did you mean {}?", field.name),
            None => format!(
                "there is no such field in the schema: add it with PUT /api/v1/{}/schema",
                self.schema.kind.as_str()
            ),
        };
        Fault { field: shown(name), reason }
    }

    fn discover(&self, name: &str, value: &Posted<'_>, proposed: usize) -> Result<Field, Fault> {
        let limit = self.limits.max_columns;
        if self.schema.schema.fields.len() + proposed >= limit {
            let reason = format!("the schema already has {limit} fields, the most allowed (MAX_COLUMNS)");
            return Err(Fault { field: shown(name), reason });
        }
        check_name(name).map_err(|reason| Fault { field: shown(name), reason })?;
        let Some(field_type) = type_of(value) else {
            let reason =
                "no type fits: a value is true or false, a number, a text, a list of texts, or an object of numbers"
                    .to_owned();
            return Err(Fault { field: shown(name), reason });
        };
        let mut field = Field::new(name, field_type);
        field.confidence = Some(1.0);
        field.samples = vec![match value {
            Posted::Text(text) => shown(text),
            other => shown(&other.to_string()),
        }];
        Ok(field)
    }

    fn adopt(&mut self, proposals: Vec<Proposal>) {
        for proposal in proposals {
            self.changed = true;
            match proposal {
                Proposal::Add(field) => self.schema.schema.fields.push(field),
                Proposal::Widen(name, field_type) => {
                    if let Some(field) = self.schema.schema.fields.iter_mut().find(|field| field.name == name) {
                        field.field_type = field_type;
                    }
                }
            }
        }
    }

    /// The keys of a record that passed: its objects are values of Dict fields.
    fn remember_keys(&mut self, record: &Members<'_>) {
        for (name, value) in record.iter() {
            let Posted::Object(dict) = value else { continue };
            let known = match self.schema.dict_keys.get_mut(name) {
                Some(known) => known,
                None => self.schema.dict_keys.entry(name.to_owned()).or_default(),
            };
            for (key, _) in dict.iter().filter(|(_, value)| !value.is_null()) {
                if !known.contains(key) && known.len() < MAX_KNOWN_DICT_KEYS {
                    known.insert(key.to_owned());
                    self.new_dict_keys = true;
                }
            }
        }
    }
}

enum Proposal {
    Add(Field),
    Widen(String, FieldType),
}

/// The name of a field or of a Dict's key.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a field's name cannot be empty".to_owned());
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(format!("the name has {} bytes; at most {MAX_NAME_BYTES} are allowed", name.len()));
    }
    if name.chars().any(char::is_control) {
        return Err("the name holds a control character".to_owned());
    }
    Ok(())
}

fn check_version(version: Option<&Posted<'_>>) -> Result<Option<i64>, Fault> {
    match version {
        None | Some(Posted::Null) => Ok(None),
        Some(Posted::Number(version)) if version.is_i64() => Ok(version.as_i64()),
        Some(_) => {
            let reason = "a version is a whole number that grows with each change of the record".to_owned();
            Err(Fault { field: VERSION.to_owned(), reason })
        }
    }
}

fn type_of(value: &Posted<'_>) -> Option<FieldType> {
    match value {
        Posted::Null => None,
        Posted::Bool(_) => Some(FieldType::Boolean),
        Posted::Number(number) if number.is_f64() => Some(FieldType::Float),
        Posted::Number(_) => Some(FieldType::Integer),
        Posted::Text(text) if parse_timestamp(text).is_some() => Some(FieldType::Timestamp),
        Posted::Text(_) => Some(FieldType::String),
        Posted::List(_) => Some(FieldType::List),
        Posted::Object(_) => Some(FieldType::Dict),
    }
}

/// While a schema is not accepted, a type gives way to a wider one that every value so far fits, too.
fn widened(field_type: FieldType, value: &Posted<'_>) -> FieldType {
    // Whether a text is a time is asked only where the answer matters: that is slow to find out.
    match field_type {
        FieldType::Integer if type_of(value) == Some(FieldType::Float) => FieldType::Float,
        FieldType::Timestamp if type_of(value) == Some(FieldType::String) => FieldType::String,
        _ => field_type,
    }
}

/// Writes the value as it is stored, or says why it does not fit.
fn write_normalised(
    text: &mut Vec<u8>,
    limits: &Limits,
    field_type: FieldType,
    value: &Posted<'_>,
) -> Result<(), String> {
    let wrong = |wanted: &str| Err(format!("{} is not {wanted}", shown(&value.to_string())));
    match (field_type, value) {
        (FieldType::Boolean, Posted::Bool(boolean)) => write_json(text, boolean),
        (FieldType::Boolean, _) => return wrong("true or false (the field is a Boolean)"),
        (FieldType::Integer, Posted::Number(number)) => match whole(number) {
            Some(whole) => write_json(text, &whole),
            None if number.as_f64().is_some_and(|float| float.fract() == 0.0) => {
                return Err(format!("{number} is too large for a whole number (64 bit)"));
            }
            None => return wrong("a whole number of at most 64 bits (the field is an Integer)"),
        },
        (FieldType::Integer, _) => return wrong("a whole number (the field is an Integer)"),
        (FieldType::Float, Posted::Number(number)) => match number.as_f64().filter(|float| float.is_finite()) {
            // Both zeros are one value.
            Some(float) => write_json(text, &(float + 0.0)),
            None => return wrong("a finite number"),
        },
        (FieldType::Float, _) => return wrong("a number (the field is a Float)"),
        (FieldType::String, Posted::Text(string)) => write_text(text, limits, string)?,
        (FieldType::String, _) => return wrong("a text: put it in quotes (the field is a String)"),
        (FieldType::Timestamp, Posted::Text(string)) => match parse_timestamp(string) {
            Some(time) => write_json(text, &timestamp_text(time)),
            None => return wrong("a time such as 2024-05-01T08:30:00Z (the field is a Timestamp)"),
        },
        (FieldType::Timestamp, _) => return wrong("a text with a time such as \"2024-05-01T08:30:00Z\""),
        (FieldType::List, Posted::List(elements)) => write_list(text, limits, elements)?,
        (FieldType::List, _) => return wrong("a list of texts (the field is a List)"),
        (FieldType::Dict, Posted::Object(dict)) => write_dictionary(text, limits, dict)?,
        (FieldType::Dict, _) => return wrong("an object of numbers, true and false (the field is a Dict)"),
    }
    Ok(())
}

fn write_json<T: Serialize + ?Sized>(text: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(text, value).expect("texts, finite numbers and Booleans have a JSON form");
}

/// The name of an object's next member.
fn write_member(text: &mut Vec<u8>, name: &str) {
    if text.last() != Some(&b'{') {
        text.push(b',');
    }
    write_json(text, name);
    text.push(b':');
}

/// 2^63: the first float beyond the integers.
const BEYOND_I64: f64 = 9_223_372_036_854_775_808.0;

fn whole(number: &serde_json::Number) -> Option<i64> {
    number.as_i64().or_else(|| {
        let float = number.as_f64().filter(|_| number.is_f64())?;
        // In range and without a fraction: the conversion is exact.
        (float.fract() == 0.0 && (-BEYOND_I64..BEYOND_I64).contains(&float)).then_some(float as i64)
    })
}

fn write_text(text: &mut Vec<u8>, limits: &Limits, string: &str) -> Result<(), String> {
    let limit = limits.max_value_bytes;
    if string.len() > limit {
        return Err(format!("the text has {} bytes; at most {limit} are allowed (MAX_VALUE_BYTES)", string.len()));
    }
    if string.contains('\0') {
        return Err("the text holds a NUL character".to_owned());
    }
    write_json(text, string);
    Ok(())
}

fn write_list(text: &mut Vec<u8>, limits: &Limits, elements: &[Posted<'_>]) -> Result<(), String> {
    text.push(b'[');
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        match element {
            Posted::Text(string) => write_text(text, limits, string)?,
            other => return Err(format!("the list's element {} is not a text", shown(&other.to_string()))),
        }
    }
    text.push(b']');
    Ok(())
}

fn write_dictionary(text: &mut Vec<u8>, limits: &Limits, dict: &Members<'_>) -> Result<(), String> {
    let limit = limits.max_dict_keys;
    if dict.len() > limit {
        return Err(format!("the object has {} keys; at most {limit} are allowed (MAX_DICT_KEYS)", dict.len()));
    }
    text.push(b'{');
    for (key, value) in dict.iter() {
        check_name(key).map_err(|reason| format!("a key of the object: {reason}"))?;
        match value {
            Posted::Null => {}
            Posted::Bool(_) | Posted::Number(_) => {
                write_member(text, key);
                write_json(text, value);
            }
            other => {
                return Err(format!(
                    "{} under {} is neither a number nor true or false",
                    shown(&other.to_string()),
                    shown(key)
                ));
            }
        }
    }
    text.push(b'}');
    Ok(())
}

/// As much of a text as an answer repeats.
pub fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::domain::id::AccountId;
    use crate::domain::profile::ProfileKind;

    fn schema(accepted: bool) -> ProfileSchema {
        let mut schema = ProfileSchema::initial(AccountId::parse("acc_1").unwrap(), ProfileKind::Agents);
        schema.schema.accepted = accepted;
        schema.schema.fields.push(Field::new("tenure", FieldType::Float));
        schema.schema.fields.push(Field::new("hired", FieldType::Timestamp));
        schema
    }

    fn rejection(record: Value) -> Rejection {
        let limits = Limits::default();
        Checker::new(&limits, schema(true)).check(3, &Posted::from(&record)).unwrap_err()
    }

    #[test]
    fn values_are_normalised_so_that_equal_content_is_equal() {
        let limits = Limits::default();
        let mut checker = Checker::new(&limits, schema(true));
        let record = json!({"id": "a", "version": 7, "loginStatus": 4.0, "tenure": 3, "hired": "2024-05-01T10:00:00+02:00",
            "skills": {"English": 3, "vip": true, "old": null}, "groups": null});
        let posted = Posted::from(&record);
        let checked = checker.check(0, &posted).unwrap();
        assert_eq!(checked.version, Some(7));
        assert_eq!(
            checked.fields,
            r#"{"hired":"2024-05-01T08:00:00.000000Z","loginStatus":4,"skills":{"English":3,"vip":true},"tenure":3.0}"#
        );
        let tree: Value = serde_json::from_str(&checked.fields).unwrap();
        assert_eq!(tree.to_string(), checked.fields, "the text that a tree of the same values gives");
        let other = json!({"id": "b", "tenure": -0.0, "skills": {"old": null}, "groups": ["a", "\"ü\n"]});
        let fields = checker.check(1, &Posted::from(&other)).unwrap().fields;
        assert_eq!(fields, r#"{"groups":["a","\"ü\n"],"skills":{},"tenure":0.0}"#);
    }

    #[test]
    fn each_fault_names_the_field_and_what_to_do() {
        for (record, field, hint) in [
            (json!([1]), None, "JSON object"),
            (json!({"loginStatus": 1}), Some("id"), "no id"),
            (json!({"id": 7}), Some("id"), "\"7\""),
            (json!({"id": ""}), Some("id"), "empty"),
            (json!({"id": "x".repeat(10_240)}), Some("id"), "10240 bytes; at most 512 are allowed (MAX_ID_BYTES)"),
            (json!({"id": "a\u{0}"}), Some("id"), "control"),
            (json!({"id": "a", "version": "1"}), Some("version"), "whole number"),
            (json!({"id": "a", "LoginStatus": 1}), Some("LoginStatus"), "did you mean loginStatus?"),
            (json!({"id": "a", "colour": null}), Some("colour"), "PUT /api/v1/agents/schema"),
            (json!({"id": "a", "loginStatus": "4"}), Some("loginStatus"), "\"4\" is not a whole number"),
            (
                json!({"id": "a", "loginStatus": 9223372036854775808u64}),
                Some("loginStatus"),
                "too large for a whole number (64 bit)",
            ),
            (json!({"id": "a", "tenure": true}), Some("tenure"), "not a number"),
            (json!({"id": "a", "hired": "soon"}), Some("hired"), "2024-05-01"),
            (json!({"id": "a", "groups": ["x", 1]}), Some("groups"), "not a text"),
            (json!({"id": "a", "skills": {"English": "good"}}), Some("skills"), "neither a number"),
            (json!({"id": "a", "skills": {"": 1}}), Some("skills"), "cannot be empty"),
        ] {
            let found = rejection(record.clone());
            assert_eq!(found.field.as_deref(), field, "{found:?}");
            assert!(found.reason.contains(hint), "{found:?}");
            assert_eq!(found.index, 3);
            assert!(found.id.is_none_or(|id| id.chars().count() <= SHOWN_CHARACTERS + 1));
        }
        let keys: Map<String, Value> = (0..201).map(|key| (key.to_string(), json!(1))).collect();
        assert!(rejection(json!({"id": "a", "skills": keys})).reason.contains("MAX_DICT_KEYS"));
    }

    #[test]
    fn mandatory_fields_keep_their_types_while_the_schema_is_open() {
        let limits = Limits::default();
        let initial = ProfileSchema::initial(AccountId::parse("acc_1").unwrap(), ProfileKind::Agents);
        let mut checker = Checker::new(&limits, initial.clone());
        let rejection = checker.check(0, &Posted::from(&json!({"id": "b", "loginStatus": 1.5}))).unwrap_err();
        assert_eq!((rejection.field.as_deref(), rejection.id.as_deref()), (Some("loginStatus"), Some("b")));
        assert!(rejection.reason.contains("1.5 is not a whole number"), "{}", rejection.reason);
        assert!(checker.check(1, &Posted::from(&json!({"id": null}))).unwrap_err().id.is_none());
        let (schema, changed) = checker.into_schema();
        assert!(!changed);
        assert_eq!(schema, initial);
    }

    #[test]
    fn an_open_schema_takes_new_fields_and_widens_but_never_from_a_bad_record() {
        let limits = Limits::default();
        let mut checker = Checker::new(&limits, schema(false));
        let records = [
            json!({"id": "a", "site": "Oslo", "calls": 3, "since": "2024-01-01"}),
            json!({"id": "b", "calls": 3.5, "since": "long ago"}),
            json!({"id": "c", "extra": 1, "site": 7}),
        ];
        let [first, second, third] = records.each_ref().map(Posted::from);
        checker.check(0, &first).unwrap();
        checker.check(1, &second).unwrap();
        let fault = checker.check(2, &third).unwrap_err();
        assert_eq!(fault.field.as_deref(), Some("site"));
        let (schema, changed) = checker.into_schema();
        assert!(changed);
        let types: Vec<_> = ["site", "calls", "since", "extra"]
            .iter()
            .map(|name| schema.schema.field(name).map(|field| field.field_type))
            .collect();
        assert_eq!(types, [Some(FieldType::String), Some(FieldType::Float), Some(FieldType::String), None]);
        assert_eq!(schema.schema.version, 2);
    }
}
