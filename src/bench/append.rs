//! `tango bench append`: profile records per second through the real HTTP server, beside a bare SQLite loop that
//! commits the same records in transactions of the same size from as many threads.
#![expect(clippy::print_stdout, reason = "figures are the command's output")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::app::App;
use crate::clock::SystemClock;
use crate::config::{Config, Secret};
use crate::store::sqlite::bare_append_loop;

const CLIENTS: usize = 8;
const BATCH: usize = 100;
/// Records of each client; later batches update them.
const IDS: usize = 5_000;
const PASSWORD: &str = "for a benchmark only";

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
    let mut figures: [Vec<f64>; 3] = Default::default();
    for round in 0..rounds {
        let folder = |name: &str| Folder::new(&root, &format!("{name}-{round}"));
        let bare = folder("bare")?;
        let loop_figures = bare_append_loop(&bare.0, CLIENTS, BATCH, IDS, duration, &|thread, record| {
            stored_record(thread, record).to_string()
        })?;
        let plain = runtime.block_on(through_http(&folder("plain")?.0, duration, false))?;
        let indexed = runtime.block_on(through_http(&folder("indexed")?.0, duration, true))?;
        println!(
            "round {}: bare SQLite {:.0}, tango {plain:.0}, tango with an accepted schema and its indexes {indexed:.0} records/s",
            round + 1,
            loop_figures.records_per_second()
        );
        for (all, figure) in figures.iter_mut().zip([loop_figures.records_per_second(), plain, indexed]) {
            all.push(figure);
        }
    }
    let [bare, plain, indexed] = figures.map(median);
    println!(
        "medians, records/s: bare SQLite {bare:.0}; tango {plain:.0} ({:.2} ×); with indexes {indexed:.0} ({:.2} ×)",
        plain / bare,
        indexed / bare
    );
    Ok(())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What a connector posts of an agent.
fn fields(client: usize, record: usize) -> Value {
    json!({
        "loginStatus": record % 10,
        "skills": {"English": record % 6, "Billing": (record + client) % 11, "Tech": true},
        "groups": ["Frontline", if record.is_multiple_of(2) { "Billing" } else { "Sales" }],
        "site": format!("site {}", record % 17),
        "tenure": record as f64 / 7.0,
        "changed": record,
    })
}

fn id(client: usize, record: usize) -> String {
    format!("{client}-{}", record % IDS)
}

fn posted_record(client: usize, record: usize) -> Value {
    let mut posted = fields(client, record);
    posted["id"] = id(client, record).into();
    posted
}

/// The same record as the store keeps it: the bare loop writes the same bytes.
fn stored_record(client: usize, record: usize) -> Value {
    json!({
        "id": id(client, record),
        "version": null,
        "fields": fields(client, record),
        "updated_at": "2024-05-01T08:30:00.000000Z",
        "entry": "jrn_01hw0000000000000000000000",
    })
}

/// Accepted records per second, acknowledged after they are on the disk.
async fn through_http(folder: &Path, duration: Duration, indexed: bool) -> anyhow::Result<f64> {
    let any_port = ([127, 0, 0, 1], 0).into();
    let config = Config {
        data_dir: folder.join("data"),
        listen: any_port,
        s3_listen: Some(any_port),
        super_user_password: Some(Secret(PASSWORD.to_owned())),
        drain_seconds: 0,
        ..Config::default()
    };
    let username = config.super_user.clone();
    let app = App::start(config, Arc::new(SystemClock)).await?;
    let http = reqwest::Client::builder().build()?;
    let body = json!({"username": username, "password": PASSWORD});
    let answer = http.post(format!("{}/api/v1/auth/login", app.url)).json(&body).send().await?.error_for_status()?;
    let token = answer.json::<Value>().await?["token"].as_str().context("the sign-in gave no token")?.to_owned();
    if indexed {
        let first = json!({"records": [posted_record(0, 0)]});
        let agents = format!("{}/api/v1/agents", app.url);
        http.post(format!("{agents}/records")).bearer_auth(&token).json(&first).send().await?.error_for_status()?;
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
    let started = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (http, token, url) = (http.clone(), token.clone(), format!("{}/api/v1/agents/records", app.url));
            tokio::spawn(async move {
                let mut accepted = 0;
                let mut first = 0;
                while started.elapsed() < duration {
                    let records: Vec<Value> =
                        (first..first + BATCH).map(|record| posted_record(client, record + 1)).collect();
                    first += BATCH;
                    let body = json!({"records": records});
                    let answer = http.post(&url).bearer_auth(&token).json(&body).send().await?.error_for_status()?;
                    accepted += answer.json::<Value>().await?["accepted"].as_u64().unwrap_or_default();
                }
                anyhow::Ok(accepted)
            })
        })
        .collect();
    let mut accepted = 0;
    for client in clients {
        accepted += client.await??;
    }
    let elapsed = started.elapsed();
    app.stop().await?;
    Ok(accepted as f64 / elapsed.as_secs_f64())
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
