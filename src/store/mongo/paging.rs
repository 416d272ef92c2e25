//! Pages: keyset pagination by (sort value, scope, id).
//!
//! A [`Sort`](crate::store::Sort) puts missing values first, then numbers and Booleans, then texts. MongoDB's own order is another, so a page is
//! read class by class, each in an order that an index has; numbers and Booleans are merged.

use std::cmp::Ordering;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mongodb::bson::{Bson, Document as Bdoc, doc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use super::filter;
use crate::store::bson::dotted;
use crate::store::{Comparison, Condition, Document, Path, Query, Result, StoreError};

/// The last document of a page.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// Hash of the order that the cursor belongs to: it means nothing in another.
    #[serde(rename = "o")]
    order: u64,
    #[serde(rename = "v")]
    value: SortValue,
    #[serde(rename = "i")]
    id: String,
    #[serde(rename = "s")]
    scope: String,
}

/// What a document is sorted by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum SortValue {
    #[serde(rename = "0")]
    Missing,
    #[serde(rename = "b")]
    Boolean(bool),
    #[serde(rename = "i")]
    Integer(i64),
    /// As bits, so that it is the same number again.
    #[serde(rename = "f")]
    Float(u64),
    #[serde(rename = "t")]
    Text(String),
    /// Lists and dictionaries, which have no order among themselves.
    #[serde(rename = "x")]
    Other,
}

/// Documents whose values are read together, in ascending order of the classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    Missing,
    /// Numbers, and Booleans as 0 and 1.
    Numbers,
    Texts,
    Others,
}

const CLASSES: [Class; 4] = [Class::Missing, Class::Numbers, Class::Texts, Class::Others];

impl SortValue {
    pub(super) fn class(&self) -> Class {
        match self {
            SortValue::Missing => Class::Missing,
            SortValue::Boolean(_) | SortValue::Integer(_) | SortValue::Float(_) => Class::Numbers,
            SortValue::Text(_) => Class::Texts,
            SortValue::Other => Class::Others,
        }
    }

    /// The value at `path` of a stored document's body.
    pub(super) fn of(body: &str, path: &Path) -> Result<Self> {
        let body: Value = serde_json::from_str(body).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        Ok(match path.find(&body) {
            None => SortValue::Missing,
            Some(Value::Bool(boolean)) => SortValue::Boolean(*boolean),
            Some(Value::Number(number)) => match number.as_i64() {
                Some(integer) => SortValue::Integer(integer),
                None => SortValue::Float(number.as_f64().unwrap_or(0.0).to_bits()),
            },
            Some(Value::String(text)) => SortValue::Text(text.clone()),
            Some(_) => SortValue::Other,
        })
    }

    fn to_json(&self) -> Value {
        match self {
            SortValue::Missing | SortValue::Other => Value::Null,
            SortValue::Boolean(boolean) => Value::from(*boolean),
            SortValue::Integer(integer) => Value::from(*integer),
            SortValue::Float(bits) => Value::from(f64::from_bits(*bits)),
            SortValue::Text(text) => Value::from(text.clone()),
        }
    }

    /// The number that a Boolean counts as.
    fn as_number(&self) -> Value {
        match self {
            SortValue::Boolean(boolean) => Value::from(u8::from(*boolean)),
            other => other.to_json(),
        }
    }

    /// Within one class.
    fn compare(&self, other: &Self) -> Ordering {
        // The definition of "less" for numbers and texts is the condition's.
        let less = |a: &Self, b: &Self| {
            let value = b.as_number();
            let condition = Condition::Compare { path: Path::key("v"), comparison: Comparison::Less, value };
            condition.matches(&serde_json::json!({ "v": a.as_number() }))
        };
        less(other, self).cmp(&less(self, other))
    }
}

impl Cursor {
    pub(super) fn of(query: &Query, last: &Document) -> Result<Self> {
        let value = match &query.sort.path {
            Some(path) => SortValue::of(&last.body, path)?,
            None => SortValue::Missing,
        };
        Ok(Self { order: order_of(query), value, id: last.key.id.clone(), scope: last.key.scope.clone() })
    }

