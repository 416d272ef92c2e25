//! The conformance suite over SQLite, and what only this backend promises.

use serde_json::json;

use super::{FILE_NAME, OpenError, Options, SqliteStore};
use crate::store::conformance::{Fixture, agents, batch, conformance_suite, indexes_ready, key, matching, put};
use crate::store::{
    Collection, Condition, FeedEvent, IndexSpec, IndexState, Path, Query, SharedStore, Sort, Store, StoreError,
};

async fn open() -> Option<Fixture> {
    let folder = tempfile::tempdir().unwrap();
    Some(Fixture::new(SqliteStore::open(folder.path()).unwrap(), folder))
}

conformance_suite!(super::open);

#[test]
fn a_second_store_on_the_folder_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let first = SqliteStore::open(folder.path()).unwrap();
    let error = SqliteStore::open(folder.path()).err().unwrap();
    assert!(matches!(&error, OpenError::Locked { folder: named } if named == folder.path()));
    assert!(error.to_string().contains(&folder.path().display().to_string()));
    assert!(super::is_in_use(folder.path()));
    drop(first);
    assert!(!super::is_in_use(folder.path()));
    SqliteStore::open(folder.path()).unwrap();
}

#[tokio::test]
async fn documents_revisions_and_indexes_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let spec = |name: &str, elements| IndexSpec {
        name: name.to_owned(),
        collection: Collection::Agents,
        scope: Some("acc".to_owned()),
        path: Path::key("g"),
        elements,
    };
    let before = {
        let store: SharedStore = std::sync::Arc::new(SqliteStore::open(folder.path()).unwrap());
        let ops = (0..5_000).map(|n| put(Collection::Agents, key(&n.to_string()), &json!({ "g": [n % 10] })));
        store.commit(batch(ops)).await.unwrap();
        store.create_index(spec("plain", false)).await.unwrap();
        store.create_index(spec("elements", true)).await.unwrap();
        // Closed at once: what is not built by now is built after the restart.
        store.get(Collection::Agents, &key("7")).await.unwrap().unwrap()
    };
    let store: SharedStore = std::sync::Arc::new(SqliteStore::open(folder.path()).unwrap());
    assert_eq!(store.get(Collection::Agents, &key("7")).await.unwrap().unwrap(), before);
    indexes_ready(&store, Collection::Agents).await;
    let listed = store.indexes(Collection::Agents).await.unwrap();
    assert_eq!(
        listed.iter().map(|index| index.spec.clone()).collect::<Vec<_>>(),
        [spec("plain", false), spec("elements", true)]
    );
    let contains = Condition::Contains { path: Path::key("g"), element: json!(3) };
    assert_eq!(matching(&store, contains).await.len(), 500);
    store.commit(batch([put(Collection::Agents, key("7"), &json!({}))])).await.unwrap();
    assert!(store.get(Collection::Agents, &key("7")).await.unwrap().unwrap().revision > before.revision);
}

#[tokio::test]
async fn a_slow_follower_gets_a_gap_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open_with(folder.path(), &Options { feed_capacity: 4, ..Options::default() }).unwrap();
    let mut feed = store.changes(&[Collection::Agents]).await.unwrap();
    let write = async |id: &str| store.commit(batch([put(Collection::Agents, key(id), &json!({}))])).await.unwrap();
    for id in ["1", "2", "3", "4", "5", "6"] {
        write(id).await;
    }
    let mut seen = Vec::new();
    while !matches!(seen.last(), Some(FeedEvent::Gap)) {
        seen.push(feed.next().await.unwrap());
    }
    assert_eq!(seen.len(), 4, "three changes, then the gap");
    write("7").await;
    assert!(matches!(feed.next().await.unwrap(), FeedEvent::Changed(change) if change.key.id == "7"));
    drop(store);
    assert_eq!(feed.next().await, None, "the feed ends with the store");
}

#[tokio::test]
async fn a_full_disk_is_named_and_reading_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open_with(folder.path(), &Options { max_pages: Some(300), ..Options::default() }).unwrap();
    let mut stored = 0;
    let error = loop {
        let body = json!({ "fill": "x".repeat(20_000) });
        match store.commit(batch([put(Collection::Agents, key(&stored.to_string()), &body)])).await {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Full(_)), "{error:?}");
    assert_eq!(store.count(&agents()).await.unwrap(), stored);
    // Once there is room again, writing goes on.
    let delete = crate::store::Op::Delete { collection: Collection::Agents, key: key("0"), revision: None };
    store.commit(batch([delete])).await.unwrap();
    store.commit(batch([put(Collection::Agents, key("small"), &json!({}))])).await.unwrap();
}

