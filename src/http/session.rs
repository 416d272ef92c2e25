//! Who is asking: a bearer token, or the browser's cookie.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};

use super::{ApiError, AppState};
use crate::auth::{Identity, IssuedToken};
use crate::domain::id::{AccountId, UserId};

/// Name of the browser's cookie over plain HTTP.
pub const COOKIE: &str = "tango_session";
/// Its name over TLS: browsers take it only from this very host, marked `Secure`, for every path.
pub const HOST_COOKIE: &str = "__Host-tango_session";

/// The name that counts on this server.
fn cookie_name(secure: bool) -> &'static str {
    if secure { HOST_COOKIE } else { COOKIE }
}

/// A signed-in user. As an extractor: 401 when nobody is signed in, 403 for a cookie-authenticated
/// write that did not come from our own pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub account_id: AccountId,
    pub user_id: UserId,
    pub username: String,
    /// May do everything in every account.
    pub super_user: bool,
    /// Signed in by cookie, not by bearer token.
    pub browser: bool,
}

impl FromRequestParts<AppState> for Session {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        let bearer = bearer_token(&parts.headers)?;
        let token = bearer.or_else(|| cookie_token(&parts.headers, app.secure)).ok_or_else(|| {
            ApiError::unauthenticated(
                "Sign in first: POST /api/v1/auth/login, then send `Authorization: Bearer <token>`.",
            )
        })?;
        let browser = bearer.is_none();
        if browser {
            check_origin(&parts.method, &parts.headers)?;
        }
        Ok(Session::of(app.auth.identify(token).await?, browser))
    }
}

/// Who is signed in at this browser, for pages that only show; nobody when the session has ended.
pub fn of_cookie(headers: &HeaderMap, app: &AppState) -> Option<Session> {
    let identity = app.auth.verify(cookie_token(headers, app.secure)?).ok()?;
    Some(Session::of(identity, true))
}

impl Session {
    fn of(identity: Identity, browser: bool) -> Self {
        Self {
            account_id: identity.account_id,
            user_id: identity.user_id,
            username: identity.username,
            super_user: identity.super_user,
            browser,
        }
    }

    /// 403 unless the user is a super user.
    pub fn require_super_user(&self) -> Result<(), ApiError> {
        if self.super_user {
            return Ok(());
        }
        Err(ApiError::forbidden("Only a super user may do this."))
    }
}

/// The token of a request, from its header or else its cookie.
pub fn token<'a>(headers: &'a HeaderMap, app: &AppState) -> Result<Option<&'a str>, ApiError> {
    Ok(bearer_token(headers)?.or_else(|| cookie_token(headers, app.secure)))
}

/// The header value that signs a browser in.
pub fn cookie(issued: &IssuedToken, app: &AppState) -> String {
    let secure = if app.secure { "; Secure" } else { "" };
    format!(
        "{}={}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}{secure}",
        cookie_name(app.secure),
        issued.token,
        issued.expires_in_seconds
    )
}

/// The header value that signs a browser out.
pub fn no_cookie(app: &AppState) -> String {
    let secure = if app.secure { "; Secure" } else { "" };
    format!("{}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0{secure}", cookie_name(app.secure))
}

fn bearer_token(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let bad = || ApiError::unauthenticated("The Authorization header is not of the form `Bearer <token>`.");
    let (scheme, token) = value.to_str().map_err(|_| bad())?.trim().split_once(' ').ok_or_else(bad)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(Some(token.trim())) } else { Err(bad()) }
}

/// The session cookie's value.
pub fn cookie_token(headers: &HeaderMap, secure: bool) -> Option<&str> {
    let wanted = cookie_name(secure);
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, value)| *name == wanted && !value.is_empty())
        .map(|(_, value)| value)
}

/// A browser says where a request comes from; a write by cookie must come from our own origin.
/// Browsers send `Sec-Fetch-Site` (only to trustworthy addresses) or `Origin` with every write.
pub fn check_origin(method: &Method, headers: &HeaderMap) -> Result<(), ApiError> {
    if method.is_safe() {
        return Ok(());
    }
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let same = match text(header::HeaderName::from_static("sec-fetch-site")) {
        Some(site) => site == "same-origin",
        None => match (text(header::ORIGIN), text(header::HOST)) {
            (Some(origin), Some(host)) => {
                origin.split_once("://").is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(host))
            }
            _ => false,
        },
    };
    if same {
        return Ok(());
    }
    Err(ApiError::forbidden(
        "This request comes from another site, or does not say where it comes from. \
         Use tango's own pages, or a bearer token instead of the cookie.",
    ))
}
