//! A resolved condition on one record in memory.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

use super::ast::Operator;
use super::resolve::{Target, Test};

pub(super) fn matches(test: &Test, id: &str, fields: &Map<String, Value>) -> bool {
    match test {
        Test::All(parts) => parts.iter().all(|part| matches(part, id, fields)),
        Test::Any(parts) => parts.iter().any(|part| matches(part, id, fields)),
        Test::Not(part) => !matches(part, id, fields),
        Test::Contains { field, element } => match fields.get(field) {
            Some(Value::Array(elements)) => elements.iter().any(|e| e.as_str() == Some(element)),
            _ => false,
        },
        Test::Compare { target, operator, value } => {
            let ordering = match target {
                Target::Id => value.as_str().map(|value| id.cmp(value)),
                Target::Field(field) => fields.get(field).and_then(|found| compare_values(found, value)),
                Target::Entry { field, key } => {
                    fields.get(field).and_then(|dict| dict.get(key)).and_then(|found| compare_values(found, value))
                }
            };
            holds(*operator, ordering)
        }
    }
}

/// `None`: missing or of another kind.
fn holds(operator: Operator, ordering: Option<Ordering>) -> bool {
    match operator {
        Operator::Equal => ordering == Some(Ordering::Equal),
        Operator::NotEqual => ordering != Some(Ordering::Equal),
        Operator::Less => ordering == Some(Ordering::Less),
        Operator::LessOrEqual => matches!(ordering, Some(Ordering::Less | Ordering::Equal)),
        Operator::Greater => ordering == Some(Ordering::Greater),
        Operator::GreaterOrEqual => matches!(ordering, Some(Ordering::Greater | Ordering::Equal)),
    }
}

/// The order of two values of one kind; `None` when a value is null, an array or an object, or the kinds differ.
/// An integer and a float are compared exactly, without rounding the integer.
pub fn compare_values(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => compare_numbers(left, right),
        (Value::String(left), Value::String(right)) => Some(left.as_str().cmp(right)),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

fn compare_numbers(left: &Number, right: &Number) -> Option<Ordering> {
    match (left.as_i128(), right.as_i128()) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        (Some(left), None) => compare_integer(left, right.as_f64()?),
        (None, Some(right)) => compare_integer(right, left.as_f64()?).map(Ordering::reverse),
        (None, None) => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}

/// `integer` is within 65 bits, so that a float beyond them is larger or smaller by its sign.
fn compare_integer(integer: i128, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    if float.abs() >= 1e30 {
        return Some(if float > 0.0 { Ordering::Less } else { Ordering::Greater });
    }
    let whole = float.trunc();
    // Exact: |whole| < 1e30 fits 100 bits.
    Some(integer.cmp(&(whole as i128)).then_with(|| 0.0f64.total_cmp(&(float - whole + 0.0))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn integers_and_floats_compare_exactly() {
        for (left, right, expected) in [
            (json!(3), json!(3.0), Ordering::Equal),
            (json!(3), json!(3.5), Ordering::Less),
            (json!(-3), json!(-3.5), Ordering::Greater),
            (json!(-3.0), json!(-3), Ordering::Equal),
            (json!(9_007_199_254_740_993_i64), json!(9_007_199_254_740_992.0), Ordering::Greater),
            (json!(i64::MAX), json!(9_223_372_036_854_775_807.0), Ordering::Less),
            (json!(1), json!(1e300), Ordering::Less),
            (json!(0), json!(-0.0), Ordering::Equal),
        ] {
            assert_eq!(compare_values(&left, &right), Some(expected), "{left} {right}");
        }
        assert_eq!(compare_values(&json!(1), &json!(true)), None);
        assert_eq!(compare_values(&json!(null), &json!(null)), None);
    }
}
