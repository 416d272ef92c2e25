//! A rolling restart behind a load balancer that asks nobody twice: every server drains, ends and comes back under score requests, and
//! no request fails.
//!
//! A server that starts needs a core for a moment, and a development build much longer: figures are those of a release build
//! (`TANGO_TEST_PROGRAM`), at full size.

use std::time::{Duration, Instant};

use crate::balancer::{Balancer, Kind};
use crate::deployment::{Deployment, Shape};
use crate::figures::{figure, promise, sized};
use crate::open_loop::OpenLoop;
use crate::scorers::requests;
use crate::support::centre;
use crate::support::patience::until;

const SERVERS: usize = 3;
/// Of what the answers take without a restart.
const SLOWER_AT_MOST: u32 = 3;

/// Lets the load flow for a while with nothing else going on.
async fn steady(seconds: u64) -> (Instant, Instant) {
    let began = Instant::now();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    (began, Instant::now())
}

async fn restart_one_after_the_other(deployment: &mut Deployment) {
    for server in &mut deployment.servers {
        server.terminate();
        let ended = tokio::task::block_in_place(|| server.process.wait());
        assert_eq!(ended, Some(0), "ended in good order");
        tokio::task::block_in_place(|| server.restart());
        server.wait_for_login(200).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_restarted_one_after_the_other_fail_no_request() {
    let (rate, steady_seconds, rounds) = sized((60, 2, 1), (500, 10, 6));
    let settings = vec![("DRAIN_SECONDS", "2".to_owned())];
    let shape = Shape { servers: SERVERS, settings, ..Shape::default() };
    let Some(mut deployment) = Deployment::start(shape).await else { return };
    let loaded = centre::load(&deployment.at(0)).await;
    deployment.activate(&loaded, "HYBRID").await;
    let path = "/api/v1/predictors/fcr/score".to_owned();
    let asks: Vec<_> = requests(&loaded, 200).into_iter().map(|body| (path.clone(), body)).collect();
    for kind in [Kind::HaProxy, Kind::Nginx] {
        let servers: Vec<_> = deployment.servers.iter().collect();
        let balancer = Balancer::start(&deployment.cluster, kind, &servers, false);
        let load = OpenLoop::start(&deployment.connector(balancer.url.clone()), rate, &asks);
        until("every server and connection warm", async || {
            let answered = load.answered();
            if answered > rate as usize { Ok(()) } else { Err(answered) }
        })
        .await;
        let before = steady(steady_seconds).await;
        for _ in 0..rounds {
            restart_one_after_the_other(&mut deployment).await;
        }
        let restarted = Instant::now();
        let after = steady(steady_seconds).await;
        let (answered, failures) = load.stop().await;
        let usual = [before, after].map(|(from, to)| load.took(from, to));
        let during = load.took(before.1, restarted);
        let what =
            format!("{SERVERS} servers restarted {rounds} times one after the other behind {kind:?} at {rate}/s");
        figure(&what, format!("{answered} answered, {} failed", failures.len()), "0 failed");
        figure("scores before", &usual[0], "");
        figure("scores meanwhile", &during, "p99 ≤ 3 × the steady one");
        figure("scores after", &usual[1], "");
        assert!(failures.is_empty(), "{kind:?}: {failures:#?}");
        let p99 = usual[0].quantile(0.99).max(usual[1].quantile(0.99));
        promise(during.quantile(0.99) <= p99 * SLOWER_AT_MOST, format!("{kind:?}: {during} beside {p99:?}"));
    }
}
