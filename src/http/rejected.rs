//! Rows that an uploaded file had refused, as a CSV download.

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::{ApiResult, AppState};
use crate::domain::dataset::RejectedReport;

/// Bytes that one request asks the object store for.
const PIECE_BYTES: u64 = 4 << 20;

/// Streams the report as `rejected-{name}.csv`; only the header when nothing was refused.
pub async fn download(app: &AppState, name: &str, report: Option<RejectedReport>) -> ApiResult<Response> {
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"rejected-{name}.csv\"")),
    ];
    let Some(report) = report else {
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
