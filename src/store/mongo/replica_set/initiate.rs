//! A set is made of members that run and belong to none yet, and gets the user that tango signs in as.
//!
//! Before there is a user, only the members' own name for each other can sign in, with their key file. Repeating it is harmless: a set
//! that is there stays, and only what is missing or different is brought to what is asked for.

use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::{AuthMechanism, Credential, ServerAddress};
use tokio::time::Instant;

use super::ask::{code, refusal, set_name};
use super::{PRIMARY, ReplicaSetError};
use crate::store::mongo::connect::{self, MongoSettings};
use crate::store::mongo::error::one_line;
use crate::store::mongo::health::Health;

/// Longest wait for all members to answer; they may just have been started.
const ANSWERED_WITHIN: Duration = Duration::from_secs(120);
/// Longest wait for a primary.
const ELECTED_WITHIN: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(500);
const HEARTBEAT_MS: i32 = 500;
const CATCH_UP_MS: i32 = 500;
const USER_NOT_FOUND: i32 = 11;
const ALREADY_INITIALIZED: i32 = 23;
const SYSTEM_DATABASE: &str = "local";

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Initiation {
    /// The contents of the members' key file.
    pub key: String,
    /// How long a primary may be silent before another one is elected.
    pub election_timeout_ms: i32,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Initiated {
    pub set: String,
    pub members: Vec<String>,
    pub primary: String,
    /// There was no set before.
    pub is_new: bool,
    /// The user of MONGODB_URL was made; otherwise it was there, and has the password of the URL now.
    pub user_is_new: bool,
    pub user: String,
    /// The election timeout was another one.
    pub timeout_changed: bool,
}

/// Makes the set of the members that MONGODB_URL names, and the user whose name and password it has.
pub async fn initiate(settings: &MongoSettings, asked: &Initiation) -> Result<Initiated, ReplicaSetError> {
    let url = connect::options(settings, &Health::new()).await?;
    let hosts: Vec<String> = url.hosts.iter().map(ServerAddress::to_string).collect();
    let set = url.repl_set_name.clone().unwrap_or_else(|| "rs0".to_owned());
    let database = url.default_database.clone().unwrap_or_else(|| "tango".to_owned());
    let (user, password) = match url.credential.as_ref().map(|one| (one.username.clone(), one.password.clone())) {
        Some((Some(user), Some(password))) => (user, password),
        _ => return Err(ReplicaSetError::NoUser),
    };
    let key: String = asked.key.split_whitespace().collect();

    let is_new = !wait_for_members(settings, &hosts).await?;
    if is_new {
        let first = system(settings, &hosts[0], &key).await?;
        let configuration = configuration(&set, &hosts, asked.election_timeout_ms);
        match first.database("admin").run_command(doc! { "replSetInitiate": configuration }).await {
            Ok(_) => {}
            // Somebody was faster.
            Err(error) if code(&error) == Some(ALREADY_INITIALIZED) => {}
            Err(error) => return Err(refusal(settings, &hosts[0], &error)),
        }
    }
    let (primary, client) = wait_for_primary(settings, &hosts, &key).await?;
    let timeout_changed = set_timeout(settings, &primary, &client, asked.election_timeout_ms).await?;
    let user_is_new = ensure_user(settings, &primary, &client, &database, (&user, &password)).await?;
    Ok(Initiated { set, members: hosts, primary, is_new, user_is_new, user, timeout_changed })
}

fn configuration(set: &str, hosts: &[String], election_timeout_ms: i32) -> Document {
    let members = (0_i32..).zip(hosts).map(|(id, host)| Bson::Document(doc! { "_id": id, "host": host }));
    doc! {
        "_id": set,
        "members": members.collect::<Vec<_>>(),
        "settings": {
            "electionTimeoutMillis": election_timeout_ms,
            "heartbeatIntervalMillis": HEARTBEAT_MS,
            "catchUpTimeoutMillis": CATCH_UP_MS,
        },
    }
}

/// Waits until every member answers; true when one of them belongs to a set already. Then those that are away are not waited for.
async fn wait_for_members(settings: &MongoSettings, hosts: &[String]) -> Result<bool, ReplicaSetError> {
    let started = Instant::now();
    loop {
        let mut away = None;
        for host in hosts {
            match set_name(settings, host).await {
                Ok(Some(_)) => return Ok(true),
                Ok(None) => {}
                Err(problem) => away = Some((host, problem)),
            }
        }
        match away {
            None => return Ok(false),
            Some((host, problem)) if started.elapsed() > ANSWERED_WITHIN => {
                return Err(ReplicaSetError::DoesNotAnswer { host: host.clone(), problem });
            }
            Some(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// A client of one member that signs in as the members themselves do.
async fn system(settings: &MongoSettings, host: &str, key: &str) -> Result<Client, ReplicaSetError> {
    let mut options = connect::options(settings, &Health::new()).await?;
    options.hosts = vec![ServerAddress::parse(host).map_err(|_| ReplicaSetError::Name(host.to_owned()))?];
    options.direct_connection = Some(true);
    options.repl_set_name = None;
    options.sdam_event_handler = None;
    options.server_selection_timeout = Some(Duration::from_secs(3));
    options.credential = Some(
        Credential::builder()
            .username("__system".to_owned())
            .password(key.to_owned())
            .source(SYSTEM_DATABASE.to_owned())
            .mechanism(AuthMechanism::ScramSha256)
            .build(),
    );
    Client::with_options(options).map_err(|error| connect::of_client(host, settings, &error).into())
}

async fn wait_for_primary(
    settings: &MongoSettings,
    hosts: &[String],
    key: &str,
) -> Result<(String, Client), ReplicaSetError> {
    let mut clients = Vec::new();
    for host in hosts {
        clients.push((host, system(settings, host, key).await?));
    }
    let started = Instant::now();
    loop {
        let mut states = Vec::new();
        for (host, client) in &clients {
            match client.database("admin").run_command(doc! { "hello": 1 }).await {
                Ok(hello) if hello.get_bool("isWritablePrimary").unwrap_or(false) => {
                    return Ok(((*host).clone(), client.clone()));
                }
                Ok(_) => states.push(format!("{host} is no {PRIMARY}")),
                Err(error) => states.push(format!("{host}: {}", connect::of_client(host, settings, &error))),
            }
        }
        if started.elapsed() > ELECTED_WITHIN {
            let (done, seconds) = ("the set is made", ELECTED_WITHIN.as_secs());
            return Err(ReplicaSetError::NoElection { done, seconds, states: states.join("; ") });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// True when it was another one. Of a configuration that a recovery forced nothing is changed (see [`super::recovery`]).
async fn set_timeout(
    settings: &MongoSettings,
    primary: &str,
    client: &Client,
    wanted_ms: i32,
) -> Result<bool, ReplicaSetError> {
    let admin = client.database("admin");
    let refused = |error: &mongodb::error::Error| refusal(settings, primary, error);
    let answer = admin.run_command(doc! { "replSetGetConfig": 1 }).await.map_err(|error| refused(&error))?;
    let Ok(mut configuration) = answer.get_document("config").cloned() else { return Ok(false) };
    let is_forced = configuration.get("term").is_none_or(|term| matches!(term, Bson::Null) || number(term) == Some(-1));
    let version = configuration.get("version").and_then(number).unwrap_or(0);
    let Ok(kept) = configuration.get_document_mut("settings") else { return Ok(false) };
    if is_forced || kept.get("electionTimeoutMillis").and_then(number) == Some(i64::from(wanted_ms)) {
        return Ok(false);
    }
    kept.insert("electionTimeoutMillis", wanted_ms);
    configuration.insert("version", version + 1);
    admin
        .run_command(doc! { "replSetReconfig": configuration })
        .await
        .map_err(|error| ReplicaSetError::Refused(one_line(&error).to_owned()))?;
    Ok(true)
}

fn number(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        _ => None,
    }
}

/// What tango does with its database, and what `tango cluster` needs. True when the user is new.
async fn ensure_user(
    settings: &MongoSettings,
    primary: &str,
    client: &Client,
    database: &str,
    (user, password): (&str, &str),
) -> Result<bool, ReplicaSetError> {
    let roles = || {
        let role = |role: &str, db: &str| doc! { "role": role, "db": db };
        vec![
            role("readWrite", database),
            role("dbAdmin", database),
            role("clusterMonitor", "admin"),
            role("clusterManager", "admin"),
        ]
    };
    let admin = client.database("admin");
    let majority = || doc! { "w": "majority", "wtimeout": 30_000 };
    let update = doc! { "updateUser": user, "pwd": password, "roles": roles(), "writeConcern": majority() };
    match admin.run_command(update).await {
        Ok(_) => return Ok(false),
        Err(error) if code(&error) == Some(USER_NOT_FOUND) => {}
        Err(error) => return Err(refusal(settings, primary, &error)),
    }
    let create = doc! { "createUser": user, "pwd": password, "roles": roles(), "writeConcern": majority() };
    admin.run_command(create).await.map_err(|error| refusal(settings, primary, &error))?;
    Ok(true)
}
