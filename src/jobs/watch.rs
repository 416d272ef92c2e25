//! Looks after profiles and datasets in the background: counts that are due although the process that should
//! have asked for them ended in between, and indexes that do not match the schema or the settings.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{JobError, dataset_index, profile_counts, profile_indexes::IndexProfile};
use crate::context::Context;
use crate::domain::profile::ProfileSchema;
use crate::profiles::{Profile, indexes, journal};
use crate::store::{Batch, Collection, Query, StoreError};

/// A count is visible within 5 s of its portion being full: 2 s to notice, and the rest to count.
const EVERY: Duration = Duration::from_secs(2);

/// Runs until `stop`. Several of them, on several nodes, do no harm: requests are deduplicated.
pub async fn watch(ctx: Context, stop: CancellationToken) {
    let mut indexes_checked = false;
    loop {
        if !indexes_checked {
            match check_indexes(&ctx).await {
                Ok(()) => indexes_checked = true,
                Err(error) => {
                    tracing::warn!(%error, "indexes could not be checked, trying again")
                }
            }
        }
        if let Err(error) = request_due_counts(&ctx).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "pending counts could not be looked for, trying again"
            );
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Asks for every count that is due.
pub async fn request_due_counts(ctx: &Context) -> Result<(), StoreError> {
    for (profile, pending) in journal::pending_everywhere(&ctx.store).await? {
        profile_counts::request_if_due(ctx, &profile, pending).await?;
    }
    Ok(())
}

/// After a start with other settings: makes or drops what differs.
async fn check_indexes(ctx: &Context) -> Result<(), JobError> {
    dataset_index::request_missing(ctx).await?;
    // Datasets keep schemas of another shape under other keys in the same collection.
    let mut query = Query::everywhere(Collection::Schemas).limit(500);
    loop {
        let page = ctx.store.find(&query).await?;
        for document in &page.documents {
            let Ok(schema) = serde_json::from_str::<ProfileSchema>(&document.body) else { continue };
            let profile = Profile::new(schema.account_id.clone(), schema.kind);
            if indexes::is_behind(ctx, &profile, &schema).await? {
                let mut batch = Batch::new();
                let account = profile.account_id.clone();
                super::enqueue(&mut batch, ctx, &account, &IndexProfile { profile })
                    .map_err(|error| JobError::Failed(error.to_string()))?;
                ctx.store.commit(batch).await?;
            }
        }
        match page.next {
            Some(cursor) => query.after = Some(cursor),
            None => return Ok(()),
        }
    }
}
