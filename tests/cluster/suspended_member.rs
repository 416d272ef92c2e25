//! The primary is suspended (it neither answers nor ends): another takes over, no client sees an error, and waking it changes nothing.

use std::time::{Duration, Instant};

use crate::appenders::{AfterFailure, Appenders, Kind};
use crate::deployment::{CONNECTOR_PATIENCE, Deployment, Shape};
use crate::figures::{Spread, figure, sized};

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_primary_is_replaced_and_changes_nothing_when_it_wakes() {
    let (rounds, acknowledgements) = sized((1, 100), (5, 400));
    let Some(deployment) = Deployment::start(Shape::default()).await else { return };
    let connectors = [deployment.connector_at(0), deployment.connector_at(1)];
    let clients = Appenders::start(&connectors, &deployment.at(0), AfterFailure::End).await;
    let mut gaps: Vec<Duration> = Vec::new();
    for round in 1..=rounds {
        let began = Instant::now();
        clients.wait_for(acknowledgements).await;
        let primary = deployment.set.primary().await;
        tokio::task::block_in_place(|| deployment.set.suspend(&[primary]));
        let next = deployment.set.primary_other_than(&[primary]).await;
        clients.wait_for(acknowledgements).await;
        tokio::task::block_in_place(|| deployment.set.resume(&[primary]));
        deployment.set.wait_until_whole().await;
        assert_eq!(deployment.set.primary().await, next, "the one that woke up follows");
        clients.wait_for(acknowledgements).await;
        let gap = clients.longest_gap(Kind::Agents, began).max(clients.longest_gap(Kind::Rows, began));
        println!("round {round}: {primary} suspended, {next} took over; longest gap {gap:?}");
        gaps.push(gap);
    }
    let appended = clients.stop().await;
    assert!(appended.failures.is_empty(), "{:#?}", appended.failures);
    appended.check(&deployment.at(0)).await;
    appended.check_counts(&deployment.at(0)).await;
    let gaps = Spread::of(gaps);
    let what = format!("primary suspended {rounds} times under append");
    let measured = format!("{} acknowledged, 0 lost, 0 doubled, 0 errors", appended.acknowledged());
    figure(&what, measured, "0 lost, 0 doubled, 0 errors");
    figure("longest gap between acknowledgements, a round", &gaps, "< 15 s");
    assert!(gaps.max() < CONNECTOR_PATIENCE);
}
