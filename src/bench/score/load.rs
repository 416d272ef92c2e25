//! Load from this process on a server in it: connections that ask one request after the other, as fast as they can or at a given rate.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};

use super::percentile;
use crate::bench::lean_client::Connection;
use crate::bench::{cpu_seconds, cpu_seconds_of_thread};

/// A client's thread holds little but its buffer.
const STACK_BYTES: usize = 256 << 10;

/// What is sent, and how.
#[derive(Clone, Copy)]
pub struct Load<'a> {
    pub address: SocketAddr,
    /// Sent in turn, again from the start; each connection begins elsewhere.
    pub requests: &'a [Vec<u8>],
    pub connections: usize,
    /// So many a second from all connections together, whatever the answers take; none: as soon as the answer is there.
    pub rate: Option<f64>,
    pub duration: Duration,
}

/// What came of it. Milliseconds count from when a request was due to be sent.
pub struct Reached {
    /// Accepted, a second.
    pub rate: f64,
    /// Of everything in the process but the clients, for each answer.
    pub cpu_us: f64,
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub answered: usize,
    pub refused: usize,
    pub refused_p99: f64,
    pub refused_most: f64,
}

/// What one connection saw: milliseconds of each answer, and the CPU time of its thread.
#[derive(Default)]
struct Seen {
    answered: Vec<f64>,
    refused: Vec<f64>,
    cpu_seconds: f64,
}

impl Load<'_> {
    pub fn run(&self) -> Result<Reached> {
        let (started, cpu_before) = (Instant::now(), cpu_seconds());
        let mut all = Seen::default();
        std::thread::scope(|scope| {
            let clients = (0..self.connections).map(|client| {
                let client = move || self.client(client, started);
                std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, client)
            });
            for client in clients.collect::<Vec<_>>() {
                let seen = client?.join().map_err(|_| anyhow!("a client died"))??;
                all.answered.extend(seen.answered);
                all.refused.extend(seen.refused);
                all.cpu_seconds += seen.cpu_seconds;
            }
            anyhow::Ok(())
        })?;
        let answers = all.answered.len() + all.refused.len();
        Ok(Reached {
            rate: all.answered.len() as f64 / started.elapsed().as_secs_f64(),
            cpu_us: (cpu_seconds() - cpu_before - all.cpu_seconds) * 1e6 / answers as f64,
            p50: percentile(&mut all.answered, 0.5),
            p99: percentile(&mut all.answered, 0.99),
            p999: percentile(&mut all.answered, 0.999),
            answered: all.answered.len(),
            refused: all.refused.len(),
            refused_p99: percentile(&mut all.refused, 0.99),
            refused_most: percentile(&mut all.refused, 1.0),
        })
    }

    fn client(&self, client: usize, started: Instant) -> Result<Seen> {
        let mut seen = Seen::default();
        let mut connection = Connection::open(self.address)?;
        let first = client * self.requests.len() / self.connections;
        for (turn, request) in self.requests.iter().cycle().skip(first).enumerate() {
            let due = match self.rate {
                Some(rate) => Duration::from_secs_f64((turn * self.connections + client) as f64 / rate),
                None => started.elapsed(),
            };
            if due >= self.duration {
                break;
            }
            std::thread::sleep(due.saturating_sub(started.elapsed()));
            let (status, _) = connection.ask_for_status(request)?;
            let milliseconds = (started.elapsed() - due).as_secs_f64() * 1e3;
            match status {
                200 => seen.answered.push(milliseconds),
                429 => seen.refused.push(milliseconds),
                other => bail!("the server answered {other}"),
            }
        }
        seen.cpu_seconds = cpu_seconds_of_thread();
        Ok(seen)
    }
}
