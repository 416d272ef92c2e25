//! What can be wrong with a copy, or in the way of making and reading one.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::objects::ObjectError;
use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    #[error("{} holds other files already: name a new or an empty folder", .0.display())]
    FolderNotEmpty(PathBuf),
    #[error("{} holds a whole backup already: name another folder, or remove that one yourself", .0.display())]
    BackupExists(PathBuf),
    #[error("another backup is being written into {} at this moment", .0.display())]
    FolderInUse(PathBuf),
    #[error("{} is no backup of tango: {why}", .folder.display())]
    NotABackup { folder: PathBuf, why: &'static str },
    #[error(
        "the backup in {} was interrupted before it was whole: run the command that made it again, which goes on with it",
        .0.display()
    )]
    Incomplete(PathBuf),
    #[error(
        "the backup in {} was written by tango {program} in a newer form: use tango {min_program} or newer",
        .folder.display()
    )]
    Newer { folder: PathBuf, program: String, min_program: String },
    #[error("{} is damaged: {problem}. Nothing was changed; use another copy of the backup", .file.display())]
    Damaged { file: PathBuf, problem: String },
    #[error(
        "the backup does not hold all that it refers to ({count} problem(s), the first: {first}). Nothing was changed"
    )]
    Dangling { count: usize, first: String },
    #[error(
        "this store itself is not whole ({count} problem(s), the first: {first}), and a restore would refuse a copy of it. \
         If the problem is new, data was purged while the backup ran: run it again. \
         --skip-missing makes a backup of what is there"
    )]
    SourceNotWhole { count: usize, first: String },
    #[error(
        "the store is not empty: it holds {found}. --drop replaces everything in it by the backup; make a backup of it first"
    )]
    StoreNotEmpty { found: String },
    #[error(
        "a restore into this store was cut off: run `tango restore {}` again, which goes on where it stopped, \
         or restore another backup with --drop",
        .folder.display()
    )]
    Unfinished { folder: PathBuf },
    #[error("another restore changes this store at this moment")]
    Raced,
    #[error(
        "{} has {} MB of free space, and {} MB are needed: make room, or name a folder elsewhere",
        .folder.display(), .free / 1_000_000, .needed.div_ceil(1_000_000)
    )]
    NoSpace { folder: PathBuf, needed: u64, free: u64 },
    #[error("the disk of {} is full: make room and run the same command again, which goes on where it stopped", .0.display())]
    DiskFull(PathBuf),
    #[error(
        "the API keys in the backup were sealed with another secret than this installation's: name the file that holds the \
         TOKEN_SECRET (or the secret.key) of the installation that made it with --secret-file, or have new API keys made with --new-api-keys"
    )]
    OtherSecret,
    #[error("stopped")]
    Cancelled,
    #[error(
        "the restore was cut off; run the same command again, which goes on where it stopped \
         (until then no tango starts on this store)"
    )]
    CutOff(#[source] Box<TransferError>),
    #[error("{} cannot be used", .path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Objects(#[from] ObjectError),
    #[error(transparent)]
    Internal(anyhow::Error),
}

impl TransferError {
    /// For `map_err` on what is done with a file.
    pub(super) fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => TransferError::DiskFull(path),
            _ => TransferError::File { path, source },
        }
    }

    pub(super) fn damaged(file: &Path, problem: impl Into<String>) -> Self {
        TransferError::Damaged { file: file.to_owned(), problem: problem.into() }
    }
}
