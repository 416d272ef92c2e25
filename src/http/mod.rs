//! The HTTP edge: the route table, extractors, problem details, one file a resource.
//!
//! Invariant: sees no SQL, no BSON and no S3 type; every failure leaves as [`error::ApiError`].

pub mod error;
pub mod idempotency;
pub mod json;
pub mod lists;
pub mod request_id;
pub mod router;
pub mod session;
mod state;

pub use error::{ApiError, ApiResult};
pub use session::Session;
pub use state::AppState;
