//! What the pages do, they do through the API's own handlers.

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::http::{ApiError, ApiResult, AppState, router, session};

/// Calls one of the API's own handlers for the user whose cookie came.
pub(super) async fn call(
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
