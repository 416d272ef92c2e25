//! `tango bench append`: profile records a second through the real HTTP server, beside a bare SQLite loop of the same
//! transactions.
//!
//! The bare loop writes, from as many threads, the very rows that the store writes for each batch (the records, the
//! journal entry and its values, the store's revision; in the second pair the indexes of an accepted schema, too) by prepared
//! statements under the same settings. It reads nothing, checks nothing and counts nothing.
//!
//! What the clients send and what the loop writes is made before the clock starts. The clients share the machine with the server,
//! so that they are as lean as can be, and their CPU time is shown apart.
#![expect(clippy::print_stdout, reason = "figures are the command's output")]

mod client;
mod prepared;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use serde_json::{Value, json};

use self::client::Sent;
use self::prepared::BATCH;
use super::{PASSWORD, cpu_seconds, lean_client, local_config};
use crate::app::App;
use crate::clock::{Clock as _, SystemClock};
use crate::domain::id::AccountId;
use crate::domain::profile::ProfileKind;
use crate::profiles::Profile;
use crate::store::sqlite::{BareTransaction, bare_append_loop};
use crate::store::{Collection, IndexSpec};

const CLIENTS: usize = 8;

/// Arguments: seconds a measurement (5), rounds (3), a folder (the system's temporary one).
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let number = |index: usize, default: u64| match arguments.get(index) {
        Some(text) => text.parse::<u64>().with_context(|| format!("{text:?} is not a whole number")),
        None => Ok(default),
    };
    let (seconds, rounds) = (number(0, 5)?.max(1), number(1, 3)?.max(1));
    let root = arguments.get(2).map_or_else(std::env::temp_dir, PathBuf::from);
    let duration = Duration::from_secs(seconds);
    println!(
        "{CLIENTS} clients, batches of {BATCH}, {seconds} s a measurement, {rounds} rounds, in {} ({} build)",
        root.display(),
        if cfg!(debug_assertions) { "debug" } else { "release" }
    );
    let runtime = tokio::runtime::Runtime::new().context("the asynchronous runtime did not start")?;
    let bodies: Arc<Vec<Vec<Vec<u8>>>> = Arc::new((0..CLIENTS).map(prepared::bodies).collect());
    let profile = Profile::new(AccountId::generate(SystemClock.now()), ProfileKind::Agents);
    let rows: Vec<Vec<BareTransaction>> =
        (0..CLIENTS).map(|client| prepared::transactions(client, &profile, SystemClock.now())).collect();
    let mut medians = [("plain", Vec::new()), ("with an accepted schema and its indexes", Vec::new())];
    for round in 0..rounds {
        for (name, pairs) in &mut medians {
            let indexed = *name != "plain";
            let folder = |name: &str| Folder::new(&root, &format!("{name}-{indexed}-{round}"));
            let reached = runtime.block_on(through_http(&folder("http")?.0, duration, indexed, &bodies))?;
            let scope = profile.account_id.as_str();
            let indexes: Vec<IndexSpec> = reached
                .indexes
                .iter()
                .map(|spec| IndexSpec { scope: Some(scope.to_owned()), ..spec.clone() })
                .collect();
            let cpu_before = cpu_seconds();
            let bare = bare_append_loop(&folder("bare")?.0, scope, &indexes, &rows, duration)?;
            let bare_cpu = (cpu_seconds() - cpu_before) * 1e6 / bare.records as f64;
            println!(
                "round {}, {name}: bare SQLite {:.0} records/s with {bare_cpu:.1} µs of CPU time a record; \
                 tango {:.0} records/s with {:.1} µs, and the clients' {:.1} µs",
                round + 1,
                bare.records_per_second(),
                reached.records_per_second,
                reached.server_cpu_us,
                reached.client_cpu_us,
            );
            pairs.push((bare.records_per_second(), reached.records_per_second));
        }
    }
    for (name, pairs) in medians {
        let bare = median(pairs.iter().map(|pair| pair.0).collect());
        let tango = median(pairs.iter().map(|pair| pair.1).collect());
        println!("medians, {name}: bare SQLite {bare:.0} records/s, tango {tango:.0} ({:.2} ×)", tango / bare);
    }
    Ok(())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

