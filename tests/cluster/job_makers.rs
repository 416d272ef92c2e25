//! Clients that keep workers busy: some append files to datasets, some train models; and what has to be there afterwards.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tokio::task::JoinHandle;

use crate::appenders::list;
use crate::support::api::Api;
use crate::support::centre;

/// Rows of each file.
const ROWS: usize = 600;

/// Clients at work.
pub struct JobMakers {
    over: Arc<AtomicBool>,
    /// Each hands back its dataset and how many files it has.
    appending: Vec<JoinHandle<(String, usize)>>,
    /// Each hands back its models.
    training: Vec<JoinHandle<Vec<String>>>,
}

/// What they have made.
pub struct Made {
    datasets: Vec<(String, usize)>,
    models: Vec<String>,
}

fn file(number: usize) -> String {
    let row = |row: usize| format!("{},agent-{},{},2024-05-02T00:00:00Z\n", number * ROWS + row, row % 50, row % 7);
    "call,agent,seconds,started\n".to_owned() + &(0..ROWS).map(row).collect::<String>()
}

async fn append_files(api: Api, client: usize, over: Arc<AtomicBool>) -> (String, usize) {
    let first = api.upload("dataset", file(0).as_bytes(), json!({"name": format!("calls {client}")})).await;
    assert_eq!(first["job"]["state"], "succeeded", "{first:#}");
    let dataset = first["dataset_id"].as_str().unwrap().to_owned();
    let mut files = 1;
    while !over.load(Ordering::SeqCst) {
        let append = json!({"mode": "append", "dataset_id": dataset});
        let done = api.upload("dataset", file(files).as_bytes(), append).await;
        assert_eq!(done["job"]["state"], "succeeded", "{done:#}");
        files += 1;
    }
    (dataset, files)
}

async fn train_models(api: Api, predictor: String, over: Arc<AtomicBool>) -> Vec<String> {
    let mut models = Vec::new();
    while !over.load(Ordering::SeqCst) {
        let model = centre::create_model(&api, &predictor, "HYBRID").await;
        centre::train(&api, &model).await;
        models.push(model);
    }
    models
}

/// A client on a thread of its own: waiting for a job is nothing that could change threads.
fn on_a_thread<F: Future>(client: impl FnOnce() -> F + Send + 'static) -> JoinHandle<F::Output>
where
    F::Output: Send + 'static,
{
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || runtime.block_on(client()))
}

impl JobMakers {
    pub fn start(api: &Api, predictor: &str, appending: usize, training: usize) -> Self {
        let over = Arc::<AtomicBool>::default();
        let append = |client| {
            let (api, over) = (api.clone(), over.clone());
            on_a_thread(move || append_files(api, client, over))
        };
        let train = |_| {
            let (api, predictor, over) = (api.clone(), predictor.to_owned(), over.clone());
            on_a_thread(move || train_models(api, predictor, over))
        };
        let (appending, training) = ((0..appending).map(append).collect(), (0..training).map(train).collect());
        Self { over, appending, training }
    }

    /// Ends each client after the job that it waits for.
    pub async fn stop(self) -> Made {
        self.over.store(true, Ordering::SeqCst);
        let (mut datasets, mut models) = (Vec::new(), Vec::new());
        for client in self.appending {
            datasets.push(client.await.unwrap());
        }
        for client in self.training {
            models.extend(client.await.unwrap());
        }
        Made { datasets, models }
    }
}

impl Made {
    pub fn files(&self) -> usize {
        self.datasets.iter().map(|(_, files)| files).sum()
    }

    pub fn models(&self) -> usize {
        self.models.len()
    }

    /// Every file was read once and every model trained once.
    pub async fn check(&self, api: &Api) {
        for (dataset, files) in &self.datasets {
            let path = format!("/api/v1/datasets/{dataset}");
            let expected: BTreeSet<usize> = (0..files * ROWS).collect();
            let rows = list(api, &format!("{path}/rows?columns=call&")).await;
            let calls: BTreeSet<usize> = rows.iter().map(|row| row["call"].as_u64().unwrap() as usize).collect();
            assert_eq!(rows.len(), expected.len(), "each row once");
            assert!(calls == expected, "{:?}", calls.symmetric_difference(&expected));
            assert_eq!(api.get(&path).send().await.ok().json()["rows"], expected.len());
            let versions = list(api, &format!("{path}/versions?")).await;
            let jobs: Vec<_> = versions.iter().filter(|version| version["reason"] != "compaction").collect();
            let distinct: BTreeSet<_> = jobs.iter().map(|version| version["job_id"].as_str().unwrap()).collect();
            assert_eq!((jobs.len(), distinct.len()), (*files, *files), "a version for each file: {versions:#?}");
        }
        for model in &self.models {
            let model = api.get(&format!("/api/v1/models/{model}")).send().await.ok().json();
            assert_eq!((&model["state"], &model["version"]), (&json!("trained"), &json!(1)), "{model:#}");
        }
    }
}
