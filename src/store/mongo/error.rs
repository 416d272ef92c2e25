//! MongoDB's failures in the store's words.

use mongodb::error::{Error, ErrorKind, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT, WriteFailure};

use crate::store::StoreError;

/// Why a replica set cannot be used. Each message is one line that says what to change.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "MONGODB_URL cannot be read: {0}. It looks like mongodb://user:password@host1:27017,host2:27017,host3:27017/?replicaSet=rs0"
    )]
    Url(String),
    #[error(
        "MONGODB_URL asks for a connection without TLS, which sends data and password in the clear: remove tls=false from it (ALLOW_HTTP=True permits it for tests)"
    )]
    NoTls,
    #[error("MONGODB_CA_FILE: {path} {problem}")]
    CaFile { path: String, problem: String },
    #[error("MongoDB at {hosts} does not answer: {problem}")]
    Unreachable { hosts: String, problem: String },
    #[error(
        "MongoDB at {hosts} has no primary, so nothing can be written: start the other members, most of them have to run (`tango cluster status` shows each)"
    )]
    NoPrimary { hosts: String },
    #[error(
        "MongoDB at {hosts} refuses user and password (or the certificate) of MONGODB_URL: {problem}. Check them, and authSource in the URL"
    )]
    Authentication { hosts: String, problem: String },
    #[error(
        "the certificate of MongoDB at {hosts} is not trusted: {problem}. Name the authority that issued it in MONGODB_CA_FILE, and use the host names that are in it"
    )]
    Certificate { hosts: String, problem: String },
    #[error(
        "MongoDB at {hosts} is no member of a replica set, which tango needs for transactions and its change feed: start mongod with --replSet and initiate the set (one member is enough for a trial)"
    )]
    Standalone { hosts: String },
    #[error(
        "the database was written by a newer tango (schema {found}, this program knows {known}): use tango {min_program} or newer"
    )]
    Newer { found: u32, known: u32, min_program: String },
    #[error("MongoDB {version} is too old: tango needs 5.0 or newer")]
    TooOld { version: String },
    #[error(
        "this machine's clock is {minutes} minutes {direction} that of MongoDB at {host}: set the clocks by NTP; tango refuses to run with more than 15 minutes between them"
    )]
    Clock { minutes: i64, direction: &'static str, host: String },
    #[error(
        "the replica set at {hosts} is called {found}, not {asked} as MONGODB_URL says: change replicaSet in the URL"
    )]
    SetName { hosts: String, found: String, asked: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What an error means for the attempt that met it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Nothing happened: the same may be tried again.
    Again,
    /// A commit may have happened: ask again on the same session.
    Unknown,
    /// Trying again does not help.
    Final,
}

pub(super) fn meaning(error: &Error) -> Meaning {
    if error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) {
        return Meaning::Unknown;
    }
    if error.contains_label(TRANSIENT_TRANSACTION_ERROR) || error.contains_label("RetryableWriteError") {
        return Meaning::Again;
    }
    match &*error.kind {
        ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. } | ErrorKind::ServerSelection { .. } => {
            Meaning::Again
        }
        // It was right at the start: a member that is coming up cannot read its users yet.
        ErrorKind::Authentication { .. } => Meaning::Again,
        // A member that starts answers with many codes; with a wrong password the others would be Final, too.
        ErrorKind::Command(command) if passes(command.code) => Meaning::Again,
        ErrorKind::Write(WriteFailure::WriteConcernError(_)) => Meaning::Again,
        ErrorKind::Write(WriteFailure::WriteError(write)) if passes(write.code) => Meaning::Again,
        _ => Meaning::Final,
    }
}

/// Codes of states that pass: elections, shutdowns, time limits, conflicts between transactions.
fn passes(code: i32) -> bool {
    // 94 and 211: a member that is coming up, without its configuration or the set's keys.
    const PASSING: [i32; 27] = [
        6, 7, 24, 43, 50, 64, 89, 91, 94, 112, 133, 134, 175, 189, 202, 211, 246, 251, 262, 290, 9001, 10107, 11600,
        11601, 11602, 13435, 13436,
    ];
    PASSING.contains(&code)
}

/// An error that ended an operation.
pub(super) fn store_error(error: Error) -> StoreError {
    let source = anyhow::anyhow!(short(&error));
    match (&*error.kind, meaning(&error)) {
        (ErrorKind::Command(command), _) if is_full(command.code, &command.message) => StoreError::Full(source),
        (_, Meaning::Again | Meaning::Unknown) => StoreError::Unavailable(source),
        (ErrorKind::DnsResolve { .. }, _) => StoreError::Unavailable(source),
        _ => StoreError::Failed(source),
    }
}

/// "OutOfDiskSpace", and what the storage engine says of it.
fn is_full(code: i32, message: &str) -> bool {
    code == 14031 || message.contains("No space left on device")
}

/// For people: without the driver's dump of every member and every attempt.
pub(super) fn short(error: &Error) -> String {
    let line = one_line(error);
    match line.split_once(" Topology: ") {
        Some(_) => "no member of the replica set that could do this answers in time".to_owned(),
        None => line,
    }
}

/// The error without line breaks and without the driver's list of labels.
pub(super) fn one_line(error: &Error) -> String {
    let text = match &*error.kind {
        ErrorKind::Command(command) => format!("{} ({})", command.message, command.code_name),
        kind => kind.to_string(),
    };
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
