//! What is around every route, from the outside in: the rest of an unread body, the request's name, its host, headers, the deadline, panics.
//!
//! One layer and not five, and none of `axum`'s own, which copy everything below them for each request.

use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Version, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::Route;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tower::{Layer, Service};

use super::{ApiError, AppState, deadline, request_id};
use crate::lifecycle::Phase;
use crate::unread_body;

/// In every answer, unless the route says otherwise.
const HEADERS: [(HeaderName, HeaderValue); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
];

/// Puts [`AroundRoute`] around every route.
#[derive(Clone)]
pub struct AroundRoutes(pub AppState);

impl Layer<Route> for AroundRoutes {
    type Service = AroundRoute;

    fn layer(&self, route: Route) -> AroundRoute {
        AroundRoute(Arc::new((self.0.clone(), route)))
    }
}

/// Cloned for each request, which copies nothing.
#[derive(Clone)]
pub struct AroundRoute(Arc<(AppState, Route)>);

impl Service<Request> for AroundRoute {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let around = Arc::clone(&self.0);
        Box::pin(async move { Ok(answer(&around.0, request, around.1.clone()).await) })
    }
}

async fn answer(app: &AppState, request: Request, mut route: Route) -> Response {
    let answer = async |mut request: Request| {
        name_the_host(&mut request);
        let answer = AssertUnwindSafe(deadline::limit(app, request, &mut route)).catch_unwind().await;
        let mut response = answer.unwrap_or_else(panicked);
        for (name, value) in HEADERS {
            response.headers_mut().entry(name).or_insert(value);
        }
        response
    };
    let may_close = request.version() <= Version::HTTP_11;
    let name_and_log = async |request| request_id::name_and_log(app, request, answer).await;
    let mut response = unread_body::drain_unread(request, name_and_log).await;
    if may_close && app.lifecycle.phase() >= Phase::Draining {
        // A balancer that keeps the connection would send its next request just when it closes. HTTP/2 has a word for it (`GOAWAY`).
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// HTTP/2 says which host is meant in the request's address: whoever asks finds it in the header, as with HTTP/1.
fn name_the_host(request: &mut Request) {
    let Some(authority) = request.uri().authority() else { return };
    if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
        request.headers_mut().entry(header::HOST).or_insert(host);
    }
}

/// The panic's text stays in the log.
fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a text");
    ApiError::internal(format!("a handler panicked: {text}")).into_response()
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use http_body_util::BodyExt as _;

    use super::*;

    #[test]
    fn the_host_of_http_2_is_named_in_the_header() {
        let host = |mut request: Request| {
            name_the_host(&mut request);
            request.headers().get(header::HOST).map(|host| host.to_str().unwrap().to_owned())
        };
        let asked = |uri: &str| Request::builder().uri(uri);
        let body = axum::body::Body::empty;
        assert_eq!(
            host(asked("https://a.example:3031/login").body(body()).unwrap()).as_deref(),
            Some("a.example:3031")
        );
        let first = asked("https://a.example/").header(header::HOST, "b.example");
        assert_eq!(host(first.body(body()).unwrap()).as_deref(), Some("b.example"));
        assert_eq!(host(asked("/login").body(body()).unwrap()), None);
    }

    #[tokio::test]
    async fn a_panic_is_a_500_that_keeps_its_text() {
        let response = panicked(Box::new("index 7 of secrets".to_owned()));
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(!String::from_utf8_lossy(&body).contains("secrets"));
    }
}
