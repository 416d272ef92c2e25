//! Pages: keyset pagination by (sort value, scope, id), with cursors that only this module reads.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, Row, params_from_iter};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::indexes::Catalog;
use super::readers::with_statement;
use super::sql::{Conditions, Sql, extract, literal};
use crate::store::{Comparison, Condition, Document, Key, Page, Path, Query, Result, StoreError};

/// The last document of a page.
#[derive(Debug, Serialize, Deserialize)]
struct Cursor {
    /// Hash of the order that the cursor belongs to: it means nothing in another.
    #[serde(rename = "o")]
    order: u64,
    #[serde(rename = "v")]
    value: CursorValue,
    #[serde(rename = "i")]
    id: String,
    #[serde(rename = "s")]
    scope: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum CursorValue {
    #[serde(rename = "0")]
    Missing,
    #[serde(rename = "i")]
    Integer(i64),
    /// As bits, so that it is the same number again.
    #[serde(rename = "f")]
    Float(u64),
    #[serde(rename = "t")]
    Text(String),
}

impl CursorValue {
    fn to_sql(&self) -> SqlValue {
        match self {
            CursorValue::Missing => SqlValue::Null,
            CursorValue::Integer(integer) => SqlValue::Integer(*integer),
            CursorValue::Float(bits) => SqlValue::Real(f64::from_bits(*bits)),
            CursorValue::Text(text) => SqlValue::Text(text.clone()),
        }
    }

    fn of_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(match row.get::<_, SqlValue>(4)? {
            SqlValue::Null | SqlValue::Blob(_) => CursorValue::Missing,
            SqlValue::Integer(integer) => CursorValue::Integer(integer),
            SqlValue::Real(float) => CursorValue::Float(float.to_bits()),
            SqlValue::Text(text) => CursorValue::Text(text),
        })
    }
}

impl Cursor {
    fn encode(&self) -> Result<String> {
        let text = serde_json::to_vec(self).map_err(|error| StoreError::Failed(error.into()))?;
        Ok(URL_SAFE_NO_PAD.encode(text))
    }

    fn decode(text: &str, order: u64) -> Result<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok();
        let cursor: Option<Cursor> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        cursor.filter(|cursor| cursor.order == order).ok_or_else(|| {
            StoreError::Invalid("`after` is not a cursor of this list: pass the `next` of its last page".to_owned())
        })
    }
}

/// Everything but the page: `FROM … WHERE …`.
pub(super) fn selection(query: &Query, catalog: &Catalog) -> Result<Sql> {
    let mut sql = Sql::default();
    sql.push(&format!(" FROM {}{} WHERE ", query.collection.name(), order_hint(query, catalog)));
    if let Some(scope) = &query.scope {
        match literal(scope) {
            Some(literal) => sql.push(&format!("scope = {literal} AND ")),
            None => sql.bind("scope = ? AND ", scope.clone()),
        }
    }
    let conditions = Conditions { catalog, collection: query.collection, scope: query.scope.as_deref() };
    conditions.write(&mut sql, &query.condition)?;
    Ok(sql)
}

/// SQLite would rather read a whole scope and sort it than follow a partial index in its order, so an
/// order by an indexed value names the index, unless a condition can find fewer documents.
fn order_hint(query: &Query, catalog: &Catalog) -> String {
    let index = |path: &Path| catalog.order_index(query.collection, query.scope.as_deref(), path);
    let selective = |condition: &Condition| match condition {
        Condition::Compare { path, comparison, .. } => *comparison != Comparison::NotEqual && index(path).is_some(),
        Condition::Contains { path, .. } => {
            catalog.elements_table(query.collection, query.scope.as_deref(), path).is_some()
        }
        _ => false,
    };
    let conditions = match &query.condition {
        Condition::All(all) => all.as_slice(),
        one => std::slice::from_ref(one),
    };
    match query.sort.path.as_ref().and_then(index) {
        Some(name) if !conditions.iter().any(selective) => format!(" INDEXED BY {name}"),
        _ => String::new(),
    }
}

