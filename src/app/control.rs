//! The door for commands: a Unix socket in the data folder of a running process.
//!
//! One JSON request on one line, one JSON answer on one line (lines of progress before it, when the work takes long). Only the folder's owner can open it.
//! The same requests are carried out directly when nothing runs.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::stores;
use crate::auth::{Auth, AuthError};
use crate::context::Context;
use crate::domain::job::{Progress, Reporter};
use crate::http::AppState;
use crate::objects::Health;
use crate::telemetry;
use crate::transfer::{self, Summary};

/// Longest request and answer in bytes.
const MAX_LINE_BYTES: u64 = 16 << 20;
/// A command's client waits at most so long for the next line.
const PATIENCE: Duration = Duration::from_secs(30);
/// Long work tells so often how far it is.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// What a command asks for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Request {
    Status,
    Users,
    AddUser {
        username: String,
        password: String,
        super_user: bool,
    },
    SetPassword {
        username: String,
        password: String,
    },
    RemoveUser {
        username: String,
    },
    ApiKey,
    LogLevel {
        level: String,
    },
    /// Into a folder by its absolute path; tells how far it is.
    Backup {
        folder: PathBuf,
        skip_missing: bool,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    /// Others follow.
    Progress(Progress),
    Done(Value),
    Refused(String),
}

/// Where the socket of a data folder is.
pub fn socket_path(data_dir: &Path) -> PathBuf {
    data_dir.join("control.sock")
}

/// Opens the door. The folder's lock is held, so a socket that is there is a dead process's.
pub(super) fn serve(state: &AppState, url: String, stop: CancellationToken) -> anyhow::Result<()> {
    let (path, listener) = open_door(&state.ctx.config.data_dir)?;
    let state = state.clone();
    tokio::spawn(async move {
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            let Ok((stream, _)) = accepted else { continue };
            let (state, url, stop) = (state.clone(), url.clone(), stop.clone());
            tokio::spawn(async move {
                if let Some(Err(error)) = stop.run_until_cancelled(answer(stream, &state, &url)).await {
                    tracing::debug!(error = format!("{error:#}"), "a command got no answer");
                }
            });
        }
        let _ = std::fs::remove_file(&path);
    });
    Ok(())
}

/// The door of a process that only works on jobs: it tells how it is, by `status`, and refuses everything else.
pub(super) fn serve_status(
    data_dir: &Path,
    status: impl Fn() -> Value + Send + Sync + 'static,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (path, listener) = open_door(data_dir)?;
    tokio::spawn(async move {
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            let Ok((stream, _)) = accepted else { continue };
            let status = status();
            // A client says all that it has to say at once.
            let answer = tokio::time::timeout(PATIENCE, answer_status(stream, status));
            if let Some(Ok(Err(error))) = stop.run_until_cancelled(answer).await {
                tracing::debug!(error = format!("{error:#}"), "a command got no answer");
            }
        }
        let _ = std::fs::remove_file(&path);
    });
    Ok(())
}

async fn answer_status(stream: UnixStream, status: Value) -> anyhow::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reader.take(MAX_LINE_BYTES)).read_line(&mut line).await?;
    let answer = match serde_json::from_str::<Request>(&line) {
        Ok(Request::Status) => Answer::Done(status),
        _ => Answer::Refused("this process works on jobs only: ask a server".to_owned()),
    };
    write_line(&mut writer, &answer).await
}

fn open_door(data_dir: &Path) -> anyhow::Result<(PathBuf, UnixListener)> {
    let path = socket_path(data_dir);
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)
        .with_context(|| format!("{} cannot be opened (its path may be too long)", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok((path, listener))
}

async fn answer(stream: UnixStream, state: &AppState, url: &str) -> anyhow::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reader.take(MAX_LINE_BYTES)).read_line(&mut line).await?;
    let answer = match serde_json::from_str::<Request>(&line) {
        Err(error) => Answer::Refused(format!("the request is not understood: {error}")),
        Ok(Request::Status) => Answer::Done(json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "url": url,
            "phase": state.lifecycle.phase().as_str(),
            "started_at": state.started_at,
            "object_store": object_store(&state.ctx),
        })),
        Ok(Request::Backup { folder, skip_missing }) => {
            match back_up(state, &folder, skip_missing, &mut writer).await? {
                Ok(summary) => Answer::Done(serde_json::to_value(summary)?),
                Err(error) => Answer::Refused(format!("{error:#}")),
            }
        }
        Ok(request) => match execute(&state.auth, request).await {
            Ok(value) => Answer::Done(value),
            Err(error) => Answer::Refused(error.to_string()),
        },
    };
    write_line(&mut writer, &answer).await
}

