//! `POST /api/v1/uploads`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{UPLOAD_LIFETIME_DAYS, UploadBody, describe, request_host, sign_missing};
use crate::domain::dataset::DatasetState;
use crate::domain::id::{DatasetId, UploadId};
use crate::domain::upload::{FileFormat, Recount, Upload, UploadMode, UploadState, UploadTarget};
use crate::http::datasets;
use crate::http::error::ProblemBody;
use crate::http::idempotency::Idempotency;
use crate::http::json::HashedJson;
use crate::http::{ApiError, ApiResult, AppState, Session};
use crate::objects::{MAX_PARTS, MIN_PART_BYTES};
use crate::store::Batch;

/// Parts are about a thousandth of the file, and at least this large.
const USUAL_PART_BYTES: u64 = 8 << 20;
/// What S3 takes as one part.
const MAX_PART_BYTES: u64 = 5 << 30;
const MAX_NAME_CHARACTERS: usize = 200;
const MAX_FILENAME_CHARACTERS: usize = 255;

/// What is to be uploaded, and how its bytes are to be read. What is left out of the format is detected.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUpload {
    target: UploadTarget,
    /// The dataset that an append belongs to.
    dataset_id: Option<String>,
    /// Name of the new dataset; the file's name when absent.
    name: Option<String>,
    filename: String,
    size_bytes: u64,
    /// `csv`, `ndjson` or `parquet`.
    format: Option<String>,
    /// `,`, `;`, `|` or a tab.
    separator: Option<String>,
    /// Such as `utf-8`, `windows-1252` or `utf-16le`.
    encoding: Option<String>,
    /// Texts that stand for a missing value.
    missing_values: Option<Vec<String>>,
    #[serde(default = "create_mode")]
    mode: UploadMode,
    /// What an append counts; `full` in a browser session, `incremental` with a bearer token when absent.
    recount: Option<Recount>,
    /// The column that holds a profile's id; `agent_id` or `customer_id` when absent.
    id_field: Option<String>,
    /// 5 MiB to 5 GiB; chosen by size when absent. Give it together with `sha256`.
    #[schema(minimum = 5_242_880, maximum = 5_368_709_120_i64)]
    part_size_bytes: Option<u64>,
    /// SHA-256 of each part, base 64 or hexadecimal: then only these bytes are taken.
    sha256: Option<Vec<String>>,
}

fn create_mode() -> UploadMode {
    UploadMode::Create
}

/// Starts an upload and hands out a signed URL for each part.
#[utoipa::path(post, path = "/api/v1/uploads", tag = "uploads", request_body = NewUpload,
    responses((status = 201, body = UploadBody), (status = 413, body = ProblemBody, description = "`too_large`"),
        (status = 422, body = ProblemBody),
        (status = 503, body = ProblemBody, description = "`object_store_unavailable`: nothing was started")))]
