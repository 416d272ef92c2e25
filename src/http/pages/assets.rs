//! Styles, scripts and pictures, embedded in the program.

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

use crate::http::{ApiError, ApiResult};

#[derive(RustEmbed)]
#[folder = "static/assets"]
struct Assets;

/// One file; an unchanged one is not sent again.
pub async fn asset(Path(path): Path<String>, headers: HeaderMap) -> ApiResult<Response> {
    let file = Assets::get(&path).ok_or_else(|| ApiError::not_found("file", &path))?;
    let etag = format!("\"{}\"", hex::encode(&file.metadata.sha256_hash()[..16]));
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == etag.as_bytes());
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let media_type = mime_guess::from_path(&path).first_or_octet_stream();
        ([(header::CONTENT_TYPE, media_type.as_ref().to_owned())], file.data).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    Ok(response)
}

/// A file of ours that goes into a page.
pub(super) fn content(path: &str) -> Option<String> {
    Assets::get(path).map(|file| String::from_utf8_lossy(&file.data).into_owned())
}

/// Browsers ask for this name without being told.
pub async fn favicon(headers: HeaderMap) -> ApiResult<Response> {
    asset(Path("logo.svg".to_owned()), headers).await
}
