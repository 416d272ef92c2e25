//! The schema of a profile: seen, replaced, accepted.

use axum::Json;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::profile::ProfileSchema;
use crate::domain::schema::{Field, FieldType, Schema};
use crate::http::{ApiError, ApiResult, AppState};
use crate::jobs::enqueue;
use crate::jobs::profile_indexes::IndexProfile;
use crate::profiles::Profile;
use crate::profiles::schema::{self, SchemaFault};
use crate::store::{Batch, Stored};

/// A profile's fields.
#[derive(Debug, Serialize, ToSchema)]
pub struct SchemaBody {
    pub version: u32,
    /// False while fields are still discovered.
    pub accepted: bool,
    pub fields: Vec<Field>,
}

/// A new list of fields.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSchema {
    pub fields: Vec<NewField>,
    /// The version that was read before: another one is refused (409), since a field that came meanwhile is not in `fields`.
    pub version: Option<u32>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewField {
    pub name: String,
    #[serde(rename = "type")]
    pub field_type: FieldType,
    pub visible: Option<bool>,
    /// Not available yet: true is refused.
    pub anonymize: Option<bool>,
}

impl From<Schema> for SchemaBody {
    fn from(schema: Schema) -> Self {
        Self { version: schema.version, accepted: schema.accepted, fields: schema.fields }
    }
}

pub async fn get(app: &AppState, profile: &Profile) -> ApiResult<Json<SchemaBody>> {
    Ok(Json(schema::load(&app.ctx.store, profile).await?.value.schema.into()))
}

pub async fn put(app: &AppState, profile: &Profile, new: NewSchema) -> ApiResult<Json<SchemaBody>> {
    let fields: Vec<Field> = new
        .fields
        .into_iter()
        .map(|new| Field {
            visible: new.visible.unwrap_or(true),
            anonymize: new.anonymize.unwrap_or(false),
            ..Field::new(new.name, new.field_type)
        })
        .collect();
    loop {
        let read = schema::load(&app.ctx.store, profile).await?;
        let now = read.value.schema.version;
        if new.version.is_some_and(|version| version != now) {
            let text = "The schema was changed by somebody else. Read it again before changing it.";
            return Err(ApiError::conflict("schema_changed", text).with("version", now));
        }
        schema::check(&app.ctx, profile, &read.value, &fields).await.map_err(refusal)?;
        let mut fields = fields.clone();
        for field in &mut fields {
            // What discovery knew stays with the field.
            if let Some(old) = read.value.schema.field(&field.name) {
                field.confidence = old.confidence;
                field.samples.clone_from(&old.samples);
            }
        }
        if let Some(body) = write(app, profile, &read, fields).await? {
            return Ok(Json(body));
        }
    }
}

pub async fn accept(app: &AppState, profile: &Profile) -> ApiResult<Json<SchemaBody>> {
    loop {
        let read = schema::load(&app.ctx.store, profile).await?;
        if read.value.schema.accepted {
            return Ok(Json(read.value.schema.into()));
        }
        let fields = read.value.schema.fields.clone();
        if let Some(body) = write(app, profile, &read, fields).await? {
            return Ok(Json(body));
        }
    }
}

/// Commits an accepted list of fields with the job that makes its indexes; `None` when somebody else was first.
async fn write(
    app: &AppState,
    profile: &Profile,
    read: &Stored<ProfileSchema>,
    fields: Vec<Field>,
) -> ApiResult<Option<SchemaBody>> {
    let mut new = read.value.clone();
    new.schema = Schema { version: read.value.schema.version + 1, accepted: true, fields };
    new.dict_keys.retain(|name, _| new.schema.field(name).is_some_and(|field| field.field_type == FieldType::Dict));
    let body = new.schema.clone().into();
    let mut batch = Batch::new();
    schema::write(&mut batch, read, new);
    let job = IndexProfile { profile: profile.clone() };
    enqueue(&mut batch, &app.ctx, &profile.account_id, &job).map_err(ApiError::internal)?;
    match app.ctx.store.commit(batch).await {
        Ok(()) => Ok(Some(body)),
        Err(error) if error.is_conflict() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn refusal(fault: SchemaFault) -> ApiError {
    match fault {
        SchemaFault::Field { index, member, reason } => {
            let path = format!("fields[{index}].{member}");
            ApiError::unprocessable("invalid_schema", format!("In {path}: {reason}.")).field(path, reason)
        }
        SchemaFault::Anonymize { index } => ApiError::unprocessable(
            "not_available",
            "Anonymising a field is not available in this version. Send the schema without `anonymize: true`, \
             and leave fields that must not be stored out of the records.",
        )
        .field(format!("fields[{index}].anonymize"), "not available in this version"),
        SchemaFault::Missing { reason } => {
            ApiError::unprocessable("invalid_schema", format!("In fields: {reason}.")).field("fields", reason)
        }
        SchemaFault::Store(error) => error.into(),
    }
}
