//! Going on without a lost majority: a configuration of the survivors, forced upon them.
//!
//! *Why it stays forced.* Members that meet with different configurations decide by the election term under which each was made, and
//! by the version when one of the two has no term. A forced configuration has none, and a version raised by tens of thousands, so it wins
//! over the old one however many elections a lost site holds while it is by itself. An ordinary change would give it a term again; the
//! old configuration, with a later term, would then win: the survivors would take it over, fail to roll back what they have
//! acknowledged since, and end. (Both ways were tried, on MongoDB 6.0.) So [`super::change`] forces its changes, too, as
//! long as it finds a configuration without a term.

use std::collections::BTreeMap;
use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Bson, Document, doc};
use tokio::time::Instant;

use super::ask::{Asked, member_name};
use super::change::reconfigure;
use super::look::look_closely;
use super::{ARBITER, MemberConfiguration, MemberStatus, Overview, PRIMARY, Reach, ReplicaSetError, SECONDARY, parse};
use crate::domain::Timestamp;
use crate::store::mongo::connect::MongoSettings;

/// Longest wait for a primary after the configuration was forced; it takes an instant, or one election timeout.
const ELECTED_WITHIN: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

/// What a recovery would do.
#[derive(Debug, Clone, PartialEq)]
pub struct RecoveryPlan {
    pub set: String,
    pub stay: Vec<Staying>,
    pub dropped: Vec<Dropped>,
    /// The member whose data goes farthest: it becomes the primary.
    pub leader: String,
    /// When the leader's last write was made.
    pub newest_write: Option<Timestamp>,
    pub votes: i64,
    /// Of the members that are dropped.
    pub lost_votes: i64,
    /// Members that acknowledge a write with `w: majority`, before the recovery.
    pub write_majority: i64,
    /// The dropped members could acknowledge writes without any of those that stay: such writes may be lost. Otherwise one that
    /// stays has each write that a majority has acknowledged, and the leader has them all.
    pub acknowledged_may_be_lost: bool,
}

/// A member that survives.
#[derive(Debug, Clone, PartialEq)]
pub struct Staying {
    pub host: String,
    pub state: String,
    /// It has all that the leader has.
    pub complete: bool,
    /// Behind the leader.
    pub lag_seconds: Option<i64>,
    /// It had no vote, or could not become primary, and will now.
    pub promoted: bool,
    /// It has less than the leader, and with others like it more votes: it may not become primary until the leader is.
    pub held_back: bool,
}

/// A member that is gone.
#[derive(Debug, Clone, PartialEq)]
pub struct Dropped {
    pub host: String,
    pub votes: i64,
    pub problem: String,
    /// When a survivor last heard from it.
    pub last_heard: Option<Timestamp>,
    /// Its last write, as far as a survivor knew.
    pub last_write: Option<Timestamp>,
}

/// What a recovery has done.
#[derive(Debug, Clone, PartialEq)]
pub struct Recovered {
    pub primary: String,
    pub members: Vec<String>,
    /// From the forced configuration until there was a primary.
    pub took: Duration,
}

