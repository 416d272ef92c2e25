//! One member, asked directly, whatever the others think of it.

use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Document, doc};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{ReadPreference, SelectionCriteria, ServerAddress};
use tokio::net::TcpStream;

use super::{Disk, REMOVED, Reach, ReplicaSetError, parse};
use crate::store::mongo::OpenError;
use crate::store::mongo::connect::{self, MongoSettings};
use crate::store::mongo::error::one_line;
use crate::store::mongo::feed::now_ms;
use crate::store::mongo::health::Health;

/// Longest wait for a connection: what is fenced off does not refuse, it says nothing.
const CONNECTED_WITHIN: Duration = Duration::from_secs(2);
/// Longest wait for the driver to see what is there.
const SELECTED_WITHIN: Duration = Duration::from_secs(3);
/// Longest wait for all that is asked.
const ANSWERED_WITHIN: Duration = Duration::from_secs(6);

const HANGS: &str = "it takes connections, but does not answer; perhaps its process hangs";

/// What a member said.
pub(super) struct Asked {
    pub reach: Reach,
    /// To ask more; when it answers.
    pub client: Option<Client>,
    /// Its own name in its configuration.
    pub own_name: Option<String>,
    /// In MongoDB's word.
    pub state: Option<String>,
    pub status: Option<Document>,
    pub configuration: Option<Document>,
    /// See [`super::MemberStatus`].
    pub clock_ahead_ms: Option<i64>,
    pub disk: Option<Disk>,
    /// Why it does not answer us, when that is our fault.
    pub refusal: Option<ReplicaSetError>,
}

impl Asked {
    fn without_answer(reach: Reach) -> Self {
        Self {
            reach,
            client: None,
            own_name: None,
            state: None,
            status: None,
            configuration: None,
            clock_ahead_ms: None,
            disk: None,
            refusal: None,
        }
    }

    /// It refuses our user: a newcomer does until it has copied the users.
    pub fn knows_nobody(&self) -> bool {
        matches!(self.refusal, Some(ReplicaSetError::Open(OpenError::Authentication { .. })))
    }
}

/// Asks the member at `host` (`host:port`) for its state and its configuration.
pub(super) async fn ask(settings: &MongoSettings, host: &str) -> Asked {
    if let Err(problem) = knock(host).await {
        return Asked::without_answer(Reach::Gone(problem));
    }
    match tokio::time::timeout(ANSWERED_WITHIN, questions(settings, host)).await {
        Ok(Ok(asked)) => asked,
        Ok(Err(refusal)) => {
            let problem = match &refusal {
                ReplicaSetError::Open(OpenError::Unreachable { .. }) => HANGS.to_owned(),
                refusal => refusal.to_string(),
            };
            Asked { refusal: Some(refusal), ..Asked::without_answer(Reach::Silent(problem)) }
        }
        Err(_) => Asked::without_answer(Reach::Silent(HANGS.to_owned())),
    }
}

/// The members that MONGODB_URL names, as `host:port`.
pub(super) async fn seeds(settings: &MongoSettings) -> Result<Vec<String>, ReplicaSetError> {
    let options = connect::options(settings, &Health::new()).await?;
    Ok(options.hosts.iter().map(ServerAddress::to_string).collect())
}

/// A client that speaks to one member alone; with or without signing in.
async fn direct(settings: &MongoSettings, host: &str, signed_in: bool) -> Result<Client, ReplicaSetError> {
    let mut options = connect::options(settings, &Health::new()).await?;
    options.hosts = vec![ServerAddress::parse(host).map_err(|_| ReplicaSetError::Name(host.to_owned()))?];
    options.direct_connection = Some(true);
    options.repl_set_name = None;
    options.server_selection_timeout = Some(SELECTED_WITHIN);
    options.sdam_event_handler = None;
    if !signed_in {
        options.credential = None;
    }
    Client::with_options(options).map_err(|error| connect::of_client(host, settings, &error).into())
}

/// Whether anything takes connections there.
pub(super) async fn knock(host: &str) -> Result<(), String> {
    match tokio::time::timeout(CONNECTED_WITHIN, TcpStream::connect(host)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no connection within {} s", CONNECTED_WITHIN.as_secs())),
    }
}

