//! `tango doctor`: looks at everything that usually goes wrong.
#![expect(clippy::print_stdout, reason = "the findings are the command's output")]

mod bundle;
mod certificate;
mod cluster;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::bail;
use clap::Args;

use crate::app::control::{self, Request};
use crate::app::stores::backups_folder;
use crate::app::{self, installation, open_seal, open_store};
use crate::auth::Auth;
use crate::clock::SystemClock;
use crate::config::{Config, Loaded};
use crate::domain::account::Account;
use crate::domain::dataset::{Dataset, DatasetVersion};
use crate::domain::segment::Segment;
use crate::objects::{self, Feature, ObjectError, Trouble};
use crate::store::{Collection, Key, MigrationStatus, Query, SharedStore, StoreError, StoreExt as _};
use crate::transfer::layout::newest;
use crate::transfer::refuse_unfinished;

/// Less free space than this is worth a warning.
const LITTLE_SPACE_BYTES: u64 = 2 << 30;
/// Fewer files than this a process may open are worth a warning.
const FEW_FILES: u64 = 4_096;

#[derive(Default)]
struct Findings {
    failures: usize,
    warnings: usize,
    lines: Vec<String>,
    /// They are not told one by one.
    silent: bool,
}

impl Findings {
    fn fine(&mut self, text: impl std::fmt::Display) {
        self.tell(format!("ok       {text}"));
    }

    /// Something to know that needs no action.
    fn note(&mut self, text: impl std::fmt::Display) {
        self.tell(format!("note     {text}"));
    }

    fn warn(&mut self, text: impl std::fmt::Display) {
        self.warnings += 1;
        self.tell(format!("warning  {text}"));
    }

    fn fail(&mut self, text: impl std::fmt::Display) {
        self.failures += 1;
        self.tell(format!("FAILED   {text}"));
    }

    fn tell(&mut self, line: String) {
        if !self.silent {
            println!("{line}");
        }
        self.lines.push(line);
    }
}

/// What else is wanted.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Write findings, settings (without secrets) and facts of this machine into a file, for whoever helps; "-" writes them, and nothing else,
    /// to standard output
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
}

pub async fn run(loaded: &Loaded, args: DoctorArgs) -> anyhow::Result<()> {
    let config = &loaded.config;
    let to_output = args.bundle.as_deref() == Some(Path::new("-"));
    let mut findings = Findings { silent: to_output, ..Findings::default() };
    match loaded.warnings.len() {
        0 => findings.fine("the settings are understood"),
        count => findings.warn(format!("{count} objection(s) to the settings, see above")),
    }
    let cluster = match app::check(config).await {
        Ok(cluster) => {
            findings.fine(match cluster {
                Some(_) => "certificates and document store can be used as they are set",
                None => "certificates can be used as they are set",
            });
            cluster
        }
        Err(error) => {
            findings.fail(format!("{error:#}"));
            None
        }
    };
    certificate::check(config, &mut findings);
    check_objects(config, &mut findings).await;
    check_folder(&config.data_dir, &mut findings);
    check_open_files(&mut findings);
    match control::ask(&config.data_dir, &Request::Status).await {
        Ok(Some(status)) => {
            let text = |name: &str| status[name].as_str().unwrap_or("?").to_owned();
            let place =
                status["url"].as_str().map_or_else(|| "works on jobs".to_owned(), |url| format!("runs at {url}"));
            findings.fine(format!("tango {} {place} and is {}", text("version"), text("phase")));
            if status["object_store"] != "ok" {
                findings.warn(format!("it waits for its object store: {}", text("object_store")));
            }
            // An embedded store belongs to that process alone.
            if config.mongodb_url.is_some() {
                check_store(config, cluster, &mut findings).await;
            }
        }
        Ok(None) => {
            findings.fine("nothing runs on the data folder, so it is looked into");
            check_ports(config, &mut findings);
            check_store(config, cluster, &mut findings).await;
        }
        Err(error) => findings.fail(format!("the running process: {error:#}")),
    }
    check_http(config, &mut findings);
    tell_of_backups(config, &mut findings);
    if to_output {
        print!("{}", bundle::text(loaded, &findings.lines)?);
        return Ok(());
    }
    println!();
    if let Some(file) = &args.bundle {
        bundle::write(file, loaded, &findings.lines)?;
        println!("written to {}: look into it before you send it", file.display());
    }
    match (findings.failures, findings.warnings) {
        (0, 0) => println!("everything is fine"),
        (0, warnings) => println!("{warnings} warning(s)"),
        (failures, _) => bail!("{failures} check(s) failed"),
    }
    Ok(())
}

