//! Puts the program together: the only place that names concrete backends.
//! Production and tests build it in the same way.

pub mod control;
mod gate;
pub mod installation;
mod listener;
mod nodes;
pub mod stores;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use axum_server::tls_rustls::RustlsAcceptor;
use axum_server::{Handle, Server};
use serde_json::json;
use tokio_util::sync::CancellationToken;

pub use listener::listen;
use listener::{Entrance, Peer};
pub use tls::CertificateFiles;

use crate::auth::{Auth, FirstStart, Seal};
use crate::clock::{Clock as _, SharedClock, SystemClock};
use crate::config::Config;
use crate::context::Context;
use crate::domain::node::Role;
use crate::http::{AppState, Shared, Sightings, idempotency, router};
use crate::jobs::{self, Runner, RunnerHandle, RunnerOptions, purging, schedules, watch};
use crate::lifecycle::{HARD_DEADLINE, Lifecycle};
use crate::live::Live;
use crate::objects;
use crate::objects::embedded::EmbeddedServer;
use crate::production::Production;
use crate::store::mongo::{MongoSettings, MongoStore};
use crate::store::sqlite::SqliteStore;
use crate::store::{self, Collection, MigrationStatus, Query, SharedStore, Store};
use crate::telemetry;
use crate::transfer;

/// A client that has not sent a whole request head by then is cut off.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Who came in last has this long to send its request: closing would cut off a connection that has not begun.
const LAST_ARRIVALS: Duration = Duration::from_millis(250);

/// Background work has this long to end after the last request.
const LET_GO_TIMEOUT: Duration = Duration::from_secs(10);

/// Jobs that are under way have this long to finish; then they go back to the queue.
const JOB_PATIENCE: Duration = Duration::from_secs(2);

/// What scoring counted last has this long to be written at the end.
const FLUSH_PATIENCE: Duration = Duration::from_secs(5);

/// The installation's secret in the data folder.
const SECRET_FILE: &str = "secret.key";

/// How often every account's waste is looked for.
const PURGE_EVERY: Duration = Duration::from_secs(3_600);

/// The program, put together and serving.
pub struct App {
    pub state: AppState,
    /// The address that it really listens on.
    pub address: SocketAddr,
    /// `http://…` or `https://…`, without a slash at the end; loopback when it listens on every address.
    pub url: String,
    /// How other machines reach it, when it listens on every address.
    pub outside_url: Option<String>,
    /// Where the embedded object store listens.
    pub objects_address: Option<SocketAddr>,
    /// The certificate when HTTPS is served.
    pub certificate: Option<CertificateFiles>,
    /// Set when this was the installation's first start.
    pub first_start: Option<FirstStart>,
    /// How long the start took, from the first look at the data folder to the first request that is answered.
    pub ready_in: Duration,
    handle: Handle<Peer>,
    /// Cancelled when nobody is let in any more.
    closing: CancellationToken,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
    worker: Option<RunnerHandle>,
    embedded: Option<EmbeddedServer>,
}

impl App {
    /// Starts server and workers: on one data folder, or on the stores of a cluster. Warm and ready to serve when this
    /// returns; the port answers 503 from a little earlier.
    pub async fn start(config: Config, clock: SharedClock) -> anyhow::Result<Self> {
        Self::start_as(Role::BOTH, config, clock).await
    }

