//! Why a training ended without a model.

/// For people: what is wrong, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrainError {
    /// The data or the settings cannot be learned from; trying again without a change is in vain.
    /// `code` is stable: `too_few_rows`, `one_class`, `constant_metric`, `metric_values`, `unknown_field`, `no_agent_id`, `no_features`, `bad_settings`.
    #[error("{detail}")]
    Unusable { code: &'static str, detail: String },
    #[error("training was cancelled")]
    Cancelled,
    /// A defect or a lack of resources.
    #[error("training failed: {0}")]
    Internal(String),
}

impl TrainError {
    pub(super) fn unusable(code: &'static str, detail: impl Into<String>) -> Self {
        TrainError::Unusable { code, detail: detail.into() }
    }
}
