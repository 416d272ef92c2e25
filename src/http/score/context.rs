//! Feature values of a request, as they are read.
//!
//! A value is a text, a number, true, false or null. Of a list or an object only that it was one is kept: it is scored as missing whatever is
//! in it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Value};

/// For `#[serde(deserialize_with)]`: values by the names of their fields, each once.
pub fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Map<String, Value>>, D::Error> {
    Ok(Option::<Context>::deserialize(deserializer)?.map(|context| context.0))
}

struct Context(Map<String, Value>);

impl<'de> Deserialize<'de> for Context {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Context;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Context, A::Error> {
                let mut fields = Map::new();
                while let Some((name, value)) = entries.next_entry::<String, Feature>()? {
                    match fields.entry(name) {
                        Entry::Vacant(place) => drop(place.insert(value.0)),
                        Entry::Occupied(place) => {
                            return Err(A::Error::custom(format!("the field {:?} is there twice", place.key())));
                        }
                    }
                }
                Ok(Context(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

struct Feature(Value);

impl<'de> Deserialize<'de> for Feature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One;
        impl<'de> Visitor<'de> for One {
            type Value = Feature;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number, true, false or null")
            }
            fn visit_unit<E>(self) -> Result<Feature, E> {
                Ok(Feature(Value::Null))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Feature, E> {
                Ok(Feature(value.into()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Feature, E> {
                Ok(Feature(value.into()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Feature, E> {
                Ok(Feature(value.into()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Feature, E> {
                Ok(Feature(value.into()))
            }
            fn visit_str<E>(self, text: &str) -> Result<Feature, E> {
                Ok(Feature(text.into()))
            }
            fn visit_string<E>(self, text: String) -> Result<Feature, E> {
                Ok(Feature(text.into()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Feature, A::Error> {
                while list.next_element::<Feature>()?.is_some() {}
                Ok(Feature(Value::Array(Vec::new())))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Feature, A::Error> {
                while object.next_entry::<IgnoredAny, Feature>()?.is_some() {}
                Ok(Feature(Value::Object(Map::new())))
            }
        }
        deserializer.deserialize_any(One)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::json::{parse, parse_flat};
    use crate::http::score::body::ScoreBody;

    #[test]
    fn of_lists_and_objects_only_their_kind_is_kept() {
        let text =
            r#"{"context": {"a": "x", "b": -1, "c": 2.5, "d": null, "e": true, "f": [1, {"g": []}], "h": {"i": [2]}}}"#;
        let body: ScoreBody<'_> = parse_flat(text.as_bytes()).unwrap();
        let expected = json!({"a": "x", "b": -1, "c": 2.5, "d": null, "e": true, "f": [], "h": {}});
        assert_eq!(body.context.map(serde_json::Value::Object), Some(expected));
        assert_eq!(parse::<ScoreBody<'_>>(br#"{"context": null}"#).unwrap().context, None);
    }

    #[test]
    fn a_field_that_is_there_twice_is_named() {
        let twice = br#"{"context": {"reason": "a", "reason": "b"}}"#;
        let error = parse_flat::<ScoreBody<'_>>(twice).unwrap_err();
        assert!(format!("{error:?}").contains(r#"the field \"reason\" is there twice"#), "{error:?}");
    }
}
