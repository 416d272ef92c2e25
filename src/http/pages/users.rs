//! Users in `/settings`: add somebody, set a password, remove somebody.

use axum::Router;
use axum::extract::Path;
use axum::http::Method;
use axum::routing::post;
use serde_json::{Value, json};

use super::form::{Form, Refused};
use super::settings;
use super::visit::{PageResult, Visit, segment};
use crate::http::AppState;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/settings/users", post(add))
        .route("/settings/users/{id}/password", post(set_password))
        .route("/settings/users/{id}/remove", post(remove))
}

/// Where forms come back to.
const HERE: &str = "/settings#users-title";

async fn add(visit: Visit, form: Form) -> PageResult {
    let body = json!({
        "username": form.string("username"), "password": password(&form), "super_user": form.has("super_user"),
    });
    match visit.post("/users", &body).await {
        Ok(user) => {
            let name = user["username"].as_str().unwrap_or_default();
            visit.done(HERE, &visit.text("{name} can sign in now.").replace("{name}", name))
        }
        Err(error) => settings::show(&visit, Some(&Refused { which: "user", error: &error, form: &form })).await,
    }
}

async fn set_password(visit: Visit, Path(id): Path<String>, form: Form) -> PageResult {
    let path = format!("/users/{}/password", segment(&id));
    match visit.send(Method::PUT, &path, &json!({"new": password(&form)})).await {
        Ok(_) => visit.done(HERE, visit.text("The password is set; earlier sessions of that user have ended.")),
        Err(error) => settings::show(&visit, Some(&Refused { which: &id, error: &error, form: &form })).await,
    }
}

async fn remove(visit: Visit, Path(id): Path<String>) -> PageResult {
    let removed = visit.send(Method::DELETE, &format!("/users/{}", segment(&id)), &Value::Null).await;
    visit.outcome(removed, HERE, visit.text("The user is removed; its sessions have ended."))
}

/// As it was typed: it may begin or end with a blank.
fn password(form: &Form) -> String {
    form.all("new_password").pop().unwrap_or_default()
}
