//! `GET …/datasets/{id}/rows`: pages of rows, found by what the segments' directories know.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderName;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::row_filter::{SplitFilter, row_json, split};
use super::{load, load_schema, problem};
use crate::domain::Timestamp;
use crate::domain::schema::Schema;
use crate::http::error::ProblemBody;
use crate::http::json::{ApiPath, ApiQuery, optional_time};
use crate::http::{ApiError, ApiResult, AppState, Session};
use crate::ingest::{CachedFooters, IngestError, ReadCost, RowCursor, RowPage, read_rows};
use crate::jobs::dataset_objects::{ObjectSegmentSource, blocking, job_error};
use crate::jobs::dataset_reader::PinnedDataset;

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 500;
/// Rows read at a time when a part of the filter is evaluated here.
const CHUNK_ROWS: usize = 5_000;
/// A request looks at about so many rows; then the page ends with what was found, and a cursor.
const MAX_EXAMINED: u64 = 2_000_000;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RowParams {
    /// In the filter language, such as `customer_id="c-7" & duration>60`.
    filter: Option<String>,
    /// Names separated by commas; all visible fields when absent.
    columns: Option<String>,
    /// Rows from then on: a day, which begins at 00:00 UTC, or a time (RFC 3339).
    #[serde(default, deserialize_with = "optional_time")]
    #[param(value_type = Option<String>, example = "2026-01-31")]
    from: Option<Timestamp>,
    /// Rows before then.
    #[serde(default, deserialize_with = "optional_time")]
    #[param(value_type = Option<String>, example = "2026-01-31")]
    to: Option<Timestamp>,
    /// Rows a page, 1 to 500; 100 when absent.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// A page of rows with what it cost to find them.
#[derive(Debug, Serialize, ToSchema)]
pub struct RowsBody {
    #[schema(value_type = Vec<Object>)]
    items: Vec<Map<String, Value>>,
    /// Pages go on in the version that the first one saw.
    next: Option<String>,
    version: u64,
    cost: CostBody,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CostBody {
    /// Read from the object store; footers of segments stay in memory for later requests.
    bytes_read: u64,
    reads: u64,
    segments_opened: u64,
    segments_pruned: u64,
    rows_examined: u64,
    /// Bytes of the whole dataset, to compare with.
    bytes_total: u64,
}

/// Where a page ended.
#[derive(Debug, Serialize, Deserialize)]
struct Cursor {
    version: u64,
    #[serde(flatten)]
    row: RowCursor,
}

/// Rows in the order of the segments (by time within each).
#[utoipa::path(get, path = "/api/v1/datasets/{id}/rows", tag = "datasets", params(("id" = String, Path), RowParams),
    responses((status = 200, body = RowsBody),
        (status = 422, body = ProblemBody, description = "`bad_filter` with `position`, `unknown_column`")))]
pub async fn rows(
    State(app): State<AppState>,
    session: Session,
    ApiPath(id): ApiPath<String>,
    ApiQuery(params): ApiQuery<RowParams>,
) -> ApiResult<Response> {
    let dataset = load(&app, &session, &id).await?.value;
    if dataset.version == 0 {
        // Says what the dataset is waiting for.
        load_schema(&app, &dataset).await?;
    }
    let limit = match params.limit.unwrap_or(DEFAULT_LIMIT) {
        limit if (1..=MAX_LIMIT).contains(&limit) => limit,
        limit => {
            let detail = format!("limit={limit} is not possible: a page holds 1 to {MAX_LIMIT} rows.");
            return Err(ApiError::bad_request("bad_query", detail));
        }
    };
    let after = params.after.as_deref().map(decode_cursor).transpose()?;
    let version = after.as_ref().map(|cursor| cursor.version);
    let pinned = PinnedDataset::pin(&app.ctx, &app.segments, &session.account_id, &dataset.id, version)
        .await
        .map_err(problem)?;
    let mut filter = split(params.filter.as_deref().unwrap_or_default(), &pinned.schema)?;
    let searched = filter.pushed.tests.iter().map(|test| match test.column.split_once('.') {
        Some((field, _key)) if pinned.schema.field(&test.column).is_none() => field,
        _ => test.column.as_str(),
    });
    app.index_use.add(&dataset.id, searched);
    filter.pushed.from = params.from;
    filter.pushed.to = params.to;
    let columns = columns(params.columns.as_deref(), &pinned.schema)?;
    let number = pinned.version.version;
    let bytes_total = pinned.version.size_bytes;
    let source = ObjectSegmentSource::new(&app.ctx);
    let search = Search { pinned, filter, columns, limit };
    let footers = app.segments.footers.clone();
    let found =
        blocking(move || search.run(&footers.over(&source), after.map(|cursor| cursor.row)).map_err(job_error)).await;
    let found = found.map_err(problem)?;
    let cost = found.cost;
    let next = match found.next {
        Some(row) => Some(encode_cursor(&Cursor { version: number, row })?),
        None => None,
    };
    let timing = format!("read;desc=\"{} bytes, {} reads, {} segments\"", cost.bytes, cost.reads, cost.segments_opened);
    let body = RowsBody {
        items: found.rows,
        next,
        version: number,
        cost: CostBody {
            bytes_read: cost.bytes,
            reads: cost.reads,
            segments_opened: cost.segments_opened,
            segments_pruned: cost.segments_pruned,
            rows_examined: cost.rows_examined,
            bytes_total,
        },
    };
    Ok(([(HeaderName::from_static("server-timing"), timing)], Json(body)).into_response())
}