    pub(super) fn encode(&self) -> Result<String> {
        let text = serde_json::to_vec(self).map_err(|error| StoreError::Failed(error.into()))?;
        Ok(URL_SAFE_NO_PAD.encode(text))
    }

    pub(super) fn decode(text: &str, query: &Query) -> Result<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok();
        let cursor: Option<Cursor> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        cursor.filter(|cursor| cursor.order == order_of(query)).ok_or_else(|| {
            StoreError::Invalid("`after` is not a cursor of this list: pass the `next` of its last page".to_owned())
        })
    }
}

fn order_of(query: &Query) -> u64 {
    let direction = if query.sort.descending { '-' } else { '+' };
    let path = query.sort.path.as_ref().map(dotted).unwrap_or_default();
    xxh3_64(format!("{}{direction}{path}", query.collection.name()).as_bytes())
}

/// One range of documents in the order of the page.
#[derive(Debug, Clone)]
pub(super) struct Range {
    pub filter: Bdoc,
    pub sort: Bdoc,
}

/// What a page is read from, in this order; the ranges of one entry are merged.
pub(super) fn ranges(query: &Query) -> Result<Vec<Vec<Range>>> {
    let cursor = query.after.as_deref().map(|after| Cursor::decode(after, query)).transpose()?;
    let selection = selection(query)?;
    let direction = if query.sort.descending { -1 } else { 1 };
    let Some(path) = &query.sort.path else {
        let mut filter = selection;
        if let Some(cursor) = &cursor {
            filter = and(filter, beyond_key(query, cursor));
        }
        return Ok(vec![vec![Range { filter, sort: doc! { "_id": direction } }]]);
    };
    let mut classes = CLASSES.to_vec();
    if query.sort.descending {
        classes.reverse();
    }
    if let Some(cursor) = &cursor {
        let from = cursor.value.class();
        classes.retain(|class| if query.sort.descending { *class <= from } else { *class >= from });
    }
    let value = dotted(path);
    let by_id = if query.scope.is_some() {
        doc! { "_id.i": direction }
    } else {
        doc! { "_id": direction }
    };
    let mut by_value = doc! { value.as_str(): direction };
    by_value.extend(by_id.clone());
    let ranges = classes.into_iter().map(|class| {
        let beyond = cursor.as_ref().filter(|cursor| cursor.value.class() == class);
        let range = |of_class: Bdoc, sort: &Bdoc, beyond: Option<Bdoc>| {
            let mut filter = and(selection.clone(), of_class);
            if let Some(beyond) = beyond {
                filter = and(filter, beyond);
            }
            Range { filter, sort: sort.clone() }
        };
        let unsorted = |cursor: &Cursor| beyond_key(query, cursor);
        match class {
            Class::Missing => {
                let missing = filter::filter(&Condition::Not(Box::new(Condition::Exists { path: path.clone() })));
                Ok(vec![range(missing?, &by_id, beyond.map(unsorted))])
            }
            Class::Others => {
                let list = doc! { value.as_str(): { "$type": ["object", "array"] } };
                // A list of dictionaries is found by either, an array above the value by neither.
                let exists = filter::filter(&Condition::Exists { path: path.clone() })?;
                Ok(vec![range(and(list, exists), &by_id, beyond.map(unsorted))])
            }
            Class::Texts => {
                let texts = filter::plain(path, doc! { value.as_str(): { "$gte": "" } });
                Ok(vec![range(
                    texts,
                    &by_value,
                    beyond.map(|cursor| beyond_value(query, path, cursor, cursor.value.to_json())),
                )])
            }
            Class::Numbers => {
                let numbers = filter::plain(path, doc! { value.as_str(): { "$gte": f64::NEG_INFINITY } });
                let booleans = filter::plain(path, doc! { value.as_str(): { "$in": [false, true] } });
                let beyond_number = beyond.map(|cursor| beyond_value(query, path, cursor, cursor.value.as_number()));
                let beyond_boolean = beyond.map(|cursor| beyond_boolean(query, path, cursor));
                Ok(vec![range(numbers, &by_value, beyond_number), range(booleans, &by_value, beyond_boolean)])
            }
        }
    });
    ranges.collect()
}

