//! `POST /api/v1/uploads/{id}/complete`.

use std::collections::HashMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{check_receiving, load};
use crate::domain::dataset::{Dataset, DatasetState};
use crate::domain::id::DatasetId;
use crate::domain::upload::{Upload, UploadState, UploadTarget};
use crate::http::error::ProblemBody;
use crate::http::json::{ApiJson, ApiPath};
use crate::http::{ApiError, ApiResult, AppState, Session};
use crate::jobs::dataset_discover::DiscoverUpload;
use crate::jobs::dataset_ingest::IngestUpload;
use crate::jobs::enqueue;
use crate::jobs::profile_upload::ProfileUpload;
use crate::objects::{ArrivedPart, NamedPart, ObjectError};
use crate::store::{Batch, Stored};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteUpload {
    parts: Vec<SentPart>,
    /// Ingest at once by the discovered schema.
    #[serde(default)]
    accept_schema: bool,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SentPart {
    number: u32,
    /// As the PUT of the part answered, with or without quotes.
    etag: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CompletedUpload {
    job_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    dataset_id: Option<String>,
}

/// Puts the parts together and starts the job that reads the file. Doing it again gives the same answer.
#[utoipa::path(post, path = "/api/v1/uploads/{id}/complete", tag = "uploads", params(("id" = String, Path)),
    request_body = CompleteUpload,
    responses((status = 202, body = CompletedUpload),
        (status = 422, body = ProblemBody, description = "`missing_part`, `part_size`, `part_etag`, `unknown_part`"),
        (status = 503, body = ProblemBody, description = "`object_store_unavailable`: complete it later")))]
pub async fn complete(
    State(app): State<AppState>,
    session: Session,
    ApiPath(id): ApiPath<String>,
    ApiJson(complete): ApiJson<CompleteUpload>,
) -> ApiResult<(StatusCode, Json<CompletedUpload>)> {
    loop {
        let mut upload = load(&app, &session, &id).await?;
        if let Some(answer) = answered_before(&upload.value) {
            return Ok((StatusCode::ACCEPTED, Json(answer)));
        }
        check_receiving(&upload.value, app.ctx.clock.now())?;
        if let Err(error) = assemble(&app, &upload.value, &complete.parts).await {
            // Services answer in many ways when another request is putting the same parts together.
            let answer =
                if error.status().is_server_error() { answered_meanwhile(&app, &session, &id).await? } else { None };
            return answer.map(|answer| (StatusCode::ACCEPTED, Json(answer))).ok_or(error);
        }
        upload.value.accept_schema = complete.accept_schema;
        let batch = start_job(&app, &mut upload)?;
        match app.ctx.store.commit(batch).await {
            Ok(()) => {}
            // Somebody completes the same upload: the next look finds the answer.
            Err(error) if error.is_conflict() => continue,
            Err(error) => return Err(error.into()),
        }
    }
}

