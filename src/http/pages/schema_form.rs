//! The form of a schema, of datasets and profiles: a row a field, of the part of the schema that is on the screen.
//!
//! Each row carries what its field was when the form was opened (`was.0`): a field that was not touched is left as it is
//! now, and one that somebody else has changed meanwhile is not changed back without a word.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::form::Form;
use super::visit::Visit;
use crate::http::ApiError;

/// Why a form cannot be taken as it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Of a field that is there no more.
    Gone(String),
    /// Of a field that is another one now than when the form was opened.
    Changed(String),
}

impl Fault {
    pub fn refused(&self, visit: &Visit) -> ApiError {
        let (text, name) = match self {
            Self::Gone(name) => {
                (visit.text("Somebody else changed the schema: there is no field {name} any more."), name)
            }
            Self::Changed(name) => {
                let text =
                    "Somebody else changed {name} meanwhile. Nothing is stored: send it again if yours is to hold.";
                (visit.text(text), name)
            }
        };
        ApiError::conflict("schema_changed", text.replace("{name}", name))
    }
}

/// The schema as the form wants it.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub fields: Vec<Value>,
    /// Fields that are to go with their values.
    pub dropped: Vec<String>,
}

/// A row: its place in the form, and what it says.
struct Row<'a> {
    form: HashMap<&'a str, &'a str>,
    place: &'a str,
}

impl<'a> Row<'a> {
    fn get(&self, what: &str) -> Option<&'a str> {
        self.form.get(format!("{what}.{}", self.place).as_str()).copied()
    }

    fn field(&self, name: &str) -> Value {
        json!({
            "name": name, "type": self.get("type"), "role": self.get("role").filter(|it| !it.is_empty()),
            "visible": self.get("visible").is_some(), "anonymize": self.get("anonymize").is_some(),
        })
    }
}

/// What a form can change of a field, as one word of a hidden input.
pub(super) fn state(field: &Value) -> String {
    let word = |key: &str| field[key].as_str().unwrap_or_default();
    let flag = |key: &'static str| if field[key] == true { key } else { "" };
    format!("{}|{}|{}|{}", word("type"), word("role"), flag("visible"), flag("anonymize"))
}

fn places(form: &Form) -> HashMap<&str, &str> {
    form.pairs().iter().filter_map(|(name, value)| Some((value.as_str(), name.strip_prefix("name.")?))).collect()
}

fn row<'a>(form: &'a Form, place: &'a str) -> Row<'a> {
    Row { form: form.pairs().iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(), place }
}

/// The present fields with what the form changes of them, and new ones where a form can add them.
pub(super) fn wanted(present: &Value, form: &Form, may_add: bool) -> Result<Wanted, Fault> {
    let mut places = places(form);
    let mut row = row(form, "");
    let mut wanted = Wanted::default();
    for field in present["fields"].as_array().into_iter().flatten() {
        let name = field["name"].as_str().unwrap_or_default();
        let now = json!({
            "name": name, "type": field["type"], "role": field["role"], "visible": field["visible"],
            "anonymize": field["anonymize"],
        });
        row.place = match places.remove(name) {
            Some(place) => place,
            None => {
                wanted.fields.push(now);
                continue;
            }
        };
        let typed = row.field(name);
        let (was, drop) = (row.get("was"), row.get("drop").is_some());
        let changed = was.is_some_and(|was| was != state(&now));
        if changed && (drop || (was != Some(&state(&typed)) && state(&typed) != state(&now))) {
            return Err(Fault::Changed(name.to_owned()));
        }
        if drop {
            wanted.dropped.push(name.to_owned());
        } else if changed {
            wanted.fields.push(now);
        } else {
            wanted.fields.push(typed);
        }
    }
    // A field of another name is a new one, unless it was there when the form was opened.
    let mut others: Vec<(&str, &str)> = places.into_iter().collect();
    others.sort_unstable();
    for (name, place) in others {
        row.place = place;
        if row.get("was").is_some() || !may_add {
            return Err(Fault::Gone(name.to_owned()));
        }
        if !name.trim().is_empty() {
            wanted.fields.push(row.field(name.trim()));
        }
    }
    Ok(wanted)
}

