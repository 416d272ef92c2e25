//! `PUT /api/v1/uploads/{id}/parts/{n}`: a part that goes through tango, for clients that cannot reach the object store.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::TryStreamExt;
use serde::Serialize;
use utoipa::ToSchema;

use super::load_receiving;
use crate::http::error::ProblemBody;
use crate::http::json::ApiPath;
use crate::http::{ApiError, ApiResult, AppState, Session};

/// A part that has arrived.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReceivedPart {
    number: u32,
    etag: String,
}

/// Sends a part through tango, streamed: slower than the part's own URL.
#[utoipa::path(put, path = "/api/v1/uploads/{id}/parts/{number}", tag = "uploads",
    params(("id" = String, Path), ("number" = u32, Path)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = ReceivedPart), (status = 422, body = ProblemBody, description = "`part_size`")))]
pub async fn put_part(
    State(app): State<AppState>,
    session: Session,
    ApiPath((id, number)): ApiPath<(String, u32)>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<Response> {
    let upload = load_receiving(&app, &session, &id).await?.value;
    if number == 0 || number > upload.part_count() {
        let detail = format!("This upload has parts 1 to {}, and no part {number}.", upload.part_count());
        return Err(ApiError::new(StatusCode::NOT_FOUND, "part_not_found", detail));
    }
    let size = upload.part_bytes(number);
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match announced {
        Some(announced) if announced == size => {}
        Some(announced) => {
            let detail = format!("Part {number} has {size} bytes, but the body has {announced}.");
            return Err(ApiError::unprocessable("part_size", detail).with("size_bytes", size));
        }
        None => {
            return Err(ApiError::new(
                StatusCode::LENGTH_REQUIRED,
                "length_required",
                "Send the part with a Content-Length header.",
            ));
        }
    }
    let stream = Box::pin(body.into_data_stream().map_err(std::io::Error::other));
    let checksum = upload.part_checksum(number);
    let objects = &app.ctx.objects;
    let send = objects.upload_part_streaming(&upload.object_key, &upload.multipart_id, number, size, checksum, stream);
    let patience = Duration::from_secs(app.ctx.config.gunicorn_timeout_seconds);
    let etag = match tokio::time::timeout(patience, send).await {
        Ok(Ok(etag)) => etag,
        Ok(Err(crate::objects::ObjectError::Failed(source))) => {
            tracing::info!(upload = id, number, error = format!("{source:#}"), "a part was not taken");
            return Err(ApiError::unprocessable(
                "part_refused",
                "The part was not taken: its body broke off, or does not have the checksum that the upload announced. \
                 Send it again.",
            ));
        }
        Ok(Err(error)) => return Err(error.into()),
        Err(_) => {
            return Err(ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                "too_slow",
                format!("The part took longer than {} seconds (GUNICORN_TIMEOUT). Send it again.", patience.as_secs()),
            ));
        }
    };
    let quoted = format!("\"{etag}\"");
    Ok(([(header::ETAG, quoted.clone())], Json(ReceivedPart { number, etag: quoted })).into_response())
}
