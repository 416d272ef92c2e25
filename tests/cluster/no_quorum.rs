//! Without a majority of the replica set, or without any member: writes are refused soon, everything else goes on, and afterwards
//! nothing that was acknowledged is missing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::appenders::{AfterFailure, Appenders, Failure};
use crate::deployment::{Deployment, Shape};
use crate::figures::{Spread, figure, promise, sized};
use crate::node::Role;
use crate::scorers::{Scorers, requests, sign_in};
use crate::support::api::Api;
use crate::support::centre;
use crate::support::patience::until;

const REFUSED_WITHIN: Duration = Duration::from_secs(5);
/// Of the tokens of the second server: shorter than any outage here.
const TOKEN_SECONDS: u64 = 5;
const LEAST_RATE: f64 = 0.9;
const CLIENTS: usize = 4;

/// What load balancers hear from the servers, all the time.
struct Probes {
    over: Arc<AtomicBool>,
    /// Answers of `/login` that were not 200.
    bad: Arc<Mutex<Vec<String>>>,
}

impl Probes {
    fn start(servers: &[Api]) -> Self {
        let probes = Self { over: Arc::default(), bad: Arc::default() };
        for api in servers.iter().cloned() {
            let (over, bad) = (probes.over.clone(), probes.bad.clone());
            tokio::spawn(async move {
                let mut pace = tokio::time::interval(Duration::from_millis(100));
                while !over.load(Ordering::SeqCst) {
                    pace.tick().await;
                    match api.http.get(format!("{}/login", api.url)).timeout(Duration::from_secs(1)).send().await {
                        Ok(answer) if answer.status() == 200 => {}
                        seen => bad.lock().unwrap().push(format!("{seen:?}")),
                    }
                }
            });
        }
        probes
    }

    fn stop(self) -> Vec<String> {
        self.over.store(true, Ordering::SeqCst);
        self.bad.lock().unwrap().clone()
    }
}

/// Everything that goes on while something is broken.
struct Watched<'a> {
    servers: &'a [Api],
    scorers: &'a Scorers,
    appenders: &'a Appenders,
}

/// What is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Everything,
    /// One member: it can be read.
    One,
    Nothing,
}

/// What was seen in a while.
struct Seen {
    scores_a_second: f64,
    scores: Spread,
    sign_ins: Spread,
    refusals: Vec<Failure>,
}

