//! Extractors whose failures are problem details that name the place.

mod read;

use std::convert::Infallible;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use bytes::BytesMut;
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};
use utoipa::IntoParams;
use utoipa::openapi::path::Parameter;

use self::read::ReadError;
use super::{ApiError, AppState};
use crate::domain::Timestamp;
use crate::domain::profile::parse_timestamp;
use crate::unread_body;

/// A JSON body. Give body types `#[serde(deny_unknown_fields)]`: unknown fields in a write are errors.
#[derive(Debug, Clone, Copy)]
pub struct ApiJson<T>(pub T);

/// A JSON body with its hash, for endpoints that honour `Idempotency-Key`.
#[derive(Debug, Clone)]
pub struct HashedJson<T>(pub T, pub BodyHash);

/// A JSON body that its handler reads with [`parse`] or [`parse_flat`], so that what is read may borrow from it.
#[derive(Debug, Clone)]
pub struct JsonBytes(pub Bytes);

/// A body as bytes, within `max_body_bytes`.
#[derive(Debug, Clone)]
pub struct ApiBytes(pub Bytes);

/// Whether the body is said to be JSON, for handlers that look at something else before they look at that.
#[derive(Debug)]
pub struct SaysJson(pub Result<(), ApiError>);

/// Path parameters; what does not parse (a malformed id) is a 404.
#[derive(Debug, Clone, Copy)]
pub struct ApiPath<T>(pub T);

/// The query string; what does not parse is a 400 that says why.
#[derive(Debug, Clone, Copy)]
pub struct ApiQuery<T>(pub T);

/// SHA-256 of a request's body, for whoever asks for it: most requests bring no `Idempotency-Key`.
/// [`BodyHash::default`] is that of an empty body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BodyHash(Bytes);

impl BodyHash {
    pub fn of(body: &Bytes) -> Self {
        Self(body.clone())
    }

    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.0).into()
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

impl FromRequest<AppState> for JsonBytes {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &AppState) -> Result<Self, ApiError> {
        check_content_type(request.headers())?;
        let ApiBytes(bytes) = ApiBytes::from_request(request, app).await?;
        Ok(Self(bytes))
    }
}

impl FromRequest<AppState> for ApiBytes {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &AppState) -> Result<Self, ApiError> {
        let limit = app.ctx.config.limits.max_body_bytes;
        check_encoding(request.headers())?;
        if announced_bytes(request.headers()).is_some_and(|announced| announced > limit as u64) {
            return Err(too_large(limit));
        }
        let mut body = request.into_body();
        let mut pieces = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(piece) = frame.map_err(unreadable)?.into_data() else { continue };
            if pieces.len() + piece.len() > limit {
                return Err(too_large(limit));
            }
            // Most bodies come in one piece, which is taken as it is.
            if pieces.is_empty() && body.is_end_stream() {
                return Ok(Self(piece));
            }
            pieces.extend_from_slice(&piece);
        }
        Ok(Self(pieces.freeze()))
    }
}

impl FromRequestParts<AppState> for SaysJson {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Infallible> {
        Ok(Self(check_content_type(&parts.headers)))
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

impl<T: DeserializeOwned + IntoParams> FromRequestParts<AppState> for ApiQuery<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _app: &AppState) -> Result<Self, ApiError> {
        check_names(&parts.uri, || T::into_params(|| None))?;
        query(&parts.uri).map(Self)
    }
}

/// Parameters read from a query string; others in it are not looked at.
pub fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    Query::<T>::try_from_uri(uri).map(|Query(value)| value).map_err(|rejection| {
        let text = rejection.body_text();
        // "limit: invalid digit found in string"
        let reason = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
        ApiError::bad_request("bad_query", format!("The query string is not understood: {reason}."))
    })
}

/// A parameter that nobody reads is a mistake, such as a filter with a letter missing: it is named, never ignored.
pub fn check_names(uri: &Uri, known: impl FnOnce() -> Vec<Parameter>) -> Result<(), ApiError> {
    if uri.query().is_none_or(str::is_empty) {
        return Ok(());
    }
    let sent: Vec<(String, String)> = query(uri)?;
    let known = known();
    let Some((unknown, _)) = sent.iter().find(|(name, _)| known.iter().all(|parameter| parameter.name != *name)) else {
        return Ok(());
    };
    let names: Vec<&str> = known.iter().map(|parameter| parameter.name.as_str()).collect();
    let detail = format!("There is no query parameter {unknown:?} here. The known ones are {}.", names.join(", "));
    Err(ApiError::bad_request("bad_query", detail).field(unknown, "is not known"))
}

