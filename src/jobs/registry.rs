//! Which code runs which kind of job.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Done, JobError, JobRun, RunJob};
use crate::domain::job::Topic;
use crate::store::Batch;

/// The kinds of jobs that this process can run. A worker claims no others, so that during an upgrade
/// an older worker leaves newer kinds alone.
#[derive(Clone, Default)]
pub struct Registry {
    kinds: BTreeMap<&'static str, Arc<dyn AnyJob>>,
}

impl Registry {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn register<J: RunJob>(&mut self) -> &mut Self {
        let before = self.kinds.insert(J::KIND, Arc::new(Typed::<J>(PhantomData)));
        debug_assert!(before.is_none(), "two kinds of jobs are called {}", J::KIND);
        self
    }

    pub(super) fn get(&self, kind: &str) -> Option<Arc<dyn AnyJob>> {
        self.kinds.get(kind).cloned()
    }

    /// Names of the kinds of one topic.
    pub fn kinds(&self, topic: Topic) -> impl Iterator<Item = &'static str> {
        self.kinds.iter().filter(move |(_, job)| job.topic() == topic).map(|(kind, _)| *kind)
    }
}

/// A kind of job without its payload's type.
#[async_trait]
pub(super) trait AnyJob: Send + Sync {
    fn topic(&self) -> Topic;
    async fn run(&self, run: &JobRun) -> Result<Done, JobError>;
    async fn on_failure(&self, run: &JobRun, error: &JobError) -> Batch;
}

struct Typed<J>(PhantomData<fn() -> J>);

impl<J: RunJob> Typed<J> {
    fn payload(run: &JobRun) -> Result<J, JobError> {
        serde_json::from_value(run.job.payload.clone())
            .map_err(|error| JobError::Failed(format!("the payload of this {} job cannot be read: {error}", J::KIND)))
    }
}

#[async_trait]
impl<J: RunJob> AnyJob for Typed<J> {
    fn topic(&self) -> Topic {
        J::TOPIC
    }

    async fn run(&self, run: &JobRun) -> Result<Done, JobError> {
        Self::payload(run)?.run(run).await
    }

    async fn on_failure(&self, run: &JobRun, error: &JobError) -> Batch {
        match Self::payload(run) {
            Ok(job) => job.on_failure(run, error).await,
            Err(_) => Batch::new(),
        }
    }
}
