//! Cardinalities and indexes of a profile.

use axum::Json;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::cardinality::Cardinalities;
use crate::http::lists::ListBody;
use crate::http::{ApiResult, AppState};
use crate::jobs::profile_counts;
use crate::profiles::indexes::FieldIndex;
use crate::profiles::{Profile, counts, indexes};

/// A job that was queued; follow it under `/api/v1/jobs/{job_id}`.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobStarted {
    pub job_id: String,
}

pub async fn compute(app: &AppState, profile: &Profile) -> ApiResult<(StatusCode, Json<JobStarted>)> {
    let job_id = profile_counts::request(&app.ctx, profile, true).await?;
    Ok((StatusCode::ACCEPTED, Json(JobStarted { job_id: job_id.into() })))
}

pub async fn get(app: &AppState, profile: &Profile) -> ApiResult<Json<Cardinalities>> {
    Ok(Json(counts::read(&app.ctx, profile).await?))
}

pub async fn indexes(app: &AppState, profile: &Profile) -> ApiResult<Json<ListBody<FieldIndex>>> {
    Ok(Json(ListBody { items: indexes::list(&app.ctx, profile).await?, next: None }))
}
