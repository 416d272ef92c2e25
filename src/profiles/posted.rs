//! A record as a client sent it: a JSON tree that borrows its texts from the request's body.
//!
//! A post has thousands of small values, and each is looked at once: a tree that owns its texts would cost more than
//! all the checks.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Number, Value};

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub enum Posted<'a> {
    Null,
    Bool(bool),
    Number(Number),
    /// Borrowed unless it was written with escapes.
    Text(Cow<'a, str>),
    List(Vec<Posted<'a>>),
    Object(Members<'a>),
}

/// An object's members in the order of their names. Of a name that is there twice the last value counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Members<'a>(Vec<(Cow<'a, str>, Posted<'a>)>);

impl<'a> Members<'a> {
    fn new(mut members: Vec<(Cow<'a, str>, Posted<'a>)>) -> Self {
        // Programs often write them in order.
        if !members.is_sorted_by(|(one, _), (other, _)| one < other) {
            // Stable: equal names stay in the order in which they came.
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            members.dedup_by(|later, kept| {
                let same = later.0 == kept.0;
                if same {
                    std::mem::swap(later, kept);
                }
                same
            });
        }
        Self(members)
    }

    pub fn get(&self, name: &str) -> Option<&Posted<'a>> {
        let at = self.0.binary_search_by(|(member, _)| member.as_ref().cmp(name)).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Posted<'a>)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Posted<'_> {
    pub fn is_null(&self) -> bool {
        matches!(self, Posted::Null)
    }
}

impl<'a> From<&'a Value> for Posted<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Posted::Null,
            Value::Bool(value) => Posted::Bool(*value),
            Value::Number(number) => Posted::Number(number.clone()),
            Value::String(text) => Posted::Text(text.into()),
            Value::Array(elements) => Posted::List(elements.iter().map(Posted::from).collect()),
            Value::Object(members) => Posted::Object(members.into()),
        }
    }
}

impl<'a> From<&'a Map<String, Value>> for Members<'a> {
    fn from(members: &'a Map<String, Value>) -> Self {
        Members::new(members.iter().map(|(name, value)| (Cow::from(name), value.into())).collect())
    }
}

/// As JSON without white space.
impl fmt::Display for Posted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Posted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Posted::Null => serializer.serialize_unit(),
            Posted::Bool(value) => serializer.serialize_bool(*value),
            Posted::Number(number) => number.serialize(serializer),
            Posted::Text(text) => serializer.serialize_str(text),
            Posted::List(elements) => serializer.collect_seq(elements),
            Posted::Object(members) => serializer.collect_map(members.iter()),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Posted<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PostedVisitor)
    }
}

struct PostedVisitor;

impl<'de> Visitor<'de> for PostedVisitor {
    type Value = Posted<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Posted<'de>, E> {
        Ok(Posted::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Posted<'de>, E> {
        Ok(Posted::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Posted<'de>, E> {
        Ok(Posted::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Posted<'de>, E> {
        Ok(Posted::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Posted<'de>, E> {
        // JSON has no number that is not finite.
        Ok(Number::from_f64(value).map_or(Posted::Null, Posted::Number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Posted<'de>, E> {
        Ok(Posted::Text(text.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Posted<'de>, E> {
        Ok(Posted::Text(text.to_owned().into()))
    }

    fn visit_string<E>(self, text: String) -> Result<Posted<'de>, E> {
        Ok(Posted::Text(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Posted<'de>, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            elements.push(element);
        }
        Ok(Posted::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Posted<'de>, A::Error> {
        let mut members = Vec::with_capacity(8);
        while let Some((Name(name), value)) = map.next_entry()? {
            members.push((name, value));
        }
        Ok(Posted::Object(Members::new(members)))
    }
}

/// A member's name.
#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-1e300..1e300).prop_map(Value::from),
            "[a-zé\"\\\\\n]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c\"]{0,2}", inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_text_is_read_as_a_tree_is(value in json()) {
            let text = value.to_string();
            let posted: Posted<'_> = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&posted, &Posted::from(&value));
            prop_assert_eq!(posted.to_string(), text);
        }
    }

    #[test]
    fn members_are_in_order_and_the_last_of_a_name_counts() {
        let text = r#"{"b":1,"a":2,"b":3,"\u0061":4,"b":5}"#;
        let posted: Posted<'_> = serde_json::from_str(text).unwrap();
        assert_eq!(posted.to_string(), serde_json::from_str::<Value>(text).unwrap().to_string());
        let Posted::Object(members) = posted else { panic!("an object") };
        assert_eq!((members.get("a"), members.len()), (Some(&Posted::Number(4.into())), 2));
        assert_eq!(members.get("c"), None);
    }
}
