//! The words of the product: pure types and rules.
//!
//! Invariant: knows no axum, no database, no S3, no async.

pub mod account;
pub mod cardinality;
pub mod column;
pub mod comparison;
pub mod dataset;
pub mod id;
pub mod job;
pub mod job_log;
pub mod language;
pub mod model;
pub mod node;
pub mod predictor;
pub mod profile;
pub mod report;
pub mod rotation;
pub mod schedule;
pub mod schema;
pub mod score_log;
pub mod scoring;
pub mod segment;
pub mod upload;

/// A point in time, UTC, microsecond precision, written as RFC 3339.
pub type Timestamp = chrono::DateTime<chrono::Utc>;
