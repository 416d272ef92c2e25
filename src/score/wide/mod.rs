//! Many agents at once, for processors with AVX-512: sixteen by their masks (`masks.rs`), five hundred by their bits (`bits.rs`).
//!
//! What is unsafe about instructions that a processor may lack is left to `pulp`.

#[cfg(target_arch = "x86_64")]
mod bits;
#[cfg(target_arch = "x86_64")]
mod masks;
#[cfg(not(target_arch = "x86_64"))]
mod without;

#[cfg(target_arch = "x86_64")]
pub(super) use masks::WideMask;
#[cfg(target_arch = "x86_64")]
pub(super) use with_avx512::Wide;
#[cfg(not(target_arch = "x86_64"))]
pub(super) use without::{Wide, WideMask};

/// Agents at once by their masks.
pub(super) const WIDE: usize = 16;

#[cfg(target_arch = "x86_64")]
mod with_avx512 {
    use pulp::NullaryFnOnce;
    use pulp::x86::V4;

    /// A processor that can.
    #[derive(Debug, Clone, Copy)]
    pub struct Wide(pub(super) V4);

    impl Wide {
        pub fn new() -> Option<Self> {
            V4::try_new().map(Self)
        }

        /// Does work with the instructions at hand; all of it has to become part of the function that may use them.
        #[inline(always)]
        pub fn vectorize<T>(self, work: impl NullaryFnOnce<Output = T>) -> T {
            self.0.vectorize(work)
        }
    }
}