/// What a request says its body has, in bytes.
fn announced_bytes(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Bodies are read as they come.
fn check_encoding(headers: &HeaderMap) -> Result<(), ApiError> {
    match headers.get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("?")) {
        None => Ok(()),
        Some(encoding) if encoding.trim().is_empty() || encoding.trim().eq_ignore_ascii_case("identity") => Ok(()),
        Some(encoding) => Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            format!(
                "The body has Content-Encoding {encoding:?}; send it uncompressed, without that header. A compressed \
                 file can be uploaded as it is: POST /api/v1/uploads."
            ),
        )),
    }
}

/// A body that breaks off, or of which nothing comes any more.
fn unreadable(error: axum::Error) -> ApiError {
    if unread_body::is_silence(&error) {
        let seconds = unread_body::SILENCE.as_secs();
        let text = format!("Nothing of the body came for {seconds} seconds. Send the request again.");
        return ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", text);
    }
    ApiError::bad_request("bad_body", format!("The body could not be read: {error}"))
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
    if value == "application/json" {
        return Ok(());
    }
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

/// As [`parse`], for large bodies that hold no struct inside of the outermost: those are read without the detour that
/// tells lists from objects, which costs as much as parsing.
pub fn parse_flat<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, ApiError> {
    parse_part(bytes, "")
}

/// As [`parse_flat`], of a part of a body: `path` is put before the places of what is wrong.
pub fn parse_part<'a, T: Deserialize<'a>>(bytes: &'a [u8], path: &str) -> Result<T, ApiError> {
    // Read once more to say what is wrong, and where.
    read_quickly(bytes).map_or_else(|| parse_carefully(bytes, path), Ok)
}

/// As [`parse_flat`], for a `T` that keeps parts as they came: `Shape` is the same without them, and says what is wrong.
pub fn parse_outline<'a, T: Deserialize<'a>, Shape: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, ApiError> {
    read_quickly(bytes).ok_or_else(|| match parse::<Shape>(bytes) {
        Err(error) => error,
        Ok(_) => ApiError::bad_request("bad_json", "The body is not valid JSON.".to_owned()),
    })
}

fn read_quickly<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    let is_object = bytes.trim_ascii_start().first() == Some(&b'{');
    // Looked through at once, and not text by text.
    let text = std::str::from_utf8(bytes).ok().filter(|_| is_object)?;
    serde_json::from_str(text).ok()
}

/// Parses a body; the problem names the path of what is wrong.
pub fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, ApiError> {
    parse_carefully(bytes, "")
}

fn parse_carefully<'a, T: Deserialize<'a>>(bytes: &'a [u8], before: &str) -> Result<T, ApiError> {
    read::read(bytes).map_err(|error| match error {
        ReadError::Syntax(message) => {
            ApiError::bad_request("bad_json", format!("The body is not valid JSON: {message}."))
        }
        ReadError::Misfit(misfit) => {
            let path = format!("{before}{}", misfit.path());
            let path = path.trim_end_matches('.');
            let place = if path.is_empty() { "the body" } else { path };
            let detail = format!("In {place}: {}.", misfit.message);
            ApiError::unprocessable(misfit.code, detail).field(place, misfit.message)
        }
    })
}

/// For `#[serde(deserialize_with)]`: a time of a body or a query, refused with an example. RFC 3339, or as people write it:
/// a day begins at 00:00 UTC.
pub fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_timestamp(&text).ok_or_else(|| {
        let text =
            format!("{text:?} is not a time: write a day such as 2024-05-01, or a time such as 2024-05-01T08:30:00Z");
        D::Error::custom(text)
    })
}

/// [`time`] that may be null.
pub fn optional_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    struct Wrapped(Timestamp);
    impl<'de> serde::Deserialize<'de> for Wrapped {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            time(deserializer).map(Self)
        }
    }
    Ok(Option::<Wrapped>::deserialize(deserializer)?.map(|wrapped| wrapped.0))
}
