//! Every kind of condition, by example; [`super::random`] covers the combinations.

use serde_json::{Value, json};

use super::{batch, key, matching, put, store_agents};
use crate::store::{Collection, Comparison, Condition, Path, SharedStore, StoreError};

fn compare(field: &str, comparison: Comparison, value: Value) -> Condition {
    Condition::Compare { path: Path::key(field), comparison, value }
}

fn equal(field: &str, value: Value) -> Condition {
    compare(field, Comparison::Equal, value)
}

pub(crate) async fn equal_and_not_equal(store: &SharedStore) {
    store_agents(
        store,
        &[
            json!({ "v": 4 }),
            json!({ "v": 4.0 }),
            json!({ "v": "4" }),
            json!({ "v": null }),
            json!({}),
            json!({ "v": [4] }),
        ],
    )
    .await;
    assert_eq!(matching(store, equal("v", json!(4))).await, ["a0", "a1"]);
    assert_eq!(matching(store, equal("v", json!(4.0))).await, ["a0", "a1"]);
    assert_eq!(matching(store, equal("v", json!("4"))).await, ["a2"]);
    assert!(matching(store, equal("v", json!(null))).await.is_empty());
    assert!(matching(store, equal("v", json!([4]))).await.is_empty());
    assert!(matching(store, equal("v", json!("[4]"))).await.is_empty(), "an array is no text");
    assert_eq!(matching(store, compare("v", Comparison::NotEqual, json!(4))).await, ["a2", "a3", "a4", "a5"]);
    assert_eq!(matching(store, compare("v", Comparison::NotEqual, json!(null))).await.len(), 6);
}

pub(crate) async fn ordered_comparisons(store: &SharedStore) {
    let bodies = [
        json!({ "v": -1 }),
        json!({ "v": 2 }),
        json!({ "v": 2.5 }),
        json!({ "v": "a" }),
        json!({ "v": "b" }),
        json!({ "v": true }),
        json!({}),
        json!({ "v": {} }),
    ];
    store_agents(store, &bodies).await;
    assert_eq!(matching(store, compare("v", Comparison::Less, json!(2))).await, ["a0"]);
    assert_eq!(matching(store, compare("v", Comparison::LessOrEqual, json!(2))).await, ["a0", "a1"]);
    assert_eq!(matching(store, compare("v", Comparison::Greater, json!(2))).await, ["a2"]);
    assert_eq!(matching(store, compare("v", Comparison::GreaterOrEqual, json!(2.0))).await, ["a1", "a2"]);
    assert_eq!(matching(store, compare("v", Comparison::Less, json!("b"))).await, ["a3"]);
    assert_eq!(matching(store, compare("v", Comparison::GreaterOrEqual, json!(""))).await, ["a3", "a4"]);
    assert!(matching(store, compare("v", Comparison::GreaterOrEqual, json!(null))).await.is_empty());
}

pub(crate) async fn booleans_are_not_numbers(store: &SharedStore) {
    store_agents(store, &[json!({ "v": true }), json!({ "v": false }), json!({ "v": 1 }), json!({ "v": 0 })]).await;
    assert_eq!(matching(store, equal("v", json!(true))).await, ["a0"]);
    assert_eq!(matching(store, equal("v", json!(1))).await, ["a2"]);
    assert_eq!(matching(store, equal("v", json!(0))).await, ["a3"]);
    assert_eq!(matching(store, compare("v", Comparison::Less, json!(true))).await, ["a1"]);
    assert_eq!(matching(store, compare("v", Comparison::Less, json!(1))).await, ["a3"]);
}

pub(crate) async fn contains_elements(store: &SharedStore) {
    let bodies = [
        json!({ "g": ["a", "b"] }),
        json!({ "g": ["1", true, null] }),
        json!({ "g": [1, 2.5] }),
        json!({ "g": "a" }),
        json!({}),
        json!({ "g": [["a"]] }),
        json!({ "g": { "x": "a" } }),
    ];
    store_agents(store, &bodies).await;
    let contains = |element: Value| Condition::Contains { path: Path::key("g"), element };
    assert_eq!(matching(store, contains(json!("a"))).await, ["a0"]);
    assert_eq!(matching(store, contains(json!("1"))).await, ["a1"]);
    assert_eq!(matching(store, contains(json!(1))).await, ["a2"]);
    assert_eq!(matching(store, contains(json!(1.0))).await, ["a2"]);
    assert_eq!(matching(store, contains(json!(2.5))).await, ["a2"]);
    assert_eq!(matching(store, contains(json!(true))).await, ["a1"]);
    assert!(matching(store, contains(json!(null))).await.is_empty());
    assert!(matching(store, contains(json!(["a"]))).await.is_empty());
}

pub(crate) async fn exists_means_not_null(store: &SharedStore) {
    store_agents(
        store,
        &[
            json!({ "v": 0 }),
            json!({ "v": "" }),
            json!({ "v": null }),
            json!({}),
            json!({ "v": [] }),
            json!({ "v": false }),
        ],
    )
    .await;
    assert_eq!(matching(store, Condition::Exists { path: Path::key("v") }).await, ["a0", "a1", "a4", "a5"]);
}

