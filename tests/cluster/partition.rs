//! The network breaks: the primary, together with one server, is cut off from the other members and from the other server. The
//! majority goes on; the server on the wrong side refuses writes and reads on; nothing that was acknowledged on either side is lost.

use std::time::{Duration, Instant};

use crate::appenders::{AfterFailure, Appenders, Kind};
use crate::deployment::{Deployment, Shape};
use crate::figures::{Spread, figure, promise, sized};
use crate::network::Network;
use crate::node::Role;
use crate::support::patience::until;

const REFUSED_WITHIN: Duration = Duration::from_secs(5);
/// The change feed of a healthy server is never further behind.
const FRESH_MS: u64 = 2_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_cut_off_with_one_server_loses_nothing_on_either_side() {
    let Some(network) = Network::lay(3) else { return };
    let shape = Shape { servers: 1, workers: 0, ..Shape::default() };
    let Some(deployment) = Deployment::start_in(&network, shape).await else { return };
    let (mut gaps, mut refused) = (Vec::new(), Vec::new());
    for round in 1..=sized(1, 5) {
        let primary = deployment.set.primary().await;
        let beside = deployment.start_node_in(&network, primary, Role::Server);
        let (majority, minority) = (deployment.connector_at(0), deployment.connector(beside.url()));
        let served =
            Appenders::of_agents(&format!("served{round}"), std::slice::from_ref(&majority), AfterFailure::End);
        let cut_off = Appenders::of_agents(&format!("cut{round}"), std::slice::from_ref(&minority), AfterFailure::GoOn);
        served.wait_for(30).await;
        cut_off.wait_for(30).await;
        let began = Instant::now();
        network.cut(primary);
        deployment.set.primary_other_than(&[primary]).await;
        served.wait_for(100).await;
        gaps.push(served.longest_gap(Kind::Agents, began));
        until("refusals on the wrong side", async || {
            let failures = cut_off.failures();
            if failures.len() >= 12 { Ok(()) } else { Err(failures) }
        })
        .await;
        assert_eq!(beside.status_of("/login").await, Some(200));
        minority.get("/api/v1/agents/records").send().await.expect_status(200);

        network.mend(primary);
        deployment.set.wait_until_whole().await;
        cut_off.wait_for(30).await;
        served.wait_for(30).await;
        until("a fresh change feed", async || {
            let ready = minority.get("/readyz").send().await.json();
            let fresh = ready["document_store"]["feed_lag_ms"].as_u64().is_some_and(|lag| lag < FRESH_MS);
            // The S3 service is out of its reach all the time.
            if fresh && ready["checks"]["document_store"] == "ok" { Ok(()) } else { Err(ready) }
        })
        .await;
        let (served, cut_off) = (served.stop().await, cut_off.stop().await);
        assert!(served.failures.is_empty(), "{:#?}", served.failures);
        for failure in &cut_off.failures {
            assert!(failure.status == Some(503) && failure.retry_after, "{failure:?}");
            refused.push(failure.took);
        }
        for api in [&majority, &minority] {
            served.check(api).await;
            cut_off.check(api).await;
        }
    }
    let (gaps, refused) = (Spread::of(gaps), Spread::of(refused));
    figure("primary and one server cut off: longest gap between acknowledgements elsewhere", &gaps, "0 errors, 0 lost");
    figure("primary and one server cut off: a write there is refused after", &refused, "≤ 5 s, 0 lost");
    promise(refused.max() <= REFUSED_WITHIN, refused);
}
