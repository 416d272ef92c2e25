//! `/login`: what a person sees first, and what a load balancer looks at.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use minijinja::context;

use super::form::Form;
use super::language::Language;
use super::{around, show};
use crate::auth::AuthError;
use crate::http::{ApiError, AppState, session};

/// 200 while this node should get traffic, else 503; the same page with or without a session.
pub(super) async fn page(State(app): State<AppState>, headers: HeaderMap, uri: Uri) -> Response {
    let status = if app.lifecycle.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // Where to go after signing in; a query that nobody understands is no reason to refuse the page.
    let next = Form::parse(uri.query().unwrap_or_default().as_bytes()).string("next");
    form(&app, &headers, status, "", "", &next)
}

pub(super) async fn sign_in(State(app): State<AppState>, headers: HeaderMap, typed: Form) -> Response {
    // Whoever says where the form was must have shown ours; a script says nothing.
    let says = headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site");
    if says && let Err(error) = session::check_origin(&Method::POST, &headers) {
        return error.into_response();
    }
    let raw = |name: &str| typed.all(name).pop().unwrap_or_default();
    let (username, password, next) = (raw("username"), raw("password"), raw("next"));
    match app.auth.login(&username, &password, None).await {
        Ok(issued) => {
            let cookie = session::cookie(&issued, &app);
            // Only to our own pages.
            // A browser drops tabs and line breaks from addresses, and `/` and `\` are the same to it.
            let own = next.starts_with('/')
                && !next.starts_with("//")
                && !next.contains(|it: char| it == '\\' || it.is_ascii_control());
            let to = if own { next.as_str() } else { "/home" };
            (AppendHeaders([(header::SET_COOKIE, cookie)]), Redirect::to(to)).into_response()
        }
        // The API's text speaks of an API key, which this form does not ask for.
        Err(AuthError::InvalidCredentials) => {
            let text = Language::of(&headers).text("The username or the password is wrong.");
            form(&app, &headers, StatusCode::UNAUTHORIZED, text, &username, &next)
        }
        Err(error @ (AuthError::Locked { .. } | AuthError::TooBusy)) => {
            let problem = ApiError::from(error);
            let text = super::answers::said(problem.detail(), Language::of(&headers));
            form(&app, &headers, problem.status(), &text, &username, &next)
        }
        Err(error) => ApiError::from(error).into_response(),
    }
}

pub(super) async fn sign_out(State(app): State<AppState>, headers: HeaderMap) -> Response {
    if let Err(error) = session::check_origin(&Method::POST, &headers) {
        return error.into_response();
    }
    if let Some(token) = session::cookie_token(&headers, app.secure)
        && let Err(error) = app.auth.revoke(token).await
    {
        tracing::debug!(%error, "a token could not be ended at sign-out");
    }
    (AppendHeaders([(header::SET_COOKIE, session::no_cookie(&app))]), Redirect::to("/login")).into_response()
}

fn form(app: &AppState, headers: &HeaderMap, status: StatusCode, error: &str, username: &str, next: &str) -> Response {
    let message = html_escape::decode_html_entities(&app.ctx.config.login_messages);
    let shown = context! { message => message.trim(), error, username, next, ..around::door(app, headers) };
    let mut response = match show(status, "login.html", shown) {
        Ok(response) => response,
        Err(failure) => return failure.into_response(),
    };
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}
