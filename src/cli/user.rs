//! `tango user …`: through the running process, or on the data folder itself.
#![expect(clippy::print_stdout, reason = "the answer is the command's output")]

use std::io::{BufRead as _, IsTerminal as _};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::Value;

use crate::app::control::{self, Request};
use crate::app::{open_seal, open_store};
use crate::auth::{Auth, generate_password};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::store::{Collection, Query};
use crate::transfer::refuse_unfinished;

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Print every user
    List,
    /// Add a user to the first account
    Add {
        /// Such as an e-mail address
        username: String,
        /// May do everything
        #[arg(long)]
        super_user: bool,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Set a user's password; all of the user's sessions end
    Password {
        /// As `tango user list` shows it
        username: String,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Remove a user; all of the user's sessions end
    Remove {
        /// As `tango user list` shows it
        username: String,
    },
    /// Print the API key of the first account, for programs that sign in with one
    ApiKey,
}

/// Where a new password comes from. Without an option: from a pipe if there is one, else it is asked for.
#[derive(Debug, Clone, Args)]
#[group(multiple = false)]
pub struct PasswordSource {
    /// Make one and print it
    #[arg(long)]
    generate: bool,
    /// Read the password from standard input (its first line), as is done without any of these options
    #[arg(long)]
    stdin: bool,
    /// The password itself; other users of this machine can see it while the command runs
    #[arg(long, value_name = "PASSWORD")]
    password: Option<String>,
}

pub async fn run(config: &Config, command: UserCommand) -> anyhow::Result<()> {
    match command {
        UserCommand::List => {
            let users = carry_out(config, Request::Users).await?;
            for user in users.as_array().into_iter().flatten() {
                let rank = if user["super_user"] == true { "super user" } else { "user" };
                let since = user["created_at"].as_str().unwrap_or_default();
                println!(
                    "{}\t{rank}\tsince {}",
                    user["username"].as_str().unwrap_or_default(),
                    since.get(..10).unwrap_or(since)
                );
            }
        }
        UserCommand::Add { username, super_user, password } => {
            let (password, generated) = password.read()?;
            carry_out(config, Request::AddUser { username: username.clone(), password: password.clone(), super_user })
                .await?;
            println!("{username} was added");
            tell_generated(&password, generated);
        }
        UserCommand::Password { username, password } => {
            let (password, generated) = password.read()?;
            carry_out(config, Request::SetPassword { username: username.clone(), password: password.clone() }).await?;
            println!("{username} has a new password; earlier sessions have ended");
            tell_generated(&password, generated);
        }
        UserCommand::Remove { username } => {
            carry_out(config, Request::RemoveUser { username: username.clone() }).await?;
            println!("{username} was removed");
        }
        UserCommand::ApiKey => {
            let answer = carry_out(config, Request::ApiKey).await?;
            println!("{}", answer["api_key"].as_str().unwrap_or_default());
        }
    }
    Ok(())
}

fn tell_generated(password: &str, generated: bool) {
    if generated {
        println!("password: {password}");
    }
}

impl PasswordSource {
    /// The password, and whether it was generated.
    fn read(&self) -> anyhow::Result<(String, bool)> {
        if let Some(password) = &self.password {
            return Ok((password.clone(), false));
        }
        if self.generate {
            return Ok((generate_password(), true));
        }
        let stdin = std::io::stdin();
        if stdin.is_terminal() {
            eprintln!("the new password, then Enter (it is shown; --generate makes one):");
        }
        let mut line = String::new();
        stdin.lock().read_line(&mut line).context("standard input cannot be read")?;
        let password = line.trim_end_matches(['\r', '\n']);
        if password.is_empty() {
            bail!("no password was given, so that nothing is changed; --generate makes one");
        }
        Ok((password.to_owned(), false))
    }
}

/// By the running process, else on the store itself.
async fn carry_out(config: &Config, request: Request) -> anyhow::Result<Value> {
    let single_node = config.mongodb_url.is_none();
    if single_node && let Some(answer) = control::ask(&config.data_dir, &request).await? {
        return Ok(answer);
    }
    if single_node && !config.data_dir.is_dir() {
        bail!(
            "there is no data folder {}: start `tango` once, or name the folder with --data-dir",
            config.data_dir.display()
        );
    }
    let store = open_store(config).await?;
    refuse_unfinished(&store).await?;
    if store.count(&Query::new(Collection::Accounts, "")).await? == 0 {
        bail!(
            "there are no users yet: the first start of tango makes the first one, a restore brings those of its backup"
        );
    }
    let (auth, _) = Auth::open(store, config, Arc::new(SystemClock), open_seal(config)?).await?;
    Ok(control::execute(&auth, request).await?)
}
