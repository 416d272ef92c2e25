//! A client of our own HTTP API: what a script of a customer would do.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;
use reqwest::Method;
use serde_json::{Value, json};

use crate::progress::style;

/// How often a job is asked how far it is.
const POLL: Duration = Duration::from_millis(100);
/// A job that shows no end by then is taken for stuck.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Signed in at one server.
pub struct Client {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Client {
    pub async fn sign_in(url: &str, username: &str, password: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(600)).build()?;
        let mut client = Self { http, url: url.to_owned(), token: String::new() };
        let body = json!({ "username": username, "password": password });
        let answer = client.post("/api/v1/auth/login", &body).await?;
        client.token = text(&answer["token"])?;
        Ok(client)
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(Method::POST, path, Some(body)).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(Method::PUT, path, Some(body)).await
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.url));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.with_context(|| format!("{method} {path}"))?;
        let status = response.status();
        let answer: Value = response.json().await.with_context(|| format!("{method} {path}: {status}"))?;
        if !status.is_success() {
            bail!("{method} {path}: {status} {}: {}", answer["code"], answer["detail"].as_str().unwrap_or_default());
        }
        Ok(answer)
    }

    /// Uploads a file through presigned URLs; answers what `complete` answered. Its job runs on.
    pub async fn upload(&self, bytes: Vec<u8>, mut ask: Value, accept_schema: bool) -> anyhow::Result<Value> {
        ask["size_bytes"] = json!(bytes.len());
        let what = ask["filename"].as_str().unwrap_or_default().to_owned();
        let upload = self.post("/api/v1/uploads", &ask).await?;
        let bar = ProgressBar::new(bytes.len() as u64).with_message(format!("uploading {what}"));
        bar.set_style(style("{msg:32} {bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec}")?);
        let bytes = bytes::Bytes::from(bytes);
        let mut sent = 0;
        let mut parts = Vec::new();
        for part in upload["parts"].as_array().into_iter().flatten() {
            let size = usize::try_from(part["size_bytes"].as_u64().unwrap_or_default())?;
            let mut put = self.http.put(text(&part["url"])?).body(bytes.slice(sent..sent + size));
            for (name, value) in part["headers"].as_object().into_iter().flatten() {
                put = put.header(name, value.as_str().unwrap_or_default());
            }
            let answer = put.send().await.context("the object store did not answer")?;
            let status = answer.status();
            let etag = answer.headers().get("etag").and_then(|etag| etag.to_str().ok()).map(str::to_owned);
            if !status.is_success() {
                bail!("the object store refused part {}: {status} {}", part["number"], answer.text().await?);
            }
            parts.push(json!({ "number": part["number"], "etag": etag.context("the object store gave no ETag")? }));
            sent += size;
            bar.set_position(sent as u64);
        }
        bar.finish_and_clear();
        let path = format!("/api/v1/uploads/{}/complete", text(&upload["id"])?);
        self.post(&path, &json!({ "parts": parts, "accept_schema": accept_schema })).await
    }

    /// Waits for a job with a progress bar; answers the job. Fails when the job does.
    pub async fn wait(&self, job_id: &Value, message: &str) -> anyhow::Result<Value> {
        let path = format!("/api/v1/jobs/{}", text(job_id)?);
        let bar = ProgressBar::new_spinner().with_message(message.to_owned());
        let spinner = style("{spinner} {msg}")?;
        let counted = style("{msg:32} {bar:30} {human_pos}/{human_len} {prefix}")?;
        bar.set_style(spinner.clone());
        let started = Instant::now();
        loop {
            let job = self.get(&path).await?;
            let progress = &job["progress"];
            let phase = progress["phase"].as_str().unwrap_or_default();
            match progress["total"].as_u64() {
                Some(total) if total > 0 => {
                    bar.set_style(counted.clone());
                    bar.set_length(total);
                    bar.set_prefix(progress["unit"].as_str().unwrap_or_default().to_owned());
                    bar.set_message(message.to_owned());
                    bar.set_position(progress["done"].as_u64().unwrap_or_default().min(total));
                }
                _ => {
                    bar.set_style(spinner.clone());
                    bar.set_message(if phase.is_empty() { message.to_owned() } else { format!("{message}: {phase}") });
                    bar.tick();
                }
            }
            match job["state"].as_str().unwrap_or_default() {
                "queued" | "running" if started.elapsed() < PATIENCE => tokio::time::sleep(POLL).await,
                "succeeded" => {
                    bar.finish_and_clear();
                    return Ok(job);
                }
                state => {
                    bar.finish_and_clear();
                    bail!("{message}: the job is {state}: {}", job["error"].as_str().unwrap_or("it does not end"));
                }
            }
        }
    }
}

/// A text that the answer must have.
pub fn text(value: &Value) -> anyhow::Result<String> {
    value.as_str().map(str::to_owned).with_context(|| format!("expected a text in the answer, found {value}"))
}
