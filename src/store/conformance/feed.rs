//! The change feed.

use serde_json::json;

use super::{batch, key, put};
use crate::store::{Change, ChangeFeed, Collection, FeedEvent, Op, SharedStore};

async fn next(feed: &mut ChangeFeed) -> FeedEvent {
    let bound = std::time::Duration::from_secs(10);
    tokio::time::timeout(bound, feed.next()).await.expect("an event within 10 s").expect("an open feed")
}

fn changed(collection: Collection, id: &str) -> FeedEvent {
    FeedEvent::Changed(Change { collection, key: key(id) })
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
