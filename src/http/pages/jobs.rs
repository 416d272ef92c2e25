//! `/jobs`: what is worked on, in plain words; cancelled and tried again from here.

use std::collections::HashMap;

use axum::Router;
use axum::extract::Path;
use axum::routing::{get, post};
use minijinja::context;
use serde_json::{Value, json};

use super::answers::said;
use super::figures::{bytes, count, figure};
use super::form::Form;
use super::language::Language;
use super::sure::{self, Question};
use super::visit::{PageResult, Visit};
use crate::domain::dataset::Dataset;
use crate::domain::job::{Job, JobState, Progress, Topic};
use crate::domain::model::Model;
use crate::domain::predictor::Predictor;
use crate::domain::report::Report;
use crate::domain::upload::Upload;
use crate::http::{ApiError, AppState};
use crate::store::{Key, Record, StoreExt as _};

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/jobs", get(list))
        .route("/jobs/{id}", get(show))
        .route("/jobs/{id}/cancel", post(cancel))
        .route("/jobs/{id}/retry", post(retry))
}

async fn list(visit: Visit) -> PageResult {
    let query = visit.query(&["state", "topic", "sort", "after"], &[("limit", "50"), ("sort", "-id")]);
    let jobs = visit.get(&format!("/jobs?{query}")).await?;
    let jobs = described(&visit, jobs).await?;
    let cluster = visit.get("/cluster").await?;
    let topics = Topic::ALL.map(Topic::as_str);
    visit.page("jobs/list.html", context! { jobs, topics, queues => cluster["queues"] }).await
}

async fn show(visit: Visit, Path(id): Path<String>) -> PageResult {
    let job = visit.get(&format!("/jobs/{id}")).await?;
    let mut jobs = described(&visit, json!({"items": [job]})).await?;
    visit.page("jobs/show.html", context! { job => jobs["items"][0].take() }).await
}

async fn cancel(visit: Visit, Path(id): Path<String>, form: Form) -> PageResult {
    let back = format!("/jobs/{id}");
    if form.has("sure") {
        let asked = visit.post(&format!("/jobs/{id}/cancel"), &Value::Null).await;
        return visit.outcome(asked, &back, visit.text("The job is asked to stop."));
    }
    let job = visit.get(&format!("/jobs/{id}")).await?;
    let job = described(&visit, json!({"items": [job]})).await?["items"][0].take();
    let done = match job["far"].as_str() {
        Some(far) if !far.is_empty() => visit.text("What it has done so far is lost ({far}).").replace("{far}", far),
        _ => visit.text("What it has done so far is lost.").to_owned(),
    };
    let question = Question {
        title: visit.text("Cancel “{name}”?").replace("{name}", job["title"].as_str().unwrap_or_default()),
        lost: vec![
            done,
            visit.text("What was there before stays. It can be tried again, from its beginning.").to_owned(),
        ],
        yes: visit.text("Yes, cancel it"),
        back: &back,
    };
    sure::ask(&visit, &form, question).await
}

async fn retry(visit: Visit, Path(id): Path<String>) -> PageResult {
    let asked = visit.post(&format!("/jobs/{id}/retry"), &Value::Null).await;
    visit.outcome(asked, &format!("/jobs/{id}"), visit.text("The job is in the queue again."))
}

