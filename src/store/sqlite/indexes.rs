//! Indexes that the product asks for: what is known about them, and how they are built.
//!
//! A scalar index is an SQLite index over `json_extract`. An element index is a table of
//! (kind, value, row), kept by the writer ([`super::elements`]) and filled in pieces, so that writes go on meanwhile.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rusqlite::{Connection, params};

use super::elements::{create_table, fill};
use super::sql::{extract, literal};
use crate::store::{Collection, IndexInfo, IndexSpec, IndexState, Path, Result, StoreError};

/// Statements whose plans are remembered for counting uses, and how long one may be.
const MAX_PLANS: usize = 1_000;
pub(super) const MAX_REMEMBERED_BYTES: usize = 8_192;

#[derive(Debug, Clone)]
pub(super) struct Index {
    pub number: i64,
    pub spec: IndexSpec,
    pub state: IndexState,
    uses: Arc<AtomicU64>,
}

impl Index {
    /// The name of the index, or of its table of elements.
    pub(super) fn object(&self) -> String {
        format!("x_{}", self.number)
    }
}

/// The indexes in memory: for writing queries and for counting uses.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    indexes: RwLock<Vec<Index>>,
    /// Which indexes each statement uses.
    plans: Mutex<HashMap<String, Arc<[i64]>>>,
}

impl Catalog {
    pub(super) fn load(connection: &Connection) -> Result<Self> {
        let catalog = Catalog::default();
        catalog.reload(connection)?;
        Ok(catalog)
    }

    fn reload(&self, connection: &Connection) -> Result<()> {
        let mut statement = connection.prepare(
            "SELECT number, collection, name, scope, path, elements, state FROM store_indexes ORDER BY number",
        )?;
        let mut rows = statement.query([])?;
        let mut loaded = Vec::new();
        let mut indexes = self.indexes.write().unwrap_or_else(PoisonError::into_inner);
        while let Some(row) = rows.next()? {
            let (collection, path): (String, String) = (row.get(1)?, row.get(4)?);
            let collection = Collection::ALL.into_iter().find(|each| each.name() == collection);
            let path = serde_json::from_str(&path).ok().map(Path);
            // An index of a collection that this version does not know stays as it is.
            let (Some(collection), Some(path)) = (collection, path) else { continue };
            let number = row.get(0)?;
            let known = indexes.iter().find(|index| index.number == number);
            loaded.push(Index {
                number,
                spec: IndexSpec { name: row.get(2)?, collection, scope: row.get(3)?, path, elements: row.get(5)? },
                state: if row.get::<_, String>(6)? == "ready" { IndexState::Ready } else { IndexState::Building },
                uses: known.map(|index| Arc::clone(&index.uses)).unwrap_or_default(),
            });
        }
        *indexes = loaded;
        self.plans.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }

    /// The table that answers `Contains` for this path in this scope.
    pub(super) fn elements_table(&self, collection: Collection, scope: Option<&str>, path: &Path) -> Option<String> {
        let indexes = self.indexes.read().unwrap_or_else(PoisonError::into_inner);
        let found = indexes.iter().find(|index| {
            let spec = &index.spec;
            spec.elements
                && index.state == IndexState::Ready
                && spec.collection == collection
                && spec.path == *path
                && (spec.scope.is_none() || spec.scope.as_deref() == scope)
        })?;
        Some(found.object())
    }

    /// The element indexes of a scope, those that are being built, too.
    pub(super) fn element_indexes(&self, collection: Collection, scope: &str) -> Vec<Index> {
        let indexes = self.indexes.read().unwrap_or_else(PoisonError::into_inner);
        let found = indexes.iter().filter(|index| {
            let spec = &index.spec;
            spec.elements && spec.collection == collection && spec.scope.as_deref().is_none_or(|of| of == scope)
        });
        found.cloned().collect()
    }

    /// The index to read a scope in the order of a value.
    pub(super) fn order_index(&self, collection: Collection, scope: Option<&str>, path: &Path) -> Option<String> {
        let indexes = self.indexes.read().unwrap_or_else(PoisonError::into_inner);
        let found = indexes.iter().find(|index| {
            let spec = &index.spec;
            !spec.elements
                && index.state == IndexState::Ready
                && spec.collection == collection
                && spec.path == *path
                && spec.scope.as_deref() == scope
        })?;
        Some(found.object())
    }

    fn building(&self) -> Option<Index> {
        let indexes = self.indexes.read().unwrap_or_else(PoisonError::into_inner);
        indexes.iter().find(|index| index.state == IndexState::Building).cloned()
    }

    fn find(&self, collection: Collection, name: &str) -> Option<Index> {
        let indexes = self.indexes.read().unwrap_or_else(PoisonError::into_inner);
        indexes.iter().find(|index| index.spec.collection == collection && index.spec.name == name).cloned()
    }

    pub(super) fn list(&self, connection: &Connection, collection: Collection) -> Result<Vec<IndexInfo>> {
        let indexes = self.indexes.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut size =
            connection.prepare_cached("SELECT SUM(pgsize) FROM dbstat WHERE aggregate = TRUE AND name = ?")?;
        let mut list = Vec::new();
        for index in indexes.into_iter().filter(|index| index.spec.collection == collection) {
            let size_bytes = match index.state {
                IndexState::Ready => size.query_row([index.object()], |row| row.get::<_, Option<i64>>(0))?,
                IndexState::Building => None,
            };
            list.push(IndexInfo {
                size_bytes: size_bytes.map(i64::unsigned_abs),
                uses: Some(index.uses.load(Ordering::Relaxed)),
                state: index.state,
                spec: index.spec,
            });
        }
        Ok(list)
    }

