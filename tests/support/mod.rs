//! What the test binaries share.

pub mod client;
pub mod patience;
pub mod process;
