//! One person's request for a page: who asks, in which language, and the API in that person's name.

use std::sync::Arc;

use axum::Extension;
use axum::Router;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::BodyExt as _;
use minijinja::{Value as Shown, context};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tower::ServiceExt as _;

use super::language::Language;
use super::tree::{self, Tree};
use super::{answers, cookies, show, theme};
use crate::http::{ApiError, AppState, Session, health, session};

/// The API's own routes, so that pages do what it does.
#[derive(Clone)]
pub(super) struct OwnApi(pub Router);

pub(super) type PageResult = Result<Response, Failure>;

/// Why there is no page; what is around the pages' routes shows it.
#[derive(Debug, Clone)]
pub(super) struct Failure(pub Arc<ApiError>);

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self(Arc::new(error))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.0.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The next page says what became of a form: in a cookie, so that a reload does not say it again.
const FLASH: &str = "tango_said";

/// Sent by `live.js`.
const LIVE_HEADER: &str = "x-tango-live";

#[derive(Debug, Serialize, Deserialize)]
struct Said {
    text: String,
    bad: bool,
}

pub(super) struct Visit {
    pub app: AppState,
    pub session: Session,
    pub language: Language,
    pub uri: Uri,
    pub headers: HeaderMap,
    api: Router,
}

impl FromRequestParts<AppState> for Visit {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Failure> {
        let session = Session::from_request_parts(parts, app).await?;
        let Extension(OwnApi(api)) =
            Extension::from_request_parts(parts, app).await.map_err(|error| ApiError::internal(error.to_string()))?;
        Ok(Self {
            app: app.clone(),
            session,
            language: Language::of(&parts.headers),
            uri: parts.uri.clone(),
            headers: parts.headers.clone(),
            api,
        })
    }
}

impl Visit {
    /// What the API answers to `GET /api/v1{path}`.
    pub async fn get(&self, path: &str) -> Result<Value, ApiError> {
        self.call(Method::GET, path, "application/json", Body::empty()).await
    }

    /// As [`Self::get`]; null when there is no such thing (yet).
    pub async fn get_if_there(&self, path: &str) -> Result<Value, ApiError> {
        match self.get(path).await {
            Err(error) if matches!(error.status(), StatusCode::NOT_FOUND | StatusCode::CONFLICT) => Ok(Value::Null),
            result => result,
        }
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, ApiError> {
        self.send(Method::POST, path, body).await
    }

    pub async fn send(&self, method: Method, path: &str, body: &Value) -> Result<Value, ApiError> {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        self.call(method, path, "application/json", body).await
    }

    pub async fn put_bytes(&self, path: &str, bytes: String) -> Result<Value, ApiError> {
        self.call(Method::PUT, path, "application/octet-stream", Body::from(bytes)).await
    }

    /// As [`Self::get`], of an answer that is a text.
    pub async fn text_of(&self, path: &str) -> Result<String, ApiError> {
        let answer = self.answer(Method::GET, path, "application/json", Body::empty()).await?;
        let status = answer.status();
        let bytes = answer.into_body().collect().await.map_err(ApiError::internal)?.to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if status.is_success() {
            return Ok(text);
        }
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        let detail = self.said(value["detail"].as_str().unwrap_or("The server does not answer."));
        Err(ApiError::new(status, value["code"].as_str().unwrap_or("refused").to_owned(), detail))
    }

    async fn call(&self, method: Method, path: &str, media_type: &str, body: Body) -> Result<Value, ApiError> {
        let answer = self.answer(method, path, media_type, body).await?;
        let status = answer.status();
        let bytes = answer.into_body().collect().await.map_err(ApiError::internal)?.to_bytes();
        let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if status.is_success() {
            return Ok(value);
        }
        let member = |key: &str| value[key].as_str().map(str::to_owned);
        let code = member("code").unwrap_or_else(|| "refused".to_owned());
        let detail = member("detail").unwrap_or_else(|| format!("The server answers {status}."));
        let mut error = ApiError::new(status, code, self.said(&detail));
        for field in value["fields"].as_array().into_iter().flatten() {
            let (path, message) = (field["path"].as_str(), field["message"].as_str());
            error = error.field(path.unwrap_or_default(), self.said(message.unwrap_or_default()));
        }
        Err(error)
    }

    /// The API's answer as it is.
    async fn answer(&self, method: Method, path: &str, media_type: &str, body: Body) -> Result<Response, ApiError> {
        let token = session::cookie_token(&self.headers, self.app.secure).unwrap_or_default();
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, media_type);
        if let Some(length) = axum::body::HttpBody::size_hint(&body).exact() {
            request = request.header(header::CONTENT_LENGTH, length);
        }
        if let Some(host) = self.headers.get(header::HOST) {
            request = request.header(header::HOST, host);
        }
        let request = request.body(body).map_err(ApiError::internal)?;
        match self.api.clone().oneshot(request).await {
            Ok(answer) => Ok(answer),
            Err(never) => match never {},
        }
    }

