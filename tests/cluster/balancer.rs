//! Load balancers in front of servers: HAProxy and nginx, asking for `/login` each 250 ms, out after two bad answers.

use std::sync::Arc;

use crate::dev_cluster::DevCluster;
use crate::node::Node;

#[derive(Debug, Clone, Copy)]
pub enum Kind {
    HaProxy,
    Nginx,
}

pub struct Balancer {
    pub url: String,
    _cluster: Arc<DevCluster>,
}

impl Balancer {
    /// One for a cluster. With `retries` it asks another server when one fails; without, a request that fails has failed.
    pub fn start(cluster: &Arc<DevCluster>, kind: Kind, servers: &[&Node], retries: bool) -> Self {
        let servers: Vec<&str> = servers.iter().map(|node| node.address.as_str()).collect();
        let kind = match kind {
            Kind::HaProxy => "haproxy",
            Kind::Nginx => "nginx",
        };
        let (servers, retries) = (servers.join(","), if retries { &["--retries"][..] } else { &[] });
        let start = ["lb", "start", "--lb", kind, "--at", &servers];
        cluster.run(&[&start, retries].concat());
        Self { url: cluster.setting("lb.env", "LB_URL").unwrap(), _cluster: cluster.clone() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::node::Role;
    use crate::support::client::client;
    use crate::support::patience::until;

    const CLIENTS: usize = 4;
    /// Two checks, 250 ms apart, and what they take; the server drains for longer.
    const OUT_WITHIN: Duration = Duration::from_millis(1500);

    /// Requests that never end until the test does; who answered which last, and what failed.
    #[derive(Default)]
    struct Traffic {
        over: AtomicBool,
        answered: AtomicU64,
        failures: Mutex<Vec<String>>,
        last_answer: Mutex<Vec<(String, Instant)>>,
    }

    impl Traffic {
        async fn flow(&self, url: &str) {
            let http = client();
            while !self.over.load(Ordering::SeqCst) {
                match http.get(format!("{url}/livez")).send().await {
                    Ok(answer) if answer.status() == 200 => {
                        let server = answer.headers()["x-served-by"].to_str().unwrap().to_owned();
                        answer.bytes().await.unwrap();
                        let mut last = self.last_answer.lock().unwrap();
                        last.retain(|(known, _)| *known != server);
                        last.push((server, Instant::now()));
                        self.answered.fetch_add(1, Ordering::SeqCst);
                    }
                    Ok(answer) => self.failures.lock().unwrap().push(answer.status().to_string()),
                    Err(error) => self.failures.lock().unwrap().push(format!("{error:?}")),
                }
            }
        }

        fn last_answer_of(&self, server: &Node) -> Option<Instant> {
            let last = self.last_answer.lock().unwrap();
            last.iter().find_map(|(known, when)| (*known == server.address).then_some(*when))
        }

        async fn wait_for_answer_after(&self, server: &Node, when: Instant) {
            until("an answer of the server", async || match self.last_answer_of(server) {
                Some(last) if last > when => Ok(()),
                last => Err(last),
            })
            .await;
        }
    }

    async fn a_restart_behind_it_is_not_noticed(kind: Kind) {
        let Some(cluster) = DevCluster::open() else { return };
        let drain = || vec![("DRAIN_SECONDS".to_owned(), "3".to_owned())];
        let mut first = Node::start(&cluster, Role::Server, drain());
        let second = Node::start(&cluster, Role::Server, drain());
        let balancer = Balancer::start(&cluster, kind, &[&first, &second], false);
        let traffic = Arc::new(Traffic::default());
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (traffic, url) = (traffic.clone(), balancer.url.clone());
                tokio::spawn(async move { traffic.flow(&url).await })
            })
            .collect();
        let began = Instant::now();
        traffic.wait_for_answer_after(&first, began).await;
        traffic.wait_for_answer_after(&second, began).await;

        first.terminate();
        first.wait_for_login(503).await;
        let unwell = Instant::now();
        let code = tokio::task::block_in_place(|| first.process.wait());
        assert_eq!(code, Some(0));
        let out = traffic.last_answer_of(&first).unwrap().saturating_duration_since(unwell);
        tokio::task::block_in_place(|| first.restart());
        let back = Instant::now();
        traffic.wait_for_answer_after(&first, back).await;
        let back = back.elapsed();

        traffic.over.store(true, Ordering::SeqCst);
        for client in clients {
            client.await.unwrap();
        }
        let answered = traffic.answered.load(Ordering::SeqCst);
        println!("{kind:?}: out {out:?} after 503, back {back:?} after 200; {answered} requests answered");
        let failures = traffic.failures.lock().unwrap();
        assert!(failures.is_empty(), "{kind:?}, {answered} answered: {failures:#?}");
        assert!(out < OUT_WITHIN, "{out:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn haproxy_takes_a_draining_server_out_and_loses_no_request() {
        a_restart_behind_it_is_not_noticed(Kind::HaProxy).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nginx_takes_a_draining_server_out_and_loses_no_request() {
        a_restart_behind_it_is_not_noticed(Kind::Nginx).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn with_retries_a_killed_server_costs_no_request() {
        let Some(cluster) = DevCluster::open() else { return };
        for kind in [Kind::HaProxy, Kind::Nginx] {
            let mut first = Node::start(&cluster, Role::Server, Vec::new());
            let second = Node::start(&cluster, Role::Server, Vec::new());
            let balancer = Balancer::start(&cluster, kind, &[&first, &second], true);
            first.kill();
            for _ in 0..4 {
                let answer = client().get(format!("{}/livez", balancer.url)).send().await.unwrap();
                assert_eq!(answer.status(), 200, "{kind:?}");
            }
        }
    }
}
