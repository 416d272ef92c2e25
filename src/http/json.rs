//! Extractors whose failures are problem details that name the place.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::{ApiError, AppState};

/// A JSON body. Give body types `#[serde(deny_unknown_fields)]`: unknown fields in a write are errors.
#[derive(Debug, Clone, Copy)]
pub struct ApiJson<T>(pub T);

/// A JSON body with its hash, for endpoints that honour `Idempotency-Key`.
#[derive(Debug, Clone)]
pub struct HashedJson<T>(pub T, pub BodyHash);

/// A body as bytes, within `max_body_bytes`.
#[derive(Debug, Clone)]
pub struct ApiBytes(pub Bytes);

/// Path parameters; what does not parse (a malformed id) is a 404.
#[derive(Debug, Clone, Copy)]
pub struct ApiPath<T>(pub T);

/// The query string; what does not parse is a 400 that says why.
#[derive(Debug, Clone, Copy)]
pub struct ApiQuery<T>(pub T);

/// SHA-256 of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyHash(pub [u8; 32]);

impl BodyHash {
    pub fn of(body: &[u8]) -> Self {
        Self(Sha256::digest(body).into())
    }
}

impl<T: DeserializeOwned> FromRequest<AppState> for ApiJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &AppState) -> Result<Self, ApiError> {
        check_content_type(request.headers())?;
        let ApiBytes(bytes) = ApiBytes::from_request(request, app).await?;
        parse(&bytes).map(Self)
    }
}

impl<T: DeserializeOwned> FromRequest<AppState> for HashedJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &AppState) -> Result<Self, ApiError> {
        check_content_type(request.headers())?;
        let ApiBytes(bytes) = ApiBytes::from_request(request, app).await?;
        Ok(Self(parse(&bytes)?, BodyHash::of(&bytes)))
    }
}

impl FromRequest<AppState> for ApiBytes {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &AppState) -> Result<Self, ApiError> {
        let limit = app.ctx.config.limits.max_body_bytes;
        Bytes::from_request(request, app).await.map(Self).map_err(|rejection| match rejection {
            BytesRejection::FailedToBufferBody(inner) if inner.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                too_large(limit)
            }
            other => ApiError::bad_request("bad_body", format!("The body could not be read: {other}")),
        })
    }
}

impl<T: DeserializeOwned + Send> FromRequestParts<AppState> for ApiPath<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        Path::<T>::from_request_parts(parts, app).await.map(|Path(value)| Self(value)).map_err(|rejection| {
            ApiError::new(
                StatusCode::NOT_FOUND,
                "not_found",
                format!("There is nothing at this address: {}", rejection.body_text()),
            )
        })
    }
}

impl<T: DeserializeOwned> FromRequestParts<AppState> for ApiQuery<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        Query::<T>::from_request_parts(parts, app).await.map(|Query(value)| Self(value)).map_err(|rejection| {
            ApiError::bad_request("bad_query", format!("The query string is not understood: {}", rejection.body_text()))
        })
    }
}

/// 413 that names the limit.
pub fn too_large(limit_bytes: usize) -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too_large",
        format!("The body is larger than {limit_bytes} bytes (MAX_BODY_BYTES). Send it in parts, or as an upload."),
    )
    .with("limit_bytes", limit_bytes)
}

/// JSON, or nothing said: a form that a browser can post across sites is not taken for JSON.
fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let essence = value.to_str().unwrap_or("").split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        format!("The body is {essence:?}; send JSON with the header `Content-Type: application/json`."),
    ))
}

/// Parses a body; the problem names the path of what is wrong.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // Keeping the path costs as much as parsing: a body with a fault is parsed once more, to find the place.
    serde_json::from_slice(bytes).or_else(|_| parse_with_path(bytes))
}

fn parse_with_path<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        let message = inner.to_string();
        if !inner.is_data() {
            return ApiError::bad_request("bad_json", format!("The body is not valid JSON: {message}."));
        }
        let code = if message.starts_with("unknown field") { "unknown_field" } else { "invalid_body" };
        // The position is of no use to somebody who reads the path.
        let message = message.split(" at line ").next().unwrap_or_default().to_owned();
        let place = if path == "." { "the body".to_owned() } else { path.clone() };
        ApiError::unprocessable(code, format!("In {place}: {message}.")).field(path, message)
    })?;
    deserializer
        .end()
        .map_err(|error| ApiError::bad_request("bad_json", format!("Something follows the JSON value: {error}.")))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[expect(dead_code, reason = "only read by serde")]
        items: Vec<Inner>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[expect(dead_code, reason = "only read by serde")]
        size: u32,
    }

    #[test]
    fn a_problem_names_the_place() {
        let error = parse::<Outer>(br#"{"items":[{"size":1},{"size":"x"}]}"#).unwrap_err();
        assert_eq!(error.code(), "invalid_body");
        assert!(error.detail().starts_with("In items[1].size: invalid type"), "{}", error.detail());
        let error = parse::<Outer>(br#"{"items":[],"colour":1}"#).unwrap_err();
        assert_eq!(error.code(), "unknown_field");
        assert!(error.detail().contains("colour"), "{}", error.detail());
        assert_eq!(parse::<Outer>(b"{").unwrap_err().code(), "bad_json");
        assert_eq!(parse::<Outer>(br#"{"items":[]} x"#).unwrap_err().code(), "bad_json");
    }
}
