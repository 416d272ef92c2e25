//! `/api/v1/models/{id}/card`: the model card of the present version.

use axum::Json;
use axum::extract::State;

use super::super::error::ProblemBody;
use super::super::json::ApiPath;
use super::super::{ApiResult, AppState, Session};
use super::{load, read_part};
use crate::learn::ModelCard;
use crate::live::artifacts::Part;

/// What a person wants to know of the trained version before using it: data, features, settings, choices, measures, warnings.
/// It was written when the training ended and stays as it is.
#[utoipa::path(get, path = "/api/v1/models/{id}/card", tag = "models", params(("id" = String, Path)),
    responses(
        (status = OK, body = ModelCard),
        (status = NOT_FOUND, body = ProblemBody),
        (status = CONFLICT, body = ProblemBody, description = "`not_trained`, `trained_before`")))]
pub(super) async fn card(
    State(app): State<AppState>,
    session: Session,
    ApiPath(id): ApiPath<String>,
) -> ApiResult<Json<ModelCard>> {
    let model = load(&app, &session.account_id, &id).await?.value;
    Ok(Json(read_part(&app, &model, Part::Card).await?))
}
