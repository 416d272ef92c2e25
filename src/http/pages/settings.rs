//! `/settings`: this browser, the person's password, users, what is kept how long, and the cluster.

use axum::Router;
use axum::http::header;
use axum::routing::{get, post};
use minijinja::context;
use serde_json::{Value, json};

use super::form::{Form, Refused};
use super::language::Language;
use super::visit::{PageResult, Visit};
use crate::http::{ApiError, AppState, session};

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/settings", get(page))
        .route("/settings/password", post(password))
        .route("/settings/log_level", post(log_level))
}

async fn page(visit: Visit) -> PageResult {
    show(&visit, None).await
}

/// `refused`: one's own `password`, the new `user`, or the password of a user by id.
pub(super) async fn show(visit: &Visit, refused: Option<&Refused<'_>>) -> PageResult {
    let me = visit.get("/auth/me").await?;
    let cluster = visit.get("/cluster").await?;
    let log_level = visit.get("/settings/log_level").await?;
    let users = match visit.session.super_user {
        true => {
            visit.get(&format!("/users?{}", visit.query(&["after"], &[("limit", "50"), ("sort", "username")]))).await?
        }
        false => Value::Null,
    };
    let config = &visit.app.ctx.config;
    let kept = json!([
        ["OBJECT_GRACE_DAYS", config.object_grace_days],
        ["JOB_RETENTION_DAYS", config.job_retention_days],
        ["SCORED_CONTEXT_DAYS", config.scored_context_days],
        ["SCORE_STATISTICS_DAYS", config.score_statistics_days],
        ["SCORE_LOG_DAYS", config.score_log_days],
    ]);
    let limits = json!([
        ["MAX_UPLOAD_BYTES", config.limits.max_upload_bytes],
        ["MAX_COLUMNS", config.limits.max_columns],
        ["MAX_RECORDS_PER_CALL", config.limits.max_records_per_call],
        ["MAX_BODY_BYTES", config.limits.max_body_bytes],
        ["ADD_CARDINALITIES_EVERY_N_RECORDS", config.add_cardinalities_every_n_records],
    ]);
    let languages = Language::ALL.map(|it| json!({"code": it.code(), "name": it.name()}));
    let shown = context! {
        me, cluster, users, kept, limits, languages, log_level => log_level["level"],
        min_password => crate::auth::MIN_PASSWORD_CHARACTERS, token_hours => config.token_ttl_seconds / 3_600,
        refused => Refused::shown(refused),
    };
    visit.page_with(Refused::status(refused), "settings.html", shown).await
}

async fn password(visit: Visit, form: Form) -> PageResult {
    // A password may begin or end with a blank.
    let raw = |name: &str| form.all(name).pop().unwrap_or_default();
    if raw("new_password") != raw("new_password_again") {
        let text = visit.text("The two new passwords differ: type the same twice.").to_owned();
        return wrong(&visit, &ApiError::unprocessable("bad_password", text), &form).await;
    }
    let body = json!({"current": raw("current_password"), "new": raw("new_password")});
    match visit.post("/auth/password", &body).await {
        Ok(_) => {
            let issued =
                visit.app.auth.reissue(&visit.session.account_id, &visit.session.user_id).map_err(ApiError::from)?;
            let cookie = session::cookie(&issued, &visit.app).parse().map_err(|_| ApiError::internal("a cookie"))?;
            let mut response =
                visit.done("/settings", visit.text("The password is changed. Everywhere else you are signed out."))?;
            response.headers_mut().append(header::SET_COOKIE, cookie);
            Ok(response)
        }
        // A wrong password is no ended session.
        Err(error) if error.code() == "invalid_credentials" => {
            let text = visit.text("The current password is wrong.").to_owned();
            wrong(&visit, &ApiError::unprocessable("bad_password", text), &form).await
        }
        Err(error) => wrong(&visit, &error, &form).await,
    }
}

async fn wrong(visit: &Visit, error: &ApiError, form: &Form) -> PageResult {
    show(visit, Some(&Refused { which: "password", error, form })).await
}

async fn log_level(visit: Visit, form: Form) -> PageResult {
    let body = json!({"level": form.string("level")});
    let changed = visit.send(axum::http::Method::PUT, "/settings/log_level", &body).await;
    visit.outcome(changed, "/settings", visit.text("The log level is changed, until this process ends."))
}
