//! Orders and pages.

use serde_json::{Value, json};

use super::{agents, batch, ids, key, keys, put, store_agents};
use crate::store::{Collection, Condition, Key, Op, Path, Query, SharedStore, StoreError};

pub(crate) async fn pages_cover_everything_once(store: &SharedStore) {
    store_agents(store, &(0..57).map(|n| json!({ "n": n })).collect::<Vec<_>>()).await;
    let mut expected: Vec<String> = (0..57).map(|n| format!("a{n}")).collect();
    expected.sort();
    for limit in [1, 2, 10, 56, 57, 58, 500] {
        assert_eq!(ids(store, agents().limit(limit)).await, expected, "pages of {limit}");
    }
    let mut descending = agents().limit(10);
    descending.sort.descending = true;
    expected.reverse();
    assert_eq!(ids(store, descending).await, expected);
}

pub(crate) async fn pages_by_value_both_ways(store: &SharedStore) {
    let values = [
        json!(null),
        json!("b"),
        json!(2),
        json!(-1.5),
        json!("a"),
        json!(2.0),
        json!(1e300),
        json!("a"),
        json!(i64::MAX),
        json!("ä"),
    ];
    let mut bodies: Vec<Value> = values.iter().map(|value| json!({ "v": value })).collect();
    bodies.push(json!({}));
    store_agents(store, &bodies).await;
    // Missing (a0, a10), numbers, texts; ties by id.
    let ascending = ["a0", "a10", "a3", "a2", "a5", "a8", "a6", "a4", "a7", "a1", "a9"];
    for limit in [1, 2, 3, 4, 11, 100] {
        let by_value = |descending| agents().sort_by(Path::key("v"), descending).limit(limit);
        assert_eq!(ids(store, by_value(false)).await, ascending, "pages of {limit}");
        let mut descending = ids(store, by_value(true)).await;
        descending.reverse();
        assert_eq!(descending, ascending, "descending pages of {limit}");
        let exists = by_value(true).filter(Condition::Exists { path: Path::key("v") });
        assert_eq!(ids(store, exists).await.len(), 9);
    }
}

pub(crate) async fn pages_across_scopes(store: &SharedStore) {
    let mut expected = Vec::new();
    for scope in ["a", "b", "c"] {
        for id in ["x", "y", "z"] {
            let key = Key::new(scope, id);
            store.commit(batch([put(Collection::Jobs, key.clone(), &json!({ "v": 1 }))])).await.unwrap();
            expected.push(key);
        }
    }
    for limit in [1, 2, 4, 9] {
        assert_eq!(keys(store, Query::everywhere(Collection::Jobs).limit(limit)).await, expected);
        let by_value = Query::everywhere(Collection::Jobs).sort_by(Path::key("v"), false).limit(limit);
        assert_eq!(keys(store, by_value).await, expected);
        let mut descending =
            keys(store, Query::everywhere(Collection::Jobs).sort_by(Path::key("v"), true).limit(limit)).await;
        descending.reverse();
        assert_eq!(descending, expected);
    }
}

pub(crate) async fn pages_are_stable_under_writes(store: &SharedStore) {
    store_agents(store, &(0..20).map(|n| json!({ "n": n })).collect::<Vec<_>>()).await;
    let first = store.find(&agents().sort_by(Path::key("n"), false).limit(10)).await.unwrap();
    // The last document of the page goes, others come before and after it.
    let delete = Op::Delete { collection: Collection::Agents, key: key("a9"), revision: None };
    let early = put(Collection::Agents, key("early"), &json!({ "n": 3 }));
    let late = put(Collection::Agents, key("late"), &json!({ "n": 12 }));
    store.commit(batch([delete, early, late])).await.unwrap();
    let rest = ids(store, agents().sort_by(Path::key("n"), false).limit(10).after(first.next)).await;
    assert_eq!(rest, ["a10", "a11", "a12", "late", "a13", "a14", "a15", "a16", "a17", "a18", "a19"]);
}

pub(crate) async fn limit_zero_and_exact_pages(store: &SharedStore) {
    store_agents(store, &[json!({}), json!({})]).await;
    let none = store.find(&agents().limit(0)).await.unwrap();
    assert!(none.documents.is_empty() && none.next.is_none());
    let exact = store.find(&agents().limit(2)).await.unwrap();
    assert_eq!(exact.documents.len(), 2);
    assert_eq!(exact.next, None, "nothing follows");
}

pub(crate) async fn foreign_cursors_are_refused(store: &SharedStore) {
    store_agents(store, &[json!({ "n": 1 }), json!({ "n": 2 })]).await;
    let by_id = store.find(&agents().limit(1)).await.unwrap().next;
    for cursor in ["", "nonsense", "e30", by_id.as_deref().unwrap()] {
        let query = agents().sort_by(Path::key("n"), false).after(Some(cursor.to_owned()));
        let outcome = store.find(&query).await;
        assert!(matches!(outcome, Err(StoreError::Invalid(_))), "{cursor:?}: {outcome:?}");
    }
}
