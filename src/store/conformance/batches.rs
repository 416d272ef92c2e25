//! Atomic batches and their preconditions.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{batch, key, put};
use crate::store::{Collection, Conflict, Op, SharedStore, StoreError};

const AGENTS: Collection = Collection::Agents;

fn insert(id: &str) -> Op {
    Op::Insert { collection: AGENTS, key: key(id), body: r#"{"by":"insert"}"#.to_owned() }
}

fn replace(id: &str, revision: u64) -> Op {
    Op::Replace { collection: AGENTS, key: key(id), body: r#"{"by":"replace"}"#.to_owned(), revision }
}

fn delete(id: &str, revision: Option<u64>) -> Op {
    Op::Delete { collection: AGENTS, key: key(id), revision }
}

fn guard(id: &str, field: &str, equals: Value) -> Op {
    Op::Guard { collection: AGENTS, key: key(id), field: field.to_owned(), equals, shared: false }
}

async fn revision(store: &SharedStore, id: &str) -> u64 {
    store.get(AGENTS, &key(id)).await.unwrap().unwrap().revision
}

async fn conflict_at(store: &SharedStore, ops: impl IntoIterator<Item = Op>) -> Option<usize> {
    match store.commit(batch(ops)).await {
        Ok(()) => None,
        Err(StoreError::Conflict(Conflict { op })) => Some(op),
        Err(other) => panic!("{other:?}"),
    }
}

pub(crate) async fn insert_conflicts_with_existing(store: &SharedStore) {
    assert_eq!(conflict_at(store, [insert("x")]).await, None);
    assert_eq!(conflict_at(store, [insert("y"), insert("x")]).await, Some(1));
    assert_eq!(store.get(AGENTS, &key("y")).await.unwrap(), None);
}

pub(crate) async fn replace_needs_the_revision(store: &SharedStore) {
    assert_eq!(conflict_at(store, [replace("x", 1)]).await, Some(0), "absent");
    store.commit(batch([insert("x")])).await.unwrap();
    let first = revision(store, "x").await;
    assert_eq!(conflict_at(store, [replace("x", first + 1)]).await, Some(0));
    assert_eq!(conflict_at(store, [replace("x", first)]).await, None);
    assert_eq!(conflict_at(store, [replace("x", first)]).await, Some(0), "the revision has changed");
    assert_eq!(store.get(AGENTS, &key("x")).await.unwrap().unwrap().body, r#"{"by":"replace"}"#);
}

pub(crate) async fn delete_with_and_without_revision(store: &SharedStore) {
    assert_eq!(conflict_at(store, [delete("x", None)]).await, None, "absent is fine");
    assert_eq!(conflict_at(store, [delete("x", Some(1))]).await, Some(0));
    store.commit(batch([insert("x"), insert("y")])).await.unwrap();
    let known = revision(store, "x").await;
    assert_eq!(conflict_at(store, [delete("y", None), delete("x", Some(known + 100))]).await, Some(1));
    assert_eq!(conflict_at(store, [delete("x", Some(known)), delete("y", None)]).await, None);
    assert_eq!(store.get_many(AGENTS, &[key("x"), key("y")]).await.unwrap(), [None, None]);
}

pub(crate) async fn guard_compares_a_field(store: &SharedStore) {
    let body = json!({ "fence": 3, "worker": "w1", "none": null, "deep": { "fence": 9 } });
    store.commit(batch([put(AGENTS, key("job"), &body)])).await.unwrap();
    let before = revision(store, "job").await;
    assert_eq!(conflict_at(store, [guard("job", "fence", json!(3)), insert("effect")]).await, None);
    assert_eq!(revision(store, "job").await, before, "a guard writes nothing");
    assert_eq!(conflict_at(store, [guard("job", "worker", json!("w1"))]).await, None);
    for (field, value) in [("fence", json!(4)), ("fence", json!("3")), ("worker", json!("w2")), ("absent", json!(null))]
    {
        assert_eq!(conflict_at(store, [insert(&format!("no {field}")), guard("job", field, value)]).await, Some(1));
    }
    assert_eq!(conflict_at(store, [guard("nobody", "fence", json!(3))]).await, Some(0));
}

pub(crate) async fn a_shared_guard_is_held_by_several(store: &SharedStore) {
    let shared = |equals: Value| Op::Guard {
        collection: AGENTS,
        key: key("job"),
        field: "fence".to_owned(),
        equals,
        shared: true,
    };
    store.commit(batch([put(AGENTS, key("job"), &json!({ "fence": 3 }))])).await.unwrap();
    let held = (0..20).map(|n| conflict_at(store, [insert(&format!("effect {n}")), shared(json!(3))]));
    assert_eq!(futures::future::join_all(held).await, [None; 20]);
    assert_eq!(conflict_at(store, [insert("no"), shared(json!(4))]).await, Some(1));
    assert_eq!(store.get(AGENTS, &key("no")).await.unwrap(), None);
    store.commit(batch([delete("job", None)])).await.unwrap();
    assert_eq!(conflict_at(store, [shared(json!(3))]).await, Some(0));
}

pub(crate) async fn a_conflict_undoes_the_whole_batch(store: &SharedStore) {
    store.commit(batch([insert("x")])).await.unwrap();
    let before = store.get(AGENTS, &key("x")).await.unwrap();
    let blob = Op::PutBlob { key: key("blob"), bytes: "b".into() };
    let ops =
        [put(AGENTS, key("x"), &json!({ "by": "put" })), delete("x", None), insert("z"), blob, replace("nobody", 1)];
    assert_eq!(conflict_at(store, ops).await, Some(4));
    assert_eq!(store.get(AGENTS, &key("x")).await.unwrap(), before);
    assert_eq!(store.get(AGENTS, &key("z")).await.unwrap(), None);
    assert_eq!(store.get_blob(&key("blob")).await.unwrap(), None);
}

pub(crate) async fn a_batch_sees_its_own_writes(store: &SharedStore) {
    assert_eq!(conflict_at(store, [insert("x"), insert("x")]).await, Some(1));
    let fenced = put(AGENTS, key("job"), &json!({ "fence": 1 }));
    assert_eq!(
        conflict_at(store, [fenced, guard("job", "fence", json!(1)), insert("x"), delete("x", None), insert("x")])
            .await,
        None
    );
}

pub(crate) async fn concurrent_replaces_let_one_win(store: &SharedStore) {
    store.commit(batch([insert("x")])).await.unwrap();
    let known = revision(store, "x").await;
    let mut racers = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let store = Arc::clone(store);
        racers.spawn(async move { conflict_at(&store, [replace("x", known)]).await });
    }
    let outcomes = racers.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_none()).count(), 1);
}

pub(crate) async fn many_writers_lose_nothing(store: &SharedStore) {
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let store = Arc::clone(store);
        writers.spawn(async move {
            for round in 0..25 {
                // Every fifth batch conflicts, between others that must not be touched by it.
                let id = format!("{writer}-{round}");
                let fails = round % 5 == 4;
                let ops = [insert(&id)].into_iter().chain(fails.then(|| replace("nobody", 1)));
                assert_eq!(conflict_at(&store, ops).await, fails.then_some(1));
            }
        });
    }
    writers.join_all().await;
    assert_eq!(store.count(&super::agents()).await.unwrap(), 8 * 20);
}

pub(crate) async fn an_empty_batch_is_fine(store: &SharedStore) {
    store.commit(batch([])).await.unwrap();
}
