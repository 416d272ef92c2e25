//! What production says of a model: does following it help, do its predictions still hold, are its inputs what it learned from.
//!
//! Pure functions of counts and outcomes; where those come from is `production`'s business.

mod calibration;
mod lift;
mod stability;

use serde::Serialize;

pub use calibration::{Calibration, CalibrationVerdict, ObservedBin, calibration, training_error};
pub use lift::{Arm, ArmSummary, Lift, lift};
pub use stability::{Stability, StabilityVerdict, stability};

/// A range.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

impl Interval {
    fn around(value: f64, radius: f64) -> Self {
        Self { low: value - radius, high: value + radius }
    }

    pub fn has(self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}
