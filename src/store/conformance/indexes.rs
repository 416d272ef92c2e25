//! Indexes that the product asks for.

use serde_json::{Value, json};

use super::{agents, batch, indexes_ready, key, matching, put, store_agents};
use crate::store::{Collection, Comparison, Condition, IndexSpec, Key, Op, Path, SharedStore, StoreError};

fn spec(name: &str, path: Path, elements: bool) -> IndexSpec {
    IndexSpec { name: name.to_owned(), collection: Collection::Agents, scope: Some("acc".to_owned()), path, elements }
}

pub(crate) async fn an_index_becomes_ready_and_is_listed(store: &SharedStore) {
    store_agents(store, &(0..100).map(|n| json!({ "n": n })).collect::<Vec<_>>()).await;
    store.create_index(spec("by_n", Path::key("n"), false)).await.unwrap();
    indexes_ready(store, Collection::Agents).await;
    let listed = store.indexes(Collection::Agents).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].spec, spec("by_n", Path::key("n"), false));
    assert!(listed[0].size_bytes.is_none_or(|size| size > 0));
    let uses = listed[0].uses;
    matching(store, Condition::equal(Path::key("n"), 7)).await;
    let now = store.indexes(Collection::Agents).await.unwrap()[0].uses;
    assert!(uses.is_none() || now > uses, "a query by the value uses it: {uses:?} {now:?}");
    assert!(store.indexes(Collection::Customers).await.unwrap().is_empty());
    store.drop_index(Collection::Agents, "by_n").await.unwrap();
    assert!(store.indexes(Collection::Agents).await.unwrap().is_empty());
}

pub(crate) async fn creating_again_changes_nothing(store: &SharedStore) {
    for _ in 0..2 {
        store.create_index(spec("same", Path::key("n"), false)).await.unwrap();
    }
    assert_eq!(store.indexes(Collection::Agents).await.unwrap().len(), 1);
    let other = store.create_index(spec("same", Path::key("m"), false)).await;
    assert!(matches!(other, Err(StoreError::Invalid(_))), "{other:?}");
}

pub(crate) async fn dropping_unknown_is_fine(store: &SharedStore) {
    store.drop_index(Collection::Agents, "unknown").await.unwrap();
}

pub(crate) async fn bad_names_are_refused(store: &SharedStore) {
    for name in ["", "a b", "x;DROP", "ü", &"x".repeat(200)] {
        let outcome = store.create_index(spec(name, Path::key("n"), false)).await;
        assert!(matches!(outcome, Err(StoreError::Invalid(_))), "{name:?}: {outcome:?}");
    }
}

pub(crate) async fn answers_do_not_depend_on_indexes(store: &SharedStore) {
    let values = [
        json!(1),
        json!(true),
        json!("1"),
        json!(1.0),
        json!(null),
        json!(["1", 1]),
        json!({ "1": 1 }),
        json!(0),
        json!(false),
        json!(""),
    ];
    store_agents(store, &values.iter().map(|value| json!({ "v": value })).collect::<Vec<_>>()).await;
    let conditions: Vec<Condition> = [json!(1), json!(true), json!("1"), json!(0), json!("")]
        .iter()
        .flat_map(|value| {
            use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
            let path = Path::key("v");
            let compare = [Equal, NotEqual, Less, LessOrEqual, Greater, GreaterOrEqual]
                .map(|comparison| Condition::Compare { path: path.clone(), comparison, value: value.clone() });
            compare.into_iter().chain([Condition::Contains { path: Path::key("v"), element: value.clone() }])
        })
        .collect();
    let mut before = Vec::new();
    for condition in &conditions {
        before.push(matching(store, condition.clone()).await);
    }
    store.create_index(spec("scalar", Path::key("v"), false)).await.unwrap();
    store.create_index(spec("elements", Path::key("v"), true)).await.unwrap();
    indexes_ready(store, Collection::Agents).await;
    for (condition, before) in conditions.iter().zip(before) {
        assert_eq!(matching(store, condition.clone()).await, before, "{condition:?}");
    }
}

pub(crate) async fn element_indexes_follow_writes(store: &SharedStore) {
    let contains = |element: Value| Condition::Contains { path: Path::new(["in", "groups"]), element };
    let body = |groups: Value| json!({ "in": { "groups": groups } });
    store_agents(store, &[body(json!(["a", "b"])), body(json!(["b", "b"])), body(json!("b"))]).await;
    store.create_index(spec("groups", Path::new(["in", "groups"]), true)).await.unwrap();
    // Written while the index may still be building.
    store.commit(batch([put(Collection::Agents, key("a3"), &body(json!(["c"])))])).await.unwrap();
    indexes_ready(store, Collection::Agents).await;
    assert_eq!(matching(store, contains(json!("b"))).await, ["a0", "a1"]);
    assert_eq!(matching(store, contains(json!("c"))).await, ["a3"]);
    let delete = Op::Delete { collection: Collection::Agents, key: key("a1"), revision: None };
    store.commit(batch([put(Collection::Agents, key("a0"), &body(json!(["a", "c"]))), delete])).await.unwrap();
    assert!(matching(store, contains(json!("b"))).await.is_empty());
    assert_eq!(matching(store, contains(json!("c"))).await, ["a0", "a3"]);
    assert_eq!(matching(store, contains(json!("a"))).await, ["a0"]);
    // Another scope is not in the index, and is searched without it.
    store.commit(batch([put(Collection::Agents, Key::new("other", "o"), &body(json!(["c"])))])).await.unwrap();
    let everywhere = crate::store::Query::everywhere(Collection::Agents).filter(contains(json!("c")));
    assert_eq!(store.count(&everywhere).await.unwrap(), 3);
    assert_eq!(store.count(&agents().filter(contains(json!("c")))).await.unwrap(), 2);
    let uses = store.indexes(Collection::Agents).await.unwrap()[0].uses;
    assert!(uses.is_none_or(|uses| uses > 0), "`Contains` uses it: {uses:?}");
}
