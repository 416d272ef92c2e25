//! The whole route table, and what is around every route.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::SwaggerUi;

use super::{ApiError, AppState};
use super::{
    around, auth, cluster, datasets, events, health, jobs, models, openapi, pages, predictors, production, profiles,
    reports, retraining, score, score_log, settings, uploads, users,
};

/// Every resource under `/api/v1`, a line each. (Routes have their whole paths: what is nested goes through layers of its own.)
fn api() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .merge(auth::routes())
        .merge(jobs::routes())
        .merge(models::routes())
        .merge(predictors::routes())
        .merge(production::routes())
        .merge(retraining::routes())
        .merge(reports::routes())
        .merge(score::routes())
        .merge(score_log::routes())
        .merge(events::routes())
        .merge(cluster::routes())
        .merge(settings::routes())
        .merge(users::routes())
        .merge(profiles::routes())
        .merge(uploads::routes())
        .merge(datasets::routes())
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "tango",
        description = "Predictive routing: which agent is most likely to reach the outcome that the business wants. \
                       Sign in at `/auth/login` first; failures are `application/problem+json` with a stable `code`.",
    ),
    modifiers(&BearerToken),
    security(("token" = [])),
)]
struct Outline;

struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_with(Default::default);
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

fn parts() -> (Router<AppState>, Document) {
    let (router, mut document) = OpenApiRouter::with_openapi(Outline::openapi()).merge(api()).split_for_parts();
    openapi::complete(&mut document);
    (router, document)
}

/// The OpenAPI document of this program.
pub fn openapi() -> Document {
    parts().1
}

/// The API alone, for pages that do what it does.
pub fn api_alone(app: AppState) -> Router {
    parts().0.with_state(app)
}

/// The server's routes with everything around them.
pub fn router(app: AppState) -> Router {
    let (router, document) = parts();
    router
        .merge(SwaggerUi::new("/docs").url("/api/v1/openapi.json", document))
        .merge(health::routes())
        .merge(pages::routes(&app))
        .route("/favicon.ico", get(pages::assets::favicon))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(around::AroundRoutes(app.clone()))
        .with_state(app)
}

async fn not_found(State(app): State<AppState>, uri: Uri, headers: HeaderMap) -> Response {
    let detail = format!("There is nothing at {}. The API is under /api/v1; see /docs.", uri.path());
    refuse(&app, &uri, &headers, ApiError::new(StatusCode::NOT_FOUND, "not_found", detail)).await
}

async fn method_not_allowed(State(app): State<AppState>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if method == Method::GET && pages::wants_page(uri.path(), &headers) {
        // The address of a form that was refused, opened again: its page is above.
        let page = uri.path().trim_end_matches('/').rsplit_once('/').map_or("/", |(page, _)| page);
        return Redirect::to(if page.is_empty() { "/" } else { page }).into_response();
    }
    let detail = format!("{method} is not possible at {}; see /docs for what is.", uri.path());
    refuse(&app, &uri, &headers, ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)).await
}

async fn refuse(app: &AppState, uri: &Uri, headers: &HeaderMap, error: ApiError) -> Response {
    match pages::wants_page(uri.path(), headers) {
        true => pages::problem(app, uri, headers, &error).await,
        false => error.into_response(),
    }
}
