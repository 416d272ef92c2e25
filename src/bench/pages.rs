//! How long the server takes for each page of the web application when an account has very many objects, and a dataset has a
//! thousand columns. Beside it what the fastest page, which asks the store for nothing, takes: the cost of a request itself.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::lean_client::Connection;
use super::{Folder, PASSWORD, local_config};
use crate::app::App;
use crate::client::{Client, text};
use crate::clock::{Clock as _, SystemClock};
use crate::domain::Timestamp;
use crate::domain::dataset::{Dataset, DatasetState};
use crate::domain::id::{AccountId, DatasetId, JobId, ModelId, PredictorId, ReportId};
use crate::domain::job::Job;
use crate::domain::model::Model;
use crate::domain::predictor::Predictor;
use crate::domain::report::Report;
use crate::http::session::COOKIE;
use crate::store::{Batch, SharedStore};

const COLUMNS: usize = 1_000;
/// What a page may take.
const MOST_MS: f64 = 200.0;
const TIMES: usize = 7;

/// `[objects]`: so many datasets, predictors, models, jobs, reports, agents and customers each; 10,000 when absent.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let objects = arguments.first().map(|text| text.parse()).transpose().context("objects is a whole number")?;
    tokio::runtime::Runtime::new()?.block_on(measure(objects.unwrap_or(10_000)))
}

#[expect(clippy::print_stdout, reason = "the figures are the command's output")]
async fn measure(objects: usize) -> anyhow::Result<()> {
    let folder = Folder::new("pages")?;
    let config = local_config(&folder.0);
    let username = config.super_user.clone();
    let app = App::start(config, Arc::new(SystemClock)).await?;
    let client = Client::sign_in(&app.url, &username, PASSWORD).await?;
    let wide = upload_wide(&client).await?;
    let me = client.get("/api/v1/auth/me").await?;
    let account = AccountId::parse(&text(&me["account_id"])?)?;
    let filled = fill(&app.state.ctx.store, &account, &wide, objects).await?;
    post_records(&client, objects).await?;
    println!(
        "{objects} datasets, predictors, models, jobs, reports, agents and customers each; a dataset of {COLUMNS} columns"
    );
    let cookie = format!("{COOKIE}={}", client.token());
    let address = app.address;
    let slow = tokio::task::spawn_blocking(move || ask_for_all(address, &cookie, &pages(&wide, &filled))).await??;
    println!("{slow} pages take longer than {MOST_MS:.0} ms");
    app.stop().await
}

/// Ids of the things that are looked at: old ones, so that nothing at the side of the page is about them.
struct Filled {
    dataset: String,
    predictor: String,
    model: String,
    job: String,
    report: String,
}

async fn upload_wide(client: &Client) -> anyhow::Result<String> {
    let mut csv: String = (0..COLUMNS).map(|at| format!("column_{at},")).collect();
    csv.push_str("agent_id,at\n");
    for row in 0..500 {
        for at in 0..COLUMNS {
            write!(csv, "{},", (row * at) % 17)?;
        }
        writeln!(csv, "a{},2026-01-{:02}T00:00:00Z", row % 9, 1 + row % 28)?;
    }
    let ask = json!({ "target": "dataset", "name": "wide", "filename": "wide.csv", "mode": "create" });
    let done = client.upload(csv.into_bytes(), ask, true).await?;
    client.wait(&done["job_id"], "storing a wide dataset").await?;
    text(&done["dataset_id"])
}

async fn fill(store: &SharedStore, account: &AccountId, wide: &str, objects: usize) -> anyhow::Result<Filled> {
    let now = SystemClock.now();
    let mut batch = Batch::new();
    let mut first = None;
    for number in 0..objects {
        let made = one(account, wide, number, now, &mut batch)?;
        first.get_or_insert(made);
        if batch.len() >= 1_000 {
            store.commit(std::mem::take(&mut batch)).await?;
        }
    }
    store.commit(batch).await?;
    first.context("at least one object is needed")
}

/// A dataset, a predictor that learns from it, a model, a job and a report.
fn one(account: &AccountId, wide: &str, number: usize, now: Timestamp, batch: &mut Batch) -> anyhow::Result<Filled> {
    let at = now - chrono::TimeDelta::seconds(200_000 - number as i64);
    let (dataset, predictor, model) = (DatasetId::generate(at), PredictorId::generate(at), ModelId::generate(at));
    let (job, report) = (JobId::generate(at), ReportId::generate(at));
    let name = format!("dataset_{number:05}");
    batch.insert(&Dataset::new(dataset.clone(), account.clone(), name, DatasetState::Ready, at));
    // One in ten learns from the same dataset.
    let from = if number.is_multiple_of(10) { wide } else { dataset.as_str() };
    let definition = json!({
        "kind": "simple", "dataset_id": from, "from": null, "to": null, "agent_source": "dataset", "customer_source": "none", "score_expression": null,
        "metric": {"field": "column_0", "kind": "regression", "goal": "maximize"},
        "features": {"context": ["column_1", "column_2"], "customer": [], "agent": []},
    });
    let stored: Predictor = from_json(json!({
        "id": predictor, "account_id": account, "name": format!("predictor_{number:05}"), "definition": definition, "created_at": at,
        "updated_at": at,
    }))?;
    batch.insert(&stored);
    let stored: Model = from_json(json!({
        "id": model, "account_id": account, "predictor_id": predictor, "name": "All features", "type": "HYBRID", "state": "draft",
        "version": 0, "features": null, "settings": {}, "seed": 0, "active": false, "share": null, "error": null, "job_id": null,
        "trained_on": null, "quality": null, "coverage": null, "artifact": null, "created_at": at, "updated_at": at,
    }))?;
    batch.insert(&stored);
    let stored: Job = from_json(json!({
        "id": job, "account_id": account, "topic": "analysis", "kind": "make_report", "payload": {"report_id": report}, "state": "failed",
        "attempt": 1, "max_attempts": 5, "fence": 2, "heartbeat": 3, "lease_ms": 10_000, "worker": null, "cancel_requested": false,
        "not_before": null, "progress": {"done": 0, "total": null, "unit": "", "phase": ""}, "error": "made for a measurement",
        "result": null, "created_at": at, "updated_at": at,
    }))?;
    batch.insert(&stored);
    let stored: Report = from_json(json!({
        "id": report, "account_id": account, "kind": "feature_analysis", "predictor_id": predictor, "model_id": null, "model_version": null,
        "state": "failed", "error": "made for a measurement", "job_id": job, "chunks": 0, "created_at": at, "updated_at": at,
    }))?;
    batch.insert(&stored);
    Ok(Filled {
        dataset: dataset.into(),
        predictor: predictor.into(),
        model: model.into(),
        job: job.into(),
        report: report.into(),
    })
}

