//! JSON text → request bodies, stricter than serde's own way and in words for people.
//!
//! A struct is only ever read from an object (not from a list by position), and whatever does not fit is told with
//! the path to it, without the names of Rust's types. Syntax is checked first: a valid text that does not fit is
//! never called invalid.

use std::fmt;

use serde::Deserializer;
use serde::de::value::StringDeserializer;
use serde::de::{Deserialize, DeserializeSeed, Error as _, Expected, MapAccess, SeqAccess, Unexpected, Visitor};
use serde_json::Number;

/// How much of a refused value is repeated, in characters.
const SHOWN_CHARACTERS: usize = 64;

/// Why a text is not a body of the wanted shape.
#[derive(Debug)]
pub enum ReadError {
    /// Not JSON; serde's text, which names the line and column.
    Syntax(String),
    Misfit(Misfit),
}

/// A value that does not fit.
#[derive(Debug)]
pub struct Misfit {
    /// `unknown_field` or `invalid_body`.
    pub code: &'static str,
    pub message: String,
    /// From the innermost outwards.
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Key(String),
    Index(usize),
}

/// Reads one JSON value and nothing behind it.
pub fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, ReadError> {
    let tree: Tree = serde_json::from_slice(bytes).map_err(|error| ReadError::Syntax(error.to_string()))?;
    T::deserialize(tree).map_err(ReadError::Misfit)
}

impl Misfit {
    fn new(message: String) -> Self {
        Self { code: "invalid_body", message, steps: Vec::new() }
    }