/// The fields at these places of a schema, as their rows are shown: with what was typed, when the form is shown again.
pub(super) fn shown(fields: &mut [Value], places: &[usize], typed: &Form) -> Vec<Value> {
    let rows = self::places(typed);
    let show = |place: &usize| {
        let mut field = fields[*place].take();
        let now = field.clone();
        let name = now["name"].as_str().unwrap_or_default();
        let typed = rows.get(name).map(|place| {
            let row = row(typed, place);
            let mut it = row.field(name);
            it["drop"] = json!(row.get("drop").is_some());
            it
        });
        field["place"] = json!(place);
        field["was"] = json!(state(&now));
        field["shown"] = typed.unwrap_or(now);
        field
    };
    places.iter().map(show).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Value {
        let field = |name: &str| json!({"name": name, "type": "String", "role": "context", "visible": true, "anonymize": false});
        json!({"fields": [field("a"), field("b"), field("c")]})
    }

    fn form(text: &str) -> Form {
        Form::parse(text.replace("WAS", "String|context|visible|").as_bytes())
    }

    #[test]
    fn what_is_not_touched_stays_as_it_is_now() {
        let mut schema = schema();
        schema["fields"][1]["role"] = json!("metric");
        let form = form(
            "name.0=a&was.0=WAS&type.0=String&role.0=agent&visible.0=on&name.1=b&was.1=WAS&type.1=String&role.1=context&visible.1=on",
        );
        let wanted = wanted(&schema, &form, false).unwrap();
        let roles: Vec<&Value> = wanted.fields.iter().map(|it| &it["role"]).collect();
        assert_eq!(
            roles,
            ["agent", "metric", "context"],
            "a is changed here, b by somebody else, c is not on the screen"
        );
    }

    #[test]
    fn what_somebody_else_changed_is_not_changed_back() {
        let mut schema = schema();
        schema["fields"][0]["role"] = json!("metric");
        let change = "name.0=a&was.0=WAS&type.0=String&role.0=agent&visible.0=on";
        assert_eq!(wanted(&schema, &form(change), true).unwrap_err(), Fault::Changed("a".to_owned()));
        let drop = "name.0=a&was.0=WAS&type.0=String&role.0=context&visible.0=on&drop.0=on";
        assert_eq!(wanted(&schema, &form(drop), true).unwrap_err(), Fault::Changed("a".to_owned()));
        let gone = "name.0=z&was.0=WAS&type.0=String&role.0=agent&visible.0=on";
        assert_eq!(wanted(&schema, &form(gone), true).unwrap_err(), Fault::Gone("z".to_owned()));
    }

    #[test]
    fn fields_are_added_and_dropped() {
        let form = form(
            "name.0=a&was.0=WAS&type.0=String&role.0=context&visible.0=on&drop.0=on&name.3=+d&type.3=Integer&name.4=",
        );
        let wanted = wanted(&schema(), &form, true).unwrap();
        assert_eq!(wanted.dropped, ["a"]);
        let names: Vec<&Value> = wanted.fields.iter().map(|it| &it["name"]).collect();
        assert_eq!(names, ["b", "c", "d"]);
    }

    #[test]
    fn a_form_is_shown_again_as_it_was_filled_in() {
        let form = form("name.0=a&was.0=WAS&type.0=Integer&role.0=agent&drop.0=on");
        let mut fields = schema()["fields"].as_array().cloned().unwrap();
        let rows = shown(&mut fields, &[0, 2], &form);
        let wanted = json!({"name": "a", "type": "Integer", "role": "agent", "visible": false, "anonymize": false, "drop": true});
        assert_eq!(rows[0]["shown"], wanted);
        assert_eq!((&rows[1]["place"], &rows[1]["shown"]["visible"]), (&json!(2), &json!(true)));
        assert_eq!(rows[1]["was"], "String|context|visible|");
    }
}
