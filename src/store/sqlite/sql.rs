//! Conditions as SQL.
//!
//! A value is read with `json_extract(body, '<path>')`, written exactly as in the indexes, so that they
//! are used. It loses Boolean (0 and 1) and turns arrays into text, so each comparison also asks for
//! `json_type`, and bounds an open range by the other kinds: numbers sort before texts, and `''` is the least text.

use rusqlite::types::Value as SqlValue;
use serde_json::Value;

use super::indexes::Catalog;
use crate::store::{Collection, Comparison, Condition, Path, Result, StoreError};

/// More would exceed what SQLite parses.
const MAX_CONDITIONS: usize = 5_000;
const MAX_NESTING: usize = 100;

/// SQL text with the values of its `?` in order.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Sql {
    pub text: String,
    pub values: Vec<SqlValue>,
}

impl Sql {
    pub(super) fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    pub(super) fn bind(&mut self, text: &str, value: impl Into<SqlValue>) {
        self.text.push_str(text);
        self.values.push(value.into());
    }
}

/// A text as an SQL literal. Partial indexes are found by literals only; a NUL cannot be in one.
pub(super) fn literal(text: &str) -> Option<String> {
    (!text.contains('\0')).then(|| format!("'{}'", text.replace('\'', "''")))
}

/// The path in SQLite's notation, as a literal: each key in quotes and escaped as in JSON.
fn json_path(path: &Path) -> String {
    let mut text = String::from("$");
    for key in &path.0 {
        text.push('.');
        text.push_str(&Value::from(key.as_str()).to_string());
    }
    // JSON escapes control characters, so there is no NUL.
    format!("'{}'", text.replace('\'', "''"))
}

/// The value at a path: what expression indexes hold.
pub(super) fn extract(path: &Path) -> String {
    format!("json_extract(body, {})", json_path(path))
}

/// Kind and value of an array's elements, for arrays only: what an element index has of a document.
fn elements(path: &Path) -> String {
    let path = json_path(path);
    format!(
        "SELECT CASE type WHEN 'text' THEN 't' WHEN 'true' THEN 'b' WHEN 'false' THEN 'b' ELSE 'n' END AS kind, value \
         FROM json_each(body, {path}) \
         WHERE json_type(body, {path}) = 'array' AND type NOT IN ('null', 'array', 'object')"
    )
}

/// A comparable value as SQLite's `json_extract` gives it, with its kind.
pub(super) fn scalar(value: &Value) -> Option<(char, SqlValue)> {
    match value {
        Value::Bool(boolean) => Some(('b', SqlValue::Integer(i64::from(*boolean)))),
        Value::Number(number) => Some((
            'n',
            match number.as_i64() {
                Some(integer) => SqlValue::Integer(integer),
                None => SqlValue::Real(number.as_f64()?),
            },
        )),
        Value::String(text) => Some(('t', SqlValue::Text(text.clone()))),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn kinds(kind: char) -> &'static str {
    match kind {
        'b' => "IN ('true', 'false')",
        'n' => "IN ('integer', 'real')",
        _ => "= 'text'",
    }
}

/// Writes conditions for one collection, using the element indexes that are ready.
pub(super) struct Conditions<'a> {
    pub catalog: &'a Catalog,
    pub collection: Collection,
    pub scope: Option<&'a str>,
}

impl Conditions<'_> {
    pub(super) fn write(&self, sql: &mut Sql, condition: &Condition) -> Result<()> {
        let mut left = MAX_CONDITIONS;
        self.one(sql, condition, MAX_NESTING, &mut left)
    }

    fn one(&self, sql: &mut Sql, condition: &Condition, depth: usize, left: &mut usize) -> Result<()> {
        if depth == 0 || *left == 0 {
            return Err(StoreError::Invalid(format!(
                "the filter is too large: at most {MAX_CONDITIONS} conditions, nested at most {MAX_NESTING} deep"
            )));
        }
        *left -= 1;
        match condition {
            Condition::True => sql.push("1"),
            Condition::All(all) => self.join(sql, all, (" AND ", "1"), depth, left)?,
            Condition::Any(any) => self.join(sql, any, (" OR ", "0"), depth, left)?,
            Condition::Not(condition) => {
                sql.push("((");
                self.one(sql, condition, depth - 1, left)?;
                sql.push(") IS NOT TRUE)");
            }
            Condition::Compare { path, comparison, value } => compare(sql, path, *comparison, value),
            Condition::Contains { path, element } => self.contains(sql, path, element),
            Condition::Exists { path } => sql.push(&format!("({} IS NOT NULL)", extract(path))),
            Condition::HasText { path, part } => {
                let (value, path) = (extract(path), json_path(path));
                sql.push(&format!("(json_type(body, {path}) = 'text' AND instr(lower({value}), "));
                sql.bind("?", part.to_ascii_lowercase());
                sql.push(") > 0)");
            }
        }
        Ok(())
    }

    /// Halves the list again and again: a chain of a thousand would be too deep for SQLite.
    fn join(
        &self,
        sql: &mut Sql,
        list: &[Condition],
        (operator, neutral): (&str, &str),
        depth: usize,
        left: &mut usize,
    ) -> Result<()> {
        match list {
            [] => sql.push(neutral),
            [only] => self.one(sql, only, depth - 1, left)?,
            more => {
                let (first, second) = more.split_at(more.len() / 2);
                sql.push("(");
                self.join(sql, first, (operator, neutral), depth, left)?;
                sql.push(operator);
                self.join(sql, second, (operator, neutral), depth, left)?;
                sql.push(")");
            }
        }
        Ok(())
    }

    fn contains(&self, sql: &mut Sql, path: &Path, element: &Value) {
        let Some((kind, value)) = scalar(element) else {
            sql.push("0");
            return;
        };
        match self.catalog.elements_table(self.collection, self.scope, path) {
            Some(table) => {
                sql.bind(&format!("(row IN (SELECT row FROM {table} WHERE kind = '{kind}' AND value = ?))"), value)
            }
            None => sql.bind(
                &format!("(EXISTS (SELECT 1 FROM ({}) WHERE kind = '{kind}' AND value = ?))", elements(path)),
                value,
            ),
        }
    }
}

fn compare(sql: &mut Sql, path: &Path, comparison: Comparison, value: &Value) {
    let Some((kind, bound)) = scalar(value) else {
        // Nothing equals an array, an object or null.
        sql.push(if comparison == Comparison::NotEqual { "1" } else { "0" });
        return;
    };
    let extract = extract(path);
    let typed = format!("json_type(body, {}) {}", json_path(path), kinds(kind));
    let operator = match comparison {
        Comparison::Equal | Comparison::NotEqual => "=",
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
    };
    // Keeps an index range within the kind's part of the index.
    let bound_kind = match (kind, operator) {
        ('t', "<" | "<=") => format!(" AND {extract} >= ''"),
        ('n' | 'b', ">" | ">=") => format!(" AND {extract} < ''"),
        _ => String::new(),
    };
    let (before, after) = if comparison == Comparison::NotEqual { ("((", ") IS NOT TRUE)") } else { ("(", ")") };
    sql.bind(&format!("{before}{extract} {operator} ?{bound_kind} AND {typed}{after}"), bound);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted() {
        assert_eq!(extract(&Path::key("a.b")), r#"json_extract(body, '$."a.b"')"#);
        assert_eq!(extract(&Path::new(["it's", "\"x\"\\"])), r#"json_extract(body, '$."it''s"."\"x\"\\"')"#);
        assert_eq!(literal("o'clock").as_deref(), Some("'o''clock'"));
        assert_eq!(literal("\0"), None);
    }
}
