//! Datasets: lists, one dataset, and one file for each thing that can be done with it.

mod append;
mod cardinalities;
mod changes;
mod columns;
mod index_use;
mod indexes;
mod outcomes;
mod rejected;
mod row_filter;
mod rows;
mod schema;

pub use columns::Looks;
pub use index_use::IndexUse;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{ProblemBody, disk_full, object_store_unavailable};
use super::json::ApiPath;
use super::lists::{ListBody, ListParams, ListQuery};
use super::{ApiError, ApiResult, AppState, Session};
use crate::domain::Timestamp;
use crate::domain::dataset::{Dataset, DatasetSchema, DatasetState};
use crate::domain::id::{DatasetId, JobId};
use crate::domain::predictor::Predictor;
use crate::domain::schema::Schema;
use crate::jobs::JobError;
use crate::store::{Batch, Collection, Condition, Key, Path, Query, StoreError, StoreExt, Stored};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, delete))
        .routes(routes!(schema::get, schema::put))
        .routes(routes!(schema::accept))
        .routes(routes!(append::append))
        .routes(routes!(rows::rows))
        .routes(routes!(columns::list))
        .routes(routes!(columns::one))
        .routes(routes!(cardinalities::get))
        .routes(routes!(cardinalities::compute))
        .routes(routes!(indexes::indexes))
        .routes(routes!(rejected::rejected))
        .routes(routes!(outcomes::create))
        .routes(routes!(outcomes::put_refresh, outcomes::refresh))
        .routes(routes!(changes::versions))
        .routes(routes!(changes::revert))
        .routes(routes!(changes::delete_range))
}

/// A dataset.
#[derive(Debug, Serialize, ToSchema)]
pub struct DatasetBody {
    pub id: String,
    pub name: String,
    pub state: DatasetState,
    /// What went wrong when `state` is `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    pub rows: u64,
    pub segments: u64,
    /// Bytes of its segments as stored.
    pub size_bytes: u64,
    /// Earliest and latest value of the timestamp field.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub from: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub to: Option<Timestamp>,
    pub schema_version: u32,
    /// The data's version: grows with every change.
    pub version: u64,
    /// Rows that the last upload refused; `GET …/rejected` lists them.
    pub rejected_rows: u64,
    /// Of an outcome dataset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<outcomes::SourceBody>,
    /// The job that works on the dataset, or did last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// The answer of everything that starts a job.
#[derive(Debug, Serialize, ToSchema)]
pub struct StartedJob {
    pub job_id: String,
}

impl From<Dataset> for DatasetBody {
    fn from(dataset: Dataset) -> Self {
        Self {
            id: dataset.id.into(),
            name: dataset.name,
            state: dataset.state,
            error: dataset.error,
            rows: dataset.rows,
            segments: dataset.segments,
            size_bytes: dataset.size_bytes,
            from: dataset.from,
            to: dataset.to,
            schema_version: dataset.schema_version,
            version: dataset.version,
            rejected_rows: dataset.rejected.map_or(0, |report| report.rows),
            source: dataset.source.map(|source| outcomes::SourceBody::new(source, None)),
            job_id: dataset.last_job.map(String::from),
            created_at: dataset.created_at,
            updated_at: dataset.updated_at,
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filters {
    state: Option<DatasetState>,
    /// Part of the name, in any case.
    name: Option<String>,
}

/// Datasets of the account.
#[utoipa::path(get, path = "/api/v1/datasets", tag = "datasets", params(ListParams, Filters),
    responses((status = 200, body = ListBody<DatasetBody>)))]
async fn list(
    State(app): State<AppState>,
    session: Session,
    ListQuery(params, filters): ListQuery<Filters>,
) -> ApiResult<Json<ListBody<DatasetBody>>> {
    let deleted = Condition::Exists { path: Path::key("deleted_at") };
    let mut query =
        Query::new(Collection::Datasets, session.account_id.as_str()).filter(Condition::Not(deleted.into()));
    if let Some(state) = filters.state {
        let word = serde_json::to_value(state).map_err(ApiError::internal)?;
        query = query.filter(Condition::equal(Path::key("state"), word));
    }
    if let Some(part) = filters.name {
        query = query.filter(Condition::HasText { path: Path::key("name"), part });
    }
    let query = params.apply(query, &["name", "state", "rows", "size_bytes", "created_at", "updated_at"])?;
    let (datasets, next) = app.ctx.store.list::<Dataset>(&query).await?;
    Ok(Json(ListBody { items: datasets.into_iter().map(|stored| stored.value.into()).collect(), next }))
}

#[utoipa::path(get, path = "/api/v1/datasets/{id}", tag = "datasets", params(("id" = String, Path)),
    responses((status = 200, body = DatasetBody), (status = 404, body = ProblemBody, description = "`dataset_not_found`")))]
