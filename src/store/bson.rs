//! A stored document as BSON: what MongoDB holds, and what a line of a backup is.
//!
//! `{_id: {s: scope, i: id}, r: revision, v: body}`; a blob is `{_id: …, d: bytes}`. The body keeps the order of its keys and
//! the kind of its numbers, so that its JSON text comes back as serde wrote it.
//!
//! Two things JSON has and BSON has not: keys with a dot, a leading dollar or a NUL (they are written with `%xx`, so that a path
//! can name them; see [`escape`]), and integers from 2^63 (they are held as floats, by which they compare, and as text in `x`).

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use mongodb::bson::spec::{BinarySubtype, ElementType};
use mongodb::bson::{RawArray, RawBsonRef, RawDocument};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::{Document, Key, Path, Result, StoreError};

/// Deeper bodies are refused: MongoDB takes 180 levels, JSON readers 128.
const MAX_DEPTH: usize = 100;
/// Largest document that MongoDB takes, in bytes, less what a command needs around it.
pub const MAX_DOCUMENT_BYTES: usize = (16 << 20) - (16 << 10);

/// The document's bytes, as MongoDB holds it.
///
/// # Errors
/// [`StoreError::Invalid`] when the body is no JSON object, is nested too deeply, or is too large for MongoDB.
pub fn encode_document(document: &Document) -> Result<Vec<u8>> {
    encode(&document.key, document.revision, &document.body)
}

pub(super) fn encode(key: &Key, revision: u64, body: &str) -> Result<Vec<u8>> {
    let mut writer = Writer { out: Vec::with_capacity(body.len() + 96), exact: Vec::new(), path: Vec::new() };
    let start = writer.open();
    put_key(&mut writer, key);
    writer.int64("r", revision.cast_signed());
    let at = writer.element("v");
    let mut json = serde_json::Deserializer::from_str(body);
    let no_object = |error: serde_json::Error| {
        StoreError::Invalid(format!("the body of {}/{} is no JSON object: {error}", key.scope, key.id))
    };
    ValueSeed { writer: &mut writer, type_at: at, depth: 0 }.deserialize(&mut json).map_err(no_object)?;
    json.end().map_err(no_object)?;
    if writer.out[at] != ElementType::EmbeddedDocument as u8 {
        return Err(StoreError::Invalid(format!("the body of {}/{} is no JSON object", key.scope, key.id)));
    }
    if !writer.exact.is_empty() {
        let exact = std::mem::take(&mut writer.exact);
        let list = writer.nested("x", ElementType::EmbeddedDocument);
        for (path, number) in exact {
            writer.text(&path, &number.to_string());
        }
        writer.close(list);
    }
    writer.close(start);
    if writer.out.len() > MAX_DOCUMENT_BYTES {
        return Err(StoreError::Invalid(format!(
            "the document {}/{} has {} bytes, more than the {MAX_DOCUMENT_BYTES} that can be stored",
            key.scope,
            key.id,
            writer.out.len()
        )));
    }
    Ok(writer.out)
}

/// The bytes of a blob's document.
pub fn encode_blob(key: &Key, bytes: &Bytes) -> Result<Vec<u8>> {
    if bytes.len() > MAX_DOCUMENT_BYTES {
        return Err(StoreError::Invalid(format!(
            "the blob {}/{} has {} bytes, more than the {MAX_DOCUMENT_BYTES} that can be stored",
            key.scope,
            key.id,
            bytes.len()
        )));
    }
    let mut writer = Writer { out: Vec::with_capacity(bytes.len() + 96), exact: Vec::new(), path: Vec::new() };
    let start = writer.open();
    put_key(&mut writer, key);
    let at = writer.element("d");
    writer.out[at] = ElementType::Binary as u8;
    writer.out.extend_from_slice(&length(bytes.len()));
    writer.out.push(BinarySubtype::Generic.into());
    writer.out.extend_from_slice(bytes);
    writer.close(start);
    Ok(writer.out)
}

/// The key alone, as the value of `_id`.
pub(super) fn encode_key(key: &Key) -> mongodb::bson::Document {
    mongodb::bson::doc! { "s": key.scope.as_str(), "i": key.id.as_str() }
}

/// A document from its bytes. Members that a newer program may have added are passed over.
///
/// # Errors
/// [`StoreError::Corrupt`] when the bytes are not what [`encode_document`] writes.
pub fn decode_document(bytes: &[u8]) -> Result<Document> {
    let raw = RawDocument::from_bytes(bytes).map_err(|error| corrupt(&error))?;
    decode(raw)
}

