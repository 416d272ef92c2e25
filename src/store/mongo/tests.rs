//! The conformance suite over a real replica set, and what only this backend promises.

use std::time::Duration;

use mongodb::bson::{Document, doc};
use serde_json::json;
use tokio::time::Instant;

use super::{MongoSettings, MongoStore};
use crate::store::conformance::{Fixture, conformance_suite, indexes_ready, matching, store_agents};
use crate::store::{Collection, Condition, IndexSpec, Key, MemberState, Path, SharedStore, Store as _};

/// The replica set that the test run started; `None` (with a line that says so) when there is none.
fn settings() -> Option<MongoSettings> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Ok(url) = std::env::var("TANGO_TEST_MONGODB_URL") else {
        assert!(std::env::var_os("TANGO_TEST_REQUIRE_SERVICES").is_none(), "no MongoDB was started for this run");
        println!("skipped: TANGO_TEST_MONGODB_URL names no replica set");
        return None;
    };
    let ca_file = std::env::var_os("TANGO_TEST_MONGODB_CA_FILE").map(Into::into);
    // A database of its own for each test.
    let mut random = [0; 8];
    getrandom::fill(&mut random).unwrap();
    let name = format!("tango_test_{}", hex::encode(random));
    let (before, after) = url.split_once("/tango?").expect("the URL of the test run names the database tango");
    Some(MongoSettings { url: format!("{before}/{name}?{after}"), ca_file, allow_plain: true })
}

struct Dropped(mongodb::Database);

impl Drop for Dropped {
    fn drop(&mut self) {
        let database = self.0.clone();
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async { database.drop().await.ok() })
        });
    }
}

#[expect(clippy::disallowed_methods, reason = "compared with the server's clock, which no test moves")]
fn now() -> crate::domain::Timestamp {
    chrono::Utc::now()
}

async fn open() -> Option<Fixture> {
    let store = MongoStore::open(&settings()?, now()).await.unwrap();
    let keep = Dropped(store.database().clone());
    Some(Fixture::new(store, keep))
}

conformance_suite!(super::open);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_paths_than_the_database_has_indexes_are_all_found_by_one() {
    let Some(fixture) = open().await else { return };
    let store = &fixture.store;
    let fields: serde_json::Map<String, serde_json::Value> =
        (0..60).map(|n| (format!("f{n}"), json!(format!("value {n}")))).collect();
    store_agents(store, &[json!({ "fields": fields }), json!({ "fields": { "f59": "another" } })]).await;
    for n in 0..60 {
        let spec = IndexSpec {
            name: format!("f{n}"),
            collection: Collection::Agents,
            scope: Some("acc".to_owned()),
            path: Path::new(["fields".to_owned(), format!("f{n}")]),
            elements: false,
        };
        store.create_index(spec).await.unwrap();
    }
    indexes_ready(store, Collection::Agents).await;
    let listed = store.indexes(Collection::Agents).await.unwrap();
    assert_eq!(listed.len(), 60);
    let alone = listed.iter().filter(|index| index.size_bytes.is_some()).count();
    assert_eq!(alone, 40, "the others share one");
    for n in [0, 39, 40, 59] {
        let path = Path::new(["fields".to_owned(), format!("f{n}")]);
        assert_eq!(matching(store, Condition::equal(path, format!("value {n}"))).await, ["a0"]);
    }
    for n in 0..60 {
        store.drop_index(Collection::Agents, &format!("f{n}")).await.unwrap();
    }
    assert!(store.indexes(Collection::Agents).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_whose_process_is_gone_stands_in_nobodys_way() {
    let Some(settings) = settings() else { return };
    let everything = MongoStore::open(&settings, now()).await.unwrap();
    let keep = Dropped(everything.database().clone());
    // A user who may do no more than read and write this database.
    let name = keep.0.name();
    let user = doc! { "createUser": name, "pwd": name, "roles": ["readWrite"] };
    keep.0.run_command(user).await.unwrap();
    let (_, place) = settings.url.split_once('@').unwrap();
    let url = format!("mongodb://{name}:{name}@{place}").replace("authSource=admin", &format!("authSource={name}"));
    let settings = MongoSettings { url, ..settings };
    let dead = MongoStore::open(&settings, now()).await.unwrap();
    let store: SharedStore = std::sync::Arc::new(MongoStore::open(&settings, now()).await.unwrap());
    store_agents(&store, &[json!({ "fields": {} })]).await;
    // As if killed between two commands: the session is not used any more.
    let mut session = dead.database().client().start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    let agents = dead.database().collection::<Document>(Collection::Agents.name());
    let changed = agents.update_many(doc! {}, doc! { "$set": { "held": true } }).session(&mut session).await.unwrap();
    assert_eq!(changed.matched_count, 1);

    let began = std::time::Instant::now();
    store_agents(&store, &[json!({ "fields": { "f": "after" } })]).await;
    let took = began.elapsed();
    assert_eq!(matching(&store, Condition::equal(Path::new(["fields", "f"]), "after")).await, ["a0"]);
    assert!(session.commit_transaction().await.is_err(), "it was ended");
    println!("written {took:?} after the other stopped");
    assert!(took < std::time::Duration::from_secs(5), "{took:?}");
    keep.0.run_command(doc! { "dropUser": name }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_answers_is_read_whatever_the_monitors_believe() {
    let Some(settings) = settings() else { return };
    let store = MongoStore::open(&settings, now()).await.unwrap();
    let _keep = Dropped(store.database().clone());
    let mut seen = store.health.members().all;
    for member in &mut seen {
        member.state = MemberState::Unreachable;
    }
    // As if they had heard of nobody for a minute, and had not found back since.
    store.health.believe(seen, Instant::now() - Duration::from_secs(60));
    for _ in 0..100 {
        let key = Key::new("acc", "a0");
        assert!(store.get(Collection::Agents, &key).await.unwrap().is_none());
    }
}
