//! The command line. `tango` alone starts everything.

mod bench;
mod cluster;
mod config_check;
mod demo;
mod doctor;
mod healthcheck;
mod migrate;
mod serve;
mod size;
mod transfer;
mod user;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, Loaded, LogFormat, Sources};
use crate::domain::node::Role;
use crate::telemetry;

const EXAMPLES: &str = "\
Examples:
  tango                                     start everything on this machine, at http://127.0.0.1:3031
  tango --listen 0.0.0.0:3031               be reachable from other machines, by HTTPS
  tango --data-dir /var/lib/tango           keep the data elsewhere
  tango demo                                show the product with a simulated contact centre
  tango user password super_user@genesys.com
                                            set a new password, also while tango is running
  tango backup                              copy everything into a folder, also while tango is running
  tango config check                        print every setting and where it comes from

Settings are read from tango.env (or config/tango.env) in the working directory, or the file that --env-file names;
the process's environment wins over the file.";

/// Predictive routing for contact centres: which agent is most likely to reach the outcome the business wants.
#[derive(Debug, Parser)]
#[command(name = "tango", version, about, after_help = EXAMPLES, propagate_version = true)]
struct Tango {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
struct Options {
    /// File with settings instead of tango.env
    #[arg(long, global = true, value_name = "FILE", help_heading = "Settings")]
    env_file: Option<PathBuf>,
    /// Folder of everything that is kept (DATA_DIR)
    #[arg(long, global = true, value_name = "FOLDER", help_heading = "Settings")]
    data_dir: Option<PathBuf>,
    /// Address and port to listen on; port 0 takes a free one (LISTEN)
    #[arg(long, global = true, value_name = "ADDRESS:PORT", help_heading = "Settings")]
    listen: Option<String>,
    /// Plain HTTP on any address, for tests only (ALLOW_HTTP)
    #[arg(long, global = true, help_heading = "Settings")]
    http: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the web application and the API (on a single node with its workers, like `tango` alone)
    Server,
    /// Work on jobs only (cluster mode)
    Worker,
    /// Bring the document store to this version's schema; starting tango does the same
    Migrate {
        /// Change nothing: say which steps the store has and which are missing
        #[arg(long)]
        status: bool,
    },
    /// Look at the settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Check this installation and say what is wrong in plain words
    Doctor(doctor::DoctorArgs),
    /// Succeed when the running process should get traffic, for containers
    Healthcheck,
    /// Print the OpenAPI document
    Openapi,
    /// Say how many processors, how much memory and disk an installation needs
    Size(size::SizeArgs),
    /// List, add and remove users, set passwords; works while tango runs and while it does not
    #[command(subcommand)]
    User(user::UserCommand),
    /// Copy everything into a folder, while users go on
    Backup(transfer::BackupArgs),
    /// Put a backup back
    Restore(transfer::RestoreArgs),
    /// Copy everything into a folder, to move it between a single node and a cluster
    Export(transfer::ExportArgs),
    /// Take in what an export made (the same as restore)
    Import(transfer::RestoreArgs),
    /// Look after the members of the cluster's replica set, also when a data center is lost
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Show the product with a simulated contact centre whose truth is known
    Demo(demo::DemoArgs),
    /// Measure something; without a name: list what can be measured
    Bench(bench::BenchArgs),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print every setting, its value and where that comes from; secrets stay hidden
    Check,
}

impl Options {
    /// The settings in effect. Whatever is wrong with them is told on standard error.
    fn load(&self) -> Result<Loaded, String> {
        let mut command_line = Vec::new();
        if let Some(folder) = &self.data_dir {
            command_line.push(("DATA_DIR", folder.display().to_string()));
        }
        if let Some(address) = &self.listen {
            command_line.push(("LISTEN", address.clone()));
        }
        if self.http {
            command_line.push(("ALLOW_HTTP", "True".to_owned()));
        }
        let loaded = crate::config::load(&Sources::of_process(self.env_file.clone(), command_line))?;
        for warning in &loaded.warnings {
            eprintln!("warning: {warning}");
        }
        Ok(loaded)
    }
}

/// Parses the command line and carries it out. Exit codes: 0 done, 1 failed, 2 the command line or a setting is wrong.
pub fn run() -> ExitCode {
    // Whatever is written holds data or secrets: for the owner alone, also in a folder that others may enter.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    end_quietly_without_a_reader();
    let tango = Tango::parse();
    if let Some(Command::Openapi) = tango.command {
        return finish(print_openapi());
    }
    if let Some(Command::Size(args)) = &tango.command {
        size::run(args);
        return ExitCode::SUCCESS;
    }
    if let Some(Command::Bench(args)) = &tango.command {
        return finish(bench::run(args));
    }
    let loaded = match tango.options.load() {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    // What a server logs of its every day would be in the way of a command's answer.
    let serves = matches!(tango.command, None | Some(Command::Server | Command::Worker));
    let quiet = !serves && loaded.config.log_level == Config::default().log_level;
    let level = if quiet { "WARN" } else { loaded.config.log_level.as_str() };
    let format = if serves { loaded.config.log_format } else { LogFormat::Text };
    if let Err(error) = telemetry::start_logging(level, format) {
        eprintln!("error: {error}");
        return ExitCode::from(2);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no threads can be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async move {
        match tango.command {
            None => serve::run(loaded, Role::BOTH).await,
            Some(Command::Server) => serve::run(loaded, Role::SERVER).await,
            Some(Command::Worker) => serve::worker(loaded).await,
            Some(Command::Migrate { status }) => migrate::run(&loaded.config, status).await,
            Some(Command::Config(ConfigCommand::Check)) => config_check::run(&loaded),
            Some(Command::Doctor(args)) => doctor::run(&loaded, args).await,
            Some(Command::Healthcheck) => healthcheck::run(&loaded.config).await,
            Some(Command::User(command)) => user::run(&loaded.config, command).await,
            Some(Command::Backup(args)) => transfer::backup(&loaded.config, args).await,
            Some(Command::Export(args)) => transfer::export(&loaded.config, args).await,
            Some(Command::Restore(args) | Command::Import(args)) => transfer::restore(&loaded.config, args).await,
            Some(Command::Cluster(command)) => cluster::run(&loaded.config, command).await,
            Some(Command::Demo(args)) => demo::run(loaded, args).await,
            Some(Command::Openapi | Command::Size(_) | Command::Bench(_)) => Ok(()),
        }
    });
    // Abandoned work must not hold the end up, nor be ended piece by piece: the database's driver panics (into a command's answer)
    // when one of its tasks outlives another. All of it ends with the process.
    std::mem::forget(runtime);
    finish(outcome)
}

/// `tango openapi | head` is not a failure: when the reader of our output has left, there is nothing left to say.
/// `println!` panics then; every other panic is reported as always.
fn end_quietly_without_a_reader() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload().downcast_ref::<String>();
        if text.is_some_and(|text| text.starts_with("failed printing to stdout") && text.contains("Broken pipe")) {
            std::process::exit(0);
        }
        report(panic);
    }));
}

fn finish(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            telemetry::tell_failure(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the document is the command's output")]
fn print_openapi() -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(&crate::http::router::openapi())?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Tango::command().debug_assert();
    }
}