fn columns(wanted: Option<&str>, schema: &Schema) -> ApiResult<Vec<String>> {
    let Some(wanted) = wanted else {
        return Ok(schema.fields.iter().filter(|field| field.visible).map(|field| field.name.clone()).collect());
    };
    let mut columns = Vec::new();
    for name in wanted.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if schema.field(name).is_none() {
            let detail = format!("There is no field {name:?}; GET …/schema lists the fields.");
            return Err(ApiError::unprocessable("unknown_column", detail).field("columns", "names an unknown field"));
        }
        columns.push(name.to_owned());
    }
    if columns.is_empty() {
        return Err(ApiError::bad_request("bad_query", "`columns` names no field: leave it out to get all."));
    }
    Ok(columns)
}

fn encode_cursor(cursor: &Cursor) -> ApiResult<String> {
    let json = serde_json::to_vec(cursor).map_err(ApiError::internal)?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json))
}

fn decode_cursor(text: &str) -> ApiResult<Cursor> {
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).ok();
    bytes
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or_else(|| ApiError::bad_request("bad_query", "`after` is not the `next` of a page of rows."))
}

struct Search {
    pinned: PinnedDataset,
    filter: SplitFilter,
    columns: Vec<String>,
    limit: usize,
}

struct Found {
    rows: Vec<Map<String, Value>>,
    next: Option<RowCursor>,
    cost: ReadCost,
}

impl Search {
    fn run(&self, source: &CachedFooters<'_>, after: Option<RowCursor>) -> Result<Found, IngestError> {
        let mut found = Found { rows: Vec::new(), next: None, cost: ReadCost::default() };
        let Some(rest) = &self.filter.rest else {
            let page = self.page(source, &self.columns, after, self.limit)?;
            add(&mut found.cost, page.cost);
            found.rows = (0..page.table.rows).map(|row| row_json(&page.table, row)).collect();
            found.next = page.next;
            return Ok(found);
        };
        let mut columns = self.columns.clone();
        columns.extend(self.filter.columns.iter().filter(|name| !self.columns.contains(name)).cloned());
        let mut start = after;
        loop {
            let page = self.page(source, &columns, start, CHUNK_ROWS)?;
            add(&mut found.cost, page.cost);
            for row in 0..page.table.rows {
                let mut fields = row_json(&page.table, row);
                if !rest.matches("", &fields) {
                    continue;
                }
                fields.retain(|name, _| self.columns.contains(name));
                found.rows.push(fields);
                if found.rows.len() == self.limit {
                    // Only a read that ends at this row knows where the next one starts.
                    let exact = self.page(source, &columns, start, row + 1)?;
                    add(&mut found.cost, exact.cost);
                    found.next = exact.next;
                    return Ok(found);
                }
            }
            found.next = page.next;
            if page.next.is_none() || found.cost.rows_examined >= MAX_EXAMINED {
                return Ok(found);
            }
            start = page.next;
        }
    }

    fn page(
        &self,
        source: &CachedFooters<'_>,
        columns: &[String],
        after: Option<RowCursor>,
        limit: usize,
    ) -> Result<RowPage, IngestError> {
        let PinnedDataset { segments, schema, .. } = &self.pinned;
        read_rows(source, segments, schema, &self.filter.pushed, columns, after, limit)
    }
}

fn add(sum: &mut ReadCost, cost: ReadCost) {
    sum.bytes += cost.bytes;
    sum.reads += cost.reads;
    sum.segments_opened += cost.segments_opened;
    sum.segments_pruned += cost.segments_pruned;
    sum.rows_examined += cost.rows_examined;
}