impl RecoveryPlan {
    /// Refuses where the set can help itself, where it is not sure that the lost members are gone, and where nobody has the data.
    pub fn of(overview: &Overview) -> Result<Self, ReplicaSetError> {
        refuse_with_primary(overview)?;
        let answers = |member: &&MemberStatus| member.reach == Reach::Answers;
        let (votes, majority) = (overview.configuration.votes(), overview.configuration.majority());
        let reachable = overview.members.iter().filter(answers).map(|member| member.configured.votes).sum();
        if reachable >= majority {
            return Err(ReplicaSetError::HasMajority { reachable, votes, majority, states: overview.states() });
        }
        let mut dropped = Vec::new();
        for member in overview.members.iter().filter(|member| member.reach != Reach::Answers) {
            dropped.push(gone(member)?);
        }
        let with_data = overview.members.iter().filter(answers).filter(|member| member.state == SECONDARY);
        let leader = with_data.max_by(|one, other| {
            let order = one.position.cmp(&other.position);
            order.then(one.configured.priority.total_cmp(&other.configured.priority))
        });
        let Some(leader) = leader else { return Err(ReplicaSetError::NoData { states: overview.states() }) };
        let promote = !overview.members.iter().filter(answers).any(can_lead);
        // Members vote for whoever has no less than they have, whatever the leader has.
        let behind = overview.members.iter().filter(answers).filter(|member| member.position < leader.position);
        let outvoted = behind.map(|member| member.configured.votes).sum::<i64>() > reachable / 2;
        let stay = overview.members.iter().filter(answers).map(|member| {
            let both = leader.position.zip(member.position);
            Staying {
                host: member.host().to_owned(),
                state: member.state.clone(),
                complete: member.position == leader.position,
                lag_seconds: both.map(|(newest, own)| i64::from(newest.seconds.saturating_sub(own.seconds))),
                promoted: promote && member.state == SECONDARY,
                held_back: outvoted && !member.configured.arbiter && member.position < leader.position,
            }
        });
        let unclear = overview
            .members
            .iter()
            .filter(answers)
            .any(|member| member.configured.votes > 0 && ![SECONDARY, ARBITER].contains(&member.state.as_str()));
        let lost_with_data =
            overview.members.iter().filter(|member| !answers(member) && acknowledges(&member.configured)).count();
        let write_majority = overview.configuration.write_majority();
        Ok(Self {
            set: overview.configuration.set.clone(),
            stay: stay.collect(),
            leader: leader.host().to_owned(),
            newest_write: leader.last_write,
            votes,
            lost_votes: votes - reachable,
            write_majority,
            acknowledged_may_be_lost: unclear || i64::try_from(lost_with_data).unwrap_or(i64::MAX) >= write_majority,
            dropped,
        })
    }

    pub fn dropped_hosts(&self) -> Vec<&str> {
        self.dropped.iter().map(|member| member.host.as_str()).collect()
    }

    /// Whether these names, in any order, are those of the members that are to be dropped.
    pub fn confirm(&self, named: &[String]) -> Result<(), ReplicaSetError> {
        let names = named.iter().map(|name| member_name(name).map(|name| name.to_ascii_lowercase()));
        let mut names = names.collect::<Result<Vec<_>, _>>()?;
        names.sort();
        names.dedup();
        let mut expected: Vec<String> = self.dropped_hosts().into_iter().map(str::to_ascii_lowercase).collect();
        expected.sort();
        if names != expected {
            let named = if named.is_empty() { "none".to_owned() } else { named.join(", ") };
            return Err(ReplicaSetError::NamedOthers { expected: self.dropped_hosts().join(", "), named });
        }
        Ok(())
    }
}

fn refuse_with_primary(overview: &Overview) -> Result<(), ReplicaSetError> {
    let of_members = overview.members.iter().filter(|member| member.state == PRIMARY).map(MemberStatus::host);
    let of_strangers = overview.strangers.iter().filter(|one| one.state == PRIMARY).map(|one| one.host.as_str());
    match of_members.chain(of_strangers).next() {
        Some(host) => Err(ReplicaSetError::HasPrimary { host: host.to_owned() }),
        None => Ok(()),
    }
}

/// What is known of a member that no connection reaches, from nowhere.
fn gone(member: &MemberStatus) -> Result<Dropped, ReplicaSetError> {
    let host = member.host().to_owned();
    let problem = match &member.reach {
        Reach::Gone(problem) => problem.clone(),
        Reach::Silent(problem) => return Err(ReplicaSetError::NotGone { host, problem: problem.clone() }),
        Reach::Answers => return Err(ReplicaSetError::NotGone { host, problem: "it answers".to_owned() }),
    };
    if let Some(by) = &member.heard_by {
        let problem = format!("{by} still hears from it (within the last seconds)");
        return Err(ReplicaSetError::NotGone { host, problem });
    }
    Ok(Dropped {
        votes: member.configured.votes,
        last_heard: member.last_heard,
        last_write: member.last_write,
        host,
        problem,
    })
}

fn can_lead(member: &MemberStatus) -> bool {
    member.state == SECONDARY && member.configured.votes > 0 && member.configured.priority > 0.0
}

fn acknowledges(member: &MemberConfiguration) -> bool {
    member.votes > 0 && !member.arbiter
}

