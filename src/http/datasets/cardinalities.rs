//! `…/datasets/{id}/cardinalities`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::{StartedJob, load, problem, start};
use crate::domain::cardinality::Cardinalities;
use crate::http::idempotency::Idempotency;
use crate::http::json::{ApiPath, BodyHash};
use crate::http::uploads::check_ready;
use crate::http::{ApiResult, AppState, Session};
use crate::jobs::dataset_cardinality::Counts;
use crate::jobs::dataset_count::CountDataset;
use crate::store::Batch;

/// Distinct values, nulls, minimum and maximum of each field, and how many appended records are not counted yet.
#[utoipa::path(get, path = "/api/v1/datasets/{id}/cardinalities", tag = "datasets", params(("id" = String, Path)),
    responses((status = 200, body = Cardinalities)))]
pub async fn get(
    State(app): State<AppState>,
    session: Session,
    ApiPath(id): ApiPath<String>,
) -> ApiResult<Json<Cardinalities>> {
    let dataset = load(&app, &session, &id).await?.value;
    let counts = Counts::load(&app.ctx, &dataset.id).await.map_err(problem)?;
    Ok(Json(counts.describe(&app.ctx).await.map_err(problem)?))
}

/// Counts all rows anew.
#[utoipa::path(post, path = "/api/v1/datasets/{id}/compute_cardinalities", tag = "datasets", params(("id" = String, Path)),
    responses((status = 202, body = StartedJob)))]
pub async fn compute(
    State(app): State<AppState>,
    session: Session,
    mut idem: Idempotency,
    ApiPath(id): ApiPath<String>,
) -> ApiResult<Response> {
    if let Some(saved) = idem.replay(&app, &session, &BodyHash::default()).await? {
        return Ok(saved);
    }
    let dataset = load(&app, &session, &id).await?.value;
    check_ready(dataset.state)?;
    let job = CountDataset { dataset_id: dataset.id };
    Ok(start(&app, &session, &mut idem, Batch::new(), &job).await?.into_response())
}