pub(super) fn decode(raw: &RawDocument) -> Result<Document> {
    let (mut key, mut revision, mut value, mut exact) = (None, None, None, None);
    for element in raw {
        let (name, found) = element.map_err(|error| corrupt(&error))?;
        match (name.as_str(), found) {
            ("_id", RawBsonRef::Document(id)) => key = Some(decode_key(id)?),
            ("r", RawBsonRef::Int64(number)) => revision = Some(number.cast_unsigned()),
            ("v", RawBsonRef::Document(body)) => value = Some(body),
            ("x", RawBsonRef::Document(list)) => exact = Some(list),
            _ => {}
        }
    }
    let (Some(key), Some(revision), Some(value)) = (key, revision, value) else {
        return Err(StoreError::Corrupt("a stored document lacks _id, r or v".to_owned()));
    };
    let mut text = Text { out: Vec::with_capacity(value.as_bytes().len() * 2), exact, path: Vec::new() };
    text.object(value)?;
    // Only whole texts and JSON's own characters were written.
    let body = String::from_utf8(text.out).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    Ok(Document { key, revision, body })
}

/// A blob from its bytes.
pub fn decode_blob(bytes: &[u8]) -> Result<(Key, Bytes)> {
    let raw = RawDocument::from_bytes(bytes).map_err(|error| corrupt(&error))?;
    let id = raw.get_document("_id").map_err(|error| corrupt(&error))?;
    let data = raw.get_binary("d").map_err(|error| corrupt(&error))?;
    Ok((decode_key(id)?, Bytes::copy_from_slice(data.bytes)))
}

pub(super) fn decode_key(id: &RawDocument) -> Result<Key> {
    let scope = id.get_str("s").map_err(|error| corrupt(&error))?;
    let id = id.get_str("i").map_err(|error| corrupt(&error))?;
    Ok(Key::new(scope, id))
}

fn corrupt(error: &dyn fmt::Display) -> StoreError {
    StoreError::Corrupt(format!("stored BSON cannot be read: {error}"))
}

/// A key as BSON may hold it, and as one step of a path: `%`, `.`, `$` and NUL as `%` and two digits, the empty key as `%`.
pub(super) fn escape(key: &str) -> Cow<'_, str> {
    if key.is_empty() {
        return Cow::Borrowed("%");
    }
    if !key.bytes().any(|byte| matches!(byte, b'%' | b'.' | b'$' | 0)) {
        return Cow::Borrowed(key);
    }
    let mut escaped = String::with_capacity(key.len() + 8);
    for character in key.chars() {
        match character {
            '%' => escaped.push_str("%25"),
            '.' => escaped.push_str("%2E"),
            '$' => escaped.push_str("%24"),
            '\0' => escaped.push_str("%00"),
            other => escaped.push(other),
        }
    }
    Cow::Owned(escaped)
}

fn unescape(key: &str) -> Cow<'_, str> {
    if key == "%" {
        return Cow::Borrowed("");
    }
    if !key.contains('%') {
        return Cow::Borrowed(key);
    }
    Cow::Owned(key.replace("%2E", ".").replace("%24", "$").replace("%00", "\0").replace("%25", "%"))
}

/// Where the value at `path` is in a stored document.
pub(super) fn dotted(path: &Path) -> String {
    let mut text = String::from("v");
    for key in &path.0 {
        text.push('.');
        text.push_str(&escape(key));
    }
    text
}

// ---- JSON text to BSON bytes ----

struct Writer {
    out: Vec<u8>,
    /// Integers that BSON cannot hold: escaped path below `v`, number.
    exact: Vec<(String, u64)>,
    /// Escaped steps to where the writer is.
    path: Vec<String>,
}

impl Writer {
    fn open(&mut self) -> usize {
        let start = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        start
    }

    fn close(&mut self, start: usize) {
        self.out.push(0);
        let size = length(self.out.len() - start);
        self.out[start..start + 4].copy_from_slice(&size);
    }

    /// Begins an element; answers where its type has to be written.
    fn element(&mut self, name: &str) -> usize {
        let at = self.out.len();
        self.out.push(ElementType::Null as u8);
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(0);
        at
    }

    fn nested(&mut self, name: &str, kind: ElementType) -> usize {
        let at = self.element(name);
        self.out[at] = kind as u8;
        self.open()
    }

    fn int64(&mut self, name: &str, number: i64) {
        let at = self.element(name);
        self.out[at] = ElementType::Int64 as u8;
        self.out.extend_from_slice(&number.to_le_bytes());
    }

    fn text(&mut self, name: &str, text: &str) {
        let at = self.element(name);
        self.out[at] = ElementType::String as u8;
        self.text_value(text);
    }

