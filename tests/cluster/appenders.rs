//! Clients that append agents and rows of a dataset and never send anything twice; and what has to be there afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::api::{Api, Ask};
use crate::support::patience::until;

/// Clients of each kind. Each append to a dataset makes a job, so those are paced.
const AGENT_CLIENTS: usize = 6;
const ROW_CLIENTS: usize = 2;
const ROW_PACE: Duration = Duration::from_millis(400);
/// As fast as they are answered.
const AGENT_PACE: Duration = Duration::from_millis(1);
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(200);
/// Rows of the dataset's first file.
const FIRST_ROWS: usize = 50;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Agents,
    Rows,
}

/// What a client does when an append was not acknowledged. It never sends the same again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterFailure {
    /// Nobody expects one: the client ends.
    End,
    /// It appends the next, a little later.
    GoOn,
}

/// An append that was not acknowledged. It may have been stored all the same.
#[derive(Debug, Clone)]
#[expect(dead_code, reason = "some is only printed, with the whole of it, when a test fails")]
pub struct Failure {
    pub kind: Kind,
    pub began: Instant,
    pub took: Duration,
    /// `None`: no answer came.
    pub status: Option<u16>,
    pub retry_after: bool,
    pub problem: String,
}

/// What all clients share.
#[derive(Default)]
struct Log {
    over: AtomicBool,
    acknowledged: Mutex<Vec<(Kind, Instant)>>,
    failures: Mutex<Vec<Failure>>,
}

/// What one client has sent, by number.
#[derive(Debug, Default)]
struct Sent {
    acknowledged: BTreeSet<usize>,
    uncertain: BTreeSet<usize>,
}

/// Clients at work.
pub struct Appenders {
    log: Arc<Log>,
    /// What the ids of their agents begin with.
    prefix: String,
    dataset: Option<String>,
    agents: Vec<JoinHandle<Sent>>,
    rows: Vec<JoinHandle<Sent>>,
}

/// A row of the dataset: the text of its only line.
fn row(call: &str) -> String {
    format!("{call},agent-7,12,true,2024-05-02T00:00:00Z\n")
}

const HEADER: &str = "call,agent,seconds,solved,started\n";

/// Makes a dataset to append to; its id.
async fn dataset(api: &Api) -> String {
    let rows: String = (0..FIRST_ROWS).map(|number| row(&format!("first-{number}"))).collect();
    let done = api.upload("dataset", format!("{HEADER}{rows}").as_bytes(), json!({"name": "calls"})).await;
    assert_eq!(done["job"]["state"], "succeeded", "{done:#}");
    done["dataset_id"].as_str().unwrap().to_owned()
}

impl Log {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Sends a request, once; whether it was acknowledged.
    async fn send(&self, kind: Kind, status: u16, ask: Ask) -> bool {
        let began = Instant::now();
        let answer = ask.try_send().await;
        let failure = match answer {
            Ok(answer) if answer.status == status => {
                // Of agents: all of them.
                let rejected = answer.json()["rejected"].as_array().map_or(0, Vec::len);
                assert_eq!(rejected, 0, "{}", answer.text);
                self.acknowledged.lock().unwrap().push((kind, Instant::now()));
                return true;
            }
            Ok(answer) => {
                let retry_after = answer.headers.contains_key("retry-after");
                (Some(answer.status.as_u16()), retry_after, answer.text)
            }
            Err(error) => (None, false, format!("{error:?}")),
        };
        let (status, retry_after, problem) = failure;
        let failure = Failure { kind, began, took: began.elapsed(), status, retry_after, problem };
        self.failures.lock().unwrap().push(failure);
        false
    }

    /// A client's life: appends number after number until the end.
    async fn append(&self, kind: Kind, after: AfterFailure, pace: Duration, mut ask: impl FnMut(usize) -> Ask) -> Sent {
        let status = if kind == Kind::Agents { 200 } else { 202 };
        let (mut sent, mut pace) = (Sent::default(), tokio::time::interval(pace));
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for number in 0.. {
            if self.is_over() {
                break;
            }
            pace.tick().await;
            if self.send(kind, status, ask(number)).await {
                sent.acknowledged.insert(number);
                continue;
            }
            sent.uncertain.insert(number);
            if after == AfterFailure::End {
                break;
            }
            tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
        }
        sent
    }
}

impl Appenders {
    /// Eight clients, spread over these servers, that append agents and rows of a dataset, which is made first.
    pub async fn start(servers: &[Api], owner: &Api, after: AfterFailure) -> Self {
        let dataset = dataset(owner).await;
        let mut clients = Self::of_agents("appended", servers, after);
        clients.append_rows(dataset, servers, after);
        clients
    }

