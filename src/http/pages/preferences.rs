//! What a browser is set to: language and theme, kept in cookies; and the texts that scripts need.

use axum::Json;
use axum::extract::Path;
use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};

use super::cookies;
use super::form::Form;
use super::language::{self, Language};
use super::visit::{Visit, header_text};
use crate::http::{ApiError, AppState, session};

pub(super) const THEME: &str = "tango_theme";

/// Keeps what the form names and goes back to where it was.
pub(super) async fn keep(State(app): State<AppState>, uri: Uri, headers: HeaderMap, form: Form) -> Response {
    if let Err(error) = session::check_origin(&axum::http::Method::POST, &headers) {
        return super::around::problem(&app, &uri, &headers, &error).await;
    }
    let mut response = Redirect::to(back(&headers)).into_response();
    let language = form.get("language").and_then(Language::from_code).map(|it| (language::COOKIE, it.code()));
    let theme = form.get("theme").and_then(|it| ["light", "dark", "system"].into_iter().find(|known| *known == it));
    for (name, value) in language.into_iter().chain(theme.map(|theme| (THEME, theme))) {
        if let Some(cookie) = cookies::keep(name, value, app.secure) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
    }
    response
}

/// The path of the page that the form was on; its host was looked at by the check of the origin.
fn back(headers: &HeaderMap) -> &str {
    let page = header_text(headers, header::REFERER).unwrap_or_default();
    let path = page.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
    path.filter(|path| path.starts_with('/') && !path.starts_with("//")).unwrap_or("/home")
}

/// What the API said to a script, as pages say it.
pub(super) async fn said(visit: Visit) -> Response {
    let text = visit.said(&visit.asked("text").unwrap_or_default());
    Json(serde_json::json!({"text": text})).into_response()
}

/// The catalogue in one language.
pub(super) async fn texts(Path(code): Path<String>) -> Response {
    match Language::from_code(&code) {
        Some(language) => Json(language::texts(language)).into_response(),
        None => ApiError::not_found("language", &code).into_response(),
    }
}
