//! A name for each request: in the answer's `x-request-id` header, in problem details and in the log.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use tracing::Instrument;

use super::AppState;
use crate::domain::id::RequestId;
use crate::telemetry;

/// Where the answer has the name.
const HEADER: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    static CURRENT: RequestId;
}

/// The id of the request that this task answers; `None` outside of one.
pub fn current() -> Option<RequestId> {
    CURRENT.try_with(RequestId::clone).ok()
}

/// Names the request, answers it, logs one line about it and counts it.
pub async fn name_and_log(app: &AppState, request: Request, next: impl AsyncFnOnce(Request) -> Response) -> Response {
    let started = Instant::now();
    let id = RequestId::generate(app.ctx.clock.now());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let span = tracing::debug_span!("request", request_id = %id);
    let mut response = CURRENT.scope(id.clone(), next(request)).instrument(span).await;
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(HEADER, value);
    }
    let status = response.status().as_u16();
    let took = started.elapsed();
    telemetry::answered(route.as_ref().map_or("(no route)", MatchedPath::as_str), status, took);
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    // Probes and scores come many times a second: they are told at DEBUG only.
    let quiet = status < 500
        && (matches!(path.as_str(), "/login" | "/livez" | "/readyz" | "/metrics") || path.ends_with("/score"));
    if quiet {
        tracing::debug!(request_id = %id, %method, path, status, took_ms, "answered");
    } else {
        tracing::info!(request_id = %id, %method, path, status, took_ms, "answered");
    }
    response
}
