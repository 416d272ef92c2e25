//! The web application: pages that are complete without a script. What they show and do goes through the API's own
//! handlers (`visit`); templates are in `static/templates`, scripts that make pages livelier in `static/assets`.

mod answers;
mod around;
pub mod assets;
mod chart;
mod choice;
mod columns;
mod cookies;
mod dataset_schema;
mod datasets;
mod engine;
pub mod figures;
mod form;
mod home;
mod jobs;
mod language;
mod live;
mod login;
mod models;
mod names;
mod offer;
mod playground;
mod predictor;
mod predictors;
mod preferences;
mod production;
mod profiles;
mod record_form;
mod reports;
mod rows;
mod schema_form;
mod settings;
mod sure;
mod tree;
mod turns;
mod uploads;
mod users;
mod versions;
mod visit;
mod wizard;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Router, middleware};
use minijinja::Value;

use super::{ApiError, AppState, router};

pub fn routes(app: &AppState) -> Router<AppState> {
    Router::new()
        .route("/", get(|| async { Redirect::to("/home") }))
        .route("/login", get(login::page).post(login::sign_in))
        .route("/logout", post(login::sign_out))
        .route("/preferences", post(preferences::keep))
        .route("/home", get(home::page))
        .route("/changes", get(live::changes))
        .route("/texts/{language}", get(preferences::texts))
        .route("/said", get(preferences::said))
        .merge(datasets::routes())
        .merge(uploads::routes())
        .merge(profiles::routes())
        .merge(predictors::routes())
        .merge(turns::routes())
        .merge(models::routes())
        .merge(reports::routes())
        .merge(playground::routes())
        .merge(jobs::routes())
        .merge(settings::routes())
        .merge(users::routes())
        .route("/assets/{*path}", get(assets::asset))
        .layer(Extension(visit::OwnApi(router::api_alone(app.clone()))))
        .layer(middleware::from_fn_with_state(app.clone(), around::guard))
}

/// Our pages load nothing from elsewhere and run no inline script. Uploads go to the object store's
/// own port, hence other addresses may be connected to.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self' http: https:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A template as an answer.
fn show(status: StatusCode, template: &str, context: Value) -> Result<Response, visit::Failure> {
    let html = engine::render(template, context).map_err(|error| ApiError::internal(format!("{error:#}")))?;
    let mut response = (status, Html(html)).into_response();
    let headers = response.headers_mut();
    headers
        .insert(HeaderName::from_static("content-security-policy"), HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `light`, `dark`, or nothing: as the system has it.
fn theme(headers: &HeaderMap) -> &'static str {
    match cookies::read(headers, preferences::THEME) {
        Some("light") => "light",
        Some("dark") => "dark",
        _ => "",
    }
}

/// Whether a person at a browser asks, who wants to read the answer.
pub fn wants_page(path: &str, headers: &HeaderMap) -> bool {
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepts.contains("text/html") && !path.starts_with("/api/")
}

/// A failure as a page with ways on.
pub async fn problem(app: &AppState, uri: &Uri, headers: &HeaderMap, error: &ApiError) -> Response {
    around::problem(app, uri, headers, error).await
}

/// What a browser is shown until the server is warm.
pub fn starting(headers: &HeaderMap) -> Response {
    around::starting(headers)
}
