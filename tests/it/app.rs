//! The real program on a free port, in a folder of its own, and a client that is signed in.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use tango::app::App;
use tango::clock::{SharedClock, SystemClock};
use tango::config::{Config, Secret};

pub use crate::stores::Folder;
pub use crate::support::api::{Answer, Api, PASSWORD, USERNAME};
pub use crate::support::client::{client, client_builder};
pub use crate::support::patience::{PATIENCE, until};

/// A running server. Its folder goes away with it.
pub struct TestApp {
    pub app: App,
    api: Api,
    pub folder: Folder,
}

/// The settings that tests start from: a free port, a folder of their own, a known password.
pub fn test_config(folder: &std::path::Path) -> Config {
    Config {
        data_dir: folder.join("data"),
        listen: ([127, 0, 0, 1], 0).into(),
        s3_listen: Some(([127, 0, 0, 1], 0).into()),
        super_user_password: Some(Secret(PASSWORD.to_owned())),
        drain_seconds: 0,
        ..Config::default()
    }
}

impl TestApp {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With other settings.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_at(Folder::new(), Arc::new(SystemClock), change).await
    }

    /// In a folder that may hold an earlier start's data.
    pub async fn start_at(folder: Folder, clock: SharedClock, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = test_config(folder.path());
        folder.choose_stores(&mut config);
        change(&mut config);
        let app = App::start(config, clock).await.unwrap();
        let mut http = client_builder();
        let own = app.certificate.as_ref().map(|files| &files.certificate);
        for file in own.into_iter().chain(&app.state.ctx.config.s3_ca_file) {
            let pem = std::fs::read(file).unwrap();
            http = http.add_root_certificate(reqwest::Certificate::from_pem(&pem).unwrap());
        }
        let api = Api::sign_in_to(app.url.clone(), http.build().unwrap()).await;
        Self { app, api, folder }
    }

    /// Stops the program and hands back the folder, for a start on the same data.
    pub async fn stop(self) -> Folder {
        self.app.stop().await.unwrap();
        self.folder
    }
}

impl Deref for TestApp {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl DerefMut for TestApp {
    fn deref_mut(&mut self) -> &mut Api {
        &mut self.api
    }
}
