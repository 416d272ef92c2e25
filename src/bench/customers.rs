//! `tango bench customers`: customer records into a cluster, from a file and through the API, beside a plain loop of the database's driver
//! on the same servers in the same run.
//!
//! The plain loops write the same documents in batches of 1,000 with the same acknowledgement (most members' journals). They read
//! nothing, check nothing, count nothing and tell nobody.
#![expect(clippy::print_stdout, reason = "figures are the command's output")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::PASSWORD;
use crate::app::{App, mongo_settings};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Config, Secret, Sources};
use crate::store::Key;
use crate::store::mongo::MongoStore;

const BATCH: usize = 1_000;
const CLIENTS: usize = 4;

/// Arguments: records (200,000), rounds (3). The cluster is the one of MONGODB_URL and S3_ENDPOINT; a database of its own, named
/// `tango_bench`, is used and left empty.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let number = |index: usize, default: usize| match arguments.get(index) {
        Some(text) => text.parse::<usize>().with_context(|| format!("{text:?} is not a whole number")),
        None => Ok(default),
    };
    let (records, rounds) = (number(0, 200_000)?.max(BATCH), number(1, 3)?.max(1));
    let loaded = crate::config::load(&Sources::of_process(None, Vec::new())).map_err(anyhow::Error::msg)?;
    let folder = std::env::temp_dir().join(format!("tango-bench-{}", std::process::id()));
    let mut config = loaded.config;
    let Some(Secret(url)) = &config.mongodb_url else {
        bail!(
            "MONGODB_URL is not set: this benchmark needs a cluster (`deploy/dev-cluster env` prints the settings of one)"
        )
    };
    config.mongodb_url = Some(Secret(with_database(url)));
    config.data_dir.clone_from(&folder);
    config.listen = ([127, 0, 0, 1], 0).into();
    config.super_user_password = Some(Secret(PASSWORD.to_owned()));
    config.drain_seconds = 0;
    let runtime = tokio::runtime::Runtime::new().context("the asynchronous runtime did not start")?;
    let outcome = runtime.block_on(measure(&config, records, rounds));
    let _ = std::fs::remove_dir_all(&folder);
    outcome
}

fn with_database(url: &str) -> String {
    let (before, options) =
        url.split_once('?').map_or((url, String::new()), |(before, rest)| (before, format!("?{rest}")));
    let hosts = match before.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.split('/').next().unwrap_or(rest)),
        None => before.to_owned(),
    };
    format!("{hosts}/tango_bench{options}")
}

/// Seconds of one round.
struct Round {
    inserting: f64,
    upserting: f64,
    file: f64,
    api: f64,
}

