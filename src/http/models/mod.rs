//! `/api/v1/models`: a predictor's trained versions.

mod activation;
mod body;
mod card;
mod quality;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use body::{ActivateBody, ModelAnswer, ModelBody, Started};
pub(super) use quality::whole_quality;

use super::error::ProblemBody;
use super::idempotency::Idempotency;
use super::json::{ApiBytes, ApiPath, ApiQuery, BodyHash, HashedJson, parse};
use super::lists::{ListBody, ListParams, ListQuery};
use super::predictors::{self, PATIENCE};
use super::{ApiError, ApiResult, AppState, Session};
use crate::domain::Timestamp;
use crate::domain::id::{AccountId, ModelId};
use crate::domain::model::{Model, ModelSettings, ModelState, ModelType};
use crate::domain::predictor::{Features, Predictor, PredictorDefinition};
use crate::domain::schema::FieldType;
use crate::jobs::enqueue;
use crate::jobs::train_model::TrainModel;
use crate::learn::{Coverage, TrainError, check_settings};
use crate::live::artifacts::{self, Part};
use crate::store::{Batch, Collection, Condition, Key, Path, Query, StoreExt, Stored};

const MAX_NAME_CHARACTERS: usize = 100;
/// Collisions with other writers after which a client is asked to try again itself.
const ATTEMPTS: usize = 5;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(create, list_of_predictor))
        .routes(routes!(list))
        .routes(routes!(show, remove))
        .routes(routes!(train))
        .routes(routes!(activate))
        .routes(routes!(deactivate))
        .routes(routes!(quality::quality))
        .routes(routes!(quality::agents))
        .routes(routes!(card::card))
        .routes(routes!(coverage))
        .routes(routes!(artifact))
}

/// The draft over all features that comes with a new predictor; composites have none.
pub(super) fn full_feature_model(predictor: &Predictor, now: Timestamp) -> Option<Model> {
    let simple = matches!(predictor.definition, PredictorDefinition::Simple { .. });
    let body = ModelBody {
        name: "All features".to_owned(),
        model_type: ModelType::Hybrid,
        features: None,
        settings: None,
        seed: None,
    };
    simple.then(|| new_model(predictor, body, now))
}

fn new_model(predictor: &Predictor, body: ModelBody, now: Timestamp) -> Model {
    Model {
        id: ModelId::generate(now),
        account_id: predictor.account_id.clone(),
        predictor_id: predictor.id.clone(),
        name: body.name,
        model_type: body.model_type,
        state: ModelState::Draft,
        version: 0,
        features: body.features,
        settings: body.settings.unwrap_or_default(),
        seed: body.seed.unwrap_or(0),
        active: false,
        share: None,
        retired_at: None,
        error: None,
        job_id: None,
        trained_on: None,
        quality: None,
        coverage: None,
        artifact: None,
        comparison: None,
        created_at: now,
        updated_at: now,
    }
}

/// Creates a model, to be trained.
#[utoipa::path(post, path = "/api/v1/predictors/{predictor}/models", tag = "models", request_body = ModelBody,
    params(("predictor" = String, Path, description = "Id or name")),
    responses(
        (status = CREATED, body = ModelAnswer),
        (status = NOT_FOUND, body = ProblemBody, description = "`predictor_not_found`"),
        (status = UNPROCESSABLE_ENTITY, body = ProblemBody,
            description = "`composite_predictor`, `bad_name`, `bad_feature`, `bad_settings`")))]
