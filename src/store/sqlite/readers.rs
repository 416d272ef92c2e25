//! A few read-only connections, used on blocking threads.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::error::closed;
use crate::store::{Result, StoreError};

/// Opened when first needed, up to a fixed number.
pub(super) struct Readers {
    file: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(file: &Path, connections: usize) -> Self {
        Self { file: file.to_owned(), idle: Mutex::default(), permits: Arc::new(Semaphore::new(connections)) }
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Runs a piece of reading with a connection of its own.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| closed())?;
        let readers = Arc::clone(self);
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let idle = readers.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut connection = match idle {
                Some(connection) => connection,
                None => open_reader(&readers.file)?,
            };
            let answer = work(&mut connection);
            readers.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            answer
        });
        task.await.map_err(|error| StoreError::Unavailable(error.into()))?
    }
}

pub(super) fn open_reader(file: &Path) -> Result<Connection> {
    let connection = Connection::open(file)?;
    connection.set_prepared_statement_cache_capacity(128);
    super::keep_plans(&connection)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", -8_192)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}

/// Runs a query whose text may be long: only statements of usual length stay prepared.
pub(super) fn with_statement<T>(
    connection: &Connection,
    sql: &str,
    work: impl FnOnce(&mut rusqlite::Statement<'_>) -> Result<T>,
) -> Result<T> {
    if sql.len() > super::indexes::MAX_REMEMBERED_BYTES {
        work(&mut connection.prepare(sql)?)
    } else {
        work(&mut *connection.prepare_cached(sql)?)
    }
}
