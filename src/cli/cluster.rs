//! `tango cluster …`: the replica set under a cluster, for whoever looks after it.
#![expect(clippy::print_stdout, reason = "the answer is the command's output")]

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::config::Config;
use crate::domain::Timestamp;
use crate::store::mongo::MongoSettings;
use crate::store::mongo::replica_set::{
    self, Dropped, Initiation, MemberStatus, NOT_REACHABLE, Overview, Reach, RecoveryPlan, Removal,
};

#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Ask every member how it is; fails unless one is PRIMARY and all others are healthy SECONDARY members (or arbiters)
    Status(Form),
    /// Print the configuration of the members
    Members(Form),
    /// Make the replica set of the members that MONGODB_URL names, and the user that it names; harmless when they are there
    Initiate(InitiateArgs),
    /// Take a member out of the replica set
    Remove {
        /// As `tango cluster members` shows it
        #[arg(value_name = "HOST:PORT")]
        host: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Put a member into the replica set: a new one, or one that was lost and is back
    Add {
        /// Under which the other members and tango reach it; its mongod runs already
        #[arg(value_name = "HOST:PORT")]
        host: String,
        /// How much it is preferred as PRIMARY; 0: never
        #[arg(long, default_value_t = 1.0)]
        priority: f64,
    },
    /// Go on with the members that are left when most are lost for good (with a data center): shows what it would do, asks, does it
    Recover {
        /// The lost members, all of them: they are fenced off, so that none can come back to life by itself. Without it you are
        /// asked for their names
        #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',')]
        fenced_off: Vec<String>,
    },
}

/// How the answer is printed.
#[derive(Debug, Clone, Copy, Args)]
pub struct Form {
    /// As JSON, for scripts
    #[arg(long)]
    json: bool,
}

/// How the set is to be.
#[derive(Debug, Args)]
pub struct InitiateArgs {
    /// The key file with which the members (`mongod --keyFile`) know each other
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// How long a PRIMARY may be silent before another member is elected, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 2_000, value_parser = clap::value_parser!(i32).range(500..=120_000))]
    election_timeout_ms: i32,
}

pub async fn run(config: &Config, command: ClusterCommand) -> anyhow::Result<()> {
    let Some(url) = &config.mongodb_url else {
        bail!(
            "MONGODB_URL is not set: a single node keeps its documents in its data folder and has no members to look after \
             (tango doctor checks it)"
        );
    };
    // The only cryptography in the program.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings =
        MongoSettings { url: url.0.clone(), ca_file: config.mongodb_ca_file.clone(), allow_plain: config.allow_http };
    match command {
        ClusterCommand::Status(form) => status(&settings, form).await,
        ClusterCommand::Members(form) => members(&settings, form).await,
        ClusterCommand::Initiate(args) => initiate(&settings, args).await,
        ClusterCommand::Remove { host, yes } => remove(&settings, &host, yes).await,
        ClusterCommand::Add { host, priority } => add(&settings, &host, priority).await,
        ClusterCommand::Recover { fenced_off } => recover(&settings, fenced_off).await,
    }
}

async fn status(settings: &MongoSettings, form: Form) -> anyhow::Result<()> {
    let overview = replica_set::look(settings).await?;
    let problems = overview.problems();
    if form.json {
        println!("{}", serde_json::to_string_pretty(&status_json(&overview, &problems))?);
    } else {
        print_status(&overview);
    }
    if !problems.is_empty() {
        bail!("the replica set {} is not healthy: {}", overview.configuration.set, problems.join("; "));
    }
    if !form.json {
        println!("healthy: one PRIMARY, {} other member(s) follow it", overview.members.len() - 1);
    }
    Ok(())
}

/// With the names that MongoDB's own status has, as far as it has the same.
fn status_json(overview: &Overview, problems: &[String]) -> Value {
    let members = overview.members.iter().map(|member| {
        json!({
            "name": member.host(),
            "stateStr": member.state,
            "health": u8::from(member.healthy),
            "lag_seconds": member.lag_seconds,
            "uptime": member.uptime_seconds,
            "votes": member.configured.votes,
            "priority": member.configured.priority,
            "note": member.note,
        })
    });
    let others = overview.strangers.iter().map(|one| json!({"name": one.host, "stateStr": one.state}));
    json!({
        "set": overview.configuration.set,
        "healthy": problems.is_empty(),
        "problems": problems,
        "members": members.collect::<Vec<_>>(),
        "not_members": others.collect::<Vec<_>>(),
    })
}

