//! A change that one server has acknowledged is used in the scores of another.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::appenders::{AfterFailure, Appenders};
use crate::deployment::{Deployment, Shape};
use crate::figures::{Spread, figure, promise, sized};
use crate::support::api::Api;
use crate::support::centre;
use crate::support::patience::PATIENCE;

const USED_WITHIN: Duration = Duration::from_millis(250);
/// Login states that nobody else has.
const FIRST_STATE: usize = 1_000_000;

/// Gives an agent a new login state on one server; how long, from the acknowledgement, until a score of the other goes by it.
async fn change_reaches(from: &Api, to: &Api, state: usize) -> Duration {
    let record = json!({"records": [{"id": "agent-0001", "loginStatus": state}]});
    let changed = from.post("/api/v1/agents/records").json(&record).send().await.expect_status(200);
    let acknowledged = Instant::now();
    assert_eq!(changed.json()["accepted"], 1, "{}", changed.text);
    let ask = json!({"action_filters": format!("loginStatus = {state}")});
    // Asked again at once: a pause would be measured, too.
    loop {
        let answer = to.post("/api/v1/predictors/fcr/score").json(&ask).send().await.expect_status(200).json();
        if answer["eligible"] == 1 {
            return acknowledged.elapsed();
        }
        assert!(acknowledged.elapsed() < PATIENCE, "{answer}");
    }
}

async fn changes(servers: &[Api; 2], count: usize, first: usize) -> Spread {
    let mut took = Vec::with_capacity(count);
    for number in 0..count {
        let (from, to) = (number % 2, (number + 1) % 2);
        took.push(change_reaches(&servers[from], &servers[to], first + number).await);
    }
    Spread::of(took)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_acknowledged_on_one_server_is_used_by_the_other_within_a_quarter_of_a_second() {
    let Some(deployment) = Deployment::start(Shape::default()).await else { return };
    let servers = [deployment.at(0), deployment.at(1)];
    let loaded = centre::load(&servers[0]).await;
    deployment.activate(&loaded, "HYBRID").await;
    let count = sized(60, 1_000);
    let quiet = changes(&servers, count, FIRST_STATE).await;
    figure("acknowledged on one server until used in a score of another", &quiet, "p99 ≤ 250 ms");
    let appenders = Appenders::of_agents("more", &servers, AfterFailure::End);
    let busy = changes(&servers, count, FIRST_STATE + count).await;
    figure("the same while six clients append agents", &busy, "p99 ≤ 250 ms");
    assert!(appenders.stop().await.failures.is_empty());
    for took in [quiet, busy] {
        promise(took.quantile(0.99) <= USED_WITHIN, took);
    }
}
