//! From settings to a client: TLS, sign-in, and what is checked before the first use.

use std::path::PathBuf;
use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{
    ClientOptions, DatabaseOptions, ReadConcern, ReadPreference, SelectionCriteria, ServerAddress, Tls, TlsOptions,
    WriteConcern,
};
use mongodb::{Client, Database};

use super::error::{OpenError, one_line};
use super::health::Health;
use crate::domain::Timestamp;

/// The database when MONGODB_URL names none.
const DATABASE: &str = "tango";
/// How long a start waits for the set before it says that nobody answers.
const FIRST_ANSWER: Duration = Duration::from_secs(20);
/// How long a minority of members is asked for a primary before a start makes do with what it can read.
const NO_MAJORITY_PATIENCE: Duration = Duration::from_secs(3);
/// How long the first read may take.
const ACCESS_PATIENCE: Duration = Duration::from_secs(5);
/// An acknowledgement by the majority that takes longer counts as none; the outcome is asked for again.
const MAJORITY_TIMEOUT: Duration = Duration::from_secs(10);
/// Clocks that differ by more spoil tokens and signed URLs.
const MOST_CLOCK_SKEW_SECONDS: i64 = 15 * 60;
const NOTED_CLOCK_SKEW_MS: i64 = 2_000;

/// How to reach a replica set.
#[derive(Clone)]
pub struct MongoSettings {
    /// With user and password: never shown.
    pub url: String,
    /// PEM file of the authorities that vouch for the members.
    pub ca_file: Option<PathBuf>,
    /// Permits a connection without TLS when the URL does not ask for it.
    pub allow_plain: bool,
}

/// A client that has been answered.
pub(super) struct Connection {
    pub client: Client,
    /// What the client calls itself.
    pub app_name: String,
    pub database: Database,
    pub health: Health,
    /// The members, for messages.
    pub hosts: String,
    /// A primary has answered. Otherwise most members are away: the others can be read.
    pub is_writable: bool,
}

/// Connects and checks what would make everything else fail. Changes nothing. `now` is this machine's clock, which is compared
/// with that of the member that answers.
pub(super) async fn connect(settings: &MongoSettings, now: Timestamp) -> Result<Connection, OpenError> {
    let asked = tokio::time::Instant::now();
    let health = Health::new();
    let options = options(settings, &health).await?;
    let hosts = hosts(&options);
    let name = options.default_database.clone().unwrap_or_else(|| DATABASE.to_owned());
    let app_name = options.app_name.clone().unwrap_or_default();
    let client = Client::with_options(options.clone()).map_err(|error| of_client(&hosts, settings, &error))?;
    let database = client.database_with_options(
        &name,
        DatabaseOptions::builder().read_concern(ReadConcern::majority()).write_concern(majority()).build(),
    );
    let hello = match first_answer(&database, ReadPreference::Primary.into()).await {
        Ok(hello) => hello,
        Err(error) if is_passing(&error) => {
            // What one member says by itself may need no waiting.
            if let Some(refusal) = member_alone(&hosts, options.clone()).await {
                return Err(refusal);
            }
            tracing::warn!("MongoDB does not answer yet; it is waited for {} s", FIRST_ANSWER.as_secs());
            match wait_for_answer(&database, &health).await {
                Ok(hello) => hello,
                Err(_) if waits_for_a_set(options).await => {
                    let problem =
                        "its members run and wait to be made a replica set: tango cluster initiate".to_owned();
                    return Err(OpenError::Unreachable { hosts, problem });
                }
                Err(error) => return Err(of_client(&hosts, settings, &error)),
            }
        }
        Err(error) => return Err(of_client(&hosts, settings, &error)),
    };
    check_hello(&hosts, &hello)?;
    // An answer may have taken its time.
    check_clock(&hello, now + asked.elapsed())?;
    check_version(&database).await?;
    check_access(&database).await.map_err(|error| of_client(&hosts, settings, &error))?;
    let is_writable = hello.get_bool("isWritablePrimary").unwrap_or(false);
    Ok(Connection { client, app_name, database, health, hosts, is_writable })
}