    /// Six clients that append agents only. Their ids begin with `name`.
    pub fn of_agents(name: &str, servers: &[Api], after: AfterFailure) -> Self {
        let (log, prefix) = (Arc::new(Log::default()), format!("{name}-"));
        let agents = (0..AGENT_CLIENTS).map(|client| {
            let (log, api, prefix) = (log.clone(), servers[client % servers.len()].clone(), prefix.clone());
            let ask = move |turn: usize| {
                // A new agent, and a change of the one before it.
                let record = |number| json!({"id": format!("{prefix}{client}-{number}"), "loginStatus": turn});
                let records: Vec<Value> = (turn.max(1) - 1..=turn).map(record).collect();
                api.post("/api/v1/agents/records").json(&json!({"records": records}))
            };
            tokio::spawn(async move { log.append(Kind::Agents, after, AGENT_PACE, ask).await })
        });
        let agents = agents.collect();
        Self { log, prefix, dataset: None, agents, rows: Vec::new() }
    }

    fn append_rows(&mut self, dataset: String, servers: &[Api], after: AfterFailure) {
        let path = format!("/api/v1/datasets/{dataset}/append");
        let rows = (0..ROW_CLIENTS).map(|client| {
            let (log, api, path) = (self.log.clone(), servers[client % servers.len()].clone(), path.clone());
            let ask = move |number: usize| {
                api.post(&path).body("text/csv", format!("{HEADER}{}", row(&format!("{client}-{number}"))))
            };
            tokio::spawn(async move { log.append(Kind::Rows, after, ROW_PACE, ask).await })
        });
        self.rows = rows.collect();
        self.dataset = Some(dataset);
    }

    pub fn acknowledged(&self) -> usize {
        self.log.acknowledged.lock().unwrap().len()
    }

    /// Waits for so many more acknowledgements, of each kind at least one.
    pub async fn wait_for(&self, more: usize) {
        let before = self.acknowledged();
        until("acknowledgements", async || {
            let log = self.log.acknowledged.lock().unwrap();
            let of = |kind| log[before..].iter().any(|(known, _)| *known == kind);
            let both = of(Kind::Agents) && (self.rows.is_empty() || of(Kind::Rows));
            if both && log.len() >= before + more { Ok(()) } else { Err((log.len() - before, self.failures())) }
        })
        .await;
    }

    /// The longest time without an acknowledgement of the kind since then.
    pub fn longest_gap(&self, kind: Kind, since: Instant) -> Duration {
        let log = self.log.acknowledged.lock().unwrap();
        let times = log.iter().filter(|(known, when)| *known == kind && *when >= since).map(|(_, when)| *when);
        let (mut last, mut longest) = (since, Duration::ZERO);
        for time in times {
            longest = longest.max(time - last);
            last = time;
        }
        longest
    }

    pub fn failures(&self) -> Vec<Failure> {
        self.log.failures.lock().unwrap().clone()
    }

    /// Ends the clients; what has to be there now.
    pub async fn stop(self) -> Appended {
        self.log.over.store(true, Ordering::SeqCst);
        let (agents, rows) = (ended(self.agents).await, ended(self.rows).await);
        let failures = self.log.failures.lock().unwrap().clone();
        Appended { prefix: self.prefix, dataset: self.dataset, agents, rows, failures }
    }
}

async fn ended(clients: Vec<JoinHandle<Sent>>) -> Vec<Sent> {
    futures::future::join_all(clients).await.into_iter().map(Result::unwrap).collect()
}

/// What was sent, by client.
pub struct Appended {
    prefix: String,
    dataset: Option<String>,
    agents: Vec<Sent>,
    rows: Vec<Sent>,
    pub failures: Vec<Failure>,
}

/// `client-number` of some of what the clients have sent.
fn names(clients: &[Sent], numbers: impl Fn(&Sent) -> &BTreeSet<usize>) -> BTreeSet<String> {
    let of = |(client, sent)| numbers(sent).iter().map(move |number| format!("{client}-{number}"));
    clients.iter().enumerate().flat_map(of).collect()
}

