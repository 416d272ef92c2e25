//! Members come and go one at a time, through the primary.

use std::collections::BTreeMap;
use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Bson, Document, doc};
use tokio::time::Instant;

use super::ask::{Asked, code, knock, member_name, refusal, set_name};
use super::look::{look, look_closely};
use super::{Configuration, MemberStatus, Overview, Reach, ReplicaSetError, SECONDARY, parse};
use crate::store::mongo::connect::MongoSettings;
use crate::store::mongo::error::one_line;

/// Longest wait for the members to agree on a configuration.
const AGREED_WITHIN: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(200);
/// A member that has just heard that it was dropped lets go within this.
const LETS_GO_WITHIN: Duration = Duration::from_secs(15);

/// What taking a member out would mean.
#[derive(Debug, Clone, PartialEq)]
pub struct Removal {
    pub host: String,
    pub state: String,
    /// Of the set without it.
    pub votes: i64,
    /// Members that answer and have a vote, without it.
    pub healthy_votes: i64,
}

/// What came of adding a member.
#[derive(Debug, Clone, PartialEq)]
pub struct Addition {
    pub host: String,
    /// What it was in the end.
    pub state: String,
    /// It has all that it needs and goes on with the primary.
    pub follows: bool,
    pub has_vote: bool,
    pub note: Option<String>,
}

impl Removal {
    /// `host` as a person writes it.
    pub fn of(overview: &Overview, host: &str) -> Result<Self, ReplicaSetError> {
        let host = member_name(host)?;
        let Some(member) = overview.member(&host) else {
            let members = overview.configuration.hosts().join(", ");
            return Err(ReplicaSetError::UnknownMember { host, members });
        };
        let Some(primary) = overview.primary() else {
            return Err(ReplicaSetError::NoPrimary { states: overview.states() });
        };
        let host = member.host().to_owned();
        if primary.host() == host {
            return Err(ReplicaSetError::IsPrimary { host });
        }
        let rest = || overview.members.iter().filter(|other| other.host() != host);
        let votes = rest().map(|member| member.configured.votes).sum();
        let healthy_votes = rest().filter(|member| member.is_well()).map(|member| member.configured.votes).sum();
        let majority = votes / 2 + 1;
        if healthy_votes < majority {
            return Err(ReplicaSetError::NoMajorityLeft { host, votes, majority, healthy: healthy_votes });
        }
        Ok(Self { state: member.state.clone(), host, votes, healthy_votes })
    }

    /// What a person should know before agreeing.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.votes == 1 {
            warnings.push(
                "one vote is left: when that member fails, nothing can be written, and its disk holds the only copy"
                    .to_owned(),
            );
        } else if self.votes % 2 == 0 {
            warnings.push(format!(
                "an even number of votes ({}) is left: no more members may fail than with one vote less. Add one, or remove another",
                self.votes
            ));
        }
        if self.healthy_votes < self.votes && self.healthy_votes <= self.votes / 2 + 1 {
            warnings.push(format!(
                "{} of the {} votes left are healthy: not one more may fail",
                self.healthy_votes, self.votes
            ));
        }
        warnings
    }
}

/// Takes a member out of the set.
pub async fn remove(settings: &MongoSettings, host: &str) -> Result<Removal, ReplicaSetError> {
    let started = Instant::now();
    loop {
        let (overview, asked) = look_closely(settings).await?;
        let removal = Removal::of(&overview, host)?;
        let configuration = without(&overview.raw, &removal.host);
        if change(settings, &overview, &asked, configuration, started).await? {
            return Ok(removal);
        }
    }
}

