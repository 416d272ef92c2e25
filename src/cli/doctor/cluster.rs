//! Of a cluster: the members of its database, its processes, its queues.

use std::collections::BTreeMap;

use chrono::TimeDelta;

use super::Findings;
use crate::app::mongo_settings;
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::domain::job::{Job, Topic};
use crate::domain::node::Node;
use crate::store::mongo::replica_set::{self, Disk, Overview, ReplicaSetError};
use crate::store::{Collection, Condition, NODES_SCOPE, Path, Query, SharedStore, StoreError, StoreExt as _};

/// A member that is farther behind than this would be missing from the majority, or have much to catch up after a failover.
const MUCH_LAG_SECONDS: i64 = 10;
/// With less room a disk counts as full.
const FULL_BYTES: u64 = 500_000_000;
/// An answer takes its time, too.
const CLOCKS_APART_MS: i64 = 2_000;
/// A job that has waited longer has no worker, or too few.
const LONG_WAIT: TimeDelta = TimeDelta::minutes(15);
/// Processes renew what they say every few seconds; what is older than the newest by more is of one that was killed.
const SILENT: TimeDelta = TimeDelta::seconds(60);

pub(super) async fn check(config: &Config, store: &SharedStore, findings: &mut Findings) {
    check_members(config, findings).await;
    let checks = async {
        check_processes(store, findings).await?;
        check_queues(store, findings).await
    };
    if let Err(error) = checks.await {
        findings.warn(format!("processes and queues could not be looked at: {error}"));
    }
}

async fn check_members(config: &Config, findings: &mut Findings) {
    let Some(settings) = mongo_settings(config) else { return };
    let overview = match replica_set::look(&settings).await {
        Ok(overview) => overview,
        Err(error @ ReplicaSetError::NotAllowed { .. }) => return findings.note(error),
        Err(error) => return findings.fail(format!("the replica set: {error}")),
    };
    let problems = overview.problems();
    for problem in &problems {
        findings.fail(format!("the replica set {}: {problem} (tango cluster status)", overview.configuration.set));
    }
    let slowest = overview.members.iter().filter_map(|member| Some((member.lag_seconds?, member.host()))).max();
    match slowest {
        Some((lag, host)) if lag > MUCH_LAG_SECONDS => findings.warn(format!(
            "{host} is {lag} s behind the PRIMARY: look at its disk, its load and the line to it (tango cluster status)"
        )),
        Some((lag, _)) if problems.is_empty() => {
            let members = overview.members.len();
            findings.fine(format!("the database's {members} members are well; none is more than {lag} s behind"));
        }
        _ => {}
    }
    check_machines(&overview, findings);
    if overview.configuration.votes() % 2 == 0 {
        let votes = overview.configuration.votes();
        findings.warn(format!("the database has {votes} votes, an even number: no more may fail than with one less"));
    }
}

/// Disks and clocks of the members that answer.
fn check_machines(overview: &Overview, findings: &mut Findings) {
    let mut is_well = true;
    for member in &overview.members {
        let host = member.host();
        match member.disk {
            Some(Disk { free_bytes, .. }) if free_bytes < FULL_BYTES => {
                is_well = false;
                findings.fail(format!(
                    "the disk of {host} is full, with {} MB left: its mongod ends when it cannot write. Make room there (cleanup.sh), or the \
                     partition larger",
                    free_bytes / 1_000_000
                ));
            }
            Some(Disk { free_bytes, total_bytes }) if free_bytes < total_bytes / 10 => {
                is_well = false;
                findings.warn(format!(
                    "the disk of {host} has {:.1} of {:.1} GB left: make room there (cleanup.sh), or the partition larger, in time",
                    free_bytes as f64 / 1e9,
                    total_bytes as f64 / 1e9
                ));
            }
            _ => {}
        }
        if let Some(ahead_ms) = member.clock_ahead_ms.filter(|ahead_ms| ahead_ms.abs() > CLOCKS_APART_MS) {
            is_well = false;
            let direction = if ahead_ms > 0 { "ahead of" } else { "behind" };
            findings.warn(format!(
                "the clock of {host} is {} s {direction} this machine's: set the wrong one right (timedatectl set-ntp true)",
                ahead_ms.abs() / 1_000
            ));
        }
    }
    if is_well {
        findings.fine("the members' disks have room, and their clocks agree with this machine's");
    }
}