async fn create(
    State(app): State<AppState>,
    session: Session,
    ApiPath(predictor): ApiPath<String>,
    mut idem: Idempotency,
    HashedJson(body, hash): HashedJson<ModelBody>,
) -> ApiResult<Response> {
    if let Some(saved) = idem.replay(&app, &session, &hash).await? {
        return Ok(saved);
    }
    let predictor = predictors::load(&app, &session.account_id, &predictor).await?.value;
    let PredictorDefinition::Simple { features, .. } = &predictor.definition else {
        let text = "A composite predictor combines other predictors' scores and has no models of its own.";
        return Err(ApiError::unprocessable("composite_predictor", text));
    };
    let characters = body.name.trim().chars().count();
    if !(1..=MAX_NAME_CHARACTERS).contains(&characters) {
        let text = format!("A model's name has 1 to {MAX_NAME_CHARACTERS} characters.");
        return Err(ApiError::unprocessable("bad_name", text).field("name", "too short or too long"));
    }
    if let Some(chosen) = &body.features {
        check_features(chosen, features)?;
    }
    if let Some(settings) = &body.settings {
        check_model_settings(settings, body.features.as_ref().unwrap_or(features))?;
        check_order(&app, &predictor, settings).await?;
    }
    let model = new_model(&predictor, body, app.ctx.clock.now());
    let mut batch = Batch::new();
    batch.insert(&model);
    let answer = ModelAnswer::from(model);
    idem.record(&mut batch, StatusCode::CREATED, &answer);
    app.ctx.store.commit(batch).await.map_err(|error| idem.explain(error))?;
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// A model uses a part of its predictor's features, each on the side where the predictor has it.
fn check_features(chosen: &Features, all: &Features) -> ApiResult<()> {
    let sides = [
        ("context", &chosen.context, &all.context),
        ("customer", &chosen.customer, &all.customer),
        ("agent", &chosen.agent, &all.agent),
    ];
    if sides.iter().all(|(_, chosen, _)| chosen.is_empty()) {
        let text = "A model needs at least one feature: leave `features` out to use all of the predictor's.";
        return Err(ApiError::unprocessable("no_features", text).field("features", "empty"));
    }
    for (side, chosen, all) in sides {
        for (index, name) in chosen.iter().enumerate() {
            let path = format!("features.{side}[{index}]");
            if !all.contains(name) {
                let text = format!("{name} is not among the predictor's {side} features: {}.", all.join(", "));
                return Err(ApiError::unprocessable("bad_feature", text).field(path, "not a feature of the predictor"));
            }
            if chosen[..index].contains(name) {
                let text = format!("{name} is listed twice among the features.");
                return Err(ApiError::unprocessable("bad_feature", text).field(path, "twice"));
            }
        }
    }
    Ok(())
}

fn check_model_settings(settings: &ModelSettings, features: &Features) -> ApiResult<()> {
    check_settings(settings).map_err(|error| match error {
        TrainError::Unusable { code, detail } => {
            // The text begins with the setting's name, such as `settings.trees`.
            let path = detail.split(' ').next().unwrap_or("settings").to_owned();
            ApiError::unprocessable(code, format!("{detail}.")).field(path, detail)
        }
        other => ApiError::internal(other),
    })?;
    for (index, name) in settings.crosses.iter().flatten().enumerate() {
        if !features.context.contains(name) {
            let text = format!(
                "{name} cannot be crossed with the agent: it is not among the context features {}.",
                features.context.join(", ")
            );
            let path = format!("settings.crosses[{index}]");
            return Err(ApiError::unprocessable("bad_settings", text).field(path, "not a context feature"));
        }
    }
    let all = || features.context.iter().chain(&features.customer).chain(&features.agent);
    for name in settings.monotone.keys() {
        if !all().any(|feature| feature == name) {
            let text = format!(
                "{name} cannot be monotone: it is not among the model's features {}.",
                all().map(String::as_str).collect::<Vec<_>>().join(", ")
            );
            let path = format!("settings.monotone.{name}");
            return Err(ApiError::unprocessable("bad_settings", text).field(path, "not a feature"));
        }
    }
    Ok(())
}

/// Only numbers and Booleans have an order that a prediction could follow.
async fn check_order(app: &AppState, predictor: &Predictor, settings: &ModelSettings) -> ApiResult<()> {
    let PredictorDefinition::Simple { dataset_id, .. } = &predictor.definition else { return Ok(()) };
    if settings.monotone.is_empty() {
        return Ok(());
    }
    let around = predictors::surroundings::load(app, &predictor.account_id, Some(dataset_id)).await?;
    let schemas = [&around.dataset, &around.customers, &around.agents];
    for name in settings.monotone.keys() {
        // Which of them the feature is read from is the training's matter; one that nobody knows any more, too.
        let mut known = schemas.iter().filter_map(|schema| schema.field(name)).peekable();
        let is_known = known.peek().is_some();
        let ordered = |kind| matches!(kind, FieldType::Boolean | FieldType::Integer | FieldType::Float);
        if is_known && !known.any(|field| ordered(field.field_type)) {
            let text = format!("{name} cannot be monotone: it is neither a number nor Boolean. Leave it out.");
            let path = format!("settings.monotone.{name}");
            return Err(ApiError::unprocessable("bad_settings", text).field(path, "neither a number nor Boolean"));
        }
    }
    Ok(())
}

/// Filters of the list of models.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ModelFilters {
    /// Part of the name, in any case.
    contains: Option<String>,
    /// Only models of the predictor with this id.
    predictor_id: Option<String>,
    /// Only active models, or only others.
    active: Option<bool>,
}

