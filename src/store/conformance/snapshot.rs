//! The store as of one moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use serde_json::json;

use super::{batch, key, put, store_agents};
use crate::store::{Collection, Document, Key, Op, SharedStore, Snapshot, StoreError};

fn put_blob(key: Key, bytes: &'static [u8]) -> Op {
    Op::PutBlob { key, bytes: Bytes::from_static(bytes) }
}

/// Every document, in pages of this size.
async fn all(snapshot: &mut dyn Snapshot, collection: Collection, limit: usize) -> Vec<Document> {
    let mut all: Vec<Document> = Vec::new();
    loop {
        let after = all.last().map(|document| document.key.clone());
        let page = snapshot.documents(collection, after.as_ref(), limit).await.unwrap();
        if page.is_empty() {
            return all;
        }
        assert!(page.len() <= limit);
        all.extend(page);
    }
}

async fn all_blobs(snapshot: &mut dyn Snapshot, limit: usize) -> Vec<(Key, Bytes)> {
    let mut all: Vec<(Key, Bytes)> = Vec::new();
    loop {
        let after = all.last().map(|(key, _)| key.clone());
        let page = snapshot.blobs(after.as_ref(), limit).await.unwrap();
        if page.is_empty() {
            return all;
        }
        assert!(page.len() <= limit);
        all.extend(page);
    }
}

pub(crate) async fn sees_nothing_of_later_writes(store: &SharedStore) {
    store_agents(store, &[json!({ "n": 0 }), json!({ "n": 1 })]).await;
    store.commit(batch([put_blob(key("kept"), b"old"), put_blob(key("gone"), b"old")])).await.unwrap();
    let before = store.get_many(Collection::Agents, &[key("a0"), key("a1")]).await.unwrap();
    let mut snapshot = store.snapshot().await.unwrap();
    let ops = [
        put(Collection::Agents, key("a0"), &json!({ "n": 7 })),
        Op::Delete { collection: Collection::Agents, key: key("a1"), revision: None },
        put(Collection::Agents, key("a2"), &json!({})),
        put(Collection::Customers, key("new"), &json!({})),
        put_blob(key("kept"), b"new"),
        Op::DeleteBlob { key: key("gone") },
    ];
    store.commit(batch(ops)).await.unwrap();
    let seen: Vec<Option<Document>> = all(&mut *snapshot, Collection::Agents, 1).await.into_iter().map(Some).collect();
    assert_eq!(seen, before, "bodies and revisions of the moment");
    // Also of what is looked at for the first time.
    assert!(all(&mut *snapshot, Collection::Customers, 10).await.is_empty());
    let blobs = all_blobs(&mut *snapshot, 10).await;
    assert_eq!(blobs, [(key("gone"), Bytes::from("old")), (key("kept"), Bytes::from("old"))]);

    let mut now = store.snapshot().await.unwrap();
    assert_eq!(all(&mut *now, Collection::Agents, 10).await.len(), 2);
    assert_eq!(all(&mut *now, Collection::Customers, 10).await.len(), 1);
    assert_eq!(all_blobs(&mut *now, 10).await, [(key("kept"), Bytes::from("new"))]);
    let refused = now.documents(Collection::Blobs, None, 1).await;
    assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
}

/// Each batch writes an agent, a customer and a blob: a snapshot has all three or none.
pub(crate) async fn is_whole_while_writers_go_on(store: &SharedStore) {
    let over = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let (store, over) = (store.clone(), over.clone());
            tokio::spawn(async move {
                let mut n = 0;
                while !over.load(Ordering::SeqCst) {
                    let key = key(&format!("{writer}-{n:06}"));
                    let ops = [
                        put(Collection::Agents, key.clone(), &json!({ "n": n })),
                        put_blob(key.clone(), b"x"),
                        put(Collection::Customers, key, &json!({ "n": n })),
                    ];
                    store.commit(batch(ops)).await.unwrap();
                    n += 1;
                }
                n
            })
        })
        .collect();
    let mut last = 0;
    for _ in 0..10 {
        // At least a few more batches each time.
        loop {
            let mut snapshot = store.snapshot().await.unwrap();
            let keys = |documents: Vec<Document>| documents.into_iter().map(|one| one.key).collect::<Vec<Key>>();
            let agents = keys(all(&mut *snapshot, Collection::Agents, 50).await);
            let customers = keys(all(&mut *snapshot, Collection::Customers, 70).await);
            let blobs: Vec<Key> = all_blobs(&mut *snapshot, 30).await.into_iter().map(|(key, _)| key).collect();
            assert_eq!(agents, customers);
            assert_eq!(agents, blobs);
            assert!(agents.len() >= last);
            if agents.len() > last + 5 {
                last = agents.len();
                break;
            }
        }
    }
    over.store(true, Ordering::SeqCst);
    let mut written = 0;
    for writer in writers {
        written += writer.await.unwrap();
    }
    let mut snapshot = store.snapshot().await.unwrap();
    assert_eq!(all(&mut *snapshot, Collection::Agents, 1_000).await.len(), written, "acknowledged before it began");
}

pub(crate) async fn pages_come_in_the_order_of_keys(store: &SharedStore) {
    let texts = ["", "\0", "a", "a\0b", "A", "Z", "ab", "'; --", "%", "$x.y", "é", "\u{e000}", "\u{10ffff}", "日本"];
    let mut expected: Vec<Key> =
        texts.iter().flat_map(|scope| texts.iter().map(move |id| Key::new(*scope, *id))).collect();
    let body = |id: &str| json!({ "id": id }).to_string();
    // Not the order in which they are written.
    for keys in expected.chunks(20).rev() {
        let ops = keys.iter().flat_map(|key| {
            [put(Collection::Jobs, key.clone(), &json!({ "id": key.id })), put_blob(key.clone(), b"blob")]
        });
        store.commit(batch(ops)).await.unwrap();
    }
    expected.sort();
    let mut snapshot = store.snapshot().await.unwrap();
    for limit in [1, 3, expected.len() - 1, expected.len(), expected.len() + 1] {
        let documents = all(&mut *snapshot, Collection::Jobs, limit).await;
        assert!(documents.iter().all(|one| one.body == body(&one.key.id)));
        assert_eq!(documents.into_iter().map(|one| one.key).collect::<Vec<_>>(), expected, "pages of {limit}");
        let blobs = all_blobs(&mut *snapshot, limit).await;
        assert_eq!(blobs.into_iter().map(|one| one.0).collect::<Vec<_>>(), expected, "pages of {limit}");
    }
    // A key that is not there is a place all the same.
    let page = snapshot.documents(Collection::Jobs, Some(&Key::new("a", "aa")), 1).await.unwrap();
    assert_eq!(page[0].key, Key::new("a", "ab"));
    assert!(snapshot.documents(Collection::Jobs, None, 0).await.unwrap().is_empty());
    assert!(snapshot.blobs(None, 0).await.unwrap().is_empty());
}
