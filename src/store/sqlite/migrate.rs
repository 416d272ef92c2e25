//! Schema steps of a data folder; see [`crate::store::migration`].

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};

use super::error::OpenError;
use super::indexes::describe;
use crate::store::migration::{Migration, SchemaDocument, pending};
use crate::store::{MigrationStatus, Result, StoreError};

/// The status of a data folder, without changing it. Works beside a running process.
pub fn migration_status(data_dir: &Path) -> Result<MigrationStatus> {
    let file = data_dir.join(super::FILE_NAME);
    let document = if file.exists() {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
        read(&Connection::open_with_flags(file, flags)?)?
    } else {
        None
    };
    Ok(MigrationStatus::of(document))
}

fn read(connection: &Connection) -> Result<Option<SchemaDocument>> {
    let tables: i64 = connection.query_row(
        "SELECT COUNT(*) FROM sqlite_schema WHERE type = 'table' AND name = 'meta'",
        [],
        |row| row.get(0),
    )?;
    if tables == 0 {
        return Ok(None);
    }
    let body: Option<String> = connection
        .query_row("SELECT body FROM meta WHERE scope = '' AND id = 'schema'", [], |row| row.get(0))
        .optional()?;
    match body {
        Some(body) => {
            let document = serde_json::from_str(&body);
            document.map(Some).map_err(|error| StoreError::Corrupt(format!("meta /schema: {error}")))
        }
        None => Ok(None),
    }
}

/// Applies what is missing, each step in a transaction of its own; refuses a newer folder.
pub(super) fn migrate(connection: &mut Connection, folder: &Path) -> Result<(), OpenError> {
    let in_folder = |source: StoreError| OpenError::Store { folder: folder.to_owned(), source };
    let status = MigrationStatus::of(read(connection).map_err(in_folder)?);
    if let Some(min_program) = status.needs_newer() {
        return Err(OpenError::Newer {
            folder: folder.to_owned(),
            found: status.schema_version,
            known: status.known_version,
            min_program: min_program.to_owned(),
        });
    }
    for (number, migration) in pending(status.schema_version) {
        apply(connection, number, migration).map_err(in_folder)?;
    }
    forbid_skipping(connection).map_err(|source| in_folder(source.into()))
}

/// An index whose first columns a query does not name is never gone through value by value: that reads and sorts a whole collection
/// for a page that the order of its keys gives at once. Folders of earlier programs are told, too.
fn forbid_skipping(connection: &Connection) -> rusqlite::Result<()> {
    let skipped = "idx IS NOT NULL AND tbl <> 'store_state' AND stat NOT LIKE '%noskipscan%'";
    let known: bool =
        connection
            .query_row("SELECT COUNT(*) > 0 FROM sqlite_schema WHERE name = 'sqlite_stat1'", [], |row| row.get(0))?;
    if known
        && connection
            .query_row(&format!("SELECT COUNT(*) > 0 FROM sqlite_stat1 WHERE {skipped}"), [], |row| row.get(0))?
    {
        connection.execute(&format!("UPDATE sqlite_stat1 SET stat = stat || ' noskipscan' WHERE {skipped}"), [])?;
        connection.execute_batch("ANALYZE sqlite_schema")?;
    }
    Ok(())
}

fn apply(connection: &mut Connection, number: u32, migration: &Migration) -> Result<()> {
    tracing::debug!(step = migration.name, "applying a schema step");
    let transaction = connection.transaction()?;
    transaction.execute_batch(migration.sqlite)?;
    // Creates the table of statistics.
    transaction.execute_batch("ANALYZE")?;
    describe_built_in(&transaction)?;
    let body = serde_json::to_string(&SchemaDocument {
        schema_version: number,
        min_program: migration.min_program.to_owned(),
    })
    .map_err(|error| StoreError::Failed(error.into()))?;
    transaction.execute(
        "INSERT INTO meta (scope, id, revision, body) VALUES ('', 'schema', 0, ?) \
         ON CONFLICT (scope, id) DO UPDATE SET body = excluded.body",
        params![body],
    )?;
    transaction.commit()?;
    Ok(())
}

/// Fixed statistics for every index of the schema; see [`describe`].
fn describe_built_in(connection: &Connection) -> Result<()> {
    let mut statement = connection.prepare(
        "SELECT tbl_name, name, sql FROM sqlite_schema WHERE type = 'index' AND name NOT LIKE 'x\\_%' ESCAPE '\\'",
    )?;
    let indexes = statement
        .query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, Option<String>>(2)?))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    for (table, index, sql) in indexes {
        // A scope may be the whole table; a value is held by a thousandth. Figures for columns that an
        // index does not have are ignored.
        let statistics = match sql {
            None => "1000000 1000000 1 noskipscan",
            Some(sql) if sql.contains("(scope, json_extract") => "1000000 1000000 1000 1 noskipscan",
            Some(_) => "1000000 1000 1 1 1 noskipscan",
        };
        describe(connection, &table, &index, statistics)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_folder_is_refused_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        drop(crate::store::sqlite::SqliteStore::open(folder.path()).unwrap());
        let connection = Connection::open(folder.path().join(crate::store::sqlite::FILE_NAME)).unwrap();
        connection
            .execute(r#"UPDATE meta SET body = '{"schema_version":99,"min_program":"9.0.0"}' WHERE id = 'schema'"#, [])
            .unwrap();
        drop(connection);
        let error = crate::store::sqlite::SqliteStore::open(folder.path()).err().unwrap().to_string();
        assert!(error.contains("schema 99") && error.contains("9.0.0") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn a_newer_folder_that_only_added_is_used() {
        let folder = tempfile::tempdir().unwrap();
        drop(crate::store::sqlite::SqliteStore::open(folder.path()).unwrap());
        let connection = Connection::open(folder.path().join(crate::store::sqlite::FILE_NAME)).unwrap();
        connection
            .execute(r#"UPDATE meta SET body = '{"schema_version":99,"min_program":"0.1.0"}' WHERE id = 'schema'"#, [])
            .unwrap();
        drop(connection);
        crate::store::sqlite::SqliteStore::open(folder.path()).unwrap();
        assert_eq!(migration_status(folder.path()).unwrap().pending, Vec::<&str>::new());
    }

    #[test]
    fn status_tells_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let new = migration_status(folder.path()).unwrap();
        assert_eq!((new.schema_version, new.pending.len()), (0, new.known_version as usize));
        drop(crate::store::sqlite::SqliteStore::open(folder.path()).unwrap());
        let opened = migration_status(folder.path()).unwrap();
        assert_eq!((opened.schema_version, opened.pending.len()), (new.known_version, 0));
    }
}