struct Reached {
    records_per_second: f64,
    /// CPU time a record: of everything in the process but the clients, the counting included.
    server_cpu_us: f64,
    client_cpu_us: f64,
    /// The indexes that the store has of the agents.
    indexes: Vec<IndexSpec>,
}

/// Accepted records, acknowledged after they are on the disk.
async fn through_http(
    folder: &Path,
    duration: Duration,
    indexed: bool,
    bodies: &Arc<Vec<Vec<Vec<u8>>>>,
) -> anyhow::Result<Reached> {
    let config = local_config(folder);
    let username = config.super_user.clone();
    let app = App::start(config, Arc::new(SystemClock)).await?;
    let http = reqwest::Client::builder().build()?;
    let body = json!({"username": username, "password": PASSWORD});
    let answer = http.post(format!("{}/api/v1/auth/login", app.url)).json(&body).send().await?.error_for_status()?;
    let token = answer.json::<Value>().await?["token"].as_str().context("the sign-in gave no token")?.to_owned();
    let agents = format!("{}/api/v1/agents", app.url);
    if indexed {
        let first = bodies[0][0].clone();
        http.post(format!("{agents}/records")).bearer_auth(&token).body(first).send().await?.error_for_status()?;
        http.post(format!("{agents}/schema/accept")).bearer_auth(&token).send().await?.error_for_status()?;
        let started = Instant::now();
        loop {
            let lines = http.get(format!("{agents}/indexes")).bearer_auth(&token).send().await?.json::<Value>().await?;
            let ready = |line: &Value| line["state"] == "ready";
            if lines["items"].as_array().is_some_and(|items| items.iter().all(ready)) {
                break;
            }
            if started.elapsed() > Duration::from_secs(30) {
                bail!("the indexes are not ready after 30 s: {lines}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let address = app.address;
    let requests: Vec<Vec<Vec<u8>>> = bodies
        .iter()
        .map(|bodies| {
            bodies.iter().map(|body| lean_client::request(address, "/api/v1/agents/records", &token, body)).collect()
        })
        .collect();
    let (started, cpu_before) = (Instant::now(), cpu_seconds());
    let clients: Vec<_> = requests
        .into_iter()
        .map(|requests| std::thread::spawn(move || client::send(address, &requests, started, duration)))
        .collect();
    let sent = tokio::task::spawn_blocking(move || {
        let join = |client: JoinHandle<anyhow::Result<Sent>>| client.join().map_err(|_| anyhow!("a client died"))?;
        clients.into_iter().map(join).collect::<anyhow::Result<Vec<Sent>>>()
    });
    let sent = sent.await??;
    let (elapsed, cpu) = (started.elapsed(), cpu_seconds() - cpu_before);
    let indexes = app.state.ctx.store.indexes(Collection::Agents).await?.into_iter().map(|index| index.spec).collect();
    app.stop().await?;
    let accepted = sent.iter().map(|sent| sent.accepted).sum::<u64>() as f64;
    let client_cpu: f64 = sent.iter().map(|sent| sent.cpu_seconds).sum();
    Ok(Reached {
        records_per_second: accepted / elapsed.as_secs_f64(),
        server_cpu_us: (cpu - client_cpu) * 1e6 / accepted,
        client_cpu_us: client_cpu * 1e6 / accepted,
        indexes,
    })
}

/// A folder that goes when the measurement is over.
struct Folder(PathBuf);

impl Folder {
    fn new(root: &Path, name: &str) -> anyhow::Result<Self> {
        let path = root.join(format!("tango-bench-append-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "a benchmark's folder stays behind");
        }
    }
}