fn print_status(overview: &Overview) {
    let hosts =
        overview.members.iter().map(MemberStatus::host).chain(overview.strangers.iter().map(|one| one.host.as_str()));
    let width = hosts.map(str::len).max().unwrap_or(0);
    let widest = overview.members.iter().map(|member| member.state.len()).max().unwrap_or(0);
    for member in &overview.members {
        let lag = member.lag_seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds} s"));
        let line = format!(
            "{:width$} : {:widest$}  health {}  lag {lag:<5} up {:<9} votes {}  priority {}",
            member.host(),
            member.state,
            u8::from(member.healthy),
            member.uptime_seconds.map_or_else(|| "-".to_owned(), duration),
            member.configured.votes,
            member.configured.priority,
        );
        match &member.note {
            Some(note) => println!("{line}  ({note})"),
            None => println!("{line}"),
        }
    }
    for one in &overview.strangers {
        let about = match (&one.reach, one.state.as_str()) {
            (Reach::Gone(problem) | Reach::Silent(problem), _) => problem.as_str(),
            (Reach::Answers, _) => "it answers",
        };
        println!("{:width$} : {}  (in MONGODB_URL, but no member of the set; {about})", one.host, one.state);
    }
    if overview.configuration.term.is_none() {
        println!(
            "The configuration was forced by a recovery. Change it by tango cluster add and remove only, until every member that \
             was lost has been added again or its data destroyed."
        );
    }
}

async fn members(settings: &MongoSettings, form: Form) -> anyhow::Result<()> {
    let configuration = replica_set::look(settings).await?.configuration;
    if form.json {
        println!("{}", serde_json::to_string_pretty(&configuration)?);
        return Ok(());
    }
    let width = configuration.members.iter().map(|member| member.host.len()).max().unwrap_or(0);
    for member in &configuration.members {
        let mut line = format!(
            "{:>3}  {:width$}  votes {}  priority {}  hidden {}",
            member.id, member.host, member.votes, member.priority, member.hidden
        );
        if member.arbiter {
            line += "  arbiter";
        }
        if member.delay_seconds > 0 {
            line += &format!("  delayed by {} s", member.delay_seconds);
        }
        for (name, value) in &member.tags {
            line += &format!("  {name}={value}");
        }
        println!("{line}");
    }
    println!(
        "replica set {}, configuration {}: {} votes, {} make a majority",
        configuration.set,
        configuration.version,
        configuration.votes(),
        configuration.majority()
    );
    Ok(())
}

async fn initiate(settings: &MongoSettings, args: InitiateArgs) -> anyhow::Result<()> {
    let key = std::fs::read_to_string(&args.key_file)
        .with_context(|| format!("the key file {} cannot be read", args.key_file.display()))?;
    if key.split_whitespace().map(str::len).sum::<usize>() < 6 {
        bail!("the key file {} holds no key (openssl rand -base64 512 makes one)", args.key_file.display());
    }
    let asked = Initiation { key, election_timeout_ms: args.election_timeout_ms };
    let done = replica_set::initiate(settings, &asked).await?;
    let was = if done.is_new { "was made of" } else { "was there; members asked:" };
    println!("the replica set {} {was} {}; {} is PRIMARY", done.set, done.members.join(", "), done.primary);
    if done.timeout_changed {
        println!("electionTimeoutMillis is {} now", args.election_timeout_ms);
    }
    let user = if done.user_is_new { "was made" } else { "was there, and has the password of MONGODB_URL" };
    println!("the user {} {user}", done.user);
    Ok(())
}

async fn remove(settings: &MongoSettings, host: &str, yes: bool) -> anyhow::Result<()> {
    let removal = Removal::of(&replica_set::look(settings).await?, host)?;
    println!("{} ({}) is to be removed; {} vote(s) will be left", removal.host, removal.state, removal.votes);
    for warning in removal.warnings() {
        println!("warning: {warning}");
    }
    if !yes && ask("Remove it? Type yes:", "--yes")? != "yes" {
        bail!("nothing was changed");
    }
    let removed = replica_set::remove(settings, host).await?;
    println!(
        "{} is no member any more. End its mongod, and take it out of MONGODB_URL in every tango.env when there is time",
        removed.host
    );
    Ok(())
}

async fn add(settings: &MongoSettings, host: &str, priority: f64) -> anyhow::Result<()> {
    let added = replica_set::add(settings, host, priority).await?;
    let host = added.host;
    let note = added.note.map(|note| format!(" ({note})")).unwrap_or_default();
    if added.state == NOT_REACHABLE {
        bail!(
            "{host} is a member now, but went away{note}. If its own log speaks of a rollback, its data and the set's have gone \
             different ways: empty its data folder and start it again; it then copies everything"
        );
    }
    if !added.has_vote {
        bail!(
            "{host} is a member without a vote, and {} so far{note}. When tango cluster status shows it as SECONDARY, repeat this \
             command: it then gets its vote",
            added.state
        );
    }
    if added.follows {
        println!("{host} is a member, and follows as SECONDARY");
    } else {
        // The server gives it its vote by itself.
        println!(
            "{host} is a member, and {} so far{note}; tango cluster status shows when it is SECONDARY",
            added.state
        );
    }
    Ok(())
}