impl Appended {
    /// How many appends were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.agents.iter().chain(&self.rows).map(|sent| sent.acknowledged.len()).sum()
    }

    /// Everything that was acknowledged is there, once; nothing is there that was not sent.
    pub async fn check(&self, api: &Api) {
        self.check_agents(api).await;
        if let Some(dataset) = &self.dataset {
            self.check_rows(api, dataset).await;
        }
    }

    /// Counted and pending changes of agents are exactly those that were acknowledged: when nothing else was sent by anybody.
    pub async fn check_counts(&self, api: &Api) {
        let appends: usize = self.agents.iter().map(|sent| sent.acknowledged.len()).sum();
        // All but a client's first also changed an agent.
        let changes = appends - self.agents.iter().filter(|sent| !sent.acknowledged.is_empty()).count();
        let counts = api.get("/api/v1/agents/cardinalities").send().await.ok().json();
        assert_eq!(accounted(&counts), appends + changes, "new and changed agents: {counts:#}");
    }

    async fn check_agents(&self, api: &Api) {
        let mut turns: BTreeMap<String, usize> = BTreeMap::new();
        for agent in list(api, "/api/v1/agents/records?").await {
            let Some(name) = agent["id"].as_str().unwrap().strip_prefix(&*self.prefix) else { continue };
            let turn = agent["loginStatus"].as_u64().unwrap() as usize;
            assert_eq!(turns.insert(name.to_owned(), turn), None, "each agent once");
        }
        let acknowledged = names(&self.agents, |sent| &sent.acknowledged);
        let uncertain = names(&self.agents, |sent| &sent.uncertain);
        let found = turns.keys().cloned().collect();
        subset("agents", &acknowledged, &found);
        subset("agents that nobody sent", &found, &(&acknowledged | &uncertain));
        for (client, numbers) in self.agents.iter().enumerate() {
            for number in &numbers.acknowledged {
                assert!(turns[&format!("{client}-{number}")] >= *number, "{client}-{number} lost a change");
                let Some(before) = number.checked_sub(1) else { continue };
                assert!(turns[&format!("{client}-{before}")] >= *number, "{client}-{before} lost a change");
            }
        }
    }

    async fn check_rows(&self, api: &Api, dataset: &str) {
        let path = format!("/api/v1/datasets/{dataset}");
        wait_for_jobs(api).await;
        let first: BTreeSet<String> = (0..FIRST_ROWS).map(|number| format!("first-{number}")).collect();
        let acknowledged = &first | &names(&self.rows, |sent| &sent.acknowledged);
        let uncertain = names(&self.rows, |sent| &sent.uncertain);
        let stored = list(api, &format!("{path}/rows?columns=call&")).await;
        let calls: BTreeSet<String> = stored.iter().map(|row| row["call"].as_str().unwrap().to_owned()).collect();
        assert_eq!(calls.len(), stored.len(), "each row once");
        subset("rows", &acknowledged, &calls);
        subset("rows that nobody sent", &calls, &(&acknowledged | &uncertain));
        assert_eq!(api.get(&path).send().await.ok().json()["rows"], stored.len());
        let counts = api.get(&format!("{path}/cardinalities")).send().await.ok().json();
        assert_eq!(accounted(&counts), stored.len(), "{counts:#}");
    }
}

/// Waits until no job is queued or running, as long as jobs end.
pub async fn wait_for_jobs(api: &Api) {
    let open = async || {
        let mut open = Vec::new();
        for state in ["queued", "running"] {
            open.extend(list(api, &format!("/api/v1/jobs?state={state}&")).await);
        }
        open.len()
    };
    let mut fewest = open().await;
    while fewest > 0 {
        fewest = until("the end of a job", async || match open().await {
            now if now < fewest => Ok(now),
            now => Err(now),
        })
        .await;
    }
    let dead = list(api, "/api/v1/jobs?state=dead&").await;
    assert!(dead.is_empty(), "{dead:#?}");
}

/// Records that are counted, and those that wait to be.
fn accounted(counts: &Value) -> usize {
    let count = |name: &str| counts[name].as_u64().unwrap() as usize;
    count("records_counted") + count("records_pending")
}

/// Fails unless everything of the first is in the second.
fn subset(what: &str, part: &BTreeSet<String>, whole: &BTreeSet<String>) {
    let missing: Vec<&String> = part.difference(whole).collect();
    assert!(missing.is_empty(), "{what}: {missing:?}");
}

/// Every item of a list, page after page. `path` ends with `?` or `&`.
pub async fn list(api: &Api, path: &str) -> Vec<Value> {
    let (mut items, mut after) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("{path}limit=500{after}")).send().await.ok().json();
        items.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={}", encoded(next)),
            None => return items,
        }
    }
}

/// Every byte as `%XX`.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