async fn first_answer(database: &Database, whose: SelectionCriteria) -> Result<Document, Error> {
    database.run_command(doc! { "hello": 1 }).selection_criteria(whose).await
}

/// Of what a start reads: the primary's answer when there is one, else that of a member that can be read.
pub(super) fn primary_if_any() -> SelectionCriteria {
    ReadPreference::PrimaryPreferred { options: None }.into()
}

/// A set that is just being started, or cut off, looks like this.
fn is_passing(error: &Error) -> bool {
    let of_network = matches!(
        *error.kind,
        ErrorKind::ServerSelection { .. } | ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. }
    );
    of_network && !is_certificate(error)
}

async fn wait_for_answer(database: &Database, health: &Health) -> Result<Document, Error> {
    let started = tokio::time::Instant::now();
    loop {
        // A majority elects a primary; less than that never gets one.
        let is_minority = started.elapsed() > NO_MAJORITY_PATIENCE && !health.has_majority();
        let whose = if is_minority { primary_if_any() } else { ReadPreference::Primary.into() };
        match first_answer(database, whose).await {
            Err(error) if is_passing(&error) && started.elapsed() < FIRST_ANSWER => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            answer => return answer,
        }
    }
}

/// Whether the first member was started for a set that nobody has made yet.
async fn waits_for_a_set(mut options: ClientOptions) -> bool {
    options.repl_set_name = None;
    options.direct_connection = Some(true);
    options.sdam_event_handler = None;
    options.hosts.truncate(1);
    let Ok(client) = Client::with_options(options) else { return false };
    let hello = client.database("admin").run_command(doc! { "hello": 1 }).await;
    hello.is_ok_and(|hello| hello.contains_key("isreplicaset"))
}

/// What one member says by itself, when the driver found no set of the expected name.
async fn member_alone(hosts: &str, mut options: ClientOptions) -> Option<OpenError> {
    let asked = options.repl_set_name.take()?;
    options.direct_connection = Some(true);
    options.sdam_event_handler = None;
    options.hosts.truncate(1);
    let client = Client::with_options(options).ok()?;
    let hello = client.database("admin").run_command(doc! { "hello": 1 }).await.ok()?;
    let hosts = hosts.to_owned();
    match hello.get_str("setName") {
        Ok(found) if found != asked => Some(OpenError::SetName { hosts, found: found.to_owned(), asked }),
        Ok(_) => None,
        // It waits to be made a set.
        Err(_) if hello.contains_key("isreplicaset") => None,
        Err(_) => Some(OpenError::Standalone { hosts }),
    }
}

/// Whether this user may read the database at all. What is read does not matter: a member that was started without a majority does not
/// know what most have.
async fn check_access(database: &Database) -> Result<(), Error> {
    let meta = database.collection::<Document>("meta");
    let find = meta.find_one(doc! { "_id": { "s": "", "i": "schema" } });
    find.selection_criteria(primary_if_any())
        .read_concern(ReadConcern::local())
        .max_time(ACCESS_PATIENCE)
        .await
        .map(drop)
}

/// Acknowledged means: in the journal of most members.
pub(super) fn majority() -> WriteConcern {
    let mut concern = WriteConcern::majority();
    concern.journal = Some(true);
    concern.w_timeout = Some(MAJORITY_TIMEOUT);
    concern
}