async fn measure(config: &Config, records: usize, rounds: usize) -> anyhow::Result<()> {
    println!(
        "{records} customers, batches of {BATCH}, {rounds} rounds ({} build)",
        if cfg!(debug_assertions) { "debug" } else { "release" }
    );
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings = mongo_settings(config).context("MONGODB_URL is not set")?;
    let mut figures = Vec::new();
    for round in 0..rounds {
        let store = MongoStore::open(&settings, SystemClock.now()).await?;
        store.drop_database().await?;
        drop(store);
        let store = MongoStore::open(&settings, SystemClock.now()).await?;
        let [documents, others] = [0, 1].map(|change| (0..records).map(|n| document(n, change)).collect::<Vec<_>>());
        let plain = store.plain_loops(&documents, &others, BATCH).await?;
        drop((store, documents, others));
        let app = App::start(config.clone(), Arc::new(SystemClock)).await?;
        let client = Client::new(&app, config).await?;
        let file = client.upload(records).await?;
        client.wait_for_jobs().await?;
        let api = client.append(records).await?;
        app.stop().await?;
        let seconds = Round {
            inserting: plain.inserting.as_secs_f64(),
            upserting: plain.upserting.as_secs_f64(),
            file: file.as_secs_f64(),
            api: api.as_secs_f64(),
        };
        let rate = |seconds: f64| records as f64 / seconds;
        println!(
            "round {}: driver {:.0} inserts/s, {:.0} upserts/s; tango {:.0} records/s from a file, {:.0} changes/s through the API",
            round + 1,
            rate(seconds.inserting),
            rate(seconds.upserting),
            rate(seconds.file),
            rate(seconds.api)
        );
        figures.push(seconds);
    }
    let store = MongoStore::open(&settings, SystemClock.now()).await?;
    store.drop_database().await?;
    let median = |of: fn(&Round) -> f64| {
        let mut all: Vec<f64> = figures.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    println!(
        "medians: from a file {:.2} × the inserting loop, through the API {:.2} × the upserting loop",
        median(|round| round.inserting) / median(|round| round.file),
        median(|round| round.upserting) / median(|round| round.api)
    );
    Ok(())
}

/// What tango stores of a customer.
fn document(n: usize, change: usize) -> (Key, String) {
    let fields = fields(n, change);
    let id = format!("c{n:07}");
    let body = json!({
        "id": id, "version": null, "fields": fields, "updated_at": "2026-05-14T08:00:00Z", "entry": "jrn_0123456789abcdefghijklmnop",
    });
    (Key::new("acc_0123456789abcdefghijklmnop", id), body.to_string())
}

fn fields(n: usize, change: usize) -> Value {
    json!({
        "age": 18 + (n * 7 + change) % 70,
        "language": (["de", "en", "es", "fr"][n % 4]),
        "open_tickets": (n + change) % 5,
        "segment": format!("segment {}", n % 23),
        "tier": (["basic", "silver", "gold"][n % 3]),
        "value": (n % 10_000) as f64 / 8.0,
    })
}

struct Client {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Client {
    async fn new(app: &App, config: &Config) -> anyhow::Result<Self> {
        let mut http = reqwest::Client::builder();
        if let Some(file) = &config.s3_ca_file {
            http = http.add_root_certificate(reqwest::Certificate::from_pem(&std::fs::read(file)?)?);
        }
        let http = http.build()?;
        let body = json!({"username": config.super_user, "password": PASSWORD});
        let answer =
            http.post(format!("{}/api/v1/auth/login", app.url)).json(&body).send().await?.error_for_status()?;
        let token = answer.json::<Value>().await?["token"].as_str().context("the sign-in gave no token")?.to_owned();
        Ok(Self { http, url: app.url.clone(), token })
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.http.post(format!("{}{path}", self.url)).bearer_auth(&self.token).json(body);
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        anyhow::ensure!(status.is_success(), "{path}: {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// From the completed upload to the end of its job: reading, checking, storing and counting.
    async fn upload(&self, records: usize) -> anyhow::Result<Duration> {
        let mut csv = String::from("customer_id,age,language,open_tickets,segment,tier,value\n");
        for n in 0..records {
            let fields = fields(n, 0);
            let text = |name: &str| fields[name].as_str().map_or_else(|| fields[name].to_string(), str::to_owned);
            let columns = ["age", "language", "open_tickets", "segment", "tier", "value"].map(text);
            csv.push_str(&format!("c{n:07},{}\n", columns.join(",")));
        }
        let ask =
            json!({"target": "customers", "filename": "customers.csv", "size_bytes": csv.len(), "mode": "create"});
        let upload = self.post("/api/v1/uploads", &ask).await?;
        let mut parts = Vec::new();
        let mut rest = csv.as_bytes();
        for part in upload["parts"].as_array().context("the upload has no parts")? {
            let size = usize::try_from(part["size_bytes"].as_u64().unwrap_or(0))?;
            let (now, later) = rest.split_at(size);
            rest = later;
            let mut put = self.http.put(part["url"].as_str().unwrap_or_default()).body(now.to_vec());
            for (name, value) in part["headers"].as_object().into_iter().flatten() {
                put = put.header(name, value.as_str().unwrap_or_default());
            }
            let put = put.send().await?.error_for_status()?;
            let etag = put.headers().get("etag").and_then(|etag| etag.to_str().ok()).context("a part has no ETag")?;
            parts.push(json!({"number": part["number"], "etag": etag}));
        }
        let path = format!("/api/v1/uploads/{}/complete", upload["id"].as_str().unwrap_or_default());
        let started = Instant::now();
        let job = self.post(&path, &json!({"parts": parts, "accept_schema": false})).await?;
        let path = format!("{}/api/v1/jobs/{}", self.url, job["job_id"].as_str().unwrap_or_default());
        loop {
            let job: Value = self.http.get(&path).bearer_auth(&self.token).send().await?.json().await?;
            match job["state"].as_str() {
                Some("queued" | "running") => tokio::time::sleep(Duration::from_millis(20)).await,
                Some("succeeded") => return Ok(started.elapsed()),
                _ => bail!("the upload's job ended otherwise: {job}"),
            }
        }
    }

    /// What was loaded is being counted: that is not to take turns with what is measured next.
    async fn wait_for_jobs(&self) -> anyhow::Result<()> {
        for state in ["queued", "running"] {
            loop {
                let url = format!("{}/api/v1/jobs?state={state}", self.url);
                let answer = self.http.get(url).bearer_auth(&self.token).send().await?.error_for_status()?;
                let jobs = answer.json::<Value>().await?;
                if jobs["items"].as_array().context("the answer has no items")?.is_empty() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// Changes every record once through the API, by several clients.
    async fn append(&self, records: usize) -> anyhow::Result<Duration> {
        let batches: Vec<Value> = (0..records)
            .step_by(BATCH)
            .map(|from| {
                let records: Vec<Value> = (from..(from + BATCH).min(records))
                    .map(|n| {
                        let mut record = fields(n, 1);
                        record["id"] = json!(format!("c{n:07}"));
                        record
                    })
                    .collect();
                json!({ "records": records })
            })
            .collect();
        let started = Instant::now();
        let outcomes = futures::future::join_all((0..CLIENTS).map(|client| {
            let mine = batches.iter().skip(client).step_by(CLIENTS);
            async move {
                for batch in mine {
                    let answer = self.post("/api/v1/customers/records", batch).await?;
                    anyhow::ensure!(answer["rejected"].as_array().is_none_or(Vec::is_empty), "{answer}");
                }
                anyhow::Ok(())
            }
        }));
        outcomes.await.into_iter().collect::<anyhow::Result<Vec<()>>>()?;
        Ok(started.elapsed())
    }
}
