//! What answers from the moment the port is open: "starting" until the program is warm, then the router.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tower::ServiceExt as _;

use crate::http::pages;

/// Holds requests off until [`Gate::open`].
#[derive(Clone, Default)]
pub(super) struct Gate(Arc<OnceLock<Router>>);

impl Gate {
    /// From now on this router answers.
    pub(super) fn open(&self, router: Router) {
        // Opened once by the one start of the program; a second call would change nothing.
        let _ = self.0.set(router);
    }

    pub(super) fn service(&self) -> Router {
        let gate = self.clone();
        Router::new().fallback(move |request: Request| {
            let gate = gate.clone();
            async move { gate.answer(request).await }
        })
    }

    async fn answer(&self, request: Request) -> Response {
        match self.0.get() {
            Some(router) => match router.clone().oneshot(request).await {
                Ok(response) => response,
                Err(never) => {
                    let never: Infallible = never;
                    match never {}
                }
            },
            None => starting(&request),
        }
    }
}

fn starting(request: &Request) -> Response {
    let path = request.uri().path();
    if path == "/livez" {
        return (StatusCode::OK, "{\"status\":\"alive\"}").into_response();
    }
    if request.method() == Method::GET && pages::wants_page(path, request.headers()) {
        return asked_again(pages::starting(request.headers()));
    }
    let problem = r#"{"type":"about:blank","title":"Service Unavailable","status":503,"code":"starting","error_code":503,"detail":"This server is starting. Send the request again in a second.","request_id":null}"#;
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, problem).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    asked_again(response)
}

fn asked_again(mut response: Response) -> Response {
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;

    use super::*;

    async fn status(gate: &Gate, path: &str) -> StatusCode {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        gate.service().oneshot(request).await.unwrap().status()
    }

    #[tokio::test]
    async fn says_starting_until_it_is_opened() {
        let gate = Gate::default();
        assert_eq!(status(&gate, "/login").await, 503);
        assert_eq!(status(&gate, "/readyz").await, 503);
        assert_eq!(status(&gate, "/livez").await, 200);
        let browser = Request::builder().uri("/home").header("accept", "text/html").body(Body::empty()).unwrap();
        let shown = gate.service().oneshot(browser).await.unwrap();
        assert_eq!(
            (shown.status().as_u16(), &shown.headers()[header::RETRY_AFTER]),
            (503, &HeaderValue::from_static("1"))
        );
        assert_eq!(shown.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        gate.open(Router::new().route("/login", get(|| async { "in" })));
        assert_eq!(status(&gate, "/login").await, 200);
    }
}
