//! What the home page shows, read from the store and put into words.

use crate::domain::dataset::{Dataset, DatasetState};
use crate::domain::id::AccountId;
use crate::domain::job::{Job, JobState};
use crate::domain::model::{Model, ModelState};
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
    pub jobs: Table<JobRow>,
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
    pub awaiting_schema: bool,
}

pub(super) struct ProfileRow {
    pub name: &'static str,
    pub records: String,
    pub fields: usize,
    pub accepted: bool,
}

pub(super) struct PredictorRow {
    pub name: String,
    pub goal: String,
    pub models: Vec<ModelRow>,
}

pub(super) struct ModelRow {
    pub name: String,
    pub kind: String,
    pub state: &'static str,
    pub tone: &'static str,
    pub error: String,
}

pub(super) struct JobRow {
    pub id: String,
    pub kind: String,
    pub state: &'static str,
    pub tone: &'static str,
    pub running: bool,
    pub can_retry: bool,
    pub done: u64,
    pub total: u64,
    pub far: String,
    pub error: String,
    pub created_at: String,
    pub since: String,
}

pub(super) async fn read(app: &AppState, account: &AccountId) -> ApiResult<Overview> {
    let alive = Condition::Not(Box::new(Condition::Exists { path: Path::key("deleted_at") }));
    let datasets = newest::<Dataset, _>(app, account, alive, dataset_row).await?;
    let jobs = newest::<Job, _>(app, account, Condition::True, job_row).await?;
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
        let known = schema::load(&app.ctx.store, &Profile::new(account.clone(), kind)).await?.value.schema;
        let records = app.ctx.store.count(&Query::new(collection, account.as_str())).await?;
        let fields = known.fields.len();
        profiles.push(ProfileRow { name, records: grouped(records), fields, accepted: known.accepted });
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
    let (state, tone) = match dataset.state {
        DatasetState::Discovering => ("being read", "wait"),
        DatasetState::AwaitingSchema => ("waits for its schema", "wait"),
        DatasetState::Ready => ("ready", "good"),
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
        error: dataset.error.unwrap_or_default(),
        awaiting_schema: dataset.state == DatasetState::AwaitingSchema,
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
        ModelState::Draft => ("draft", ""),
        ModelState::Queued => ("queued", "wait"),
        ModelState::Training => ("training", "wait"),
        ModelState::Trained if model.active => ("active", "good"),
        ModelState::Trained => ("trained", "good"),
        ModelState::Failed => ("failed", "bad"),
    };
    let kind = serde_json::to_value(model.model_type).ok();
    let kind = kind.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    ModelRow { name: model.name, kind, state, tone, error: model.error.unwrap_or_default() }
}

fn job_row(job: Job) -> JobRow {
    let tone = match job.state {
        JobState::Queued | JobState::Running => "wait",
        JobState::Succeeded => "good",
        JobState::Cancelled => "",
        JobState::Failed | JobState::Dead => "bad",
    };
    let running = !job.state.is_final();
    let progress = &job.progress;
    let count = match progress.total {
        Some(total) => format!("{} of {} {}", grouped(progress.done), grouped(total), progress.unit),
        None if progress.done > 0 => format!("{} {}", grouped(progress.done), progress.unit),
        None => String::new(),
    };
    let far = match (running, progress.phase.is_empty() || count.is_empty()) {
        (false, _) => String::new(),
        (true, true) => format!("{}{count}", progress.phase),
        (true, false) => format!("{}: {count}", progress.phase),
    };
    JobRow {
        id: job.id.into(),
        kind: job.kind.replace('_', " "),
        state: job.state.as_str(),
        tone,
        running,
        can_retry: matches!(job.state, JobState::Failed | JobState::Cancelled | JobState::Dead),
        done: progress.done,
        total: progress.total.unwrap_or(0),
        far,
        error: job.error.unwrap_or_default(),
        created_at: job.created_at.to_rfc3339(),
        since: job.created_at.format("%Y-%m-%d %H:%M UTC").to_string(),
    }
}

/// 1234567 → 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn bytes(number: u64) -> String {
    const UNITS: [&str; 4] = ["KB", "MB", "GB", "TB"];
    if number < 1_000 {
        return format!("{number} B");
    }
    let mut size = number as f64 / 1_000.0;
    let mut unit = 0;
    while size >= 1_000.0 && unit < UNITS.len() - 1 {
        size /= 1_000.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(bytes(12), "12 B");
        assert_eq!(bytes(12_345_678), "12.3 MB");
    }
}
