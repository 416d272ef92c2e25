//! From a single node into a replica set and back: one folder format for both.

use std::path::Path;
use std::sync::Arc;

use tango::app::stores::{Stores, backup_options};
use tango::auth::Seal;
use tango::clock::{Clock as _, SystemClock};
use tango::config::Config;
use tango::context::Context;
use tango::domain::job::Silent;
use tango::store::mongo::{MongoSettings, MongoStore};
use tango::transfer::{BackupOptions, RestoreOptions, TransferError, backup, restore};

use super::{config_of, contents, stopped_source};
use crate::crash_store::say;

/// A database of its own in the replica set that the test run started; `None` (with a line that says so) when there is none.
fn replica_set() -> Option<MongoSettings> {
    let Ok(url) = std::env::var("TANGO_TEST_MONGODB_URL") else {
        assert!(std::env::var_os("TANGO_TEST_REQUIRE_SERVICES").is_none(), "no MongoDB was started for this run");
        say("skipped: TANGO_TEST_MONGODB_URL names no replica set");
        return None;
    };
    let ca_file = std::env::var_os("TANGO_TEST_MONGODB_CA_FILE").map(Into::into);
    let (before, after) = url.split_once("/tango?").unwrap();
    let name = format!("tango_test_transfer_{}", std::process::id());
    Some(MongoSettings { url: format!("{before}/{name}?{after}"), ca_file, allow_plain: true })
}

/// What a node of the cluster works with; its objects are in a folder of their own.
async fn cluster(store: Arc<MongoStore>, folder: &Path) -> (Context, impl Sized) {
    let config = Config { data_dir: folder.join("cluster"), ..config_of(folder) };
    let (objects, server) = tango::objects::open(&config, config.listen, None).await.unwrap();
    (Context { store, objects, config: Arc::new(config), clock: Arc::new(SystemClock) }, server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_moves_into_a_cluster_and_back() {
    let source = stopped_source().await;
    let Some(settings) = replica_set() else { return };
    let expected = contents(&config_of(source.path())).await;
    let config = config_of(source.path());
    let (out, back) = (source.path().join("out"), source.path().join("back"));
    {
        let stores = Stores::open(&config, Arc::new(SystemClock)).await.unwrap();
        backup(&stores.ctx, &out, &backup_options(&config, false).unwrap(), Arc::new(Silent)).await.unwrap();
    }

    let store = Arc::new(MongoStore::open(&settings, SystemClock.now()).await.unwrap());
    let (ctx, _server) = cluster(store.clone(), source.path()).await;
    let seal = Seal::from_secret("the secret that every node of the cluster has");
    let options = RestoreOptions::default();
    let restored = restore(&ctx, &seal, &out, &options, Arc::new(Silent)).await.unwrap();
    assert_eq!(restored.objects_stored, restored.objects);
    let again = restore(&ctx, &seal, &out, &options, Arc::new(Silent)).await;
    assert!(matches!(again, Err(TransferError::StoreNotEmpty { .. })), "{again:?}");
    let dropping = RestoreOptions { drop: true, ..RestoreOptions::default() };
    let again = restore(&ctx, &seal, &out, &dropping, Arc::new(Silent)).await.unwrap();
    assert_eq!((again.objects_stored, again.documents), (0, restored.documents));

    let named = BackupOptions { database: "routing".to_owned(), secret: None, skip_missing: false };
    backup(&ctx, &back, &named, Arc::new(Silent)).await.unwrap();
    store.database().drop().await.unwrap();
    assert!(back.join("routing/agents.bson").is_file() && !back.join("secret.key").exists());
    let elsewhere = tempfile::tempdir().unwrap();
    let config = config_of(elsewhere.path());
    {
        let stores = Stores::open(&config, Arc::new(SystemClock)).await.unwrap();
        let foreign = restore(&stores.ctx, &stores.seal, &back, &options, Arc::new(Silent)).await;
        assert!(matches!(foreign, Err(TransferError::OtherSecret)), "{foreign:?}");
        let secret = Some("the secret that every node of the cluster has\n".to_owned());
        let named = RestoreOptions { secret, ..RestoreOptions::default() };
        restore(&stores.ctx, &stores.seal, &back, &named, Arc::new(Silent)).await.unwrap();
    }
    let moved = contents(&config).await;
    let mut compared = 0;
    for (key, body) in &expected {
        let changes = ["accounts", "users", "signing_keys", "jobs", "uploads", "meta"].contains(&key.0);
        assert!(changes || moved.get(key) == Some(body), "{key:?}");
        compared += usize::from(!changes);
    }
    assert!(compared > 100, "{compared}");
    let count =
        |all: &std::collections::BTreeMap<(&str, _), _>| all.keys().filter(|key| key.0 != "signing_keys").count();
    assert_eq!(count(&moved), count(&expected));
}
