//! Versions of a dataset's data: see them, bring one back, delete a period.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{StartedJob, load, load_schema, start};
use crate::domain::Timestamp;
use crate::domain::dataset::DatasetVersion;
use crate::domain::schema::Role;
use crate::http::error::ProblemBody;
use crate::http::idempotency::Idempotency;
use crate::http::json::{ApiPath, ApiQuery, HashedJson, time};
use crate::http::lists::{ListBody, ListParams};
use crate::http::uploads::check_ready;
use crate::http::{ApiError, ApiResult, AppState, Session};
use crate::jobs::dataset_delete_range::DeleteRange;
use crate::jobs::dataset_revert::RevertDataset;
use crate::store::{Batch, Collection, Key, Query, StoreExt};

/// One version of the data.
#[derive(Debug, Serialize, ToSchema)]
pub struct VersionBody {
    version: u64,
    /// `upload`, `append`, `compaction`, `revert`, `delete_range`, `schema` or `outcomes`.
    reason: String,
    schema_version: u32,
    rows: u64,
    segments: u64,
    size_bytes: u64,
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<DatasetVersion> for VersionBody {
    fn from(version: DatasetVersion) -> Self {
        Self {
            version: version.version,
            reason: version.reason,
            schema_version: version.schema_version,
            rows: version.rows,
            segments: version.segments.len() as u64,
            size_bytes: version.size_bytes,
            from: version.from,
            to: version.to,
            job_id: version.job_id.map(String::from),
            created_at: version.created_at,
        }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevertTo {
    version: u64,
}

/// `from` ≤ time < `to`: each a day, which begins at 00:00 UTC, or a time (RFC 3339).
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Period {
    #[serde(deserialize_with = "time")]
    #[schema(value_type = String, example = "2026-01-31")]
    from: Timestamp,
    #[serde(deserialize_with = "time")]
    #[schema(value_type = String, example = "2026-01-31")]
    to: Timestamp,
}

/// Versions that can be brought back; `sort=-id` shows the newest first.
#[utoipa::path(get, path = "/api/v1/datasets/{id}/versions", tag = "datasets", params(("id" = String, Path), ListParams),
    responses((status = 200, body = ListBody<VersionBody>)))]
pub async fn versions(
    State(app): State<AppState>,
    session: Session,
    ApiPath(id): ApiPath<String>,
    ApiQuery(params): ApiQuery<ListParams>,
) -> ApiResult<Json<ListBody<VersionBody>>> {
    let dataset = load(&app, &session, &id).await?.value;
    let query = params.apply(Query::new(Collection::DatasetVersions, dataset.id.as_str()), &["created_at"])?;
    let (versions, next) = app.ctx.store.list::<DatasetVersion>(&query).await?;
    Ok(Json(ListBody { items: versions.into_iter().map(|stored| stored.value.into()).collect(), next }))
}

/// Brings the data and schema of an earlier version back, as a new version.
#[utoipa::path(post, path = "/api/v1/datasets/{id}/revert", tag = "datasets", params(("id" = String, Path)),
    request_body = RevertTo,
    responses((status = 202, body = StartedJob), (status = 404, body = ProblemBody, description = "`version_not_found`")))]
pub async fn revert(
    State(app): State<AppState>,
    session: Session,
    mut idem: Idempotency,
    ApiPath(id): ApiPath<String>,
    HashedJson(to, hash): HashedJson<RevertTo>,
) -> ApiResult<Response> {
    if let Some(saved) = idem.replay(&app, &session, &hash).await? {
        return Ok(saved);
    }
    let dataset = load(&app, &session, &id).await?.value;
    check_ready(dataset.state)?;
    let key = Key::new(dataset.id.as_str(), format!("{:012}", to.version));
    if app.ctx.store.load::<DatasetVersion>(&key).await?.is_none() {
        let oldest = Query::new(Collection::DatasetVersions, dataset.id.as_str()).limit(1);
        let (oldest, _) = app.ctx.store.list::<DatasetVersion>(&oldest).await?;
        let oldest = oldest.first().map_or(dataset.version, |oldest| oldest.value.version);
        let text = format!(
            "This dataset has no version {}; there are versions {oldest} to {}: GET /api/v1/datasets/{}/versions lists them.",
            to.version, dataset.version, dataset.id
        );
        return Err(ApiError::new(StatusCode::NOT_FOUND, "version_not_found", text));
    }
    let job = RevertDataset { dataset_id: dataset.id, version: to.version };
    Ok(start(&app, &session, &mut idem, Batch::new(), &job).await?.into_response())
}

/// Deletes the rows of a period; rows without a time stay. An earlier version still has them for a while.
#[utoipa::path(post, path = "/api/v1/datasets/{id}/delete_range", tag = "datasets", params(("id" = String, Path)),
    request_body = Period,
    responses((status = 202, body = StartedJob), (status = 422, body = ProblemBody, description = "`no_timestamp_field`, `bad_period`")))]
pub async fn delete_range(
    State(app): State<AppState>,
    session: Session,
    mut idem: Idempotency,
    ApiPath(id): ApiPath<String>,
    HashedJson(period, hash): HashedJson<Period>,
) -> ApiResult<Response> {
    if let Some(saved) = idem.replay(&app, &session, &hash).await? {
        return Ok(saved);
    }
    let dataset = load(&app, &session, &id).await?.value;
    check_ready(dataset.state)?;
    if period.from >= period.to {
        return Err(
            ApiError::unprocessable("bad_period", "`from` must be before `to`.").field("from", "is not before `to`")
        );
    }
    if load_schema(&app, &dataset).await?.with_role(Role::Timestamp).is_none() {
        return Err(ApiError::unprocessable(
            "no_timestamp_field",
            "No field of this dataset has the role timestamp: give it to one first (PUT …/schema).",
        ));
    }
    let job = DeleteRange { dataset_id: dataset.id, from: period.from, to: period.to };
    Ok(start(&app, &session, &mut idem, Batch::new(), &job).await?.into_response())
}
