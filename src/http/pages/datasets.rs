//! `/datasets`: the list, and one dataset: what it holds, and what can be done with it as a whole.

use axum::Router;
use axum::extract::Path;
use axum::http::{Method, StatusCode};
use axum::routing::{get, post};
use minijinja::context;
use serde_json::{Value, json};

use super::jobs::described_one;
use super::visit::{PageResult, Visit, segment};
use super::{columns, dataset_schema, rows, versions};
use crate::http::{ApiError, AppState};

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/datasets", get(list))
        .route("/datasets/{id}", get(show))
        .route("/datasets/{id}/columns", get(columns::list))
        .route("/datasets/{id}/columns/{name}", get(columns::one))
        .route("/datasets/{id}/count", post(columns::count))
        .route("/datasets/{id}/rows", get(rows::page))
        .route("/datasets/{id}/rejected", get(rows::rejected))
        .route("/datasets/{id}/schema", get(dataset_schema::page).post(dataset_schema::change))
        .route("/datasets/{id}/accept", post(dataset_schema::accept))
        .route("/datasets/{id}/versions", get(versions::page))
        .route("/datasets/{id}/revert", post(versions::revert))
        .route("/datasets/{id}/delete_range", post(versions::delete_range))
        .route("/datasets/{id}/refresh", post(refresh))
        .route("/datasets/{id}/delete", post(delete))
}

async fn list(visit: Visit) -> PageResult {
    let query = visit.query(&["name", "state", "sort", "after"], &[("limit", "50"), ("sort", "-id")]);
    let datasets = visit.get(&format!("/datasets?{query}")).await?;
    visit.page("datasets/list.html", context! { datasets }).await
}

pub(super) async fn load(visit: &Visit, id: &str) -> Result<Value, ApiError> {
    visit.get(&format!("/datasets/{}", segment(id))).await
}

async fn show(visit: Visit, Path(id): Path<String>) -> PageResult {
    let dataset = load(&visit, &id).await?;
    let schema = visit.get_if_there(&format!("/datasets/{id}/schema")).await?;
    let job = described_one(&visit, dataset["job_id"].as_str()).await?;
    let time = role(&schema, "timestamp");
    let ready = dataset["state"] == "ready";
    // What only a picture shows must not take the page away.
    let volume = match &time {
        Some(time) if ready => visit
            .get(&format!("/datasets/{id}/columns/{}", segment(time)))
            .await
            .map(columns::drawn)
            .unwrap_or(Value::Null),
        _ => Value::Null,
    };
    let predictors = visit.get(&format!("/predictors?limit=100&dataset_id={id}")).await?;
    let shown = context! { dataset, schema, job, volume, predictors, tab => "overview" };
    visit.page("datasets/show.html", shown).await
}

/// The first field with this role.
pub(super) fn role(schema: &Value, role: &str) -> Option<String> {
    let fields = schema["fields"].as_array()?;
    fields.iter().find(|field| field["role"] == role)?["name"].as_str().map(str::to_owned)
}

/// What a person asked for is refused beside the question, not instead of the page.
pub(super) fn shown_or_said(result: Result<Value, ApiError>) -> Result<(Value, Option<String>), ApiError> {
    match result {
        Ok(value) => Ok((value, None)),
        Err(error) if error.status().is_client_error() && error.status() != StatusCode::NOT_FOUND => {
            Ok((Value::Null, Some(error.detail().to_owned())))
        }
        Err(error) if error.status() == StatusCode::SERVICE_UNAVAILABLE => {
            Ok((Value::Null, Some(error.detail().to_owned())))
        }
        Err(error) => Err(error),
    }
}

async fn refresh(visit: Visit, Path(id): Path<String>) -> PageResult {
    let started = visit.post(&format!("/datasets/{id}/refresh"), &json!({})).await;
    visit.outcome(started, &format!("/datasets/{id}"), visit.text("New outcomes are being taken in."))
}

async fn delete(visit: Visit, Path(id): Path<String>) -> PageResult {
    let name = load(&visit, &id).await?["name"].as_str().unwrap_or_default().to_owned();
    match visit.send(Method::DELETE, &format!("/datasets/{id}"), &Value::Null).await {
        Ok(_) => visit.done("/datasets", &visit.text("{name} is deleted.").replace("{name}", &name)),
        Err(error) => visit.refused(&format!("/datasets/{id}"), &error),
    }
}
