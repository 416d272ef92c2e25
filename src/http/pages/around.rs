//! What is around every page: forms of other sites are refused, whoever is not signed in signs in first and loses
//! nothing that was typed, and a failure becomes a page.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Redirect, Response};
use http_body_util::BodyExt as _;
use minijinja::context;

use super::form::Form;
use super::language::Language;
use super::visit::{Failure, frame, header_text, plain_http, segment};
use super::{answers, assets, engine, show, theme, tree};
use crate::http::{ApiError, AppState, session};

/// Pages that need no session.
const OPEN: [&str; 4] = ["/", "/login", "/logout", "/preferences"];

pub(super) async fn guard(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let headers = request.headers().clone();
    let uri = request.uri().clone();
    let open = OPEN.contains(&uri.path()) || uri.path().starts_with("/assets/");
    if !open {
        if let Err(error) = session::check_origin(request.method(), &headers) {
            return problem(&app, &uri, &headers, &error).await;
        }
        let token = session::cookie_token(&headers, app.secure).unwrap_or_default();
        if app.auth.identify(token).await.is_err() {
            return sign_in_first(&app, request).await;
        }
    }
    let response = next.run(request).await;
    match response.extensions().get::<Failure>().cloned() {
        Some(Failure(error)) if error.status() == StatusCode::UNAUTHORIZED => Redirect::to("/login").into_response(),
        Some(Failure(error)) => problem(&app, &uri, &headers, &error).await,
        None => response,
    }
}

/// A page is come back to after signing in; a form is shown again, to be sent once more.
async fn sign_in_first(app: &AppState, request: Request) -> Response {
    let target = request.uri().to_string();
    if request.method() == Method::GET {
        // A live part of a page that is still open must not be answered by the sign-in page.
        let next = if target == "/home" { String::new() } else { format!("?next={}", segment(&target)) };
        return Redirect::to(&format!("/login{next}")).into_response();
    }
    let headers = request.headers().clone();
    let is_form = header_text(&headers, header::CONTENT_TYPE)
        .is_some_and(|text| text.starts_with("application/x-www-form-urlencoded"));
    let limit = app.ctx.config.limits.max_body_bytes;
    let body = http_body_util::Limited::new(Body::new(request.into_body()), limit).collect().await;
    let Ok(body) = body else { return Redirect::to("/login").into_response() };
    if !is_form {
        return Redirect::to("/login").into_response();
    }
    let form = Form::parse(&body.to_bytes());
    // A password is typed again, not kept in a page.
    let kept: Vec<&(String, String)> = form.pairs().iter().filter(|(name, _)| !name.contains("password")).collect();
    let shown = context! { action => target, kept, lang => Language::of(&headers).code(), theme => theme(&headers) };
    show(StatusCode::UNAUTHORIZED, "again.html", shown).unwrap_or_else(|failure| failure.0.status().into_response())
}

/// A failure as a page: in the frame of all pages for whoever is signed in, as far as the store answers.
pub(super) async fn problem(app: &AppState, uri: &Uri, headers: &HeaderMap, error: &ApiError) -> Response {
    let language = Language::of(headers);
    let title = match error.status() {
        StatusCode::NOT_FOUND => language.text("There is nothing here"),
        StatusCode::SERVICE_UNAVAILABLE => language.text("Not possible at the moment"),
        _ => language.text("This is not possible"),
    };
    let shown = context! {
        title, detail => answers::said(error.detail(), language), lang => language.code(), theme => theme(headers),
        gone => error.status() == StatusCode::NOT_FOUND,
    };
    let page = match session::of_cookie(headers, app) {
        Some(session) => {
            let tree = tree::read(app, &session, uri).await.ok();
            show(error.status(), "problem.html", context! { ..shown, ..frame(app, &session, uri, headers, tree) })
        }
        None => show(error.status(), "problem_door.html", shown),
    };
    page.unwrap_or_else(|failure| failure.0.status().into_response())
}

/// While the server is not warm: a page that asks again by itself, with its styles inside, since nothing else answers yet.
pub(super) fn starting(headers: &HeaderMap) -> Response {
    let styles = assets::content("style.css").unwrap_or_default();
    let shown = context! { styles, lang => Language::of(headers).code(), theme => theme(headers) };
    let page = engine::render("starting.html", shown).unwrap_or_default();
    (StatusCode::SERVICE_UNAVAILABLE, Html(page)).into_response()
}

/// The sign-in page's own values.
pub(super) fn door(app: &AppState, headers: &HeaderMap) -> minijinja::Value {
    context! { plain_http => plain_http(app), lang => Language::of(headers).code(), theme => theme(headers) }
}
