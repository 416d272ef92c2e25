//! The pages that a browser shows without the web application: sign-in and home.

pub mod assets;
pub mod figures;
mod home;
mod jobs;
mod login;
mod model;
mod overview;
mod own_api;
mod plot;
mod schema;

use askama::Template;
use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};

use super::{ApiError, ApiResult, AppState, Session};

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/", get(|| async { Redirect::to("/home") }))
        .route("/login", get(login::page).post(login::sign_in))
        .route("/logout", post(login::sign_out))
        .route("/home", get(home::page))
        .route("/home/upload", post(home::upload))
        .route("/home/datasets/{id}/accept", post(home::accept))
        .route("/home/datasets/{id}/delete", post(home::delete))
        .route("/home/datasets/{id}/schema", get(schema::page))
        .route("/home/models/{id}", get(model::page))
        .route("/home/jobs/{id}/cancel", post(home::cancel))
        .route("/home/jobs/{id}/retry", post(home::retry))
        .route("/assets/{*path}", get(assets::asset))
}

/// Our pages load nothing from elsewhere and run no inline script. Uploads go to the object store's
/// own port, hence other addresses may be connected to.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self' http: https:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

fn render(status: StatusCode, template: &impl Template) -> Response {
    let html = match template.render() {
        Ok(html) => html,
        Err(error) => return ApiError::internal(error).into_response(),
    };
    let mut response = (status, Html(html)).into_response();
    let headers = response.headers_mut();
    headers
        .insert(HeaderName::from_static("content-security-policy"), HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    title: &'a str,
    detail: &'a str,
}

/// Whether a person at a browser asks, who wants to read the answer.
pub fn wants_page(path: &str, headers: &HeaderMap) -> bool {
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepts.contains("text/html") && !path.starts_with("/api/")
}

/// What `read` shows to the signed-in person, or why it cannot. Without a session: to the sign-in page.
async fn signed_in<F: Future<Output = ApiResult<Response>>>(
    session: ApiResult<Session>,
    read: impl FnOnce(Session) -> F,
) -> Response {
    let Ok(session) = session else { return Redirect::to("/login").into_response() };
    read(session).await.unwrap_or_else(|error| problem(&error))
}

/// A failure as a page with a way back.
pub fn problem(error: &ApiError) -> Response {
    let title = match error.status() {
        StatusCode::NOT_FOUND => "There is nothing here",
        _ => "This is not possible",
    };
    render(error.status(), &ProblemPage { title, detail: error.detail() })
}