async fn get(
    State(app): State<AppState>,
    session: Session,
    ApiPath(id): ApiPath<String>,
) -> ApiResult<Json<DatasetBody>> {
    let dataset = load(&app, &session, &id).await?.value;
    Ok(Json(outcomes::describe(&app, dataset).await?))
}

/// Deletes a dataset. Its objects go after the period of grace (`OBJECT_GRACE_DAYS`).
#[utoipa::path(delete, path = "/api/v1/datasets/{id}", tag = "datasets", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = ProblemBody, description = "`dataset_not_found`"),
        (status = 409, body = ProblemBody, description = "`dataset_in_use`: predictors learn from it")))]
async fn delete(State(app): State<AppState>, session: Session, ApiPath(id): ApiPath<String>) -> ApiResult<StatusCode> {
    loop {
        let mut dataset = load(&app, &session, &id).await?;
        refuse_while_used(&app, &dataset.value).await?;
        let now = app.ctx.clock.now();
        dataset.value.deleted_at = Some(now);
        dataset.value.updated_at = now;
        let mut batch = Batch::new();
        batch.replace(&dataset);
        match app.ctx.store.commit(batch).await {
            Ok(()) => {
                app.index_use.forget(&dataset.value.id);
                return Ok(StatusCode::NO_CONTENT);
            }
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Predictors name the dataset that they learn from: it stays while they do.
async fn refuse_while_used(app: &AppState, dataset: &Dataset) -> ApiResult<()> {
    let users = predictors_of(app, dataset).await?;
    if users.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = users.iter().map(|user| user.name.as_str()).collect();
    let text = format!(
        "{} from this dataset: {}. Delete the predictor, or give it another dataset (PUT /api/v1/predictors/{{id}}), first.",
        if names.len() == 1 { "A predictor learns" } else { "Predictors learn" },
        names.join(", ")
    );
    Err(ApiError::conflict("dataset_in_use", text).with("predictors", names))
}

/// The predictors that learn from a dataset, by age.
pub async fn predictors_of(app: &AppState, dataset: &Dataset) -> ApiResult<Vec<Predictor>> {
    let path = Path::new(["definition", "dataset_id"]);
    let query = Query::new(Collection::Predictors, dataset.account_id.as_str())
        .filter(Condition::equal(path, dataset.id.as_str()));
    let found = app.ctx.store.list_all::<Predictor>(query).await?;
    Ok(found.into_iter().map(|stored| stored.value).collect())
}

/// The account's dataset with this id.
pub async fn load(app: &AppState, session: &Session, id: &str) -> ApiResult<Stored<Dataset>> {
    let missing = || ApiError::not_found("dataset", id);
    let parsed = DatasetId::parse(id).map_err(|_| missing())?;
    let dataset = app.ctx.store.load::<Dataset>(&Key::new(session.account_id.as_str(), parsed.as_str())).await?;
    dataset.filter(|dataset| dataset.value.deleted_at.is_none()).ok_or_else(missing)
}

/// The current schema; 409 while the first upload is being read.
async fn load_schema(app: &AppState, dataset: &Dataset) -> ApiResult<Schema> {
    if dataset.schema_version == 0 {
        return Err(ApiError::conflict(
            "no_schema",
            "The dataset has no schema yet: its first upload is being read, or could not be.",
        ));
    }
    let key = Key::new(dataset.id.as_str(), format!("{:012}", dataset.schema_version));
    let schema = app.ctx.store.load::<DatasetSchema>(&key).await?;
    schema.map(|stored| stored.value.schema).ok_or_else(|| ApiError::internal("the dataset's schema is missing"))
}

/// Code shared with jobs says what went wrong in a job's words.
fn problem(error: JobError) -> ApiError {
    match error {
        JobError::Failed(text) => ApiError::conflict("not_available_any_more", text),
        JobError::Retry(source) => match source.downcast::<StoreError>() {
            Ok(error) => error.into(),
            Err(source) => ApiError::internal(format!("{source:#}")),
        },
        JobError::NoSpace => disk_full(),
        JobError::ObjectsAway(what) => object_store_unavailable(what),
        JobError::Cancelled | JobError::LostLease => ApiError::internal("a request has no lease"),
    }
}

/// Queues a job and makes it the dataset's last one.
async fn start<J: crate::jobs::RunJob>(
    app: &AppState,
    session: &Session,
    idem: &mut super::idempotency::Idempotency,
    mut batch: Batch,
    job: &J,
) -> ApiResult<(StatusCode, Json<StartedJob>)> {
    let id: JobId = crate::jobs::enqueue(&mut batch, &app.ctx, &session.account_id, job).map_err(ApiError::internal)?;
    let answer = StartedJob { job_id: id.to_string() };
    idem.record(&mut batch, StatusCode::ACCEPTED, &answer);
    app.ctx.store.commit(batch).await.map_err(|error| idem.explain(error))?;
    Ok((StatusCode::ACCEPTED, Json(answer)))
}