    /// As a server, with or without workers.
    pub async fn start_as(role: Role, config: Config, clock: SharedClock) -> anyhow::Result<Self> {
        let began = Instant::now();
        prepare_process();
        let store = open_store(&config).await?;
        transfer::refuse_unfinished(&store).await?;
        let listener = listen(config.listen)?;
        let address = listener.local_addr().context("the listening address is not known")?;
        let certificate = tls::certificate_files(&config, address, clock.now())?;
        let tls_config = match &certificate {
            Some(files) => Some(tls::load(files).await?),
            None => None,
        };
        let lifecycle = Lifecycle::new();
        let gate = gate::Gate::default();
        let (handle, closing) = (Handle::new(), CancellationToken::new());
        let service = tower::make::Shared::new(gate.clone());
        let entrance = Entrance::new(listener, closing.clone())?;
        let mut server = Server::from_listener(entrance).handle(handle.clone());
        server.http_builder().http1().header_read_timeout(HEAD_TIMEOUT);
        let server = match &tls_config {
            None => tokio::spawn(server.serve(service)),
            Some(tls_config) => {
                let acceptor = RustlsAcceptor::new(tls_config.clone());
                tokio::spawn(server.acceptor(acceptor).serve(service))
            }
        };
        if let (Some(files), Some(tls_config)) = (&certificate, &tls_config)
            && !files.generated
        {
            tokio::spawn(tls::follow(files.clone(), tls_config.clone(), lifecycle.stopped()));
        }

        // Whoever leaves our port to chance leaves the object store's, too.
        let asked = SocketAddr::new(address.ip(), config.listen.port());
        let installation = installation::id(&store, clock.now()).await?;
        let (objects, embedded) = objects::open(&config, asked, tls_config.clone(), installation).await?;
        let seal = open_seal(&config)?;
        let (auth, first_start) = Auth::open(store.clone(), &config, clock.clone(), seal).await?;
        let ctx = Context { store, objects, config: Arc::new(config), clock, backlog: Arc::default() };
        let live = Live::start(&ctx, lifecycle.stopped()).await?;
        let production = Production::start(&ctx, lifecycle.stopped());
        let started_at = ctx.clock.now();
        let secure = certificate.is_some();
        let (in_flight, index_use, looks, segments, sightings) = Default::default();
        let state = AppState::new(Shared {
            ctx,
            auth,
            live,
            production,
            lifecycle,
            in_flight,
            index_use,
            looks,
            segments,
            sightings,
            secure,
            started_at,
        });
        start_serving(&state);
        let url = url(address, secure);
        if let Err(error) = control::serve(&state, url.clone(), state.lifecycle.stopped()) {
            tracing::warn!(error = format!("{error:#}"), "commands such as `tango user` will not reach this process");
        }
        let node = nodes::describe(&state.ctx, role, nodes::name(Some(address.port())));
        let worker = role.worker.then(|| {
            start_maintenance(&state.ctx, &state.lifecycle);
            start_worker(&state.ctx, worker_name(&address.to_string()))
        });
        tokio::spawn(nodes::tell(state.ctx.clone(), node, state.lifecycle.clone(), state.sightings.clone()));
        gate.open(router::router(state.clone()));
        state.lifecycle.set_ready();
        let objects_address = embedded.as_ref().map(|server| server.public_address);
        let outside_url = outside_url(&state.ctx.config, address, secure);
        let ready_in = began.elapsed();
        Ok(Self {
            state,
            address,
            url,
            outside_url,
            objects_address,
            certificate,
            first_start,
            ready_in,
            handle,
            closing,
            server,
            worker,
            embedded,
        })
    }

    /// Tells load balancers to look elsewhere and goes on serving for `drain`, a request a connection; then lets nobody in any more,
    /// finishes what is under way (at most [`HARD_DEADLINE`]) and ends.
    pub async fn stop_after(self, drain: Duration) -> anyhow::Result<()> {
        self.state.lifecycle.start_draining();
        if !drain.is_zero() {
            tokio::time::sleep(drain).await;
            self.closing.cancel();
            tokio::time::sleep(LAST_ARRIVALS).await;
        }
        self.stop().await
    }

    /// Stops accepting, finishes what is under way, then ends.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.state.lifecycle.stop();
        self.handle.graceful_shutdown(Some(HARD_DEADLINE));
        let stop_worker = async {
            if let Some(worker) = self.worker {
                worker.stop(JOB_PATIENCE).await;
            }
        };
        let (server, ()) = tokio::join!(self.server, stop_worker);
        server.context("the server's task failed")?.context("the server failed")?;
        // After the last score. A store that is away by then keeps nobody from ending.
        match tokio::time::timeout(FLUSH_PATIENCE, self.state.production.flush()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "what scoring counted last is lost"),
            Err(_) => tracing::warn!("what scoring counted last is lost: the store did not take it in time"),
        }
        if let Some(embedded) = self.embedded {
            embedded.shutdown(Duration::from_secs(1));
        }
        let (store, config) = (Arc::downgrade(&self.state.ctx.store), self.state.ctx.config.clone());
        drop(self.state);
        let_go(store, &config).await;
        Ok(())
    }
}

/// A process that works on jobs only.
pub struct WorkerApp {
    ctx: Context,
    lifecycle: Lifecycle,
    worker: RunnerHandle,
    pub name: String,
}