/// What another request for the same upload answers, if it does so within a second.
async fn answered_meanwhile(app: &AppState, session: &Session, id: &str) -> ApiResult<Option<CompletedUpload>> {
    for _ in 0..20 {
        if let Some(answer) = answered_before(&load(app, session, id).await?.value) {
            return Ok(Some(answer));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(None)
}

fn answered_before(upload: &Upload) -> Option<CompletedUpload> {
    match (upload.state, &upload.job_id) {
        (UploadState::Completed | UploadState::Purged, Some(job)) => Some(CompletedUpload {
            job_id: job.to_string(),
            dataset_id: upload.dataset_id.as_ref().map(ToString::to_string),
        }),
        _ => None,
    }
}

/// Compares what the client says with what arrived, then has the object store put it together.
async fn assemble(app: &AppState, upload: &Upload, sent: &[SentPart]) -> ApiResult<()> {
    let objects = &app.ctx.objects;
    let arrived = match objects.list_parts(&upload.object_key, &upload.multipart_id).await {
        // A few services know no difference between an upload without parts and one that is gone.
        Ok(arrived) if arrived.is_empty() && is_whole(app, upload).await? => return Ok(()),
        Ok(arrived) => arrived,
        // Put together before, by a request that did not live to say so.
        Err(ObjectError::NotFound(_)) => return check_whole(app, upload).await,
        Err(error) => return Err(error.into()),
    };
    let parts = compare(upload, sent, &arrived)?;
    let (key, multipart) = (&upload.object_key, &upload.multipart_id);
    match objects.complete_upload(key, multipart, &parts, upload.size_bytes).await {
        Ok(()) | Err(ObjectError::NotFound(_)) => check_whole(app, upload).await,
        // Refused by a service that means "gone", perhaps.
        Err(error @ ObjectError::Refused(_)) => match is_whole(app, upload).await {
            Ok(true) => Ok(()),
            _ => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    }
}

/// Whether the file is there as a whole. Its key is this upload's alone.
async fn is_whole(app: &AppState, upload: &Upload) -> Result<bool, ObjectError> {
    match app.ctx.objects.size(&upload.object_key).await {
        Ok(size) => Ok(size == upload.size_bytes),
        Err(ObjectError::NotFound(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn check_whole(app: &AppState, upload: &Upload) -> ApiResult<()> {
    match app.ctx.objects.size(&upload.object_key).await {
        Ok(size) if size == upload.size_bytes => Ok(()),
        Ok(size) => {
            let detail =
                format!("The stored file has {size} bytes instead of {}. Start a new upload.", upload.size_bytes);
            Err(ApiError::conflict("upload_damaged", detail))
        }
        Err(ObjectError::NotFound(_)) => {
            Err(ApiError::new(StatusCode::GONE, "upload_aborted", "This upload was aborted. Start a new one."))
        }
        Err(error) => Err(error.into()),
    }
}

fn compare(upload: &Upload, sent: &[SentPart], arrived: &[ArrivedPart]) -> ApiResult<Vec<NamedPart>> {
    let count = upload.part_count();
    let mut named: HashMap<u32, &str> = HashMap::with_capacity(sent.len());
    for (index, part) in sent.iter().enumerate() {
        let path = format!("parts[{index}].number");
        if part.number == 0 || part.number > count {
            let message = format!("the upload has parts 1 to {count}, and no part {}", part.number);
            return Err(ApiError::unprocessable("unknown_part", format!("In {path}: {message}.")).field(path, message));
        }
        if named.insert(part.number, part.etag.trim().trim_matches('"')).is_some() {
            let message = format!("part {} is named twice", part.number);
            return Err(ApiError::unprocessable("unknown_part", format!("In {path}: {message}.")).field(path, message));
        }
    }
    let mut parts = Vec::with_capacity(sent.len());
    for number in 1..=count {
        let problem =
            |code: &'static str, detail: String| Err(ApiError::unprocessable(code, detail).with("part", number));
        let Some(etag) = named.get(&number) else {
            return problem("missing_part", format!("Part {number} of {count} is not named. Name every part."));
        };
        let Some(there) = arrived.iter().find(|part| part.number == number) else {
            return problem(
                "missing_part",
                format!("Part {number} of {count} has not arrived. GET the upload for a fresh URL and send it."),
            );
        };
        let size = upload.part_bytes(number);
        if there.size_bytes != size {
            return problem(
                "part_size",
                format!("Part {number} has {} bytes instead of {size}. Send it again.", there.size_bytes),
            );
        }
        if there.etag.as_ref().is_some_and(|there| there != etag) {
            return problem(
                "part_etag",
                format!(
                    "Part {number} arrived with another ETag than the one named: other bytes were sent since. Send it again."
                ),
            );
        }
        let sha256 = upload.part_checksum(number).map(str::to_owned);
        parts.push(NamedPart { number, etag: (*etag).to_owned(), sha256 });
    }
    Ok(parts)
}

/// The batch that marks the upload complete and starts its job; for a new dataset it makes the dataset, too.
fn start_job(app: &AppState, upload: &mut Stored<Upload>) -> ApiResult<Batch> {
    let ctx = &app.ctx;
    let now = ctx.clock.now();
    let mut batch = Batch::new();
    let value = &mut upload.value;
    let (account, upload_id) = (value.account_id.clone(), value.id.clone());
    let job = match (value.target, &value.dataset_id) {
        (UploadTarget::Dataset, Some(dataset)) => {
            enqueue(&mut batch, ctx, &account, &IngestUpload { dataset_id: dataset.clone(), upload_id })
        }
        (UploadTarget::Dataset, None) => {
            let dataset_id = DatasetId::generate(now);
            value.dataset_id = Some(dataset_id.clone());
            enqueue(&mut batch, ctx, &account, &DiscoverUpload { dataset_id, upload_id })
        }
        (UploadTarget::Agents | UploadTarget::Customers, _) => {
            enqueue(&mut batch, ctx, &account, &ProfileUpload { upload_id })
        }
    };
    let job = job.map_err(ApiError::internal)?;
    value.state = UploadState::Completed;
    value.job_id = Some(job.clone());
    value.updated_at = now;
    batch.replace(upload);
    let value = &upload.value;
    if let (UploadTarget::Dataset, crate::domain::upload::UploadMode::Create, Some(id)) =
        (value.target, value.mode, &value.dataset_id)
    {
        batch.insert(&Dataset {
            pending_upload: Some(value.id.clone()),
            last_job: Some(job),
            ..Dataset::new(id.clone(), account, value.name.clone(), DatasetState::Discovering, now)
        });
    }
    Ok(batch)
}
