//! `tango bench score`: how fast scores are, alone and over HTTP.

mod choosing;
mod counting;
mod echo;
mod engine;
mod http;
mod load;
mod peer;
mod server;
mod simulated;
mod strain;

use std::io::Write;

use anyhow::{Result, bail};

use super::number;

/// How large the model is and how often it is asked.
#[derive(Debug, Clone)]
pub struct Options {
    pub agents: usize,
    pub trees: u32,
    pub requests: usize,
    /// Seconds of each measurement over HTTP.
    pub seconds: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { agents: 1_000, trees: 500, requests: 300, seconds: 5 }
    }
}

/// `tango bench score`.
pub fn command(arguments: &[String]) -> Result<()> {
    let default = Options::default();
    let options = Options {
        agents: number(arguments, "--agents")?.unwrap_or(default.agents).max(1),
        trees: number(arguments, "--trees")?.map_or(default.trees, |trees| trees.min(5_000) as u32),
        requests: number(arguments, "--requests")?.unwrap_or(default.requests).max(1),
        seconds: number(arguments, "--seconds")?.unwrap_or(default.seconds).max(1),
    };
    let out: &mut dyn Write = &mut std::io::stdout();
    match arguments.first().map(String::as_str) {
        Some("engine") => engine::run(&options, out),
        Some("choosing") => choosing::run(&options, out),
        Some("http") => over_http(&options, out, &[http::run, strain::run]),
        Some("strain") => over_http(&options, out, &[strain::run]),
        Some(other) if !other.starts_with("--") => {
            bail!(
                "there is no part {other:?} of this benchmark: engine, choosing, http (with strain) and strain alone are its parts"
            )
        }
        _ => {
            engine::run(&options, out)?;
            choosing::run(&options, out)?;
            over_http(&options, out, &[http::run, strain::run])
        }
    }
}

type Part = fn(&server::Server, &Options, &mut dyn Write) -> Result<()>;

fn over_http(options: &Options, out: &mut dyn Write, parts: &[Part]) -> Result<()> {
    writeln!(out, "\nOver HTTP: a server with {} agents, HYBRID of {} trees", 2 * options.agents, options.trees)?;
    let server = server::Server::start(options)?;
    for part in parts {
        part(&server, options, out)?;
    }
    server.stop()
}

/// Times that two loads follow each other in turn: what the machine does besides hits both.
const ROUNDS: usize = 5;

/// The median of what rounds gave, with the least and the most.
fn of_rounds(mut ratios: Vec<f64>) -> String {
    let [least, median, most] = [0.0, 0.5, 1.0].map(|share| percentile(&mut ratios, share));
    format!("{median:.2} × ({least:.2} to {most:.2})")
}

/// Median and other shares of some figures.
fn percentile(figures: &mut [f64], share: f64) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(((figures.len().max(1) - 1) as f64 * share) as usize).copied().unwrap_or(f64::NAN)
}