    fn under(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Such as `records[3].skills`; empty for the body itself.
    pub fn path(&self) -> String {
        let mut path = String::new();
        for step in self.steps.iter().rev() {
            match step {
                Step::Index(index) => path.push_str(&format!("[{index}]")),
                Step::Key(key) if path.is_empty() => path.push_str(key),
                Step::Key(key) => path.push_str(&format!(".{key}")),
            }
        }
        path
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Misfit {}

impl serde::de::Error for Misfit {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Misfit::new(message.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Misfit::new(format!("{} is expected, not {}", wanted(&expected.to_string()), told(unexpected)))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let name = expected.to_string();
        match (unexpected, name.as_str()) {
            (Unexpected::Unsigned(value), "i64" | "u64" | "usize" | "isize") => {
                Misfit::new(format!("{value} is too large for a whole number (64 bit)"))
            }
            (Unexpected::Unsigned(value), "u8" | "u16" | "u32" | "i8" | "i16" | "i32") => {
                Misfit::new(format!("{value} is too large here"))
            }
            _ => Self::invalid_type(unexpected, expected),
        }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Misfit::new(format!("{} is expected, not {}", one_of(expected), told(Unexpected::Str(variant))))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let known = match expected {
            [] => "no field is known here".to_owned(),
            _ => format!("the known ones are {}", names(expected)),
        };
        Misfit { code: "unknown_field", ..Misfit::new(format!("there is no field {field:?}; {known}")) }
    }

    fn missing_field(field: &'static str) -> Self {
        Misfit::new(format!("the field {field:?} is missing")).under(Step::Key(field.to_owned()))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Misfit::new(format!("the field {field:?} is there twice")).under(Step::Key(field.to_owned()))
    }
}

fn names(all: &[&str]) -> String {
    all.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn one_of(variants: &[&str]) -> String {
    match variants {
        [only] => format!("`{only}`"),
        _ => format!("one of {}", names(variants)),
    }
}

/// What serde expects, in words that say what to send.
fn wanted(expected: &str) -> &str {
    match expected {
        "a string" | "a borrowed string" | "a character" => "a text",
        "a boolean" => "true or false",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number ≥ 0",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a sequence" => "a list",
        "a map" => "an object",
        "unit" => "null",
        other if other.starts_with("struct ") || other.starts_with("internally tagged enum ") => "an object",
        other if other.starts_with("tuple ") => "a list",
        other => other,
    }
}

fn told(unexpected: Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Float(value) => format!("{value:?}"),
        Unexpected::Str(text) => match text.char_indices().nth(SHOWN_CHARACTERS) {
            Some((end, _)) => format!("{:?}…", &text[..end]),
            None => format!("{text:?}"),
        },
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map | Unexpected::NewtypeStruct | Unexpected::StructVariant => "an object".to_owned(),
        other => other.to_string(),
    }
}

/// A JSON value; an object keeps its entries as they were written, repeated keys included.
enum Tree {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

impl Tree {
    fn unexpected(&self) -> Unexpected<'_> {
        match self {
            Tree::Null => Unexpected::Unit,
            Tree::Bool(value) => Unexpected::Bool(*value),
            Tree::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(value), _) => Unexpected::Unsigned(value),
                (None, Some(value)) => Unexpected::Signed(value),
                (None, None) => Unexpected::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Tree::Text(text) => Unexpected::Str(text),
            Tree::List(_) => Unexpected::Seq,
            Tree::Object(_) => Unexpected::Map,
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TreeVisitor;
        impl<'de> Visitor<'de> for TreeVisitor {
            type Value = Tree;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }
            fn visit_unit<E>(self) -> Result<Tree, E> {
                Ok(Tree::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
                Ok(Tree::Bool(value))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
                Ok(Tree::Number(value.into()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
                Ok(Tree::Number(value.into()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
                // JSON has no number that is not finite.
                Ok(Number::from_f64(value).map_or(Tree::Null, Tree::Number))
            }
            fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
                Ok(Tree::Text(text.to_owned()))
            }
            fn visit_string<E>(self, text: String) -> Result<Tree, E> {
                Ok(Tree::Text(text))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tree, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = list.next_element()? {
                    elements.push(element);
                }
                Ok(Tree::List(elements))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Tree::Object(entries))
            }
        }
        deserializer.deserialize_any(TreeVisitor)
    }
}

impl<'de> Deserializer<'de> for Tree {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self {
            Tree::Null => visitor.visit_unit(),
            Tree::Bool(value) => visitor.visit_bool(value),
            Tree::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(value), _) => visitor.visit_u64(value),
                (None, Some(value)) => visitor.visit_i64(value),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
            },
            Tree::Text(text) => visitor.visit_string(text),
            Tree::List(elements) => visitor.visit_seq(Elements { rest: elements.into_iter(), index: 0 }),
            Tree::Object(entries) => visitor.visit_map(Entries { rest: entries.into_iter(), value: None }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self {
            Tree::Null => visitor.visit_none(),
            other => visitor.visit_some(other),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        match self {
            object @ Tree::Object(_) => object.deserialize_any(visitor),
            other => Err(Misfit::invalid_type(other.unexpected(), &"an object")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        match self {
            Tree::Text(text) => visitor.visit_enum(StringDeserializer::<Misfit>::new(text)),
            other => Err(Misfit::new(format!("{} is expected, not {}", one_of(variants), told(other.unexpected())))),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

struct Elements {
    rest: std::vec::IntoIter<Tree>,
    index: usize,
}

impl<'de> SeqAccess<'de> for Elements {
    type Error = Misfit;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Misfit> {
        let Some(element) = self.rest.next() else { return Ok(None) };
        let index = self.index;
        self.index += 1;
        seed.deserialize(element).map(Some).map_err(|error| error.under(Step::Index(index)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

struct Entries {
    rest: std::vec::IntoIter<(String, Tree)>,
    value: Option<(String, Tree)>,
}

impl<'de> MapAccess<'de> for Entries {
    type Error = Misfit;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Misfit> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        let read = seed.deserialize(StringDeserializer::new(key.clone()));
        let read = read.map_err(|error: Misfit| error.under(Step::Key(key.clone())))?;
        self.value = Some((key, value));
        Ok(Some(read))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Misfit> {
        let Some((key, value)) = self.value.take() else { return Err(Misfit::custom("a key comes before its value")) };
        seed.deserialize(value).map_err(|error| error.under(Step::Key(key)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read by serde")]
    struct Outer {
        items: Vec<Inner>,
        #[serde(default)]
        colour: Option<Colour>,
        #[serde(default)]
        free: BTreeMap<String, serde_json::Value>,
        #[serde(default)]
        share: f64,
        #[serde(default)]
        whole: i64,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[expect(dead_code, reason = "only read by serde")]
        size: u32,
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Colour {
        Red,
        DarkBlue,
    }

    fn misfit(text: &str) -> (String, String) {
        match read::<Outer>(text.as_bytes()) {
            Err(ReadError::Misfit(misfit)) => (misfit.path(), misfit.message),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_path_and_without_names_of_types() {
        for (text, path, message) in [
            (r#"{"items":[{"size":1},{"size":"x"}]}"#, "items[1].size", "a whole number ≥ 0 is expected, not \"x\""),
            (r#"{"items":[{"size":-1}]}"#, "items[0].size", "a whole number ≥ 0 is expected, not -1"),
            (r#"{"items":[{"size":1.5}]}"#, "items[0].size", "a whole number ≥ 0 is expected, not 1.5"),
            (r#"{"items":[{"size":5000000000}]}"#, "items[0].size", "5000000000 is too large here"),
            (r#"{"items":[[1]]}"#, "items[0]", "an object is expected, not a list"),
            (r#"{"items":{}}"#, "items", "a list is expected, not an object"),
            ("[[]]", "", "an object is expected, not a list"),
            ("null", "", "an object is expected, not null"),
            ("{}", "items", "the field \"items\" is missing"),
            (r#"{"items":[],"items":[]}"#, "items", "the field \"items\" is there twice"),
            (r#"{"items":[],"colour":0}"#, "colour", "one of `red`, `dark_blue` is expected, not 0"),
            (r#"{"items":[],"colour":{"red":1}}"#, "colour", "one of `red`, `dark_blue` is expected, not an object"),
            (r#"{"items":[],"colour":"blue"}"#, "colour", "one of `red`, `dark_blue` is expected, not \"blue\""),
            (r#"{"items":[],"share":"x"}"#, "share", "a number is expected, not \"x\""),
            (
                r#"{"items":[],"whole":9223372036854775808}"#,
                "whole",
                "9223372036854775808 is too large for a whole number (64 bit)",
            ),
            (
                r#"{"items":[],"hue":1}"#,
                "hue",
                "there is no field \"hue\"; the known ones are `items`, `colour`, `free`, `share`, `whole`",
            ),
        ] {
            assert_eq!(misfit(text), (path.to_owned(), message.to_owned()), "{text}");
        }
    }

    #[test]
    fn valid_bodies_are_read_as_serde_reads_them() {
        let text = r#"{"items":[{"size":7}],"colour":"dark_blue","free":{"a":[1,2.5,null,"x",{"b":true}]},"share":2}"#;
        let outer: Outer = read(text.as_bytes()).unwrap();
        assert_eq!(outer.colour, Some(Colour::DarkBlue));
        assert_eq!(outer.free["a"], serde_json::json!([1, 2.5, null, "x", {"b": true}]));
        assert!(read::<Outer>(br#"{"items":[],"colour":null}"#).unwrap().colour.is_none());
        for bad in ["{", r#"{"items":[]} x"#, "", r#"{"items":[1e999]}"#] {
            assert!(matches!(read::<Outer>(bad.as_bytes()), Err(ReadError::Syntax(_))), "{bad}");
        }
    }
}