/// Versions and settings of the processes, which have to be the same once an upgrade or a restart is over.
async fn check_processes(store: &SharedStore, findings: &mut Findings) -> Result<(), StoreError> {
    let stored = store.list_all::<Node>(Query::new(Collection::Meta, NODES_SCOPE)).await?;
    let newest = stored.iter().map(|one| one.value.seen_at).max();
    let nodes: Vec<Node> = stored
        .into_iter()
        .map(|one| one.value)
        .filter(|node| newest.is_some_and(|newest| newest - node.seen_at < SILENT))
        .collect();
    if nodes.is_empty() {
        findings.note("no process of tango runs");
        return Ok(());
    }
    let (versions, settings) = (groups(&nodes, |node| &node.version), groups(&nodes, |node| &node.settings));
    if versions.len() > 1 {
        findings.warn(format!("processes run different versions: {} (an upgrade that is not over?)", told(&versions)));
    }
    if settings.len() > 1 {
        findings.warn(format!(
            "processes have different settings, by their fingerprints: {} (restart.sh gives all of them the same)",
            told(&settings)
        ));
    }
    let servers = nodes.iter().filter(|node| node.role.server).count();
    if versions.len() == 1 && settings.len() == 1 {
        findings.fine(format!("{servers} server(s) of {} processes; one version, one set of settings", nodes.len()));
    }
    if servers == 1 {
        findings.warn("one server alone: when it stops, nobody scores");
    }
    for topic in Topic::ALL {
        if !nodes.iter().any(|node| node.topics.contains(&topic)) {
            findings.warn(format!(
                "no worker takes jobs of the topic {topic}: start one with WORKER_TOPICS={topic}",
                topic = topic.as_str()
            ));
        }
    }
    Ok(())
}

/// Names by what they have.
fn groups<'a>(nodes: &'a [Node], of: impl Fn(&'a Node) -> &'a String) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for node in nodes {
        groups.entry(of(node)).or_default().push(&node.name);
    }
    groups
}

fn told(groups: &BTreeMap<&str, Vec<&str>>) -> String {
    let parts = groups.iter().map(|(value, names)| {
        let value = if value.is_empty() { "(older)" } else { value };
        format!("{value} on {}", names.join(", "))
    });
    parts.collect::<Vec<_>>().join("; ")
}

async fn check_queues(store: &SharedStore, findings: &mut Findings) -> Result<(), StoreError> {
    let in_state =
        |state: &str| Query::everywhere(Collection::Jobs).filter(Condition::equal(Path::key("state"), state));
    let waiting = store.list_all::<Job>(in_state("queued")).await?;
    let now = SystemClock.now();
    let oldest = waiting.iter().filter(|job| job.value.not_before.is_none()).min_by_key(|job| job.value.created_at);
    match oldest {
        Some(job) if now - job.value.created_at > LONG_WAIT => findings.warn(format!(
            "{} job(s) wait; the oldest, {} ({}), since {}: are there enough workers for its topic, {}?",
            waiting.len(),
            job.value.id,
            job.value.kind,
            job.value.created_at.format("%Y-%m-%d %H:%M UTC"),
            job.value.topic.as_str()
        )),
        _ => findings.fine(format!("{} job(s) wait, none for long", waiting.len())),
    }
    let dead = store.count(&in_state("dead")).await?;
    if dead > 0 {
        findings.warn(format!(
            "{dead} job(s) failed as often as they may: look at /api/v1/jobs?state=dead, and retry them"
        ));
    }
    Ok(())
}