impl WorkerApp {
    /// Starts workers on the stores of a cluster.
    pub async fn start(config: Config, clock: SharedClock) -> anyhow::Result<Self> {
        prepare_process();
        if config.mongodb_url.is_none() {
            bail!(
                "a single node has its workers inside: start `tango` without a command (separate workers belong to cluster \
                 mode, where MONGODB_URL is set)"
            );
        }
        let store = open_store(&config).await?;
        transfer::refuse_unfinished(&store).await?;
        let installation = installation::id(&store, clock.now()).await?;
        let (objects, _) = objects::open(&config, config.listen, None, installation).await?;
        let ctx = Context { store, objects, config: Arc::new(config), clock, backlog: Arc::default() };
        let lifecycle = Lifecycle::new();
        keep_objects(&ctx, &lifecycle);
        start_maintenance(&ctx, &lifecycle);
        let name = nodes::name(None);
        let worker = start_worker(&ctx, worker_name(&name));
        lifecycle.set_ready();
        open_worker_door(&ctx, &lifecycle);
        let node = nodes::describe(&ctx, Role::WORKER, name.clone());
        tokio::spawn(nodes::tell(ctx.clone(), node, lifecycle.clone(), Sightings::default()));
        Ok(Self { ctx, lifecycle, worker, name })
    }

    /// Claims nothing more, lets jobs finish for `drain`, gives the others back.
    pub async fn stop_after(self, drain: Duration) -> anyhow::Result<()> {
        self.lifecycle.start_draining();
        self.worker.stop(drain.max(JOB_PATIENCE)).await;
        self.lifecycle.stop();
        let (store, config) = (Arc::downgrade(&self.ctx.store), self.ctx.config.clone());
        drop(self.ctx);
        let_go(store, &config).await;
        Ok(())
    }
}

/// For `tango healthcheck`.
fn open_worker_door(ctx: &Context, lifecycle: &Lifecycle) {
    let started_at = ctx.clock.now();
    let (of_status, phases) = (ctx.clone(), lifecycle.clone());
    let status = move || {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "phase": phases.phase().as_str(),
            "started_at": started_at,
            "object_store": control::object_store(&of_status),
        })
    };
    if let Err(error) = control::serve_status(&ctx.config.data_dir, status, lifecycle.stopped()) {
        tracing::warn!(error = format!("{error:#}"), "`tango healthcheck` will not find this process");
    }
}

/// What every process needs once.
fn prepare_process() {
    // The only cryptography in the program; when a test installed it before, nothing changes.
    let _ = rustls::crypto::ring::default_provider().install_default();
    telemetry::start_metrics();
}

/// The document store alone, for commands that work while nothing runs.
pub async fn open_store(config: &Config) -> anyhow::Result<SharedStore> {
    create_data_folder(config)?;
    Ok(match mongo_settings(config) {
        Some(settings) => Arc::new(MongoStore::open(&settings, SystemClock.now()).await?),
        None => Arc::new(SqliteStore::open(&config.data_dir)?),
    })
}

/// `None` outside cluster mode.
pub fn mongo_settings(config: &Config) -> Option<MongoSettings> {
    let url = config.mongodb_url.as_ref()?.0.clone();
    Some(MongoSettings { url, ca_file: config.mongodb_ca_file.clone(), allow_plain: config.allow_http })
}

/// What a start would refuse of the settings, of the files that they name and of the document store; the object store aside
/// ([`objects::examine`]). Changes nothing. Answers which steps of its schema a cluster's store has.
pub async fn check(config: &Config) -> anyhow::Result<Option<MigrationStatus>> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    tls::check_given(config).await?;
    Ok(match config.mongodb_url {
        Some(_) => Some(migration_status(config).await?),
        None => None,
    })
}

/// Which steps of the document store's schema are applied and which are missing, without changing anything.
pub async fn migration_status(config: &Config) -> anyhow::Result<MigrationStatus> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    match mongo_settings(config) {
        Some(settings) => Ok(MongoStore::check(&settings, SystemClock.now()).await?),
        None => Ok(store::sqlite::migration_status(&config.data_dir)?),
    }
}

/// The installation's secret: from the environment, else from the data folder, where it is made once.
pub fn open_seal(config: &Config) -> anyhow::Result<Seal> {
    match &config.token_secret {
        Some(secret) => Ok(Seal::from_secret(&secret.0)),
        None if config.mongodb_url.is_some() => bail!(
            "TOKEN_SECRET is missing: in cluster mode (MONGODB_URL is set) every node needs the same one, at least 32 \
             characters; `openssl rand -hex 32` makes one"
        ),
        None => Seal::from_file(&config.data_dir.join(SECRET_FILE)),
    }
}

fn create_data_folder(config: &Config) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let folder = &config.data_dir;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("the data folder {} (DATA_DIR) cannot be created", folder.display()))
}

