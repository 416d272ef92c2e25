//! `…/datasets/{id}/schema`: see it, change it, accept it.

use std::collections::HashSet;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{StartedJob, load, load_schema, problem, start};
use crate::domain::dataset::{DatasetSchema, DatasetState};
use crate::domain::schema::{Field, FieldType, Role, Schema};
use crate::http::error::ProblemBody;
use crate::http::idempotency::Idempotency;
use crate::http::json::{ApiPath, BodyHash, HashedJson};
use crate::http::{ApiError, ApiResult, AppState, Session};
use crate::jobs::dataset_convert::{ConvertDataset, next_schema_version};
use crate::jobs::dataset_ingest::IngestUpload;
use crate::store::Batch;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSchema {
    /// Every field that the schema is to have.
    fields: Vec<NewField>,
    /// Present fields whose columns are to go, by name: a field that is in neither list is taken for forgotten.
    #[serde(default)]
    remove: Vec<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewField {
    name: String,
    #[serde(rename = "type")]
    field_type: FieldType,
    #[serde(default)]
    role: Option<Role>,
    #[serde(default = "yes")]
    visible: bool,
    #[serde(default)]
    anonymize: bool,
}

fn yes() -> bool {
    true
}

/// The current schema. `accepted` is false while it is a proposal.
#[utoipa::path(get, path = "/api/v1/datasets/{id}/schema", tag = "datasets", params(("id" = String, Path)),
    responses((status = 200, body = Schema), (status = 409, body = ProblemBody, description = "`no_schema`")))]
pub async fn get(
    State(app): State<AppState>,
    session: Session,
    ApiPath(id): ApiPath<String>,
) -> ApiResult<Json<Schema>> {
    let dataset = load(&app, &session, &id).await?.value;
    Ok(Json(load_schema(&app, &dataset).await?))
}

/// Makes a new version of the schema. A field is only dropped, with its values, when `remove` names it. A proposal, or a change of roles and flags, is in force at once (200);
/// other types, fields or another time field rewrite the data in a job (202).
#[utoipa::path(put, path = "/api/v1/datasets/{id}/schema", tag = "datasets", params(("id" = String, Path)),
    request_body = NewSchema,
    responses((status = 200, body = Schema), (status = 202, body = StartedJob),
        (status = 422, body = ProblemBody, description = "`missing_fields` (with `missing`), `bad_schema`, `not_available`")))]
pub async fn put(
    State(app): State<AppState>,
    session: Session,
    mut idem: Idempotency,
    ApiPath(id): ApiPath<String>,
    HashedJson(new, hash): HashedJson<NewSchema>,
) -> ApiResult<Response> {
    if let Some(saved) = idem.replay(&app, &session, &hash).await? {
        return Ok(saved);
    }
    let mut dataset = load(&app, &session, &id).await?;
    let before = load_schema(&app, &dataset.value).await?;
    let has_data = match dataset.value.state {
        DatasetState::Ready => true,
        DatasetState::AwaitingSchema => false,
        DatasetState::Discovering | DatasetState::Failed => {
            return Err(ApiError::conflict(
                "dataset_not_ready",
                "The schema can be changed once the dataset's first upload has been read.",
            ));
        }
    };
    check_removed(&before, &new)?;
    let fields = check(&before, new.fields, has_data)?;
    if has_data && needs_conversion(&before.fields, &fields) {
        let job = ConvertDataset { dataset_id: dataset.value.id.clone(), fields };
        return Ok(start(&app, &session, &mut idem, Batch::new(), &job).await?.into_response());
    }
    let now = app.ctx.clock.now();
    let version = next_schema_version(&app.ctx, &dataset.value.id).await.map_err(problem)?;
    let schema = Schema { version, accepted: has_data, fields };
    let mut batch = Batch::new();
    let stored = DatasetSchema { dataset_id: dataset.value.id.clone(), schema, created_at: now };
    batch.insert(&stored);
    dataset.value.schema_version = version;
    dataset.value.updated_at = now;
    batch.replace(&dataset);
    idem.record(&mut batch, StatusCode::OK, &stored.schema);
    app.ctx.store.commit(batch).await.map_err(|error| idem.explain(error))?;
    Ok(Json(stored.schema).into_response())
}

/// Accepts the proposed schema and ingests the first upload by it.
#[utoipa::path(post, path = "/api/v1/datasets/{id}/schema/accept", tag = "datasets", params(("id" = String, Path)),
    responses((status = 202, body = StartedJob),
        (status = 409, body = ProblemBody, description = "`schema_already_accepted`, `dataset_not_ready`")))]
