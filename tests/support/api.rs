//! The HTTP API as a client that is signed in uses it.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::patience::until;

pub const USERNAME: &str = "super_user@genesys.com";
pub const PASSWORD: &str = "a password for tests";

/// A server and a token for it.
#[derive(Clone)]
pub struct Api {
    pub url: String,
    /// Not signed in; see [`Api::get`] and its siblings for requests that are.
    pub http: reqwest::Client,
    pub token: String,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

/// A request about to be sent with the test's token.
pub struct Ask(reqwest::RequestBuilder);

impl Api {
    /// Signs the tests' user in.
    pub async fn sign_in_to(url: String, http: reqwest::Client) -> Self {
        let mut api = Self { url, http, token: String::new() };
        api.token = api.sign_in(USERNAME, PASSWORD).await;
        api
    }

    pub async fn sign_in(&self, username: &str, password: &str) -> String {
        let body = json!({"username": username, "password": password});
        let answer = self.http.post(format!("{}/api/v1/auth/login", self.url)).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200, "sign-in as {username}");
        answer.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned()
    }

    /// A request with the test's token; `path` starts with a slash.
    pub fn request(&self, method: Method, path: &str) -> Ask {
        Ask(self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token))
    }

    pub fn get(&self, path: &str) -> Ask {
        self.request(Method::GET, path)
    }

    pub fn post(&self, path: &str) -> Ask {
        self.request(Method::POST, path)
    }

    pub fn put(&self, path: &str) -> Ask {
        self.request(Method::PUT, path)
    }

    pub fn patch(&self, path: &str) -> Ask {
        self.request(Method::PATCH, path)
    }

    pub fn delete(&self, path: &str) -> Ask {
        self.request(Method::DELETE, path)
    }

    /// Waits until a job has ended and succeeded; hands back the job.
    pub async fn wait_for_job(&self, id: &str) -> Value {
        let job = self.wait_for_job_end(id).await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
        job
    }

    /// Waits until a job has ended, however.
    pub async fn wait_for_job_end(&self, id: &str) -> Value {
        until("the job's end", async || {
            let job = self.get(&format!("/api/v1/jobs/{id}")).send().await.ok().json();
            let state = job["state"].as_str().unwrap();
            if matches!(state, "queued" | "running") { Err(job) } else { Ok(job) }
        })
        .await
    }

    /// PUTs a part to its presigned URL; what `complete` wants to hear of it.
    pub async fn put_part(&self, part: &Value, bytes: &[u8]) -> Value {
        let mut put = self.http.put(part["url"].as_str().unwrap()).body(bytes.to_vec());
        for (name, value) in part["headers"].as_object().unwrap() {
            put = put.header(name, value.as_str().unwrap());
        }
        let sent = put.send().await.unwrap();
        assert_eq!(sent.status(), 200, "part {}", part["number"]);
        json!({"number": part["number"], "etag": sent.headers()["etag"].to_str().unwrap()})
    }

    /// Uploads bytes as a client would, and waits for the job's end. Hands back the answer to `complete` with the job as `job`.
    pub async fn upload(&self, target: &str, bytes: &[u8], options: Value) -> Value {
        let mut done = self.start_upload(target, bytes, options).await;
        done["job"] = self.wait_for_job_end(done["job_id"].as_str().unwrap()).await;
        done
    }

    /// Uploads bytes: asks, PUTs each part to its presigned URL, completes. `options` are more members of the request, such as
    /// `name`, `mode`, `id_field`, and `accept_schema` (true when absent). Hands back the answer to `complete`.
    pub async fn start_upload(&self, target: &str, bytes: &[u8], options: Value) -> Value {
        let mut ask = json!({"target": target, "filename": "data.csv", "size_bytes": bytes.len(), "mode": "create"});
        let mut accept = json!(true);
        for (key, value) in options.as_object().cloned().unwrap_or_default() {
            if key == "accept_schema" {
                accept = value;
            } else {
                ask[key] = value;
            }
        }
        let upload = self.post("/api/v1/uploads").json(&ask).send().await.expect_status(201).json();
        let mut parts = Vec::new();
        let mut rest = bytes;
        for part in upload["parts"].as_array().unwrap() {
            let (now, later) = rest.split_at(part["size_bytes"].as_u64().unwrap() as usize);
            rest = later;
            parts.push(self.put_part(part, now).await);
        }
        assert!(rest.is_empty(), "the parts do not cover the file");
        let complete = json!({"parts": parts, "accept_schema": accept});
        let path = format!("/api/v1/uploads/{}/complete", upload["id"].as_str().unwrap());
        let mut done = self.post(&path).json(&complete).send().await.expect_status(202).json();
        done["upload_id"] = upload["id"].clone();
        done
    }
}

impl Ask {
    pub fn header(self, name: &str, value: &str) -> Self {
        Self(self.0.header(name, value))
    }

    pub fn json(self, body: &Value) -> Self {
        Self(self.0.json(body))
    }

    pub fn body(self, content_type: &str, body: impl Into<reqwest::Body>) -> Self {
        Self(self.0.header("content-type", content_type).body(body))
    }

    pub async fn send(self) -> Answer {
        self.try_send().await.unwrap()
    }

    /// Fails when no whole answer came.
    pub async fn try_send(self) -> reqwest::Result<Answer> {
        Answer::try_read(self.0.send().await?).await
    }
}

impl Answer {
    pub async fn read(response: reqwest::Response) -> Self {
        Self::try_read(response).await.unwrap()
    }

    async fn try_read(response: reqwest::Response) -> reqwest::Result<Self> {
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(Self { status, headers, text: response.text().await? })
    }

    pub fn expect_status(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }

    /// Any 2xx.
    pub fn ok(self) -> Self {
        assert!(self.status.is_success(), "{}: {}", self.status, self.text);
        self
    }

    /// A problem with this status and code; hands back its body.
    pub fn expect_problem(self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let body = self.json();
        assert_eq!(body["code"], code, "{body:#}");
        assert_eq!(body["status"], status);
        body
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text))
    }
}
