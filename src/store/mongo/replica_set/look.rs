//! Everything that the members say, put together.

use std::collections::{BTreeMap, HashSet};

use futures::future::join_all;
use mongodb::bson::Document;

use super::ask::{Asked, ask, seeds};
use super::{
    Configuration, MemberConfiguration, MemberStatus, NOT_REACHABLE, Overview, PRIMARY, Reach, ReplicaSetError,
    Stranger, parse,
};
use crate::domain::Timestamp;
use crate::store::mongo::OpenError;
use crate::store::mongo::connect::MongoSettings;

/// Asks every host of MONGODB_URL and every member that one of them knows. Changes nothing, and takes some seconds when members do
/// not answer.
pub async fn look(settings: &MongoSettings) -> Result<Overview, ReplicaSetError> {
    Ok(look_closely(settings).await?.0)
}

/// The members that answered, by their names in the configuration, beside the overview.
pub(super) async fn look_closely(
    settings: &MongoSettings,
) -> Result<(Overview, BTreeMap<String, Asked>), ReplicaSetError> {
    let seeds = seeds(settings).await?;
    let mut asked = BTreeMap::new();
    let mut tried = HashSet::new();
    for (seed, answer) in ask_all(settings, &seeds, &mut tried).await {
        asked.insert(answer.own_name.clone().unwrap_or(seed), answer);
    }
    let (configuration, raw) = loop {
        let Some((configuration, raw)) = newest(&asked) else { return Err(nobody(seeds, asked)) };
        let more = configuration.hosts().into_iter().filter(|host| !asked.contains_key(host)).collect::<Vec<_>>();
        if more.is_empty() {
            break (configuration, raw);
        }
        asked.extend(ask_all(settings, &more, &mut tried).await);
    };
    Ok((overview(configuration, raw, &asked), asked))
}

/// All at once. What was asked before is not asked again.
async fn ask_all(settings: &MongoSettings, hosts: &[String], tried: &mut HashSet<String>) -> Vec<(String, Asked)> {
    let hosts: Vec<&String> = hosts.iter().filter(|host| tried.insert((*host).clone())).collect();
    let answers = join_all(hosts.iter().map(|host| ask(settings, host))).await;
    hosts.into_iter().cloned().zip(answers).collect()
}

fn newest(asked: &BTreeMap<String, Asked>) -> Option<(Configuration, Document)> {
    let mut newest: Option<(Configuration, Document)> = None;
    for raw in asked.values().filter_map(|answer| answer.configuration.as_ref()) {
        let Some(configuration) = parse::configuration(raw) else { continue };
        if newest.as_ref().is_none_or(|(known, _)| configuration.is_newer_than(known)) {
            newest = Some((configuration, raw.clone()));
        }
    }
    newest
}

/// No member tells a configuration: the reason that says most.
fn nobody(seeds: Vec<String>, asked: BTreeMap<String, Asked>) -> ReplicaSetError {
    let mut problems = Vec::new();
    let mut answers = false;
    for (host, answer) in asked {
        if let Some(refusal) = answer.refusal {
            return refusal;
        }
        answers |= answer.reach == Reach::Answers;
        match (answer.reach, answer.state) {
            (Reach::Silent(problem) | Reach::Gone(problem), _) => problems.push(format!("{host}: {problem}")),
            (Reach::Answers, state) => problems.push(format!("{host} is {}", state.unwrap_or_default())),
        }
    }
    let problem = problems.join("; ");
    if answers {
        return ReplicaSetError::NoConfiguration { problem };
    }
    OpenError::Unreachable { hosts: seeds.join(", "), problem }.into()
}

fn overview(configuration: Configuration, raw: Document, asked: &BTreeMap<String, Asked>) -> Overview {
    let names: HashSet<&str> = configuration.members.iter().map(|member| member.host.as_str()).collect();
    let strangers = asked.iter().filter(|(host, _)| !names.contains(host.as_str()));
    let strangers = strangers.map(|(host, answer)| Stranger {
        host: host.clone(),
        reach: answer.reach.clone(),
        state: answer.state.clone().unwrap_or_else(|| NOT_REACHABLE.to_owned()),
    });
    let strangers = strangers.collect();
    let mut members: Vec<MemberStatus> =
        configuration.members.iter().map(|member| status(member, asked, &names)).collect();
    let primary = members.iter().find(|member| member.is_primary()).and_then(|member| member.position);
    let measure = primary.or_else(|| members.iter().filter_map(|member| member.position).max());
    for member in &mut members {
        let both = measure.zip(member.position);
        member.lag_seconds = both.map(|(measure, own)| i64::from(measure.seconds.saturating_sub(own.seconds)));
    }
    Overview { configuration, members, strangers, raw }
}

