//! Problem details (RFC 9457): the one form in which failures leave this server.

use std::borrow::Cow;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};

use super::request_id;
use crate::auth::AuthError;
use crate::objects::ObjectError;
use crate::store::StoreError;

pub type ApiResult<T> = Result<T, ApiError>;

/// A failure as a client sees it: a status, a stable code word and a text that says what to do.
/// Never carries the source of a 5xx: that is logged where the error is made.
#[derive(Debug)]
pub struct ApiError(Box<Problem>);

#[derive(Debug)]
struct Problem {
    status: StatusCode,
    code: Cow<'static, str>,
    detail: String,
    fields: Vec<FieldProblem>,
    extra: Map<String, Value>,
    retry_after_seconds: Option<u64>,
}

/// What is wrong at one place of the request's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldProblem {
    /// Such as `records[3].skills`.
    pub path: String,
    pub message: String,
}

/// The body of every answer that is not a success (`application/problem+json`).
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ProblemBody {
    #[serde(rename = "type")]
    pub problem_type: String,
    pub title: String,
    pub status: u16,
    /// Stable word for programs.
    pub code: String,
    /// Stable number for programs: 12 is an expired token, otherwise the HTTP status.
    pub error_code: u32,
    /// What went wrong and what to do, for a person.
    pub detail: String,
    pub request_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldProblem>,
    #[serde(flatten)]
    #[schema(ignore)]
    pub extra: Map<String, Value>,
}

/// The code word of an expired token, whose number clients of the product know.
pub const TOKEN_EXPIRED: &str = "token_expired";
const TOKEN_EXPIRED_NUMBER: u32 = 12;

impl ApiError {
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem {
            status,
            code: code.into(),
            detail: detail.into(),
            fields: Vec::new(),
            extra: Map::new(),
            retry_after_seconds: None,
        }))
    }

    /// 404 for an object of this account; `what` is its kind, such as `dataset`. The code is `dataset_not_found`.
    pub fn not_found(what: &str, id: impl std::fmt::Display) -> Self {
        let code = format!("{}_not_found", what.replace(' ', "_"));
        Self::new(StatusCode::NOT_FOUND, code, format!("There is no {what} {id} in this account."))
    }

    /// 422: understood, but not acceptable.
    pub fn unprocessable(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// 409: not in the state in which the object is now.
    pub fn conflict(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 400: the request cannot be read.
    pub fn bad_request(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
    }

    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 500 without the source, which is logged here, once.
    pub fn internal(source: impl std::fmt::Display) -> Self {
        tracing::error!(request_id = request_id::current().map(String::from), error = %source, "internal error");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Something went wrong on the server. The log has the cause under this request_id.",
        )
    }

    /// Adds what is wrong at one place of the body.
    pub fn field(mut self, path: impl Into<String>, message: impl Into<String>) -> Self {
        self.0.fields.push(FieldProblem { path: path.into(), message: message.into() });
        self
    }

    /// Adds a member beside the standard ones, such as `position`.
    pub fn with(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.0.extra.insert(key.into(), value.into());
        self
    }

    /// Adds the `Retry-After` header.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.0.retry_after_seconds = Some(seconds);
        self
    }

    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    pub fn code(&self) -> &str {
        &self.0.code
    }

    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    pub fn fields(&self) -> &[FieldProblem] {
        &self.0.fields
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = *self.0;
        let error_code =
            if problem.code == TOKEN_EXPIRED { TOKEN_EXPIRED_NUMBER } else { u32::from(problem.status.as_u16()) };
        let body = ProblemBody {
            problem_type: "about:blank".to_owned(),
            title: problem.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: problem.status.as_u16(),
            code: problem.code.into_owned(),
            error_code,
            detail: problem.detail,
            request_id: request_id::current().map(String::from),
            fields: problem.fields,
            extra: problem.extra,
        };
        let mut response = (problem.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = problem.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if problem.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// An object store that is away is seldom back at once.
const OBJECT_STORE_RETRY_SECONDS: u64 = 5;

/// What a client is told when a disk is full.
pub(super) fn disk_full() -> ApiError {
    ApiError::new(
        StatusCode::INSUFFICIENT_STORAGE,
        "disk_full",
        "The server's disk is full: nothing of this request was stored. Free some space, then send it again.",
    )
    .retry_after(30)
}

/// What a client is told while files can be neither stored nor read; `what` follows "The object store".
pub(super) fn object_store_unavailable(what: &str) -> ApiError {
    ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "object_store_unavailable",
        format!(
            "The object store {what}: nothing of this request was done. Parts of uploads that have arrived are kept. \
             Send the request again in a few seconds."
        ),
    )
    .retry_after(OBJECT_STORE_RETRY_SECONDS)
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(_) => ApiError::conflict(
                "conflict",
                "Somebody else changed this at the same moment. Read it again, then repeat your change.",
            ),
            StoreError::Unavailable(source) => {
                tracing::warn!(
                    request_id = request_id::current().map(String::from),
                    error = format!("{source:#}"),
                    "the document store is unavailable"
                );
                ApiError::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "store_unavailable",
                    "The document store takes nothing at the moment: it cannot be reached, or most of its members are away (see /readyz). Send the request again in a few seconds.",
                )
                .retry_after(2)
            }
            StoreError::Full(source) => {
                tracing::error!(error = format!("{source:#}"), "the disk of the document store is full");
                disk_full()
            }
            StoreError::Invalid(text) => ApiError::bad_request("bad_request", text),
            StoreError::Corrupt(text) => ApiError::internal(text),
            StoreError::Failed(source) => ApiError::internal(format!("{source:#}")),
        }
    }
}