/// Puts a member in, which then copies the data, and waits a little for it to be done. `priority` 0: it never becomes the primary.
///
/// A newcomer gets its vote when it follows: with a vote and no data it would keep the others from having a majority. The server sees
/// to that by itself unless the change is forced (see [`super::recovery`]); then this does it, or does it when it is called again.
pub async fn add(settings: &MongoSettings, host: &str, priority: f64) -> Result<Addition, ReplicaSetError> {
    let host = member_name(host)?;
    let mut started = Instant::now();
    loop {
        let (overview, asked) = look_closely(settings).await?;
        if overview.primary().is_none() {
            return Err(ReplicaSetError::NoPrimary { states: overview.states() });
        }
        let forced = overview.configuration.term.is_none();
        let configuration = match overview.member(&host) {
            None => {
                wait_for_stranger(settings, &overview.configuration, &host).await?;
                with(&overview, &host, (!forced).then_some(priority))
            }
            Some(member) if member.configured.votes == 0 => {
                let added = addition(&overview, member);
                if !added.follows {
                    return Ok(added);
                }
                voting(&overview.raw, &host, priority)
            }
            Some(member) => return Err(ReplicaSetError::AlreadyMember { host, state: member.state.clone() }),
        };
        if change(settings, &overview, &asked, configuration, started).await? {
            let added = watch(settings, &host).await?;
            if added.has_vote || !added.follows {
                return Ok(added);
            }
            started = Instant::now();
        }
    }
}

