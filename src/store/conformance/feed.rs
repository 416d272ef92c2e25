//! The change feed.

use std::sync::Arc;

use serde_json::json;

use super::{batch, key, put};
use crate::store::{ChangeFeed, Collection, FeedEvent, Key, Op, SharedStore};

/// The next change, and the document when the feed has it.
async fn next_with_body(feed: &mut ChangeFeed) -> (Collection, Key, Option<Arc<str>>) {
    let bound = std::time::Duration::from_secs(10);
    match tokio::time::timeout(bound, feed.next()).await.expect("an event within 10 s").expect("an open feed") {
        FeedEvent::Changed(change) => (change.collection, change.key, change.body),
        FeedEvent::Gap => panic!("a gap"),
    }
}

async fn next(feed: &mut ChangeFeed) -> (Collection, Key) {
    let (collection, key, _) = next_with_body(feed).await;
    (collection, key)
}

fn changed(collection: Collection, id: &str) -> (Collection, Key) {
    (collection, key(id))
}

pub(crate) async fn changes_come_in_commit_order(store: &SharedStore) {
    store.commit(batch([put(Collection::Agents, key("before"), &json!({}))])).await.unwrap();
    let mut feed = store.changes(&[Collection::Agents, Collection::Blobs]).await.unwrap();
    for n in 0..50 {
        store.commit(batch([put(Collection::Agents, key(&n.to_string()), &json!({}))])).await.unwrap();
    }
    let delete = Op::Delete { collection: Collection::Agents, key: key("7"), revision: None };
    store.commit(batch([delete, Op::PutBlob { key: key("b"), bytes: "b".into() }])).await.unwrap();
    for n in 0..50 {
        assert_eq!(next(&mut feed).await, changed(Collection::Agents, &n.to_string()));
    }
    assert_eq!(next(&mut feed).await, changed(Collection::Agents, "7"));
    assert_eq!(next(&mut feed).await, changed(Collection::Blobs, "b"));
}

pub(crate) async fn only_followed_collections(store: &SharedStore) {
    let mut feed = store.changes(&[Collection::Models]).await.unwrap();
    let ops = [put(Collection::Agents, key("a"), &json!({})), put(Collection::Models, key("m"), &json!({}))];
    store.commit(batch(ops)).await.unwrap();
    assert_eq!(next(&mut feed).await, changed(Collection::Models, "m"));
}

pub(crate) async fn failed_batches_are_silent(store: &SharedStore) {
    let mut feed = store.changes(&[Collection::Agents]).await.unwrap();
    let conflicting = Op::Delete { collection: Collection::Agents, key: key("nobody"), revision: Some(1) };
    store.commit(batch([put(Collection::Agents, key("lost"), &json!({})), conflicting])).await.unwrap_err();
    store.commit(batch([put(Collection::Agents, key("kept"), &json!({}))])).await.unwrap();
    assert_eq!(next(&mut feed).await, changed(Collection::Agents, "kept"));
}

pub(crate) async fn absent_deletes_are_silent(store: &SharedStore) {
    let mut feed = store.changes(&[Collection::Agents]).await.unwrap();
    let delete = Op::Delete { collection: Collection::Agents, key: key("nobody"), revision: None };
    store.commit(batch([delete, put(Collection::Agents, key("kept"), &json!({}))])).await.unwrap();
    assert_eq!(next(&mut feed).await, changed(Collection::Agents, "kept"));
}

/// A backend may send the document with its change; then it is the one of that change, and none goes with a deletion.
pub(crate) async fn bodies_are_those_of_their_change(store: &SharedStore) {
    let mut feed = store.changes(&[Collection::Agents]).await.unwrap();
    let bodies = [json!({"n": 0}), json!({"n": 1}), json!({"long": "x".repeat(1 << 20)})];
    for body in &bodies {
        store.commit(batch([put(Collection::Agents, key("a"), body)])).await.unwrap();
    }
    let delete = Op::Delete { collection: Collection::Agents, key: key("a"), revision: None };
    store.commit(batch([delete])).await.unwrap();
    for body in &bodies {
        let (_, changed, sent) = next_with_body(&mut feed).await;
        assert_eq!(changed, key("a"));
        assert!(sent.is_none_or(|sent| serde_json::from_str::<serde_json::Value>(&sent).unwrap() == *body));
    }
    assert_eq!(next_with_body(&mut feed).await, (Collection::Agents, key("a"), None));
}
