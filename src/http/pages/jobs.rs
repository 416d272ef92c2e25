//! The home page's table of jobs: what each works on, in plain words.

use std::collections::HashMap;

use super::figures::{bytes, grouped};
use crate::domain::dataset::Dataset;
use crate::domain::id::AccountId;
use crate::domain::job::{Job, JobState, Progress, Topic};
use crate::domain::model::Model;
use crate::domain::upload::Upload;
use crate::http::{ApiResult, AppState};
use crate::store::{Collection, Condition, Key, Path, Query, Record, StoreExt};

/// Newest jobs that are shown.
const SHOWN: usize = 20;

/// Upkeep that nobody asked for: shown when it went wrong, or on request.
const UPKEEP: [&str; 6] =
    ["purge", "count_profile", "index_profile", "dataset_count", "dataset_index", "dataset_compact"];

pub(super) struct JobTable {
    pub rows: Vec<JobRow>,
    /// Of the account, hidden ones included.
    pub total: u64,
    /// Upkeep that is left out.
    pub hidden: u64,
    /// Upkeep is shown, too.
    pub all: bool,
    pub more: bool,
}

pub(super) struct JobRow {
    pub id: String,
    pub title: String,
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

pub(super) async fn read(app: &AppState, account: &AccountId, all: bool) -> ApiResult<JobTable> {
    let everything = Query::new(Collection::Jobs, account.as_str());
    let shown = if all { everything.clone() } else { everything.clone().filter(worth_showing()) };
    let mut query = shown.limit(SHOWN);
    // Ids sort by creation time.
    query.sort.descending = true;
    let store = &app.ctx.store;
    let total = store.count(&everything).await?;
    let hidden = if all { 0 } else { total.saturating_sub(store.count(&query).await?) };
    let (jobs, next) = store.list::<Job>(&query).await?;
    let jobs: Vec<Job> = jobs.into_iter().map(|stored| stored.value).collect();
    let names = Names::read(app, account, &jobs).await?;
    let rows = jobs.into_iter().map(|job| job_row(job, &names)).collect();
    Ok(JobTable { rows, total, hidden, all, more: next.is_some() })
}

fn worth_showing() -> Condition {
    let kinds = UPKEEP.map(|kind| Condition::equal(Path::key("kind"), kind));
    let wrong = [JobState::Failed, JobState::Dead].map(|state| Condition::equal(Path::key("state"), state.as_str()));
    let asked_for = Condition::Not(Box::new(Condition::Any(kinds.to_vec())));
    Condition::Any([vec![asked_for], wrong.to_vec()].concat())
}

/// Names of what jobs work on, by id.
struct Names {
    datasets: HashMap<String, String>,
    files: HashMap<String, String>,
    models: HashMap<String, String>,
}

impl Names {
    async fn read(app: &AppState, account: &AccountId, jobs: &[Job]) -> ApiResult<Self> {
        Ok(Self {
            datasets: named(app, account, jobs, "dataset_id", |it: Dataset| (it.id.into(), it.name)).await?,
            files: named(app, account, jobs, "upload_id", |it: Upload| (it.id.into(), it.filename)).await?,
            models: named(app, account, jobs, "model_id", |it: Model| (it.id.into(), it.name)).await?,
        })
    }

    fn of<'a>(&'a self, job: &'a Job) -> Subject<'a> {
        let name = |key: &str, names: &'a HashMap<String, String>, gone: &'static str| {
            job.payload[key].as_str().and_then(|id| names.get(id)).map_or(gone, String::as_str)
        };
        Subject {
            dataset: name("dataset_id", &self.datasets, "a dataset"),
            file: name("upload_id", &self.files, "a file"),
            model: name("model_id", &self.models, "a model"),
            profile: job.payload["profile"]["kind"].as_str().unwrap_or("profiles"),
        }
    }
}

struct Subject<'a> {
    dataset: &'a str,
    file: &'a str,
    model: &'a str,
    profile: &'a str,
}

