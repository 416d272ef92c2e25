//! `GET …/datasets/{id}/rejected`: rows that the last upload refused, as CSV.

use axum::extract::State;
use axum::response::Response;

use super::load;
use crate::http::json::ApiPath;
use crate::http::rejected::download;
use crate::http::{ApiResult, AppState, Session};

/// Line, column, value and reason of every refused row of the last upload; only the header when none was refused.
#[utoipa::path(get, path = "/api/v1/datasets/{id}/rejected", tag = "datasets", params(("id" = String, Path)),
    responses((status = 200, content_type = "text/csv", body = String)))]
pub async fn rejected(
    State(app): State<AppState>,
    session: Session,
    ApiPath(id): ApiPath<String>,
) -> ApiResult<Response> {
    let dataset = load(&app, &session, &id).await?.value;
    download(&app, dataset.id.as_str(), dataset.rejected).await
}
