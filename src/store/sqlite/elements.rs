//! Element indexes: tables of (kind, value, row), one line an element of a document's array.
//!
//! The writer keeps them beside each document that it writes, and only where the array has changed. (Triggers would
//! read every body twice, and make each statement keep copies of the pages that it writes.)

use rusqlite::{Connection, OptionalExtension, params};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::indexes::Index;
use super::sql::{literal, scalar};
use crate::store::{Collection, Key, Result, StoreError};

/// Rows of an element index filled in one transaction.
const ROWS_PER_STEP: usize = 2_000;

pub(super) fn create_table(connection: &Connection, number: i64) -> Result<()> {
    connection.execute_batch(&format!(
        "CREATE TABLE x_{number} (kind TEXT NOT NULL, value NOT NULL, row INTEGER NOT NULL, \
             PRIMARY KEY (kind, value, row)) WITHOUT ROWID"
    ))?;
    Ok(())
}

/// Adds the documents after the row `from`, a piece of them; the last row of the piece, `None` when nothing is left.
pub(super) fn fill(connection: &Connection, index: &Index, from: i64) -> Result<Option<i64>> {
    let spec = &index.spec;
    let in_scope = spec.scope.as_deref().and_then(literal).map(|scope| format!("scope = {scope}"));
    let sql = format!(
        "SELECT row, {} AS here, body FROM {} WHERE row > ? ORDER BY row LIMIT {ROWS_PER_STEP}",
        in_scope.as_deref().unwrap_or("1"),
        spec.collection.name()
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([from])?;
    let mut last = None;
    while let Some(row) = rows.next()? {
        let number = row.get(0)?;
        last = Some(number);
        if row.get(1)? {
            let body = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
            add(connection, index, number, array_at(body, &spec.path.0)?)?;
        }
    }
    Ok(last)
}

/// A document as it was before a write.
pub(super) struct Before {
    row: i64,
    body: String,
}

/// The document that a write is about to change; `None` when there is none.
pub(super) fn before(connection: &Connection, collection: Collection, key: &Key) -> Result<Option<Before>> {
    let sql = format!("SELECT row, body FROM {} WHERE scope = ? AND id = ?", collection.name());
    let mut statement = connection.prepare_cached(&sql)?;
    let read = |row: &rusqlite::Row<'_>| Ok(Before { row: row.get(0)?, body: row.get(1)? });
    Ok(statement.query_row([&key.scope, &key.id], read).optional()?)
}

/// Follows a write that succeeded: `body` is the new document, `None` when it was deleted.
pub(super) fn follow(
    connection: &Connection,
    indexes: &[Index],
    before: Option<&Before>,
    body: Option<&str>,
) -> Result<()> {
    let row = before.map_or_else(|| connection.last_insert_rowid(), |before| before.row);
    for index in indexes {
        let path = &index.spec.path.0;
        let old = before.map(|before| array_at(&before.body, path)).transpose()?.flatten();
        let new = body.map(|body| array_at(body, path)).transpose()?.flatten();
        if old != new {
            remove(connection, index, row, old)?;
            add(connection, index, row, new)?;
        }
    }
    Ok(())
}

fn add(connection: &Connection, index: &Index, row: i64, array: Option<&str>) -> Result<()> {
    let sql = format!("INSERT OR IGNORE INTO {} (kind, value, row) VALUES (?, ?, ?)", index.object());
    each(connection, &sql, row, array)
}

fn remove(connection: &Connection, index: &Index, row: i64, array: Option<&str>) -> Result<()> {
    let sql = format!("DELETE FROM {} WHERE kind = ? AND value = ? AND row = ?", index.object());
    each(connection, &sql, row, array)
}

/// Runs the statement for each element that can be compared.
fn each(connection: &Connection, sql: &str, row: i64, array: Option<&str>) -> Result<()> {
    let Some(array) = array else { return Ok(()) };
    let elements: Vec<Value> = serde_json::from_str(array).map_err(broken)?;
    let mut statement = connection.prepare_cached(sql)?;
    for (kind, value) in elements.iter().filter_map(scalar) {
        statement.execute(params![kind.to_string(), value, row])?;
    }
    Ok(())
}

fn broken(error: serde_json::Error) -> StoreError {
    StoreError::Corrupt(format!("a document's body is no JSON: {error}"))
}

/// The text of the array at the path; `None` when there is something else, or nothing.
fn array_at<'b>(body: &'b str, path: &[String]) -> Result<Option<&'b str>> {
    let found = At(path).deserialize(&mut serde_json::Deserializer::from_str(body)).map_err(broken)?;
    Ok(found.map(RawValue::get).filter(|text| text.starts_with('[')))
}

/// Reads the value at a path and passes over everything else.
struct At<'p>(&'p [String]);

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.0.is_empty() {
            <&RawValue>::deserialize(deserializer).map(Some)
        } else {
            deserializer.deserialize_any(self)
        }
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        let Some((first, rest)) = self.0.split_first() else { return Ok(None) };
        while let Some(here) = map.next_key_seed(Is(first))? {
            if here {
                found = map.next_value_seed(At(rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        while sequence.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Whether a key is the one that is looked for.
struct Is<'k>(&'k str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_found_by_its_path() {
        let body = r#"{"a":{"b":["x",1],"c":{"b":[2]}},"b":[3],"d\n":[null,[4]],"e":7,"f":null,"g":"[5]"}"#;
        let at = |path: &[&str]| {
            let path: Vec<String> = path.iter().map(|key| (*key).to_owned()).collect();
            array_at(body, &path).unwrap()
        };
        assert_eq!(at(&["a", "b"]), Some(r#"["x",1]"#));
        assert_eq!(at(&["a", "c", "b"]), Some("[2]"));
        assert_eq!(at(&["d\n"]), Some("[null,[4]]"));
        for missing in [&["a"][..], &["e"], &["f"], &["g"], &["b", "x"], &["e", "x"], &["f", "x"], &["g", "x"], &["z"]]
        {
            assert_eq!(at(missing), None, "{missing:?}");
        }
        assert!(array_at("{broken", &["a".to_owned()]).is_err());
    }
}
