//! `/home`: what there is, and a way to add to it. Every form works without a script: it does what the
//! API does, through the API's own handlers, and comes back to this page.

use askama::Template;
use axum::body::Body;
use axum::extract::{Form, Path, Query, State};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::overview::{self, DatasetRow, JobRow, PredictorRow, ProfileRow, Table};
use super::render;
use crate::http::{ApiError, ApiResult, AppState, Session, router, session};

#[derive(Template)]
#[template(path = "home.html")]
struct HomePage<'a> {
    username: &'a str,
    version: &'static str,
    plain_http: bool,
    notice: &'a str,
    error: &'a str,
    datasets: Table<DatasetRow>,
    profiles: Vec<ProfileRow>,
    predictors: Table<PredictorRow>,
    jobs: Table<JobRow>,
}

/// What the last form led to.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Outcome {
    done: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct PastedCsv {
    target: String,
    #[serde(default)]
    name: String,
    csv: String,
}

/// Without a session: to the sign-in page.
pub(super) async fn page(
    State(app): State<AppState>,
    session: ApiResult<Session>,
    Query(outcome): Query<Outcome>,
) -> Response {
    let Ok(session) = session else { return Redirect::to("/login").into_response() };
    // Only our own words are shown, never the query's.
    let notice = match outcome.done.as_deref() {
        Some("upload") => "The text is in the queue: its job is below.",
        Some("accept") => "The schema is accepted: the rows are being stored.",
        Some("cancel") => "The job is asked to stop.",
        Some("retry") => "The job is in the queue again.",
        _ => "",
    };
    show(&app, &session, StatusCode::OK, notice, "").await
}

async fn show(app: &AppState, session: &Session, status: StatusCode, notice: &str, error: &str) -> Response {
    let overview = match overview::read(app, &session.account_id).await {
        Ok(overview) => overview,
        Err(error) => return error.into_response(),
    };
    let page = HomePage {
        username: &session.username,
        version: env!("CARGO_PKG_VERSION"),
        plain_http: !app.secure && !app.ctx.config.listen.ip().is_loopback(),
        notice,
        error,
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
        let ask = json!({
            "target": form.target, "name": name, "filename": format!("{name}.csv"), "size_bytes": csv.len(), "mode": "create",
        });
        let made = call(&app, &headers, Method::POST, "/uploads", "application/json", ask.to_string()).await?;
        let id = made["id"].as_str().unwrap_or_default();
        let part = format!("/uploads/{id}/parts/1");
        let sent = call(&app, &headers, Method::PUT, &part, "application/octet-stream", csv).await?;
        let complete = json!({"parts": [{"number": 1, "etag": sent["etag"]}], "accept_schema": true}).to_string();
        call(&app, &headers, Method::POST, &format!("/uploads/{id}/complete"), "application/json", complete).await
    };
    finish(&app, &session, outcome.await, "upload").await
}

pub(super) async fn accept(
    State(app): State<AppState>,
    session: ApiResult<Session>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    act(&app, session, &headers, &format!("/datasets/{id}/schema/accept"), "accept").await
}

pub(super) async fn cancel(
    State(app): State<AppState>,
    session: ApiResult<Session>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    act(&app, session, &headers, &format!("/jobs/{id}/cancel"), "cancel").await
}

pub(super) async fn retry(
    State(app): State<AppState>,
    session: ApiResult<Session>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    act(&app, session, &headers, &format!("/jobs/{id}/retry"), "retry").await
}

async fn act(app: &AppState, session: ApiResult<Session>, headers: &HeaderMap, path: &str, done: &str) -> Response {
    let session = match session {
        Ok(session) => session,
        Err(error) => return refused(error),
    };
    let outcome = call(app, headers, Method::POST, path, "application/json", String::new()).await;
    finish(app, &session, outcome, done).await
}

async fn finish(app: &AppState, session: &Session, outcome: ApiResult<Value>, done: &str) -> Response {
    match outcome {
        Ok(_) => Redirect::to(&format!("/home?done={done}")).into_response(),
        Err(error) => show(app, session, error.status(), "", error.detail()).await,
    }
}

/// Somebody without a session signs in first; a form of another site is told so.
fn refused(error: ApiError) -> Response {
    if error.status() == StatusCode::UNAUTHORIZED {
        Redirect::to("/login").into_response()
    } else {
        error.into_response()
    }
}

/// Calls one of the API's own handlers for the user whose cookie came.
async fn call(
    app: &AppState,
    headers: &HeaderMap,
    method: Method,
    path: &str,
    content_type: &str,
    body: String,
) -> ApiResult<Value> {
    let token = session::cookie_token(headers).unwrap_or_default();
    let mut request = Request::builder()
        .method(method)
        .uri(format!("/api/v1{path}"))
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_LENGTH, body.len());
    if !body.is_empty() {
        request = request.header(header::CONTENT_TYPE, content_type);
    }
    if let Some(host) = headers.get(header::HOST) {
        request = request.header(header::HOST, host);
    }
    let request = request.body(Body::from(body)).map_err(ApiError::internal)?;
    let answer = match router::api_alone(app.clone()).oneshot(request).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    };
    let status = answer.status();
    let bytes = answer.into_body().collect().await.map_err(ApiError::internal)?.to_bytes();
    let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if status.is_success() {
        return Ok(value);
    }
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    let code = text("code").unwrap_or_else(|| "refused".to_owned());
    Err(ApiError::new(status, code, text("detail").unwrap_or_else(|| format!("The server answers {status}."))))
}