/// Carries a plan out. `fenced_off` names exactly the members that the plan drops: whoever calls has made sure that they
/// cannot come back to life by themselves. Everything is looked at once more before.
pub async fn recover(
    settings: &MongoSettings,
    plan: &RecoveryPlan,
    fenced_off: &[String],
) -> Result<Recovered, ReplicaSetError> {
    plan.confirm(fenced_off)?;
    let (overview, asked) = look_closely(settings).await?;
    let now = RecoveryPlan::of(&overview)?;
    let same = now.dropped_hosts() == plan.dropped_hosts()
        && now.stay.iter().map(|member| &member.host).eq(plan.stay.iter().map(|member| &member.host));
    let leader = asked.get(&now.leader).and_then(|answer| answer.client.as_ref());
    let (true, Some(leader)) = (same, leader) else {
        return Err(ReplicaSetError::Changed { states: overview.states() });
    };
    let started = Instant::now();
    reconfigure(settings, &now.leader, leader, survivors(&overview.raw, &now, true), true).await?;
    let clients = now.stay.iter().filter_map(|member| Some((&member.host, asked.get(&member.host)?)));
    let primary = elect(leader, clients.collect(), &overview).await?;
    let took = started.elapsed();
    if now.stay.iter().any(|member| member.held_back) {
        release(settings, &primary, &asked, &overview, &now).await?;
    }
    let members = now.stay.into_iter().map(|member| member.host).collect();
    Ok(Recovered { primary, members, took })
}

/// The configuration without the members that are dropped.
fn survivors(raw: &Document, plan: &RecoveryPlan, hold_back: bool) -> Document {
    let mut raw = raw.clone();
    let Ok(members) = raw.get_array_mut("members") else { return raw };
    members.retain_mut(|member| {
        let Some(member) = member.as_document_mut() else { return false };
        let host = member.get_str("host").unwrap_or_default().to_owned();
        let Some(stays) = plan.stay.iter().find(|stays| stays.host == host) else { return false };
        if stays.promoted {
            member.insert("votes", 1);
            member.insert("priority", 1);
            member.insert("hidden", false);
            member.insert("secondaryDelaySecs", Bson::Int64(0));
        }
        if hold_back && stays.held_back {
            member.insert("priority", 0);
        }
        true
    });
    raw
}

/// Gives those that were held back the priorities that they are to have.
async fn release(
    settings: &MongoSettings,
    primary: &str,
    asked: &BTreeMap<String, Asked>,
    overview: &Overview,
    plan: &RecoveryPlan,
) -> Result<(), ReplicaSetError> {
    let held_back = plan.stay.iter().filter(|member| member.held_back).map(|member| member.host.as_str());
    let hosts = held_back.collect::<Vec<_>>().join(", ");
    let failed = |problem: String| ReplicaSetError::HeldBack { hosts: hosts.clone(), problem };
    let client = asked.get(primary).and_then(|answer| answer.client.as_ref());
    let client = client.ok_or_else(|| failed(format!("{primary} does not answer")))?;
    let now = told(client, doc! { "replSetGetConfig": 1 }).await;
    let version = now.as_ref().and_then(|answer| parse::whole(answer.get_document("config").ok()?, "version"));
    let mut configuration = survivors(&overview.raw, plan, false);
    configuration.insert("version", version.ok_or_else(|| failed(format!("{primary} does not answer")))?);
    reconfigure(settings, primary, client, configuration, true).await.map_err(|error| failed(error.to_string()))
}

/// Waits until a survivor takes writes. The leader is asked to stand at once; left alone, it would wait for the election timeout.
async fn elect(
    leader: &Client,
    survivors: Vec<(&String, &Asked)>,
    overview: &Overview,
) -> Result<String, ReplicaSetError> {
    let started = Instant::now();
    while started.elapsed() < ELECTED_WITHIN {
        // It fails until the others have the configuration.
        let _ = told(leader, doc! { "replSetStepUp": 1 }).await;
        for (host, answer) in &survivors {
            let Some(client) = &answer.client else { continue };
            let hello = told(client, doc! { "hello": 1 }).await;
            if hello.is_some_and(|hello| hello.get_bool("isWritablePrimary").unwrap_or(false)) {
                return Ok((*host).clone());
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    let (done, seconds) = ("the new configuration is in place", ELECTED_WITHIN.as_secs());
    Err(ReplicaSetError::NoElection { done, seconds, states: overview.states() })
}

/// The answer to a command; `None` when there is none soon.
async fn told(client: &Client, command: Document) -> Option<Document> {
    let admin = client.database("admin");
    tokio::time::timeout(Duration::from_secs(2), admin.run_command(command)).await.ok()?.ok()
}
