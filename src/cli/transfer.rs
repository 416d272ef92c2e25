//! `tango backup` and `export`, `tango restore` and `import`: one folder format, for copies that are kept and for moving.
#![expect(clippy::print_stdout, reason = "what was done is the command's output")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;

use crate::app::control::{self, Request};
use crate::app::stores::{Stores, backup_folder, backup_options, existing_seal};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::http::pages::figures::grouped;
use crate::progress::Bars;
use crate::transfer::{self, RestoreOptions, Restored, Summary};

const BACKUP_HELP: &str = "\
The folder has the layout of MongoDB's own dump tool (<database>/<collection>.bson), the objects that documents refer to \
beside it, and a list of checksums (sha256sum -c SHA256SUMS checks them without tango). Documents are as of one moment, while \
users go on; on a single node that runs, the running process makes the backup. One that was interrupted goes on when the \
command is run again.

Examples:
  tango backup                              into DATA_DIR/backups/MM-DD-YYYY (in a cluster /datadir/MM-DD-YYYY)
  tango backup /mnt/backups/before-upgrade  into a folder of your choice";

const EXPORT_HELP: &str = "\
An export is a backup in a folder that you name: either can be imported or restored, on a single node and in a cluster. \
What is written after the export began is not in it: to move an installation, stop what posts to it first.

Example, from a single node into a cluster:
  tango export /mnt/move                    where the single node is
  tango import /mnt/move                    where MONGODB_URL and S3_ENDPOINT name the cluster";

const RESTORE_HELP: &str = "\
The whole backup is checked (checksums, every reference) before anything changes. A store that is not empty is refused \
without --drop. Stop tango first, in a cluster on every node. When the command is interrupted, run it again: it goes on where it \
stopped, and until it is done no tango starts on that store. Afterwards everybody signs in again.

Examples:
  tango restore /datadir/05-14-2026         into an empty store
  tango restore --drop /datadir/05-14-2026  replace what is there
  tango restore --check /mnt/backups/old    look whether a backup is whole, and change nothing";

/// Make a copy of everything.
#[derive(Debug, Args)]
#[command(after_help = BACKUP_HELP)]
pub struct BackupArgs {
    /// New or empty folder (default: one for the day)
    folder: Option<PathBuf>,
    #[command(flatten)]
    options: CopyOptions,
}

#[derive(Debug, Args)]
#[command(after_help = EXPORT_HELP)]
pub struct ExportArgs {
    /// New or empty folder
    folder: PathBuf,
    #[command(flatten)]
    options: CopyOptions,
}

#[derive(Debug, Args)]
struct CopyOptions {
    /// Make a copy of what is there even when the store itself lacks something that it refers to
    #[arg(long)]
    skip_missing: bool,
}

#[derive(Debug, Args)]
#[command(after_help = RESTORE_HELP)]
pub struct RestoreArgs {
    /// Folder that `tango backup` or `tango export` made
    folder: PathBuf,
    /// Replace everything that the store holds
    #[arg(long)]
    drop: bool,
    /// Check the backup and change nothing
    #[arg(long, conflicts_with = "drop")]
    check: bool,
    /// File with the TOKEN_SECRET of the installation that made the backup, when it is another than this one's
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Make new API keys, when that secret is lost
    #[arg(long, conflicts_with = "secret_file")]
    new_api_keys: bool,
}

pub async fn backup(config: &Config, args: BackupArgs) -> anyhow::Result<()> {
    let folder = args.folder.unwrap_or_else(|| backup_folder(config, SystemClock.now()));
    let summary = copy(config, &folder, args.options.skip_missing).await?;
    print_summary("backed up", &summary);
    println!("  restore it with    tango restore {}", summary.folder.display());
    Ok(())
}

pub async fn export(config: &Config, args: ExportArgs) -> anyhow::Result<()> {
    let summary = copy(config, &args.folder, args.options.skip_missing).await?;
    print_summary("exported", &summary);
    println!("  import it with     tango import {}", summary.folder.display());
    Ok(())
}

/// By the running process of a single node, else on the stores themselves.
async fn copy(config: &Config, folder: &Path, skip_missing: bool) -> anyhow::Result<Summary> {
    let folder = std::path::absolute(folder).with_context(|| format!("{} is no path", folder.display()))?;
    let bars = Arc::new(Bars::new()?);
    let outcome = copy_with(config, folder, skip_missing, bars.clone()).await;
    bars.clear();
    outcome
}