    /// Counts one use of every index that the statement's plan names.
    pub(super) fn count_uses(&self, connection: &Connection, sql: &str) -> Result<()> {
        // Filters of many conditions are rare and long: they are not remembered, and not counted.
        if sql.len() > MAX_REMEMBERED_BYTES || self.indexes.read().unwrap_or_else(PoisonError::into_inner).is_empty() {
            return Ok(());
        }
        let known = self.plans.lock().unwrap_or_else(PoisonError::into_inner).get(sql).cloned();
        let numbers = match known {
            Some(numbers) => numbers,
            None => {
                let numbers: Arc<[i64]> = planned(connection, sql)?.into();
                let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
                if plans.len() >= MAX_PLANS {
                    plans.clear();
                }
                plans.insert(sql.to_owned(), Arc::clone(&numbers));
                numbers
            }
        };
        if !numbers.is_empty() {
            let indexes = self.indexes.read().unwrap_or_else(PoisonError::into_inner);
            for index in indexes.iter().filter(|index| numbers.contains(&index.number)) {
                index.uses.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

/// Numbers of the indexes in the statement's plan.
fn planned(connection: &Connection, sql: &str) -> Result<Vec<i64>> {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
    let mut rows = statement.raw_query();
    let mut numbers = Vec::new();
    while let Some(row) = rows.next()? {
        let detail: String = row.get(3)?;
        numbers.extend(detail.split_whitespace().filter_map(|word| word.strip_prefix("x_")?.parse::<i64>().ok()));
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

/// Registers an index; it is built by [`build_step`].
pub(super) fn create(connection: &mut Connection, catalog: &Catalog, spec: &IndexSpec) -> Result<()> {
    spec.check()?;
    if let Some(known) = catalog.find(spec.collection, &spec.name) {
        if known.spec == *spec {
            return Ok(());
        }
        return Err(StoreError::Invalid(format!("index {} exists with another definition: drop it first", spec.name)));
    }
    let transaction = connection.transaction()?;
    let path = serde_json::Value::from(spec.path.0.clone()).to_string();
    transaction.execute(
        "INSERT INTO store_indexes (collection, name, scope, path, elements, state) VALUES (?, ?, ?, ?, ?, 'building')",
        params![spec.collection.name(), spec.name, spec.scope, path, spec.elements],
    )?;
    if spec.elements {
        create_table(&transaction, transaction.last_insert_rowid())?;
    }
    transaction.commit()?;
    catalog.reload(connection)
}

pub(super) fn drop(connection: &mut Connection, catalog: &Catalog, collection: Collection, name: &str) -> Result<()> {
    let Some(index) = catalog.find(collection, name) else { return Ok(()) };
    let object = index.object();
    let transaction = connection.transaction()?;
    if index.spec.elements {
        transaction.execute_batch(&format!("DROP TABLE {object}"))?;
    } else {
        transaction.execute_batch(&format!("DROP INDEX IF EXISTS {object}"))?;
        transaction.execute("DELETE FROM sqlite_stat1 WHERE idx = ?", [&object])?;
    }
    transaction.execute("DELETE FROM store_indexes WHERE number = ?", [index.number])?;
    transaction.commit()?;
    catalog.reload(connection)
}

/// Builds a piece of the first index that is not ready. False when there is none.
pub(super) fn build_step(connection: &mut Connection, catalog: &Catalog) -> Result<bool> {
    let Some(index) = catalog.building() else { return Ok(false) };
    let (number, spec) = (index.number, &index.spec);
    let table = spec.collection.name();
    let transaction = connection.transaction()?;
    let done = if spec.elements {
        let from: i64 =
            transaction.query_row("SELECT built_to FROM store_indexes WHERE number = ?", [number], |row| row.get(0))?;
        match fill(&transaction, &index, from)? {
            Some(to) => {
                transaction.execute("UPDATE store_indexes SET built_to = ? WHERE number = ?", [to, number])?;
                false
            }
            None => true,
        }
    } else {
        let in_scope =
            spec.scope.as_deref().and_then(literal).map(|scope| format!(" WHERE scope = {scope}")).unwrap_or_default();
        transaction.execute_batch(&format!(
            "CREATE INDEX IF NOT EXISTS x_{number} ON {table} ({}, id){in_scope}",
            extract(&spec.path)
        ))?;
        describe(&transaction, table, &format!("x_{number}"), SCALAR_STATISTICS)?;
        true
    };
    if done {
        transaction.execute("UPDATE store_indexes SET state = 'ready' WHERE number = ?", [number])?;
    }
    transaction.commit()?;
    if done {
        connection.execute_batch("ANALYZE sqlite_schema")?;
        catalog.reload(connection)?;
    }
    Ok(true)
}

/// (value, id): a value is held by a thousandth.
const SCALAR_STATISTICS: &str = "500000 1000 1 noskipscan";

/// Tells SQLite's planner how selective an index is. Fixed figures instead of measured ones: a plan
/// stays the same while data grows, and an index over a value always wins over reading a whole scope.
pub(super) fn describe(connection: &Connection, table: &str, index: &str, statistics: &str) -> Result<()> {
    connection.execute("DELETE FROM sqlite_stat1 WHERE tbl = ? AND idx = ?", [table, index])?;
    connection.execute("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?, ?, ?)", [table, index, statistics])?;
    Ok(())
}
