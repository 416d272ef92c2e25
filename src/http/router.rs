//! The whole route table.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use super::AppState;
use super::request_id;

#[derive(OpenApi)]
#[openapi(info(
    title = "tango",
    description = "Predictive routing: which agent is most likely to reach the outcome the business wants."
))]
struct Document;

/// Every resource under `/api/v1`. One line a resource.
fn api() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
}

/// The server's routes with everything around them.
pub fn router(app: AppState) -> Router {
    let (router, _document) = OpenApiRouter::with_openapi(Document::openapi()).nest("/api/v1", api()).split_for_parts();
    router
        .layer(DefaultBodyLimit::max(app.ctx.config.limits.max_body_bytes))
        .layer(middleware::from_fn_with_state(app.clone(), request_id::name_and_log))
        .with_state(app)
}
