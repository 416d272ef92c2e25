//! Whole requests over HTTP on this machine, beside a handler that only reads the same requests and writes the same answers.
//!
//! The load comes from the same process, on the same cores; its CPU time is counted apart. Every request of a measurement differs from
//! the others in its context, and in its agents or its filter; nothing answers from a cache of answers.

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use serde_json::json;

use super::echo::Echo;
use super::server::{PREDICTOR, Server, agent_id, filters};
use super::simulated::{context, mixed};
use super::{Options, percentile};
use crate::bench::lean_client::{self, Connection};
use crate::bench::{cpu_seconds, cpu_seconds_of_thread};

/// Different requests of one measurement.
const REQUESTS: usize = 400;
/// Connections that ask again as soon as they are answered.
const CONNECTIONS: usize = 16;

pub fn run(options: &Options, out: &mut dyn Write) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    writeln!(out, "\nOver HTTP: a server with {} agents, HYBRID of {} trees", 2 * options.agents, options.trees)?;
    let server = runtime.block_on(Server::start(options))?;
    let duration = Duration::from_secs(options.seconds as u64);
    for case in cases(options) {
        let path = format!("/api/v1/predictors/{PREDICTOR}/score");
        let send_to = |address: SocketAddr| -> Vec<Vec<u8>> {
            case.bodies.iter().map(|body| lean_client::request(address, &path, &server.token, body)).collect()
        };
        let requests = send_to(server.app.address);
        let answer = Connection::open(server.app.address)?.ask(&requests[0])?.to_vec();
        let echo = runtime.block_on(Echo::start(&answer))?;
        let engine_us = engine_us(&server, &requests)?;
        // Once before it counts, so that both have what they keep.
        for (address, requests) in [(server.app.address, &requests), (echo.address, &send_to(echo.address))] {
            closed_loop(address, requests, CONNECTIONS, duration / 5)?;
        }
        let tango = closed_loop(server.app.address, &requests, CONNECTIONS, duration)?;
        let bare = closed_loop(echo.address, &send_to(echo.address), CONNECTIONS, duration)?;
        writeln!(out, "{}: {} bytes are answered, the engine alone takes {engine_us:.0} µs", case.name, answer.len())?;
        for (name, reached) in [("tango", &tango), ("parse and answer only", &bare)] {
            writeln!(
                out,
                "  {name:<22} {:>7.0} requests/s, {:>6.1} µs of CPU time each, p50 {:.2} ms, p99 {:.2} ms ({CONNECTIONS} connections)",
                reached.rate, reached.cpu_us, reached.p50, reached.p99
            )?;
        }
        writeln!(
            out,
            "  ratio                  {:.2} × its rate, {:.2} × the CPU time of it and the engine together",
            tango.rate / bare.rate,
            tango.cpu_us / (bare.cpu_us + engine_us)
        )?;
        let half = open_loop(server.app.address, &requests, tango.rate / 2.0, duration)?;
        writeln!(
            out,
            "  at half of that rate   p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, {} answered, {} refused",
            half.p50, half.p99, half.p999, half.answered, half.refused
        )?;
    }
    runtime.block_on(server.stop())
}

struct Case {
    name: &'static str,
    bodies: Vec<Vec<u8>>,
}