fn url(address: SocketAddr, secure: bool) -> String {
    let scheme = if secure { "https" } else { "http" };
    let mut shown = address;
    if address.ip().is_unspecified() {
        shown.set_ip(if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    format!("{scheme}://{shown}")
}

/// `HOST_DOMAIN`, else the address by which this machine reaches others.
fn outside_url(config: &Config, address: SocketAddr, secure: bool) -> Option<String> {
    if !address.ip().is_unspecified() {
        return None;
    }
    let host = config.host_domain.clone().or_else(|| tls::outward_address().map(|address| address.to_string()))?;
    let scheme = if secure { "https" } else { "http" };
    Some(format!("{scheme}://{host}:{}", address.port()))
}

/// Waits until background work that was told to stop has dropped the store: then the folder is free.
async fn let_go(store: std::sync::Weak<dyn Store>, config: &Config) {
    let started = Instant::now();
    // Whoever dropped it last may still be closing it.
    let in_use = || config.mongodb_url.is_none() && store::sqlite::is_in_use(&config.data_dir);
    while store.strong_count() > 0 || in_use() {
        if started.elapsed() > LET_GO_TIMEOUT {
            tracing::warn!("something still uses the store at the end; what was acknowledged is on the disk");
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// What a server does beside requests, until it stops.
fn start_serving(state: &AppState) {
    let stop = state.lifecycle.stopped();
    let auth = state.auth.clone();
    tokio::spawn(async move {
        while let Err(error) = auth.clone().follow(stop.clone()).await {
            tracing::warn!(%error, "changes of users are not followed, trying again");
            if stop.run_until_cancelled(tokio::time::sleep(Duration::from_secs(1))).await.is_none() {
                return;
            }
        }
    });
    keep_objects(&state.ctx, &state.lifecycle);
    let (store, stop) = (state.ctx.store.clone(), state.lifecycle.stopped());
    tokio::spawn(async move {
        while stop.run_until_cancelled(tokio::time::sleep(Duration::from_secs(5))).await.is_some() {
            telemetry::metrics_upkeep();
            let status = store.status();
            metrics::gauge!(telemetry::STORE_WRITABLE).set(f64::from(u8::from(status.writable)));
            if let Some(lag) = status.feed_lag {
                metrics::gauge!(telemetry::FEED_LAG_SECONDS).set(lag.as_secs_f64());
            }
        }
    });
}

/// Looks whether the object store is there, and sets its bucket up once it is.
fn keep_objects(ctx: &Context, lifecycle: &Lifecycle) {
    let (ctx, stop) = (ctx.clone(), lifecycle.stopped());
    tokio::spawn(async move {
        warn_of_lost_bucket(&ctx).await;
        ctx.objects.keep(stop).await;
    });
}

/// What goes on beside jobs. Any number of processes may do it.
fn start_maintenance(ctx: &Context, lifecycle: &Lifecycle) {
    let stop = lifecycle.stopped();
    tokio::spawn(watch::watch(ctx.clone(), stop.clone()));
    tokio::spawn(schedules::keep(ctx.clone(), stop.clone()));
    let ctx = ctx.clone();
    tokio::spawn(async move {
        loop {
            if let Err(error) = purging::schedule(&ctx).await {
                tracing::warn!(%error, "purging could not be scheduled, trying again in an hour");
            }
            if let Err(error) = idempotency::forget_old_answers(&ctx).await {
                tracing::warn!(%error, "old answers could not be forgotten, trying again in an hour");
            }
            if stop.run_until_cancelled(tokio::time::sleep(PURGE_EVERY)).await.is_none() {
                return;
            }
        }
    });
}

fn start_worker(ctx: &Context, name: String) -> RunnerHandle {
    let options = RunnerOptions { alone: ctx.config.mongodb_url.is_none(), ..RunnerOptions::default() };
    Runner::start_with(ctx.clone(), jobs::every_kind(), &ctx.config.worker_topics, name, options)
}

/// A bucket that had to be made holds nothing of what earlier documents refer to.
async fn warn_of_lost_bucket(ctx: &Context) {
    if !ctx.objects.has_made_bucket() {
        return;
    }
    if let Ok(page) = ctx.store.find(&Query::everywhere(Collection::Segments).limit(1)).await
        && !page.documents.is_empty()
    {
        tracing::warn!(
            bucket = ctx.config.s3_bucket,
            "the bucket was missing and is empty, but there are datasets: correct S3_ENDPOINT and S3_BUCKET if they name \
             another place than before, else restore the bucket from a backup"
        );
    }
}

/// Shown with the jobs that this process runs.
fn worker_name(place: &str) -> String {
    format!("{place} (process {})", std::process::id())
}
