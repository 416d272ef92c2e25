//! From a stored artifact to a model that scores.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::background;
use crate::domain::id::ModelId;
use crate::domain::model::{ArtifactInfo, Model};
use crate::score::{Artifact, ArtifactError, CompiledModel};
use crate::store::{SharedStore, StoreError, chunks};

/// What the ids of an artifact's chunks begin with. Each training has its own chunks, so that a node reads
/// the old artifact whole until it learns of the new one.
pub fn chunk_prefix(version: u32) -> String {
    format!("{version:06}-")
}

/// What a training stores beside the artifact, as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The list of the version's agents, with or without a local model.
    Coverage,
    /// Quality by agent and by context value.
    Breakdown,
    /// The model card.
    Card,
    /// The distribution of the training rows, with which production is compared.
    Reference,
}

/// What the ids of a part's chunks begin with.
pub fn part_prefix(version: u32, part: Part) -> String {
    let name = match part {
        Part::Coverage => "coverage",
        Part::Breakdown => "breakdown",
        Part::Card => "card",
        Part::Reference => "reference",
    };
    format!("{version:06}-{name}-")
}

/// A part of a version; none when it was trained before such parts were kept.
pub async fn read_part(
    store: &SharedStore,
    model: &ModelId,
    version: u32,
    part: Part,
) -> Result<Option<Vec<u8>>, StoreError> {
    let (scope, prefix) = (chunk_scope(model), part_prefix(version, part));
    // A commit stores all of a part's chunks or none.
    let count = store.list_blobs(&scope).await?.iter().filter(|id| id.starts_with(&prefix)).count();
    if count == 0 {
        return Ok(None);
    }
    Ok(chunks::get(store, &scope, &prefix, count as u32).await?.ok())
}

/// Whether a stored part is a [`Part::Reference`], by its id in [`chunk_scope`].
pub fn is_reference(id: &str) -> bool {
    id.contains("-reference-")
}

/// The version to which a stored part belongs, by its id in [`chunk_scope`].
pub fn version_of(id: &str) -> Option<u32> {
    id.split_once('-')?.0.parse().ok()
}

const SCOPE: &str = "artifact:";

/// The scope of all chunks of a model.
pub fn chunk_scope(model: &ModelId) -> String {
    format!("{SCOPE}{model}")
}

/// The reverse of [`chunk_scope`].
pub fn model_of(scope: &str) -> Option<ModelId> {
    ModelId::parse(scope.strip_prefix(SCOPE)?).ok()
}

/// The current artifact's bytes, checked against what the model document says of them.
pub async fn read(store: &SharedStore, model: &Model) -> anyhow::Result<Vec<u8>> {
    let Some(info) = &model.artifact else {
        anyhow::bail!("the model has no artifact: train it first");
    };
    read_version(store, &model.id, model.version, info).await
}

/// The bytes of a version, as long as they are there: those of the current one and the one before it.
pub async fn read_version(
    store: &SharedStore,
    model: &ModelId,
    version: u32,
    info: &ArtifactInfo,
) -> anyhow::Result<Vec<u8>> {
    let ArtifactInfo { chunks, size_bytes, sha256 } = info;
    let found = chunks::get(store, &chunk_scope(model), &chunk_prefix(version), *chunks).await?;
    let bytes = found.map_err(|chunk| {
        anyhow::anyhow!("chunk {chunk} of {chunks} of the artifact is missing: train the model again")
    })?;
    anyhow::ensure!(
        bytes.len() as u64 == *size_bytes && hex::encode(Sha256::digest(&bytes)) == *sha256,
        "the artifact does not match its checksum: train the model again"
    );
    Ok(bytes)
}

/// Reads and decodes, away from the threads that answer requests.
pub async fn decode(store: &SharedStore, model: &Model) -> anyhow::Result<Artifact> {
    let bytes = read(store, model).await?;
    Ok(background::run(move || Artifact::decode(&bytes)).await??)
}

/// A model that scores, from an artifact's bytes.
pub fn compile_bytes(bytes: &[u8]) -> Result<CompiledModel, ArtifactError> {
    Ok(CompiledModel::new(Arc::new(Artifact::decode(bytes)?)))
}

/// Reads, decodes and compiles, away from the threads that answer requests.
pub async fn compile(store: &SharedStore, model: &Model) -> anyhow::Result<Arc<CompiledModel>> {
    let artifact = Arc::new(decode(store, model).await?);
    Ok(Arc::new(background::run(move || CompiledModel::new(artifact)).await?))
}