fn from_json<T: serde::de::DeserializeOwned>(value: Value) -> anyhow::Result<T> {
    Ok(serde_json::from_value(value)?)
}

async fn post_records(client: &Client, objects: usize) -> anyhow::Result<()> {
    for kind in ["agents", "customers"] {
        for start in (0..objects).step_by(5_000) {
            let records: Vec<Value> = (start..objects.min(start + 5_000))
                .map(|number| json!({"id": format!("{kind}-{number:05}"), "team": format!("team {}", number % 40), "level": number % 7}))
                .collect();
            client.post(&format!("/api/v1/{kind}/records"), &json!({ "records": records })).await?;
        }
    }
    Ok(())
}

/// What it is, and its address.
fn pages(wide: &str, filled: &Filled) -> Vec<(&'static str, String)> {
    let Filled { dataset, predictor, model, job, report } = filled;
    let wizard = format!("/predictors/new?step=3&dataset={wide}&metric=column_0&kind=regression");
    vec![
        ("home", "/home".to_owned()),
        ("datasets", "/datasets".to_owned()),
        ("datasets by name", "/datasets?sort=name".to_owned()),
        ("datasets found by name", "/datasets?name=dataset_0999".to_owned()),
        ("upload", "/upload".to_owned()),
        ("a dataset", format!("/datasets/{dataset}")),
        ("a wide dataset", format!("/datasets/{wide}")),
        ("its columns", format!("/datasets/{wide}/columns")),
        ("its columns, with a target", format!("/datasets/{wide}/columns?target=column_0")),
        ("one of its columns", format!("/datasets/{wide}/columns/column_7")),
        ("its rows", format!("/datasets/{wide}/rows")),
        ("its schema", format!("/datasets/{wide}/schema")),
        ("its versions", format!("/datasets/{wide}/versions")),
        ("predictors", "/predictors".to_owned()),
        ("predictors of a dataset", format!("/predictors?dataset_id={wide}")),
        ("a predictor", format!("/predictors/{predictor}")),
        ("its production", format!("/predictors/{predictor}/production")),
        ("its new model", format!("/predictors/{predictor}/models")),
        ("wizard, data", "/predictors/new".to_owned()),
        ("wizard, outcome", format!("/predictors/new?step=2&dataset={wide}&metric=column_0")),
        ("wizard, features", wizard.clone()),
        ("wizard, features, page 9", format!("{wizard}&page=9")),
        ("combine predictors", "/predictors/combine".to_owned()),
        ("a model", format!("/models/{model}")),
        ("agents", "/agents".to_owned()),
        ("agents, filtered", "/agents?filter=level%3D3".to_owned()),
        ("an agent", "/agents/records/agents-00007".to_owned()),
        ("schema of agents", "/agents/schema".to_owned()),
        ("values of agents", "/agents/values".to_owned()),
        ("customers", "/customers".to_owned()),
        ("reports", "/reports".to_owned()),
        ("a report", format!("/reports/{report}")),
        ("playground", "/playground".to_owned()),
        ("jobs", "/jobs".to_owned()),
        ("jobs that failed", "/jobs?state=failed".to_owned()),
        ("a job", format!("/jobs/{job}")),
        ("settings", "/settings".to_owned()),
    ]
}

/// Asks for each page some times, one after the other; how many take too long.
#[expect(clippy::print_stdout, reason = "the figures are the command's output")]
fn ask_for_all(address: std::net::SocketAddr, cookie: &str, pages: &[(&'static str, String)]) -> anyhow::Result<usize> {
    let mut connection = Connection::open(address)?;
    let mut slow = 0;
    println!("{:28} {:>9} {:>9} {:>9} {:>9}", "page", "median", "first", "slowest", "size");
    let bare = [("sign-in page, for comparison", "/login".to_owned())];
    for (name, path) in bare.iter().chain(pages) {
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: {address}\r\ncookie: {cookie}\r\naccept: text/html\r\n\r\n");
        let mut took = Vec::new();
        let mut bytes = 0;
        for _ in 0..TIMES {
            let began = Instant::now();
            bytes = connection.ask(request.as_bytes()).with_context(|| path.clone())?.len();
            took.push(began.elapsed().as_secs_f64() * 1e3);
        }
        let first = took[0];
        took.sort_by(f64::total_cmp);
        let (median, slowest) = (took[TIMES / 2], took[TIMES - 1]);
        let mark = if median > MOST_MS { "  too long" } else { "" };
        slow += usize::from(median > MOST_MS);
        println!("{name:28} {median:6.1} ms {first:6.1} ms {slowest:6.1} ms {:6} kB{mark}", bytes / 1_000);
    }
    Ok(slow)
}