pub(crate) async fn has_text_ignores_ascii_case(store: &SharedStore) {
    store_agents(
        store,
        &[json!({ "v": "Anna Müller" }), json!({ "v": "%_" }), json!({ "v": 12 }), json!({ "v": ["anna"] }), json!({})],
    )
    .await;
    let has = |part: &str| Condition::HasText { path: Path::key("v"), part: part.to_owned() };
    assert_eq!(matching(store, has("aNNa")).await, ["a0"]);
    assert_eq!(matching(store, has("mülLER")).await, ["a0"]);
    assert!(matching(store, has("MÜLLER")).await.is_empty(), "only ASCII letters fold");
    assert_eq!(matching(store, has("%_")).await, ["a1"]);
    assert_eq!(matching(store, has("")).await, ["a0", "a1"]);
    assert!(matching(store, has("1")).await.is_empty());
}

pub(crate) async fn boolean_operators(store: &SharedStore) {
    store_agents(store, &[json!({ "a": 1, "b": 1 }), json!({ "a": 1 }), json!({ "b": 1 }), json!({})]).await;
    let (a, b) = (equal("a", json!(1)), equal("b", json!(1)));
    let not = |condition: Condition| Condition::Not(Box::new(condition));
    assert_eq!(matching(store, Condition::All(vec![a.clone(), b.clone()])).await, ["a0"]);
    assert_eq!(matching(store, Condition::Any(vec![a.clone(), b.clone()])).await, ["a0", "a1", "a2"]);
    assert_eq!(matching(store, not(a.clone())).await, ["a2", "a3"], "missing is false, so its negation is true");
    assert_eq!(matching(store, not(Condition::All(vec![a.clone(), b.clone()]))).await, ["a1", "a2", "a3"]);
    assert_eq!(matching(store, not(not(Condition::Any(vec![a, not(b)])))).await, ["a0", "a1", "a3"]);
    assert_eq!(matching(store, Condition::All(vec![])).await.len(), 4);
    assert!(matching(store, Condition::Any(vec![])).await.is_empty());
}

pub(crate) async fn nested_paths(store: &SharedStore) {
    store_agents(
        store,
        &[
            json!({ "skills": { "English": 4 } }),
            json!({ "skills": { "English": 2 } }),
            json!({ "skills": 4 }),
            json!({ "skills": [4] }),
        ],
    )
    .await;
    let path = Path::new(["skills", "English"]);
    let above = Condition::Compare { path, comparison: Comparison::Greater, value: json!(3) };
    assert_eq!(matching(store, above).await, ["a0"]);
    assert!(
        matching(store, Condition::Exists { path: Path::new(["skills", "0"]) }).await.is_empty(),
        "no array positions"
    );
}

pub(crate) async fn strange_keys_in_paths(store: &SharedStore) {
    let names = [
        "",
        " ",
        "a.b",
        "$",
        "[0]",
        "#-1",
        "it's",
        "say \"hi\"",
        "back\\slash",
        "\\",
        "tab\t",
        "\u{0}",
        "ü",
        "👋",
        "\u{7f}",
        "*",
        "a]b",
        "\\u0041",
    ];
    for (n, name) in names.iter().enumerate() {
        let body = json!({ *name: { *name: n } });
        store.commit(batch([put(Collection::Agents, key(&format!("k{n:02}")), &body)])).await.unwrap();
    }
    for (n, name) in names.iter().enumerate() {
        let condition = Condition::equal(Path::new([*name, *name]), n as u64);
        assert_eq!(matching(store, condition).await, [format!("k{n:02}")], "{name:?}");
    }
}

pub(crate) async fn counts_match(store: &SharedStore) {
    store_agents(store, &(0..30).map(|n| json!({ "n": n % 3 })).collect::<Vec<_>>()).await;
    let query = super::agents().filter(equal("n", json!(1))).limit(2);
    assert_eq!(store.count(&query).await.unwrap(), 10, "the page does not matter");
    assert_eq!(store.count(&crate::store::Query::everywhere(Collection::Agents)).await.unwrap(), 30);
}

pub(crate) async fn large_filters_work(store: &SharedStore) {
    store_agents(store, &(0..10).map(|n| json!({ "n": n })).collect::<Vec<_>>()).await;
    let many = (5..2_000).map(|n| equal("n", json!(n))).collect();
    assert_eq!(matching(store, Condition::Any(many)).await.len(), 5);
    let deep = (0..90).fold(equal("n", json!(1)), |inner, _| Condition::Not(Box::new(inner)));
    assert_eq!(matching(store, deep).await, ["a1"]);
}

pub(crate) async fn too_large_filters_are_refused(store: &SharedStore) {
    let deep = (0..500).fold(equal("n", json!(1)), |inner, _| Condition::Not(Box::new(inner)));
    let wide = Condition::Any((0..100_000).map(|n| equal("n", json!(n))).collect());
    for condition in [deep, wide] {
        let outcome = store.find(&super::agents().filter(condition)).await;
        assert!(matches!(outcome, Err(StoreError::Invalid(_))), "{outcome:?}");
    }
}
