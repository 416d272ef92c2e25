//! `kill -9` in the middle of an ingest: the job is taken up again and its effect happens once.

use serde_json::{Value, json};

use super::calls;
use crate::app::{client, until};
use crate::process::Process;

struct Client {
    url: String,
    token: String,
}

impl Client {
    async fn sign_in(process: &Process, password: &str) -> Self {
        let url = process.told("web application").to_owned();
        let body = json!({"username": "super_user@genesys.com", "password": password});
        let answer = client().post(format!("{url}/api/v1/auth/login")).json(&body).send().await.unwrap();
        let token = answer.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned();
        Self { url, token }
    }

    async fn get(&self, path: &str) -> Value {
        let answer = client().get(format!("{}{path}", self.url)).bearer_auth(&self.token).send().await.unwrap();
        answer.json().await.unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let ask = client().post(format!("{}{path}", self.url)).bearer_auth(&self.token).json(&body);
        let answer = ask.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
        answer.json().await.unwrap()
    }

    async fn job(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until("the job", async || {
            let job = self.get(&format!("/api/v1/jobs/{id}")).await;
            if wanted(&job) { Ok(job) } else { Err(job) }
        })
        .await
    }
}

#[tokio::test]
async fn a_killed_ingest_is_taken_up_again_and_adds_every_row_once() {
    const ROWS: usize = 300_000;
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--listen", "127.0.0.1:0"];
    let mut process = Process::start(folder.path(), &arguments);
    let password = process.told("password").to_owned();
    let client = Client::sign_in(&process, &password).await;
    let bytes = calls(0, ROWS).into_bytes();
    let ask = json!({"target": "dataset", "filename": "calls.csv", "size_bytes": bytes.len(), "mode": "create"});
    let upload = client.post("/api/v1/uploads", ask).await;
    let mut parts = Vec::new();
    let mut rest = &bytes[..];
    for part in upload["parts"].as_array().unwrap() {
        let (now, later) = rest.split_at(part["size_bytes"].as_u64().unwrap() as usize);
        rest = later;
        let sent = crate::app::client().put(part["url"].as_str().unwrap()).body(now.to_vec()).send().await.unwrap();
        parts.push(json!({"number": part["number"], "etag": sent.headers()["etag"].to_str().unwrap()}));
    }
    let path = format!("/api/v1/uploads/{}/complete", upload["id"].as_str().unwrap());
    let started = client.post(&path, json!({"parts": parts, "accept_schema": true})).await;
    let (job, dataset) = (started["job_id"].as_str().unwrap(), started["dataset_id"].as_str().unwrap());
    client.job(job, |job| job["state"] == "running").await;
    process.signal("KILL");
    process.wait();

    let process = Process::start(folder.path(), &arguments);
    let client = Client::sign_in(&process, &password).await;
    let done = client.job(job, |job| !matches!(job["state"].as_str(), Some("queued" | "running"))).await;
    assert_eq!(done["state"], "succeeded", "{done:#}");
    let dataset = client.get(&format!("/api/v1/datasets/{dataset}")).await;
    assert_eq!((&dataset["rows"], &dataset["version"]), (&json!(ROWS), &json!(1)), "{dataset:#}");
}
