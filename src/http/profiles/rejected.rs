//! Rows that the last uploaded file had refused, as CSV.

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::http::{ApiResult, AppState};
use crate::profiles::{Profile, schema};

/// Bytes that one request asks the object store for.
const PIECE_BYTES: u64 = 4 << 20;

pub async fn get(app: &AppState, profile: &Profile) -> ApiResult<Response> {
    let schema = schema::load(&app.ctx.store, profile).await?.value;
    let disposition = format!("attachment; filename=\"rejected-{}.csv\"", profile.kind.as_str());
    let headers =
        [(header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()), (header::CONTENT_DISPOSITION, disposition)];
    let Some(report) = schema.rejected else {
        return Ok((headers, "line,column,value,reason\n").into_response());
    };
    let size_bytes = app.ctx.objects.size(&report.object_key).await?;
    let objects = app.ctx.objects.clone();
    let pieces = futures::stream::unfold(0, move |start| {
        let (objects, key) = (objects.clone(), report.object_key.clone());
        async move {
            if start >= size_bytes {
                return None;
            }
            let end = (start + PIECE_BYTES).min(size_bytes);
            Some((objects.get_range(&key, start..end).await, end))
        }
    });
    Ok((headers, Body::from_stream(pieces)).into_response())
}
