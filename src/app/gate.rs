//! What answers from the moment the port is open: "starting" until the program is warm, then the router.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::future::RouteFuture;
use futures::future::{Either, Ready, ready};
use tower::Service;

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
}

impl<B> Service<Request<B>> for Gate
where
    Router: Service<Request<B>, Response = Response, Error = Infallible, Future = RouteFuture<Infallible>>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<RouteFuture<Infallible>, Ready<Result<Response, Infallible>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.0.get() {
            Some(router) => Either::Left(router.clone().call(request)),
            None => {
                let answer = starting(&request);
                let is_head = request.method() == Method::HEAD;
                Either::Right(ready(Ok(if is_head { answer.map(|_| Body::empty()) } else { answer })))
            }
        }
    }
}

fn starting<B>(request: &Request<B>) -> Response {
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
    use axum::routing::get;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn status(gate: &Gate, path: &str) -> StatusCode {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        gate.clone().oneshot(request).await.unwrap().status()
    }

    #[tokio::test]
    async fn says_starting_until_it_is_opened() {
        let gate = Gate::default();
        assert_eq!(status(&gate, "/login").await, 503);
        assert_eq!(status(&gate, "/readyz").await, 503);
        assert_eq!(status(&gate, "/livez").await, 200);
        let head = Request::builder().method(Method::HEAD).uri("/livez").body(Body::empty()).unwrap();
        let answer = gate.clone().oneshot(head).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.into_body().collect().await.unwrap().to_bytes().is_empty());
        let browser = Request::builder().uri("/home").header("accept", "text/html").body(Body::empty()).unwrap();
        let shown = gate.clone().oneshot(browser).await.unwrap();
        assert_eq!(
            (shown.status().as_u16(), &shown.headers()[header::RETRY_AFTER]),
            (503, &HeaderValue::from_static("1"))
        );
        assert_eq!(shown.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        gate.open(Router::new().route("/login", get(|| async { "in" })));
        assert_eq!(status(&gate, "/login").await, 200);
    }
}
