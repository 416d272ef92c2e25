//! Records of a profile: posted in batches, listed, looked up, changed, removed.

use axum::Json;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use crate::domain::language::LanguageError;
use crate::domain::profile::ProfileKind;
use crate::domain::schema::Schema;
use crate::domain::upload::Recount;
use crate::filter::Filter;
use crate::http::idempotency::Idempotency;
use crate::http::json::{BodyHash, parse_flat};
use crate::http::lists::{ListBody, ListParams};
use crate::http::{ApiError, ApiResult, AppState, Session};
use crate::jobs::enqueue;
use crate::jobs::profile_counts::{self, Requested};
use crate::jobs::profile_indexes::IndexProfile;
use crate::profiles::append::{self, PatchError};
use crate::profiles::posted::Posted;
use crate::profiles::record::StoredProfile;
use crate::profiles::values::{ID, VERSION};
use crate::profiles::{Profile, query, schema};
use crate::store::{Batch, Collection, Condition, Op, Query, StoreError};

/// A batch of records.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRecords<'a> {
    /// Each with `id`, an optional `version` (a number that grows) and the fields beside them.
    #[schema(value_type = Vec<Object>)]
    #[serde(borrow)]
    pub records: Vec<Posted<'a>>,
    /// Whether everything is counted anew, or these records are added to the counts; from a browser's session everything
    /// is counted when nothing is said.
    pub recount: Option<Recount>,
}

/// `id`, `version` when it has one, and the fields beside them: the shape in which records are posted.
#[derive(Debug, Serialize, ToSchema)]
#[schema(value_type = Object)]
pub struct RecordBody(Map<String, Value>);

impl RecordBody {
    /// Values of fields that the schema no longer has are left out.
    fn new(record: StoredProfile, schema: &Schema) -> Self {
        let mut body = Map::with_capacity(record.fields.len() + 2);
        body.insert(ID.to_owned(), record.id.into());
        if let Some(version) = record.version {
            body.insert(VERSION.to_owned(), version.into());
        }
        body.extend(record.fields.into_iter().filter(|(name, _)| schema.field(name).is_some()));
        Self(body)
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Filters {
    /// Such as `English>3 & (loginStatus=4|loginStatus=9)`.
    filter: Option<String>,
}

pub async fn post(
    app: &AppState,
    session: &Session,
    kind: ProfileKind,
    mut idempotency: Idempotency,
    body: &Bytes,
) -> ApiResult<Response> {
    let new: NewRecords<'_> = parse_flat(body)?;
    if let Some(saved) = idempotency.replay(app, session, &BodyHash::of(body)).await? {
        return Ok(saved);
    }
    let limit = app.ctx.config.limits.max_records_per_call;
    if new.records.is_empty() {
        return Err(
            ApiError::unprocessable("no_records", "`records` is empty: send 1 or more.").field("records", "is empty")
        );
    }
    if new.records.len() > limit {
        let detail = format!(
            "{} records in one call are too many: send at most {limit} (MAX_RECORDS_PER_CALL), or upload a file.",
            new.records.len()
        );
        return Err(ApiError::unprocessable("too_many_records", detail).with("limit", limit));
    }
    let profile = super::profile(session, kind);
    let full = match new.recount {
        Some(recount) => recount == Recount::Full,
        None => session.browser,
    };
    loop {
        let count = if full { Some(profile_counts::prepare(&app.ctx, &profile, true).await?) } else { None };
        let indexes = IndexProfile { profile: profile.clone() };
        let mut failed = None;
        let mut extra = |planned: &append::Planned<'_>, batch: &mut Batch| {
            idempotency.record(batch, StatusCode::OK, planned.appended);
            if let Some(Requested::New { batch: count, .. }) = &count {
                batch.ops.extend(count.ops.iter().cloned());
            }
            if planned.wants_indexes
                && app.ctx.config.autogenerate_indexes
                && let Err(error) = enqueue(batch, &app.ctx, &profile.account_id, &indexes)
            {
                failed = Some(error);
            }
        };
        let outcome = append::append(&app.ctx, &profile, &new.records, append::Present::Perhaps, &mut extra).await;
        if let Some(error) = failed {
            return Err(ApiError::internal(error));
        }
        match outcome {
            Ok(appended) => {
                if !full {
                    ask_for_count(app, &profile, appended.cardinalities.pending).await;
                }
                return Ok(Json(appended).into_response());
            }
            // Somebody else asked for the same count in between: look again.
            Err(error @ StoreError::Conflict(_)) if !idempotency.lost(&error) => {}
            Err(error) => return Err(idempotency.explain(error)),
        }
    }
}

/// What is committed stands whatever happens here; the watch asks again.
async fn ask_for_count(app: &AppState, profile: &Profile, pending: u64) {
    if let Err(error) = profile_counts::request_if_due(&app.ctx, profile, pending).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "a due count could not be asked for");
    }
}

