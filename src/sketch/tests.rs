use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::schema::{Field, FieldType};

fn counter(values: impl IntoIterator<Item = i64>) -> FieldCounter {
    let mut counter = FieldCounter::new(FieldType::Integer);
    for value in values {
        counter.rows += 1;
        counter.add(Bound::Integer(value), 1);
    }
    counter
}

#[test]
fn distinct_values_are_exact_up_to_the_limit_and_close_above() {
    let exact = counter((0..16_384).chain(0..16_384));
    let answer = exact.to_field_cardinality("n");
    assert!(answer.exact);
    assert_eq!((answer.distinct, answer.rows), (16_384, 32_768));
    assert_eq!((answer.min, answer.max, answer.values), (Some(json!(0)), Some(json!(16_383)), None));
    let above = counter(0..200_000).to_field_cardinality("n");
    assert!(!above.exact);
    let error = above.distinct as f64 / 200_000.0 - 1.0;
    assert!(error.abs() < 0.03, "error {error}");
}

#[test]
fn a_record_as_text_counts_as_its_tree_does() {
    use FieldType::{Boolean, Dict, Float, Integer, List, String, Timestamp};
    let types = [Boolean, Integer, Float, String, Timestamp, List, Dict];
    let fields = types.iter().map(|field_type| Field::new(format!("{field_type:?}"), *field_type)).collect();
    let schema = Schema { version: 1, accepted: true, fields };
    let values = [
        json!(null),
        json!(true),
        json!(-7),
        json!(u64::MAX),
        json!(2.5),
        json!("a \"text\"\n"),
        json!("2024-05-01T08:30:00.000000Z"),
        json!(["a", "b", "a", 1, null, ["c"], {"d": 1}]),
        json!({"English": 3, "old": false, "\u{e9}\"": 1.5, "text": "x", "none": null, "deep": {"a": [1]}}),
    ];
    let (mut by_tree, mut by_text) = (CardinalityState::new(&schema), CardinalityState::new(&schema));
    for (index, value) in values.iter().enumerate() {
        for field in &schema.fields {
            let record = json!({"unknown": value, &field.name: value});
            let new_row = index % 2 == 0;
            by_tree.add_record(record.as_object().unwrap(), new_row);
            by_text.add_text(&record.to_string(), new_row).unwrap();
        }
    }
    assert_eq!(by_text, by_tree);
    by_text.add_text("{broken", true).unwrap_err();
}

#[test]
fn few_values_come_with_counts_and_survive_storage() {
    let mut counter = FieldCounter::new(FieldType::String);
    for text in ["b", "a", "b"] {
        counter.rows += 1;
        counter.add_text(text, 1);
    }
    let stored = serde_json::to_string(&counter).unwrap();
    let back: FieldCounter = serde_json::from_str(&stored).unwrap();
    assert_eq!(back, counter);
    let values = back.to_field_cardinality("t").values.unwrap();
    assert_eq!(
        values.iter().map(|v| (v.value.clone(), v.count)).collect::<Vec<_>>(),
        [(json!("b"), 2), (json!("a"), 1)]
    );
    let large = self::counter(0..50_000);
    let back: FieldCounter = serde_json::from_str(&serde_json::to_string(&large).unwrap()).unwrap();
    assert_eq!(back.distinct.count(), large.distinct.count());
}

#[test]
fn lists_count_elements_and_dictionaries_count_each_key() {
    let schema = Schema {
        version: 1,
        accepted: true,
        fields: vec![Field::new("groups", FieldType::List), Field::new("skills", FieldType::Dict)],
    };
    let mut state = CardinalityState::new(&schema);
    let record = json!({"groups": ["vip", "sales"], "skills": {"English": 5, "night": true}});
    state.add_record(record.as_object().unwrap(), true);
    state.add_record(json!({"groups": ["vip"], "skills": {"English": 3}}).as_object().unwrap(), true);
    let all = state.to_field_cardinalities();
    let of = |name: &str| all.iter().find(|f| f.field == name).unwrap();
    assert_eq!((of("groups").distinct, of("groups").rows), (2, 2));
    assert_eq!((of("skills").distinct, of("skills.English").distinct), (2, 2));
    assert_eq!(of("skills.night").nulls, 1);
}

#[test]
fn an_update_adds_its_values_but_no_row() {
    let schema = Schema { version: 1, accepted: true, fields: vec![Field::new("n", FieldType::Integer)] };
    let mut state = CardinalityState::new(&schema);
    state.add_record(json!({"n": 1}).as_object().unwrap(), true);
    state.add_record(json!({"n": 2}).as_object().unwrap(), false);
    let field = &state.to_field_cardinalities()[0];
    assert_eq!((field.rows, field.distinct, field.nulls), (1, 2, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn merging_is_commutative_and_idempotent_in_what_is_distinct(
        a in (0i64..40_000, 0i64..30_000), b in (0i64..40_000, 0i64..30_000)
    ) {
        let left = counter(a.0..a.0 + a.1);
        let right = counter(b.0..b.0 + b.1);
        let mut ab = left.clone();
        ab.merge(&right);
        let mut ba = right.clone();
        ba.merge(&left);
        prop_assert_eq!(&ab, &ba);
        let mut again = ab.clone();
        again.merge(&right);
        prop_assert_eq!(again.distinct.count(), ab.distinct.count());
        prop_assert_eq!((again.min, again.max), (ab.min.clone(), ab.max.clone()));
        // Counting everything in one go gives the same.
        let whole = counter((a.0..a.0 + a.1).chain(b.0..b.0 + b.1));
        prop_assert_eq!(&whole, &ab);
        if ab.distinct.is_exact() {
            let mut union: Vec<i64> = (a.0..a.0 + a.1).chain(b.0..b.0 + b.1).collect();
            union.sort_unstable();
            union.dedup();
            prop_assert_eq!(ab.distinct.count(), union.len() as u64);
        }
    }

    #[test]
    fn value_counts_add_up(a in proptest::collection::vec(0i64..120, 0..300), b in proptest::collection::vec(0i64..120, 0..300)) {
        let mut merged = counter(a.iter().copied());
        merged.merge(&counter(b.iter().copied()));
        prop_assert_eq!(merged, counter(a.into_iter().chain(b)));
    }
}