/// A newcomer must belong to no set: it is empty, or has heard that it was dropped. One that still holds an old configuration lets go
/// of it as soon as it hears from the others.
async fn wait_for_stranger(
    settings: &MongoSettings,
    configuration: &Configuration,
    host: &str,
) -> Result<(), ReplicaSetError> {
    let unreachable = |problem| ReplicaSetError::DoesNotAnswer { host: host.to_owned(), problem };
    knock(host).await.map_err(unreachable)?;
    let started = Instant::now();
    loop {
        match set_name(settings, host).await.map_err(unreachable)? {
            None => return Ok(()),
            Some(name) if name != configuration.set => {
                let problem = format!("it belongs to another replica set, {name}");
                return Err(ReplicaSetError::CannotBeAdded { host: host.to_owned(), problem });
            }
            Some(_) if started.elapsed() > LETS_GO_WITHIN => {
                let problem = "it takes itself for a member, by an older configuration, and does not let go of it: the other members \
                               cannot reach it. Open the network between them, or empty its data folder and start it again"
                    .to_owned();
                return Err(ReplicaSetError::CannotBeAdded { host: host.to_owned(), problem });
            }
            Some(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Waits until the newcomer follows, or says how far it is.
async fn watch(settings: &MongoSettings, host: &str) -> Result<Addition, ReplicaSetError> {
    let started = Instant::now();
    loop {
        let overview = look(settings).await?;
        let Some(member) = overview.member(host) else {
            return Err(ReplicaSetError::Changed { states: overview.states() });
        };
        let added = addition(&overview, member);
        if added.follows || started.elapsed() > AGREED_WITHIN {
            return Ok(added);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A member that comes with data is SECONDARY at once; it follows when it has a write of this primary, and has then found nothing that it
/// would have to take back.
fn addition(overview: &Overview, member: &MemberStatus) -> Addition {
    let term = |member: &MemberStatus| member.position.map(|position| position.term);
    Addition {
        host: member.host().to_owned(),
        state: member.state.clone(),
        follows: member.healthy && member.state == SECONDARY && term(member) >= overview.primary().and_then(term),
        has_vote: member.configured.votes > 0,
        note: member.note.clone(),
    }
}

fn without(raw: &Document, host: &str) -> Document {
    let mut raw = raw.clone();
    if let Ok(members) = raw.get_array_mut("members") {
        members.retain(|member| member.as_document().and_then(|member| member.get_str("host").ok()) != Some(host));
    }
    raw
}

/// Without a priority the newcomer has no vote either.
fn with(overview: &Overview, host: &str, priority: Option<f64>) -> Document {
    let mut raw = overview.raw.clone();
    let id = overview.configuration.members.iter().map(|member| member.id).max().unwrap_or(0) + 1;
    let votes = i32::from(priority.is_some());
    if let Ok(members) = raw.get_array_mut("members") {
        let priority = priority.unwrap_or(0.0);
        members.push(Bson::Document(doc! { "_id": id, "host": host, "priority": priority, "votes": votes }));
    }
    raw
}

fn voting(raw: &Document, host: &str, priority: f64) -> Document {
    let mut raw = raw.clone();
    for member in raw.get_array_mut("members").into_iter().flatten().filter_map(Bson::as_document_mut) {
        if member.get_str("host").is_ok_and(|name| name.eq_ignore_ascii_case(host)) {
            member.insert("votes", 1);
            member.insert("priority", priority);
        }
    }
    raw
}

/// Gives the primary a new configuration and waits until most members have it. False: somebody else was faster, look again.
async fn change(
    settings: &MongoSettings,
    overview: &Overview,
    asked: &BTreeMap<String, Asked>,
    configuration: Document,
    started: Instant,
) -> Result<bool, ReplicaSetError> {
    let primary = overview.primary().map(MemberStatus::host).unwrap_or_default();
    let Some(client) = asked.get(primary).and_then(|answer| answer.client.as_ref()) else {
        return Err(ReplicaSetError::NoPrimary { states: overview.states() });
    };
    // See the text of [`super::recovery`].
    let force = overview.configuration.term.is_none();
    if force {
        // One change at a time, as the server sees to otherwise.
        wait_for_most(settings).await?;
        leaves_a_majority(overview, &configuration)?;
    }
    match reconfigure(settings, primary, client, configuration, force).await {
        Ok(()) => {}
        Err(ReplicaSetError::Refused(problem)) if passes(&problem) && started.elapsed() < AGREED_WITHIN => {
            tokio::time::sleep(PAUSE).await;
            return Ok(false);
        }
        Err(error) => return Err(error),
    }
    if force {
        wait_for_most(settings).await?;
    }
    Ok(true)
}

/// Another change is under way, or was first.
fn passes(problem: &str) -> bool {
    [
        "ConfigurationInProgress",
        "CurrentConfigNotCommittedYet",
        "NewReplicaSetConfigurationIncompatible",
        "NotWritablePrimary",
    ]
    .iter()
    .any(|name| problem.contains(name))
}

/// Whether the members that are well now would be a majority by the next configuration.
fn leaves_a_majority(overview: &Overview, configuration: &Document) -> Result<(), ReplicaSetError> {
    let Some(next) = parse::configuration(configuration) else { return Ok(()) };
    let is_well = |host: &str| overview.member(host).is_some_and(MemberStatus::is_well);
    let well = next.members.iter().filter(|member| is_well(&member.host)).map(|member| member.votes).sum();
    let (votes, majority) = (next.votes(), next.majority());
    if well < majority {
        return Err(ReplicaSetError::NotReadyForMore { well, votes, majority, states: overview.states() });
    }
    Ok(())
}

/// The server waits for this by itself unless the change is forced.
async fn wait_for_most(settings: &MongoSettings) -> Result<(), ReplicaSetError> {
    let started = Instant::now();
    loop {
        let (overview, asked) = look_closely(settings).await?;
        let version = overview.configuration.version;
        let has_it = |member: &&MemberStatus| {
            let raw = asked.get(member.host()).and_then(|answer| answer.configuration.as_ref());
            member.reach == Reach::Answers && raw.and_then(|raw| parse::whole(raw, "version")) == Some(version)
        };
        let votes: i64 = overview.members.iter().filter(has_it).map(|member| member.configured.votes).sum();
        if votes >= overview.configuration.majority() && overview.primary().is_some() {
            return Ok(());
        }
        if started.elapsed() > AGREED_WITHIN {
            return Err(ReplicaSetError::NotTaken { seconds: AGREED_WITHIN.as_secs(), states: overview.states() });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// `replSetReconfig` with the next version.
pub(super) async fn reconfigure(
    settings: &MongoSettings,
    host: &str,
    client: &Client,
    mut configuration: Document,
    force: bool,
) -> Result<(), ReplicaSetError> {
    let version = parse::whole(&configuration, "version").unwrap_or(0) + 1;
    configuration.insert("version", version);
    configuration.remove("term");
    let max_time_ms = i64::try_from(AGREED_WITHIN.as_millis()).unwrap_or(i64::MAX);
    let mut command = doc! { "replSetReconfig": configuration, "maxTimeMS": max_time_ms };
    if force {
        command.insert("force", true);
    }
    let admin = client.database("admin");
    let answer = tokio::time::timeout(AGREED_WITHIN + Duration::from_secs(5), admin.run_command(command)).await;
    match answer {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) if code(&error).is_some_and(|code| ![13, 18].contains(&code)) => {
            Err(ReplicaSetError::Refused(one_line(&error)))
        }
        Ok(Err(error)) => Err(refusal(settings, host, &error)),
        Err(_) => Err(ReplicaSetError::Refused(format!("{host} does not answer"))),
    }
}