    /// A text in the person's language.
    pub fn text<'a>(&self, english: &'a str) -> &'a str {
        self.language.text(english)
    }

    /// What the API says, as a page says it.
    pub fn said(&self, english: &str) -> String {
        answers::said(english, self.language)
    }

    pub async fn page(&self, template: &str, shown: Shown) -> PageResult {
        self.page_with(StatusCode::OK, template, shown).await
    }

    /// A page inside the frame that all have.
    pub async fn page_with(&self, status: StatusCode, template: &str, shown: Shown) -> PageResult {
        // A page that reads its parts again leaves the message to the page that is about to open.
        let flash = cookies::read(&self.headers, FLASH).filter(|_| !self.headers.contains_key(LIVE_HEADER));
        let said = flash.and_then(|value| {
            let bytes = URL_SAFE_NO_PAD.decode(value).ok()?;
            serde_json::from_slice::<Said>(&bytes).ok()
        });
        let tree = tree::read(&self.app, &self.session, &self.uri).await?;
        let said_so = context! { said => said.as_ref().map(|said| context! { text => said.text, bad => said.bad }) };
        let around = frame(&self.app, &self.session, &self.uri, &self.headers, Some(tree));
        let mut response = show(status, template, context! { ..shown, ..said_so, ..around })?;
        if said.is_some()
            && let Some(end) = cookies::set(FLASH, "", 0, self.app.secure)
        {
            response.headers_mut().append(header::SET_COOKIE, end);
        }
        Ok(response)
    }

    /// To another page, which says that something was done.
    pub fn done(&self, to: &str, text: &str) -> PageResult {
        Ok(self.redirect(to, text, false))
    }

    /// To another page, which says why something was not done.
    pub fn refused(&self, to: &str, error: &ApiError) -> PageResult {
        Ok(self.redirect(to, error.detail(), true))
    }

    /// Done, or why not: both are said on the page `to`.
    pub fn outcome<T>(&self, result: Result<T, ApiError>, to: &str, text: &str) -> PageResult {
        match result {
            Ok(_) => self.done(to, text),
            Err(error) if error.status() == StatusCode::UNAUTHORIZED => Err(error.into()),
            Err(error) => self.refused(to, &error),
        }
    }

    fn redirect(&self, to: &str, text: &str, bad: bool) -> Response {
        let mut response = Redirect::to(to).into_response();
        // Cookies are small; a text this long is no message.
        let text: String = text.chars().take(900).collect();
        let said = serde_json::to_vec(&Said { text, bad }).map(|json| URL_SAFE_NO_PAD.encode(json));
        if let Ok(said) = said
            && let Some(cookie) = cookies::set(FLASH, &said, 60, self.app.secure)
        {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        response
    }

    /// One of the query's parameters; empty ones are as good as none.
    pub fn asked(&self, name: &str) -> Option<String> {
        let pairs = form_urlencoded::parse(self.uri.query().unwrap_or_default().as_bytes());
        pairs.filter(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.into_owned()).last()
    }

    /// The query of an API call: these parameters of the page's own, as far as they are given, and others.
    pub fn query(&self, taken: &[&str], fixed: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in fixed {
            if !taken.contains(name) || self.asked(name).is_none() {
                query.append_pair(name, value);
            }
        }
        for name in taken {
            if let Some(value) = self.asked(name) {
                query.append_pair(name, &value);
            }
        }
        query.finish()
    }
}

/// What the frame around every page shows.
pub(super) fn frame(app: &AppState, session: &Session, uri: &Uri, headers: &HeaderMap, tree: Option<Tree>) -> Shown {
    let query: Vec<(String, String)> =
        form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let asked: std::collections::BTreeMap<String, String> = query.iter().cloned().collect();
    context! {
        lang => Language::of(headers).code(),
        theme => theme(headers),
        username => session.username,
        super_user => session.super_user,
        version => env!("CARGO_PKG_VERSION"),
        path => uri.path(),
        here => uri.to_string(),
        query,
        asked,
        store_notice => health::notice(app).map(|it| context! { text => it.text, serious => it.serious }),
        plain_http => plain_http(app),
        tree,
    }
}

/// Passwords can be read on the way, and that is worth saying.
pub(super) fn plain_http(app: &AppState) -> bool {
    !app.secure && !app.ctx.config.listen.ip().is_loopback()
}

/// A path segment, escaped.
pub(super) fn segment(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

/// Keeps a header value that consists of visible characters.
pub(super) fn header_text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).map(HeaderValue::to_str).and_then(Result::ok)
}
