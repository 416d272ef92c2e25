//! `GET …/datasets/{id}/rejected`: rows that the last upload refused, as CSV.

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::load;
use crate::http::json::ApiPath;
use crate::http::{ApiResult, AppState, Session};

/// Bytes that one request asks the object store for.
const PIECE_BYTES: u64 = 4 << 20;

/// Line, column, value and reason of every refused row of the last upload; only the header when none was refused.
#[utoipa::path(get, path = "/datasets/{id}/rejected", tag = "datasets", params(("id" = String, Path)),
    responses((status = 200, content_type = "text/csv", body = String)))]
pub async fn rejected(
    State(app): State<AppState>,
    session: Session,
    ApiPath(id): ApiPath<String>,
) -> ApiResult<Response> {
    let dataset = load(&app, &session, &id).await?.value;
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"rejected-{}.csv\"", dataset.id)),
    ];
    let Some(report) = dataset.rejected else {
        return Ok((headers, "line,column,value,reason\n").into_response());
    };
    let size = app.ctx.objects.size(&report.object_key).await?;
    let objects = app.ctx.objects.clone();
    let pieces = futures::stream::unfold(0, move |start| {
        let (objects, key) = (objects.clone(), report.object_key.clone());
        async move {
            if start >= size {
                return None;
            }
            let end = (start + PIECE_BYTES).min(size);
            Some((objects.get_range(&key, start..end).await, end))
        }
    });
    Ok((headers, Body::from_stream(pieces)).into_response())
}
