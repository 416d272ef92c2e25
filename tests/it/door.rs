//! Clients of the real program that is killed, restarted and starved under them: each goes on until it has its answer.

use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::app::{PATIENCE, client};
use crate::process::Process;

/// Where the program listens now, and a token for it. Clones see it move.
#[derive(Clone)]
pub struct Door {
    url: Arc<RwLock<String>>,
    token: Arc<str>,
    http: reqwest::Client,
}

impl Door {
    pub async fn open(process: &Process) -> Self {
        let url = process.told("web application").to_owned();
        let body = json!({"username": process.told("user"), "password": process.told("password")});
        let http = client();
        let answer = http.post(format!("{url}/api/v1/auth/login")).json(&body).send().await.unwrap();
        let token = answer.json::<Value>().await.unwrap()["token"].as_str().unwrap().into();
        Self { url: Arc::new(RwLock::new(url)), token, http }
    }

    /// The program was started again; the token is still good.
    pub fn moved_to(&self, process: &Process) {
        *self.url.write().unwrap() = process.told("web application").to_owned();
    }

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = self.url.read().unwrap().clone();
        self.http.request(method, format!("{url}/api/v1/{path}")).bearer_auth(&self.token)
    }

    /// Asks once; `None` when no whole answer came.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: &Value,
    ) -> Option<(StatusCode, Value)> {
        let mut ask = self.request(method, path);
        if !body.is_null() {
            ask = ask.json(body);
        }
        if let Some(key) = key {
            ask = ask.header("idempotency-key", key);
        }
        let answer = ask.send().await.ok()?;
        let status = answer.status();
        Some((status, answer.json().await.ok()?))
    }

    /// Asks until an answer comes that is not "later".
    async fn insist(&self, method: Method, path: &str, key: Option<&str>, body: &Value) -> Value {
        let started = Instant::now();
        loop {
            match self.ask(method.clone(), path, key, body).await {
                Some((status, answer)) if status.is_success() => return answer,
                Some((status, answer)) => {
                    let later = status == StatusCode::SERVICE_UNAVAILABLE || answer["code"] == "in_flight";
                    assert!(later, "{path}: {status} {answer:#}");
                }
                None => {}
            }
            assert!(started.elapsed() < PATIENCE, "{path}: the server does not come back");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn get(&self, path: &str) -> Value {
        self.insist(Method::GET, path, None, &Value::Null).await
    }

    pub async fn post(&self, path: &str, key: &str, body: &Value) -> Value {
        self.insist(Method::POST, path, Some(key), body).await
    }

    /// Every item of a list, page after page.
    pub async fn list(&self, path: &str) -> Vec<Value> {
        let (mut items, mut after) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("{path}?limit=500{after}")).await;
            items.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["next"].as_str() {
                Some(next) => after = format!("&after={}", crate::datasets::encoded(next)),
                None => return items,
            }
        }
    }

    /// PUTs bytes to a part's signed URL; its status, ETag and text, or `None` when no answer came.
    pub async fn put_part(&self, part: &Value, bytes: &[u8]) -> Option<(StatusCode, String, String)> {
        let mut put = self.http.put(part["url"].as_str().unwrap()).body(bytes.to_vec());
        for (name, value) in part["headers"].as_object().unwrap() {
            put = put.header(name, value.as_str().unwrap());
        }
        let answer = put.send().await.ok()?;
        let etag = answer.headers().get("etag").map(|etag| etag.to_str().unwrap().to_owned()).unwrap_or_default();
        Some((answer.status(), etag, answer.text().await.ok()?))
    }

    /// PUTs a part through the program itself.
    pub async fn put_part_through(&self, upload: &str, number: usize, bytes: &[u8]) -> (StatusCode, Value) {
        let put = self.request(Method::PUT, &format!("uploads/{upload}/parts/{number}"));
        let answer = put.body(bytes.to_vec()).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    /// Waits until a job has ended, and tells each new phase on the way.
    pub async fn wait_for_job(&self, id: &str, mut phase: impl FnMut()) -> Value {
        let (started, mut seen) = (Instant::now(), String::new());
        loop {
            let job = self.get(&format!("jobs/{id}")).await;
            if !matches!(job["state"].as_str(), Some("queued" | "running")) {
                return job;
            }
            let now = format!("{} {} {}", job["state"], job["attempt"], job["progress"]);
            if now != seen {
                seen = now;
                phase();
            }
            assert!(started.elapsed() < 2 * PATIENCE, "{job:#}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
