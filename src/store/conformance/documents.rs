//! Single documents.

use serde_json::{Value, json};

use super::{batch, key, put};
use crate::store::{Collection, Key, Op, SharedStore, StoreError};

pub(crate) async fn absent_is_none(store: &SharedStore) {
    for collection in Collection::ALL.into_iter().filter(|each| *each != Collection::Blobs) {
        assert_eq!(store.get(collection, &key("nobody")).await.unwrap(), None);
    }
    assert_eq!(store.get_blob(&key("nothing")).await.unwrap(), None);
}

pub(crate) async fn written_is_read(store: &SharedStore) {
    let body = json!({ "id": "ann", "skills": { "English": 4 }, "groups": ["a", "b"], "note": "tschüß 👋 \u{0} \"'" });
    store.commit(batch([put(Collection::Agents, key("ann"), &body)])).await.unwrap();
    let found = store.get(Collection::Agents, &key("ann")).await.unwrap().unwrap();
    assert_eq!(found.key, key("ann"));
    assert_eq!(serde_json::from_str::<Value>(&found.body).unwrap(), body);
}

pub(crate) async fn get_many_keeps_the_order(store: &SharedStore) {
    super::store_agents(store, &[json!({ "n": 0 }), json!({ "n": 1 })]).await;
    let asked = [key("a1"), key("nobody"), key("a0"), key("a1")];
    let found = store.get_many(Collection::Agents, &asked).await.unwrap();
    let ids: Vec<_> = found.iter().map(|each| each.as_ref().map(|document| document.key.id.as_str())).collect();
    assert_eq!(ids, [Some("a1"), None, Some("a0"), Some("a1")]);
    assert!(store.get_many(Collection::Agents, &[]).await.unwrap().is_empty());
}

pub(crate) async fn scopes_are_apart(store: &SharedStore) {
    let (one, two) = (Key::new("one", "x"), Key::new("two", "x"));
    let ops = [
        put(Collection::Agents, one.clone(), &json!({ "n": 1 })),
        put(Collection::Agents, two.clone(), &json!({ "n": 2 })),
    ];
    store.commit(batch(ops)).await.unwrap();
    assert_eq!(store.get(Collection::Agents, &one).await.unwrap().unwrap().body, r#"{"n":1}"#);
    assert_eq!(store.get(Collection::Agents, &two).await.unwrap().unwrap().body, r#"{"n":2}"#);
    assert_eq!(super::ids(store, crate::store::Query::new(Collection::Agents, "one")).await, ["x"]);
}

pub(crate) async fn collections_are_apart(store: &SharedStore) {
    store.commit(batch([put(Collection::Agents, key("x"), &json!({}))])).await.unwrap();
    assert_eq!(store.get(Collection::Customers, &key("x")).await.unwrap(), None);
}

pub(crate) async fn any_text_is_a_key(store: &SharedStore) {
    let texts = ["", " ", "ä", "ß/..", "it's", "\"", "%", "_", "👋", "a\u{0}b", &"x".repeat(512)];
    let keys: Vec<Key> = texts.iter().map(|text| Key::new(*text, *text)).collect();
    let ops = keys.iter().map(|key| put(Collection::Customers, key.clone(), &json!({ "id": key.id })));
    store.commit(batch(ops)).await.unwrap();
    for key in &keys {
        let found = store.get(Collection::Customers, key).await.unwrap().unwrap();
        assert_eq!(found.key, *key);
        let listed = super::keys(store, crate::store::Query::new(Collection::Customers, key.scope.clone())).await;
        assert_eq!(listed, std::slice::from_ref(key));
    }
}

pub(crate) async fn numbers_come_back_as_they_were(store: &SharedStore) {
    let numbers = json!({
        "i64": [i64::MIN, -1, 0, 9_007_199_254_740_993_i64, i64::MAX],
        "u64": [u64::MAX, u64::MAX - 1],
        "f64": [0.1, -0.0, 1.0, 1e300, 5e-324, f64::MAX, 0.1 + 0.2, 123_456_789.123_456_79],
    });
    store.commit(batch([put(Collection::Agents, key("n"), &numbers)])).await.unwrap();
    let found = store.get(Collection::Agents, &key("n")).await.unwrap().unwrap();
    let read: Value = serde_json::from_str(&found.body).unwrap();
    assert_eq!(read, numbers);
    assert!(read["f64"][2].is_f64(), "1.0 stays a float");
}

pub(crate) async fn ping_answers(store: &SharedStore) {
    store.ping().await.unwrap();
}

pub(crate) async fn revisions_change_and_never_repeat(store: &SharedStore) {
    let mut seen = std::collections::HashSet::new();
    for round in 0..10 {
        store.commit(batch([put(Collection::Agents, key("r"), &json!({ "same": true }))])).await.unwrap();
        assert!(seen.insert(store.get(Collection::Agents, &key("r")).await.unwrap().unwrap().revision));
        if round % 3 == 0 {
            let delete = Op::Delete { collection: Collection::Agents, key: key("r"), revision: None };
            store.commit(batch([delete])).await.unwrap();
        }
    }
}

pub(crate) async fn bodies_must_be_objects(store: &SharedStore) {
    for body in ["", "[1]", "{\"a\":", "7"] {
        let op = Op::Put { collection: Collection::Agents, key: key("bad"), body: body.to_owned() };
        let good = put(Collection::Agents, key("good"), &json!({}));
        let outcome = store.commit(batch([good, op])).await;
        assert!(matches!(outcome, Err(StoreError::Invalid(_))), "{body:?}: {outcome:?}");
    }
    assert_eq!(store.get(Collection::Agents, &key("good")).await.unwrap(), None);
}
