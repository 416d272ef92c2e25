//! How the inputs were distributed in training, in the bins in which production counts them.

use serde::{Deserialize, Serialize};

use super::part::FitPart;
use crate::score::bins::{BinNames, add, bin_of, counted_inputs, names};

/// One input in training; see [`crate::score::bins`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferenceInput {
    /// The feature, with what is read of it, such as `start_time (hour)`.
    pub input: String,
    pub field: String,
    pub bins: Vec<String>,
    /// Rows by bin; short when the last bins are empty.
    pub rows: Vec<u64>,
}

/// The counted inputs, in their order.
pub(super) fn reference(fit: &FitPart) -> Vec<ReferenceInput> {
    let encoding = &fit.encoding;
    counted_inputs(encoding)
        .into_iter()
        .zip(names(encoding))
        .map(|(at, BinNames { input, field, bins })| {
            let mut rows = Vec::new();
            for level in &fit.part.columns[at].levels {
                add(&mut rows, bin_of(encoding, at, *level));
            }
            ReferenceInput { input, field, bins, rows }
        })
        .collect()
}