pub(super) async fn options(settings: &MongoSettings, health: &Health) -> Result<ClientOptions, OpenError> {
    if settings.url.starts_with("mongodb+srv://") {
        return Err(OpenError::Url(
            "mongodb+srv:// asks DNS for the members, which is not supported: name them".to_owned(),
        ));
    }
    let mut options = ClientOptions::parse(&settings.url)
        .await
        .map_err(|error| OpenError::Url(without_url(&one_line(&error), &settings.url)))?;
    if options.direct_connection == Some(true) {
        let text = "directConnection=true stays with one member and misses every election: leave it out";
        return Err(OpenError::Url(text.to_owned()));
    }
    options.app_name.get_or_insert_with(|| "tango".to_owned());
    options.heartbeat_freq.get_or_insert(Duration::from_secs(1));
    options.connect_timeout.get_or_insert(Duration::from_secs(2));
    // Short, so that the store looks again at who is there; it has a patience of its own.
    options.server_selection_timeout = Some(Duration::from_secs(1));
    options.max_pool_size.get_or_insert(64);
    options.retry_reads = Some(true);
    options.retry_writes = Some(true);
    options.read_concern = Some(ReadConcern::majority());
    options.write_concern = Some(majority());
    options.sdam_event_handler = Some(health.handler());
    if let Some(path) = &settings.ca_file {
        let file = |problem: &str| OpenError::CaFile { path: path.display().to_string(), problem: problem.to_owned() };
        let pem = std::fs::read_to_string(path).map_err(|error| file(&format!("cannot be read: {error}")))?;
        if !pem.contains("BEGIN CERTIFICATE") {
            return Err(file("holds no certificate in PEM form"));
        }
    }
    match &mut options.tls {
        Some(Tls::Enabled(tls)) => {
            if settings.ca_file.is_some() {
                tls.ca_file_path.clone_from(&settings.ca_file);
            }
        }
        Some(Tls::Disabled) if !settings.allow_plain => return Err(OpenError::NoTls),
        Some(Tls::Disabled) => {}
        None if settings.allow_plain && settings.ca_file.is_none() => {}
        None => {
            options.tls = Some(Tls::Enabled(TlsOptions::builder().ca_file_path(settings.ca_file.clone()).build()));
        }
    }
    Ok(options)
}

fn hosts(options: &ClientOptions) -> String {
    options.hosts.iter().map(ServerAddress::to_string).collect::<Vec<_>>().join(", ")
}

/// The driver's messages may quote the URL or a part of it, password and all: no word with an `@`, and none of the URL's user
/// part, is shown.
fn without_url(message: &str, url: &str) -> String {
    let secret = url.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@')).map(|(user, _)| user);
    let shown =
        |word: &&str| !word.contains('@') && !secret.is_some_and(|secret| secret.contains(*word) && word.len() > 3);
    message.split_whitespace().map(|word| if shown(&word) { word } else { "(hidden)" }).collect::<Vec<_>>().join(" ")
}

fn is_certificate(error: &Error) -> bool {
    let text = error.to_string().to_ascii_lowercase();
    ["certificate", "unknownissuer", "notvalidforname", "unknown issuer"].iter().any(|word| text.contains(word))
}

pub(super) fn of_client(hosts: &str, settings: &MongoSettings, error: &Error) -> OpenError {
    let (hosts, problem) = (hosts.to_owned(), without_url(one_line(error).trim_end_matches('.'), &settings.url));
    let text = error.to_string();
    match &*error.kind {
        _ if is_certificate(error) => OpenError::Certificate { hosts, problem: certificate_problem(&text) },
        ErrorKind::Authentication { .. } => OpenError::Authentication { hosts, problem },
        // AuthenticationFailed, Unauthorized
        ErrorKind::Command(command) if matches!(command.code, 13 | 18) => OpenError::Authentication { hosts, problem },
        ErrorKind::InvalidTlsConfig { .. } => OpenError::CaFile {
            path: settings.ca_file.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
            problem: problem.clone(),
        },
        _ if text.contains("SCRAM") || text.contains("uthentication failed") => {
            OpenError::Authentication { hosts, problem }
        }
        _ => OpenError::Unreachable { hosts, problem: reachability(&problem, settings) },
    }
}

/// What is wrong with a certificate, out of a long list of attempts.
fn certificate_problem(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let problem = if lower.contains("expired") {
        "it has expired"
    } else if lower.contains("notvalidyet") || lower.contains("not valid yet") {
        "it is not valid yet (or this machine's clock is behind)"
    } else if lower.contains("notvalidforname") || lower.contains("not valid for name") {
        "it was issued for another host name"
    } else if lower.contains("unknownissuer") || lower.contains("unknown issuer") {
        "its issuer is unknown here"
    } else if lower.contains("certificaterequired") || lower.contains("certificate required") {
        "the server asks for a certificate of this program (tlsCertificateKeyFile in the URL)"
    } else {
        return text.split_whitespace().collect::<Vec<_>>().join(" ");
    };
    problem.to_owned()
}

