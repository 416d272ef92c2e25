//! Makes a profile's store indexes follow its schema.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Done, JobError, JobRun, RunJob};
use crate::domain::job::Topic;
use crate::profiles::{Profile, indexes};
use crate::store::Batch;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IndexProfile {
    pub profile: Profile,
}

#[async_trait]
impl RunJob for IndexProfile {
    const KIND: &'static str = "index_profile";
    const TOPIC: Topic = Topic::Analysis;

    async fn run(&self, run: &JobRun) -> Result<Done, JobError> {
        let (made, dropped) = indexes::reconcile(&run.ctx, &self.profile).await?;
        Ok(Done {
            effects: Batch::new(),
            result: json!({"profile": self.profile.kind, "made": made, "dropped": dropped}),
        })
    }
}
