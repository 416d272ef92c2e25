//! What scores take while more is asked than can be answered, and while agents and models change.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use serde_json::json;

use super::load::{Load, Reached};
use super::server::{CROWD, Server, agent_record, crowd_filter};
use super::simulated::{context, mixed};
use super::{Options, ROUNDS, http, of_rounds};
use crate::bench::{lean_client, peak_memory_mb, reset_peak_memory};

const CONNECTIONS: usize = 64;
/// As many more connections, or as much more than what can be answered.
const TIMES: usize = 10;
/// Agents that change in one call, and calls a second.
const CHANGED: usize = 50;
const CALLS_PER_SECOND: usize = 20;

pub fn run(server: &Server, options: &Options, out: &mut dyn Write) -> Result<()> {
    let many = server.requests(&http::best_by_filter);
    much_at_once(options.agents, &many, options, server, false, out)?;
    while_agents_change(&many, server, options, out)?;
    server.add_crowd(2 * options.agents)?;
    let crowd = |at: usize| json!({"context": context(at), "action_filters": crowd_filter(at), "top": 10});
    much_at_once(CROWD, &server.requests(&crowd), options, server, true, out)
}

/// A steady rate while nothing changes, then while agents and the active model do.
fn while_agents_change(requests: &[Vec<u8>], server: &Server, options: &Options, out: &mut dyn Write) -> Result<()> {
    let duration = Duration::from_secs(options.seconds as u64);
    let load = |rate| Load { address: server.app.address, requests, connections: CONNECTIONS, rate, duration }.run();
    writeln!(
        out,
        "While agents change: {} agents by filter, top 10, at a quarter of the greatest rate",
        options.agents
    )?;
    let rate = Some(load(None)?.rate / 4.0);
    let mut ratios = Vec::new();
    for round in 0..ROUNDS {
        // What the round before left to do is not counted.
        load(rate)?;
        let calm = load(rate)?;
        tell(out, "nothing changes", &calm, None)?;
        let over = AtomicBool::new(false);
        let (busy, changed) = std::thread::scope(|scope| {
            let changes = scope.spawn(|| change_agents(server, options, &over));
            let swap = scope.spawn(|| {
                std::thread::sleep(duration / 2);
                server.activate((round + 1) % 2)
            });
            let busy = load(rate);
            over.store(true, Ordering::Relaxed);
            let ended = |_| anyhow!("a client died");
            swap.join().map_err(ended)??;
            let changed = changes.join().map_err(ended)??;
            anyhow::Ok((busy?, changed))
        })?;
        tell(out, &format!("{changed:.0} changes/s, a swap"), &busy, Some(&calm))?;
        ratios.push(busy.p99 / calm.p99);
    }
    Ok(writeln!(out, "  p99, median of {ROUNDS}       {}", of_rounds(ratios))?)
}

/// Some connections, then so many times as many; or as many times their rate from clients that do not wait for each other. Refusing takes so much
/// less than answering that many clients of the first kind can only be as quick as they are.
fn much_at_once(
    agents: usize,
    requests: &[Vec<u8>],
    options: &Options,
    server: &Server,
    at_a_rate: bool,
    out: &mut dyn Write,
) -> Result<()> {
    let duration = Duration::from_secs(options.seconds as u64);
    let load = |connections, rate| Load { address: server.app.address, requests, connections, rate, duration }.run();
    writeln!(out, "Much at once: {agents} agents by filter, top 10")?;
    let (mut ratios, mut usual_mb, mut most_mb) = (Vec::new(), f64::NAN, f64::NAN);
    for round in 0..ROUNDS {
        reset_peak_memory();
        let usual = load(CONNECTIONS, None)?;
        tell(out, &format!("{CONNECTIONS} connections"), &usual, None)?;
        // Later ones begin with what was not given back.
        if round == 0 {
            usual_mb = peak_memory_mb();
        }
        reset_peak_memory();
        let (name, rate) = match at_a_rate {
            false => (format!("{} connections", TIMES * CONNECTIONS), None),
            true => (format!("{TIMES} × that rate"), Some(TIMES as f64 * usual.rate)),
        };
        let strained = load(TIMES * CONNECTIONS, rate)?;
        tell(out, &name, &strained, Some(&usual))?;
        most_mb = most_mb.max(peak_memory_mb());
        ratios.push(strained.p99 / usual.p99);
    }
    writeln!(out, "  p99, median of {ROUNDS}       {}", of_rounds(ratios))?;
    writeln!(out, "  peak memory            {usual_mb:.0} MB, then {most_mb:.0} MB")?;
    Ok(())
}

fn tell(out: &mut dyn Write, name: &str, reached: &Reached, against: Option<&Reached>) -> Result<()> {
    write!(out, "  {name:<22} {:>7.0} answered/s, p50 {:.2} ms, p99 {:.2} ms", reached.rate, reached.p50, reached.p99)?;
    if let Some(against) = against {
        write!(out, " ({:.1} ×)", reached.p99 / against.p99)?;
    }
    match reached.refused {
        0 => writeln!(out, "; none refused")?,
        refused => writeln!(
            out,
            "; {refused} refused of {}, p99 {:.1} ms, {:.1} ms at most",
            refused + reached.answered,
            reached.refused_p99,
            reached.refused_most
        )?,
    }
    Ok(())
}

/// Posts changed agents at a steady rate until told that it is over; changes a second.
fn change_agents(server: &Server, options: &Options, over: &AtomicBool) -> Result<f64> {
    let mut connection = lean_client::Connection::open(server.app.address)?;
    let started = Instant::now();
    let mut calls = 0;
    while !over.load(Ordering::Relaxed) {
        let record = |n: usize| {
            let mut record = agent_record((calls * CHANGED + n) * 7 % (2 * options.agents));
            record["a0"] = json!(mixed(calls, n));
            record
        };
        let records: Vec<_> = (0..CHANGED).map(record).collect();
        let body = json!({ "records": records }).to_string();
        connection.ask(&lean_client::request(
            server.app.address,
            "/api/v1/agents/records",
            &server.token,
            body.as_bytes(),
        ))?;
        calls += 1;
        let due = Duration::from_secs_f64(calls as f64 / CALLS_PER_SECOND as f64);
        std::thread::sleep(due.saturating_sub(started.elapsed()));
    }
    Ok((calls * CHANGED) as f64 / started.elapsed().as_secs_f64())
}
