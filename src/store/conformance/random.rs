//! Random documents, conditions and orders: the store's answer is the in-memory definition's.

use std::cmp::Ordering;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use super::{agents, batch, ids, indexes_ready, key, matching, put};
use crate::store::{Collection, Comparison, Condition, IndexSpec, Path, SharedStore};

const ROUNDS: usize = 12;
const CONDITIONS_PER_ROUND: usize = 40;

fn name() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[abc]", 1 => "[a-z\"'\\\\.$\\[ ]{0,3}", 1 => any::<String>()]
}

/// Few distinct values, so that comparisons meet equal ones, and the edges of each kind.
fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        1 => Just(Value::Null),
        2 => any::<bool>().prop_map(Value::from),
        4 => (-3_i64..4).prop_map(Value::from),
        1 => prop::sample::select(vec![i64::MIN, i64::MAX, 9_007_199_254_740_993]).prop_map(Value::from),
        1 => prop::sample::select(vec![u64::MAX, u64::MAX - 1, 1 << 63]).prop_map(Value::from),
        2 => (-6_i32..7).prop_map(|n| Value::from(f64::from(n) / 2.0)),
        1 => any::<f64>().prop_filter("JSON numbers are finite", |float| float.is_finite()).prop_map(Value::from),
        4 => "[abAB]{0,2}".prop_map(Value::from),
        1 => prop::sample::select(vec!["1", "true", "null", "[]", "\u{0}", "a\u{0}b", "ä", "👋"]).prop_map(Value::from),
        1 => any::<String>().prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => scalar(),
        2 => prop::collection::vec(scalar(), 0..4).prop_map(Value::from),
        2 => prop::collection::vec((name(), scalar()), 0..3).prop_map(|map| Value::Object(map.into_iter().collect())),
    ]
}

fn document() -> impl Strategy<Value = Value> {
    prop::collection::vec((name(), value()), 0..5).prop_map(|map| Value::Object(map.into_iter().collect()))
}

fn path() -> impl Strategy<Value = Path> {
    prop_oneof![4 => name().prop_map(|one| Path(vec![one])), 1 => prop::collection::vec(name(), 2).prop_map(Path)]
}

fn condition() -> impl Strategy<Value = Condition> {
    use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
    let comparison = prop::sample::select(vec![Equal, NotEqual, Less, LessOrEqual, Greater, GreaterOrEqual]);
    let leaf = prop_oneof![
        1 => Just(Condition::True),
        8 => (path(), comparison, value()).prop_map(|(path, comparison, value)| Condition::Compare { path, comparison, value }),
        3 => (path(), scalar()).prop_map(|(path, element)| Condition::Contains { path, element }),
        1 => path().prop_map(|path| Condition::Exists { path }),
        2 => (path(), "[abAB\u{0}]{0,2}").prop_map(|(path, part)| Condition::HasText { path, part }),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Condition::All),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Condition::Any),
            inner.prop_map(|condition| Condition::Not(Box::new(condition))),
        ]
    })
}

fn draw<T>(runner: &mut TestRunner, strategy: &impl Strategy<Value = T>) -> T {
    strategy.new_tree(runner).unwrap().current()
}

/// Documents `d00`, `d01`, … in place of whatever was there.
async fn fill(store: &SharedStore, documents: &[Value]) {
    let ops = documents.iter().enumerate().map(|(n, body)| put(Collection::Agents, key(&format!("d{n:02}")), body));
    store.commit(batch(ops)).await.unwrap();
}

async fn index(store: &SharedStore, name: &str, path: Path, elements: bool) {
    let scope = Some("acc".to_owned());
    let spec = IndexSpec { name: name.to_owned(), collection: Collection::Agents, scope, path, elements };
    store.create_index(spec).await.unwrap();
}

pub(crate) async fn random_conditions_agree_with_memory(store: &SharedStore) {
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRunner::deterministic().new_rng());
    for round in 0..ROUNDS {
        let documents: Vec<Value> = (0..40).map(|_| draw(&mut runner, &document())).collect();
        fill(store, &documents).await;
        if round == ROUNDS / 2 {
            // The second half asks the same kind of questions with indexes.
            for name in ["a", "b", "c"] {
                index(store, name, Path::key(name), false).await;
                index(store, &format!("{name}_elements"), Path::key(name), true).await;
            }
            indexes_ready(store, Collection::Agents).await;
        }
        for _ in 0..CONDITIONS_PER_ROUND {
            let condition = draw(&mut runner, &condition());
            let expected: Vec<String> = (0..documents.len())
                .filter(|n| condition.matches(&documents[*n]))
                .map(|n| format!("d{n:02}"))
                .collect();
            assert_eq!(matching(store, condition.clone()).await, expected, "{condition:?}\n{documents:#?}");
        }
    }
}

/// The order of [`crate::store::Sort`] for scalar values.
fn order(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Null => 0,
        Value::Bool(_) | Value::Number(_) => 1,
        _ => 2,
    };
    // Booleans sort as numbers; whether one number is less is the condition's definition.
    let number = |value: &Value| value.as_bool().map_or_else(|| value.clone(), |boolean| json!(u8::from(boolean)));
    let less = |a: &Value, b: &Value| {
        let condition = Condition::Compare { path: Path::key("v"), comparison: Comparison::Less, value: number(b) };
        condition.matches(&json!({ "v": number(a) }))
    };
    rank(a).cmp(&rank(b)).then_with(|| less(b, a).cmp(&less(a, b)))
}

pub(crate) async fn random_orders_agree_with_memory(store: &SharedStore) {
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRunner::deterministic().new_rng());
    for round in 0..ROUNDS {
        let values: Vec<Value> = (0..30).map(|_| draw(&mut runner, &scalar())).collect();
        let documents: Vec<Value> = values.iter().map(|value| json!({ "a": value })).collect();
        fill(store, &documents).await;
        if round == ROUNDS / 2 {
            index(store, "a", Path::key("a"), false).await;
            indexes_ready(store, Collection::Agents).await;
        }
        let mut expected: Vec<usize> = (0..values.len()).collect();
        expected.sort_by(|a, b| order(&values[*a], &values[*b]).then(a.cmp(b)));
        let mut expected: Vec<String> = expected.into_iter().map(|n| format!("d{n:02}")).collect();
        let limit = 1 + round % 7;
        assert_eq!(ids(store, agents().sort_by(Path::key("a"), false).limit(limit)).await, expected, "{values:?}");
        expected.reverse();
        assert_eq!(ids(store, agents().sort_by(Path::key("a"), true).limit(limit)).await, expected, "{values:?}");
    }
}
