//! Binary chunks.

use bytes::Bytes;

use super::{batch, key};
use crate::store::{Collection, Key, Op, SharedStore};

fn put(key: Key, bytes: &[u8]) -> Op {
    Op::PutBlob { key, bytes: Bytes::copy_from_slice(bytes) }
}

pub(crate) async fn blobs_are_put_read_listed_deleted(store: &SharedStore) {
    let all_bytes: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    let ops = [put(key("b"), b""), put(key("a"), &all_bytes), put(Key::new("other", "c"), b"c")];
    store.commit(batch(ops)).await.unwrap();
    assert_eq!(store.get_blob(&key("a")).await.unwrap().unwrap(), all_bytes);
    assert_eq!(store.get_blob(&key("b")).await.unwrap().unwrap(), Bytes::new());
    let several = store.get_blobs(&[key("b"), key("nothing"), Key::new("other", "c"), key("b")]).await.unwrap();
    assert_eq!(several, [Some(Bytes::new()), None, Some("c".into()), Some(Bytes::new())]);
    assert_eq!(store.get_blobs(&[]).await.unwrap(), []);
    assert_eq!(store.list_blobs("acc").await.unwrap(), ["a", "b"]);
    store.commit(batch([put(key("a"), b"new"), Op::DeleteBlob { key: key("b") }])).await.unwrap();
    assert_eq!(store.get_blob(&key("a")).await.unwrap().unwrap(), "new");
    assert_eq!(store.list_blobs("acc").await.unwrap(), ["a"]);
    store.commit(batch([Op::DeleteBlob { key: key("b") }])).await.unwrap();
    assert!(store.list_blobs("nothing").await.unwrap().is_empty());
}

pub(crate) async fn blobs_commit_with_their_batch(store: &SharedStore) {
    let absent = Op::Delete { collection: Collection::Models, key: key("m"), revision: Some(1) };
    assert!(store.commit(batch([put(key("a"), b"x"), absent])).await.unwrap_err().is_conflict());
    assert_eq!(store.get_blob(&key("a")).await.unwrap(), None);
}
