//! This process among the others: it says every few seconds that it is there, and forgets those that have long been silent.

use std::time::Duration;

use crate::context::Context;
use crate::domain::node::{Node, Role};
use crate::http::Sightings;
use crate::lifecycle::Lifecycle;
use crate::store::{Batch, Collection, NODES_SCOPE, Op, Query, Record as _, Result, SharedStore, StoreExt, Stored};

const EVERY: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A process that has said nothing for so long is gone.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// What this process says of itself.
pub(super) fn describe(ctx: &Context, role: Role, name: String) -> Node {
    let now = ctx.clock.now();
    Node {
        id: format!("{}-{}", now.timestamp_micros(), std::process::id()),
        name,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        settings: ctx.config.fingerprint(),
        role,
        state: String::new(),
        topics: if role.worker { ctx.config.worker_topics.clone() } else { Vec::new() },
        started_at: now,
        seen_at: now,
    }
}

/// The machine's name, and the port of a server.
pub(super) fn name(port: Option<u16>) -> String {
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    port.map_or_else(|| host.to_string(), |port| format!("{host}:{port}"))
}

/// Renews the entry until the process stops, then takes it away.
pub(super) async fn tell(ctx: Context, mut node: Node, lifecycle: Lifecycle, sightings: Sightings) {
    let stop = lifecycle.stopped();
    loop {
        node.seen_at = ctx.clock.now();
        node.state = lifecycle.phase().as_str().to_owned();
        let mut batch = Batch::new();
        batch.put(&node);
        if let Err(error) = ctx.store.commit(batch).await {
            tracing::debug!(%error, "this node could not say that it is there");
        }
        if let Err(error) = forget_silent(&ctx, &sightings).await {
            tracing::debug!(%error, "silent nodes could not be forgotten");
        }
        if stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
            break;
        }
    }
    let mut batch = Batch::new();
    batch.push(Op::Delete { collection: Node::COLLECTION, key: node.key(), revision: None });
    // Without a majority it stays, and is forgotten later.
    let _ = tokio::time::timeout(Duration::from_secs(2), ctx.store.commit(batch)).await;
}

/// Names and roles of the processes that are there: those whose entries are renewed while this looks. Takes no time when there are no
/// entries, a round at most when one of them is renewed, and two when all of them are silent. No clock is compared with another.
pub(super) async fn alive(store: &SharedStore) -> Result<Vec<String>> {
    let entries = async || store.list_all::<Node>(Query::new(Collection::Meta, NODES_SCOPE)).await;
    let before = entries().await?;
    let mut looked = Duration::ZERO;
    while !before.is_empty() && looked < EVERY * 2 + LOOK_EVERY {
        tokio::time::sleep(LOOK_EVERY).await;
        looked += LOOK_EVERY;
        let now = entries().await?;
        let renewed = |now: &&Stored<Node>| {
            let old = before.iter().find(|old| old.value.id == now.value.id);
            old.is_none_or(|old| old.revision != now.revision)
        };
        let named = |node: &Stored<Node>| format!("{} ({})", node.value.name, node.value.role.as_str());
        let names: Vec<String> = now.iter().filter(renewed).map(named).collect();
        // The others have had their turn when a whole round is over.
        if names.len() == now.len() || (!names.is_empty() && looked > EVERY) {
            return Ok(names);
        }
    }
    Ok(Vec::new())
}

async fn forget_silent(ctx: &Context, sightings: &Sightings) -> Result<()> {
    let stored = ctx.store.list_all::<Node>(Query::new(Collection::Meta, NODES_SCOPE)).await?;
    let nodes: Vec<Node> = stored.iter().map(|stored| stored.value.clone()).collect();
    let silences = sightings.silences(&nodes, ctx.clock.now());
    let mut batch = Batch::new();
    for (stored, _) in stored.iter().zip(silences).filter(|(_, silence)| *silence > FORGOTTEN_AFTER) {
        batch.delete(stored);
    }
    match ctx.store.commit(batch).await {
        // Another node was first.
        Err(error) if error.is_conflict() => Ok(()),
        outcome => outcome,
    }
}
