//! Uploads: a client asks, PUTs the parts to the object store by signed URLs (or through here), completes.

mod complete;
pub mod create;
mod list;
mod object_store;
mod parts;

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::ProblemBody;
use super::json::ApiPath;
use super::{ApiError, ApiResult, AppState, Session};
use crate::domain::Timestamp;
use crate::domain::id::UploadId;
use crate::domain::upload::{Upload, UploadMode, UploadState, UploadTarget};
use crate::objects::ArrivedPart;
use crate::store::{Batch, Key, StoreExt, Stored};

/// Signed URLs are good for this long; `GET …/uploads/{id}` makes fresh ones.
const URL_LIFETIME: Duration = Duration::from_secs(6 * 3_600);
/// An upload that is not complete by then is dropped.
const UPLOAD_LIFETIME_DAYS: i64 = 7;

/// The route of a part that goes through tango, whose time is not that of other requests.
pub const PART_PATH: &str = "/api/v1/uploads/{id}/parts/{number}";

pub use create::{check_ready, default_recount, file_format};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(create::create, list::list))
        .routes(routes!(object_store::object_store))
        .routes(routes!(get, abort))
        .routes(routes!(parts::put_part))
        .routes(routes!(complete::complete))
}

/// One part: with a URL while it is missing, with its ETag once it is there (a few object stores do not tell it: then
/// with a URL to send the part again, for a client that has lost the ETag of its own PUT).
#[derive(Debug, Serialize, ToSchema)]
pub struct PartBody {
    pub number: u32,
    pub size_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// To be sent with the PUT. Your client adds `host` and `content-length` by itself.
    pub headers: std::collections::BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    pub arrived: bool,
}

/// An upload as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct UploadBody {
    pub id: String,
    pub state: UploadState,
    pub target: UploadTarget,
    pub mode: UploadMode,
    pub filename: String,
    pub size_bytes: u64,
    pub part_size_bytes: u64,
    pub parts: Vec<PartBody>,
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// Where the URLs lead: always `object_store`. `PUT …/parts/{n}` goes through tango instead.
    pub via: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
}

/// An upload's parts: those that have arrived, and fresh URLs for those that have not.
#[utoipa::path(get, path = "/api/v1/uploads/{id}", tag = "uploads", params(("id" = String, Path)),
    responses((status = 200, body = UploadBody), (status = 404, body = ProblemBody, description = "`upload_not_found`"),
        (status = 503, body = ProblemBody, description = "`object_store_unavailable`: continue later")))]
async fn get(
    State(app): State<AppState>,
    session: Session,
    headers: HeaderMap,
    ApiPath(id): ApiPath<String>,
) -> ApiResult<Json<UploadBody>> {
    let upload = load(&app, &session, &id).await?.value;
    let parts = match upload.state {
        UploadState::Receiving => {
            let arrived = app.ctx.objects.list_parts(&upload.object_key, &upload.multipart_id).await?;
            sign_missing(&app, &upload, &arrived, request_host(&headers)).await?
        }
        _ => Vec::new(),
    };
    Ok(Json(describe(&upload, parts)))
}

/// Drops an upload that is not complete. Doing it again changes nothing.
#[utoipa::path(delete, path = "/api/v1/uploads/{id}", tag = "uploads", params(("id" = String, Path)),
    responses((status = 204), (status = 409, body = ProblemBody, description = "`upload_completed`")))]
