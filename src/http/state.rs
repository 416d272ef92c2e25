//! What every handler can reach.

use std::ops::Deref;
use std::sync::Arc;

use super::datasets::{IndexUse, Looks};
use super::idempotency::InFlight;
use super::sightings::Sightings;
use crate::auth::Auth;
use crate::context::Context;
use crate::domain::Timestamp;
use crate::jobs::segment_cache::SegmentCache;
use crate::lifecycle::Lifecycle;
use crate::live::Live;
use crate::production::Production;

/// Everything shared. Cheap to clone; handlers take it as `State(app): State<AppState>`.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

pub struct Shared {
    pub ctx: Context,
    pub auth: Arc<Auth>,
    pub live: Arc<Live>,
    pub production: Arc<Production>,
    pub lifecycle: Lifecycle,
    pub in_flight: InFlight,
    pub index_use: IndexUse,
    pub looks: Looks,
    pub segments: SegmentCache,
    pub sightings: Sightings,
    /// Served over TLS: cookies are marked so.
    pub secure: bool,
    pub started_at: Timestamp,
}

impl AppState {
    pub fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }
}

impl Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