pub async fn create(
    State(app): State<AppState>,
    session: Session,
    mut idem: Idempotency,
    headers: HeaderMap,
    HashedJson(new, hash): HashedJson<NewUpload>,
) -> ApiResult<Response> {
    if let Some(saved) = idem.replay(&app, &session, &hash).await? {
        return Ok(saved);
    }
    let mut upload = check(&app, &session, new).await?;
    let with_checksums = !upload.part_sha256.is_empty();
    upload.multipart_id = app.ctx.objects.create_upload(&upload.object_key, with_checksums).await?;
    let parts = sign_missing(&app, &upload, &[], request_host(&headers)).await?;
    let answer = describe(&upload, parts);
    let mut batch = Batch::new();
    batch.insert(&upload);
    idem.record(&mut batch, StatusCode::CREATED, &answer);
    if let Err(error) = app.ctx.store.commit(batch).await {
        // Nothing refers to it; a failure here leaves an empty upload behind, nothing worse.
        let _dropped = app.ctx.objects.abort_upload(&upload.object_key, &upload.multipart_id).await;
        return Err(idem.explain(error));
    }
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

async fn check(app: &AppState, session: &Session, new: NewUpload) -> ApiResult<Upload> {
    let limit = app.ctx.config.limits.max_upload_bytes;
    if new.size_bytes == 0 {
        return Err(ApiError::unprocessable("empty_file", "The file is empty: there is nothing to upload.")
            .field("size_bytes", "is 0"));
    }
    if new.size_bytes > limit {
        let detail = format!("The file has {} bytes, more than {limit} (MAX_UPLOAD_BYTES). Split it.", new.size_bytes);
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail).with("limit_bytes", limit));
    }
    check_text("filename", &new.filename, MAX_FILENAME_CHARACTERS)?;
    if let Some(name) = &new.name {
        check_text("name", name, MAX_NAME_CHARACTERS)?;
    }
    let dataset_id = check_target(app, session, &new).await?;
    let id_field = check_id_field(&new)?;
    let format = file_format(new.format, new.separator, new.encoding, new.missing_values)?;
    let (part_size_bytes, part_sha256) = parts(new.size_bytes, new.part_size_bytes, new.sha256)?;
    let now = app.ctx.clock.now();
    let id = UploadId::generate(now);
    let stem = new.filename.split('.').next().filter(|stem| !stem.is_empty()).unwrap_or(&new.filename);
    Ok(Upload {
        object_key: format!("{}{id}", crate::jobs::dataset_objects::RAW_PREFIX),
        id,
        account_id: session.account_id.clone(),
        target: new.target,
        mode: new.mode,
        dataset_id,
        name: new.name.unwrap_or_else(|| stem.to_owned()),
        filename: new.filename,
        size_bytes: new.size_bytes,
        format,
        id_field,
        recount: new.recount.unwrap_or_else(|| default_recount(session)),
        accept_schema: false,
        multipart_id: String::new(),
        part_size_bytes,
        part_sha256,
        state: UploadState::Receiving,
        job_id: None,
        expires_at: now + chrono::Duration::days(UPLOAD_LIFETIME_DAYS),
        created_at: now,
        updated_at: now,
    })
}

/// A person at a browser wants to see all counts; a program appends often.
pub fn default_recount(session: &Session) -> Recount {
    if session.browser { Recount::Full } else { Recount::Incremental }
}

fn check_text(field: &str, text: &str, most: usize) -> ApiResult<()> {
    let characters = text.chars().count();
    if text.trim().is_empty() || characters > most || text.chars().any(char::is_control) {
        let message = format!("holds 1 to {most} characters, none of them a control character");
        return Err(ApiError::unprocessable("invalid_body", format!("`{field}` {message}.")).field(field, message));
    }
    Ok(())
}

async fn check_target(app: &AppState, session: &Session, new: &NewUpload) -> ApiResult<Option<DatasetId>> {
    let refuse = |message: &str| {
        Err(ApiError::unprocessable("invalid_body", format!("`dataset_id` {message}.")).field("dataset_id", message))
    };
    match (new.target, new.mode, &new.dataset_id) {
        (UploadTarget::Dataset, UploadMode::Append, Some(id)) => {
            let dataset = datasets::load(app, session, id).await?.value;
            check_ready(dataset.state)?;
            Ok(Some(dataset.id))
        }
        (UploadTarget::Dataset, UploadMode::Append, None) => refuse("is missing: name the dataset to append to"),
        (UploadTarget::Dataset, UploadMode::Create, Some(_)) => {
            refuse("names an existing dataset: use \"mode\": \"append\" to add to it, or leave it out for a new one")
        }
        (UploadTarget::Agents | UploadTarget::Customers, _, Some(_)) => refuse("has no meaning for a profile"),
        (_, _, None) => Ok(None),
    }
}

/// Rows are added to a dataset that has its schema and its first data.
pub fn check_ready(state: DatasetState) -> ApiResult<()> {
    if state == DatasetState::Ready {
        return Ok(());
    }
    let detail = match state {
        DatasetState::Failed => "The dataset's first upload failed: delete the dataset and create it anew.",
        DatasetState::AwaitingSchema => "The dataset's schema waits to be accepted: POST …/schema/accept first.",
        DatasetState::Discovering | DatasetState::Ready => {
            "The dataset's first upload is still being read: wait for its job."
        }
    };
    Err(ApiError::conflict("dataset_not_ready", detail))
}

fn check_id_field(new: &NewUpload) -> ApiResult<Option<String>> {
    let Some(field) = &new.id_field else { return Ok(None) };
    let refuse = |code: &'static str, message: &str| {
        let detail = format!("The column that holds the id (`id_field`) {message}.");
        Err(ApiError::unprocessable(code, detail).field("id_field", message))
    };
    if new.target == UploadTarget::Dataset {
        return refuse("invalid_body", "belongs to uploads of agents and customers: a dataset's rows have no id");
    }
    if ["id", "_id"].contains(&field.trim().to_ascii_lowercase().as_str()) {
        return refuse(
            "bad_id_field",
            "cannot be a column named ID or _id: the name is taken inside the product. \
             Rename the column in the file (to agent_id or customer_id, for instance) and name it here",
        );
    }
    check_text("id_field", field, MAX_NAME_CHARACTERS)?;
    Ok(Some(field.clone()))
}

