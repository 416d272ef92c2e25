//! `GET /api/v1/uploads`.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::domain::Timestamp;
use crate::domain::upload::{Upload, UploadMode, UploadState, UploadTarget};
use crate::http::lists::{ListBody, ListParams, ListQuery};
use crate::http::{ApiError, ApiResult, AppState, Session};
use crate::store::{Collection, Condition, Path, Query, StoreExt};

/// An upload in a list; `GET …/uploads/{id}` shows its parts.
#[derive(Debug, Serialize, ToSchema)]
pub struct ListedUpload {
    pub id: String,
    pub state: UploadState,
    pub target: UploadTarget,
    pub mode: UploadMode,
    pub name: String,
    pub filename: String,
    pub size_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

impl From<Upload> for ListedUpload {
    fn from(upload: Upload) -> Self {
        Self {
            id: upload.id.into(),
            state: upload.state,
            target: upload.target,
            mode: upload.mode,
            name: upload.name,
            filename: upload.filename,
            size_bytes: upload.size_bytes,
            dataset_id: upload.dataset_id.map(String::from),
            job_id: upload.job_id.map(String::from),
            expires_at: upload.expires_at,
            created_at: upload.created_at,
            updated_at: upload.updated_at,
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Filters {
    state: Option<UploadState>,
    target: Option<UploadTarget>,
}

/// Uploads of the account; `state=receiving` lists those that can be continued.
#[utoipa::path(get, path = "/api/v1/uploads", tag = "uploads", params(ListParams, Filters),
    responses((status = 200, body = ListBody<ListedUpload>)))]
pub async fn list(
    State(app): State<AppState>,
    session: Session,
    ListQuery(params, filters): ListQuery<Filters>,
) -> ApiResult<Json<ListBody<ListedUpload>>> {
    let mut condition = Condition::True;
    if let Some(state) = filters.state {
        let word = serde_json::to_value(state).map_err(ApiError::internal)?;
        condition = condition.and(Condition::equal(Path::key("state"), word));
    }
    if let Some(target) = filters.target {
        let word = serde_json::to_value(target).map_err(ApiError::internal)?;
        condition = condition.and(Condition::equal(Path::key("target"), word));
    }
    let query = Query::new(Collection::Uploads, session.account_id.as_str()).filter(condition);
    let query = params.apply(query, &["created_at", "updated_at", "filename", "size_bytes", "state"])?;
    let (uploads, next) = app.ctx.store.list::<Upload>(&query).await?;
    Ok(Json(ListBody { items: uploads.into_iter().map(|stored| stored.value.into()).collect(), next }))
}