/// Lists models by id, which is by age.
#[utoipa::path(get, path = "/api/v1/models", tag = "models", params(ListParams, ModelFilters),
    responses((status = OK, body = ListBody<ModelAnswer>)))]
async fn list(
    State(app): State<AppState>,
    session: Session,
    ListQuery(params, filters): ListQuery<ModelFilters>,
) -> ApiResult<Json<ListBody<ModelAnswer>>> {
    let mut query = Query::new(Collection::Models, session.account_id.as_str());
    if let Some(part) = filters.contains {
        query = query.filter(Condition::HasText { path: Path::key("name"), part });
    }
    if let Some(id) = filters.predictor_id {
        query = query.filter(Condition::equal(Path::key("predictor_id"), id));
    }
    if let Some(active) = filters.active {
        query = query.filter(Condition::equal(Path::key("active"), active));
    }
    page(&app, &params, query).await
}

/// Lists a predictor's models.
#[utoipa::path(get, path = "/api/v1/predictors/{predictor}/models", tag = "models",
    params(("predictor" = String, Path, description = "Id or name"), ListParams),
    responses((status = OK, body = ListBody<ModelAnswer>), (status = NOT_FOUND, body = ProblemBody)))]
async fn list_of_predictor(
    State(app): State<AppState>,
    session: Session,
    ApiPath(predictor): ApiPath<String>,
    ApiQuery(params): ApiQuery<ListParams>,
) -> ApiResult<Json<ListBody<ModelAnswer>>> {
    let predictor = predictors::load(&app, &session.account_id, &predictor).await?.value;
    let query = Query::new(Collection::Models, session.account_id.as_str())
        .filter(Condition::equal(Path::key("predictor_id"), predictor.id.as_str()));
    page(&app, &params, query).await
}

async fn page(app: &AppState, params: &ListParams, query: Query) -> ApiResult<Json<ListBody<ModelAnswer>>> {
    let query = params.apply(query, &["name", "state", "created_at", "updated_at", "retired_at"])?;
    let (models, next) = app.ctx.store.list::<Model>(&query).await?;
    Ok(Json(ListBody { items: models.into_iter().map(|model| model.value.into()).collect(), next }))
}

#[utoipa::path(get, path = "/api/v1/models/{id}", tag = "models", params(("id" = String, Path)),
    responses((status = OK, body = ModelAnswer), (status = NOT_FOUND, body = ProblemBody)))]
async fn show(
    State(app): State<AppState>,
    session: Session,
    ApiPath(id): ApiPath<String>,
) -> ApiResult<Json<ModelAnswer>> {
    Ok(Json(load(&app, &session.account_id, &id).await?.value.into()))
}

/// Deletes a model that is not active, with its artifacts.
#[utoipa::path(delete, path = "/api/v1/models/{id}", tag = "models", params(("id" = String, Path)),
    responses(
        (status = NO_CONTENT),
        (status = NOT_FOUND, body = ProblemBody),
        (status = CONFLICT, body = ProblemBody, description = "`model_active`, `already_training`")))]
async fn remove(State(app): State<AppState>, session: Session, ApiPath(id): ApiPath<String>) -> ApiResult<StatusCode> {
    let model = load(&app, &session.account_id, &id).await?;
    if model.value.active {
        let text = "The model is active: deactivate it, or activate another one, then delete it.";
        return Err(ApiError::conflict("model_active", text));
    }
    refuse_while_training(&model.value)?;
    let mut batch = Batch::new();
    predictors::delete_model(&app, &mut batch, &model).await?;
    app.ctx.store.commit(batch).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Starts a training on the dataset as it is now. An active model goes on answering until the new version is ready.
#[utoipa::path(post, path = "/api/v1/models/{id}/train", tag = "models", params(("id" = String, Path)),
    responses(
        (status = ACCEPTED, body = Started),
        (status = NOT_FOUND, body = ProblemBody),
        (status = CONFLICT, body = ProblemBody, description = "`already_training`")))]
