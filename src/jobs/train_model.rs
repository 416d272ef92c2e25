//! Trains a model: reads the dataset as it is when the job starts, learns, stores the artifact.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::training_table::{self, Read, Subject};
use super::{Done, JobError, JobRun, RunJob};
use crate::domain::comparison::{Compared, Comparison, ComparisonVerdict};
use crate::domain::id::ModelId;
use crate::domain::job::{Progress, Reporter, Topic};
use crate::domain::model::{ArtifactInfo, Model, ModelState};
use crate::domain::predictor::Predictor;
use crate::domain::schedule::Activate;
use crate::learn::{CardFacts, ModelCard, TrainError, Trained, TrainingSpec, TrainingTable, compare, train};
use crate::live::artifacts::{self, Part};
use crate::score::{Artifact, ArtifactError};
use crate::store::{Batch, Key, Op, StoreExt, Stored, chunks};

/// The payload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TrainModel {
    pub model_id: ModelId,
    /// Asked for by a schedule: what is to become of the new version. None when a person asked; then it replaces the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activate: Option<Activate>,
}

/// A training's results, before they are stored.
struct Learned {
    trained: Trained,
    /// The artifact.
    bytes: Bytes,
    trained_on: Value,
    warnings: Vec<String>,
    compared: Option<Compared>,
}

#[async_trait]
impl RunJob for TrainModel {
    const KIND: &'static str = "train_model";
    const TOPIC: Topic = Topic::ModelTraining;
    const MAX_ATTEMPTS: u32 = 3;

    async fn run(&self, run: &JobRun) -> Result<Done, JobError> {
        self.start(run).await?;
        let model = self.load(run).await?.value;
        let key = Key::new(model.account_id.as_str(), model.predictor_id.as_str());
        let Some(predictor) = run.ctx.store.load::<Predictor>(&key).await? else {
            return Err(JobError::Failed(
                "The model's predictor was deleted: there is nothing to train for.".to_owned(),
            ));
        };
        let subject = Subject::of_model(predictor.value, &model)?;
        let Read { table, trained_on, mut warnings } = training_table::read(run, &subject).await?;
        let Subject { spec, predictor, .. } = subject;
        let threads = run.ctx.config.omp_num_threads;
        let table = Arc::new(table);
        let compared = self.compare(run, &model, &table, &spec).await?;
        if let Some(compared) = &compared
            && !self.replaces(compared)
        {
            return self.keep_version(run, compared.clone()).await;
        }
        let reporter = run.clone();
        let (trained, bytes) = tokio::task::spawn_blocking(move || -> Result<(Trained, Vec<u8>), TrainError> {
            let trained = train(&table, &spec, &reporter, threads)?;
            let unreadable =
                |error: ArtifactError| TrainError::Internal(format!("the model cannot be stored: {error}"));
            let bytes = trained.artifact.encode().map_err(unreadable)?;
            // What cannot be read again must not replace what can.
            Artifact::decode(&bytes).map_err(unreadable)?;
            Ok((trained, bytes))
        })
        .await
        .map_err(|error| JobError::Retry(error.into()))?
        .map_err(train_error)?;
        run.report(Progress {
            done: 0,
            total: None,
            unit: "bytes".to_owned(),
            phase: "storing the model".to_owned(),
            metric: trained.quality.headline(),
            share: Some(1.0),
            time_left_ms: None,
        });
        warnings.extend(trained.warnings.iter().cloned());
        let learned = Learned { trained, bytes: Bytes::from(bytes), trained_on, warnings, compared };
        self.store(run, &predictor, learned).await
    }

