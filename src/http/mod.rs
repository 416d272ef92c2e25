//! The HTTP edge: the route table, extractors, problem details, one file a resource.
//!
//! Invariant: sees no SQL, no BSON and no S3 type; every failure leaves as [`error::ApiError`].

mod around;
mod auth;
mod cluster;
pub mod datasets;
mod deadline;
pub mod error;
mod events;
mod health;
pub mod idempotency;
mod jobs;
pub mod json;
pub mod lists;
pub mod models;
mod openapi;
pub mod pages;
pub mod predictors;
mod production;
mod profiles;
mod rejected;
pub mod reports;
pub mod request_id;
mod retraining;
pub mod router;
mod schedules;
pub mod score;
pub mod score_log;
pub mod session;
mod settings;
pub mod sightings;
mod state;
pub mod uploads;
mod users;

pub use error::{ApiError, ApiResult};
pub use session::Session;
pub use sightings::Sightings;
pub use state::{AppState, Shared};
