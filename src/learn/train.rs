//! Training from a table to an artifact.

use super::coverage::Coverage;
use super::error::TrainError;
use super::quality::Quality;
use super::spec::{TrainingSpec, TrainingTable};
use crate::domain::job::Reporter;
use crate::score::Artifact;

/// What a training gives.
#[derive(Debug, Clone)]
pub struct Trained {
    pub artifact: Artifact,
    pub quality: Quality,
    pub coverage: Coverage,
    /// In words for people.
    pub warnings: Vec<String>,
}

/// Learns a model. `threads` limits the threads (all cores when `None`) and changes no result.
/// Reports progress by phase, and ends with [`TrainError::Cancelled`] soon after the reporter says so.
pub fn train(
    _table: &TrainingTable,
    _spec: &TrainingSpec,
    _reporter: &dyn Reporter,
    _threads: Option<usize>,
) -> Result<Trained, TrainError> {
    Err(TrainError::Internal("learning lands within the hour".to_owned()))
}