/// The names of the things that the jobs' payloads refer to under `key`; those that are gone are left out.
async fn named<T: Record>(
    app: &AppState,
    account: &AccountId,
    jobs: &[Job],
    key: &str,
    name: fn(T) -> (String, String),
) -> ApiResult<HashMap<String, String>> {
    let mut ids: Vec<&str> = jobs.iter().filter_map(|job| job.payload[key].as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let keys: Vec<Key> = ids.into_iter().map(|id| Key::new(account.as_str(), id)).collect();
    let found = app.ctx.store.load_many::<T>(&keys).await?;
    Ok(found.into_iter().flatten().map(|stored| name(stored.value)).collect())
}

/// What a job of this kind does; `None` for a kind that this page does not know.
fn title(kind: &str, subject: &Subject<'_>) -> Option<String> {
    let Subject { dataset, file, model, profile } = subject;
    Some(match kind {
        "dataset_discover" | "profile_upload" => format!("Reading {file}"),
        "dataset_ingest" => format!("Storing the rows of {file}"),
        "dataset_convert" => format!("Changing the schema of {dataset}"),
        "dataset_revert" => format!("Bringing back an earlier version of {dataset}"),
        "dataset_delete_range" => format!("Deleting a period from {dataset}"),
        "dataset_count" => format!("Counting the values of {dataset}"),
        "dataset_index" => format!("Indexing {dataset}"),
        "dataset_compact" => format!("Joining small pieces of {dataset}"),
        "dataset_outcomes" => format!("Taking outcomes into {dataset}"),
        "count_profile" => format!("Counting {profile}"),
        "index_profile" => format!("Indexing {profile}"),
        "train_model" => format!("Training the model {model}"),
        "make_report" => "Making a report".to_owned(),
        "purge" => "Removing what is no longer needed".to_owned(),
        _ => return None,
    })
}

fn job_row(job: Job, names: &Names) -> JobRow {
    let (state, tone) = match job.state {
        JobState::Queued => ("waiting", "wait"),
        JobState::Running if job.cancel_requested => ("stopping", "wait"),
        JobState::Running => ("running", "wait"),
        JobState::Succeeded => ("done", "good"),
        JobState::Cancelled => ("cancelled", ""),
        JobState::Failed => ("failed", "bad"),
        JobState::Dead => ("gave up", "bad"),
    };
    // A file that was refused is refused again; what is around a job, and the data of a training, may change.
    let can_retry = match job.state {
        JobState::Dead | JobState::Cancelled => true,
        JobState::Failed => job.topic != Topic::DatasetUpload,
        JobState::Queued | JobState::Running | JobState::Succeeded => false,
    };
    let running = !job.state.is_final();
    JobRow {
        title: title(&job.kind, &names.of(&job)).unwrap_or_else(|| job.kind.replace('_', " ")),
        state,
        tone,
        running,
        can_retry,
        done: job.progress.done,
        total: job.progress.total.unwrap_or(0),
        far: if running { far(&job.progress) } else { String::new() },
        error: if job.state == JobState::Cancelled { String::new() } else { job.error.unwrap_or_default() },
        created_at: job.created_at.to_rfc3339(),
        since: job.created_at.format("%Y-%m-%d %H:%M UTC").to_string(),
        id: job.id.into(),
    }
}

/// `12.1 MB of 43.5 MB, 245,760 rows read`.
fn far(progress: &Progress) -> String {
    let count = |number| match progress.unit.as_str() {
        "bytes" => bytes(number),
        _ => grouped(number),
    };
    let unit = if progress.unit == "bytes" { String::new() } else { format!(" {}", progress.unit) };
    let counted = match progress.total {
        Some(total) => format!("{} of {}{unit}", count(progress.done), count(total)),
        None if progress.done > 0 => format!("{}{unit}", count(progress.done)),
        None => String::new(),
    };
    let metric = progress.metric.as_ref().map(|metric| format!("{} {:.4}", metric.name, metric.value));
    let parts = [counted, phase(&progress.phase), metric.unwrap_or_default(), time_left(progress.time_left_ms)];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

/// Rounded up, so that nobody waits longer than was said at that pace.
fn time_left(time_left_ms: Option<u64>) -> String {
    match time_left_ms.map(|left| left.div_ceil(1_000)) {
        None => String::new(),
        Some(seconds @ 0..90) => format!("about {seconds} s left"),
        Some(seconds) => format!("about {} min left", seconds.div_ceil(60)),
    }
}

/// A phase starts with a number when it counts something.
fn phase(text: &str) -> String {
    match text.split_once(' ') {
        Some((first, rest)) => match first.parse() {
            Ok(number) => format!("{} {rest}", grouped(number)),
            Err(_) => text.to_owned(),
        },
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job::LiveMetric;

    #[test]
    fn every_kind_of_job_has_its_words() {
        let registry = crate::jobs::every_kind();
        let subject = Subject { dataset: "calls", file: "calls.csv", model: "m", profile: "agents" };
        for kind in Topic::ALL.into_iter().flat_map(|topic| registry.kinds(topic)) {
            assert!(title(kind, &subject).is_some(), "{kind}");
        }
        for kind in UPKEEP {
            assert!(title(kind, &subject).is_some(), "{kind}");
        }
    }

    #[test]
    fn progress_is_easy_to_read() {
        let progress = |done, total, unit: &str, phase: &str| {
            far(&Progress { done, total, unit: unit.to_owned(), phase: phase.to_owned(), ..Progress::default() })
        };
        let reading = progress(12_100_000, Some(43_500_000), "bytes", "245760 rows read");
        assert_eq!(reading, "12.1 MB of 43.5 MB, 245,760 rows read");
        assert_eq!(progress(3, Some(8), "segments", "indexing"), "3 of 8 segments, indexing");
        assert_eq!(progress(0, None, "rows", "reading the dataset"), "reading the dataset");
        assert_eq!(progress(1_200, None, "rows", ""), "1,200 rows");
        let training = Progress {
            done: 120,
            total: Some(500),
            unit: "trees".to_owned(),
            phase: "trying trees".to_owned(),
            metric: Some(LiveMetric { name: "log loss on the validation part".to_owned(), value: 0.61234 }),
            share: Some(0.3),
            time_left_ms: Some(41_300),
        };
        let text = "120 of 500 trees, trying trees, log loss on the validation part 0.6123, about 42 s left";
        assert_eq!(far(&training), text);
        assert_eq!(time_left(Some(600_001)), "about 11 min left");
    }
}
