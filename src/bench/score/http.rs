//! Whole requests over HTTP on this machine, beside handlers that only read the same requests and write the same answers.
//!
//! The load comes from the same process, on the same cores; its CPU time is counted apart. Every request of a measurement differs from
//! the others in its context, and in its agents or its filter; nothing answers from a cache of answers.

use std::io::Write;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::echo::{Echo, LEAN, PLAIN};
use super::load::{Load, Reached};
use super::server::{SCORE, Server, agent_id, filters};
use super::simulated::{context, mixed};
use super::{Options, ROUNDS, of_rounds, peer, percentile};
use crate::bench::lean_client::Connection;

/// Connections that ask again as soon as they are answered.
const CONNECTIONS: usize = 16;
/// Rounds that take as long as [`ROUNDS`] together: how fast the machine is changes within seconds.
const SHORT_ROUNDS: usize = 15;
/// The peer computes no less for it.
const BEST_BY_FILTER: &str = "half of the agents by filter, top 10";

pub fn run(server: &Server, options: &Options, out: &mut dyn Write) -> Result<()> {
    let duration = Duration::from_secs(options.seconds as u64);
    let short = duration * ROUNDS as u32 / SHORT_ROUNDS as u32;
    let peer = peer::Service::start(options)?;
    for (name, body) in cases(options) {
        let requests = server.requests(&body);
        let answer = Connection::open(server.app.address)?.ask(&requests[0])?.to_vec();
        let echo = server.runtime.block_on(Echo::start(&answer))?;
        let to_echo = |kind: &str| server.requests_to(echo.address, &format!("{kind}{SCORE}"), &body);
        let (to_lean, to_plain) = (to_echo(LEAN), to_echo(PLAIN));
        let engine_us = engine_us(server, &requests)?;
        let load = |address, requests, rate, duration| {
            Load { address, requests, connections: CONNECTIONS, rate, duration }.run()
        };
        let three = |duration| {
            anyhow::Ok(Round {
                lean: load(echo.address, &to_lean, None, duration)?,
                tango: load(server.app.address, &requests, None, duration)?,
                plain: load(echo.address, &to_plain, None, duration)?,
            })
        };
        // Once before it counts, so that all have what they keep.
        three(short)?;
        let mut rounds = (0..SHORT_ROUNDS).map(|_| three(short)).collect::<Result<Vec<Round>>>()?;
        let rate = |round: &Round| round.tango.rate / round.lean.rate;
        rounds.sort_by(|a, b| rate(a).total_cmp(&rate(b)));
        let of_each = |ratio: &dyn Fn(&Round) -> f64| of_rounds(rounds.iter().map(ratio).collect());
        let middle = &rounds[SHORT_ROUNDS / 2];
        writeln!(out, "{name}: {} bytes are answered, the engine alone takes {engine_us:.0} µs", answer.len())?;
        let tell = |out: &mut dyn Write, name: &str, reached: &Reached| {
            writeln!(
                out,
                "  {name:<22} {:>7.0} requests/s, {:>6.1} µs of CPU time each, p50 {:.2} ms, p99 {:.2} ms ({CONNECTIONS} connections)",
                reached.rate, reached.cpu_us, reached.p50, reached.p99
            )
        };
        tell(out, "tango", &middle.tango)?;
        let bare: [(&str, OfRound); 2] =
            [("parse and answer only", |round| &round.lean), ("the same, axum's Json", |round| &round.plain)];
        for (name, of) in bare {
            tell(out, name, of(middle))?;
            let rates = of_each(&|round| round.tango.rate / of(round).rate);
            let cpu_times = of_each(&|round| round.tango.cpu_us / (of(round).cpu_us + engine_us));
            writeln!(
                out,
                "    medians of {SHORT_ROUNDS}        {rates} its rate, {cpu_times} the CPU time of it and the engine together"
            )?;
        }
        let half = load(server.app.address, &requests, Some(middle.tango.rate / 2.0), duration)?;
        writeln!(
            out,
            "  at half of that rate   p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, {} answered, {} refused",
            half.p50, half.p99, half.p999, half.answered, half.refused
        )?;
        if let Some(peer) = peer.as_ref().filter(|_| name != BEST_BY_FILTER) {
            let requests = server.requests_to(peer.address, "/score", &body);
            let theirs = load(peer.address, &requests, None, duration)?;
            writeln!(
                out,
                "  gunicorn, LightGBM     {:>7.0} requests/s, p50 {:.2} ms, p99 {:.2} ms: {:.0} × its rate",
                theirs.rate,
                theirs.p50,
                theirs.p99,
                middle.tango.rate / theirs.rate
            )?;
        }
    }
    Ok(())
}

/// One after the other.
struct Round {
    lean: Reached,
    tango: Reached,
    plain: Reached,
}

type OfRound = fn(&Round) -> &Reached;
type Body = Box<dyn Fn(usize) -> Value>;

fn cases(options: &Options) -> Vec<(&'static str, Body)> {
    let agents = options.agents;
    let by_ids = move |at: usize| {
        let first = (mixed(at, 1) * agents as f64) as usize;
        let ids: Vec<String> = (0..100).map(|n| agent_id((first + 7 * n) % (2 * agents))).collect();
        json!({ "context": context(at), "agents": ids })
    };
    vec![
        ("100 agents by ids", Box::new(by_ids)),
        (BEST_BY_FILTER, Box::new(best_by_filter)),
        ("half of the agents by filter, all answered", Box::new(by_filter)),
    ]
}

fn by_filter(at: usize) -> Value {
    let filters = filters();
    json!({ "context": context(at), "action_filters": filters[at % filters.len()] })
}

pub fn best_by_filter(at: usize) -> Value {
    let mut body = by_filter(at);
    body["top"] = json!(10);
    body
}

/// The median of what the server says that its engine took, asked one after the other.
fn engine_us(server: &Server, requests: &[Vec<u8>]) -> Result<f64> {
    let mut connection = Connection::open(server.app.address)?;
    let mut figures = Vec::new();
    for request in requests {
        connection.ask(request)?;
        figures.extend(connection.server_timing("engine").map(|milliseconds| milliseconds * 1e3));
    }
    Ok(percentile(&mut figures, 0.5))
}