async fn copy_with(config: &Config, folder: PathBuf, skip_missing: bool, bars: Arc<Bars>) -> anyhow::Result<Summary> {
    if config.mongodb_url.is_none() {
        use crate::domain::job::Reporter as _;
        let request = Request::Backup { folder: folder.clone(), skip_missing };
        let answer = control::ask_and_hear(&config.data_dir, &request, |progress| bars.report(progress)).await?;
        if let Some(answer) = answer {
            return serde_json::from_value(answer).context("the running process answered something else");
        }
        require_data_folder(config)?;
    }
    let stores = Stores::open(config, Arc::new(SystemClock)).await?;
    let options = backup_options(config, skip_missing)?;
    Ok(transfer::backup(&stores.ctx, &folder, &options, bars).await?)
}

fn require_data_folder(config: &Config) -> anyhow::Result<()> {
    if config.data_dir.is_dir() {
        return Ok(());
    }
    bail!("there is no data folder {}: name the folder with --data-dir", config.data_dir.display())
}

pub async fn restore(config: &Config, args: RestoreArgs) -> anyhow::Result<()> {
    let secret = match &args.secret_file {
        Some(file) => {
            Some(std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?)
        }
        None => None,
    };
    let on_this_machine = config.mongodb_url.is_none() && config.s3_endpoint.is_none();
    let options = RestoreOptions {
        drop: args.drop,
        secret,
        new_api_keys: args.new_api_keys,
        data_dir: on_this_machine.then(|| config.data_dir.clone()),
    };
    let bars = Arc::new(Bars::new()?);
    if args.check {
        let checked = transfer::check(&args.folder, existing_seal(config)?.as_ref(), &options, bars.clone()).await;
        bars.clear();
        let backup = checked?;
        println!("the backup in {} is whole", backup.folder.display());
        print_facts(backup.manifest.created_at, backup.manifest.documents.values().sum(), backup.manifest.objects);
        print_missing(&backup.manifest.missing);
        return Ok(());
    }
    if let Some(status) = control::ask(&config.data_dir, &Request::Status).await? {
        bail!(
            "tango is running on {} (process {}): stop it first{}, then run this command again",
            config.data_dir.display(),
            status["pid"],
            if config.mongodb_url.is_some() { ", and on every other node" } else { "" }
        );
    }
    let stores = Stores::open(config, Arc::new(SystemClock)).await?;
    // A data folder that could be opened is used by nobody else.
    if config.mongodb_url.is_some() {
        let running = stores.running_nodes().await?;
        if !running.is_empty() {
            bail!(
                "these run on the stores: {}. Stop every server and worker first, then run this command again",
                running.join(", ")
            );
        }
    }
    let restored = transfer::restore(&stores.ctx, &stores.seal, &args.folder, &options, bars.clone()).await;
    bars.clear();
    print_restored(&restored?);
    if args.new_api_keys {
        println!("  API keys           are new ones: `tango user api-key` prints the first account's");
    }
    forget_initial_password(config);
    Ok(())
}

/// A password that was generated for the store that is gone.
fn forget_initial_password(config: &Config) {
    let file = config.data_dir.join("initial-password");
    if let Err(error) = std::fs::remove_file(&file)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        eprintln!("warning: {} could not be removed ({error}); it is of no use any more", file.display());
    }
}

fn print_summary(done: &str, summary: &Summary) {
    println!("{done} into {}", summary.folder.display());
    print_facts(summary.created_at, summary.documents, summary.objects);
    println!(
        "  size               {:.1} MB of documents, {:.1} MB of objects",
        summary.document_bytes as f64 / 1e6,
        summary.object_bytes as f64 / 1e6
    );
    print_missing(&summary.missing);
}

fn print_facts(created_at: crate::domain::Timestamp, documents: u64, objects: u64) {
    println!("  as of              {}", created_at.format("%Y-%m-%d %H:%M:%S UTC"));
    println!("  holds              {} documents and {} objects", grouped(documents), grouped(objects));
}

fn print_missing(missing: &[String]) {
    for problem in missing {
        println!("  NOT IN IT          {problem}");
    }
}

fn print_restored(restored: &Restored) {
    println!("restored{}", if restored.went_on { ", going on where an earlier restore had stopped" } else { "" });
    print_facts(restored.created_at, restored.documents, restored.objects);
    println!(
        "  objects            {} stored, {} were there, {} of the replaced store deleted",
        grouped(restored.objects_stored),
        grouped(restored.objects.saturating_sub(restored.objects_stored)),
        grouped(restored.objects_deleted)
    );
    print_missing(&restored.missing);
    println!("  sessions           have ended: everybody signs in again, with the password of that time");
}
