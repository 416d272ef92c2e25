//! `POST …/datasets/{id}/append`: small appends without an upload.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::{StartedJob, load};
use crate::domain::id::UploadId;
use crate::domain::upload::{FileFormat, Recount, Upload, UploadMode, UploadState, UploadTarget};
use crate::http::error::ProblemBody;
use crate::http::idempotency::Idempotency;
use crate::http::json::{ApiBytes, ApiPath, ApiQuery, BodyHash, parse};
use crate::http::uploads::{check_ready, default_recount, file_format};
use crate::http::{ApiError, ApiResult, AppState, Session};
use crate::jobs::dataset_ingest::IngestUpload;
use crate::jobs::dataset_objects::RAW_PREFIX;
use crate::jobs::enqueue;
use crate::store::Batch;

/// Records by field name.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppendRecords {
    #[schema(value_type = Vec<Object>)]
    records: Vec<Map<String, Value>>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct AppendParams {
    /// `full` in a browser session, `incremental` with a bearer token when absent.
    recount: Option<Recount>,
    /// Of CSV; detected when absent.
    separator: Option<String>,
    encoding: Option<String>,
}

/// Appends rows: `{"records":[…]}`, or the text of a CSV or NDJSON file. Larger ones go through an upload.
#[utoipa::path(post, path = "/api/v1/datasets/{id}/append", tag = "datasets", params(("id" = String, Path), AppendParams),
    request_body(content((AppendRecords = "application/json"), (String = "text/csv"), (String = "application/x-ndjson"))),
    responses((status = 202, body = StartedJob), (status = 409, body = ProblemBody, description = "`dataset_not_ready`"),
        (status = 413, body = ProblemBody, description = "`too_large`"),
        (status = 422, body = ProblemBody, description = "`empty_file`, `too_many_records`"),
        (status = 415, body = ProblemBody, description = "`unsupported_media_type`")))]
pub async fn append(
    State(app): State<AppState>,
    session: Session,
    mut idem: Idempotency,
    ApiPath(id): ApiPath<String>,
    ApiQuery(params): ApiQuery<AppendParams>,
    headers: HeaderMap,
    ApiBytes(body): ApiBytes,
) -> ApiResult<Response> {
    if let Some(saved) = idem.replay(&app, &session, &BodyHash::of(&body)).await? {
        return Ok(saved);
    }
    let dataset = load(&app, &session, &id).await?.value;
    check_ready(dataset.state)?;
    let (bytes, filename, format) = rows(&headers, body, app.ctx.config.limits.max_records_per_call)?;
    let format = file_format(Some(format.to_owned()), params.separator, params.encoding, None)?;
    let mut upload = stored(&app, &session, &dataset.id, bytes.len() as u64, filename, format, params.recount);
    // The bytes first: what a document refers to is there.
    app.ctx.objects.put(&upload.object_key, bytes).await?;
    let mut batch = Batch::new();
    let job = IngestUpload { dataset_id: dataset.id, upload_id: upload.id.clone() };
    let job = enqueue(&mut batch, &app.ctx, &session.account_id, &job).map_err(ApiError::internal)?;
    upload.job_id = Some(job.clone());
    batch.insert(&upload);
    let answer = StartedJob { job_id: job.to_string() };
    idem.record(&mut batch, StatusCode::ACCEPTED, &answer);
    if let Err(error) = app.ctx.store.commit(batch).await {
        let _dropped = app.ctx.objects.delete(&upload.object_key).await;
        return Err(idem.explain(error));
    }
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

/// The rows as a file: its bytes, name and format.
fn rows(headers: &HeaderMap, body: Bytes, max_records: usize) -> ApiResult<(Bytes, &'static str, &'static str)> {
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("application/json");
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let file = match essence.as_str() {
        "application/json" => {
            let records = parse::<AppendRecords>(&body)?.records;
            if records.len() > max_records {
                let detail = format!(
                    "{} records in one call are too many: send at most {max_records} (MAX_RECORDS_PER_CALL), or upload a file.",
                    records.len()
                );
                return Err(ApiError::unprocessable("too_many_records", detail)
                    .field("records", "too many")
                    .with("limit", max_records));
            }
            let mut lines = Vec::with_capacity(body.len());
            for record in &records {
                serde_json::to_writer(&mut lines, record).map_err(ApiError::internal)?;
                lines.push(b'\n');
            }
            (Bytes::from(lines), "append.ndjson", "ndjson")
        }
        "text/csv" => (body, "append.csv", "csv"),
        "application/x-ndjson" | "application/ndjson" => (body, "append.ndjson", "ndjson"),
        other => {
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                format!("The body is {other:?}; send application/json, text/csv or application/x-ndjson."),
            ));
        }
    };
    if file.0.is_empty() {
        return Err(ApiError::unprocessable("empty_file", "There are no rows to append."));
    }
    Ok(file)
}

fn stored(
    app: &AppState,
    session: &Session,
    dataset: &crate::domain::id::DatasetId,
    size_bytes: u64,
    filename: &str,
    format: FileFormat,
    recount: Option<Recount>,
) -> Upload {
    let now = app.ctx.clock.now();
    let id = UploadId::generate(now);
    Upload {
        object_key: format!("{RAW_PREFIX}{id}"),
        id,
        account_id: session.account_id.clone(),
        target: UploadTarget::Dataset,
        mode: UploadMode::Append,
        dataset_id: Some(dataset.clone()),
        name: filename.to_owned(),
        filename: filename.to_owned(),
        size_bytes,
        format,
        id_field: None,
        recount: recount.unwrap_or_else(|| default_recount(session)),
        accept_schema: true,
        multipart_id: String::new(),
        part_size_bytes: size_bytes,
        part_sha256: Vec::new(),
        state: UploadState::Completed,
        job_id: None,
        expires_at: now,
        created_at: now,
        updated_at: now,
    }
}
