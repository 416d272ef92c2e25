//! `/home`: what there is, and a way to add to it. Every form works without a script: it does what the
//! API does, through the API's own handlers, and comes back to this page.

use askama::Template;
use axum::extract::{Form, Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use serde_json::json;

use super::jobs::JobTable;
use super::overview::{self, DatasetRow, PredictorRow, ProfileRow, Table};
use super::own_api::call;
use super::render;
use crate::http::{ApiError, ApiResult, AppState, Session, health};

#[derive(Template)]
#[template(path = "home.html")]
struct HomePage<'a> {
    username: &'a str,
    version: &'static str,
    plain_http: bool,
    store_notice: Option<health::Notice>,
    notice: &'a str,
    error: &'a str,
    /// What was pasted, when it could not be taken.
    pasted: &'a PastedCsv,
    datasets: Table<DatasetRow>,
    profiles: Vec<ProfileRow>,
    predictors: Table<PredictorRow>,
    jobs: JobTable,
}

/// What the last form led to, and what is to be shown.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    done: Option<String>,
    /// `all` shows upkeep, too.
    jobs: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct PastedCsv {
    target: String,
    #[serde(default)]
    name: String,
    /// The column that holds a profile's id.
    #[serde(default)]
    id_field: String,
    csv: String,
}

/// What is shown above the tables.
#[derive(Default)]
struct Shown<'a> {
    notice: &'a str,
    error: &'a str,
    pasted: Option<&'a PastedCsv>,
    all_jobs: bool,
}

/// Without a session: to the sign-in page.
pub(super) async fn page(
    State(app): State<AppState>,
    session: ApiResult<Session>,
    Query(asked): Query<Asked>,
) -> Response {
    let Ok(session) = session else { return Redirect::to("/login").into_response() };
    // Only our own words are shown, never the query's.
    let notice = match asked.done.as_deref() {
        Some("upload") => "The text is in the queue: its job is below.",
        Some("accept") => "The schema is accepted: the rows are being stored.",
        Some("delete") => "The dataset is deleted.",
        Some("cancel") => "The job is asked to stop.",
        Some("retry") => "The job is in the queue again.",
        _ => "",
    };
    let all_jobs = asked.jobs.as_deref() == Some("all");
    show(&app, &session, StatusCode::OK, &Shown { notice, all_jobs, ..Shown::default() }).await
}

async fn show(app: &AppState, session: &Session, status: StatusCode, shown: &Shown<'_>) -> Response {
    let overview = match overview::read(app, &session.account_id, shown.all_jobs).await {
        Ok(overview) => overview,
        Err(error) => return error.into_response(),
    };
    let nothing = PastedCsv::default();
    let page = HomePage {
        username: &session.username,
        version: env!("CARGO_PKG_VERSION"),
        plain_http: !app.secure && !app.ctx.config.listen.ip().is_loopback(),
        store_notice: health::notice(app),
        notice: shown.notice,
        error: shown.error,
        pasted: shown.pasted.unwrap_or(&nothing),
        datasets: overview.datasets,
        profiles: overview.profiles,
        predictors: overview.predictors,
        jobs: overview.jobs,
    };
    render(status, &page)
}

/// A small CSV from the text field: asked for, sent through tango, completed.
pub(super) async fn upload(
    State(app): State<AppState>,
    session: ApiResult<Session>,
    headers: HeaderMap,
    Form(form): Form<PastedCsv>,
) -> Response {
    let session = match session {
        Ok(session) => session,
        Err(error) => return refused(error),
    };
    // Browsers send the text field's lines with two characters each.
    let csv = form.csv.replace("\r\n", "\n");
    let name = if form.name.trim().is_empty() { "pasted" } else { form.name.trim() };
    let outcome = async {
        let mut ask = json!({
            "target": form.target, "name": name, "filename": format!("{name}.csv"), "size_bytes": csv.len(), "mode": "create",
        });
        if form.target != "dataset" && !form.id_field.trim().is_empty() {
            ask["id_field"] = json!(form.id_field.trim());
        }
        let made = call(&app, &headers, Method::POST, "/uploads", "application/json", ask.to_string()).await?;
        let id = made["id"].as_str().unwrap_or_default();
        let part = format!("/uploads/{id}/parts/1");
        let sent = call(&app, &headers, Method::PUT, &part, "application/octet-stream", csv).await?;
        let complete = json!({"parts": [{"number": 1, "etag": sent["etag"]}], "accept_schema": true}).to_string();
        call(&app, &headers, Method::POST, &format!("/uploads/{id}/complete"), "application/json", complete).await
    };
    match outcome.await {
        Ok(_) => done("upload"),
        Err(error) => {
            let shown = Shown { error: error.detail(), pasted: Some(&form), ..Shown::default() };
            show(&app, &session, error.status(), &shown).await
        }
    }
}

pub(super) async fn accept(
    State(app): State<AppState>,
    session: ApiResult<Session>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    act(&app, session, &headers, Method::POST, &format!("/datasets/{id}/schema/accept"), "accept").await
}

pub(super) async fn delete(
    State(app): State<AppState>,
    session: ApiResult<Session>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    act(&app, session, &headers, Method::DELETE, &format!("/datasets/{id}"), "delete").await
}

pub(super) async fn cancel(
    State(app): State<AppState>,
    session: ApiResult<Session>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    act(&app, session, &headers, Method::POST, &format!("/jobs/{id}/cancel"), "cancel").await
}

pub(super) async fn retry(
    State(app): State<AppState>,
    session: ApiResult<Session>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    act(&app, session, &headers, Method::POST, &format!("/jobs/{id}/retry"), "retry").await
}

async fn act(
    app: &AppState,
    session: ApiResult<Session>,
    headers: &HeaderMap,
    method: Method,
    path: &str,
    outcome: &str,
) -> Response {
    let session = match session {
        Ok(session) => session,
        Err(error) => return refused(error),
    };
    match call(app, headers, method, path, "application/json", String::new()).await {
        Ok(_) => done(outcome),
        Err(error) => {
            let shown = Shown { error: error.detail(), ..Shown::default() };
            show(app, &session, error.status(), &shown).await
        }
    }
}

fn done(outcome: &str) -> Response {
    Redirect::to(&format!("/home?done={outcome}")).into_response()
}

/// Somebody without a session signs in first; a form of another site is told so.
fn refused(error: ApiError) -> Response {
    if error.status() == StatusCode::UNAUTHORIZED {
        Redirect::to("/login").into_response()
    } else {
        error.into_response()
    }
}