async fn train(
    State(app): State<AppState>,
    session: Session,
    ApiPath(id): ApiPath<String>,
    mut idem: Idempotency,
    ApiBytes(bytes): ApiBytes,
) -> ApiResult<Response> {
    if let Some(saved) = idem.replay(&app, &session, &BodyHash::of(&bytes)).await? {
        return Ok(saved);
    }
    let mut model = load(&app, &session.account_id, &id).await?;
    refuse_while_training(&model.value)?;
    let mut batch = Batch::new();
    let job = TrainModel { model_id: model.value.id.clone(), activate: None };
    let mut started = Batch::new();
    let job_id = enqueue(&mut started, &app.ctx, &session.account_id, &job).map_err(ApiError::internal)?;
    let answer = Started { job_id: job_id.clone() };
    // First, so that the same request at another node is told from another training.
    idem.record(&mut batch, StatusCode::ACCEPTED, &answer);
    batch.ops.extend(started.ops);
    model.value.state = ModelState::Queued;
    model.value.error = None;
    model.value.job_id = Some(job_id);
    model.value.updated_at = app.ctx.clock.now();
    batch.replace(&model);
    app.ctx.store.commit(batch).await.map_err(|error| idem.explain(error))?;
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

pub(super) fn refuse_while_training(model: &Model) -> ApiResult<()> {
    if !matches!(model.state, ModelState::Queued | ModelState::Training) {
        return Ok(());
    }
    let job = model.job_id.as_ref().map(ToString::to_string).unwrap_or_default();
    let text = format!(
        "The model is being trained by {job}. Wait for that job, or cancel it: POST /api/v1/jobs/{job}/cancel."
    );
    Err(ApiError::conflict("already_training", text).with("job_id", job))
}

/// Lets a trained model answer score requests: alone, or for a share of them.
#[utoipa::path(post, path = "/api/v1/models/{id}/activate", tag = "models", params(("id" = String, Path)),
    request_body(content = Option<ActivateBody>),
    responses(
        (status = OK, body = ModelAnswer),
        (status = NOT_FOUND, body = ProblemBody),
        (status = CONFLICT, body = ProblemBody, description = "`not_trained`"),
        (status = UNPROCESSABLE_ENTITY, body = ProblemBody, description = "`bad_share`")))]
async fn activate(
    State(app): State<AppState>,
    session: Session,
    ApiPath(id): ApiPath<String>,
    ApiBytes(bytes): ApiBytes,
) -> ApiResult<Json<ModelAnswer>> {
    let body: ActivateBody = if bytes.is_empty() { ActivateBody::default() } else { parse(&bytes)? };
    let share = body.share.unwrap_or(1.0);
    if !(share > 0.0 && share <= 1.0) {
        let text = format!("`share` is {share}; it is above 0 and at most 1.");
        return Err(ApiError::unprocessable("bad_share", text).field("share", "above 0 and at most 1"));
    }
    let model = switch(&app, &session.account_id, &id, Some(share)).await?;
    let shows = |active: &crate::live::ActiveModel| active.id == model.id && active.version == model.version;
    app.live
        .until(&session.account_id, PATIENCE, |view| {
            view.predictor_by_id(&model.predictor_id).is_some_and(|live| live.models.iter().any(|m| shows(m)))
        })
        .await;
    Ok(Json(model.into()))
}

/// Takes a model out of service; the other active models share its requests.
#[utoipa::path(post, path = "/api/v1/models/{id}/deactivate", tag = "models", params(("id" = String, Path)),
    responses((status = OK, body = ModelAnswer), (status = NOT_FOUND, body = ProblemBody)))]
async fn deactivate(
    State(app): State<AppState>,
    session: Session,
    ApiPath(id): ApiPath<String>,
) -> ApiResult<Json<ModelAnswer>> {
    let model = switch(&app, &session.account_id, &id, None).await?;
    app.live
        .until(&session.account_id, PATIENCE, |view| {
            view.predictor_by_id(&model.predictor_id).is_none_or(|live| live.models.iter().all(|m| m.id != model.id))
        })
        .await;
    Ok(Json(model.into()))
}

