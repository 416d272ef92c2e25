//! The longest that a request may take: `GUNICORN_TIMEOUT`.

use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::Route;
use tower::Service as _;

use super::{ApiError, AppState, uploads};

/// Gives a request up when its answer has not begun in time. The body of an answer (an event stream, a download) may
/// take as long as it likes; parts of uploads have the same patience in their own handler, which can say more.
pub async fn limit(app: &AppState, request: Request, route: &mut Route) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    let takes_long = path.is_some_and(|path| path.as_str() == uploads::PART_PATH);
    let answer = route.call(request);
    if takes_long {
        let Ok(response) = answer.await;
        return response;
    }
    let patience = Duration::from_secs(app.ctx.config.gunicorn_timeout_seconds);
    match tokio::time::timeout(patience, answer).await {
        Ok(Ok(response)) => response,
        Err(_) => given_up(patience).into_response(),
    }
}

fn given_up(patience: Duration) -> ApiError {
    ApiError::new(
        StatusCode::GATEWAY_TIMEOUT,
        "request_timeout",
        format!(
            "The request took longer than {} seconds (GUNICORN_TIMEOUT) and was given up: its body was sent too slowly, \
             or it asked for too much at once. Whether it took effect is not known: send it again with the same \
             Idempotency-Key, in smaller pieces if it is large, or as an upload.",
            patience.as_secs()
        ),
    )
    .retry_after(1)
}
