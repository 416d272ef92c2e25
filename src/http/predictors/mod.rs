//! `/api/v1/predictors`: what is to be predicted, from which data, for whom.

mod body;
pub(super) mod check;
pub(super) mod surroundings;

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use body::{PredictorAnswer, PredictorBody};

use super::error::ProblemBody;
use super::idempotency::Idempotency;
use super::json::{ApiJson, ApiPath, HashedJson};
use super::lists::{ListBody, ListParams, ListQuery};
use super::models::{full_feature_model, refuse_while_training};
use super::{ApiError, ApiResult, AppState, Session};
use crate::domain::id::{AccountId, ModelId, PredictorId};
use crate::domain::model::Model;
use crate::domain::predictor::{Predictor, PredictorDefinition};
use crate::domain::rotation::Rotation;
use crate::expression::Expression;
use crate::live::artifacts;
use crate::store::{Batch, Collection, Condition, Key, Op, Path, Query, StoreError, StoreExt, Stored};

/// How long a write waits for this node's own memory to show it.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Collisions with other writers after which a client is asked to try again itself.
const ATTEMPTS: usize = 5;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(show, replace, remove))
}

/// Creates a predictor and, for a simple one, a draft model over all its features.
#[utoipa::path(post, path = "/api/v1/predictors", tag = "predictors", request_body = PredictorBody,
    responses(
        (status = CREATED, body = PredictorAnswer),
        (status = NOT_FOUND, body = ProblemBody, description = "`dataset_not_found`"),
        (status = CONFLICT, body = ProblemBody, description = "`name_taken`, `dataset_not_ready`"),
        (status = UNPROCESSABLE_ENTITY, body = ProblemBody,
            description = "`bad_name`, `bad_rotation`, `missing_field`, `one_class`, `bad_metric`, `bad_feature`, `bad_expression`, …")))]
async fn create(
    State(app): State<AppState>,
    session: Session,
    mut idem: Idempotency,
    HashedJson(body, hash): HashedJson<PredictorBody>,
) -> ApiResult<Response> {
    if let Some(saved) = idem.replay(&app, &session, &hash).await? {
        return Ok(saved);
    }
    let rotation = checked_rotation(&body)?;
    let (name, definition, warnings) = define(&app, &session.account_id, None, body).await?;
    let now = app.ctx.clock.now();
    let predictor = Predictor {
        id: PredictorId::generate(now),
        account_id: session.account_id.clone(),
        name,
        definition,
        rotation,
        created_at: now,
        updated_at: now,
    };
    let mut answer = PredictorAnswer::new(predictor.clone(), Vec::new());
    answer.warnings = warnings;
    let mut batch = Batch::new();
    // First, so that the same request at another node is told from another request for the same name.
    idem.record(&mut batch, StatusCode::CREATED, &answer);
    let name_at = batch.len();
    reserve_name(&mut batch, &predictor);
    batch.insert(&predictor);
    if let Some(model) = full_feature_model(&predictor, now) {
        batch.insert(&model);
    }
    app.ctx.store.commit(batch).await.map_err(|error| match error {
        StoreError::Conflict(conflict) if conflict.op == name_at => name_taken(&predictor.name),
        other => idem.explain(other),
    })?;
    app.live.until(&session.account_id, PATIENCE, |view| view.predictor_by_id(&predictor.id).is_some()).await;
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

fn checked_rotation(body: &PredictorBody) -> ApiResult<Rotation> {
    if body.combine.is_some() && body.rotation != Rotation::Share {
        let text =
            "A composite predictor has no models of its own: set the rotation of the predictors that it combines.";
        return Err(ApiError::unprocessable("bad_rotation", text).field("rotation", "not for composite predictors"));
    }
    body.rotation.check().map_err(|reason| {
        ApiError::unprocessable("bad_rotation", format!("`rotation`: {reason}.")).field("rotation", reason)
    })?;
    Ok(body.rotation.clone())
}

/// Filters of the list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PredictorFilters {
    /// The whole name.
    name: Option<String>,
    /// Part of the name, in any case.
    contains: Option<String>,
    /// Only predictors that learn from the dataset with this id.
    dataset_id: Option<String>,
}