/// A list of jobs as the API answers it, each with `title`, `about` (a page), `far` and `can_retry`.
pub(super) async fn described(visit: &Visit, mut list: Value) -> Result<Value, ApiError> {
    let account = visit.session.account_id.as_str();
    let items = list["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let keys: Vec<Key> = items.iter().filter_map(|job| Some(Key::new(account, job["id"].as_str()?))).collect();
    let jobs = visit.app.ctx.store.load_many::<Job>(&keys).await?;
    let jobs: Vec<Job> = jobs.into_iter().flatten().map(|stored| stored.value).collect();
    let names = Names::read(visit, &jobs).await?;
    let by_id: HashMap<&str, &Job> = jobs.iter().map(|job| (job.id.as_str(), job)).collect();
    let described = items.into_iter().map(|mut item| {
        for event in item["log"].as_array_mut().into_iter().flatten().filter(|it| it["event"] == "phase") {
            let words = event["text"].as_str().map(|text| phase(text, visit.language));
            event["text"] = json!(words);
        }
        if let Some(job) = item["id"].as_str().and_then(|id| by_id.get(id)) {
            item["title"] = json!(names.title(job, visit.language));
            item["about"] = json!(names.about(job));
            item["far"] = json!(far(&job.progress, visit.language));
            item["can_retry"] = json!(can_retry(job));
            item["worker"] = json!(job.worker);
            item["failures"] = json!(job.failures);
        }
        item
    });
    list["items"] = described.collect();
    Ok(list)
}

/// A job with the same beside it; null when there is none (any more).
pub(super) async fn described_one(visit: &Visit, id: Option<&str>) -> Result<Value, ApiError> {
    let Some(id) = id else { return Ok(Value::Null) };
    let job = visit.get_if_there(&format!("/jobs/{id}")).await?;
    if job.is_null() {
        return Ok(job);
    }
    Ok(described(visit, json!({"items": [job]})).await?["items"][0].take())
}

/// A file that was refused is refused again; what is around a job, and the data of a training, may change.
fn can_retry(job: &Job) -> bool {
    match job.state {
        JobState::Dead | JobState::Cancelled => true,
        JobState::Failed => job.topic != Topic::DatasetUpload,
        JobState::Queued | JobState::Running | JobState::Succeeded => false,
    }
}

/// Names of what jobs work on, by id.
struct Names {
    names: HashMap<String, String>,
    /// Of what reports are about, by the report's id.
    subjects: HashMap<String, String>,
}

impl Names {
    async fn read(visit: &Visit, jobs: &[Job]) -> Result<Self, ApiError> {
        let mut names = HashMap::new();
        named(visit, jobs, "dataset_id", &mut names, |it: Dataset| (it.id.into(), it.name)).await?;
        named(visit, jobs, "upload_id", &mut names, |it: Upload| (it.id.into(), it.filename)).await?;
        let (mut models, mut reports, mut found) = (HashMap::new(), HashMap::new(), HashMap::new());
        named(visit, jobs, "model_id", &mut models, |it: Model| (it.id.into(), (it.name, it.predictor_id.into())))
            .await?;
        let kind_and_subject = |it: Report| {
            let kind = kind_of(&it);
            (it.id.into(), (kind, it.model_id.map_or_else(|| it.predictor_id.into(), String::from)))
        };
        named(visit, jobs, "report_id", &mut reports, kind_and_subject).await?;
        // Predictors of models; predictors and models that reports are about.
        let of: Vec<&String> = models.values().chain(reports.values()).map(|(_, of): &(String, String)| of).collect();
        let ids = || of.iter().map(|id| id.as_str());
        super::names::look_up(visit, ids(), &mut found, |it: Predictor| (it.id.into(), it.name)).await?;
        super::names::look_up(visit, ids(), &mut found, |it: Model| (it.id.into(), it.name)).await?;
        // Models of different predictors are called alike.
        names.extend(models.into_iter().map(|(id, (name, owner))| match found.get(&owner) {
            Some(predictor) => (id, format!("{name} ({predictor})")),
            None => (id, name),
        }));
        let mut subjects = HashMap::new();
        for (id, (kind, subject)) in reports {
            if let Some(subject) = found.get(&subject) {
                subjects.insert(id.clone(), subject.clone());
            }
            names.insert(id, kind);
        }
        Ok(Self { names, subjects })
    }

    fn title(&self, job: &Job, language: Language) -> String {
        let Some((text, key)) = title(&job.kind, language) else { return job.kind.replace('_', " ") };
        let profile = job.payload["profile"]["kind"].as_str();
        let name = match key {
            "profile" => {
                profile.map(|kind| if kind == "agents" { language.text("agents") } else { language.text("customers") })
            }
            "report_id" => {
                job.payload[key].as_str().and_then(|id| self.names.get(id)).map(|kind| report_name(kind, language))
            }
            key => job.payload[key].as_str().and_then(|id| self.names.get(id)).map(String::as_str),
        };
        let mut title = text.replace("{name}", name.unwrap_or("…"));
        // Files of different datasets are called alike, too, and so are reports about different models.
        let of = match key {
            "upload_id" => job.payload["dataset_id"].as_str().and_then(|id| self.names.get(id)),
            "report_id" => job.payload["report_id"].as_str().and_then(|id| self.subjects.get(id)),
            _ => None,
        };
        if let Some(of) = of {
            title = format!("{title} ({of})");
        }
        title
    }

    /// The page of what the job works on, while that is there.
    fn about(&self, job: &Job) -> Option<String> {
        let there = |key: &str| job.payload[key].as_str().filter(|id| self.names.contains_key(*id));
        if let Some(kind) = job.payload["profile"]["kind"].as_str() {
            return Some(format!("/{kind}"));
        }
        let pages = [("report_id", "reports"), ("model_id", "models"), ("dataset_id", "datasets")];
        pages.iter().find_map(|(key, page)| there(key).map(|id| format!("/{page}/{id}")))
    }
}

/// Adds the names of the things that the jobs' payloads refer to under `key`; those that are gone are left out.
async fn named<T: Record, Name>(
    visit: &Visit,
    jobs: &[Job],
    key: &str,
    names: &mut HashMap<String, Name>,
    name: fn(T) -> (String, Name),
) -> Result<(), ApiError> {
    let ids = jobs.iter().filter_map(|job| job.payload[key].as_str());
    super::names::look_up(visit, ids, names, name).await
}

/// As it is written in JSON.
fn kind_of(report: &Report) -> String {
    serde_json::to_value(report.kind).ok().and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default()
}

fn report_name(kind: &str, language: Language) -> &'static str {
    match kind {
        "feature_analysis" => language.text("Feature Analysis"),
        "agent_variance" => language.text("Agent Variance"),
        "lift_estimation" => language.text("Lift Estimation"),
        "model_quality" => language.text("Model Quality"),
        _ => language.text("Agent Coverage"),
    }
}

