//! `/predictors`: what is to be predicted, as a list, and predictors that combine others.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use minijinja::context;
use serde_json::json;

use super::form::Form;
use super::visit::{PageResult, Visit};
use super::{names, offer, predictor, production, wizard};
use crate::http::{ApiError, AppState};

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/predictors", get(list).post(wizard::create))
        .route("/predictors/new", get(wizard::page))
        .route("/predictors/combine", get(combine).post(create_composite))
        .route("/predictors/{id}/production", get(production::page).post(production::make_dataset))
        .merge(predictor::routes())
}

async fn list(visit: Visit) -> PageResult {
    let query = visit.query(&["contains", "dataset_id", "sort", "after"], &[("limit", "50"), ("sort", "-id")]);
    let predictors = visit.get(&format!("/predictors?{query}")).await?;
    let datasets = offer::datasets(&visit, "", visit.asked("dataset_id").as_deref()).await?;
    let names = names::of_lists(&visit, &[&predictors]).await?;
    visit.page("predictors/list.html", context! { predictors, datasets, names }).await
}

async fn combine(visit: Visit) -> PageResult {
    show_combine(&visit, None, &Form::default()).await
}

async fn show_combine(visit: &Visit, error: Option<&ApiError>, typed: &Form) -> PageResult {
    let predictors = visit.get("/predictors?limit=500&sort=name").await?;
    let shown = context! { predictors, typed => typed.typed(), error => error.map(ApiError::detail) };
    visit.page_with(error.map_or(StatusCode::OK, ApiError::status), "predictors/combine.html", shown).await
}

async fn create_composite(visit: Visit, form: Form) -> PageResult {
    let body = json!({"name": form.string("name"), "combine": form.string("combine")});
    match visit.post("/predictors", &body).await {
        Ok(made) => {
            let to = format!("/predictors/{}", made["id"].as_str().unwrap_or_default());
            visit.done(&to, visit.text("The predictor is there."))
        }
        Err(error) => show_combine(&visit, Some(&error), &form).await,
    }
}