async fn write_line(writer: &mut OwnedWriteHalf, answer: &Answer) -> anyhow::Result<()> {
    let mut text = serde_json::to_string(answer)?;
    text.push('\n');
    writer.write_all(text.as_bytes()).await?;
    Ok(())
}

/// Makes a backup, and tells how far it is until it is over. Whoever asked hanging up ends it: the outer error.
async fn back_up(
    state: &AppState,
    folder: &Path,
    skip_missing: bool,
    writer: &mut OwnedWriteHalf,
) -> anyhow::Result<anyhow::Result<Summary>> {
    let told = Arc::new(Told(watch::Sender::default()));
    let work = async {
        let options = stores::backup_options(&state.ctx.config, skip_missing)?;
        Ok(transfer::backup(&state.ctx, folder, &options, told.clone()).await?)
    };
    let mut work = std::pin::pin!(work);
    let mut tick = tokio::time::interval(TELL_EVERY);
    loop {
        tokio::select! {
            outcome = &mut work => return Ok(outcome),
            _ = tick.tick() => {
                let progress = told.0.borrow().clone();
                write_line(writer, &Answer::Progress(progress)).await?;
            }
        }
    }
}

/// What was last reported.
struct Told(watch::Sender<Progress>);

impl Reporter for Told {
    fn report(&self, progress: Progress) {
        self.0.send_replace(progress);
    }

    /// The work is dropped instead.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// `ok`, or what stands between the process and its object store.
pub(super) fn object_store(ctx: &Context) -> String {
    match ctx.objects.health() {
        Health::Ready => "ok".to_owned(),
        Health::Troubled(trouble) => trouble.to_string(),
    }
}

/// Carries a request out with the users at hand.
pub async fn execute(auth: &Auth, request: Request) -> Result<Value, AuthError> {
    match request {
        // Only a running process carries them out; it does so itself.
        Request::Status | Request::Backup { .. } => Ok(Value::Null),
        Request::Users => {
            let users = auth.users().await?;
            let rows = users.iter().map(
                |user| json!({"username": user.username, "super_user": user.super_user, "created_at": user.created_at}),
            );
            Ok(rows.collect())
        }
        Request::AddUser { username, password, super_user } => {
            let account = auth.default_account().await?;
            let user = auth.add_user(&account.id, &username, &password, super_user).await?;
            Ok(json!({"username": user.username}))
        }
        Request::SetPassword { username, password } => {
            let user = auth.set_password(&username, &password).await?;
            Ok(json!({"username": user.username}))
        }
        Request::RemoveUser { username } => {
            auth.remove_user(&username).await?;
            Ok(json!({"username": username}))
        }
        Request::ApiKey => Ok(json!({"api_key": auth.api_key(&auth.default_account().await?)?})),
        Request::LogLevel { level } => {
            telemetry::set_level(&level).map_err(|error| AuthError::Internal(anyhow::anyhow!(error)))?;
            Ok(json!({"level": telemetry::level()}))
        }
    }
}

/// Asks the process that runs on this folder; `None` when none does.
pub async fn ask(data_dir: &Path, request: &Request) -> anyhow::Result<Option<Value>> {
    ask_and_hear(data_dir, request, |_| {}).await
}

/// Asks for something that takes long, and hears how far it is.
pub async fn ask_and_hear(
    data_dir: &Path,
    request: &Request,
    hear: impl Fn(Progress),
) -> anyhow::Result<Option<Value>> {
    let stream = match UnixStream::connect(socket_path(data_dir)).await {
        Ok(stream) => stream,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => bail!(
            "whether tango runs on {} cannot be seen: the folder belongs to another user; run this command as that user",
            data_dir.display()
        ),
        Err(_) => return Ok(None),
    };
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut text = serde_json::to_string(request)?;
    text.push('\n');
    let send = tokio::time::timeout(PATIENCE, writer.write_all(text.as_bytes()));
    send.await.context("the running process does not answer")?.context("the running process hung up")?;
    loop {
        let mut line = String::new();
        let read = async { (&mut reader).take(MAX_LINE_BYTES).read_line(&mut line).await };
        let read = tokio::time::timeout(PATIENCE, read).await.context("the running process does not answer")?;
        if read.context("the running process hung up")? == 0 {
            bail!("the running process hung up: it was stopped");
        }
        match serde_json::from_str::<Answer>(&line).context("the running process answered something else")? {
            Answer::Progress(progress) => hear(progress),
            Answer::Done(value) => return Ok(Some(value)),
            Answer::Refused(reason) => bail!(reason),
        }
    }
}
