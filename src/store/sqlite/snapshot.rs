//! Everything as of one moment: a connection of its own inside one read transaction.
//!
//! Writers go on meanwhile; the write-ahead log grows until the snapshot is dropped.

use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, Row, params_from_iter};

use super::error::closed;
use super::readers::open_reader;
use crate::store::{Collection, Document, Key, Result, Snapshot, StoreError, has_documents};

pub(super) struct SqliteSnapshot {
    /// Away while it reads on another thread.
    connection: Option<Connection>,
}

impl SqliteSnapshot {
    pub(super) async fn begin(file: &Path) -> Result<Self> {
        let file = file.to_owned();
        let opened = tokio::task::spawn_blocking(move || -> Result<Connection> {
            let connection = open_reader(&file)?;
            // The moment is that of the first read.
            connection.execute_batch("BEGIN")?;
            connection.query_row("SELECT value FROM store_state WHERE name = 'revision'", [], |_| Ok(()))?;
            Ok(connection)
        });
        let connection = opened.await.map_err(|error| StoreError::Unavailable(error.into()))??;
        Ok(Self { connection: Some(connection) })
    }

    /// The rows of a table after a key, in the order of the keys.
    async fn rows<T: Send + 'static>(
        &mut self,
        table: Collection,
        columns: &str,
        after: Option<&Key>,
        limit: usize,
        read: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let range = if after.is_some() { "WHERE (scope, id) > (?, ?) " } else { "" };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = format!("SELECT {columns} FROM {} {range}ORDER BY scope, id LIMIT {limit}", table.name());
        let values: Vec<String> = after.into_iter().flat_map(|key| [key.scope.clone(), key.id.clone()]).collect();
        let connection = self.connection.take().ok_or_else(closed)?;
        let reading = tokio::task::spawn_blocking(move || {
            let rows = (|| {
                let mut statement = connection.prepare_cached(&sql)?;
                let rows =
                    statement.query_map(params_from_iter(values), read)?.collect::<rusqlite::Result<Vec<T>>>()?;
                Ok(rows)
            })();
            (connection, rows)
        });
        let (connection, rows) = reading.await.map_err(|error| StoreError::Unavailable(error.into()))?;
        self.connection = Some(connection);
        rows
    }
}

fn key_of(row: &Row<'_>) -> rusqlite::Result<Key> {
    Ok(Key { scope: row.get(0)?, id: row.get(1)? })
}

#[async_trait]
impl Snapshot for SqliteSnapshot {
    async fn documents(&mut self, collection: Collection, after: Option<&Key>, limit: usize) -> Result<Vec<Document>> {
        has_documents(collection)?;
        self.rows(collection, "scope, id, revision, body", after, limit, |row| {
            Ok(Document { key: key_of(row)?, revision: row.get::<_, i64>(2)?.unsigned_abs(), body: row.get(3)? })
        })
        .await
    }

    async fn blobs(&mut self, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Bytes)>> {
        self.rows(Collection::Blobs, "scope, id, bytes", after, limit, |row| {
            Ok((key_of(row)?, Bytes::from(row.get::<_, Vec<u8>>(2)?)))
        })
        .await
    }
}
