//! `tango bench …`: figures that anyone can measure again, printed beside an alternative's.

/// One benchmark.
pub struct Bench {
    pub name: &'static str,
    pub about: &'static str,
    /// Gets the arguments after the name.
    pub run: fn(&[String]) -> anyhow::Result<()>,
}

/// Every benchmark by name.
pub const BENCHES: &[Bench] = &[];
