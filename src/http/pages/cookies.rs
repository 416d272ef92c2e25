//! Small cookies of the pages: settings of a browser, and what the next page is to say. The session's own cookie is
//! `http::session`'s.

use axum::http::{HeaderMap, HeaderValue, header};

/// A year.
const KEPT_SECONDS: u32 = 31_536_000;

/// The value of a cookie.
pub(super) fn read<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let texts = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next()
}

/// The header value that keeps a setting; `value` consists of characters that cookies may have.
pub(super) fn keep(name: &str, value: &str, secure: bool) -> Option<HeaderValue> {
    set(name, value, KEPT_SECONDS, secure)
}

/// The header value that sets a cookie for so many seconds; 0 ends it.
pub(super) fn set(name: &str, value: &str, seconds: u32, secure: bool) -> Option<HeaderValue> {
    let secure = if secure { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    HeaderValue::from_str(&text).ok()
}
