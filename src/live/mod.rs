//! What scoring needs, in memory, following the store's change feed.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::context::Context;

/// The in-memory follower.
pub struct Live {}

impl Live {
    /// Loads everything and follows changes until `stop` fires. Returns when warm.
    pub async fn start(_ctx: &Context, _stop: CancellationToken) -> anyhow::Result<Arc<Self>> {
        Ok(Arc::new(Self {}))
    }
}