    fn text_value(&mut self, text: &str) {
        self.out.extend_from_slice(&length(text.len() + 1));
        self.out.extend_from_slice(text.as_bytes());
        self.out.push(0);
    }
}

fn put_key(writer: &mut Writer, key: &Key) {
    let id = writer.nested("_id", ElementType::EmbeddedDocument);
    writer.text("s", &key.scope);
    writer.text("i", &key.id);
    writer.close(id);
}

/// Whoever would need more has been refused before the bytes are used.
fn length(size: usize) -> [u8; 4] {
    i32::try_from(size).unwrap_or(i32::MAX).to_le_bytes()
}

/// Writes one JSON value whose element has begun.
struct ValueSeed<'w> {
    writer: &'w mut Writer,
    type_at: usize,
    depth: usize,
}

impl ValueSeed<'_> {
    fn kind(&mut self, kind: ElementType) {
        self.writer.out[self.type_at] = kind as u8;
    }

    fn too_deep<E: serde::de::Error>(&self) -> Result<(), E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format_args!("nested deeper than {MAX_DEPTH} levels")));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E: serde::de::Error>(mut self) -> Result<(), E> {
        self.kind(ElementType::Null);
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(mut self, boolean: bool) -> Result<(), E> {
        self.kind(ElementType::Boolean);
        self.writer.out.push(u8::from(boolean));
        Ok(())
    }

    fn visit_i64<E: serde::de::Error>(mut self, number: i64) -> Result<(), E> {
        self.kind(ElementType::Int64);
        self.writer.out.extend_from_slice(&number.to_le_bytes());
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<(), E> {
        match i64::try_from(number) {
            Ok(number) => self.visit_i64(number),
            Err(_) => {
                self.writer.exact.push((self.writer.path.join("."), number));
                self.visit_f64(number as f64)
            }
        }
    }

    fn visit_f64<E: serde::de::Error>(mut self, number: f64) -> Result<(), E> {
        self.kind(ElementType::Double);
        self.writer.out.extend_from_slice(&number.to_le_bytes());
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(mut self, text: &str) -> Result<(), E> {
        self.kind(ElementType::String);
        self.writer.text_value(text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        self.too_deep()?;
        self.kind(ElementType::Array);
        let start = self.writer.open();
        let mut position = 0_usize;
        loop {
            // The element begins only when there is one.
            let before = self.writer.out.len();
            let name = position.to_string();
            let type_at = self.writer.element(&name);
            self.writer.path.push(name);
            let seed = ValueSeed { writer: self.writer, type_at, depth: self.depth + 1 };
            let more = items.next_element_seed(seed)?.is_some();
            self.writer.path.pop();
            if !more {
                self.writer.out.truncate(before);
                break;
            }
            position += 1;
        }
        self.writer.close(start);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        self.too_deep()?;
        self.kind(ElementType::EmbeddedDocument);
        let start = self.writer.open();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let key = escape(&key);
            let type_at = self.writer.element(&key);
            self.writer.path.push(key.into_owned());
            map.next_value_seed(ValueSeed { writer: self.writer, type_at, depth: self.depth + 1 })?;
            self.writer.path.pop();
        }
        if self.writer.out.len() > MAX_DOCUMENT_BYTES {
            return Err(A::Error::custom(format_args!("longer than {MAX_DOCUMENT_BYTES} bytes")));
        }
        self.writer.close(start);
        Ok(())
    }
}

// ---- BSON to JSON text ----

struct Text<'a> {
    out: Vec<u8>,
    exact: Option<&'a RawDocument>,
    /// Escaped steps to where the text is, kept only while there are exact integers.
    path: Vec<&'a str>,
}

impl<'a> Text<'a> {
    fn object(&mut self, document: &'a RawDocument) -> Result<()> {
        self.out.push(b'{');
        let mut first = true;
        for element in document {
            let (name, value) = element.map_err(|error| corrupt(&error))?;
            if !std::mem::take(&mut first) {
                self.out.push(b',');
            }
            json(&mut self.out, &unescape(name.as_str()))?;
            self.out.push(b':');
            self.step(name.as_str(), value)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn array(&mut self, array: &'a RawArray) -> Result<()> {
        self.out.push(b'[');
        // The names of an array's elements are its positions.
        let elements = RawDocument::from_bytes(array.as_bytes()).map_err(|error| corrupt(&error))?;
        let mut first = true;
        for element in elements {
            let (name, value) = element.map_err(|error| corrupt(&error))?;
            if !std::mem::take(&mut first) {
                self.out.push(b',');
            }
            self.step(name.as_str(), value)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn step(&mut self, name: &'a str, value: RawBsonRef<'a>) -> Result<()> {
        if self.exact.is_none() {
            return self.value(value);
        }
        self.path.push(name);
        let outcome = self.value(value);
        self.path.pop();
        outcome
    }

    fn value(&mut self, value: RawBsonRef<'a>) -> Result<()> {
        match value {
            RawBsonRef::Document(document) => self.object(document),
            RawBsonRef::Array(array) => self.array(array),
            RawBsonRef::String(text) => json(&mut self.out, text),
            RawBsonRef::Boolean(boolean) => json(&mut self.out, &boolean),
            RawBsonRef::Int64(number) => json(&mut self.out, &number),
            // Written by hand in the database's shell, perhaps.
            RawBsonRef::Int32(number) => json(&mut self.out, &number),
            RawBsonRef::Double(number) => match self.exact_at_path() {
                Some(exact) => {
                    self.out.extend_from_slice(exact.as_bytes());
                    Ok(())
                }
                None => json(&mut self.out, &number),
            },
            RawBsonRef::Null => json(&mut self.out, &()),
            other => {
                Err(StoreError::Corrupt(format!("a stored value is {:?}, which JSON has not", other.element_type())))
            }
        }
    }

    fn exact_at_path(&self) -> Option<&'a str> {
        let text = self.exact?.get_str(self.path.join(".")).ok()?;
        text.parse::<u64>().is_ok().then_some(text)
    }
}

fn json(out: &mut Vec<u8>, value: &(impl serde::Serialize + ?Sized)) -> Result<()> {
    serde_json::to_writer(out, value).map_err(|error| StoreError::Corrupt(error.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn round_trip(body: &str) -> Document {
        let document = Document { key: Key::new("scope \0", "id"), revision: 7, body: body.to_owned() };
        let bytes = encode_document(&document).unwrap();
        let again = decode_document(&bytes).unwrap();
        assert_eq!(again.key, document.key);
        assert_eq!(again.revision, 7);
        again
    }

    #[test]
    fn the_text_comes_back_as_serde_writes_it() {
        let body = json!({
            "z": 1, "a": 1.0, "big": u64::MAX, "list": [i64::MIN, u64::MAX - 1, [], {}, null, true],
            "": "empty", "a.b": 1e300, "$c": "\u{0}\"\\ü👋", "%2E": -0.0, "%": {"\u{0}": 5e-324, "": {"": u64::MAX}},
        })
        .to_string();
        assert_eq!(round_trip(&body).body, body);
    }

    #[test]
    fn bodies_that_are_no_objects_are_refused() {
        for body in ["", "[1]", "{\"a\":", "7", "{}x", "null"] {
            let document = Document { key: Key::new("s", "i"), revision: 1, body: body.to_owned() };
            assert!(matches!(encode_document(&document), Err(StoreError::Invalid(_))), "{body}");
        }
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(110), "]".repeat(110));
        let document = Document { key: Key::new("s", "i"), revision: 1, body: deep };
        assert!(matches!(encode_document(&document), Err(StoreError::Invalid(_))));
    }

    #[test]
    fn blobs_come_back() {
        let key = Key::new("journal/agents", "1");
        let bytes = Bytes::from_static(b"\0\x01 anything");
        assert_eq!(decode_blob(&encode_blob(&key, &bytes).unwrap()).unwrap(), (key, bytes));
    }

    #[test]
    fn damaged_bytes_are_corrupt() {
        let document = Document { key: Key::new("s", "i"), revision: 1, body: "{\"a\":[1,2]}".to_owned() };
        let bytes = encode_document(&document).unwrap();
        for cut in 0..bytes.len() {
            assert!(matches!(decode_document(&bytes[..cut]), Err(StoreError::Corrupt(_))), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn any_keys_and_values_come_back(keys in prop::collection::vec(any::<String>(), 0..5), numbers in prop::collection::vec(any::<u64>(), 5), float in any::<f64>()) {
            let float = if float.is_finite() { float } else { 0.0 };
            let mut map = serde_json::Map::new();
            for (key, number) in keys.iter().zip(&numbers) {
                map.insert(key.clone(), json!([number, float, {key: number}, key]));
            }
            let body = Value::Object(map).to_string();
            prop_assert_eq!(round_trip(&body).body, body);
        }

        #[test]
        fn escaped_keys_are_steps_of_a_path(key in any::<String>()) {
            let escaped = escape(&key);
            prop_assert!(!escaped.is_empty() && !escaped.contains(['.', '$', '\0']));
            prop_assert_eq!(unescape(&escaped), key.as_str());
        }
    }
}