impl From<ObjectError> for ApiError {
    fn from(error: ObjectError) -> Self {
        match error {
            ObjectError::NotFound(key) => {
                tracing::debug!(key, "no such object");
                ApiError::new(StatusCode::NOT_FOUND, "object_not_found", "The stored file does not exist (any more).")
            }
            ObjectError::Unavailable(source) => {
                tracing::warn!(
                    request_id = request_id::current().map(String::from),
                    error = format!("{source:#}"),
                    "the object store is unavailable"
                );
                object_store_unavailable("cannot be reached at the moment")
            }
            ObjectError::Refused(source) => {
                tracing::error!(
                    request_id = request_id::current().map(String::from),
                    error = format!("{source:#}"),
                    "the object store refuses this server"
                );
                object_store_unavailable(
                    "refuses this server at the moment (its operator finds the reason with `tango doctor`)",
                )
            }
            ObjectError::Full(source) => {
                tracing::error!(error = format!("{source:#}"), "the disk of the object store is full");
                disk_full()
            }
            ObjectError::Unsupported(source) | ObjectError::Failed(source) => ApiError::internal(format!("{source:#}")),
        }
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        let detail = sentence(&error.to_string());
        match error {
            AuthError::InvalidCredentials => ApiError::new(StatusCode::UNAUTHORIZED, "invalid_credentials", detail),
            AuthError::Locked { retry_after_seconds } => {
                ApiError::new(StatusCode::LOCKED, "account_locked", detail).retry_after(retry_after_seconds)
            }
            AuthError::TooBusy => ApiError::new(StatusCode::TOO_MANY_REQUESTS, "overloaded", detail).retry_after(1),
            AuthError::TokenExpired => ApiError::new(StatusCode::UNAUTHORIZED, TOKEN_EXPIRED, detail),
            AuthError::InvalidToken => ApiError::unauthenticated(detail),
            AuthError::BadPassword(_) => ApiError::unprocessable("bad_password", detail),
            AuthError::BadUsername(_) => ApiError::unprocessable("bad_username", detail),
            AuthError::UserExists(_) => ApiError::conflict("user_exists", detail),
            AuthError::NoSuchUser(_) => ApiError::new(StatusCode::NOT_FOUND, "user_not_found", detail),
            AuthError::Store(source) => source.into(),
            AuthError::Internal(source) => ApiError::internal(format!("{source:#}")),
        }
    }
}

/// Our error texts start in lower case, to be used inside of others.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().collect::<String>()).unwrap_or_default();
    let full_stop = if text.ends_with('.') { "" } else { "." };
    format!("{first}{}{full_stop}", letters.as_str())
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn answer(error: impl Into<ApiError>) -> (Response<()>, Value) {
        let (parts, body) = error.into().into_response().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (Response::from_parts(parts, ()), serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn a_full_disk_is_507_and_worth_another_try() {
        let full = || anyhow::anyhow!("SQLITE_FULL in /secret/path");
        for error in [ApiError::from(StoreError::Full(full())), ApiError::from(ObjectError::Full(full()))] {
            let (response, body) = answer(error).await;
            assert_eq!(response.status(), StatusCode::INSUFFICIENT_STORAGE);
            assert!(response.headers().contains_key(header::RETRY_AFTER));
            assert_eq!(body["code"], "disk_full");
            assert!(!body.to_string().contains("secret"), "{body}");
        }
    }

    #[tokio::test]
    async fn an_unavailable_store_is_503_and_an_internal_error_keeps_its_source() {
        let (response, body) = answer(StoreError::Unavailable(anyhow::anyhow!("10.0.0.7 refused"))).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.headers().contains_key(header::RETRY_AFTER));
        assert_eq!(body["code"], "store_unavailable");
        for error in [ObjectError::Unavailable, ObjectError::Refused] {
            let (response, body) = answer(error(anyhow::anyhow!("https://s3.internal said no"))).await;
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(response.headers().contains_key(header::RETRY_AFTER));
            assert_eq!(body["code"], "object_store_unavailable");
            assert!(!body.to_string().contains("internal said"), "{body}");
        }
        let (response, body) = answer(StoreError::Corrupt("users/ana: bad".to_owned())).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!body.to_string().contains("ana"), "{body}");
    }
}
