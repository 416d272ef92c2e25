//! `/home`: what there is, and a way to add to it.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};

use super::render;
use crate::http::{ApiResult, AppState, Session};

#[derive(Template)]
#[template(path = "home.html")]
struct HomePage {
    username: String,
}

/// Without a session: to the sign-in page.
pub(super) async fn page(State(_app): State<AppState>, session: ApiResult<Session>) -> Response {
    let Ok(session) = session else { return Redirect::to("/login").into_response() };
    render(StatusCode::OK, &HomePage { username: session.username })
}