/// The statements of one page, to be run in order until it is full. A cursor splits the order at the
/// documents without a value, so that each statement is one range of an index.
pub(super) fn statements(query: &Query, catalog: &Catalog) -> Result<Vec<Sql>> {
    let selection = selection(query, catalog)?;
    let value = query.sort.path.as_ref().map(extract);
    let (direction, beyond) = if query.sort.descending { ("DESC", "<") } else { ("ASC", ">") };
    let mut order = String::from(" ORDER BY ");
    if let Some(value) = &value {
        order.push_str(&format!("{value} {direction}, "));
    }
    if query.scope.is_none() {
        order.push_str(&format!("scope {direction}, "));
    }
    order.push_str(&format!("id {direction}"));
    order.push_str(" LIMIT ?");
    let select = format!("SELECT scope, id, revision, body, {}", value.as_deref().unwrap_or("NULL"));
    let statement = |restriction: Sql| {
        let mut sql = Sql { text: select.clone(), values: Vec::new() };
        sql.push(&selection.text);
        sql.values.extend(selection.values.iter().cloned());
        sql.push(&restriction.text);
        sql.values.extend(restriction.values);
        sql.push(&order);
        sql
    };
    let Some(after) = &query.after else { return Ok(vec![statement(Sql::default())]) };
    let cursor = Cursor::decode(after, order_of(query))?;

    let tie_break = |sql: &mut Sql| {
        if query.scope.is_some() {
            sql.bind(&format!("id {beyond} ?"), cursor.id.clone());
        } else {
            sql.bind(&format!("(scope, id) {beyond} (?, "), cursor.scope.clone());
            sql.bind("?)", cursor.id.clone());
        }
    };
    let restricted = |before: &str, tie: bool, after: &str| {
        let mut sql = Sql { text: before.to_owned(), values: Vec::new() };
        if tie {
            tie_break(&mut sql);
        }
        sql.push(after);
        sql
    };
    let Some(value) = &value else { return Ok(vec![statement(restricted(" AND ", true, ""))]) };
    Ok(match (&cursor.value, query.sort.descending) {
        (CursorValue::Missing, false) => vec![
            statement(restricted(&format!(" AND {value} IS NULL AND "), true, "")),
            statement(restricted(&format!(" AND {value} IS NOT NULL"), false, "")),
        ],
        (CursorValue::Missing, true) => {
            vec![statement(restricted(&format!(" AND {value} IS NULL AND "), true, ""))]
        }
        (last, descending) => {
            let mut sql = Sql::default();
            sql.bind(&format!(" AND {value} {beyond}= ?"), last.to_sql());
            sql.bind(&format!(" AND ({value} {beyond} ? OR "), last.to_sql());
            tie_break(&mut sql);
            sql.push(")");
            let mut all = vec![statement(sql)];
            if descending {
                all.push(statement(restricted(&format!(" AND {value} IS NULL"), false, "")));
            }
            all
        }
    })
}

fn order_of(query: &Query) -> u64 {
    let direction = if query.sort.descending { '-' } else { '+' };
    let path = query.sort.path.as_ref().map(extract).unwrap_or_default();
    xxh3_64(format!("{}{direction}{path}", query.collection.name()).as_bytes())
}

/// Runs the statements of a page.
pub(super) fn page(connection: &Connection, statements: &[Sql], query: &Query) -> Result<Page> {
    let mut documents = Vec::new();
    let mut last = CursorValue::Missing;
    for sql in statements {
        // One more than asked for tells whether there is a next page.
        let missing = query.limit - documents.len();
        let limit = SqlValue::Integer(i64::try_from(missing).unwrap_or(i64::MAX).saturating_add(1));
        let more = with_statement(connection, &sql.text, |statement| {
            let values = sql.values.iter().chain(std::iter::once(&limit));
            let mut rows = statement.query(params_from_iter(values))?;
            while let Some(row) = rows.next()? {
                if documents.len() == query.limit {
                    return Ok(true);
                }
                last = CursorValue::of_row(row)?;
                documents.push(document(row)?);
            }
            Ok(false)
        })?;
        if more {
            let next = next_cursor(query, &documents, last)?;
            return Ok(Page { documents, next });
        }
    }
    Ok(Page { documents, next: None })
}

fn next_cursor(query: &Query, documents: &[Document], value: CursorValue) -> Result<Option<String>> {
    let Some(last) = documents.last() else { return Ok(None) };
    let key = last.key.clone();
    Cursor { order: order_of(query), value, id: key.id, scope: key.scope }.encode().map(Some)
}

/// A document from the columns scope, id, revision, body.
pub(super) fn document(row: &Row<'_>) -> rusqlite::Result<Document> {
    Ok(Document {
        key: Key { scope: row.get(0)?, id: row.get(1)? },
        revision: row.get::<_, i64>(2)?.unsigned_abs(),
        body: row.get(3)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Collection;

    #[test]
    fn a_cursor_tells_nothing_of_how_things_are_stored() {
        let query = Query::new(Collection::Agents, "acc").sort_by(Path::new(["fields", "site"]), false);
        let cursor =
            Cursor { order: order_of(&query), value: CursorValue::Integer(7), id: "a".into(), scope: "s".into() };
        let text = cursor.encode().unwrap();
        let bytes = String::from_utf8(URL_SAFE_NO_PAD.decode(&text).unwrap()).unwrap();
        assert!(!bytes.contains("json") && !bytes.contains("body") && !bytes.contains("site"), "{bytes}");
        assert!(Cursor::decode(&text, order_of(&query)).is_ok());
        let other = query.sort_by(Path::new(["fields", "site"]), true);
        assert!(Cursor::decode(&text, order_of(&other)).is_err());
    }
}