/// Lists predictors by id, which is by age.
#[utoipa::path(get, path = "/api/v1/predictors", tag = "predictors", params(ListParams, PredictorFilters),
    responses((status = OK, body = ListBody<PredictorAnswer>)))]
async fn list(
    State(app): State<AppState>,
    session: Session,
    ListQuery(params, filters): ListQuery<PredictorFilters>,
) -> ApiResult<Json<ListBody<PredictorAnswer>>> {
    let mut query = Query::new(Collection::Predictors, session.account_id.as_str());
    if let Some(name) = filters.name {
        query = query.filter(Condition::equal(Path::key("name"), name));
    }
    if let Some(part) = filters.contains {
        query = query.filter(Condition::HasText { path: Path::key("name"), part });
    }
    if let Some(dataset) = filters.dataset_id {
        query = query.filter(Condition::equal(Path::new(["definition", "dataset_id"]), dataset));
    }
    let query = params.apply(query, &["name", "created_at", "updated_at"])?;
    let (page, next) = app.ctx.store.list::<Predictor>(&query).await?;
    let active = active_models(&app, &session.account_id).await?;
    let items = page
        .into_iter()
        .map(|stored| {
            let of_it = active.iter().filter(|(predictor, _)| *predictor == stored.value.id);
            let models = of_it.map(|(_, model)| model.clone()).collect();
            PredictorAnswer::new(stored.value, models)
        })
        .collect();
    Ok(Json(ListBody { items, next }))
}

#[utoipa::path(get, path = "/api/v1/predictors/{predictor}", tag = "predictors",
    params(("predictor" = String, Path, description = "Id or name")),
    responses((status = OK, body = PredictorAnswer), (status = NOT_FOUND, body = ProblemBody)))]
async fn show(
    State(app): State<AppState>,
    session: Session,
    ApiPath(id_or_name): ApiPath<String>,
) -> ApiResult<Json<PredictorAnswer>> {
    let predictor = load(&app, &session.account_id, &id_or_name).await?.value;
    let active = models_of(&app, &predictor).await?;
    let active = active.into_iter().filter(|model| model.value.active).map(|model| model.value.id).collect();
    Ok(Json(PredictorAnswer::new(predictor, active)))
}

/// Replaces the definition. Once models exist that were trained, dataset, metric and sources stay as they are.
#[utoipa::path(put, path = "/api/v1/predictors/{predictor}", tag = "predictors",
    params(("predictor" = String, Path, description = "Id or name")), request_body = PredictorBody,
    responses(
        (status = OK, body = PredictorAnswer),
        (status = NOT_FOUND, body = ProblemBody),
        (status = CONFLICT, body = ProblemBody, description = "`name_taken`, `predictor_in_use`, `predictor_has_models`"),
        (status = UNPROCESSABLE_ENTITY, body = ProblemBody)))]
async fn replace(
    State(app): State<AppState>,
    session: Session,
    ApiPath(id_or_name): ApiPath<String>,
    ApiJson(body): ApiJson<PredictorBody>,
) -> ApiResult<Json<PredictorAnswer>> {
    let mut stored = load(&app, &session.account_id, &id_or_name).await?;
    let rotation = checked_rotation(&body)?;
    let (name, definition, warnings) = define(&app, &session.account_id, Some(&stored.value), body).await?;
    let models = models_of(&app, &stored.value).await?;
    if models.iter().any(|model| model.value.version > 0) && learns_otherwise(&stored.value.definition, &definition) {
        let text = "Models of this predictor are trained for its dataset, metric and sources. Create another predictor \
                    for other ones, or delete the models first.";
        return Err(ApiError::conflict("predictor_has_models", text));
    }
    let before = stored.value.clone();
    stored.value.definition = definition;
    stored.value.rotation = rotation;
    stored.value.name = name;
    stored.value.updated_at = app.ctx.clock.now();
    let mut batch = Batch::new();
    if before.name != stored.value.name {
        refuse_while_combined(&app, &before).await?;
        reserve_name(&mut batch, &stored.value);
        batch.push(Op::Delete { collection: Collection::Meta, key: name_key(&before), revision: None });
    }
    let renamed = !batch.is_empty();
    batch.replace(&stored);
    app.ctx.store.commit(batch).await.map_err(|error| match error {
        StoreError::Conflict(conflict) if renamed && conflict.op == 0 => name_taken(&stored.value.name),
        other => other.into(),
    })?;
    let wanted = &stored.value;
    let shows = |predictor: &Predictor| predictor.updated_at == wanted.updated_at;
    app.live
        .until(&session.account_id, PATIENCE, |view| {
            view.predictor_by_id(&wanted.id).is_some_and(|p| shows(&p.predictor))
        })
        .await;
    let active = models.into_iter().filter(|model| model.value.active).map(|model| model.value.id).collect();
    let mut answer = PredictorAnswer::new(stored.value, active);
    answer.warnings = warnings;
    Ok(Json(answer))
}

