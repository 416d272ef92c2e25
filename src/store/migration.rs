//! Schema steps, for every backend: numbered, forward only, applied when a store is opened.
//!
//! The document `schema` in `meta` says where a store stands: `schema_version`, and `min_program`, the oldest tango that may use
//! it. A step that only adds (expand) leaves `min_program` alone, so that the previous release still runs beside the new one; one
//! that takes away (contract) raises it, and comes a release later.

use serde::{Deserialize, Serialize};

/// One step: a folder in `migrations/`.
pub(super) struct Migration {
    pub name: &'static str,
    pub min_program: &'static str,
    /// Statements.
    pub sqlite: &'static str,
    /// A JSON list of database commands.
    pub mongodb: &'static str,
}

/// In order; the schema version is how many of them a store has.
pub(super) const MIGRATIONS: &[Migration] = &[
    Migration {
        name: "0001_documents",
        min_program: "0.1.0",
        sqlite: include_str!("../../migrations/0001_documents/sqlite.sql"),
        mongodb: include_str!("../../migrations/0001_documents/mongodb.json"),
    },
    Migration {
        name: "0002_production",
        min_program: "0.1.0",
        sqlite: include_str!("../../migrations/0002_production/sqlite.sql"),
        mongodb: include_str!("../../migrations/0002_production/mongodb.json"),
    },
    Migration {
        name: "0003_score_samples",
        min_program: "0.1.0",
        sqlite: include_str!("../../migrations/0003_score_samples/sqlite.sql"),
        mongodb: include_str!("../../migrations/0003_score_samples/mongodb.json"),
    },
];

const PROGRAM: &str = env!("CARGO_PKG_VERSION");

/// What is stored about the schema.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SchemaDocument {
    pub schema_version: u32,
    pub min_program: String,
}

/// Where a store's schema stands: what `tango migrate --status` prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// Steps that the store has; 0 for a new one.
    pub schema_version: u32,
    /// Steps that this program knows.
    pub known_version: u32,
    /// The oldest program that may use it; `None` for a new one.
    pub min_program: Option<String>,
    /// Names of the steps that opening the store would apply.
    pub pending: Vec<&'static str>,
}

impl MigrationStatus {
    pub(super) fn of(document: Option<SchemaDocument>) -> Self {
        let schema_version = document.as_ref().map_or(0, |document| document.schema_version);
        Self {
            schema_version,
            known_version: u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX),
            min_program: document.map(|document| document.min_program),
            pending: pending(schema_version).map(|(_, migration)| migration.name).collect(),
        }
    }

    /// The oldest program that may use the store, when this one is older.
    pub(super) fn needs_newer(&self) -> Option<&str> {
        let needed = self.min_program.as_deref()?;
        let refused = self.schema_version > self.known_version
            && parse_version(needed).is_none_or(|needed| Some(needed) > parse_version(PROGRAM));
        refused.then_some(needed)
    }
}

/// The steps behind a schema version, with their numbers.
pub(super) fn pending(schema_version: u32) -> impl Iterator<Item = (u32, &'static Migration)> {
    (1..).zip(MIGRATIONS).skip(schema_version as usize)
}

fn parse_version(text: &str) -> Option<[u32; 3]> {
    let parts: Vec<u32> = text.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    parts.try_into().ok()
}
