//! The client's errors, sorted by what can be done about them.

use std::error::Error;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::ObjectError;
use super::embedded::DISK_FULL;

/// How one call of the client fails.
pub(super) type CallError<E> = SdkError<E, HttpResponse>;

/// Codes of an endpoint that is addressed in the wrong way, which no other attempt changes.
const WRONGLY_ADDRESSED: [&str; 3] = ["AuthorizationHeaderMalformed", "PermanentRedirect", "TemporaryRedirect"];

/// The S3 code word of a refusal, such as `NoSuchKey`.
pub(super) fn code<E: ProvideErrorMetadata>(error: &CallError<E>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}

/// The HTTP status of an answer, if there was one.
pub(super) fn status<E>(error: &CallError<E>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

/// Sorts an error of a call about the object `key`.
pub(super) fn object_error<E>(key: &str, error: CallError<E>) -> ObjectError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let status = status(&error);
    let code = code(&error).unwrap_or_default();
    let full = status == Some(507) || matches!(code, DISK_FULL | "XMinioStorageFull" | "QuotaExceeded");
    let unsupported = status == Some(501) || matches!(code, "NotImplemented" | "MethodNotAllowed");
    let missing = status == Some(404) || matches!(code, "NoSuchKey" | "NotFound");
    let refused = matches!(status, Some(401 | 403)) || WRONGLY_ADDRESSED.contains(&code);
    let away = match &error {
        SdkError::DispatchFailure(_) | SdkError::TimeoutError(_) => true,
        // No S3 answer, or one that broke off: something else speaks in the store's place.
        SdkError::ResponseError(_) => true,
        // A bucket that is gone is no reason to believe that each object in it was deleted.
        _ => code == "NoSuchBucket" || matches!(status, Some(408 | 429 | 500 | 502 | 503 | 504)),
    };
    let told: Vec<String> = causes(&error).map(ToString::to_string).collect();
    let source = anyhow::anyhow!("{key}: {}", told.join(": "));
    match () {
        () if full => ObjectError::Full(source),
        () if away => ObjectError::Unavailable(source),
        () if missing => ObjectError::NotFound(key.to_owned()),
        () if unsupported => ObjectError::Unsupported(source),
        () if refused => ObjectError::Refused(source),
        () => ObjectError::Failed(source),
    }
}

/// An error and what is behind it, errors inside of I/O errors included.
pub(super) fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| below(*error))
}

fn below<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let inside = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    match inside {
        Some(inside) => Some(inside),
        None => error.source(),
    }
}