async fn recover(settings: &MongoSettings, mut fenced_off: Vec<String>) -> anyhow::Result<()> {
    let plan = RecoveryPlan::of(&replica_set::look(settings).await?)?;
    print_plan(&plan);
    if fenced_off.is_empty() {
        let names = plan.dropped_hosts().join(",");
        let typed = ask("Their names, when they are fenced off:", &format!("--fenced-off {names}"))?;
        fenced_off = typed.split([',', ' ']).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    }
    let done = replica_set::recover(settings, &plan, &fenced_off).await?;
    println!();
    println!("Done in {} ms: {} is PRIMARY of {}", done.took.as_millis(), done.primary, done.members.join(", "));
    println!();
    println!("What to do next:");
    println!("  1. tango cluster status; tango's servers here find the new PRIMARY by themselves.");
    println!(
        "  2. Keep the lost members fenced off. MongoDB cannot keep a site that comes back *by itself* from electing a"
    );
    println!("     PRIMARY of its own; what is written there is lost.");
    println!(
        "  3. When the site returns: empty the data folder of each of its members, start it with a way to the members here,"
    );
    println!("     and tango cluster add HOST:PORT, one after the other, each when the one before is SECONDARY.");
    if done.members.len() % 2 == 0 {
        println!("  4. Until then {} votes are no safer than {}.", done.members.len(), done.members.len() - 1);
    }
    Ok(())
}

fn print_plan(plan: &RecoveryPlan) {
    println!(
        "The replica set {} has lost {} of its {} votes, so it has no PRIMARY: nothing can be written.",
        plan.set, plan.lost_votes, plan.votes
    );
    println!("A recovery would make a set of those that are left.");
    println!();
    println!("Members that stay:");
    for member in &plan.stay {
        let mut line = format!("  {} : {}", member.host, member.state);
        if member.host == plan.leader {
            line += &format!("  has the newest data{}; becomes PRIMARY", at(", of ", plan.newest_write));
        } else if member.complete {
            line += "  has the same data";
        } else if let Some(lag) = member.lag_seconds {
            line += &format!("  {lag} s behind; catches up");
        }
        if member.held_back {
            line += "; has priority 0 until then";
        }
        if member.promoted {
            line += "; gets a vote and priority 1, because no other could be PRIMARY";
        }
        println!("{line}");
    }
    println!("Members that are dropped:");
    for member in &plan.dropped {
        println!(
            "  {}  {}{}{}",
            member.host,
            member.problem,
            at("; last heard of ", member.last_heard),
            at(", last known write ", member.last_write)
        );
    }
    println!();
    print_loss(plan);
    println!();
    println!(
        "Do this only when the lost members are *fenced off*: powered down, or cut off from every tango and from the members here,"
    );
    println!(
        "in a way that does not end by itself. A lost site that still runs may still take writes, and they would be lost."
    );
}

fn print_loss(plan: &RecoveryPlan) {
    println!("What may be lost:");
    if plan.acknowledged_may_be_lost {
        println!(
            "  {} members acknowledge a write, and so many are lost: writes that they acknowledged among themselves, to a client of",
            plan.write_majority
        );
        println!(
            "  tango too, and had not yet sent here are gone. The members here have everything{}.",
            at(" up to ", plan.newest_write)
        );
        let newest = plan.dropped.iter().filter_map(|member: &Dropped| member.last_write).max();
        if let Some((lost, kept)) = newest.zip(plan.newest_write)
            && lost > kept
        {
            println!(
                "  A lost member was known to be {:.1} s ahead: some writes *are* lost.",
                (lost - kept).as_seconds_f64()
            );
        }
    } else {
        println!(
            "  Nothing that tango acknowledged: {} members acknowledge a write, and fewer of those are lost, so that a member here",
            plan.write_majority
        );
        println!(
            "  has each, and the new PRIMARY has them all. Writes that no client was told to be done may be gone."
        );
    }
}

fn at(before: &str, time: Option<Timestamp>) -> String {
    time.map(|time| format!("{before}{}", time.format("%Y-%m-%d %H:%M:%S%.3f UTC"))).unwrap_or_default()
}

/// A line from the person at the terminal; without one, an error that names the option that says the same.
fn ask(question: &str, option: &str) -> anyhow::Result<String> {
    if !std::io::stdin().is_terminal() {
        bail!("nothing was changed, because nobody can be asked: repeat the command with {option}");
    }
    print!("{question} ");
    std::io::stdout().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("the answer cannot be read")?;
    Ok(line.trim().to_owned())
}

/// Such as `3 d 4 h`: the two largest parts.
fn duration(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3_600 => format!("{} m {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}
