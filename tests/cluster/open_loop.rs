//! Score requests that are sent at their time, whether earlier ones were answered or not: what waits is felt, as it is by callers.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::figures::Spread;
use crate::support::api::Api;

/// What became of the requests.
#[derive(Default)]
struct Log {
    /// When each was to be sent, and how long after that its answer was there.
    answered: Mutex<Vec<(Instant, Duration)>>,
    failures: Mutex<Vec<String>>,
}

/// Requests on their way.
pub struct OpenLoop {
    log: Arc<Log>,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl OpenLoop {
    /// So many requests a second, each a path and a body; nothing is sent twice.
    pub fn start(api: &Api, rate: u32, requests: &[(String, Value)]) -> Self {
        let load = Self { log: Arc::default(), stop: CancellationToken::new(), tracker: TaskTracker::new() };
        let (log, stop, tracker) = (load.log.clone(), load.stop.clone(), load.tracker.clone());
        let (api, requests) = (api.clone(), requests.to_vec());
        load.tracker.spawn(async move {
            // Late ticks are made up for at once, and count from when they were due.
            let mut pace = tokio::time::interval(Duration::from_secs(1) / rate);
            for number in 0.. {
                let Some(due) = stop.run_until_cancelled(pace.tick()).await else { break };
                let (path, body) = &requests[number % requests.len()];
                let ask = api.post(path).json(body);
                let log = log.clone();
                tracker.spawn(async move {
                    let answer = match ask.try_send().await {
                        Ok(answer) if answer.status == 200 => Ok(answer.json()["scores"].as_array().map(Vec::len)),
                        Ok(answer) => Err(format!("{} {}", answer.status, answer.text)),
                        Err(error) => Err(format!("{error:?}")),
                    };
                    let took = due.into_std().elapsed();
                    match answer {
                        Ok(Some(3)) => log.answered.lock().unwrap().push((due.into_std(), took)),
                        answer => log.failures.lock().unwrap().push(format!("after {took:?}: {answer:?}")),
                    }
                });
            }
        });
        load
    }

    /// How long the answers took that were due between these moments.
    pub fn took(&self, from: Instant, to: Instant) -> Spread {
        let answered = self.log.answered.lock().unwrap();
        Spread::of(answered.iter().filter(|(due, _)| (from..to).contains(due)).map(|(_, took)| *took))
    }

    pub fn answered(&self) -> usize {
        self.log.answered.lock().unwrap().len()
    }

    /// Ends when every request has its answer; how many there were, and what failed.
    pub async fn stop(&self) -> (usize, Vec<String>) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
        (self.answered(), self.log.failures.lock().unwrap().clone())
    }
}
