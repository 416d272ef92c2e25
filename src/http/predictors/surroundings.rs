//! Reads what a predictor's definition is checked against.

use super::check::Surroundings;
use crate::domain::dataset::{Dataset, DatasetState};
use crate::domain::id::{AccountId, DatasetId};
use crate::domain::profile::ProfileKind;
use crate::http::{ApiError, ApiResult, AppState};
use crate::jobs::JobError;
use crate::jobs::dataset_cardinality::Counts;
use crate::jobs::dataset_change::load_schema;
use crate::profiles::{self, Profile};
use crate::store::{Key, StoreExt};

pub async fn load(app: &AppState, account: &AccountId, dataset: Option<&DatasetId>) -> ApiResult<Surroundings> {
    let Some(id) = dataset else {
        let text = "A simple predictor needs dataset_id; a composite one has `combine` instead.";
        return Err(ApiError::unprocessable("invalid_body", text).field("dataset_id", "missing"));
    };
    let stored = app.ctx.store.load::<Dataset>(&Key::new(account.as_str(), id.as_str())).await?;
    let dataset = stored.map(|stored| stored.value).filter(|dataset| dataset.deleted_at.is_none());
    let dataset = dataset.ok_or_else(|| ApiError::not_found("dataset", id))?;
    if dataset.state != DatasetState::Ready {
        let text = match dataset.state {
            DatasetState::Discovering => {
                "The dataset is still being read. Wait for its job, accept its schema, then create the predictor."
            }
            DatasetState::AwaitingSchema => {
                "The dataset's schema is not accepted yet: POST /api/v1/datasets/{id}/schema/accept, wait for the job, then create the predictor."
            }
            DatasetState::Ready | DatasetState::Failed => {
                "The dataset's upload failed, so it has no rows. Upload a corrected file first."
            }
        };
        return Err(ApiError::conflict("dataset_not_ready", text));
    }
    let schema = load_schema(&app.ctx, id, dataset.schema_version).await.map_err(job_error)?;
    let counts = Counts::load(&app.ctx, id).await.map_err(job_error)?;
    let cardinalities = counts.describe(&app.ctx).await.map_err(job_error)?;
    let agents = profiles::schema::load(&app.ctx.store, &Profile::new(account.clone(), ProfileKind::Agents)).await?;
    let customers =
        profiles::schema::load(&app.ctx.store, &Profile::new(account.clone(), ProfileKind::Customers)).await?;
    Ok(Surroundings {
        dataset: schema,
        // Counts of another time than the rows' would judge by what is no longer there.
        cardinalities: (cardinalities.records_pending == 0).then_some(cardinalities),
        agents: agents.value.schema,
        customers: customers.value.schema,
    })
}

/// Readers shared with jobs fail with a job's error.
fn job_error(error: JobError) -> ApiError {
    match error {
        JobError::Failed(text) => ApiError::conflict("dataset_changed", text),
        other => ApiError::internal(other),
    }
}
