//! Probes: is the process alive, should it get traffic, what does it measure.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use super::AppState;
use crate::objects::Health;
use crate::store::{MemberState, StoreStatus};
use crate::telemetry;

pub fn routes() -> axum::Router<AppState> {
    axum::Router::new().route("/livez", get(livez)).route("/readyz", get(readyz)).route("/metrics", get(metrics))
}

/// 200 while the process runs.
async fn livez() -> Json<serde_json::Value> {
    Json(json!({"status": "alive", "version": env!("CARGO_PKG_VERSION")}))
}

/// 200 when this node should get traffic, else 503. A store that is away is told (`detail` says what waits for it) but
/// does not change that: a warm node goes on scoring. Asks nobody, so that the answer comes at once.
async fn readyz(State(app): State<AppState>) -> Response {
    let store = app.ctx.store.status();
    let phase = app.lifecycle.phase();
    let status = if app.lifecycle.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let members: serde_json::Map<String, serde_json::Value> =
        store.members.iter().map(|member| (member.address.clone(), member.state.as_str().into())).collect();
    let mut body = json!({
        "status": phase.as_str(),
        "version": env!("CARGO_PKG_VERSION"),
        "checks": {"document_store": condition(&store), "object_store": app.ctx.objects.health().as_str()},
        "document_store": {"members": members, "feed_lag_ms": store.feed_lag.map(|lag| lag.as_millis())},
    });
    if let Some(notice) = notice(&app) {
        body["detail"] = json!(notice.text);
    }
    (status, Json(body)).into_response()
}

/// What a person should know of the stores.
pub(super) struct Notice {
    pub text: String,
    /// Something does not work now.
    pub serious: bool,
}

/// `None` when all is well.
pub(super) fn notice(app: &AppState) -> Option<Notice> {
    let store = app.ctx.store.status();
    let objects = app.ctx.objects.health() != Health::Ready;
    let about_objects = objects.then(|| {
        "The object store cannot be used at the moment: uploads, reading rows and the jobs that read or write files \
         wait; sign-in, profiles and scoring go on."
            .to_owned()
    });
    let texts: Vec<String> = about_documents(&store).into_iter().chain(about_objects).collect();
    (!texts.is_empty()).then(|| Notice { text: texts.join(" "), serious: objects || !store.writable })
}

/// `ok`, `read_only` (no majority) or `unavailable` (nobody answers).
fn condition(store: &StoreStatus) -> &'static str {
    let reachable = store.members.iter().any(|member| member.state != MemberState::Unreachable);
    match (store.writable, reachable) {
        (true, _) => "ok",
        (false, true) => "read_only",
        (false, false) => "unavailable",
    }
}

fn about_documents(store: &StoreStatus) -> Option<String> {
    let away: Vec<&str> = store
        .members
        .iter()
        .filter(|member| member.state == MemberState::Unreachable)
        .map(|member| member.address.as_str())
        .collect();
    match (store.writable, away.is_empty()) {
        (true, true) => None,
        (true, false) => Some(format!("Not reachable: {}. Everything goes on.", away.join(", "))),
        (false, _) if away.len() == store.members.len() => Some(
            "No member of the document store answers: scoring, and signing in of users who are known here, go on from memory; nothing \
             can be read or changed until most members are back."
                .to_owned(),
        ),
        (false, _) => Some(format!(
            "Most members of the document store do not answer ({}): sign-in, reading and scoring go on, nothing can be \
             changed until they are back.",
            away.join(", ")
        )),
    }
}

/// Figures for Prometheus.
async fn metrics() -> Response {
    let mut response = telemetry::metrics_text().into_response();
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}
