//! What can go wrong in a store.

/// Which precondition of a batch did not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conflict {
    /// Position of the operation in the batch.
    pub op: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else was first: read again and decide again.
    #[error("operation {} of the batch met a document in another state than expected", .0.op)]
    Conflict(Conflict),
    /// The store cannot be reached or has no majority; trying again later may help.
    #[error("the document store is unavailable")]
    Unavailable(#[source] anyhow::Error),
    #[error("the disk of the document store is full")]
    Full(#[source] anyhow::Error),
    /// A stored document does not have the expected shape.
    #[error("a stored document cannot be read: {0}")]
    Corrupt(String),
    /// The request cannot be carried out as it is (a bad cursor, a bad index name).
    #[error("{0}")]
    Invalid(String),
    #[error("the document store failed")]
    Failed(#[source] anyhow::Error),
}

impl StoreError {
    pub fn is_conflict(&self) -> bool {
        matches!(self, StoreError::Conflict(_))
    }
}
