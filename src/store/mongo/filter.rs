//! Conditions in MongoDB's query language.
//!
//! That language looks through arrays on the way (`a.b` finds `{a: [{b: 1}]}`, `a` finds `{a: [1]}`); a [`Condition`] does
//! not. So each comparison also says that nothing on its path is an array. What remains is a plain comparison of a path, which
//! indexes answer.

use mongodb::bson::{Bson, Document, Regex, doc};
use serde_json::Value;

use crate::store::bson::{dotted, escape};
use crate::store::{Comparison, Condition, Path, Result, StoreError};

/// More would exceed what a server takes in one command.
const MAX_CONDITIONS: usize = 5_000;
/// As a person writes it, and as the server sees it (where a double negation is none).
const MAX_NESTING: usize = 100;
const MAX_SERVER_NESTING: usize = 40;

/// The filter for documents that fulfil the condition.
pub(super) fn filter(condition: &Condition) -> Result<Document> {
    one(condition, &mut Room { conditions: MAX_CONDITIONS, nesting: MAX_NESTING, server_nesting: MAX_SERVER_NESTING })
}

/// How much larger the filter may become.
struct Room {
    conditions: usize,
    nesting: usize,
    server_nesting: usize,
}

impl Room {
    /// Goes `levels` deeper (as the server sees it) for as long as `inner` takes.
    fn deeper<T>(&mut self, levels: usize, inner: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.conditions == 0 || self.nesting == 0 || self.server_nesting < levels {
            return Err(StoreError::Invalid(format!(
                "the filter is too large: at most {MAX_CONDITIONS} conditions, nested at most {MAX_SERVER_NESTING} deep"
            )));
        }
        self.conditions -= 1;
        self.nesting -= 1;
        self.server_nesting -= levels;
        let outcome = inner(self);
        self.nesting += 1;
        self.server_nesting += levels;
        outcome
    }
}

fn one(condition: &Condition, room: &mut Room) -> Result<Document> {
    if let Condition::Not(outer) = condition
        && let Condition::Not(inner) = &**outer
    {
        return room.deeper(0, |room| room.deeper(0, |room| one(inner, room)));
    }
    room.deeper(1, |room| translate(condition, room))
}

fn translate(condition: &Condition, room: &mut Room) -> Result<Document> {
    let mut each =
        |list: &[Condition]| -> Result<Vec<Document>> { list.iter().map(|condition| one(condition, room)).collect() };
    Ok(match condition {
        Condition::True => doc! {},
        Condition::All(all) if all.is_empty() => doc! {},
        Condition::All(all) => doc! { "$and": each(all)? },
        Condition::Any(any) if any.is_empty() => never(),
        Condition::Any(any) => doc! { "$or": each(any)? },
        Condition::Not(condition) => doc! { "$nor": each(std::slice::from_ref(&**condition))? },
        Condition::Compare { path, comparison, value } => compare(path, *comparison, value),
        Condition::Contains { path, element } => match scalar(element) {
            Some(element) => within(path, doc! { dotted(path): { "$elemMatch": { "$eq": element } } }),
            None => never(),
        },
        Condition::Exists { path } => within(path, exists(path)),
        Condition::HasText { path, part } => plain(path, doc! { dotted(path): without_case(part) }),
    })
}

/// Matches nothing.
fn never() -> Document {
    doc! { "$nor": [{}] }
}

fn compare(path: &Path, comparison: Comparison, value: &Value) -> Document {
    let Some(value) = scalar(value) else {
        // Nothing equals an array, an object or null.
        return if comparison == Comparison::NotEqual {
            doc! {}
        } else {
            never()
        };
    };
    let operator = match comparison {
        Comparison::Equal | Comparison::NotEqual => "$eq",
        Comparison::Less => "$lt",
        Comparison::LessOrEqual => "$lte",
        Comparison::Greater => "$gt",
        Comparison::GreaterOrEqual => "$gte",
    };
    let holds = plain(path, doc! { dotted(path): { operator: value } });
    if comparison == Comparison::NotEqual {
        doc! { "$nor": [holds] }
    } else {
        holds
    }
}

/// A value that can be compared. Integers that BSON cannot hold compare as floats, as they are stored.
pub(super) fn scalar(value: &Value) -> Option<Bson> {
    match value {
        Value::Bool(boolean) => Some(Bson::Boolean(*boolean)),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => Some(Bson::Int64(integer)),
            None => number.as_f64().map(Bson::Double),
        },
        Value::String(text) => Some(Bson::String(text.clone())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The value is there, whatever it is, and not null.
fn exists(path: &Path) -> Document {
    let path = dotted(path);
    doc! { "$or": [
        { path.as_str(): { "$type": "array" } },
        { path.as_str(): { "$exists": true, "$not": { "$type": "null" } } },
    ] }
}

/// Neither the value nor anything above it is an array.
pub(super) fn plain(path: &Path, holds: Document) -> Document {
    guarded(path, path.0.len(), holds)
}

/// Nothing above the value is an array.
fn within(path: &Path, holds: Document) -> Document {
    guarded(path, path.0.len().saturating_sub(1), holds)
}

fn guarded(path: &Path, steps: usize, holds: Document) -> Document {
    let mut all = vec![holds];
    let mut prefix = String::from("v");
    for key in &path.0[..steps] {
        prefix.push('.');
        prefix.push_str(&escape(key));
        all.push(doc! { prefix.as_str(): { "$not": { "$type": "array" } } });
    }
    if all.len() == 1 {
        all.remove(0)
    } else {
        doc! { "$and": all }
    }
}

/// A regular expression for texts that hold the part, where only ASCII letters match either case.
fn without_case(part: &str) -> Bson {
    let mut pattern = String::with_capacity(part.len() * 4);
    for character in part.chars() {
        match character {
            letter if letter.is_ascii_alphabetic() => {
                pattern.extend(['[', letter.to_ascii_lowercase(), letter.to_ascii_uppercase(), ']']);
            }
            '\0' => pattern.push_str("\\x00"),
            digit if digit.is_ascii_digit() => pattern.push(digit),
            other if other.is_ascii() => pattern.extend(['\\', other]),
            other => pattern.push(other),
        }
    }
    // The only character that a pattern cannot hold was written as an escape.
    match (pattern.try_into(), String::new().try_into()) {
        (Ok(pattern), Ok(options)) => Bson::RegularExpression(Regex { pattern, options }),
        _ => Bson::Boolean(false),
    }
}
