//! `/home/datasets/{id}/schema`: the fields that were found in a file, before a person accepts them.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;

use super::own_api::call;
use super::{render, signed_in};
use crate::domain::schema::{Field, FieldType, Role, Schema};
use crate::http::{ApiError, ApiResult, AppState, Session};

#[derive(Template)]
#[template(path = "schema.html")]
struct SchemaPage<'a> {
    id: &'a str,
    dataset: &'a str,
    username: &'a str,
    version: u32,
    /// The dataset waits for the schema to be accepted.
    waits: bool,
    fields: Vec<FieldRow>,
}

struct FieldRow {
    name: String,
    field_type: &'static str,
    role: &'static str,
    samples: Vec<String>,
}

pub(super) async fn page(
    State(app): State<AppState>,
    session: ApiResult<Session>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    signed_in(session, |session| async move { read(&app, &session, &headers, &id).await }).await
}

async fn read(app: &AppState, session: &Session, headers: &HeaderMap, id: &str) -> ApiResult<Response> {
    let get = async |path: String| call(app, headers, Method::GET, &path, "application/json", String::new()).await;
    let dataset = get(format!("/datasets/{id}")).await?;
    let schema = get(format!("/datasets/{id}/schema")).await?;
    let schema: Schema = serde_json::from_value(schema).map_err(ApiError::internal)?;
    let page = SchemaPage {
        id,
        dataset: dataset["name"].as_str().unwrap_or_default(),
        username: &session.username,
        version: schema.version,
        waits: dataset["state"] == "awaiting_schema",
        fields: schema.fields.into_iter().map(field_row).collect(),
    };
    Ok(render(StatusCode::OK, &page))
}

fn field_row(field: Field) -> FieldRow {
    let field_type = match field.field_type {
        FieldType::Boolean => "yes or no",
        FieldType::Integer => "whole number",
        FieldType::Float => "number",
        FieldType::String => "text",
        FieldType::Timestamp => "time",
        FieldType::List => "list of texts",
        FieldType::Dict => "names with values",
    };
    let role = match field.role {
        Some(Role::Context) => "known before routing",
        Some(Role::Customer) => "about the customer",
        Some(Role::Agent) => "about the agent",
        Some(Role::AgentId) => "the agent's id",
        Some(Role::CustomerId) => "the customer's id",
        Some(Role::Timestamp) => "when it happened",
        Some(Role::Metric) => "the outcome",
        Some(Role::Ignored) => "not used",
        None => "",
    };
    FieldRow { name: field.name, field_type, role, samples: field.samples }
}