/// The bucket as a start would find it. Changes nothing.
async fn check_objects(config: &Config, findings: &mut Findings) {
    let examination = match objects::examine(config).await {
        Ok(None) => return findings.fine("files are kept by the embedded object store"),
        Ok(Some(examination)) => examination,
        Err(error) => return findings.fail(format!("{error:#}")),
    };
    match examination.found {
        Ok(state) if state.is_there => {
            findings.fine(format!("the object store answers, and the bucket {} can be listed", config.s3_bucket));
            for Feature { name, missing } in state.features {
                match missing {
                    None => findings.fine(format!("the object store has {name}")),
                    Some(missing) => findings.note(format!("the object store lacks {name}: {missing}")),
                }
            }
        }
        Ok(_) => findings.note(format!(
            "the object store answers; it has no bucket {} yet, which the next start makes",
            config.s3_bucket
        )),
        Err(trouble @ Trouble::Away(_)) => {
            findings.fail(format!("{trouble} (tango starts without it, but can neither take nor read files)"));
        }
        Err(trouble @ Trouble::Wrong(_)) => findings.fail(trouble),
    }
    match examination.public {
        Some(Ok(endpoint)) => findings.fine(format!("clients are sent to {endpoint}, which answers here, too")),
        Some(Err(trouble)) => findings.warn(format!("clients are sent to an address that fails from here: {trouble}")),
        None => {}
    }
    match (examination.browsers, &config.s3_endpoint) {
        (Some((origin, Ok(()))), Some(endpoint)) => {
            findings.fine(format!("browsers with pages of {origin} may send files to {endpoint}"));
        }
        (Some((origin, Err(why))), Some(endpoint)) => findings.warn(format!(
            "browsers with pages of {origin} may not send files to {endpoint} (CORS): {why}. They send them through tango, which is slower; \
             HOST_DOMAIN has to be the name in their address line"
        )),
        _ => {}
    }
    if let Some(skew) = examination.clock_skew {
        findings.warn(skew);
    }
    check_copies(config, findings);
}

/// Rows of datasets are kept nowhere else.
fn check_copies(config: &Config, findings: &mut Findings) {
    match config.object_copies {
        Some(1) => findings.warn(
            "UNSAFE: the object store keeps each object once: when that disk is lost, the rows of all datasets are lost. Let it keep three \
             copies (three nodes with the label minio=true, then start.sh)",
        ),
        Some(2) => findings.warn(
            "UNSAFE: the object store keeps each object twice: when either machine is away, nothing can be stored. Let it keep three copies \
             (three nodes with the label minio=true, then start.sh)",
        ),
        Some(copies) => findings.fine(format!("the object store keeps {copies} copies of each object")),
        None if config.mongodb_url.is_some() => {
            findings.note("how many copies the object store keeps is not known: say it in OBJECT_COPIES; fewer than three are unsafe");
        }
        None => {}
    }
}

fn check_folder(folder: &Path, findings: &mut Findings) {
    if !folder.exists() {
        return check_parent(folder, findings);
    }
    match folder.metadata() {
        Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => findings.warn(format!(
            "other users of this machine can look into {}: take that away with chmod -R go= {0}",
            folder.display()
        )),
        _ => findings.fine("only its owner can look into the data folder"),
    }
    let probe = folder.join(".doctor");
    match std::fs::write(&probe, b"x").and_then(|()| std::fs::remove_file(&probe)) {
        Ok(()) => findings.fine(format!("the data folder {} can be written", folder.display())),
        Err(error) => findings.fail(format!("the data folder {} cannot be written: {error}", folder.display())),
    }
    match rustix::fs::statvfs(folder) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let text = format!("{:.1} GB are free on its disk", free as f64 / 1e9);
            if free < LITTLE_SPACE_BYTES { findings.warn(text) } else { findings.fine(text) }
        }
        Err(error) => findings.warn(format!("its free space is not known: {error}")),
    }
}

/// Of a data folder that is not there yet: whether it can be made.
fn check_parent(folder: &Path, findings: &mut Findings) {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let parent = absolute.ancestors().find(|parent| parent.exists()).unwrap_or(Path::new("/"));
    let shown = folder.display();
    match rustix::fs::access(parent, rustix::fs::Access::WRITE_OK) {
        Ok(()) => findings.fine(format!("the data folder {shown} does not exist yet; the first start makes it")),
        Err(error) => findings.fail(format!(
            "the data folder {shown} does not exist and cannot be made in {}: {error}; choose another DATA_DIR",
            parent.display()
        )),
    }
}

fn check_open_files(findings: &mut Findings) {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    match limit {
        Some(files) if files < FEW_FILES => {
            findings.warn(format!(
                "this process may open {files} files only; raise the limit (ulimit -n) to {FEW_FILES} or more"
            ));
        }
        _ => findings.fine("enough files may be open"),
    }
}

fn check_ports(config: &Config, findings: &mut Findings) {
    let s3 = config
        .s3_endpoint
        .is_none()
        .then(|| ("S3_LISTEN", config.s3_listen.unwrap_or_else(|| (config.listen.ip(), 9_000).into())));
    for (name, address) in [("LISTEN", config.listen)].into_iter().chain(s3) {
        match TcpListener::bind(address) {
            Ok(_) => findings.fine(format!("{address} ({name}) is free")),
            Err(error) => findings.fail(format!("{address} ({name}) cannot be used: {error}; choose another")),
        }
    }
}