/// Checks what a client says about the bytes.
pub fn file_format(
    format: Option<String>,
    separator: Option<String>,
    encoding: Option<String>,
    missing_values: Option<Vec<String>>,
) -> ApiResult<FileFormat> {
    let refuse = |field: &str, message: &str| {
        Err(ApiError::unprocessable("invalid_body", format!("`{field}` {message}.")).field(field, message))
    };
    if format.as_deref().is_some_and(|format| !["csv", "ndjson", "parquet"].contains(&format)) {
        return refuse("format", "is csv, ndjson or parquet; gzip and zip around them are detected");
    }
    let separator = match separator.as_deref() {
        None => None,
        Some("tab" | "\t" | "\\t") => Some("\t".to_owned()),
        Some(separator @ ("," | ";" | "|")) => Some(separator.to_owned()),
        Some(_) => return refuse("separator", "is one of `,`, `;`, `|` and a tab"),
    };
    if encoding.as_deref().is_some_and(|label| encoding_rs::Encoding::for_label(label.as_bytes()).is_none()) {
        return refuse("encoding", "is not known; examples are utf-8, windows-1252, iso-8859-15 and utf-16le");
    }
    if missing_values.as_ref().is_some_and(|values| values.len() > 100 || values.iter().any(|text| text.len() > 100)) {
        return refuse("missing_values", "holds at most 100 texts of at most 100 bytes");
    }
    Ok(FileFormat { format, separator, encoding, missing_values })
}

/// The size of a part, and the checksums in base 64.
fn parts(size: u64, part_size: Option<u64>, sha256: Option<Vec<String>>) -> ApiResult<(u64, Vec<String>)> {
    let refuse = |field: &str, message: String| {
        Err(ApiError::unprocessable("invalid_body", format!("`{field}` {message}.")).field(field, message))
    };
    let part_size = match part_size {
        None => (size.div_ceil(1_000).div_ceil(1 << 20) << 20).max(USUAL_PART_BYTES),
        Some(bytes) if bytes > MAX_PART_BYTES => {
            return refuse("part_size_bytes", format!("is at most {MAX_PART_BYTES} (5 GiB)"));
        }
        Some(bytes) if bytes < MIN_PART_BYTES || size.div_ceil(bytes) > MAX_PARTS => {
            return refuse(
                "part_size_bytes",
                format!("is at least {MIN_PART_BYTES} and so large that the file has at most {MAX_PARTS} parts"),
            );
        }
        Some(bytes) => bytes,
    };
    let Some(sha256) = sha256 else { return Ok((part_size, Vec::new())) };
    let count = size.div_ceil(part_size);
    if sha256.len() as u64 != count {
        return refuse("sha256", format!("has {} entries, but the upload has {count} parts", sha256.len()));
    }
    let engine = base64::engine::general_purpose::STANDARD;
    let mut checksums = Vec::with_capacity(sha256.len());
    for (index, text) in sha256.iter().enumerate() {
        let bytes = if text.len() == 64 { hex::decode(text).ok() } else { engine.decode(text).ok() };
        match bytes {
            Some(bytes) if bytes.len() == 32 => checksums.push(engine.encode(bytes)),
            _ => {
                return refuse(
                    &format!("sha256[{index}]"),
                    "is not a SHA-256 checksum in base 64 or hexadecimal".into(),
                );
            }
        }
    }
    Ok((part_size, checksums))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_few_and_large_enough() {
        for size in [1, 5 << 20, 8 << 20, 1 << 30, 64 << 30, 500 << 30] {
            let (part, _) = parts(size, None, None).unwrap();
            assert!(part >= MIN_PART_BYTES && size.div_ceil(part) <= 1_000, "{size}: {part}");
        }
        assert!(parts(10 << 20, Some(1 << 20), None).is_err());
        assert!(parts(10 << 20, Some(1_000_000_000_000_000), None).is_err());
        assert!(parts(10 << 20, None, Some(vec!["x".into()])).is_err());
    }
}