#[tokio::test]
async fn a_broken_body_is_corrupt() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).unwrap();
    let outside = rusqlite::Connection::open(folder.path().join(FILE_NAME)).unwrap();
    outside.execute("INSERT INTO agents (scope, id, revision, body) VALUES ('acc', 'bad', 1, '{broken')", []).unwrap();
    let error = store.find(&agents().filter(Condition::equal(Path::key("v"), 1))).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
}

#[tokio::test]
async fn queries_go_through_indexes() {
    let folder = tempfile::tempdir().unwrap();
    let store: SharedStore = std::sync::Arc::new(SqliteStore::open(folder.path()).unwrap());
    let spec = |name: &str, path: Path| IndexSpec {
        name: name.to_owned(),
        collection: Collection::Agents,
        scope: Some("acc".to_owned()),
        path,
        elements: false,
    };
    store.create_index(spec("state", Path::key("loginStatus"))).await.unwrap();
    store.create_index(spec("english", Path::new(["skills", "English"]))).await.unwrap();
    indexes_ready(&store, Collection::Agents).await;
    assert!(store.indexes(Collection::Agents).await.unwrap().iter().all(|index| index.state == IndexState::Ready));
    let uses = async || {
        store.indexes(Collection::Agents).await.unwrap().iter().map(|index| index.uses.unwrap()).collect::<Vec<_>>()
    };
    let compare = |path: Path, comparison| Condition::Compare { path, comparison, value: json!(3) };
    use crate::store::Comparison::{Equal, Greater};
    store.find(&agents().filter(compare(Path::key("loginStatus"), Equal))).await.unwrap();
    assert_eq!(uses().await, [1, 0]);
    store.find(&agents().filter(compare(Path::new(["skills", "English"]), Greater))).await.unwrap();
    assert_eq!(uses().await, [1, 1]);
    store.find(&agents().sort_by(Path::key("loginStatus"), true)).await.unwrap();
    assert_eq!(uses().await, [2, 1], "an order by an indexed value reads the index");
    let both =
        agents().filter(compare(Path::new(["skills", "English"]), Equal)).sort_by(Path::key("loginStatus"), true);
    store.find(&both).await.unwrap();
    assert_eq!(uses().await, [2, 2], "a condition finds fewer documents than an order");
}

/// The plans of the questions that are asked all day.
#[test]
fn built_in_indexes_answer_what_is_asked_all_day() {
    let folder = tempfile::tempdir().unwrap();
    drop(SqliteStore::open(folder.path()).unwrap());
    let connection = rusqlite::Connection::open(folder.path().join(FILE_NAME)).unwrap();
    let catalog = super::indexes::Catalog::default();
    let equal = |field: &str, value: &str| Condition::equal(Path::key(field), value);
    let by_id = Path::key("id");
    let newest = |collection| Query { sort: Sort { path: None, descending: true }, ..Query::new(collection, "acc") };
    let queries = [
        (Query::everywhere(Collection::Jobs).filter(equal("state", "queued")).sort_by(by_id, false), "jobs_to_claim"),
        (Query::new(Collection::Jobs, "acc").filter(equal("state", "dead")), "jobs_by_state"),
        (Query::new(Collection::Jobs, "acc").sort_by(Path::key("created_at"), true), "jobs_by_time"),
        (Query::new(Collection::ScoreLog, "acc").sort_by(Path::key("created_at"), true), "score_log_by_time"),
        (Query::new(Collection::Models, "acc").filter(equal("predictor_id", "prd_1")), "models_by_predictor"),
        (Query::everywhere(Collection::Models).filter(Condition::equal(Path::key("active"), true)), "models_active"),
        (Query::new(Collection::Predictors, "acc").filter(equal("name", "fcr")), "predictors_by_name"),
        (Query::new(Collection::Agents, "acc"), "sqlite_autoindex_agents_1"),
        (newest(Collection::Models), "sqlite_autoindex_models_1"),
        (newest(Collection::Jobs), "sqlite_autoindex_jobs_1"),
        (Query::everywhere(Collection::Agents), "sqlite_autoindex_agents_1"),
    ];
    for (query, index) in queries {
        let sql = super::paging::statements(&query, &catalog).unwrap().remove(0);
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", sql.text)).unwrap();
        let mut rows = statement.raw_query();
        let mut plan = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            plan.push(row.get::<_, String>(3).unwrap());
        }
        let sorted_later = plan.iter().any(|step| step.contains("TEMP B-TREE FOR ORDER BY"));
        assert!(plan[0].contains(index) && !sorted_later, "{query:?} should use {index}: {plan:?}");
    }
}