async fn questions(settings: &MongoSettings, host: &str) -> Result<Asked, ReplicaSetError> {
    let client = direct(settings, host, true).await?;
    let admin = client.database("admin");
    let refused = |error: &Error| refusal(settings, host, error);
    let hello = admin.run_command(doc! { "hello": 1 }).await.map_err(|error| refused(&error))?;
    let clock_ahead_ms = hello.get_datetime("localTime").ok().map(|theirs| theirs.timestamp_millis() - now_ms());
    let (state, status) = match admin.run_command(doc! { "replSetGetStatus": 1 }).await {
        Ok(status) => (own_state(&status), Some(status)),
        Err(error) => match code(&error) {
            // InvalidReplicaSetConfig: its configuration does not name it.
            Some(93) => (Some(REMOVED.to_owned()), None),
            // NotYetInitialized
            Some(94) => (Some("STARTUP".to_owned()), None),
            _ => return Err(refused(&error)),
        },
    };
    let configuration = match admin.run_command(doc! { "replSetGetConfig": 1 }).await {
        Ok(answer) => answer.get_document("config").ok().cloned(),
        Err(error) if code(&error) == Some(94) => None,
        Err(error) => return Err(refused(&error)),
    };
    // Of a member that has copied nothing yet, or whose user may not ask, it is not known.
    let database = client.default_database().unwrap_or_else(|| client.database("tango"));
    let own = SelectionCriteria::ReadPreference(ReadPreference::Nearest { options: None });
    let disk = database.run_command(doc! { "dbStats": 1 }).selection_criteria(own).await;
    let disk = disk.ok().and_then(|stats| parse::disk(&stats));
    Ok(Asked {
        reach: Reach::Answers,
        own_name: hello.get_str("me").ok().map(str::to_owned),
        clock_ahead_ms,
        disk,
        client: Some(client),
        state,
        status,
        configuration,
        refusal: None,
    })
}

/// What a `mongod` says to whoever asks, without signing in: a new member knows no users yet. `Ok(None)`: it belongs to no set, or is
/// not a member of its set any more; else the name of its set.
pub(super) async fn set_name(settings: &MongoSettings, host: &str) -> Result<Option<String>, String> {
    let question = async {
        let client = direct(settings, host, false).await.map_err(|error| error.to_string())?;
        let hello = client.database("admin").run_command(doc! { "hello": 1 }).await;
        hello.map_err(|error| refusal(settings, host, &error).to_string())
    };
    let hello = tokio::time::timeout(ANSWERED_WITHIN, question).await;
    let hello = hello.map_err(|_| format!("no answer within {} s", ANSWERED_WITHIN.as_secs()))??;
    if let Ok(name) = hello.get_str("setName") {
        return Ok(Some(name.to_owned()));
    }
    if hello.get_bool("isreplicaset").unwrap_or(false) {
        return Ok(None);
    }
    Err("it runs by itself, without --replSet".to_owned())
}

fn own_state(status: &Document) -> Option<String> {
    let own = parse::members(status).find(|entry| entry.get_bool("self").unwrap_or(false))?;
    Some(own.get_str("stateStr").ok()?.to_owned())
}

pub(super) fn code(error: &Error) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}

/// Unauthorized is about roles here: whoever could not sign in has not come this far.
pub(super) fn refusal(settings: &MongoSettings, host: &str, error: &Error) -> ReplicaSetError {
    match code(error) {
        Some(13) => ReplicaSetError::NotAllowed { problem: one_line(error) },
        _ => connect::of_client(host, settings, error).into(),
    }
}

/// `host:port` as configurations have it, from what a person wrote; the port is MongoDB's when left out.
pub(super) fn member_name(text: &str) -> Result<String, ReplicaSetError> {
    let address = ServerAddress::parse(text.trim()).map_err(|_| ReplicaSetError::Name(text.to_owned()))?;
    match address {
        ServerAddress::Tcp { .. } => Ok(address.to_string()),
        _ => Err(ReplicaSetError::Name(text.to_owned())),
    }
}
