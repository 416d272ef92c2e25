//! A program of the test's own that holds a small simulated contact centre.

use std::ops::Deref;

use serde_json::Value;

use crate::app::TestApp;
pub use crate::support::centre::dataset;
use crate::support::centre::{self, Loaded};

pub struct LoadedCentre {
    pub app: TestApp,
    loaded: Loaded,
}

/// Starts a program and uploads a centre to it.
pub async fn start() -> LoadedCentre {
    load(TestApp::start().await).await
}

pub async fn load(app: TestApp) -> LoadedCentre {
    let loaded = centre::load(&app).await;
    LoadedCentre { app, loaded }
}

impl Deref for LoadedCentre {
    type Target = Loaded;

    fn deref(&self) -> &Loaded {
        &self.loaded
    }
}

impl LoadedCentre {
    pub async fn create_predictor(&self) -> String {
        self.loaded.create_predictor(&self.app).await
    }

    pub async fn activate(&self, model_type: &str) -> (String, String) {
        self.loaded.activate(&self.app, model_type).await
    }

    pub async fn create_model(&self, predictor: &str, model_type: &str) -> String {
        centre::create_model(&self.app, predictor, model_type).await
    }

    pub async fn train(&self, model: &str) -> Value {
        centre::train(&self.app, model).await
    }
}