/// Everything but the page: scope and condition.
pub(super) fn selection(query: &Query) -> Result<Bdoc> {
    let condition = filter::filter(&query.condition)?;
    let Some(scope) = &query.scope else { return Ok(condition) };
    let scope = scope.as_str();
    let mut in_scope =
        doc! { "_id": { "$gte": { "s": scope, "i": Bson::MinKey }, "$lte": { "s": scope, "i": Bson::MaxKey } } };
    if !condition.is_empty() || query.sort.path.is_some() {
        // Says nothing new, but lets the server take an index over values in the scope instead of the key's.
        in_scope.insert("_id.s", scope);
    }
    Ok(and(in_scope, condition))
}

pub(super) fn and(a: Bdoc, b: Bdoc) -> Bdoc {
    match (a.is_empty(), b.is_empty()) {
        (true, _) => b,
        (_, true) => a,
        _ => doc! { "$and": [a, b] },
    }
}

fn operators(query: &Query) -> (&'static str, Comparison) {
    if query.sort.descending { ("$lt", Comparison::Less) } else { ("$gt", Comparison::Greater) }
}

/// Behind the cursor's key.
fn beyond_key(query: &Query, cursor: &Cursor) -> Bdoc {
    let (beyond, _) = operators(query);
    if query.scope.is_some() && query.sort.path.is_some() {
        return doc! { "_id.i": { beyond: cursor.id.as_str() } };
    }
    doc! { "_id": { beyond: { "s": cursor.scope.as_str(), "i": cursor.id.as_str() } } }
}

/// Behind the cursor's value, or at the same and behind its key.
fn beyond_value(query: &Query, path: &Path, cursor: &Cursor, value: Value) -> Bdoc {
    let (beyond, _) = operators(query);
    let at_least = if query.sort.descending { "$lte" } else { "$gte" };
    let path = dotted(path);
    let value = filter::scalar(&value).unwrap_or(Bson::Null);
    doc! { "$and": [
        // Implied by the next, and a range that an index starts at.
        { path.as_str(): { at_least: value.clone() } },
        { "$or": [{ path.as_str(): { beyond: value.clone() } }, { "$and": [{ path.as_str(): value }, beyond_key(query, cursor)] }] },
    ] }
}

/// Booleans behind a cursor among numbers: false counts as 0, true as 1.
fn beyond_boolean(query: &Query, path: &Path, cursor: &Cursor) -> Bdoc {
    let (_, comparison) = operators(query);
    let (mut behind, mut same) = (Vec::new(), Vec::new());
    for boolean in [false, true] {
        let number = SortValue::Integer(i64::from(boolean));
        let order = number.compare(&cursor.value);
        if order == Ordering::Equal {
            same.push(boolean);
        } else if (order == Ordering::Greater) == (comparison == Comparison::Greater) {
            behind.push(boolean);
        }
    }
    let path = dotted(path);
    doc! { "$or": [
        { path.as_str(): { "$in": behind } },
        { "$and": [{ path.as_str(): { "$in": same } }, beyond_key(query, cursor)] },
    ] }
}

/// Merges what the ranges of one class gave, in the order of the page.
pub(super) fn merge(query: &Query, mut lists: Vec<Vec<Document>>) -> Result<Vec<Document>> {
    if lists.len() == 1 {
        return Ok(lists.remove(0));
    }
    let Some(path) = &query.sort.path else { return Ok(lists.into_iter().flatten().collect()) };
    let mut all = Vec::new();
    for document in lists.into_iter().flatten() {
        all.push((SortValue::of(&document.body, path)?, document));
    }
    all.sort_by(|(a_value, a), (b_value, b)| {
        let order = a_value.compare(b_value).then_with(|| a.key.cmp(&b.key));
        if query.sort.descending { order.reverse() } else { order }
    });
    Ok(all.into_iter().map(|(_, document)| document).collect())
}
