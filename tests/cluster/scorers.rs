//! Routing strategies that ask for scores at a steady pace, and what they were answered.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::api::{Api, PASSWORD, USERNAME};
use crate::support::centre::Loaded;

/// Each client asks this often, or as soon as it is answered when that takes longer.
const PACE: Duration = Duration::from_millis(40);
/// A strategy gives up after this time.
const STRATEGY_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Log {
    over: AtomicBool,
    answered: Mutex<Vec<(Instant, Duration)>>,
    failures: Mutex<Vec<String>>,
    sign_ins: AtomicU64,
}

/// Clients at work. Each signs in when its token has expired, as strategies do.
pub struct Scorers {
    log: Arc<Log>,
    clients: Vec<JoinHandle<()>>,
}

/// Bodies of score requests: customers of the centre with what they wait for.
pub fn requests(loaded: &Loaded, count: usize) -> Vec<Value> {
    let customer = |customer: usize| &loaded.centre.customers[customer].id;
    let body = |waiting: &tango::simulation::Interaction| json!({"context_id": customer(waiting.customer), "context": waiting.context(), "action_filters": "english >= 1", "top": 3});
    loaded.centre.waiting(count).iter().map(body).collect()
}

impl Scorers {
    /// So many clients, spread over these servers.
    pub fn start(servers: &[Api], clients: usize, requests: &[Value]) -> Self {
        let log = Arc::new(Log::default());
        let start = |client: usize| {
            let (log, api, requests) = (log.clone(), servers[client % servers.len()].clone(), requests.to_vec());
            tokio::spawn(async move { log.ask(api, requests, client).await })
        };
        let clients = (0..clients).map(start).collect();
        Self { log, clients }
    }

    /// Answers a second since then.
    pub fn rate(&self, since: Instant) -> f64 {
        let answered = self.log.answered.lock().unwrap();
        let (count, last) = (answered.iter().filter(|(when, _)| *when >= since).count(), Instant::now());
        count as f64 / last.duration_since(since).as_secs_f64()
    }

    /// How long answers since then took.
    pub fn took(&self, since: Instant) -> Vec<Duration> {
        let answered = self.log.answered.lock().unwrap();
        answered.iter().filter(|(when, _)| *when >= since).map(|(_, took)| *took).collect()
    }

    pub fn sign_ins(&self) -> u64 {
        self.log.sign_ins.load(Ordering::SeqCst)
    }

    pub fn failures(&self) -> Vec<String> {
        self.log.failures.lock().unwrap().clone()
    }

    pub async fn stop(self) -> Vec<String> {
        self.log.over.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.await.unwrap();
        }
        self.log.failures.lock().unwrap().clone()
    }
}

impl Log {
    async fn ask(&self, mut api: Api, requests: Vec<Value>, client: usize) {
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut number = client;
        while !self.over.load(Ordering::SeqCst) {
            pace.tick().await;
            let began = Instant::now();
            number += 1;
            match tokio::time::timeout(STRATEGY_PATIENCE, self.ask_once(&mut api, &requests[number % requests.len()]))
                .await
            {
                Ok(Ok(())) => self.answered.lock().unwrap().push((Instant::now(), began.elapsed())),
                Ok(Err(problem)) => self.fail(format!("after {:?}: {problem}", began.elapsed())),
                Err(_) => self.fail(format!("no answer within {STRATEGY_PATIENCE:?}")),
            }
        }
    }

    fn fail(&self, problem: String) {
        self.failures.lock().unwrap().push(problem);
    }

    async fn ask_once(&self, api: &mut Api, request: &Value) -> Result<(), String> {
        loop {
            let answer = api.post("/api/v1/predictors/fcr/score").json(request).try_send().await;
            let answer = answer.map_err(|error| format!("{error:?}"))?;
            if answer.status == 200 {
                let body = answer.json();
                let scored = body["scores"].as_array().is_some_and(|scores| scores.len() == 3);
                return if scored { Ok(()) } else { Err(format!("{body}")) };
            }
            if answer.status != 401 || answer.json()["error_code"] != 12 {
                return Err(format!("{} {}", answer.status, answer.text));
            }
            api.token = sign_in(api).await?;
            self.sign_ins.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// A new token, or why there is none.
pub async fn sign_in(api: &Api) -> Result<String, String> {
    let body = json!({"username": USERNAME, "password": PASSWORD});
    let answer = api.post("/api/v1/auth/login").json(&body).try_send().await.map_err(|error| format!("{error:?}"))?;
    if answer.status != 200 {
        return Err(format!("sign-in: {} {}", answer.status, answer.text));
    }
    Ok(answer.json()["token"].as_str().unwrap_or_default().to_owned())
}
