//! `tango` and `tango server`: start, say where, wait for the signal to stop.
#![expect(clippy::print_stdout, reason = "the address and the first password are for the person at the terminal")]

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::{App, WorkerApp};
use crate::clock::SystemClock;
use crate::config::{Config, Loaded};
use crate::domain::node::Role;
use crate::lifecycle::HARD_DEADLINE;
use crate::telemetry;

/// On top of the deadline for requests: workers, the store.
const LAST_GRACE: Duration = Duration::from_secs(5);

/// Runs until a signal; see [`run_app`]. On a single node a server has its workers inside whatever `role` says.
pub async fn run(loaded: Loaded, role: Role) -> anyhow::Result<()> {
    let config = loaded.config;
    let drain = Duration::from_secs(config.drain_seconds);
    let mut signals = Signals::catch()?;
    let role = if config.mongodb_url.is_some() { role } else { Role::BOTH };
    let start = App::start_as(role, config.clone(), Arc::new(SystemClock));
    let Some(app) = unless_stopped(&mut signals, start).await? else { return Ok(()) };
    print_welcome(&app, &config).await;
    run_app(app, drain, signals).await
}

/// Serves until SIGTERM or SIGINT, then drains and stops; a second signal ends the process at once.
pub async fn run_app(app: App, drain: Duration, signals: Signals) -> anyhow::Result<()> {
    until_stopped(signals, drain, app.stop_after(drain)).await
}

/// Workers without a server, in a cluster.
pub async fn worker(loaded: Loaded) -> anyhow::Result<()> {
    let config = loaded.config;
    let drain = Duration::from_secs(config.drain_seconds);
    let mut signals = Signals::catch()?;
    let topics: Vec<&str> = config.worker_topics.iter().map(|topic| topic.as_str()).collect();
    let start = WorkerApp::start(config.clone(), Arc::new(SystemClock));
    let Some(worker) = unless_stopped(&mut signals, start).await? else { return Ok(()) };
    println!("tango {} works on {} at {}", env!("CARGO_PKG_VERSION"), topics.join(", "), worker.name);
    println!("Stop with Ctrl-C.");
    until_stopped(signals, drain, worker.stop_after(drain)).await
}

/// What starts, unless a signal comes first: a start may wait long for a database, and has begun nothing that would have to end.
async fn unless_stopped<T>(
    signals: &mut Signals,
    start: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<Option<T>> {
    tokio::select! {
        started = start => started.map(Some),
        _ = signals.next() => {
            telemetry::tell("stopped before the start was complete");
            Ok(None)
        }
    }
}

/// Waits for a signal, then for the stop; not longer than that may take.
async fn until_stopped(
    mut signals: Signals,
    drain: Duration,
    stop: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    signals.next().await;
    telemetry::tell("stopping (a second signal ends at once)");
    let patience = drain + HARD_DEADLINE + LAST_GRACE;
    tokio::select! {
        stopped = tokio::time::timeout(patience, stop) => {
            stopped.context("some work did not end in time; what was acknowledged is stored")??;
            telemetry::tell("stopped");
            Ok(())
        }
        number = signals.next() => {
            telemetry::tell("stopped at once");
            std::process::exit(128 + number)
        }
    }
}

/// Caught from the moment this exists, so that a signal during the start is not lost.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub fn catch() -> anyhow::Result<Self> {
        let catch = |kind| signal(kind).context("signals cannot be caught");
        Ok(Self { terminate: catch(SignalKind::terminate())?, interrupt: catch(SignalKind::interrupt())? })
    }

    /// Waits for the next signal to stop; its number.
    pub async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
            _ = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        }
    }
}

/// Where to go and how to get in.
pub async fn print_welcome(app: &App, config: &Config) {
    let folder = config.data_dir.display();
    println!("tango {} is ready in {:.2} s", env!("CARGO_PKG_VERSION"), app.ready_in.as_secs_f64());
    println!();
    println!("  web application  {}", app.url);
    if let Some(url) = &app.outside_url {
        println!("  from outside     {url}");
    }
    println!("  API reference    {}/docs", app.url);
    if let Some(address) = app.objects_address {
        println!("  object store     {address}");
    }
    println!("  data folder      {folder}");
    if let Some(certificate) = &app.certificate {
        let made = if certificate.generated { " (generated for this installation: browsers will warn)" } else { "" };
        println!("  certificate      {}{made}", certificate.certificate.display());
    }
    println!();
    let user = match &app.first_start {
        Some(first) => first.username.clone(),
        None => app.state.auth.first_username().await.unwrap_or_else(|| config.super_user.clone()),
    };
    println!("  user             {user}");
    match app.state.auth.initial_password() {
        Some(password) => {
            println!("  password         {password}");
            println!("                   (generated; kept in {folder}/initial-password until you change it)");
        }
        None => {
            let place = if config.data_dir == Config::default().data_dir {
                String::new()
            } else {
                format!(" --data-dir {folder}")
            };
            println!("  password         as you set it (forgotten? tango{place} user password {user})");
        }
    }
    println!();
    if app.certificate.is_none() && !app.address.ip().is_loopback() {
        println!("WARNING: plain HTTP on {}: passwords and data can be read on the way. For tests only.", app.address);
        println!();
    }
    println!("Stop with Ctrl-C.");
}
