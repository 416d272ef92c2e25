//! Atomic batches: writes with preconditions.

use bytes::Bytes;

use super::{Collection, Key};

/// One operation of a batch. Preconditions are checked in order against the batch so far.
#[derive(Debug, Clone)]
pub enum Op {
    /// Conflict when the document exists.
    Insert {
        collection: Collection,
        key: Key,
        body: String,
    },
    /// Creates or overwrites, whatever is there.
    Put {
        collection: Collection,
        key: Key,
        body: String,
    },
    /// Conflict unless the document exists in this revision.
    Replace {
        collection: Collection,
        key: Key,
        body: String,
        revision: u64,
    },
    /// Conflict when a revision is given and the document is not in it; otherwise absent is fine.
    Delete {
        collection: Collection,
        key: Key,
        revision: Option<u64>,
    },
    /// Conflict unless the document exists and the top-level field has this value. Writes nothing: this is the fence of a job.
    Guard {
        collection: Collection,
        key: Key,
        field: String,
        equals: serde_json::Value,
        /// Several batches may hold the guard at once. One that began before the field changed may then be committed after it, if
        /// what it inserts and replaces has not changed either; so nothing else belongs into such a batch.
        shared: bool,
    },
    PutBlob {
        key: Key,
        bytes: Bytes,
    },
    DeleteBlob {
        key: Key,
    },
}

/// Operations that happen together or not at all.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub ops: Vec<Op>,
}

impl Batch {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn push(&mut self, op: Op) -> &mut Self {
        self.ops.push(op);
        self
    }

    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    pub fn len(&self) -> usize {
        self.ops.len()
    }
}
