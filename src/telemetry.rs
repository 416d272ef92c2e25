//! Logs and metrics.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, fmt, reload};

use crate::config::LogFormat;
use crate::quick_map::QuickMap;

/// Requests by route and status.
pub const HTTP_REQUESTS: &str = "tango_http_requests_total";
/// Time to answer in seconds, by route.
pub const HTTP_SECONDS: &str = "tango_http_request_seconds";
/// Time that the engine takes for one score request.
pub const SCORE_SECONDS: &str = "tango_score_engine_seconds";
/// 1 while the object store can be used, else 0.
pub const OBJECT_STORE_UP: &str = "tango_object_store_up";
/// How often the in-memory follower had to load everything again.
pub const LIVE_RELOADS: &str = "tango_live_reloads_total";

/// Seconds from a change's commit until this process heard of it (clocks compared, so not below their difference).
pub const FEED_SECONDS: &str = "tango_feed_seconds";
/// Seconds since the change feed was last known to be complete; it is renewed twice a second.
pub const FEED_LAG_SECONDS: &str = "tango_feed_lag_seconds";
/// 1 while the document store can be written.
pub const STORE_WRITABLE: &str = "tango_store_writable";
/// How often the change feed broke off and was taken up again.
pub const FEED_BREAKS: &str = "tango_feed_breaks_total";

/// Counts a request that was answered.
pub fn answered(route: &str, status: u16, took: Duration) {
    // What the metrics' own look-up by name and labels costs would be felt by scores.
    static KNOWN: LazyLock<ArcSwap<QuickMap<String, QuickMap<u16, Answered>>>> = LazyLock::new(ArcSwap::default);
    let known = KNOWN.load();
    let counted = match known.get(route).and_then(|route| route.get(&status)) {
        Some(known) => known.clone(),
        None => {
            let new = Answered {
                requests: metrics::counter!(HTTP_REQUESTS, "route" => route.to_owned(), "status" => status.to_string()),
                seconds: metrics::histogram!(HTTP_SECONDS, "route" => route.to_owned()),
            };
            KNOWN.rcu(|known| {
                let mut known = QuickMap::clone(known);
                known.entry(route.to_owned()).or_default().insert(status, new.clone());
                known
            });
            new
        }
    };
    counted.requests.increment(1);
    counted.seconds.record(took.as_secs_f64());
}

/// Counts a score that the engine has computed.
pub fn scored(took: Duration) {
    static SECONDS: LazyLock<metrics::Histogram> = LazyLock::new(|| metrics::histogram!(SCORE_SECONDS));
    SECONDS.record(took.as_secs_f64());
}

#[derive(Clone)]
struct Answered {
    requests: metrics::Counter,
    seconds: metrics::Histogram,
}

/// What `LOG_LEVEL` may be, least first.
pub const LEVELS: [&str; 5] = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"];

static CURRENT: AtomicUsize = AtomicUsize::new(2);
/// The log is read by programs.
static FOR_PROGRAMS: AtomicBool = AtomicBool::new(false);
static RELOAD: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();
static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();

/// Writes logs to standard error from now on. A second call only changes the level.
pub fn start_logging(level: &str, format: LogFormat) -> Result<(), String> {
    let position = position(level)?;
    if RELOAD.get().is_some() {
        return set_level(level);
    }
    let (filter, handle) = reload::Layer::new(filter(position));
    // Colours are for a person at a terminal, not for a file or a journal.
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(colours).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    // Another subscriber (a test's) may be there first; then it stays.
    if tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok() {
        FOR_PROGRAMS.store(format == LogFormat::Json, Ordering::Relaxed);
        let _ = RELOAD.set(handle);
    }
    CURRENT.store(position, Ordering::Relaxed);
    Ok(())
}

/// Says something to the person at the terminal; where programs read the log it is an event like others.
#[expect(clippy::print_stderr, reason = "it is what a person reads")]
pub fn tell(text: impl std::fmt::Display) {
    match FOR_PROGRAMS.load(Ordering::Relaxed) {
        true => tracing::info!("{text}"),
        false => eprintln!("{text}"),
    }
}

/// The same of what a process ends with.
#[expect(clippy::print_stderr, reason = "it is what a person reads")]
pub fn tell_failure(error: &anyhow::Error) {
    match FOR_PROGRAMS.load(Ordering::Relaxed) {
        true => tracing::error!("{error:#}"),
        false => eprintln!("error: {error:#}"),
    }
}

/// Changes the level while the program runs; the error says what is allowed.
pub fn set_level(level: &str) -> Result<(), String> {
    let position = position(level)?;
    if let Some(handle) = RELOAD.get() {
        handle.reload(filter(position)).map_err(|error| format!("the log cannot be changed: {error}"))?;
    }
    CURRENT.store(position, Ordering::Relaxed);
    Ok(())
}

/// The level in use.
pub fn level() -> &'static str {
    LEVELS[CURRENT.load(Ordering::Relaxed).min(LEVELS.len() - 1)]
}

fn position(level: &str) -> Result<usize, String> {
    LEVELS
        .iter()
        .position(|known| known.eq_ignore_ascii_case(level))
        .ok_or_else(|| format!("{level:?} is not a log level: use one of {}", LEVELS.join(", ")))
}

/// Our own lines at the level; those of libraries only from WARN, or all of them at TRACE.
fn filter(position: usize) -> EnvFilter {
    let own = LEVELS[position].to_ascii_lowercase();
    let others = match position {
        0 => "error",
        4 => "debug",
        _ => "warn",
    };
    EnvFilter::new(format!("{others},tango={own}"))
}

/// Collects metrics from now on.
pub fn start_metrics() {
    if METRICS.get().is_some() {
        return;
    }
    const SECONDS: [f64; 14] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
    let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS);
    match builder.map(PrometheusBuilder::install_recorder) {
        Ok(Ok(handle)) => {
            let _ = METRICS.set(handle);
            metrics::gauge!("tango_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        }
        Ok(Err(error)) => tracing::debug!(%error, "metrics are collected elsewhere"),
        Err(error) => tracing::warn!(%error, "metrics are not collected"),
    }
}

/// The text format of Prometheus.
pub fn metrics_text() -> String {
    METRICS.get().map(PrometheusHandle::render).unwrap_or_default()
}

/// Lets go of what histograms keep between two readings; call it every few seconds.
pub fn metrics_upkeep() {
    if let Some(handle) = METRICS.get() {
        handle.run_upkeep();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_level_names_the_allowed_ones() {
        assert!(position("debug").is_ok());
        assert!(position("LOUD").unwrap_err().contains("ERROR, WARN, INFO, DEBUG, TRACE"));
    }
}
