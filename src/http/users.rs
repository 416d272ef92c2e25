//! Who may sign in: `/api/v1/users`, for super users.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::ProblemBody;
use super::json::{ApiJson, ApiPath, ApiQuery};
use super::lists::{ListBody, ListParams};
use super::{ApiError, ApiResult, AppState, Session};
use crate::domain::Timestamp;
use crate::domain::account::User;
use crate::domain::id::UserId;
use crate::store::{Collection, Condition, Path, Query, StoreExt as _};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list, add)).routes(routes!(remove)).routes(routes!(set_password))
}

/// Somebody who signs in.
#[derive(Debug, Serialize, ToSchema)]
struct UserBody {
    id: String,
    username: String,
    /// May do everything in every account.
    super_user: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<User> for UserBody {
    fn from(user: User) -> Self {
        Self { id: user.id.into(), username: user.username, super_user: user.super_user, created_at: user.created_at }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewUser {
    /// 1 to 254 characters without blanks, such as an e-mail address; unique in the installation, whatever its case.
    username: String,
    password: String,
    #[serde(default)]
    super_user: bool,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPassword {
    new: String,
}

/// Users of the account. Super users only.
#[utoipa::path(get, path = "/api/v1/users", tag = "users", params(ListParams),
    responses((status = 200, body = ListBody<UserBody>), (status = 403, body = ProblemBody)))]
async fn list(
    State(app): State<AppState>,
    session: Session,
    ApiQuery(params): ApiQuery<ListParams>,
) -> ApiResult<Json<ListBody<UserBody>>> {
    session.require_super_user()?;
    let query = Query::new(Collection::Users, "")
        .filter(Condition::equal(Path::key("account_id"), session.account_id.as_str()));
    let query = params.apply(query, &["username", "created_at"])?;
    let (users, next) = app.ctx.store.list::<User>(&query).await?;
    Ok(Json(ListBody { items: users.into_iter().map(|stored| stored.value.into()).collect(), next }))
}

/// Adds a user to the account. Super users only.
#[utoipa::path(post, path = "/api/v1/users", tag = "users", request_body = NewUser, responses(
    (status = 201, body = UserBody),
    (status = 403, body = ProblemBody),
    (status = 409, body = ProblemBody, description = "`user_exists`"),
    (status = 422, body = ProblemBody, description = "`bad_username`, `bad_password`")))]
async fn add(State(app): State<AppState>, session: Session, ApiJson(body): ApiJson<NewUser>) -> ApiResult<Response> {
    session.require_super_user()?;
    let added = app.auth.add_user(&session.account_id, &body.username, &body.password, body.super_user).await;
    let user = added.map_err(|error| at_its_field(error.into()))?;
    tracing::info!(username = user.username, by = session.username, "a user was added");
    Ok((StatusCode::CREATED, Json(UserBody::from(user))).into_response())
}

/// Sets a user's password; every session of the user ends. Super users only.
#[utoipa::path(put, path = "/api/v1/users/{id}/password", tag = "users", params(("id" = String, Path)), request_body = NewPassword,
    responses(
        (status = 200, body = UserBody),
        (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody, description = "`user_not_found`"),
        (status = 422, body = ProblemBody, description = "`bad_password`")))]
async fn set_password(
    State(app): State<AppState>,
    session: Session,
    ApiPath(id): ApiPath<String>,
    ApiJson(body): ApiJson<NewPassword>,
) -> ApiResult<Json<UserBody>> {
    session.require_super_user()?;
    let user = find(&app, &session, &id).await?;
    let changed = app.auth.set_password(&user.username, &body.new).await;
    let user = changed.map_err(|error| at_its_field(error.into()))?;
    tracing::info!(username = user.username, by = session.username, "a user's password was set");
    Ok(Json(user.into()))
}

/// Removes a user; every session of the user ends. Super users only, and nobody removes oneself.
#[utoipa::path(delete, path = "/api/v1/users/{id}", tag = "users", params(("id" = String, Path)), responses(
    (status = 204),
    (status = 403, body = ProblemBody),
    (status = 404, body = ProblemBody, description = "`user_not_found`"),
    (status = 409, body = ProblemBody, description = "`own_user`")))]
async fn remove(State(app): State<AppState>, session: Session, ApiPath(id): ApiPath<String>) -> ApiResult<StatusCode> {
    session.require_super_user()?;
    let user = find(&app, &session, &id).await?;
    if user.id == session.user_id {
        let text = "You cannot remove yourself: another super user can.";
        return Err(ApiError::conflict("own_user", text));
    }
    app.auth.remove_user(&user.username).await?;
    tracing::info!(username = user.username, by = session.username, "a user was removed");
    Ok(StatusCode::NO_CONTENT)
}

/// A user of the session's account.
async fn find(app: &AppState, session: &Session, id: &str) -> ApiResult<User> {
    let not_found = || ApiError::not_found("user", id);
    let id = UserId::parse(id).map_err(|_| not_found())?;
    let query = Query::new(Collection::Users, "")
        .filter(Condition::equal(Path::key("account_id"), session.account_id.as_str()))
        .filter(Condition::equal(Path::key("id"), id.as_str()))
        .limit(1);
    let (mut found, _) = app.ctx.store.list::<User>(&query).await?;
    found.pop().map(|stored| stored.value).ok_or_else(not_found)
}

/// Names the member that is at fault.
fn at_its_field(error: ApiError) -> ApiError {
    let detail = error.detail().to_owned();
    match error.code() {
        "bad_username" | "user_exists" => error.field("username", detail),
        "bad_password" => error.field("password", detail),
        _ => error,
    }
}
