//! Many agents at once, for processors with AVX-512: sixteen by their masks (`masks.rs`), some dozens by their bytes (`bytes.rs`).
//!
//! What is unsafe about instructions that a processor may lack is left to `pulp`, as far as it has them.

#[cfg(target_arch = "x86_64")]
mod bytes;
#[cfg(target_arch = "x86_64")]
mod masks;
#[cfg(not(target_arch = "x86_64"))]
mod without;

#[cfg(target_arch = "x86_64")]
pub(super) use bytes::ByteInstructions;
#[cfg(target_arch = "x86_64")]
pub(super) use masks::{Wide, WideMask};
#[cfg(not(target_arch = "x86_64"))]
pub(super) use without::{ByteInstructions, Wide, WideMask};

/// Agents at once by their masks.
pub(super) const WIDE: usize = 16;
