//! Settings that change while the program runs: `/api/v1/settings`.

use axum::Json;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::ProblemBody;
use super::json::ApiJson;
use super::{ApiError, ApiResult, AppState, Session};
use crate::telemetry;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get_log_level, put_log_level))
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LogLevel {
    /// `ERROR`, `WARN`, `INFO`, `DEBUG` or `TRACE`.
    #[schema(example = "DEBUG")]
    level: String,
}

/// What is logged at present.
#[utoipa::path(get, path = "/api/v1/settings/log_level", tag = "settings", responses((status = 200, body = LogLevel)))]
async fn get_log_level(_session: Session) -> Json<LogLevel> {
    Json(LogLevel { level: telemetry::level().to_owned() })
}

/// Changes what this process logs, until it ends. Super users only.
#[utoipa::path(put, path = "/api/v1/settings/log_level", tag = "settings", request_body = LogLevel, responses(
    (status = 200, body = LogLevel),
    (status = 403, body = ProblemBody),
    (status = 422, body = ProblemBody, description = "`bad_log_level`"),
))]
async fn put_log_level(session: Session, ApiJson(body): ApiJson<LogLevel>) -> ApiResult<Json<LogLevel>> {
    session.require_super_user()?;
    telemetry::set_level(&body.level)
        .map_err(|message| ApiError::unprocessable("bad_log_level", message.clone()).field("level", message))?;
    tracing::info!(level = telemetry::level(), by = session.username, "the log level was changed");
    Ok(Json(LogLevel { level: telemetry::level().to_owned() }))
}
