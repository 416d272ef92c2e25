//! The form of a profile's record: a text for each field on the screen, beside what it was when the form was opened.
//!
//! Only what a person changed is sent: agents are posted all day long, and a form that was open meanwhile must not take
//! back who logged in or out, nor touch what a text cannot show.

use serde_json::{Map, Value, json};

use super::form::Form;
use super::language::Language;

/// What a form changes of a record.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Changes {
    pub fields: Map<String, Value>,
    /// Fields that are something else now than when the form was opened, and something else than what was typed.
    pub clashes: Vec<String>,
}

/// A value as the form shows it: a list is lines, a dictionary lines of `key = value`.
pub(super) fn text(value: &Value) -> String {
    let plain = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        // 5.0 is a whole number that a file wrote so.
        Value::Number(number) => match number.as_f64() {
            Some(float) if !number.is_i64() && !number.is_u64() && float.fract() == 0.0 && float.abs() < 1e15 => {
                format!("{float:.0}")
            }
            _ => number.to_string(),
        },
        other => other.to_string(),
    };
    match value {
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join("\n"),
        Value::Object(entries) => {
            let line = |(key, value): (&String, &Value)| format!("{key} = {}", plain(value));
            entries.iter().map(line).collect::<Vec<_>>().join("\n")
        }
        other => plain(other),
    }
}

/// A browser sends line breaks as two characters, and leaves out those at the end.
fn same(text: &str) -> String {
    text.replace("\r\n", "\n").trim_end_matches('\n').to_owned()
}

/// The changes that a form makes to this record (null for a new one).
pub(super) fn changes(schema: &Value, record: &Value, form: &Form, language: Language) -> Changes {
    let mut changes = Changes::default();
    for field in schema["fields"].as_array().into_iter().flatten() {
        let Some(name) = field["name"].as_str() else { continue };
        let Some(typed) = form.all(&format!("field.{name}")).pop() else { continue };
        let kind = field["type"].as_str().unwrap_or_default();
        if let Some(was) = form.all(&format!("was.{name}")).pop() {
            let (was, typed, now) = (same(&was), same(&typed), same(&text(&record[name])));
            if was == typed || now == typed {
                continue;
            }
            if was != now {
                changes.clashes.push(name.to_owned());
                continue;
            }
        }
        changes.fields.insert(name.to_owned(), value(kind, typed.trim(), language));
    }
    changes
}

/// What was typed, as the API takes it; what it is not is left to the API to refuse.
fn value(kind: &str, text: &str, language: Language) -> Value {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    match kind {
        _ if text.is_empty() => Value::Null,
        "List" => lines().map(|line| json!(line)).collect(),
        "Dict" => {
            let pair = |line: &str| {
                let (key, value) = line.rsplit_once('=').unwrap_or((line, "1"));
                let value = value.trim();
                let parsed = value.parse::<bool>().ok().map(Value::Bool).or_else(|| language.number(value));
                (key.trim().to_owned(), parsed.unwrap_or_else(|| json!(value)))
            };
            Value::Object(lines().map(pair).collect())
        }
        "Boolean" => text.parse::<bool>().map_or_else(|_| json!(text), Value::Bool),
        "Integer" | "Float" => language.number(text).unwrap_or_else(|| json!(text)),
        _ => json!(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Value {
        json!({"fields": [
            {"name": "skills", "type": "Dict"}, {"name": "groups", "type": "List"}, {"name": "age", "type": "Integer"},
            {"name": "vip", "type": "Boolean"}, {"name": "note", "type": "String"}, {"name": "left", "type": "String"},
        ]})
    }

    #[test]
    fn what_is_typed_becomes_values_of_the_fields_types() {
        let form =
            "field.skills=English+%3D+5%0D%0Abilling%3Dtrue&field.groups=a%0Ab&field.age=4x&field.vip=true&field.note=";
        let found = changes(&schema(), &Value::Null, &Form::parse(form.as_bytes()), Language::English);
        let wanted = json!({"skills": {"English": 5, "billing": true}, "groups": ["a", "b"], "age": "4x", "vip": true, "note": null});
        assert_eq!(Value::Object(found.fields), wanted);
        assert!(found.clashes.is_empty());
    }

    #[test]
    fn only_what_a_person_changed_is_sent() {
        let record = json!({"skills": {"English": 5.0, "new": 1}, "groups": [" a ", "b"], "age": 4, "note": "x"});
        let form = Form::parse(
            b"was.skills=English+%3D+5&field.skills=English+%3D+5&was.groups=+a+%0D%0Ab&field.groups=+a+%0D%0Ab%0D%0A\
              &was.age=4&field.age=7&was.note=x&field.note=x",
        );
        let found = changes(&schema(), &record, &form, Language::English);
        assert_eq!(Value::Object(found.fields), json!({"age": 7}), "a skill that came meanwhile stays");
        assert!(found.clashes.is_empty());
    }

    #[test]
    fn two_who_change_the_same_field_are_told() {
        let record = json!({"age": 5, "note": "both"});
        let form = Form::parse(b"was.age=4&field.age=7&was.note=x&field.note=both");
        let found = changes(&schema(), &record, &form, Language::English);
        assert_eq!((found.fields.len(), found.clashes), (0, vec!["age".to_owned()]));
    }

    #[test]
    fn numbers_are_typed_as_the_language_writes_them() {
        assert_eq!(value("Float", "9,5", Language::German), json!(9.5));
        assert_eq!(value("Float", "1.250,5", Language::German), json!("1.250,5"), "not guessed");
        assert_eq!(value("Float", "9,5", Language::English), json!("9,5"));
        assert_eq!(text(&json!({"a": 3.0, "b": true})), "a = 3\nb = true");
    }
}