pub async fn list(
    app: &AppState,
    profile: &Profile,
    params: &ListParams,
    filters: &Filters,
) -> ApiResult<Json<ListBody<RecordBody>>> {
    let schema = schema::load(&app.ctx.store, profile).await?.value.schema;
    let condition = match filters.filter.as_deref().map(str::trim) {
        None | Some("") => Condition::True,
        Some(text) => {
            query::condition(&Filter::parse(text).and_then(|filter| filter.compile(&schema)).map_err(bad_filter)?)
        }
    };
    let mut query = Query::new(Collection::of_profile(profile.kind), profile.account_id.as_str())
        .filter(condition)
        .limit(params.limit()?)
        .after(params.after.clone());
    if let Some(sort) = &params.sort {
        let (name, descending) = match sort.strip_prefix('-') {
            Some(name) => (name, true),
            None => (sort.as_str(), false),
        };
        if schema.field(name).is_some() {
            query = query.sort_by(query::field_path(name), descending);
        } else if name == ID {
            query.sort.descending = descending;
        } else {
            let detail = format!("sort={sort} is not possible: records are ordered by id or by a field of the schema.");
            return Err(ApiError::bad_request("bad_query", detail));
        }
    }
    let page = app.ctx.store.find(&query).await?;
    let items = page
        .documents
        .iter()
        .map(|document| Ok(RecordBody::new(StoredProfile::decode(document)?, &schema)))
        .collect::<Result<_, StoreError>>()?;
    Ok(Json(ListBody { items, next: page.next }))
}

/// 422 with the position of what is wrong.
pub fn bad_filter(error: LanguageError) -> ApiError {
    let detail = format!("The filter is not understood at character {}: {}.", error.position, error.message);
    ApiError::unprocessable("bad_filter", detail).with("position", error.position)
}

pub async fn get(app: &AppState, profile: &Profile, id: &str) -> ApiResult<Json<RecordBody>> {
    let collection = Collection::of_profile(profile.kind);
    let Some(document) = app.ctx.store.get(collection, &profile.record_key(id)).await? else {
        return Err(ApiError::not_found(profile.noun(), shown(id)));
    };
    let schema = schema::load(&app.ctx.store, profile).await?.value.schema;
    Ok(Json(RecordBody::new(StoredProfile::decode(&document)?, &schema)))
}

pub async fn patch(
    app: &AppState,
    profile: &Profile,
    id: &str,
    mut changes: Map<String, Value>,
) -> ApiResult<Json<RecordBody>> {
    if let Some(given) = changes.remove(ID)
        && given != id
    {
        let reason = "the id of a record cannot be changed: post a new record and delete this one";
        return Err(ApiError::unprocessable("invalid_record", format!("In id: {reason}.")).field(ID, reason));
    }
    let version = match changes.remove(VERSION) {
        None | Some(Value::Null) => None,
        Some(version) => Some(version.as_i64().ok_or_else(|| {
            let reason = "a version is a whole number that grows with each change of the record";
            ApiError::unprocessable("invalid_record", format!("In version: {reason}.")).field(VERSION, reason)
        })?),
    };
    let (record, pending) =
        append::patch(&app.ctx, profile, id, version, &changes).await.map_err(|error| match error {
            PatchError::NotFound => ApiError::not_found(profile.noun(), shown(id)),
            PatchError::Stale { stored } => ApiError::conflict(
                "stale_version",
                format!("The stored record has version {stored}, which is newer. Read it again before changing it."),
            )
            .with("version", stored),
            PatchError::Invalid(fault) => {
                ApiError::unprocessable("invalid_record", format!("In {}: {}.", fault.field, fault.reason))
                    .field(fault.field, fault.reason)
            }
            PatchError::Store(error) => error.into(),
        })?;
    ask_for_count(app, profile, pending).await;
    let schema = schema::load(&app.ctx.store, profile).await?.value.schema;
    Ok(Json(RecordBody::new(record, &schema)))
}

pub async fn delete(app: &AppState, profile: &Profile, id: &str) -> ApiResult<StatusCode> {
    let (collection, key) = (Collection::of_profile(profile.kind), profile.record_key(id));
    loop {
        let Some(document) = app.ctx.store.get(collection, &key).await? else {
            return Err(ApiError::not_found(profile.noun(), shown(id)));
        };
        let mut batch = Batch::new();
        batch.push(Op::Delete { collection, key: key.clone(), revision: Some(document.revision) });
        match app.ctx.store.commit(batch).await {
            Ok(()) => return Ok(StatusCode::NO_CONTENT),
            // Changed in between: the deletion still means this record.
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn shown(id: &str) -> String {
    crate::profiles::values::shown(id)
}