fn cases(options: &Options) -> Vec<Case> {
    let by_ids = |at: usize| {
        let first = (mixed(at, 1) * options.agents as f64) as usize;
        let ids: Vec<String> = (0..100).map(|n| agent_id((first + 7 * n) % (2 * options.agents))).collect();
        json!({ "context": context(at), "agents": ids })
    };
    let filters = filters();
    let filtered = |at: usize| json!({ "context": context(at), "action_filters": filters[at % filters.len()] });
    let best = |at: usize| {
        let mut body = filtered(at);
        body["top"] = json!(10);
        body
    };
    let bodies =
        |of: &dyn Fn(usize) -> serde_json::Value| (0..REQUESTS).map(|at| of(at).to_string().into_bytes()).collect();
    vec![
        Case { name: "100 agents by ids", bodies: bodies(&by_ids) },
        Case { name: "half of the agents by filter, top 10", bodies: bodies(&best) },
        Case { name: "half of the agents by filter, all answered", bodies: bodies(&filtered) },
    ]
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

struct Reached {
    rate: f64,
    /// Of everything in the process but the clients.
    cpu_us: f64,
    p50: f64,
    p99: f64,
    p999: f64,
    answered: usize,
    refused: usize,
}

/// What one connection saw: milliseconds of each answer, refusals, and the CPU time of its thread.
#[derive(Default)]
struct Seen {
    milliseconds: Vec<f64>,
    refused: usize,
    cpu_seconds: f64,
}

fn gather(threads: Vec<std::thread::JoinHandle<Result<Seen>>>, started: Instant, cpu_before: f64) -> Result<Reached> {
    let mut all = Seen::default();
    for thread in threads {
        let seen = thread.join().map_err(|_| anyhow!("a client died"))??;
        all.milliseconds.extend(seen.milliseconds);
        all.refused += seen.refused;
        all.cpu_seconds += seen.cpu_seconds;
    }
    let elapsed = started.elapsed().as_secs_f64();
    let answered = all.milliseconds.len();
    Ok(Reached {
        rate: answered as f64 / elapsed,
        cpu_us: (cpu_seconds() - cpu_before - all.cpu_seconds) * 1e6 / answered as f64,
        p50: percentile(&mut all.milliseconds, 0.5),
        p99: percentile(&mut all.milliseconds, 0.99),
        p999: percentile(&mut all.milliseconds, 0.999),
        answered,
        refused: all.refused,
    })
}

/// Connections that ask again as soon as they are answered.
fn closed_loop(address: SocketAddr, requests: &[Vec<u8>], connections: usize, duration: Duration) -> Result<Reached> {
    let (started, cpu_before) = (Instant::now(), cpu_seconds());
    let threads = (0..connections)
        .map(|client| {
            let requests = requests.to_vec();
            std::thread::spawn(move || {
                let mut seen = Seen::default();
                let mut connection = Connection::open(address)?;
                for request in requests.iter().cycle().skip(client * REQUESTS / connections) {
                    let asked = Instant::now();
                    if started.elapsed() >= duration {
                        break;
                    }
                    let (status, _) = connection.ask_for_status(request)?;
                    match status {
                        200 => seen.milliseconds.push(asked.elapsed().as_secs_f64() * 1e3),
                        429 => seen.refused += 1,
                        other => anyhow::bail!("the server answered {other}"),
                    }
                }
                seen.cpu_seconds = cpu_seconds_of_thread();
                Ok(seen)
            })
        })
        .collect();
    gather(threads, started, cpu_before)
}

/// So many requests a second whatever the answers take; each is timed from when it was due.
fn open_loop(address: SocketAddr, requests: &[Vec<u8>], rate: f64, duration: Duration) -> Result<Reached> {
    let (started, cpu_before) = (Instant::now(), cpu_seconds());
    let threads = (0..CONNECTIONS)
        .map(|client| {
            let requests = requests.to_vec();
            std::thread::spawn(move || {
                let mut seen = Seen::default();
                let mut connection = Connection::open(address)?;
                for (turn, request) in requests.iter().cycle().skip(client * REQUESTS / CONNECTIONS).enumerate() {
                    let due = Duration::from_secs_f64((turn * CONNECTIONS + client) as f64 / rate);
                    if due >= duration {
                        break;
                    }
                    std::thread::sleep(due.saturating_sub(started.elapsed()));
                    let (status, _) = connection.ask_for_status(request)?;
                    match status {
                        200 => seen.milliseconds.push((started.elapsed() - due).as_secs_f64() * 1e3),
                        _ => seen.refused += 1,
                    }
                }
                seen.cpu_seconds = cpu_seconds_of_thread();
                Ok(seen)
            })
        })
        .collect();
    gather(threads, started, cpu_before)
}
