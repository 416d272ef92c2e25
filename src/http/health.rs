//! Probes: is the process alive, should it get traffic, what does it measure.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use super::AppState;
use crate::objects::Health;
use crate::telemetry;

pub fn routes() -> axum::Router<AppState> {
    axum::Router::new().route("/livez", get(livez)).route("/readyz", get(readyz)).route("/metrics", get(metrics))
}

/// 200 while the process runs.
async fn livez() -> Json<serde_json::Value> {
    Json(json!({"status": "alive", "version": env!("CARGO_PKG_VERSION")}))
}

/// 200 when this node should get traffic, else 503. A store that is away is told (`detail` says what waits for it) but
/// does not change that: a warm node goes on scoring.
async fn readyz(State(app): State<AppState>) -> Response {
    let store = match app.ctx.store.ping().await {
        Ok(()) => "ok",
        Err(error) => {
            tracing::debug!(%error, "the store does not answer the readiness probe");
            "unavailable"
        }
    };
    let phase = app.lifecycle.phase();
    let status = if app.lifecycle.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let objects = app.ctx.objects.health();
    let mut body = json!({
        "status": phase.as_str(),
        "version": env!("CARGO_PKG_VERSION"),
        "checks": {"document_store": store, "object_store": objects.as_str()},
    });
    if objects != Health::Ready {
        body["detail"] = json!(
            "The object store cannot be used at the moment: uploads, reading rows and the jobs that read or write files \
             wait; sign-in, profiles and scoring go on."
        );
    }
    (status, Json(body)).into_response()
}

/// Figures for Prometheus.
async fn metrics() -> Response {
    let mut response = telemetry::metrics_text().into_response();
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}
