//! What documents refer to: objects, other documents, chunks of artifacts.
//!
//! Fed with every document in the order of [`Collection::ALL`] and of their keys, when a copy is made and when it is checked.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::dump::Item;
use crate::domain::dataset::{Dataset, DatasetVersion, RejectedReport};
use crate::domain::id::{DatasetId, JobId, ModelId, SegmentId, UploadId};
use crate::domain::job::{Job, JobState};
use crate::domain::model::{ArtifactInfo, Model};
use crate::domain::profile::ProfileSchema;
use crate::domain::segment::Segment;
use crate::domain::upload::{Upload, UploadState};
use crate::live::artifacts;
use crate::profiles::journal;
use crate::store::{Collection, Document, Key, StoreError, chunks};

/// An object that a document refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// As the document says.
    pub size_bytes: Option<u64>,
    /// Reports of refused rows may be gone, all else must be there.
    pub required: bool,
}

#[derive(Default)]
pub struct References {
    uploads: Vec<Uploaded>,
    /// Uploads that a dataset waits with for its schema.
    pending: HashSet<UploadId>,
    /// Jobs of uploads that are over and cannot be asked for again.
    succeeded: HashSet<JobId>,
    /// Current version of each dataset that was not deleted.
    datasets: HashMap<DatasetId, u64>,
    versions: HashMap<DatasetId, BTreeMap<u64, Vec<SegmentId>>>,
    segments: HashMap<SegmentId, Stored>,
    reports: BTreeSet<String>,
    models: BTreeMap<ModelId, Artifact>,
    /// Blobs of journal entries that have not been seen.
    journal: BTreeSet<Key>,
}

struct Uploaded {
    id: UploadId,
    job: Option<JobId>,
    object: Stored,
}

/// Where the bytes of something are, and how many.
struct Stored {
    dataset: Option<DatasetId>,
    key: String,
    size_bytes: u64,
}

/// The artifact of a model, put together from its chunks.
struct Artifact {
    version: u32,
    told: ArtifactInfo,
    chunks: u32,
    size_bytes: u64,
    hash: Sha256,
}

impl References {
    /// # Errors
    /// [`StoreError::Corrupt`] when a document does not have the shape of its kind.
    pub fn see(&mut self, collection: Collection, item: &Item) -> Result<(), StoreError> {
        match item {
            Item::Document(document) => self.see_document(collection, document),
            Item::Blob(key, bytes) => {
                self.see_blob(key, bytes);
                Ok(())
            }
        }
    }