impl Watched<'_> {
    /// Waits until both servers say that most members are away.
    async fn wait_for_notice(&self, condition: &str) {
        for api in self.servers {
            until("a notice", async || match api.get("/readyz").send().await.expect_status(200).json() {
                body if body["checks"]["document_store"] == condition && !body["detail"].is_null() => Ok(()),
                body => Err(body),
            })
            .await;
        }
    }

    /// Looks at what goes on for a while.
    async fn look(&self, what: &str, left: Left, seconds: u64) -> Seen {
        let (began, failed, signed_in) = (Instant::now(), self.scorers.failures().len(), self.scorers.sign_ins());
        let refused = self.appenders.failures().len();
        let mut sign_ins = Vec::new();
        // Once a second, as watching must not be what is felt.
        for second in 1..=seconds {
            let api = &self.servers[second as usize % self.servers.len()];
            let asked = Instant::now();
            sign_in(api).await.unwrap();
            sign_ins.push(asked.elapsed());
            self.look_at_lists(what, api, left).await;
            self.score_a_stranger(what, api, left).await;
            tokio::time::sleep_until((began + Duration::from_secs(second)).into()).await;
        }
        let failures = &self.scorers.failures()[failed..];
        assert!(failures.is_empty(), "{what}: scores failed: {failures:#?}");
        assert!(self.scorers.sign_ins() > signed_in, "{what}: a token has expired meanwhile");
        Seen {
            scores_a_second: self.scorers.rate(began),
            scores: Spread::of(self.scorers.took(began)),
            sign_ins: Spread::of(sign_ins),
            refusals: self.appenders.failures().split_off(refused),
        }
    }

    /// Looks for so many seconds, compares with how it was before, and prints.
    async fn look_while_broken(&self, what: &str, left: Left, usual: &Seen, seconds: u64) {
        let seen = self.look(what, left, seconds).await;
        for refusal in &seen.refusals {
            assert!(refusal.status == Some(503) && refusal.retry_after, "{what}: {refusal:?}");
        }
        let refused = Spread::of(seen.refusals.iter().map(|refusal| refusal.took));
        let share = seen.scores_a_second / usual.scores_a_second;
        let rate = format!("{:.0} % ({:.0}/s, {})", share * 1e2, seen.scores_a_second, seen.scores);
        figure(&format!("{what}: rate of scores"), rate, "> 90 %");
        figure(&format!("{what}: a sign-in takes"), &seen.sign_ins, "goes on");
        figure(&format!("{what}: a write is refused after"), &refused, "≤ 5 s");
        let rates = format!("{what}: {} of {} a second", seen.scores_a_second, usual.scores_a_second);
        promise(share > LEAST_RATE, rates);
        promise(refused.max() <= REFUSED_WITHIN, format!("{what}: {:#?}", seen.refusals));
    }

    async fn look_at_lists(&self, what: &str, api: &Api, left: Left) {
        for path in ["agents/records", "datasets", "predictors", "jobs", "agents/cardinalities"] {
            let began = Instant::now();
            let answer = api.get(&format!("/api/v1/{path}")).send().await;
            let expected = if left == Left::Nothing { 503 } else { 200 };
            assert_eq!(answer.status, expected, "{what}: {path}: {}", answer.text);
            promise(began.elapsed() <= REFUSED_WITHIN, format!("{what}: {path} after {:?}", began.elapsed()));
        }
    }

    /// A customer whom no server has in memory.
    async fn score_a_stranger(&self, what: &str, api: &Api, left: Left) {
        let body = json!({"context_id": "nobody knows me", "action_filters": "english >= 1"});
        let answer = api.post("/api/v1/predictors/fcr/score").json(&body).send().await.expect_status(200).json();
        let missed = answer["warnings"].to_string().contains("cannot be read");
        // Known to be nobody, since a server found out while it could read.
        assert!(!missed || left == Left::Nothing, "{what}: {answer:#}");
        assert_eq!(answer["customer_found"], false);
    }

    /// Waits until writes go on at both servers, and what is written reaches scores.
    async fn wait_until_normal(&self, round: usize) {
        self.appenders.wait_for(CLIENTS * 2).await;
        for (number, api) in self.servers.iter().enumerate() {
            let agent = format!("late-{round}-{number}");
            let record = json!({"records": [{"id": agent, "loginStatus": 4}]});
            api.post("/api/v1/agents/records").json(&record).send().await.expect_status(200);
            for other in self.servers {
                until("a score of a new agent", async || {
                    let body = json!({"agents": [agent]});
                    let answer = other.post("/api/v1/predictors/fcr/score").json(&body).send().await;
                    let answer = answer.expect_status(200).json();
                    if answer["scores"][0]["source"] == "default" { Err(answer) } else { Ok(()) }
                })
                .await;
            }
            until("an end of the notice", async || match api.get("/readyz").send().await.json() {
                body if body["detail"].is_null() => Ok(()),
                body => Err(body),
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_writes_are_refused_soon_and_everything_else_goes_on() {
    let Some(mut deployment) = Deployment::start(Shape { servers: 1, ..Shape::default() }).await else { return };
    let hurried = deployment.start_node_with(Role::Server, &[("TOKEN_TTL_SECONDS", TOKEN_SECONDS.to_string())]);
    deployment.servers.push(hurried);
    let servers = [deployment.at(0), deployment.at(1)];
    let loaded = centre::load(&servers[0]).await;
    deployment.activate(&loaded, "HYBRID").await;
    let connectors = [deployment.connector_at(0), deployment.connector_at(1)];
    let appenders = Appenders::start(&connectors, &servers[0], AfterFailure::GoOn).await;
    let hurried = Api { token: sign_in(&servers[1]).await.unwrap(), ..servers[1].clone() };
    let scorers = Scorers::start(&[servers[0].clone(), hurried], CLIENTS, &requests(&loaded, 200));
    let probes = Probes::start(&servers);
    appenders.wait_for(CLIENTS).await;
    let watched = Watched { servers: &servers, scorers: &scorers, appenders: &appenders };
    let seconds = sized(TOKEN_SECONDS + 3, 30);
    let usual = watched.look("all is well", Left::Everything, seconds).await;
    let rate = usual.scores_a_second;
    println!("all is well: {rate:.0} scores/s, {}; a sign-in takes {}", usual.scores, usual.sign_ins);
    assert!(usual.refusals.is_empty(), "{:#?}", usual.refusals);

    let (_, secondaries) = roles(&deployment).await;
    tokio::task::block_in_place(|| deployment.set.suspend(&secondaries));
    watched.wait_for_notice("read_only").await;
    watched.look_while_broken("both secondaries suspended", Left::One, &usual, seconds).await;
    tokio::task::block_in_place(|| deployment.set.resume(&secondaries));
    deployment.set.wait_until_whole().await;
    watched.wait_until_normal(1).await;

    let (primary, secondaries) = roles(&deployment).await;
    tokio::task::block_in_place(|| deployment.set.kill(&secondaries));
    watched.wait_for_notice("read_only").await;
    watched.look_while_broken("both secondaries killed", Left::One, &usual, seconds).await;
    tokio::task::block_in_place(|| deployment.set.kill(&[primary]));
    watched.wait_for_notice("unavailable").await;
    watched.look_while_broken("the primary killed, too", Left::Nothing, &usual, seconds).await;
    tokio::task::block_in_place(|| deployment.set.restart(&[1, 2, 3]));
    deployment.set.wait_until_whole().await;
    watched.wait_until_normal(2).await;

    let bad = probes.stop();
    assert!(bad.is_empty(), "/login: {bad:#?}");
    assert_eq!(scorers.stop().await, Vec::<String>::new());
    let appended = appenders.stop().await;
    for refusal in &appended.failures {
        promise(refusal.took <= REFUSED_WITHIN, format!("{refusal:?}"));
    }
    appended.check(&servers[0]).await;
    figure(
        "majority lost twice, all members once",
        format!("{} acknowledged, 0 lost; {} refused", appended.acknowledged(), appended.failures.len()),
        "0 lost; /login always 200",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_starts_without_a_majority_signs_in_and_scores_and_follows_later() {
    let Some(mut deployment) = Deployment::start(Shape { servers: 1, ..Shape::default() }).await else { return };
    let api = deployment.at(0);
    let loaded = centre::load(&api).await;
    loaded.activate(&api, "HYBRID").await;
    let body = &requests(&loaded, 1)[0];
    let scores = async |api: &Api| {
        let answer = api.post("/api/v1/predictors/fcr/score").json(body).send().await;
        answer.expect_status(200).json()["scores"].clone()
    };
    let usual = scores(&api).await;
    assert!(usual[0]["score"].as_f64().is_some(), "{usual:#}");
    for (what, suspended) in [("suspended", true), ("killed", false)] {
        let (primary, secondaries) = roles(&deployment).await;
        tokio::task::block_in_place(|| {
            if suspended {
                deployment.set.suspend(&secondaries);
            } else {
                deployment.set.kill(&secondaries);
            }
        });
        deployment.set.wait_until_stepped_down(primary).await;
        tokio::task::block_in_place(|| {
            deployment.servers[0].kill();
            deployment.servers[0].restart();
        });
        let took = deployment.servers[0].process.started_in;
        figure(&format!("both secondaries {what}: a server starts within"), format!("{took:.1?}"), "it starts");
        deployment.servers[0].wait_for_login(200).await;
        let api = Api { token: sign_in(&api).await.unwrap(), ..api.clone() };
        assert_eq!(scores(&api).await, usual, "{what}");
        let agent = format!("after-{what}");
        let record = json!({"records": [{"id": agent, "loginStatus": 4}]});
        let post = async || api.post("/api/v1/agents/records").json(&record).send().await;
        post().await.expect_problem(503, "store_unavailable");

        tokio::task::block_in_place(|| {
            if suspended {
                deployment.set.resume(&secondaries);
            } else {
                deployment.set.restart(&secondaries);
            }
        });
        deployment.set.wait_until_whole().await;
        until("a write", async || match post().await {
            answer if answer.status == 200 => Ok(()),
            answer => Err(answer.text),
        })
        .await;
        until("a score of a new agent", async || {
            let answer = api.post("/api/v1/predictors/fcr/score").json(&json!({"agents": [agent]})).send().await;
            let answer = answer.expect_status(200).json();
            if answer["scores"][0]["source"] == "default" { Err(answer) } else { Ok(()) }
        })
        .await;
    }
}

/// The number of the primary, and those of the others.
async fn roles(deployment: &Deployment) -> (usize, Vec<usize>) {
    let primary = deployment.set.primary().await;
    (primary, (1..=3).filter(|member| *member != primary).collect())
}