fn status(configured: &MemberConfiguration, asked: &BTreeMap<String, Asked>, names: &HashSet<&str>) -> MemberStatus {
    let host = configured.host.as_str();
    let heard = heard(host, asked, names);
    let (reach, own) = match asked.get(host) {
        Some(answer) => (answer.reach.clone(), Some(answer)),
        None => (Reach::Gone("it was not asked".to_owned()), None),
    };
    let mut status = MemberStatus {
        configured: configured.clone(),
        heard_by: heard.by.clone(),
        state: NOT_REACHABLE.to_owned(),
        healthy: false,
        position: None,
        last_write: heard.last_write,
        lag_seconds: None,
        uptime_seconds: None,
        clock_ahead_ms: own.and_then(|answer| answer.clock_ahead_ms),
        disk: own.and_then(|answer| answer.disk),
        last_heard: heard.at,
        note: None,
        reach,
    };
    match &status.reach {
        Reach::Answers => {
            let own_status = own.and_then(|answer| answer.status.as_ref());
            status.state = own.and_then(|answer| answer.state.clone()).unwrap_or_else(|| "UNKNOWN".to_owned());
            if let Some((position, last_write)) = own_status.and_then(parse::position) {
                (status.position, status.last_write) = (Some(position), last_write);
            }
            status.uptime_seconds = own_status
                .and_then(|status| parse::members(status).find(|entry| entry.get_bool("self").unwrap_or(false)))
                .and_then(|entry| parse::whole(entry, "uptime"));
            status.healthy = heard.by_primary != Some(false);
            if !status.healthy {
                status.note =
                    Some("it answers this machine, but not the PRIMARY: is the network between them cut?".to_owned());
            } else if let Some(note) = meaning(&status.state) {
                status.note = Some(note.to_owned());
            }
        }
        Reach::Silent(_) if own.is_some_and(Asked::knows_nobody) && heard.state_by_primary.is_some() => {
            status.state = heard.state_by_primary.unwrap_or_default();
            status.note =
                Some("it refuses user and password, as one does that has not copied the users yet".to_owned());
        }
        Reach::Silent(problem) | Reach::Gone(problem) => {
            let by = heard.by.map(|by| format!("; {by} has heard from it in the last seconds: it hangs since then, or the way to it from here is cut"));
            status.note = Some(format!("{problem}{}", by.unwrap_or_default()));
        }
    }
    status
}

/// What a state means that is neither PRIMARY nor SECONDARY.
fn meaning(state: &str) -> Option<&'static str> {
    match state {
        "STARTUP2" => Some("it copies the data of another member"),
        "RECOVERING" => Some(
            "it is not up to date; when it stays so, its data is too old: empty its data folder and start it again",
        ),
        "ROLLBACK" => Some("it takes back writes that most members never had"),
        "REMOVED" => Some("it does not find itself in the configuration: does its own name lead to itself?"),
        _ => None,
    }
}

/// What the others say of a member.
#[derive(Default)]
struct Heard {
    /// A member that hears from it.
    by: Option<String>,
    /// Whether the primary does; `None` without a primary, and for itself.
    by_primary: Option<bool>,
    /// What it is, as the primary hears.
    state_by_primary: Option<String>,
    at: Option<Timestamp>,
    last_write: Option<Timestamp>,
}

fn heard(host: &str, asked: &BTreeMap<String, Asked>, names: &HashSet<&str>) -> Heard {
    let mut heard = Heard::default();
    for (witness, answer) in asked {
        let Some(status) = &answer.status else { continue };
        if witness == host || !names.contains(witness.as_str()) {
            continue;
        }
        let Some(entry) = parse::members(status).find(|entry| entry.get_str("name").is_ok_and(|name| name == host))
        else {
            continue;
        };
        let healthy = parse::number(entry, "health") == Some(1.0);
        if answer.state.as_deref() == Some(PRIMARY) {
            heard.by_primary = Some(healthy);
            heard.state_by_primary = entry.get_str("stateStr").ok().filter(|_| healthy).map(str::to_owned);
        }
        if healthy {
            heard.by.get_or_insert_with(|| witness.clone());
        }
        heard.at = heard.at.max(parse::time(entry, "lastHeartbeatRecv"));
        heard.last_write = heard.last_write.max(parse::time(entry, "lastAppliedWallTime"));
    }
    heard
}
