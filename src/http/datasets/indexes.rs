//! `GET …/datasets/{id}/indexes`: how each field's rows are found without a full scan.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::{load, load_schema, problem};
use crate::domain::segment::ColumnDirectory;
use crate::http::json::ApiPath;
use crate::http::lists::ListBody;
use crate::http::{ApiResult, AppState, Session};
use crate::jobs::dataset_change::{load_segments, load_version};

/// How a field's values are found.
#[derive(Debug, Serialize, ToSchema)]
pub struct DatasetIndex {
    pub field: String,
    /// The strongest that its segments have: `postings` (rows by value), `bloom` (segments by value),
    /// `zone_map` (segments and pages by smallest and largest value), `none`.
    pub kind: &'static str,
    /// `ready` when every segment has it; `partial` while some were written without.
    pub state: &'static str,
    /// Bytes of directories and postings, all segments together.
    pub bytes: u64,
    /// What it serves.
    pub serves: &'static str,
    /// Searches by this field since this process started.
    #[serde(rename = "use")]
    pub uses: u64,
    pub segments: u64,
    pub segments_indexed: u64,
}

/// One entry a field.
#[utoipa::path(get, path = "/api/v1/datasets/{id}/indexes", tag = "datasets", params(("id" = String, Path)),
    responses((status = 200, body = ListBody<DatasetIndex>)))]
pub async fn indexes(
    State(app): State<AppState>,
    session: Session,
    ApiPath(id): ApiPath<String>,
) -> ApiResult<Json<ListBody<DatasetIndex>>> {
    let dataset = load(&app, &session, &id).await?.value;
    let schema = load_schema(&app, &dataset).await?;
    let mut fields: BTreeMap<String, Found> = BTreeMap::new();
    let mut segments = 0;
    if dataset.version > 0 {
        let version = load_version(&app.ctx, &dataset.id, dataset.version).await.map_err(problem)?;
        // A few at a time: directories of many segments need not be in memory together.
        for ids in version.segments.chunks(50) {
            for segment in load_segments(&app.ctx, &dataset.id, ids).await.map_err(problem)? {
                segments += 1;
                for column in &segment.directory.columns {
                    fields.entry(column.name.clone()).or_default().add(column);
                }
            }
        }
    }
    let uses = app.index_use.of(&dataset.id);
    let items = schema.fields.iter().map(|field| {
        let uses = uses.get(&field.name).copied().unwrap_or_default();
        fields.remove(&field.name).unwrap_or_default().describe(field.name.clone(), segments, uses)
    });
    Ok(Json(ListBody { items: items.collect(), next: None }))
}

#[derive(Default)]
struct Found {
    postings: u64,
    bloom: u64,
    zone_map: u64,
    bytes: u64,
}

impl Found {
    fn add(&mut self, column: &ColumnDirectory) {
        if let Some(postings) = &column.postings {
            self.postings += 1;
            self.bytes += postings.range.end - postings.range.start + postings.offsets.len() as u64;
        }
        if let Some(bloom) = &column.bloom {
            self.bloom += 1;
            self.bytes += bloom.bits.len() as u64;
        }
        if column.min.is_some() || column.max.is_some() {
            self.zone_map += 1;
            let length = |value: &Option<serde_json::Value>| value.as_ref().map_or(0, |value| value.to_string().len());
            self.bytes += (length(&column.min) + length(&column.max)) as u64;
        }
    }

    fn describe(self, field: String, segments: u64, uses: u64) -> DatasetIndex {
        let (kind, serves, indexed) = if self.postings > 0 {
            ("postings", "= and != find rows by value", self.postings)
        } else if self.bloom > 0 {
            ("bloom", "= opens only segments that may hold the value", self.bloom)
        } else if self.zone_map > 0 {
            ("zone_map", "= < <= > >= skip segments and pages outside of the range", self.zone_map)
        } else {
            ("none", "a filter on it reads the column", 0)
        };
        let state = if segments == 0 || indexed == segments || kind == "none" { "ready" } else { "partial" };
        DatasetIndex { field, kind, state, bytes: self.bytes, serves, uses, segments, segments_indexed: indexed }
    }
}
