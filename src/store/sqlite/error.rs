//! SQLite's failures in the store's words.

use std::path::PathBuf;

use anyhow::anyhow;
use rusqlite::ErrorCode;
use rusqlite::ffi::SQLITE_IOERR_SHMSIZE;

use crate::store::StoreError;

/// Why a data folder cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "another tango process is using the data folder {}: stop it first, or choose another DATA_DIR \
         (commands such as `tango user` talk to the running process)",
        .folder.display()
    )]
    Locked { folder: PathBuf },
    #[error(
        "the data folder {} was written by a newer tango (schema {found}, this program knows {known}): \
         use tango {min_program} or newer",
        .folder.display()
    )]
    Newer { folder: PathBuf, found: u32, known: u32, min_program: String },
    #[error("the data folder {} cannot be used; does it belong to another user?", .folder.display())]
    Folder { folder: PathBuf, source: std::io::Error },
    #[error("the document store in {} cannot be opened", .folder.display())]
    Store { folder: PathBuf, source: StoreError },
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let extended = error.sqlite_error().map(|error| error.extended_code);
        match error.sqlite_error_code() {
            // The index of the log is a file that grows, too.
            _ if extended == Some(SQLITE_IOERR_SHMSIZE) => StoreError::Full(error.into()),
            Some(ErrorCode::DiskFull) => StoreError::Full(error.into()),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupt(error.to_string()),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Unavailable(error.into()),
            // Raised by json_extract over a body that is no JSON.
            _ if error.to_string().contains("malformed JSON") => StoreError::Corrupt(error.to_string()),
            _ => StoreError::Failed(error.into()),
        }
    }
}

/// The same failure for another batch of the same transaction.
pub(super) fn copy(error: &StoreError) -> StoreError {
    match error {
        StoreError::Conflict(conflict) => StoreError::Conflict(*conflict),
        StoreError::Unavailable(source) => StoreError::Unavailable(anyhow!("{source:#}")),
        StoreError::Full(source) => StoreError::Full(anyhow!("{source:#}")),
        StoreError::Corrupt(text) => StoreError::Corrupt(text.clone()),
        StoreError::Invalid(text) => StoreError::Invalid(text.clone()),
        StoreError::Failed(source) => StoreError::Failed(anyhow!("{source:#}")),
    }
}

/// The store is being closed, or its writer has died.
pub(super) fn closed() -> StoreError {
    StoreError::Unavailable(anyhow!("the store is closed"))
}