async fn abort(State(app): State<AppState>, session: Session, ApiPath(id): ApiPath<String>) -> ApiResult<StatusCode> {
    loop {
        let mut upload = load(&app, &session, &id).await?;
        match upload.value.state {
            UploadState::Receiving => {}
            UploadState::Completed | UploadState::Purged => {
                return Err(ApiError::conflict(
                    "upload_completed",
                    "This upload is complete: cancel its job, or delete its dataset, instead.",
                ));
            }
            UploadState::Aborted | UploadState::Expired => break,
        }
        upload.value.state = UploadState::Aborted;
        upload.value.updated_at = app.ctx.clock.now();
        let mut batch = Batch::new();
        batch.replace(&upload);
        match app.ctx.store.commit(batch).await {
            Ok(()) => {
                // The upload has ended, whatever the object store says: what it keeps is purged within the hour.
                let (key, multipart) = (&upload.value.object_key, &upload.value.multipart_id);
                if let Err(error) = app.ctx.objects.abort_upload(key, multipart).await {
                    let error = &error as &dyn std::error::Error;
                    tracing::info!(upload = id, error, "the parts of an aborted upload are left for the purge");
                }
                break;
            }
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn load(app: &AppState, session: &Session, id: &str) -> ApiResult<Stored<Upload>> {
    let missing = || ApiError::not_found("upload", id);
    let id = UploadId::parse(id).map_err(|_| missing())?;
    app.ctx.store.load::<Upload>(&Key::new(session.account_id.as_str(), id.as_str())).await?.ok_or_else(missing)
}

/// An upload that still takes parts.
async fn load_receiving(app: &AppState, session: &Session, id: &str) -> ApiResult<Stored<Upload>> {
    let upload = load(app, session, id).await?;
    check_receiving(&upload.value, app.ctx.clock.now())?;
    Ok(upload)
}

fn check_receiving(upload: &Upload, now: Timestamp) -> ApiResult<()> {
    let gone = |code: &'static str, what: &str| {
        Err(ApiError::new(StatusCode::GONE, code, format!("This upload {what}. Start a new one.")))
    };
    match upload.state {
        UploadState::Receiving if upload.expires_at > now => Ok(()),
        UploadState::Receiving | UploadState::Expired => gone("upload_expired", "has expired"),
        UploadState::Aborted => gone("upload_aborted", "was aborted"),
        UploadState::Completed | UploadState::Purged => {
            Err(ApiError::conflict("upload_completed", "This upload is complete: it takes no more parts."))
        }
    }
}

/// The host that the client used for this request.
fn request_host(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::HOST).and_then(|host| host.to_str().ok())
}

fn describe(upload: &Upload, parts: Vec<PartBody>) -> UploadBody {
    UploadBody {
        id: upload.id.to_string(),
        state: upload.state,
        target: upload.target,
        mode: upload.mode,
        filename: upload.filename.clone(),
        size_bytes: upload.size_bytes,
        part_size_bytes: upload.part_size_bytes,
        parts,
        expires_at: upload.expires_at,
        via: "object_store",
        dataset_id: upload.dataset_id.as_ref().map(ToString::to_string),
        job_id: upload.job_id.as_ref().map(ToString::to_string),
    }
}

/// Every part: as it arrived, or with a fresh URL. Where the object store does not tell the ETag of one that arrived,
/// its client names the one that it was given, or sends it again.
async fn sign_missing(
    app: &AppState,
    upload: &Upload,
    arrived: &[ArrivedPart],
    host: Option<&str>,
) -> ApiResult<Vec<PartBody>> {
    let objects = &app.ctx.objects;
    let base = objects.public_base(host);
    let signer = objects.part_signer(&base, &upload.object_key, &upload.multipart_id, URL_LIFETIME)?;
    let mut parts = Vec::with_capacity(usize::try_from(upload.part_count()).unwrap_or(0));
    for number in 1..=upload.part_count() {
        let size_bytes = upload.part_bytes(number);
        let there = arrived.iter().find(|part| part.number == number && part.size_bytes == size_bytes);
        let arrived = there.is_some();
        parts.push(match there.and_then(|part| part.etag.clone()) {
            Some(etag) => {
                PartBody { number, size_bytes, url: None, headers: Default::default(), etag: Some(etag), arrived }
            }
            None => {
                let signed = signer.sign(number, size_bytes, upload.part_checksum(number)).await?;
                PartBody { number, size_bytes, url: Some(signed.url), headers: signed.headers, etag: None, arrived }
            }
        });
    }
    Ok(parts)
}
