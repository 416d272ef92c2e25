//! A small simulated contact centre in a running program: what tests of predictors, models and scores start from.

use serde_json::{Value, json};
use tango::simulation::{Centre, Settings};

use super::api::Api;

/// The people and the history that a program holds.
pub struct Loaded {
    pub centre: Centre,
    pub dataset: String,
}

/// Uploads a centre's agents, customers and interactions.
pub async fn load(api: &Api) -> Loaded {
    let settings = Settings { interactions: 3_000, agents: 24, customers: 300, ..Settings::default() };
    let centre = Centre::generate(settings);
    let (mut agents, mut customers, mut interactions) = (Vec::new(), Vec::new(), Vec::new());
    centre.write_agents(&mut agents).unwrap();
    centre.write_customers(&mut customers).unwrap();
    centre.write_interactions(&mut interactions).unwrap();
    for (target, bytes) in [("agents", &agents), ("customers", &customers)] {
        let done = api.upload(target, bytes, json!({})).await;
        assert_eq!(done["job"]["state"], "succeeded", "{done:#}");
    }
    let dataset = dataset(api, "interactions", &interactions).await;
    Loaded { centre, dataset }
}

/// Uploads a dataset and gives its fields the roles that their names say.
pub async fn dataset(api: &Api, name: &str, csv: &[u8]) -> String {
    let done = api.upload("dataset", csv, json!({"name": name})).await;
    assert_eq!(done["job"]["state"], "succeeded", "{done:#}");
    let dataset = done["dataset_id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/datasets/{dataset}/schema");
    let schema = api.get(&path).send().await.expect_status(200).json();
    let fields: Vec<Value> = schema["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|field| {
            let role = match field["name"].as_str().unwrap() {
                "start_time" => "timestamp",
                "agent_id" => "agent_id",
                "customer_id" => "customer_id",
                "first_contact_resolution" | "handle_time_seconds" | "outcome" => "metric",
                "interaction_id" => "ignored",
                _ => "context",
            };
            json!({"name": field["name"], "type": field["type"], "role": role})
        })
        .collect();
    api.put(&path).json(&json!({"fields": fields})).send().await.expect_status(200);
    dataset
}

impl Loaded {
    /// The body of a predictor of first-contact resolution.
    pub fn predictor_body(&self) -> Value {
        json!({
            "name": "fcr",
            "dataset_id": self.dataset,
            "metric": {"field": "first_contact_resolution", "kind": "classification", "goal": "maximize"},
            "agent_source": "profile",
            "customer_source": "profile",
            "features": {
                "context": ["start_time", "reason", "language", "channel", "previous_contacts", "wait_seconds"],
                "customer": ["tier", "segment"],
                "agent": ["skills", "site", "tenure_months"],
            },
        })
    }

    /// Creates the predictor; answers its id.
    pub async fn create_predictor(&self, api: &Api) -> String {
        let answer = api.post("/api/v1/predictors").json(&self.predictor_body()).send().await;
        answer.expect_status(201).json()["id"].as_str().unwrap().to_owned()
    }

    /// Creates the predictor, trains a model of the type and activates it; answers both ids.
    pub async fn activate(&self, api: &Api, model_type: &str) -> (String, String) {
        let predictor = self.create_predictor(api).await;
        let model = create_model(api, &predictor, model_type).await;
        train(api, &model).await;
        api.post(&format!("/api/v1/models/{model}/activate")).send().await.expect_status(200);
        (predictor, model)
    }
}

/// A model with few trees, so that training it is quick.
pub async fn create_model(api: &Api, predictor: &str, model_type: &str) -> String {
    let body = json!({"name": model_type, "type": model_type, "settings": {"trees": 10, "max_leaves": 8}, "seed": 7});
    let answer = api.post(&format!("/api/v1/predictors/{predictor}/models")).json(&body).send().await;
    answer.expect_status(201).json()["id"].as_str().unwrap().to_owned()
}

/// Trains and waits; answers the job.
pub async fn train(api: &Api, model: &str) -> Value {
    let started = api.post(&format!("/api/v1/models/{model}/train")).send().await.expect_status(202).json();
    api.wait_for_job(started["job_id"].as_str().unwrap()).await
}
