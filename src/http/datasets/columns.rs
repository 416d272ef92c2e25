//! `GET …/datasets/{id}/columns`: what the values of each column look like, for people who get to know their data.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{load, load_schema, problem};
use crate::domain::id::DatasetId;
use crate::domain::schema::{Field, FieldType, Role, Schema};
use crate::http::error::ProblemBody;
use crate::http::json::{ApiPath, ApiQuery};
use crate::http::{ApiError, ApiResult, AppState, Session};
use crate::jobs::dataset_reader::PinnedDataset;
use crate::learn::{ColumnSummary, PeriodSummary, describe_column, over_time};

/// A dataset with more rows is looked at by some of its segments.
const MOST_ROWS: u64 = 1_000_000;
const DEFAULT_LIMIT: usize = 25;
const MAX_LIMIT: usize = 100;
const PERIODS: usize = 24;
/// Looks that are kept; a version's data never changes.
const KEPT: u64 = 200;

/// Columns of the present version that somebody looked at lately.
#[derive(Clone)]
pub struct Looks(Cache<LookKey, Arc<Look>>);

impl Default for Looks {
    fn default() -> Self {
        Self(Cache::new(KEPT))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct LookKey {
    dataset: DatasetId,
    version: u64,
    schema_version: u32,
    columns: Vec<String>,
    target: Option<String>,
    over_time: bool,
}

struct Look {
    rows: u64,
    columns: Vec<ColumnSummary>,
    over_time: Vec<PeriodSummary>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ColumnParams {
    /// Names separated by commas; all fields of the schema, page by page, when absent.
    names: Option<String>,
    /// Part of the name, in any case.
    name: Option<String>,
    /// A numeric or Boolean field to measure each column's association with.
    target: Option<String>,
    /// Columns a page, 1 to 100; 25 when absent.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<usize>,
    /// The `next` of the page before.
    after: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ColumnBody {
    name: String,
    #[serde(rename = "type")]
    field_type: FieldType,
    role: Option<Role>,
    visible: bool,
    #[serde(flatten)]
    summary: ColumnSummary,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ColumnsBody {
    items: Vec<ColumnBody>,
    next: Option<String>,
    version: u64,
    /// Rows of the dataset; `rows` of an item is how many of them were looked at.
    rows_total: u64,
    /// Columns that there are.
    columns_total: usize,
}

/// One column, and how it went over time.
#[derive(Debug, Serialize, ToSchema)]
pub struct OneColumnBody {
    #[serde(flatten)]
    column: ColumnBody,
    /// In equal periods; empty without a timestamp field.
    over_time: Vec<PeriodSummary>,
    version: u64,
    rows_total: u64,
}

/// What the values of columns look like. Of more than 1,000,000 rows, whole segments spread over the dataset are looked at.
#[utoipa::path(get, path = "/api/v1/datasets/{id}/columns", tag = "datasets", params(("id" = String, Path), ColumnParams),
    responses((status = 200, body = ColumnsBody),
        (status = 422, body = ProblemBody, description = "`unknown_column`")))]
pub async fn list(
    State(app): State<AppState>,
    session: Session,
    ApiPath(id): ApiPath<String>,
    ApiQuery(params): ApiQuery<ColumnParams>,
) -> ApiResult<Json<ColumnsBody>> {
    let pinned = pin(&app, &session, &id).await?;
    let limit = match params.limit.unwrap_or(DEFAULT_LIMIT) {
        limit if (1..=MAX_LIMIT).contains(&limit) => limit,
        limit => {
            let text = format!("limit={limit} is not possible: a page holds 1 to {MAX_LIMIT} columns.");
            return Err(ApiError::bad_request("bad_query", text));
        }
    };
    let mut fields = chosen(&pinned.schema, params.names.as_deref())?;
    if let Some(part) = params.name.as_deref().map(str::to_lowercase) {
        fields.retain(|field| field.name.to_lowercase().contains(&part));
    }
    let columns_total = fields.len();
    let start = match &params.after {
        None => 0,
        Some(last) => fields.iter().position(|field| field.name == *last).map(|at| at + 1).ok_or_else(|| {
            ApiError::bad_request("bad_query", "`after` names no column of this list: begin with the first page.")
        })?,
    };
    let more = fields.len() > start + limit;
    let fields: Vec<Field> = fields.into_iter().skip(start).take(limit).cloned().collect();
    let target = params.target.as_deref().map(|name| field(&pinned.schema, name)).transpose()?;
    let look = look(&app, &pinned, &fields, target.map(|it| it.name.clone()), false).await?;
    let next = fields.last().filter(|_| more).map(|field| field.name.clone());
    let items = fields.into_iter().zip(&look.columns).map(|(field, summary)| body(field, summary)).collect();
    Ok(Json(ColumnsBody {
        items,
        next,
        version: pinned.version.version,
        rows_total: pinned.version.rows,
        columns_total,
    }))
}

/// What the values of one column look like, also over time.
#[utoipa::path(get, path = "/api/v1/datasets/{id}/columns/{name}", tag = "datasets",
    params(("id" = String, Path), ("name" = String, Path)),
    responses((status = 200, body = OneColumnBody), (status = 422, body = ProblemBody, description = "`unknown_column`")))]
pub async fn one(
    State(app): State<AppState>,
    session: Session,
    ApiPath((id, name)): ApiPath<(String, String)>,
) -> ApiResult<Json<OneColumnBody>> {
    let pinned = pin(&app, &session, &id).await?;
    let field = field(&pinned.schema, &name)?.clone();
    let look = look(&app, &pinned, std::slice::from_ref(&field), None, true).await?;
    let summary = look.columns.first().ok_or_else(|| ApiError::internal("a look without a column"))?;
    Ok(Json(OneColumnBody {
        column: body(field, summary),
        over_time: look.over_time.clone(),
        version: pinned.version.version,
        rows_total: pinned.version.rows,
    }))
}

async fn pin(app: &AppState, session: &Session, id: &str) -> ApiResult<PinnedDataset> {
    let dataset = load(app, session, id).await?.value;
    if dataset.version == 0 {
        // Says what the dataset is waiting for.
        load_schema(app, &dataset).await?;
        return Err(ApiError::conflict(
            "dataset_not_ready",
            "No rows are stored before the dataset's schema is accepted.",
        ));
    }
    PinnedDataset::pin(&app.ctx, &app.segments, &session.account_id, &dataset.id, None).await.map_err(problem)
}

async fn look(
    app: &AppState,
    pinned: &PinnedDataset,
    fields: &[Field],
    target: Option<String>,
    by_time: bool,
) -> ApiResult<Arc<Look>> {
    let key = LookKey {
        dataset: pinned.dataset.id.clone(),
        version: pinned.version.version,
        schema_version: pinned.schema.version,
        columns: fields.iter().map(|field| field.name.clone()).collect(),
        target: target.clone(),
        over_time: by_time,
    };
    if let Some(known) = app.looks.0.get(&key) {
        return Ok(known);
    }
    let time = pinned.schema.with_role(Role::Timestamp).filter(|_| by_time).map(|field| field.name.clone());
    let mut wanted = key.columns.clone();
    for other in [&target, &time].into_iter().flatten() {
        if !wanted.contains(other) {
            wanted.push(other.clone());
        }
    }
    let table = pinned.look(&app.ctx, &wanted, MOST_ROWS).await.map_err(problem)?;
    let names = key.columns.clone();
    let look = tokio::task::spawn_blocking(move || {
        let columns = names.iter().filter_map(|name| describe_column(&table, name, target.as_deref())).collect();
        let over_time = match (time.and_then(|time| table.column(&time)), names.first()) {
            (Some(time), Some(name)) => table.column(name).map(|column| over_time(column, time, PERIODS)),
            _ => None,
        };
        Look { rows: table.rows as u64, columns, over_time: over_time.unwrap_or_default() }
    });
    let look = Arc::new(look.await.map_err(ApiError::internal)?);
    tracing::debug!(rows = look.rows, dataset = %pinned.dataset.id, "columns were looked at");
    app.looks.0.insert(key, look.clone());
    Ok(look)
}

fn chosen<'a>(schema: &'a Schema, names: Option<&str>) -> ApiResult<Vec<&'a Field>> {
    match names {
        None => Ok(schema.fields.iter().collect()),
        Some(names) => names.split(',').map(|name| field(schema, name.trim())).collect(),
    }
}

fn field<'a>(schema: &'a Schema, name: &str) -> ApiResult<&'a Field> {
    schema.field(name).ok_or_else(|| {
        let text = format!("The dataset has no field {name:?}. See its schema for the names.");
        ApiError::unprocessable("unknown_column", text)
    })
}

fn body(field: Field, summary: &ColumnSummary) -> ColumnBody {
    ColumnBody {
        name: field.name,
        field_type: field.field_type,
        role: field.role,
        visible: field.visible,
        summary: summary.clone(),
    }
}