pub async fn accept(
    State(app): State<AppState>,
    session: Session,
    mut idem: Idempotency,
    ApiPath(id): ApiPath<String>,
) -> ApiResult<Response> {
    if let Some(saved) = idem.replay(&app, &session, &BodyHash::default()).await? {
        return Ok(saved);
    }
    let mut dataset = load(&app, &session, &id).await?;
    let upload = match (dataset.value.state, dataset.value.pending_upload.clone()) {
        (DatasetState::AwaitingSchema, Some(upload)) => upload,
        (DatasetState::Ready, _) => {
            return Err(ApiError::conflict("schema_already_accepted", "The schema was accepted before."));
        }
        _ => {
            return Err(ApiError::conflict(
                "dataset_not_ready",
                "There is no schema to accept: the dataset's first upload is being read, or could not be.",
            ));
        }
    };
    let mut schema = load_schema(&app, &dataset.value).await?;
    schema.accepted = true;
    let now = app.ctx.clock.now();
    let mut batch = Batch::new();
    let dataset_id = dataset.value.id.clone();
    batch.put(&DatasetSchema { dataset_id: dataset_id.clone(), schema, created_at: now });
    dataset.value.state = DatasetState::Discovering;
    dataset.value.updated_at = now;
    batch.replace(&dataset);
    let job = IngestUpload { dataset_id, upload_id: upload };
    Ok(start(&app, &session, &mut idem, batch, &job).await?.into_response())
}

/// Whether stored segments no longer fit: other columns, other types, or sorted by another time.
fn needs_conversion(before: &[Field], after: &[Field]) -> bool {
    let columns = |fields: &[Field]| -> HashSet<(String, FieldType)> {
        fields.iter().map(|field| (field.name.clone(), field.field_type)).collect()
    };
    let time = |fields: &[Field]| {
        fields.iter().find(|field| field.role == Some(Role::Timestamp)).map(|field| field.name.clone())
    };
    columns(before) != columns(after) || time(before) != time(after)
}

/// A column goes only when that is said: one that is left out may have been forgotten, or renamed.
fn check_removed(before: &Schema, new: &NewSchema) -> ApiResult<()> {
    for (index, name) in new.remove.iter().enumerate() {
        let message = if before.field(name).is_none() {
            "the schema has no such field"
        } else if new.fields.iter().any(|field| field.name == *name) {
            "the field is among `fields`, too: leave it out of one of the two"
        } else {
            continue;
        };
        let path = format!("remove[{index}]");
        return Err(ApiError::unprocessable("bad_schema", format!("Field {name:?}: {message}.")).field(path, message));
    }
    let kept = |name: &String| new.remove.contains(name) || new.fields.iter().any(|field| field.name == *name);
    let missing: Vec<&str> =
        before.fields.iter().map(|field| &field.name).filter(|name| !kept(name)).map(String::as_str).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let listed: Vec<String> = missing.iter().map(|name| format!("{name:?}")).collect();
    let detail = format!(
        "`fields` leaves out {}, and with a field go its values. Add what is to stay; name what is to go in `remove`. \
         A field cannot be renamed: its column would be dropped and an empty one added.",
        listed.join(", ")
    );
    Err(ApiError::unprocessable("missing_fields", detail)
        .field("fields", format!("leaves out {}", listed.join(", ")))
        .with("missing", missing))
}

fn check(before: &Schema, new: Vec<NewField>, has_data: bool) -> ApiResult<Vec<Field>> {
    if new.is_empty() {
        return Err(
            ApiError::unprocessable("bad_schema", "A schema has at least one field.").field("fields", "is empty")
        );
    }
    let mut names = HashSet::new();
    let mut single: HashSet<Role> = HashSet::new();
    let mut fields = Vec::with_capacity(new.len());
    for (index, field) in new.into_iter().enumerate() {
        let refuse = |code: &'static str, part: &str, message: String| {
            let path = format!("fields[{index}].{part}");
            Err(ApiError::unprocessable(code, format!("Field {:?}: {message}.", field.name)).field(path, message))
        };
        if field.anonymize {
            return refuse("not_available", "anonymize", "anonymizing is not available in this version".into());
        }
        if field.name.trim().is_empty() {
            return refuse("bad_schema", "name", "a field needs a name".into());
        }
        if !names.insert(field.name.clone()) {
            return refuse("bad_schema", "name", "the name is there twice".into());
        }
        let known = before.field(&field.name);
        if known.is_none() && !has_data {
            return refuse("bad_schema", "name", "the uploaded file has no such column".into());
        }
        if let Some(role @ (Role::Timestamp | Role::AgentId | Role::CustomerId)) = field.role
            && !single.insert(role)
        {
            return refuse("bad_schema", "role", "another field has this role already; only one can have it".into());
        }
        if field.role == Some(Role::Timestamp) && field.field_type != FieldType::Timestamp {
            return refuse("bad_schema", "role", "the field with role timestamp must have type Timestamp".into());
        }
        let role = field.role.or(known.and_then(|known| known.role));
        let role = role.filter(|role| *role != Role::Timestamp || field.field_type == FieldType::Timestamp);
        fields.push(Field {
            role,
            visible: field.visible,
            anonymize: false,
            confidence: known.filter(|known| known.field_type == field.field_type).and_then(|known| known.confidence),
            samples: known.map(|known| known.samples.clone()).unwrap_or_default(),
            ..Field::new(field.name, field.field_type)
        });
    }
    Ok(fields)
}