/// What a job of this kind does, and what of its payload names it; `None` for a kind that this page does not know.
fn title(kind: &str, language: Language) -> Option<(&'static str, &'static str)> {
    let t = |text: &'static str| language.text(text);
    Some(match kind {
        "dataset_discover" => (t("Reading {name}"), "upload_id"),
        "profile_upload" => (t("Reading {name}"), "upload_id"),
        "dataset_ingest" => (t("Storing the rows of {name}"), "upload_id"),
        "dataset_convert" => (t("Changing the schema of {name}"), "dataset_id"),
        "dataset_revert" => (t("Bringing back an earlier version of {name}"), "dataset_id"),
        "dataset_delete_range" => (t("Deleting a period from {name}"), "dataset_id"),
        "dataset_count" => (t("Counting the values of {name}"), "dataset_id"),
        "dataset_index" => (t("Building the indexes of {name}"), "dataset_id"),
        "dataset_compact" => (t("Joining small pieces of {name}"), "dataset_id"),
        "dataset_outcomes" => (t("Taking outcomes into {name}"), "dataset_id"),
        "count_profile" => (t("Counting {name}"), "profile"),
        "index_profile" => (t("Building the indexes of {name}"), "profile"),
        "train_model" => (t("Training the model {name}"), "model_id"),
        "make_report" => (t("Making the report {name}"), "report_id"),
        "purge" => (t("Removing what is no longer needed"), ""),
        _ => return None,
    })
}

/// `12.1 MB of 43.5 MB, 245,760 rows read`.
fn far(progress: &Progress, language: Language) -> String {
    let counted = |number: u64| match progress.unit.as_str() {
        "bytes" => bytes(number, language),
        _ => count(number as i64, language),
    };
    let filled = |text: &str, total: u64| {
        let text = text.replace("{done}", &counted(progress.done)).replace("{total}", &counted(total));
        text.replace("{unit}", &said(&progress.unit, language))
    };
    let bare = progress.unit.is_empty() || progress.unit == "bytes";
    let amount = match progress.total {
        Some(total) if bare => filled(language.text("{done} of {total}"), total),
        Some(total) => filled(language.text("{done} of {total} {unit}"), total),
        None if progress.done == 0 => String::new(),
        None if bare => counted(progress.done),
        None => filled("{done} {unit}", 0),
    };
    let metric = progress
        .metric
        .as_ref()
        .map(|metric| format!("{} {}", said(&metric.name, language), figure(metric.value, language)));
    let left = time_left(progress.time_left_ms, language);
    let parts = [amount, phase(&progress.phase, language), metric.unwrap_or_default(), left];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

/// Rounded up, so that nobody waits longer than was said at that pace.
fn time_left(time_left_ms: Option<u64>, language: Language) -> String {
    match time_left_ms.map(|left| left.div_ceil(1_000)) {
        None => String::new(),
        Some(seconds @ 0..90) => language.text("about {number} s left").replace("{number}", &seconds.to_string()),
        Some(seconds) => {
            language.text("about {number} min left").replace("{number}", &seconds.div_ceil(60).to_string())
        }
    }
}

/// A phase starts with a number when it counts something.
fn phase(text: &str, language: Language) -> String {
    let text = said(text, language);
    let counted =
        text.split_once(' ').and_then(|(first, rest)| Some(format!("{} {rest}", count(first.parse().ok()?, language))));
    counted.unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job::LiveMetric;

    #[test]
    fn every_kind_of_job_has_its_words() {
        let registry = crate::jobs::every_kind();
        for kind in Topic::ALL.into_iter().flat_map(|topic| registry.kinds(topic)) {
            assert!(title(kind, Language::English).is_some(), "{kind}");
        }
    }

    #[test]
    fn progress_is_easy_to_read() {
        let progress = |done, total, unit: &str, phase: &str| {
            let (unit, phase) = (unit.to_owned(), phase.to_owned());
            far(&Progress { done, total, unit, phase, ..Progress::default() }, Language::English)
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
        assert_eq!(far(&training, Language::English), text);
        let text = "Bäume: 120 von 500, Bäume werden erprobt, Log-Verlust auf dem Prüfteil 0,6123, noch etwa 42 s";
        assert_eq!(far(&training, Language::German), text);
        assert_eq!(time_left(Some(600_001), Language::English), "about 11 min left");
    }
}