    fn see_document(&mut self, collection: Collection, document: &Document) -> Result<(), StoreError> {
        match collection {
            Collection::Uploads => {
                let upload: Upload = read(collection, document)?;
                if upload.state == UploadState::Completed {
                    self.uploads.push(Uploaded {
                        id: upload.id,
                        job: upload.job_id,
                        object: Stored {
                            dataset: upload.dataset_id,
                            key: upload.object_key,
                            size_bytes: upload.size_bytes,
                        },
                    });
                }
            }
            Collection::Datasets => {
                let dataset: Dataset = read(collection, document)?;
                if dataset.deleted_at.is_none() {
                    self.pending.extend(dataset.pending_upload);
                    self.report(dataset.rejected);
                    self.datasets.insert(dataset.id, dataset.version);
                }
            }
            Collection::DatasetVersions => {
                let version: DatasetVersion = read(collection, document)?;
                self.versions.entry(version.dataset_id).or_default().insert(version.version, version.segments);
            }
            // Datasets keep schemas of another shape under other keys in the same collection.
            Collection::Schemas => {
                if let Ok(schema) = serde_json::from_str::<ProfileSchema>(&document.body) {
                    self.report(schema.rejected);
                }
            }
            Collection::Segments => {
                let segment: Segment = read(collection, document)?;
                self.segments.insert(
                    segment.id,
                    Stored {
                        dataset: Some(segment.dataset_id),
                        key: segment.object_key,
                        size_bytes: segment.directory.size_bytes,
                    },
                );
            }
            Collection::Journal => {
                self.journal.insert(journal::blob_key(&document.key.scope, &document.key.id));
            }
            Collection::Models => {
                let model: Model = read(collection, document)?;
                if let Some(told) = model.artifact {
                    let artifact =
                        Artifact { version: model.version, told, chunks: 0, size_bytes: 0, hash: Sha256::new() };
                    self.models.insert(model.id, artifact);
                }
            }
            Collection::Jobs => {
                let job: Job = read(collection, document)?;
                if job.state == JobState::Succeeded {
                    self.succeeded.insert(job.id);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn report(&mut self, report: Option<RejectedReport>) {
        self.reports.extend(report.map(|report| report.object_key));
    }

    /// Chunks come in the order of their numbers.
    fn see_blob(&mut self, key: &Key, bytes: &[u8]) {
        self.journal.remove(key);
        let Some(id) = artifacts::model_of(&key.scope) else { return };
        let Some(artifact) = self.models.get_mut(&id) else { return };
        if key.id == chunks::id(&artifacts::chunk_prefix(artifact.version), artifact.chunks)
            && artifact.chunks < artifact.told.chunks
        {
            artifact.chunks += 1;
            artifact.size_bytes += bytes.len() as u64;
            artifact.hash.update(bytes);
        }
    }

    /// Files whose job can still be asked for. Those of jobs that succeeded have become segments or records.
    fn needed_uploads(&self) -> impl Iterator<Item = &Uploaded> {
        self.uploads.iter().filter(|upload| {
            let over = upload.job.as_ref().is_some_and(|job| self.succeeded.contains(job));
            !over || self.pending.contains(&upload.id)
        })
    }

    /// By key. Objects of deleted datasets are not among them.
    pub fn objects(&self) -> BTreeMap<String, Wanted> {
        let mut wanted = BTreeMap::new();
        for key in &self.reports {
            wanted.insert(key.clone(), Wanted { size_bytes: None, required: false });
        }
        let segments = self.segments.values().filter(|segment| self.lives(segment.dataset.as_ref()));
        let uploads = self.needed_uploads().map(|upload| &upload.object);
        // A file's dataset may be deleted while its job still waits: it will find nothing to do.
        for Stored { dataset, key, size_bytes } in segments.chain(uploads) {
            let required = self.lives(dataset.as_ref());
            wanted.insert(key.clone(), Wanted { size_bytes: Some(*size_bytes), required });
        }
        wanted
    }

    fn lives(&self, dataset: Option<&DatasetId>) -> bool {
        dataset.is_none_or(|id| self.datasets.contains_key(id))
    }

    /// What documents refer to and is not there, objects aside. A store never has such a thing unless something went wrong.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (id, current) in &self.datasets {
            let none = BTreeMap::new();
            let versions = self.versions.get(id).unwrap_or(&none);
            if *current > 0 && !versions.contains_key(current) {
                problems.push(format!("version {current} of the dataset {id} is missing"));
            }
            for (version, segments) in versions {
                for segment in segments.iter().filter(|segment| !self.segments.contains_key(*segment)) {
                    problems.push(format!("the segment {segment} of version {version} of the dataset {id} is missing"));
                }
            }
        }
        for (id, artifact) in &self.models {
            let Artifact { version, told, chunks, size_bytes, hash } = artifact;
            if chunks < &told.chunks {
                problems
                    .push(format!("chunk {chunks} of the artifact of the model {id}, version {version}, is missing"));
            } else if *size_bytes != told.size_bytes || hex::encode(hash.clone().finalize()) != told.sha256 {
                problems
                    .push(format!("the artifact of the model {id}, version {version}, does not match its checksum"));
            }
        }
        problems
            .extend(self.journal.iter().map(|key| format!("the values of the journal entry {} are missing", key.id)));
        problems.sort();
        problems
    }
}

/// The words for an object that is not there, or is not what documents say.
pub fn missing_object(key: &str) -> String {
    format!("the object {key} is missing")
}

pub fn odd_object(key: &str, told: u64, found: u64) -> String {
    format!("the object {key} has {found} bytes instead of {told}")
}

fn read<T: DeserializeOwned>(collection: Collection, document: &Document) -> Result<T, StoreError> {
    serde_json::from_str(&document.body).map_err(|error| {
        let Key { scope, id } = &document.key;
        StoreError::Corrupt(format!("{} {scope}/{id}: {error}", collection.name()))
    })
}
