//! Signing in and out: `/api/v1/auth`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::ProblemBody;
use super::json::ApiJson;
use super::session::{self, Session};
use super::{ApiError, ApiResult, AppState};
use crate::auth::IssuedToken;
use crate::domain::Timestamp;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(login)).routes(routes!(logout)).routes(routes!(me)).routes(routes!(password))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Credentials {
    username: String,
    password: String,
    /// Names the account to work in; without it: the user's own.
    #[serde(default)]
    api_key: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct TokenBody {
    token: String,
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// Seconds.
    expires_in: i64,
}

#[derive(Debug, Serialize, ToSchema)]
struct MeBody {
    user_id: String,
    username: String,
    super_user: bool,
    account_id: String,
    account_name: String,
    #[schema(value_type = Option<String>, format = DateTime)]
    created_at: Option<Timestamp>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasswordChange {
    current: String,
    new: String,
}

impl From<IssuedToken> for TokenBody {
    fn from(issued: IssuedToken) -> Self {
        Self { token: issued.token, token_type: "Bearer", expires_in: issued.expires_in_seconds }
    }
}

/// Signs in; the token goes into `Authorization: Bearer …` of every other request.
#[utoipa::path(post, path = "/api/v1/auth/login", tag = "session", request_body = Credentials, security(()), responses(
    (status = 200, body = TokenBody),
    (status = 401, body = ProblemBody, description = "`invalid_credentials`"),
    (status = 423, body = ProblemBody, description = "`account_locked`, with Retry-After"),
    (status = 429, body = ProblemBody, description = "`overloaded`, with Retry-After"),
))]
async fn login(State(app): State<AppState>, ApiJson(body): ApiJson<Credentials>) -> ApiResult<Json<TokenBody>> {
    let issued = app.auth.login(&body.username, &body.password, body.api_key.as_deref()).await?;
    Ok(Json(issued.into()))
}

/// Ends the token that the request carries.
#[utoipa::path(post, path = "/api/v1/auth/logout", tag = "session", responses((status = 204)))]
async fn logout(State(app): State<AppState>, _session: Session, headers: HeaderMap) -> ApiResult<Response> {
    if let Some(token) = session::token(&headers, &app)? {
        app.auth.revoke(token).await?;
    }
    Ok((StatusCode::NO_CONTENT, AppendHeaders([(header::SET_COOKIE, session::no_cookie(&app))])).into_response())
}

/// Who is signed in.
#[utoipa::path(get, path = "/api/v1/auth/me", tag = "session", responses((status = 200, body = MeBody)))]
async fn me(State(app): State<AppState>, session: Session) -> ApiResult<Json<MeBody>> {
    let account = app.auth.account(&session.account_id).await?;
    Ok(Json(MeBody {
        user_id: session.user_id.into(),
        username: session.username,
        super_user: session.super_user,
        account_id: session.account_id.into(),
        account_name: account.as_ref().map(|account| account.name.clone()).unwrap_or_default(),
        created_at: account.map(|account| account.created_at),
    }))
}

/// Changes the password. Every token made before ends; the answer holds a new one.
#[utoipa::path(post, path = "/api/v1/auth/password", tag = "session", request_body = PasswordChange, responses(
    (status = 200, body = TokenBody),
    (status = 401, body = ProblemBody, description = "`invalid_credentials`: the current password is wrong"),
    (status = 422, body = ProblemBody, description = "`bad_password`"),
))]
async fn password(
    State(app): State<AppState>,
    session: Session,
    ApiJson(body): ApiJson<PasswordChange>,
) -> ApiResult<Response> {
    if body.new == body.current {
        return Err(ApiError::unprocessable("bad_password", "The new password is the current one.")
            .field("new", "is the current password"));
    }
    app.auth.change_password(&session.username, &body.current, &body.new).await?;
    let issued = app.auth.reissue(&session.account_id, &session.user_id)?;
    let cookie = session.browser.then(|| session::cookie(&issued, &app));
    let cookie = AppendHeaders(cookie.map(|cookie| (header::SET_COOKIE, cookie)));
    Ok((cookie, Json(TokenBody::from(issued))).into_response())
}