/// In a few words; the driver's own are a page about every attempt with every member.
fn reachability(problem: &str, settings: &MongoSettings) -> String {
    let plain = settings.url.contains("tls=false") || (settings.allow_plain && !settings.url.contains("tls=true"));
    if problem.contains("RsSecondary") {
        "some members do, but none of them is the primary: start the others, most members of the set have to run"
            .to_owned()
    } else if problem.contains("Connection refused") {
        "nothing listens there; is it started, and is the port right?".to_owned()
    } else if problem.contains("failed to lookup address") {
        "a host name cannot be resolved".to_owned()
    } else if plain {
        "the connection breaks off; perhaps it expects TLS (tls=true in the URL)".to_owned()
    } else if problem.contains("Server selection timeout") {
        "no member of the set answers; are host names, ports and firewalls right, and do the members speak TLS?"
            .to_owned()
    } else {
        problem.to_owned()
    }
}

fn check_hello(hosts: &str, hello: &Document) -> Result<(), OpenError> {
    if hello.get_str("setName").is_err() {
        return Err(OpenError::Standalone { hosts: hosts.to_owned() });
    }
    Ok(())
}

fn check_clock(hello: &Document, now: Timestamp) -> Result<(), OpenError> {
    let Ok(theirs) = hello.get_datetime("localTime") else { return Ok(()) };
    let ahead_ms = now.timestamp_millis() - theirs.timestamp_millis();
    let host = hello.get_str("me").unwrap_or("one of the members").to_owned();
    if ahead_ms.abs() > MOST_CLOCK_SKEW_SECONDS * 1_000 {
        let direction = if ahead_ms > 0 { "ahead of" } else { "behind" };
        return Err(OpenError::Clock { minutes: ahead_ms.abs() / 60_000, direction, host });
    }
    if ahead_ms.abs() > NOTED_CLOCK_SKEW_MS {
        tracing::warn!(%host, ahead_ms, "this machine's clock and MongoDB's differ: set the clocks by NTP");
    }
    Ok(())
}

async fn check_version(database: &Database) -> Result<(), OpenError> {
    let info = database.run_command(doc! { "buildInfo": 1 }).selection_criteria(primary_if_any());
    let info = info.await.map_err(super::error::store_error)?;
    let version = info.get_str("version").unwrap_or_default().to_owned();
    let major: u32 = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    if major < 5 { Err(OpenError::TooOld { version }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_shows_the_password() {
        let url = "mongodb://tango:s3cret-word@h1:1,h2:2/db?x=1";
        for message in [
            "s3cret-word@h1:1,h2:2/db?x is an invalid option",
            "cannot sign in with s3cret-word here",
            "mongodb://tango:s3cret-word@h1:1",
        ] {
            assert!(!without_url(message, url).contains("s3cret"), "{message}");
        }
        assert_eq!(without_url("the host h1:1 is away", url), "the host h1:1 is away");
    }

    #[test]
    fn clocks_far_apart_are_refused() {
        let theirs = Timestamp::from_timestamp_millis(1_700_000_000_000).unwrap();
        let hello = doc! { "localTime": mongodb::bson::DateTime::from_millis(theirs.timestamp_millis()), "me": "h1:1" };
        let apart = |minutes: i64| check_clock(&hello, theirs + chrono::TimeDelta::minutes(minutes));
        assert!(apart(5).is_ok() && apart(-14).is_ok());
        let error = apart(-16).unwrap_err().to_string();
        assert!(error.contains("16 minutes behind") && error.contains("h1:1"), "{error}");
        assert!(apart(20).unwrap_err().to_string().contains("20 minutes ahead of"));
    }
}
