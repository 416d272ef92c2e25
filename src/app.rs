//! Puts the program together: the only place that names concrete backends.
//! Production and tests build it in the same way.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::Context as _;
use axum_server::Handle;

use crate::auth::{Auth, FirstStart, Seal};
use crate::clock::SharedClock;
use crate::config::Config;
use crate::context::Context;
use crate::http::{AppState, router};
use crate::lifecycle::{HARD_DEADLINE, Lifecycle};
use crate::live::Live;
use crate::objects::ObjectStore;
use crate::store::SharedStore;

/// The program, put together and listening.
pub struct App {
    pub state: AppState,
    /// The address that it really listens on.
    pub address: SocketAddr,
    /// `http://…` or `https://…`, without a slash at the end.
    pub url: String,
    /// Set when this was the installation's first start.
    pub first_start: Option<FirstStart>,
    handle: Handle<SocketAddr>,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl App {
    /// Starts server and workers on one folder. Ready to serve when this returns.
    pub async fn start(config: Config, clock: SharedClock) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&config.data_dir)
            .with_context(|| format!("the data folder {} could not be created", config.data_dir.display()))?;
        let listener = TcpListener::bind(config.listen).with_context(|| format!("LISTEN={}", config.listen))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (store, objects) = open_backends(&config).await?;
        let lifecycle = Lifecycle::new();
        let seal = Seal::from_file(&config.data_dir.join("secret.key"))?;
        let (auth, first_start) = Auth::open(store.clone(), &config, clock.clone(), seal).await?;
        let ctx = Context { store, objects, config: Arc::new(config), clock };
        let live = Live::start(&ctx, lifecycle.stopped()).await?;
        let state = AppState { ctx, auth, live, lifecycle, in_flight: Default::default() };
        let handle = Handle::new();
        let service = router::router(state.clone()).into_make_service_with_connect_info::<SocketAddr>();
        let server = axum_server::from_tcp(listener)?.handle(handle.clone());
        let server = tokio::spawn(server.serve(service));
        state.lifecycle.set_ready();
        Ok(Self { state, address, url: format!("http://{address}"), first_start, handle, server })
    }

    /// Stops accepting, finishes what is under way, then ends.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.state.lifecycle.stop();
        self.handle.graceful_shutdown(Some(HARD_DEADLINE));
        Ok(self.server.await??)
    }
}

async fn open_backends(_config: &Config) -> anyhow::Result<(SharedStore, Arc<ObjectStore>)> {
    anyhow::bail!("the embedded stores are not connected yet")
}