/// Deletes a predictor with its models and their artifacts.
#[utoipa::path(delete, path = "/api/v1/predictors/{predictor}", tag = "predictors",
    params(("predictor" = String, Path, description = "Id or name")),
    responses(
        (status = NO_CONTENT),
        (status = NOT_FOUND, body = ProblemBody),
        (status = CONFLICT, body = ProblemBody, description = "`predictor_in_use`, `already_training`")))]
async fn remove(
    State(app): State<AppState>,
    session: Session,
    ApiPath(id_or_name): ApiPath<String>,
) -> ApiResult<StatusCode> {
    for attempt in 1.. {
        let stored = load(&app, &session.account_id, &id_or_name).await?;
        refuse_while_combined(&app, &stored.value).await?;
        let mut batch = Batch::new();
        batch.delete(&stored);
        batch.push(Op::Delete { collection: Collection::Meta, key: name_key(&stored.value), revision: None });
        for model in models_of(&app, &stored.value).await? {
            refuse_while_training(&model.value)?;
            delete_model(&app, &mut batch, &model).await?;
        }
        match app.ctx.store.commit(batch).await {
            // A training may have just moved one of the models on.
            Err(error) if error.is_conflict() && attempt < ATTEMPTS => continue,
            result => result?,
        }
        let gone = &stored.value.id;
        app.live.until(&session.account_id, PATIENCE, |view| view.predictor_by_id(gone).is_none()).await;
        break;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Adds the end of a model and of its artifacts to a batch.
pub(super) async fn delete_model(app: &AppState, batch: &mut Batch, model: &Stored<Model>) -> ApiResult<()> {
    batch.delete(model);
    let scope = artifacts::chunk_scope(&model.value.id);
    for id in app.ctx.store.list_blobs(&scope).await? {
        batch.push(Op::DeleteBlob { key: Key::new(scope.clone(), id) });
    }
    Ok(())
}

/// By id or by name, from the store: what was just written is found at once, on any node.
pub(super) async fn load(app: &AppState, account: &AccountId, id_or_name: &str) -> ApiResult<Stored<Predictor>> {
    let by_id = match PredictorId::parse(id_or_name) {
        Ok(id) => app.ctx.store.load::<Predictor>(&Key::new(account.as_str(), id.as_str())).await?,
        Err(_) => None,
    };
    if let Some(stored) = by_id {
        return Ok(stored);
    }
    let query = Query::new(Collection::Predictors, account.as_str())
        .filter(Condition::equal(Path::key("name"), id_or_name))
        .limit(1);
    let (mut found, _) = app.ctx.store.list::<Predictor>(&query).await?;
    found.pop().ok_or_else(|| ApiError::not_found("predictor", id_or_name))
}

/// Every model of a predictor.
pub(super) async fn models_of(app: &AppState, predictor: &Predictor) -> ApiResult<Vec<Stored<Model>>> {
    let query = Query::new(Collection::Models, predictor.account_id.as_str())
        .filter(Condition::equal(Path::key("predictor_id"), predictor.id.as_str()));
    Ok(app.ctx.store.list_all::<Model>(query).await?)
}

async fn active_models(app: &AppState, account: &AccountId) -> ApiResult<Vec<(PredictorId, ModelId)>> {
    let query = Query::new(Collection::Models, account.as_str()).filter(Condition::equal(Path::key("active"), true));
    let models = app.ctx.store.list_all::<Model>(query).await?;
    Ok(models.into_iter().map(|model| (model.value.predictor_id, model.value.id)).collect())
}

/// Checks a body and makes a definition of it. `before` is what it replaces.
async fn define(
    app: &AppState,
    account: &AccountId,
    before: Option<&Predictor>,
    body: PredictorBody,
) -> ApiResult<(String, PredictorDefinition, Vec<String>)> {
    check::name(&body.name)?;
    let name = body.name.clone();
    let Some(text) = body.combine.clone() else {
        let dataset = body.dataset_id.clone();
        let around = surroundings::load(app, account, dataset.as_ref()).await?;
        let (definition, warnings) = check::simple(body, &around)?;
        return Ok((name, definition, warnings));
    };
    let simple_member = [
        ("dataset_id", body.dataset_id.is_some()),
        ("from", body.from.is_some()),
        ("to", body.to.is_some()),
        ("metric", body.metric.is_some()),
        ("agent_source", body.agent_source.is_some()),
        ("customer_source", body.customer_source.is_some()),
        ("features", body.features.is_some()),
        ("score_expression", body.score_expression.is_some()),
    ];
    if let Some((member, _)) = simple_member.into_iter().find(|(_, given)| *given) {
        let text = format!("A composite predictor has `combine` and no {member}: leave one of the two out.");
        return Err(ApiError::unprocessable("invalid_body", text).field(member, "not with `combine`"));
    }
    let all = Query::new(Collection::Predictors, account.as_str());
    let others = app.ctx.store.list_all::<Predictor>(all).await?;
    let simple: Vec<_> = others
        .into_iter()
        .filter(|other| before.is_none_or(|before| before.id != other.value.id))
        .filter_map(|other| match other.value.definition {
            PredictorDefinition::Simple { metric, score_expression, .. } => {
                Some((other.value.name, check::score_range(&metric, score_expression.as_deref())))
            }
            PredictorDefinition::Composite { .. } => None,
        })
        .collect();
    check::combine(&text, &simple)?;
    Ok((name, PredictorDefinition::Composite { combine: text }, Vec::new()))
}

/// True when models that were trained for the one cannot serve the other.
fn learns_otherwise(one: &PredictorDefinition, other: &PredictorDefinition) -> bool {
    use PredictorDefinition::{Composite, Simple};
    match (one, other) {
        (
            Simple { dataset_id, metric, agent_source, customer_source, .. },
            Simple { dataset_id: d, metric: m, agent_source: a, customer_source: c, .. },
        ) => (dataset_id, metric, agent_source, customer_source) != (d, m, a, c),
        (Composite { .. }, Composite { .. }) => false,
        _ => true,
    }
}

/// A composite names its parts: they can neither go nor change their name while it does.
async fn refuse_while_combined(app: &AppState, predictor: &Predictor) -> ApiResult<()> {
    let all = Query::new(Collection::Predictors, predictor.account_id.as_str());
    for other in app.ctx.store.list_all::<Predictor>(all).await? {
        let PredictorDefinition::Composite { combine } = &other.value.definition else { continue };
        let uses = Expression::parse(combine).is_ok_and(|parsed| parsed.names().contains(&predictor.name.as_str()));
        if uses {
            let text = format!(
                "The composite predictor {} combines {}. Change or delete it first.",
                other.value.name, predictor.name
            );
            return Err(ApiError::conflict("predictor_in_use", text));
        }
    }
    Ok(())
}

/// The document whose existence makes a name taken: two requests cannot both insert it.
fn name_key(predictor: &Predictor) -> Key {
    Key::new(predictor.account_id.as_str(), format!("predictor_name/{}", predictor.name))
}

/// Must be the first operation of its batch, so that its conflict is told apart.
fn reserve_name(batch: &mut Batch, predictor: &Predictor) {
    let body = serde_json::json!({ "predictor_id": predictor.id }).to_string();
    batch.push(Op::Insert { collection: Collection::Meta, key: name_key(predictor), body });
}

fn name_taken(name: &str) -> ApiError {
    let text = format!("There is another predictor {name} in this account. Choose another name.");
    ApiError::conflict("name_taken", text).field("name", "taken")
}
