//! A server with agents and a model of the wanted size, made through its own API.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::simulated::{NUMBERS, agent_of, agent_value, context_value, reason_of, won};
use super::{Options, simulated};
use crate::app::App;
use crate::bench::{Folder, PASSWORD, lean_client, local_config};
use crate::client::{Client, text};
use crate::clock::SystemClock;

const PREDICTOR: &str = "won";
pub const SCORE: &str = "/api/v1/predictors/won/score";
/// Agents of the profile whom no interaction of the training data had.
pub const CROWD: usize = 40_000;
/// Different requests of one measurement.
const REQUESTS: usize = 400;

pub struct Server {
    pub app: App,
    pub token: String,
    pub runtime: Runtime,
    client: Client,
    /// Of the same size; the first one is active at the start.
    models: [String; 2],
    _folder: Folder,
}

impl Server {
    /// Twice as many agents as asked for: half of them match [`filters`].
    pub fn start(options: &Options) -> anyhow::Result<Self> {
        let runtime = Runtime::new()?;
        let folder = Folder::new("score")?;
        let config = local_config(&folder.0);
        let username = config.super_user.clone();
        let app = runtime.block_on(App::start(config, Arc::new(SystemClock)))?;
        let (client, models) = runtime.block_on(async {
            let client = Client::sign_in(&app.url, &username, PASSWORD).await?;
            let agents = 2 * options.agents;
            post_agents(&client, (0..agents).map(agent_record)).await?;
            let dataset = upload(&client, agents).await?;
            create_predictor(&client, &dataset).await?;
            let model = train(&client, options, 1).await?;
            client.post(&format!("{model}/activate"), &json!({})).await?;
            let other = train(&client, options, 2).await?;
            anyhow::Ok((client, [model, other]))
        })?;
        let token = client.token().to_owned();
        Ok(Self { app, token, runtime, client, models, _folder: folder })
    }

    /// Requests for scores with these bodies.
    pub fn requests(&self, body: &dyn Fn(usize) -> Value) -> Vec<Vec<u8>> {
        self.requests_to(self.app.address, SCORE, body)
    }

    pub fn requests_to(&self, address: SocketAddr, path: &str, body: &dyn Fn(usize) -> Value) -> Vec<Vec<u8>> {
        let request = |at| lean_client::request(address, path, &self.token, body(at).to_string().as_bytes());
        (0..REQUESTS).map(request).collect()
    }

    /// One of the two models takes the active one's place.
    pub fn activate(&self, model: usize) -> anyhow::Result<()> {
        self.runtime.block_on(self.client.post(&format!("{}/activate", self.models[model]), &json!({}))).map(drop)
    }

