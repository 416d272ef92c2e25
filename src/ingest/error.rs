//! Why an ingest or a read of segments ended.

use std::fmt;
use std::io;

/// A failed ingest, discovery or read.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The file is at fault: trying again cannot help. The text tells a person where and what to do.
    #[error("{0}")]
    Input(InputError),
    /// The file could not be read from where it is stored; worth another attempt.
    #[error("the upload could not be read")]
    Source(#[source] io::Error),
    /// A segment or the report could not be stored; worth another attempt.
    #[error("the result could not be stored")]
    Sink(#[source] io::Error),
    #[error("cancelled")]
    Cancelled,
    /// A segment does not hold what its directory says.
    #[error("a segment is damaged: {0}")]
    Corrupt(String),
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputError {
    /// A stable word such as `unclosed_quote`.
    pub code: &'static str,
    /// Whole sentences: what is wrong and what to do.
    pub detail: String,
    /// Counted from 1, the header included.
    pub line: Option<u64>,
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.detail),
            None => f.write_str(&self.detail),
        }
    }
}

impl IngestError {
    pub(crate) fn input(code: &'static str, detail: impl Into<String>) -> Self {
        IngestError::Input(InputError { code, detail: detail.into(), line: None })
    }

    pub(crate) fn at_line(code: &'static str, line: u64, detail: impl Into<String>) -> Self {
        IngestError::Input(InputError { code, detail: detail.into(), line: Some(line) })
    }

    /// The input error's code, for tests and API answers.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            IngestError::Input(error) => Some(error.code),
            _ => None,
        }
    }
}

/// Carries an [`IngestError`] through `std::io::Read`.
#[derive(Debug)]
struct Carried(IngestError);

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Carried {}

impl From<IngestError> for io::Error {
    fn from(error: IngestError) -> Self {
        io::Error::other(Carried(error))
    }
}

impl From<io::Error> for IngestError {
    /// Unwraps a carried error; anything else came from the source.
    fn from(error: io::Error) -> Self {
        match error.downcast::<Carried>() {
            Ok(carried) => carried.0,
            Err(error) => IngestError::Source(error),
        }
    }
}

impl From<parquet::errors::ParquetError> for IngestError {
    fn from(error: parquet::errors::ParquetError) -> Self {
        match error {
            parquet::errors::ParquetError::External(inner) => match inner.downcast::<io::Error>() {
                Ok(error) => IngestError::from(*error),
                Err(inner) => IngestError::Corrupt(inner.to_string()),
            },
            other => IngestError::Corrupt(other.to_string()),
        }
    }
}

impl From<arrow_schema::ArrowError> for IngestError {
    fn from(error: arrow_schema::ArrowError) -> Self {
        match error {
            arrow_schema::ArrowError::IoError(_, error) => IngestError::from(error),
            arrow_schema::ArrowError::ExternalError(inner) => match inner.downcast::<io::Error>() {
                Ok(error) => IngestError::from(*error),
                Err(inner) => match inner.downcast::<parquet::errors::ParquetError>() {
                    Ok(error) => IngestError::from(*error),
                    Err(inner) => IngestError::Corrupt(inner.to_string()),
                },
            },
            other => IngestError::Corrupt(other.to_string()),
        }
    }
}

pub type Result<T, E = IngestError> = std::result::Result<T, E>;
