//! An uploaded file becomes records of a profile.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Done, JobError, JobRun, RunJob};
use crate::domain::id::UploadId;
use crate::domain::job::Topic;

/// Upserts the rows of an upload whose target is a profile.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProfileUpload {
    pub upload_id: UploadId,
}

#[async_trait]
impl RunJob for ProfileUpload {
    const KIND: &'static str = "profile_upload";
    const TOPIC: Topic = Topic::DatasetUpload;

    async fn run(&self, _run: &JobRun) -> Result<Done, JobError> {
        Err(JobError::Failed("Files cannot be read into profiles yet: post the records instead.".to_owned()))
    }
}