    /// Adds [`CROWD`] agents to so many, and waits until [`crowd_filter`] finds all of them.
    pub fn add_crowd(&self, agents: usize) -> anyhow::Result<()> {
        let of_crowd = |agent| {
            let mut record = agent_record(agent);
            (record["groups"], record["loginStatus"], record["skills"]) =
                (json!(["Crowd"]), json!(4), json!({"English": 5}));
            record
        };
        self.runtime.block_on(async {
            post_agents(&self.client, (agents..agents + CROWD).map(of_crowd)).await?;
            loop {
                let body = json!({"context": {}, "action_filters": crowd_filter(0), "top": 1});
                let answer: Value = self.client.post(SCORE, &body).await?;
                if answer["eligible"] == CROWD {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
    }

    pub fn stop(self) -> anyhow::Result<()> {
        self.runtime.block_on(self.app.stop())
    }
}

pub fn agent_id(agent: usize) -> String {
    format!("agent-{agent:05}")
}

/// Filters of five atoms that all mean the even agents, each in words of its own.
pub fn filters() -> Vec<String> {
    let about = |skill: usize| {
        format!("English > {} & (loginStatus = 4 | loginStatus = 9) & !Training & Frontline", 2 + skill % 2)
    };
    (0..4)
        .map(|at| match at {
            0 | 1 => about(at),
            at => format!("Frontline & English >= {} & !Training & (loginStatus = 9 | loginStatus = 4)", 2 + at % 2),
        })
        .collect()
}

/// A filter that the crowd matches and nobody else.
pub fn crowd_filter(at: usize) -> String {
    format!("Crowd & loginStatus = 4 & English > {}", at % 3)
}

/// What the profile is told of an agent.
pub fn agent_record(agent: usize) -> Value {
    let even = agent.is_multiple_of(2);
    let mut record = json!({
        "id": agent_id(agent),
        "loginStatus": if even { [4, 9][agent / 2 % 2] } else { 0 },
        "skills": {"English": if even { 4 } else { agent % 6 }, "Billing": agent % 11},
        "groups": if even { json!(["Frontline"]) } else { json!(["Frontline", "Training"]) },
    });
    for number in 0..NUMBERS {
        record[format!("a{number}")] = json!(agent_value(agent, number));
    }
    record
}

async fn post_agents(client: &Client, records: impl Iterator<Item = Value>) -> anyhow::Result<()> {
    let records: Vec<Value> = records.collect();
    for records in records.chunks(1_000) {
        client.post("/api/v1/agents/records", &json!({ "records": records })).await?;
    }
    Ok(())
}

async fn upload(client: &Client, agents: usize) -> anyhow::Result<String> {
    let mut csv = String::from("agent,reason,won");
    for number in 0..NUMBERS {
        write!(csv, ",c{number},a{number}")?;
    }
    csv.push('\n');
    for row in 0..agents * simulated::ROWS_PER_AGENT {
        let agent = agent_of(row, agents);
        write!(csv, "{},reason {},{}", agent_id(agent), reason_of(row), won(row, agents))?;
        for number in 0..NUMBERS {
            write!(csv, ",{},{}", context_value(row, number), agent_value(agent, number))?;
        }
        csv.push('\n');
    }
    let ask = json!({ "target": "dataset", "name": "simulated", "filename": "simulated.csv", "mode": "create" });
    let done = client.upload(csv.into_bytes(), ask, false).await?;
    client.wait(&done["job_id"], "discovering the schema").await?;
    let dataset = text(&done["dataset_id"])?;
    let path = format!("/api/v1/datasets/{dataset}");
    let schema = client.get(&format!("{path}/schema")).await?;
    let role = |name: &str| match name {
        "agent" => "agent_id",
        "won" => "metric",
        name if name.starts_with('a') => "agent",
        _ => "context",
    };
    let fields: Vec<Value> = schema["fields"]
        .as_array()
        .context("the schema has no fields")?
        .iter()
        .map(|field| {
            let name = field["name"].as_str().unwrap_or_default();
            json!({ "name": name, "type": field["type"], "role": role(name) })
        })
        .collect();
    client.put(&format!("{path}/schema"), &json!({ "fields": fields })).await?;
    let accepted = client.post(&format!("{path}/schema/accept"), &json!({})).await?;
    client.wait(&accepted["job_id"], "writing columns").await?;
    Ok(dataset)
}

async fn create_predictor(client: &Client, dataset: &str) -> anyhow::Result<()> {
    let names = |prefix: &str| (0..NUMBERS).map(|number| format!("{prefix}{number}")).collect::<Vec<_>>();
    let mut context = names("c");
    context.push("reason".to_owned());
    let predictor = json!({
        "name": PREDICTOR,
        "dataset_id": dataset,
        "metric": { "field": "won", "kind": "classification", "goal": "maximize" },
        "agent_source": "profile",
        "features": { "context": context, "agent": names("a") },
    });
    client.post("/api/v1/predictors", &predictor).await.map(drop)
}

/// The new model's path.
async fn train(client: &Client, options: &Options, seed: u64) -> anyhow::Result<String> {
    let settings = json!({ "trees": options.trees, "max_leaves": 64, "early_stop": false, "holdout": "random", "crosses": ["reason"] });
    let model = json!({ "name": "benchmark", "type": "HYBRID", "seed": seed, "settings": settings });
    let model = client.post(&format!("/api/v1/predictors/{PREDICTOR}/models"), &model).await?;
    let path = format!("/api/v1/models/{}", text(&model["id"])?);
    let job = client.post(&format!("{path}/train"), &json!({})).await?;
    client.wait(&job["job_id"], "training").await?;
    Ok(path)
}