/// `cluster` is what was seen of a cluster's store; `None` when it cannot be used, or there is none.
async fn check_store(config: &Config, cluster: Option<MigrationStatus>, findings: &mut Findings) {
    // Opening makes a store where there is none, and brings an older one up to date.
    let is_current = |status: MigrationStatus| status.schema_version > 0 && status.pending.is_empty();
    let can_be_opened = match config.mongodb_url {
        Some(_) => cluster.is_some_and(is_current),
        // What cannot be read is opened all the same, to say why.
        None => app::migration_status(config).await.map_or(true, is_current),
    };
    if !can_be_opened {
        return;
    }
    let opened = async {
        let store = open_store(config).await?;
        refuse_unfinished(&store).await?;
        if store.count(&Query::new(Collection::Accounts, "")).await? == 0 {
            return Ok((0, None));
        }
        if let (Some(id), Some(objects)) = (installation::known(&store).await?, objects::client_of(config)?)
            && let Some(trouble) = objects.foreign_owner(&id).await
        {
            findings.fail(trouble.to_string());
        }
        let object = any_object(&store).await?;
        if config.mongodb_url.is_some() {
            cluster::check(config, &store, findings).await;
        }
        let (auth, _) = Auth::open(store, config, Arc::new(SystemClock), open_seal(config)?).await?;
        anyhow::Ok((auth.users().await?.len(), object))
    };
    match opened.await {
        Ok((users, object)) => {
            findings.fine(format!("the document store opens, its secrets too; {users} user(s)"));
            if let Some((dataset, segment)) = object {
                check_object(config, &dataset, &segment, findings).await;
            }
        }
        Err(error) => findings.fail(format!("{error:#}")),
    }
}

/// A segment of any dataset: its object has to be there.
async fn any_object(store: &SharedStore) -> Result<Option<(Dataset, Segment)>, StoreError> {
    for account in store.list_all::<Account>(Query::new(Collection::Accounts, "")).await? {
        let datasets = Query::new(Collection::Datasets, account.value.id.as_str());
        for dataset in store.list_all::<Dataset>(datasets).await? {
            let dataset = dataset.value;
            if dataset.deleted_at.is_some() || dataset.segments == 0 {
                continue;
            }
            let key = Key::new(dataset.id.as_str(), format!("{:012}", dataset.version));
            let Some(version) = store.load::<DatasetVersion>(&key).await? else { continue };
            let Some(segment) = version.value.segments.first() else { continue };
            let key = Key::new(dataset.id.as_str(), segment.as_str());
            if let Some(segment) = store.load::<Segment>(&key).await? {
                return Ok(Some((dataset, segment.value)));
            }
        }
    }
    Ok(None)
}

/// Tells the bucket of this installation from another one, such as an empty one whose name was misspelt.
async fn check_object(config: &Config, dataset: &Dataset, segment: &Segment, findings: &mut Findings) {
    let objects = match objects::client_of(config) {
        Ok(Some(objects)) => objects,
        // The embedded one was made with its documents; settings that cannot be used are told of already.
        Ok(None) | Err(_) => return,
    };
    let (bucket, key, name) = (&config.s3_bucket, &segment.object_key, &dataset.name);
    match objects.size(key).await {
        Ok(size) if size == segment.directory.size_bytes => {
            findings.fine(format!("the bucket {bucket} holds what the document store refers to (looked for {key})"));
        }
        Ok(size) => findings.fail(format!(
            "the bucket {bucket} has {size} bytes instead of {} at {key}, which the dataset {name} consists of: is it the right bucket (S3_BUCKET)?",
            segment.directory.size_bytes
        )),
        Err(ObjectError::NotFound(_)) => findings.fail(format!(
            "the bucket {bucket} lacks {key}, which the dataset {name} consists of: correct S3_BUCKET or S3_ENDPOINT, or restore a backup"
        )),
        Err(_) if objects.examine().await.is_ok_and(|state| !state.is_there) => findings.fail(format!(
            "there is no bucket {bucket}, and the dataset {name} is stored in one: correct S3_BUCKET or S3_ENDPOINT"
        )),
        // That the object store is away was told before.
        Err(_) => {}
    }
}

/// What a person who only dumps the database has to know.
fn tell_of_backups(config: &Config, findings: &mut Findings) {
    findings.note(
        "a dump of the database alone is no whole backup: the objects that it refers to belong to it; \
         `tango backup` copies both",
    );
    let folder = backups_folder(config);
    match newest(&folder) {
        Some((backup, created_at)) => findings.note(format!(
            "the last backup in {} is {}, of {}",
            folder.display(),
            backup.file_name().unwrap_or_default().display(),
            created_at.format("%Y-%m-%d %H:%M UTC")
        )),
        None if config.mongodb_url.is_some() => findings.note(format!(
            "there is no backup in {} as this process sees it; a cluster's are usually on its nodes, where `backup.sh` puts them",
            folder.display()
        )),
        None => findings.note(format!("there is no backup in {} yet", folder.display())),
    }
}

fn check_http(config: &Config, findings: &mut Findings) {
    if config.allow_http && !config.listen.ip().is_loopback() {
        findings.warn("plain HTTP on an address that others reach: passwords and data can be read on the way");
    }
}
