//! `/login`: what a person sees first, and what a load balancer looks at.

use askama::Template;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::render;
use crate::auth::AuthError;
use crate::http::{ApiError, AppState, session};

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    /// The operator's text; shown as text, whatever is in it.
    message: &'a str,
    error: &'a str,
    username: &'a str,
    plain_http: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct SignIn {
    username: String,
    password: String,
}

/// 200 while this node should get traffic, else 503; the same page with or without a session.
pub(super) async fn page(State(app): State<AppState>) -> Response {
    let status = if app.lifecycle.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    show(&app, status, "", "")
}

pub(super) async fn sign_in(State(app): State<AppState>, headers: HeaderMap, Form(form): Form<SignIn>) -> Response {
    // Whoever says where the form was must have shown ours; a script says nothing.
    let says = headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site");
    if says && let Err(error) = session::check_origin(&Method::POST, &headers) {
        return error.into_response();
    }
    match app.auth.login(&form.username, &form.password, None).await {
        Ok(issued) => {
            let cookie = session::cookie(&issued, &app);
            (AppendHeaders([(header::SET_COOKIE, cookie)]), Redirect::to("/home")).into_response()
        }
        // The API's text speaks of an API key, which this form does not ask for.
        Err(AuthError::InvalidCredentials) => {
            show(&app, StatusCode::UNAUTHORIZED, "The username or the password is wrong.", &form.username)
        }
        Err(error @ (AuthError::Locked { .. } | AuthError::TooBusy)) => {
            let problem = ApiError::from(error);
            show(&app, problem.status(), problem.detail(), &form.username)
        }
        Err(error) => ApiError::from(error).into_response(),
    }
}

pub(super) async fn sign_out(State(app): State<AppState>, headers: HeaderMap) -> Response {
    if let Err(error) = session::check_origin(&Method::POST, &headers) {
        return error.into_response();
    }
    if let Some(token) = session::cookie_token(&headers)
        && let Err(error) = app.auth.revoke(token).await
    {
        tracing::debug!(%error, "a token could not be ended at sign-out");
    }
    (AppendHeaders([(header::SET_COOKIE, session::no_cookie())]), Redirect::to("/login")).into_response()
}

fn show(app: &AppState, status: StatusCode, error: &str, username: &str) -> Response {
    let message = html_escape::decode_html_entities(&app.ctx.config.login_messages);
    let plain_http = !app.secure && !app.ctx.config.listen.ip().is_loopback();
    let mut response = render(status, &LoginPage { message: message.trim(), error, username, plain_http });
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}
