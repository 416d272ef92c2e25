//! What the test binaries share.

pub mod api;
pub mod centre;
pub mod client;
pub mod patience;
pub mod process;