    async fn on_failure(&self, run: &JobRun, error: &JobError) -> Batch {
        let mut batch = Batch::new();
        match self.load(run).await {
            Ok(mut stored) => {
                let model = &mut stored.value;
                model.updated_at = run.ctx.clock.now();
                match error {
                    JobError::Cancelled => {
                        model.state = if model.artifact.is_some() { ModelState::Trained } else { ModelState::Draft };
                        model.error = None;
                    }
                    other => {
                        model.state = ModelState::Failed;
                        model.error = Some(other.to_string());
                    }
                }
                batch.replace(&stored);
            }
            // Deleted meanwhile: there is no model whose state could be wrong.
            Err(missing) => tracing::info!(model = %self.model_id, error = %missing, "no model to mark as failed"),
        }
        batch
    }
}

impl TrainModel {
    async fn load(&self, run: &JobRun) -> Result<Stored<Model>, JobError> {
        let key = Key::new(run.job.account_id.as_str(), self.model_id.as_str());
        let deleted = || JobError::Failed("The model was deleted before its training ended.".to_owned());
        run.ctx.store.load::<Model>(&key).await?.ok_or_else(deleted)
    }

    async fn start(&self, run: &JobRun) -> Result<(), JobError> {
        let mut stored = self.load(run).await?;
        stored.value.state = ModelState::Training;
        stored.value.error = None;
        stored.value.updated_at = run.ctx.clock.now();
        let mut batch = Batch::new();
        batch.replace(&stored);
        run.commit(batch).await
    }

    /// Compares with the version that is there: always when a schedule asks, else when that version is answering. A comparison that
    /// fails does not keep a person's training from going on.
    async fn compare(
        &self,
        run: &JobRun,
        model: &Model,
        table: &Arc<TrainingTable>,
        spec: &TrainingSpec,
    ) -> Result<Option<Compared>, JobError> {
        if model.artifact.is_none() || !(model.active || self.activate.is_some()) {
            return Ok(None);
        }
        let before = match artifacts::decode(&run.ctx.store, model).await {
            Ok(before) => before,
            Err(error) if self.activate.is_none() => {
                let text = format!("The version before cannot be read: {error:#}.");
                return Ok(Some(Compared::without(ComparisonVerdict::NotComparable, text, 0)));
            }
            Err(error) => return Err(JobError::Retry(error)),
        };
        let (table, spec, reporter) = (Arc::clone(table), spec.clone(), run.clone());
        let threads = run.ctx.config.omp_num_threads;
        let compared = tokio::task::spawn_blocking(move || compare(&table, &spec, &before, &reporter, threads))
            .await
            .map_err(|error| JobError::Retry(error.into()))?;
        match compared {
            Ok(compared) => Ok(Some(compared)),
            Err(TrainError::Unusable { detail, .. }) if self.activate.is_none() => {
                Ok(Some(Compared::without(ComparisonVerdict::NotComparable, detail, 0)))
            }
            Err(error) => Err(train_error(error)),
        }
    }

    fn replaces(&self, compared: &Compared) -> bool {
        match self.activate {
            None => true,
            Some(Activate::IfBetter) => compared.verdict == ComparisonVerdict::Better,
            Some(Activate::Never) => false,
        }
    }

    fn comparison(&self, run: &JobRun, version_before: u32, replaced: bool, compared: Compared) -> Comparison {
        let (job_id, at) = (run.job.id.clone(), run.ctx.clock.now());
        Comparison { version_before, replaced, scheduled: self.activate.is_some(), compared, job_id, at }
    }

    /// The version that is there stays; what was found out about it is written down.
    async fn keep_version(&self, run: &JobRun, compared: Compared) -> Result<Done, JobError> {
        let mut stored = self.load(run).await?;
        let model = &mut stored.value;
        let comparison = self.comparison(run, model.version, false, compared);
        let result = json!({"model_id": model.id, "version": model.version, "comparison": comparison});
        model.comparison = Some(comparison);
        model.state = ModelState::Trained;
        model.error = None;
        model.updated_at = run.ctx.clock.now();
        let mut effects = Batch::new();
        effects.replace(&stored);
        Ok(Done { effects, result })
    }

