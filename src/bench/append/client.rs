//! A client that appends as fast as it is answered.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::bench::cpu_seconds_of_thread;
use crate::bench::lean_client::{Connection, number_after};

/// What one client reached.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sent {
    pub accepted: u64,
    /// Of this client's thread.
    pub cpu_seconds: f64,
}

/// Sends the requests in order, one after the other's answer, again and again until the time is over.
pub fn send(address: SocketAddr, requests: &[Vec<u8>], started: Instant, duration: Duration) -> anyhow::Result<Sent> {
    let cpu_before = cpu_seconds_of_thread();
    let mut connection = Connection::open(address)?;
    let mut accepted = 0;
    for request in requests.iter().cycle() {
        if started.elapsed() >= duration {
            break;
        }
        let body = connection.ask(request)?;
        accepted += number_after(body, b"\"accepted\":").context("an answer does not say what was accepted")?;
    }
    Ok(Sent { accepted, cpu_seconds: cpu_seconds_of_thread() - cpu_before })
}
