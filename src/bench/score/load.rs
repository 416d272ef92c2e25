//! Load from this process on a server in it: connections that ask one request after the other, as fast as they can or at a given rate.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;

use super::percentile;
use crate::bench::lean_client::Connection;
use crate::bench::{cpu_seconds, cpu_seconds_of_thread};

/// Threads that the connections share: enough to keep any server of this machine busy, too few to be in its way themselves.
const THREADS: usize = 4;

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

/// What one thread saw: milliseconds of each answer, and its CPU time.
#[derive(Default)]
struct Seen {
    answered: Vec<f64>,
    refused: Vec<f64>,
    cpu_seconds: f64,
}

impl Load<'_> {
    pub fn run(&self) -> Result<Reached> {
        // Connections first: what is measured is asking.
        let threads = THREADS.min(self.connections);
        let clients_of = |thread| (thread..self.connections).step_by(threads).map(|client| Client::new(self, client));
        let clients = (0..threads).map(|thread| clients_of(thread).collect()).collect::<Result<Vec<Vec<_>>>>()?;
        let (started, cpu_before) = (Instant::now(), cpu_seconds());
        let mut all = Seen::default();
        std::thread::scope(|scope| {
            let clients = clients.into_iter().map(|clients| scope.spawn(move || self.ask(clients, started)));
            for client in clients.collect::<Vec<_>>() {
                let seen = client.join().map_err(|_| anyhow!("a client died"))??;
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

    /// Asks over these connections until the time is over.
    fn ask(&self, mut clients: Vec<Client>, started: Instant) -> Result<Seen> {
        let mut seen = Seen::default();
        loop {
            let mut next_due = None;
            for client in clients.iter_mut().filter(|client| !client.waits) {
                if client.due <= started.elapsed() {
                    client.send(self)?;
                } else if next_due.is_none_or(|due| client.due < due) {
                    next_due = Some(client.due);
                }
            }
            let mut waiting: Vec<&mut Client> = clients.iter_mut().filter(|client| client.waits).collect();
            let patience = next_due.map(|due| due.saturating_sub(started.elapsed()));
            match (waiting.is_empty(), patience) {
                (true, None) => break,
                (true, Some(patience)) => std::thread::sleep(patience),
                (false, patience) => {
                    let wanted = waiting.iter().map(|client| PollFd::new(&client.connection, PollFlags::IN));
                    let mut wanted: Vec<PollFd<'_>> = wanted.collect();
                    let patience = patience.map(Timespec::try_from).transpose()?;
                    retry_on_intr(|| poll(&mut wanted, patience.as_ref()))?;
                    let ready: Vec<bool> = wanted.iter().map(|one| !one.revents().is_empty()).collect();
                    for (client, _) in waiting.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
                        client.receive(self, started, &mut seen)?;
                    }
                }
            }
            clients.retain(|client| client.waits || client.due < self.duration);
        }
        seen.cpu_seconds = cpu_seconds_of_thread();
        Ok(seen)
    }
}

/// One connection.
struct Client {
    number: usize,
    connection: Connection,
    /// Requests so far.
    turn: usize,
    /// When the request of this turn is due, after the start.
    due: Duration,
    /// It was sent, and is not answered yet.
    waits: bool,
}

impl Client {
    fn new(load: &Load<'_>, number: usize) -> Result<Self> {
        let connection = Connection::open(load.address)?;
        let mut client = Self { number, connection, turn: 0, due: Duration::ZERO, waits: false };
        client.due = client.due_at_a_rate(load).unwrap_or_default();
        Ok(client)
    }

    fn due_at_a_rate(&self, load: &Load<'_>) -> Option<Duration> {
        load.rate.map(|rate| Duration::from_secs_f64((self.turn * load.connections + self.number) as f64 / rate))
    }

    fn send(&mut self, load: &Load<'_>) -> Result<()> {
        let first = self.number * load.requests.len() / load.connections;
        self.connection.send(&load.requests[(first + self.turn) % load.requests.len()])?;
        self.waits = true;
        Ok(())
    }

    fn receive(&mut self, load: &Load<'_>, started: Instant, seen: &mut Seen) -> Result<()> {
        let Some((status, _)) = self.connection.receive()? else { return Ok(()) };
        let now = started.elapsed();
        let milliseconds = (now - self.due).as_secs_f64() * 1e3;
        match status {
            200 => seen.answered.push(milliseconds),
            429 => seen.refused.push(milliseconds),
            other => bail!("the server answered {other}"),
        }
        (self.turn, self.waits) = (self.turn + 1, false);
        self.due = self.due_at_a_rate(load).unwrap_or(now);
        Ok(())
    }
}
