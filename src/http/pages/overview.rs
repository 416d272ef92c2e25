//! What the home page shows, read from the store and put into words.

use super::figures::{bytes, grouped};
use super::jobs::{self, JobTable};
use crate::domain::dataset::{Dataset, DatasetState, RejectedReport};
use crate::domain::id::AccountId;
use crate::domain::model::{Model, ModelState, ModelType};
use crate::domain::predictor::{Goal, Predictor, PredictorDefinition};
use crate::domain::profile::ProfileKind;
use crate::http::{ApiResult, AppState};
use crate::profiles::{Profile, schema};
use crate::store::{Collection, Condition, Path, Query, Record, StoreExt};

/// Newest things of a kind that are shown.
const SHOWN: usize = 20;
/// Models of one predictor that are shown.
const MODELS_SHOWN: usize = 10;

pub(super) struct Overview {
    pub datasets: Table<DatasetRow>,
    pub profiles: Vec<ProfileRow>,
    pub predictors: Table<PredictorRow>,
    pub jobs: JobTable,
}

pub(super) struct Table<T> {
    pub rows: Vec<T>,
    pub total: u64,
    pub more: bool,
}

pub(super) struct DatasetRow {
    pub id: String,
    pub name: String,
    pub state: &'static str,
    pub tone: &'static str,
    pub rows: String,
    pub size: String,
    pub period: String,
    pub error: String,
    /// Rows that the last upload refused; empty when it refused none.
    pub refused: String,
    pub awaiting_schema: bool,
}

pub(super) struct ProfileRow {
    /// As the API's paths name it.
    pub id: &'static str,
    pub name: &'static str,
    pub records: String,
    pub fields: usize,
    pub accepted: bool,
    /// As in [`DatasetRow`].
    pub refused: String,
}

pub(super) struct PredictorRow {
    pub name: String,
    pub goal: String,
    pub models: Vec<ModelRow>,
}

pub(super) struct ModelRow {
    pub id: String,
    pub name: String,
    /// Some version was trained: there is a card.
    pub trained: bool,
    pub kind: &'static str,
    pub state: &'static str,
    pub tone: &'static str,
    pub error: String,
}

pub(super) async fn read(app: &AppState, account: &AccountId, all_jobs: bool) -> ApiResult<Overview> {
    let alive = Condition::Not(Box::new(Condition::Exists { path: Path::key("deleted_at") }));
    let datasets = newest::<Dataset, _>(app, account, alive, dataset_row).await?;
    let jobs = jobs::read(app, account, all_jobs).await?;
    let found = newest::<Predictor, _>(app, account, Condition::True, |predictor| predictor).await?;
    let mut predictors = Vec::new();
    for predictor in found.rows {
        predictors.push(predictor_row(app, predictor).await?);
    }
    let mut profiles = Vec::new();
    for (kind, name, collection) in [
        (ProfileKind::Agents, "Agents", Collection::Agents),
        (ProfileKind::Customers, "Customers", Collection::Customers),
    ] {
        let known = schema::load(&app.ctx.store, &Profile::new(account.clone(), kind)).await?.value;
        let records = app.ctx.store.count(&Query::new(collection, account.as_str())).await?;
        profiles.push(ProfileRow {
            id: kind.as_str(),
            name,
            records: grouped(records),
            fields: known.schema.fields.len(),
            accepted: known.schema.accepted,
            refused: refused(known.rejected.as_ref()),
        });
    }
    let predictors = Table { rows: predictors, total: found.total, more: found.more };
    Ok(Overview { datasets, profiles, predictors, jobs })
}

async fn newest<T: Record, R>(
    app: &AppState,
    account: &AccountId,
    condition: Condition,
    row: fn(T) -> R,
) -> ApiResult<Table<R>> {
    let mut query = Query::new(T::COLLECTION, account.as_str()).filter(condition).limit(SHOWN);
    // Ids sort by creation time.
    query.sort.descending = true;
    let total = app.ctx.store.count(&query).await?;
    let (found, next) = app.ctx.store.list::<T>(&query).await?;
    Ok(Table { rows: found.into_iter().map(|stored| row(stored.value)).collect(), total, more: next.is_some() })
}

fn dataset_row(dataset: Dataset) -> DatasetRow {
    // A job that was told to stop leaves this word, and nothing to explain.
    let cancelled = dataset.error.as_deref() == Some("cancelled");
    let (state, tone) = match dataset.state {
        DatasetState::Discovering => ("being read", "wait"),
        DatasetState::AwaitingSchema => ("waits for its schema", "wait"),
        DatasetState::Ready => ("ready", "good"),
        DatasetState::Failed if cancelled => ("cancelled", ""),
        DatasetState::Failed => ("failed", "bad"),
    };
    let period = match (dataset.from, dataset.to) {
        (Some(from), Some(to)) => format!("{} to {}", from.format("%Y-%m-%d"), to.format("%Y-%m-%d")),
        _ => String::new(),
    };
    DatasetRow {
        id: dataset.id.into(),
        name: dataset.name,
        state,
        tone,
        rows: grouped(dataset.rows),
        size: bytes(dataset.size_bytes),
        period,
        error: if cancelled { String::new() } else { dataset.error.unwrap_or_default() },
        refused: refused(dataset.rejected.as_ref()),
        awaiting_schema: dataset.state == DatasetState::AwaitingSchema,
    }
}

fn refused(report: Option<&RejectedReport>) -> String {
    match report.map_or(0, |report| report.rows) {
        0 => String::new(),
        1 => "1 row was refused".to_owned(),
        rows => format!("{} rows were refused", grouped(rows)),
    }
}

async fn predictor_row(app: &AppState, predictor: Predictor) -> ApiResult<PredictorRow> {
    let goal = match &predictor.definition {
        PredictorDefinition::Simple { metric, .. } => {
            let verb = if metric.goal == Goal::Maximize { "more" } else { "less" };
            format!("{verb} {}", metric.field)
        }
        PredictorDefinition::Composite { combine } => combine.clone(),
    };
    let query = Query::new(Collection::Models, predictor.account_id.as_str())
        .filter(Condition::equal(Path::key("predictor_id"), predictor.id.as_str()))
        .limit(MODELS_SHOWN);
    let (models, _) = app.ctx.store.list::<Model>(&query).await?;
    Ok(PredictorRow { name: predictor.name, goal, models: models.into_iter().map(|it| model_row(it.value)).collect() })
}

fn model_row(model: Model) -> ModelRow {
    let (state, tone) = match model.state {
        ModelState::Draft => ("not trained yet", ""),
        ModelState::Queued => ("waits to be trained", "wait"),
        ModelState::Training => ("training", "wait"),
        ModelState::Trained if model.active => ("active", "good"),
        ModelState::Trained => ("trained", "good"),
        ModelState::Failed => ("failed", "bad"),
    };
    let kind = match model.model_type {
        ModelType::Global => "GLOBAL: one for all agents",
        ModelType::Disjoint => "DISJOINT: one for each agent",
        ModelType::Hybrid => "HYBRID: one for all agents, and a part for each",
    };
    ModelRow {
        id: model.id.into(),
        name: model.name,
        trained: model.artifact.is_some(),
        kind,
        state,
        tone,
        error: model.error.unwrap_or_default(),
    }
}