/// Writes the new shares of all models of the predictor at once; reads again when somebody else was first.
async fn switch(app: &AppState, account: &AccountId, id: &str, share: Option<f64>) -> ApiResult<Model> {
    for attempt in 1.. {
        let model = load(app, account, id).await?.value;
        if share.is_some() && model.artifact.is_none() {
            let text = "The model has not been trained yet: POST /api/v1/models/{id}/train, wait for its job, then activate it.";
            return Err(ApiError::conflict("not_trained", text));
        }
        let query = Query::new(Collection::Models, account.as_str())
            .filter(Condition::equal(Path::key("predictor_id"), model.predictor_id.as_str()));
        let models = app.ctx.store.list_all::<Model>(query).await?;
        let now = app.ctx.clock.now();
        let changed = match share {
            Some(share) => activation::activated(models, &model.id, share, now),
            None => activation::deactivated(models, &model.id, now),
        };
        let mut batch = Batch::new();
        for stored in &changed {
            batch.replace(stored);
        }
        let after = changed.into_iter().map(|stored| stored.value).find(|m| m.id == model.id).unwrap_or(model);
        if batch.is_empty() {
            return Ok(after);
        }
        match app.ctx.store.commit(batch).await {
            Err(error) if error.is_conflict() && attempt < ATTEMPTS => continue,
            result => {
                result?;
                return Ok(after);
            }
        }
    }
    Err(ApiError::internal("the loop above ends by returning"))
}

/// Which agents have a local model, and why others have none.
#[utoipa::path(get, path = "/api/v1/models/{id}/coverage", tag = "models", params(("id" = String, Path)),
    responses(
        (status = OK, body = Coverage),
        (status = NOT_FOUND, body = ProblemBody),
        (status = CONFLICT, body = ProblemBody, description = "`not_trained`")))]
async fn coverage(
    State(app): State<AppState>,
    session: Session,
    ApiPath(id): ApiPath<String>,
) -> ApiResult<Json<Coverage>> {
    let model = load(&app, &session.account_id, &id).await?.value;
    Ok(Json(read_coverage(&app, &model).await?))
}

/// The list of agents that the current version's training saw.
pub(super) async fn read_coverage(app: &AppState, model: &Model) -> ApiResult<Coverage> {
    read_part(app, model, Part::Coverage).await
}

/// What a training stored beside the artifact.
pub(super) async fn read_part<T: DeserializeOwned>(app: &AppState, model: &Model, part: Part) -> ApiResult<T> {
    if model.artifact.is_none() {
        return Err(not_trained());
    }
    let bytes = artifacts::read_part(&app.ctx.store, &model.id, model.version, part).await?.ok_or_else(|| {
        let text = "This version of the model was trained before this was kept: POST /api/v1/models/{id}/train and wait for its job.";
        ApiError::conflict("trained_before", text)
    })?;
    serde_json::from_slice(&bytes).map_err(ApiError::internal)
}

/// Downloads the model's artifact: a versioned container with a checksum.
#[utoipa::path(get, path = "/api/v1/models/{id}/artifact", tag = "models", params(("id" = String, Path)),
    responses(
        (status = OK, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = NOT_FOUND, body = ProblemBody),
        (status = CONFLICT, body = ProblemBody, description = "`not_trained`")))]
async fn artifact(State(app): State<AppState>, session: Session, ApiPath(id): ApiPath<String>) -> ApiResult<Response> {
    let model = load(&app, &session.account_id, &id).await?.value;
    let Some(info) = &model.artifact else { return Err(not_trained()) };
    let digest = info.sha256.clone();
    let bytes =
        artifacts::read(&app.ctx.store, &model).await.map_err(|error| ApiError::internal(format!("{error:#}")))?;
    let name = format!("attachment; filename=\"{}-v{}.tango-model\"", model.id, model.version);
    let value = |text: &str| HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CONTENT_DISPOSITION, value(&name)),
        (HeaderName::from_static("x-content-sha256"), value(&digest)),
    ];
    Ok((headers, bytes).into_response())
}

pub(super) fn not_trained() -> ApiError {
    let text = "The model has not been trained yet: POST /api/v1/models/{id}/train and wait for its job.";
    ApiError::conflict("not_trained", text)
}

pub(super) async fn load(app: &AppState, account: &AccountId, id: &str) -> ApiResult<Stored<Model>> {
    let found = match ModelId::parse(id) {
        Ok(id) => app.ctx.store.load::<Model>(&Key::new(account.as_str(), id.as_str())).await?,
        Err(_) => None,
    };
    found.ok_or_else(|| ApiError::not_found("model", id))
}
