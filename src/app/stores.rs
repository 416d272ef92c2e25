//! Both stores without a server, for commands that work while nothing runs, and where backups go.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;

use super::{SECRET_FILE, installation, nodes, open_seal, open_store};
use crate::auth::Seal;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::context::Context;
use crate::domain::Timestamp;
use crate::objects;
use crate::objects::embedded::EmbeddedServer;
use crate::store::StoreError;
use crate::transfer::BackupOptions;

/// The folder of the dump when there is no database with a name of its own.
const DATABASE: &str = "tango";
/// Where backups of a cluster go.
const CLUSTER_BACKUPS: &str = "/datadir";

/// Document store, object store and secret of an installation.
pub struct Stores {
    pub ctx: Context,
    pub seal: Seal,
    _embedded: Option<EmbeddedServer>,
}

impl Stores {
    /// Opens them; the embedded object store listens on a free loopback port meanwhile.
    pub async fn open(config: &Config, clock: SharedClock) -> anyhow::Result<Self> {
        // The only cryptography in the program; when a test installed it before, nothing changes.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let store = open_store(config).await?;
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let alone = Config { s3_listen: Some(loopback), ..config.clone() };
        let installation = installation::id(&store, clock.now()).await?;
        let (objects, embedded) = objects::open(&alone, loopback, None, installation).await?;
        let seal = open_seal(config)?;
        let ctx = Context { store, objects, config: Arc::new(config.clone()), clock, backlog: Arc::default() };
        Ok(Self { ctx, seal, _embedded: embedded })
    }

    /// Names and roles of the processes that use the stores at this moment.
    pub async fn running_nodes(&self) -> Result<Vec<String>, StoreError> {
        nodes::alive(&self.ctx.store).await
    }
}

/// The installation's secret, when there is one already.
pub fn existing_seal(config: &Config) -> anyhow::Result<Option<Seal>> {
    let exists = config.token_secret.is_some() || config.data_dir.join(SECRET_FILE).exists();
    exists.then(|| open_seal(config)).transpose()
}

/// How a backup of this installation is made.
pub fn backup_options(config: &Config, skip_missing: bool) -> anyhow::Result<BackupOptions> {
    let secret = match &config.token_secret {
        // Whoever set it keeps it.
        Some(_) => None,
        None => {
            let path = config.data_dir.join(SECRET_FILE);
            Some(std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?)
        }
    };
    Ok(BackupOptions { database: database(config), secret, skip_missing })
}

/// The database that MONGODB_URL names.
fn database(config: &Config) -> String {
    let url = config.mongodb_url.as_ref().map_or("", |url| url.0.as_str());
    let behind_hosts = url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
    let name = behind_hosts.split('?').next().unwrap_or_default();
    if name.is_empty() { DATABASE.to_owned() } else { name.to_owned() }
}

/// Where backups go that nobody named a folder for.
pub fn backups_folder(config: &Config) -> PathBuf {
    if config.mongodb_url.is_some() { PathBuf::from(CLUSTER_BACKUPS) } else { config.data_dir.join("backups") }
}

/// The folder of this day's backup: `MM-DD-YYYY`, by UTC.
pub fn backup_folder(config: &Config, now: Timestamp) -> PathBuf {
    backups_folder(config).join(now.format("%m-%d-%Y").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn a_dump_is_named_for_its_database() {
        let named = |url: &str| database(&Config { mongodb_url: Some(Secret(url.to_owned())), ..Config::default() });
        assert_eq!(named("mongodb://u:p@a:1,b:2/routing?replicaSet=rs0"), "routing");
        assert_eq!(named("mongodb://a:1/?replicaSet=rs0"), "tango");
        assert_eq!(named("mongodb://a:1"), "tango");
        assert_eq!(database(&Config::default()), "tango");
    }

    #[test]
    fn a_day_has_a_folder() {
        let now = Timestamp::from_timestamp(1_767_225_600, 0).unwrap();
        let cluster = Config { mongodb_url: Some(Secret("mongodb://a".to_owned())), ..Config::default() };
        assert_eq!(backup_folder(&cluster, now), PathBuf::from("/datadir/01-01-2026"));
        assert_eq!(backup_folder(&Config::default(), now), PathBuf::from("./tango-data/backups/01-01-2026"));
    }
}
