//! `/home`: what is going on: which models are live and what they are worth, how fresh the data is, what is worked on,
//! and whether the cluster is well.

use std::time::Duration;

use minijinja::context;
use serde_json::{Value, json};

use super::jobs::described;
use super::visit::{PageResult, Visit};
use crate::store::{Collection, Condition, Path, Query};

/// Data that has not grown for so long is told to be old.
const OLD_DAYS: i64 = 30;
const PREDICTORS: usize = 8;
const JOBS: usize = 8;
/// For what is told of production, of all predictors together.
const PATIENCE: Duration = Duration::from_millis(120);

pub(super) async fn page(visit: Visit) -> PageResult {
    // An upload that failed, or waits to be accepted, has brought nothing.
    let datasets = visit.get("/datasets?limit=5&state=ready&sort=-updated_at").await?;
    let mut jobs = visit.get("/jobs?limit=60&sort=-id").await?;
    if let Some(items) = jobs["items"].as_array_mut() {
        items.retain(worth_showing);
        items.truncate(JOBS);
    }
    let cluster = visit.get("/cluster").await?;
    let store = &visit.app.ctx.store;
    let account = visit.session.account_id.as_str();
    let count = async |collection, condition| store.count(&Query::new(collection, account).filter(condition)).await;
    let alive = Condition::Not(Box::new(Condition::Exists { path: Path::key("deleted_at") }));
    let live = Condition::equal(Path::key("active"), true);
    let counts = json!({
        "datasets": count(Collection::Datasets, alive).await.map_err(crate::http::ApiError::from)?,
        "predictors": count(Collection::Predictors, Condition::True).await.map_err(crate::http::ApiError::from)?,
        "live": count(Collection::Models, live).await.map_err(crate::http::ApiError::from)?,
        "agents": count(Collection::Agents, Condition::True).await.map_err(crate::http::ApiError::from)?,
        "customers": count(Collection::Customers, Condition::True).await.map_err(crate::http::ApiError::from)?,
    });
    let mut live = Vec::new();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let active = visit.get("/models?active=true&limit=100&sort=-id").await?;
    let mut ids: Vec<&str> =
        active["items"].as_array().into_iter().flatten().filter_map(|it| it["predictor_id"].as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    for id in ids.into_iter().rev().take(PREDICTORS) {
        let predictor = visit.get_if_there(&format!("/predictors/{id}")).await?;
        if predictor.is_null() {
            continue;
        }
        // A long score log takes its time, which this page does not: its own page tells the rest.
        let path = format!("/predictors/{id}/production");
        let asked = tokio::time::timeout_at(deadline, visit.get_if_there(&path)).await;
        let production = asked.unwrap_or(Ok(Value::Null))?;
        live.push(json!({"predictor": predictor, "production": brief(&production)}));
    }
    // How old the interactions are, which is not how long ago somebody touched the data.
    let listed = datasets["items"].as_array().into_iter().flatten();
    let newest = listed.filter_map(|it| it["to"].as_str().or(it["updated_at"].as_str())).max();
    let old = newest.and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok()).and_then(|updated| {
        let days = (visit.app.ctx.clock.now() - updated.with_timezone(&chrono::Utc)).num_days();
        (days >= OLD_DAYS).then_some(days)
    });
    let jobs = described(&visit, jobs).await?;
    visit.page("home.html", context! { datasets, jobs, cluster, counts, live, old_days => old }).await
}

/// Upkeep that nobody asked for is worth a line only when it went wrong.
fn worth_showing(job: &Value) -> bool {
    const UPKEEP: [&str; 6] =
        ["purge", "count_profile", "index_profile", "dataset_count", "dataset_index", "dataset_compact"];
    let upkeep = job["kind"].as_str().is_some_and(|kind| UPKEEP.contains(&kind));
    !upkeep || matches!(job["state"].as_str(), Some("failed" | "dead"))
}

/// What the home page tells of a predictor in production.
fn brief(production: &Value) -> Value {
    json!({
        "requests": production["scoring"]["requests"],
        "lift": production["lift"],
        "score_log": production["score_log"],
        "verdicts": production["models"].as_array().map(|models| {
            models.iter().map(|model| model["verdict"].clone()).collect::<Vec<Value>>()
        }),
    })
}
