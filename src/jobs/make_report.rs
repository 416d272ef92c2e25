//! Computes a report on data as they are when the job starts.

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::train_model::train_error;
use super::training_table::{self, Read, Subject};
use super::{Done, JobError, JobRun, RunJob};
use crate::domain::id::{ModelId, ReportId};
use crate::domain::job::Topic;
use crate::domain::model::{Model, ModelType};
use crate::domain::predictor::Predictor;
use crate::domain::report::{Report, ReportKind, ReportOptions, ReportState};
use crate::learn::{
    LiftOptions, TrainError, TrainingSpec, TrainingTable, agent_variance, estimate_lift, feature_analysis,
};
use crate::store::{Batch, Key, SharedStore, StoreError, StoreExt, Stored, chunks};

/// The payload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MakeReport {
    pub report_id: ReportId,
}

/// Where the chunks of a report's content are.
pub fn content_scope(report: &ReportId) -> String {
    format!("report:{report}")
}

/// Puts a report's content beside it.
pub fn put_content(batch: &mut Batch, report: &mut Report, content: &Value) -> Result<(), serde_json::Error> {
    let bytes = Bytes::from(serde_json::to_vec(content)?);
    report.chunks = chunks::put(batch, &content_scope(&report.id), "", &bytes);
    report.state = ReportState::Ready;
    Ok(())
}

/// A ready report's content. None when a chunk is missing or cannot be read.
pub async fn read_content(store: &SharedStore, report: &Report) -> Result<Option<Value>, StoreError> {
    let bytes = chunks::get(store, &content_scope(&report.id), "", report.chunks).await?;
    Ok(bytes.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

#[async_trait]
impl RunJob for MakeReport {
    const KIND: &'static str = "make_report";
    const TOPIC: Topic = Topic::Analysis;
    const MAX_ATTEMPTS: u32 = 3;

    async fn run(&self, run: &JobRun) -> Result<Done, JobError> {
        let report = self.start(run).await?;
        let subject = subject(run, &report).await?;
        let Read { table, warnings, .. } = training_table::read(run, &subject).await?;
        let (kind, options, spec) = (report.kind, report.options, subject.spec);
        let threads = run.ctx.config.omp_num_threads;
        let reporter = run.clone();
        let computed = tokio::task::spawn_blocking(move || compute(kind, &options, table, spec, &reporter, threads));
        let mut content = computed.await.map_err(|error| JobError::Retry(error.into()))?.map_err(train_error)?;
        add_warnings(&mut content, warnings);
        let mut stored = self.load(run).await?;
        let mut effects = Batch::new();
        put_content(&mut effects, &mut stored.value, &content).map_err(|error| JobError::Retry(error.into()))?;
        stored.value.updated_at = run.ctx.clock.now();
        effects.replace(&stored);
        Ok(Done { effects, result: serde_json::json!({"report_id": self.report_id}) })
    }

    async fn on_failure(&self, run: &JobRun, error: &JobError) -> Batch {
        let mut batch = Batch::new();
        match self.load(run).await {
            Ok(mut stored) => {
                stored.value.state = ReportState::Failed;
                stored.value.error = Some(error.to_string());
                stored.value.updated_at = run.ctx.clock.now();
                batch.replace(&stored);
            }
            Err(missing) => tracing::info!(report = %self.report_id, error = %missing, "no report to mark as failed"),
        }
        batch
    }
}

impl MakeReport {
    async fn load(&self, run: &JobRun) -> Result<Stored<Report>, JobError> {
        let key = Key::new(run.job.account_id.as_str(), self.report_id.as_str());
        let deleted = || JobError::Failed("The report was deleted before it was made.".to_owned());
        run.ctx.store.load::<Report>(&key).await?.ok_or_else(deleted)
    }

    async fn start(&self, run: &JobRun) -> Result<Report, JobError> {
        let mut stored = self.load(run).await?;
        stored.value.state = ReportState::Running;
        stored.value.error = None;
        stored.value.updated_at = run.ctx.clock.now();
        let mut batch = Batch::new();
        batch.replace(&stored);
        run.commit(batch).await?;
        Ok(stored.value)
    }
}

/// What the report is about.
async fn subject(run: &JobRun, report: &Report) -> Result<Subject, JobError> {
    let account = run.job.account_id.as_str();
    let key = Key::new(account, report.predictor_id.as_str());
    let gone =
        |what: &str| JobError::Failed(format!("The {what} of the report was deleted: there is nothing to tell of."));
    let predictor = run.ctx.store.load::<Predictor>(&key).await?.ok_or_else(|| gone("predictor"))?.value;
    match &report.model_id {
        Some(id) => Subject::of_model(predictor, &load_model(run, id).await?.ok_or_else(|| gone("model"))?),
        None => {
            let mut subject = Subject::of_predictor(predictor, ModelType::Hybrid)?;
            if report.kind == ReportKind::AgentVariance {
                // What explains agents belongs to their difference.
                subject.features.agent.clear();
            }
            Ok(subject)
        }
    }
}

async fn load_model(run: &JobRun, id: &ModelId) -> Result<Option<Model>, JobError> {
    let key = Key::new(run.job.account_id.as_str(), id.as_str());
    Ok(run.ctx.store.load::<Model>(&key).await?.map(|stored| stored.value))
}

/// Adds what the reading of the data had to say to the report's own warnings.
fn add_warnings(content: &mut Value, warnings: Vec<String>) {
    if let Some(Value::Array(own)) = content.get_mut("warnings") {
        own.splice(0..0, warnings.into_iter().map(Value::from));
    } else if let Some(object) = content.as_object_mut() {
        object.insert("warnings".to_owned(), warnings.into());
    }
}

fn compute(
    kind: ReportKind,
    options: &ReportOptions,
    table: TrainingTable,
    mut spec: TrainingSpec,
    reporter: &JobRun,
    threads: Option<usize>,
) -> Result<Value, TrainError> {
    match kind {
        ReportKind::FeatureAnalysis => {
            if table.agent_id.is_none() {
                spec.model_type = ModelType::Global;
            }
            to_value(&feature_analysis(&table, &spec, reporter, threads)?)
        }
        ReportKind::AgentVariance => {
            to_value(&agent_variance(table, &spec, options.segment_by.as_deref(), reporter, threads)?)
        }
        ReportKind::LiftEstimation => {
            let usual = LiftOptions::default();
            let options = LiftOptions {
                agents_free: options.agents_free.clone().unwrap_or(usual.agents_free),
                segment_by: options.segment_by.clone(),
            };
            to_value(&estimate_lift(&table, &spec, &options, reporter, threads)?)
        }
        ReportKind::ModelQuality | ReportKind::AgentCoverage => {
            Err(TrainError::Internal("quality and coverage are ready when they are asked for".to_owned()))
        }
    }
}

fn to_value(content: &impl Serialize) -> Result<Value, TrainError> {
    serde_json::to_value(content).map_err(|error| TrainError::Internal(error.to_string()))
}
