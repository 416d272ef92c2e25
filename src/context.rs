//! What every request and every job is given: the stores, the settings, the time.

use std::sync::Arc;

use crate::clock::SharedClock;
use crate::config::Config;
use crate::objects::ObjectStore;
use crate::store::SharedStore;

/// Cheap to clone; built by `app` with concrete backends and by tests in the same way.
#[derive(Clone)]
pub struct Context {
    pub store: SharedStore,
    pub objects: Arc<ObjectStore>,
    pub config: Arc<Config>,
    pub clock: SharedClock,
}