    /// The artifact in chunks and the model that names it, for the job's last commit.
    async fn store(&self, run: &JobRun, predictor: &Predictor, learned: Learned) -> Result<Done, JobError> {
        let Learned { trained, bytes, mut trained_on, warnings, compared } = learned;
        // Read again: somebody may have activated the version before, or changed its share, meanwhile.
        let mut stored = self.load(run).await?;
        let model = &mut stored.value;
        model.comparison = compared.map(|compared| self.comparison(run, model.version, true, compared));
        model.version += 1;
        model.state = ModelState::Trained;
        model.error = None;
        model.updated_at = run.ctx.clock.now();
        let data = trained_on.clone();
        trained_on["warnings"] = json!(warnings);
        trained_on["job_id"] = json!(run.job.id);
        model.trained_on = Some(trained_on);
        model.quality = Some(to_value(&trained.quality)?);
        let coverage = &trained.coverage;
        // Of thousands of agents the document keeps the sums; the list is a chunk of its own.
        model.coverage = Some(json!({
            "local": coverage.local,
            "global": coverage.global,
            "samples_without_agent": coverage.samples_without_agent,
        }));
        let mut effects = Batch::new();
        let scope = artifacts::chunk_scope(&model.id);
        let chunks = chunks::put(&mut effects, &scope, &artifacts::chunk_prefix(model.version), &bytes);
        let version = model.version;
        put_part(&mut effects, &scope, version, Part::Coverage, coverage)?;
        put_part(&mut effects, &scope, version, Part::Breakdown, &trained.breakdown)?;
        put_part(&mut effects, &scope, version, Part::Reference, &trained.reference)?;
        let artifact =
            ArtifactInfo { chunks, size_bytes: bytes.len() as u64, sha256: hex::encode(Sha256::digest(&bytes)) };
        let facts = CardFacts {
            trained_at: model.updated_at,
            data,
            choices: &trained.choices,
            quality: &trained.quality,
            coverage,
            warnings: &warnings,
            artifact: &artifact,
        };
        if let Some(card) = ModelCard::new(model, predictor, facts) {
            put_part(&mut effects, &scope, version, Part::Card, &card)?;
        }
        model.artifact = Some(artifact);
        // The version before stays for nodes that are just reading it; older ones go.
        for id in run.ctx.store.list_blobs(&scope).await? {
            // What production is compared with is small, and stays for reports on the past.
            let reference = artifacts::is_reference(&id);
            if !reference && artifacts::version_of(&id).is_some_and(|version| version + 1 < model.version) {
                effects.push(Op::DeleteBlob { key: Key::new(scope.clone(), id) });
            }
        }
        let result = json!({
            "model_id": model.id,
            "version": model.version,
            "artifact_bytes": bytes.len(),
            "quality": model.quality,
            "coverage": model.coverage,
            "warnings": warnings,
            "comparison": model.comparison,
        });
        effects.replace(&stored);
        Ok(Done { effects, result })
    }
}

fn put_part<T: Serialize>(
    effects: &mut Batch,
    scope: &str,
    version: u32,
    part: Part,
    value: &T,
) -> Result<(), JobError> {
    let bytes = serde_json::to_vec(value).map_err(|error| JobError::Retry(error.into()))?;
    chunks::put(effects, scope, &artifacts::part_prefix(version, part), &Bytes::from(bytes));
    Ok(())
}

fn to_value<T: Serialize>(value: &T) -> Result<Value, JobError> {
    serde_json::to_value(value).map_err(|error| JobError::Retry(error.into()))
}

pub(super) fn train_error(error: TrainError) -> JobError {
    match error {
        TrainError::Unusable { code, detail } => JobError::Failed(format!("{detail} ({code})")),
        TrainError::Cancelled => JobError::Cancelled,
        TrainError::Internal(_) => JobError::Retry(anyhow::Error::new(error)),
    }
}
