//! Which collection and key each domain type is stored under.

use super::{Collection, Key, Record};
use crate::domain::account::{Account, SigningKey, User, username_key};
use crate::domain::dataset::{Dataset, DatasetSchema, DatasetVersion};
use crate::domain::job::Job;
use crate::domain::model::Model;
use crate::domain::node::Node;
use crate::domain::predictor::Predictor;
use crate::domain::profile::{ProfileKind, ProfileSchema};
use crate::domain::report::Report;
use crate::domain::schedule::Schedule;
use crate::domain::score_log::StoredEntry;
use crate::domain::scoring::{ScoredPack, ScoringHour};
use crate::domain::segment::Segment;
use crate::domain::upload::Upload;

impl Record for Dataset {
    const COLLECTION: Collection = Collection::Datasets;
    fn key(&self) -> Key {
        Key::new(self.account_id.as_str(), self.id.as_str())
    }
}

impl Record for DatasetVersion {
    const COLLECTION: Collection = Collection::DatasetVersions;
    /// Zero-padded, so that the order of ids is the order of versions.
    fn key(&self) -> Key {
        Key::new(self.dataset_id.as_str(), format!("{:012}", self.version))
    }
}

impl Record for Job {
    const COLLECTION: Collection = Collection::Jobs;
    fn key(&self) -> Key {
        Key::new(self.account_id.as_str(), self.id.as_str())
    }
}

impl Record for Predictor {
    const COLLECTION: Collection = Collection::Predictors;
    fn key(&self) -> Key {
        Key::new(self.account_id.as_str(), self.id.as_str())
    }
}

impl Record for Model {
    const COLLECTION: Collection = Collection::Models;
    fn key(&self) -> Key {
        Key::new(self.account_id.as_str(), self.id.as_str())
    }
}

impl Record for Report {
    const COLLECTION: Collection = Collection::Reports;
    fn key(&self) -> Key {
        Key::new(self.account_id.as_str(), self.id.as_str())
    }
}

impl Record for Account {
    const COLLECTION: Collection = Collection::Accounts;
    fn key(&self) -> Key {
        Key::new("", self.id.as_str())
    }
}

impl Record for User {
    const COLLECTION: Collection = Collection::Users;
    /// By name, so that a name is taken once.
    fn key(&self) -> Key {
        Key::new("", username_key(&self.username))
    }
}

impl Record for SigningKey {
    const COLLECTION: Collection = Collection::SigningKeys;
    fn key(&self) -> Key {
        Key::new("", self.id.clone())
    }
}

impl Record for ProfileSchema {
    const COLLECTION: Collection = Collection::Schemas;
    /// One current schema a kind: `agents`, `customers`.
    fn key(&self) -> Key {
        Key::new(self.account_id.as_str(), self.kind.as_str())
    }
}

impl Collection {
    /// Where the records of a profile are; scope: the account, id: the record's id.
    pub fn of_profile(kind: ProfileKind) -> Self {
        match kind {
            ProfileKind::Agents => Collection::Agents,
            ProfileKind::Customers => Collection::Customers,
        }
    }
}

impl Record for Upload {
    const COLLECTION: Collection = Collection::Uploads;
    fn key(&self) -> Key {
        Key::new(self.account_id.as_str(), self.id.as_str())
    }
}

impl Record for DatasetSchema {
    const COLLECTION: Collection = Collection::Schemas;
    /// Zero-padded, so that the order of ids is the order of versions.
    fn key(&self) -> Key {
        Key::new(self.dataset_id.as_str(), format!("{:012}", self.schema.version))
    }
}

impl Record for Segment {
    const COLLECTION: Collection = Collection::Segments;
    fn key(&self) -> Key {
        Key::new(self.dataset_id.as_str(), self.id.as_str())
    }
}

impl Record for Node {
    const COLLECTION: Collection = Collection::Meta;
    fn key(&self) -> Key {
        Key::new(NODES_SCOPE, self.id.clone())
    }
}

impl Record for StoredEntry {
    const COLLECTION: Collection = Collection::ScoreLog;
    fn key(&self) -> Key {
        Key::new(self.account_id.as_str(), self.entry.interaction_id.as_str())
    }
}

impl Record for Schedule {
    const COLLECTION: Collection = Collection::Schedules;
    fn key(&self) -> Key {
        Key::new(self.account_id.as_str(), self.task.id())
    }
}

impl Record for ScoringHour {
    const COLLECTION: Collection = Collection::ScoringHours;
    /// Ordered by predictor, then time.
    fn key(&self) -> Key {
        let model = self.model_id.as_ref().map_or("-", |id| id.as_str());
        let id = format!("{}:{:013}:{model}:{}:{}", self.predictor_id, self.hour_ms, self.model_version, self.process);
        Key::new(self.account_id.as_str(), id)
    }
}

impl Record for ScoredPack {
    const COLLECTION: Collection = Collection::ScoredContexts;
    fn key(&self) -> Key {
        let id = format!("{:013}:{}:{}:{:06}", self.last_ms, self.predictor_id, self.process, self.number);
        Key::new(self.account_id.as_str(), id)
    }
}

/// Where the running processes tell of themselves.
pub const NODES_SCOPE: &str = "nodes";
