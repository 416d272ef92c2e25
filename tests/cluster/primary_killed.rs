//! `kill -9` of the primary, again and again, under clients that append and never ask twice: nothing that was acknowledged is lost,
//! nothing is doubled, nobody sees an error.

use std::time::{Duration, Instant};

use crate::appenders::{AfterFailure, Appenders, Kind};
use crate::deployment::{Deployment, Shape};
use crate::figures::{Spread, figure, promise, sized};

/// Writes go on within this time.
const RESUMED_WITHIN: Duration = Duration::from_secs(4);

/// `dying` members are killed at once in each round, the primary among them.
async fn members_die_under_append(members: usize, dying: usize) {
    let (rounds, acknowledgements) = sized((2, 400), (10, 8_000));
    let Some(deployment) = Deployment::start(Shape { members, ..Shape::default() }).await else { return };
    let connectors = [deployment.connector_at(0), deployment.connector_at(1)];
    let clients = Appenders::start(&connectors, &deployment.at(0), AfterFailure::End).await;
    let (mut agent_gaps, mut row_gaps) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let began = Instant::now();
        clients.wait_for(acknowledgements / rounds / 2).await;
        let primary = deployment.set.primary().await;
        let killed: Vec<usize> = (0..dying).map(|next| (primary - 1 + next) % members + 1).collect();
        tokio::task::block_in_place(|| deployment.set.kill(&killed));
        clients.wait_for(acknowledgements.div_ceil(rounds * 2)).await;
        let (agents, rows) = (clients.longest_gap(Kind::Agents, began), clients.longest_gap(Kind::Rows, began));
        println!("round {round}: {killed:?} killed; longest gap of agents {agents:?}, of rows {rows:?}");
        agent_gaps.push(agents);
        row_gaps.push(rows);
        tokio::task::block_in_place(|| deployment.set.restart(&killed));
        deployment.set.wait_until_whole().await;
    }
    let appended = clients.stop().await;
    assert!(appended.failures.is_empty(), "{:#?}", appended.failures);
    assert!(appended.acknowledged() >= acknowledgements);
    appended.check(&deployment.at(0)).await;
    appended.check_counts(&deployment.at(0)).await;
    let (agents, rows) = (Spread::of(agent_gaps), Spread::of(row_gaps));
    let what = format!("{dying} of {members} members, the primary among them, killed {rounds} times under append");
    figure(
        &what,
        format!("{} acknowledged, 0 lost, 0 doubled, 0 errors", appended.acknowledged()),
        "0 lost, 0 doubled, 0 errors",
    );
    figure("longest gap between acknowledgements of agents, a round", &agents, "≤ 4 s");
    figure("longest gap between acknowledgements of rows, a round", &rows, "≤ 4 s");
    promise(agents.max().max(rows.max()) <= RESUMED_WITHIN, format!("{agents}; {rows}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_primary_killed_under_append_loses_nothing_and_doubles_nothing() {
    members_die_under_append(3, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_five_members_two_killed_at_once_lose_nothing_and_double_nothing() {
    members_die_under_append(5, 2).await;
}
