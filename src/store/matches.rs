//! The meaning of a [`Condition`], in memory: what every backend's query language must reproduce.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::query::{Comparison, Condition, Path};

/// A value that can be compared. Kinds are kept apart: a text is never less than a number.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Scalar<'a> {
    Boolean(bool),
    Integer(i64),
    /// Also integers outside the range of `i64`, rounded: stores compare those as floats.
    Float(f64),
    Text(&'a str),
}

impl<'a> Scalar<'a> {
    fn of(value: &'a Value) -> Option<Self> {
        match value {
            Value::Bool(boolean) => Some(Scalar::Boolean(*boolean)),
            Value::Number(number) => Some(Self::of_number(number)),
            Value::String(text) => Some(Scalar::Text(text)),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    fn of_number(number: &Number) -> Self {
        match number.as_i64() {
            Some(integer) => Scalar::Integer(integer),
            None => Scalar::Float(number.as_f64().unwrap_or(f64::NAN)),
        }
    }

    /// `None` between kinds.
    fn compare(self, other: Scalar<'_>) -> Option<Ordering> {
        match (self, other) {
            (Scalar::Boolean(a), Scalar::Boolean(b)) => Some(a.cmp(&b)),
            (Scalar::Text(a), Scalar::Text(b)) => Some(a.cmp(b)),
            (Scalar::Integer(a), Scalar::Integer(b)) => Some(a.cmp(&b)),
            (Scalar::Float(a), Scalar::Float(b)) => a.partial_cmp(&b),
            (Scalar::Integer(a), Scalar::Float(b)) => integer_with_float(a, b),
            (Scalar::Float(a), Scalar::Integer(b)) => integer_with_float(b, a).map(Ordering::reverse),
            _ => None,
        }
    }
}

/// Exact: no integer is rounded on the way.
fn integer_with_float(integer: i64, float: f64) -> Option<Ordering> {
    const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;
    if float.is_nan() {
        None
    } else if float >= TWO_TO_63 {
        Some(Ordering::Less)
    } else if float < -TWO_TO_63 {
        Some(Ordering::Greater)
    } else {
        // Within the range of i64, so the cast loses the fraction only.
        let whole = float.trunc();
        Some(integer.cmp(&(whole as i64)).then(0.0.partial_cmp(&(float - whole)).unwrap_or(Ordering::Equal)))
    }
}

impl Path {
    /// The value at this path; `None` when it is absent or null.
    pub fn find<'a>(&self, document: &'a Value) -> Option<&'a Value> {
        let mut value = document;
        for key in &self.0 {
            value = value.as_object()?.get(key)?;
        }
        (!value.is_null()).then_some(value)
    }
}

impl Condition {
    /// Whether a document fulfils the condition: the definition that every backend is tested against.
    pub fn matches(&self, document: &Value) -> bool {
        match self {
            Condition::True => true,
            Condition::All(all) => all.iter().all(|condition| condition.matches(document)),
            Condition::Any(any) => any.iter().any(|condition| condition.matches(document)),
            Condition::Not(condition) => !condition.matches(document),
            Condition::Compare { path, comparison, value } => compare(path.find(document), *comparison, value),
            Condition::Contains { path, element } => match path.find(document) {
                Some(Value::Array(elements)) => elements.iter().any(|each| equal(each, element)),
                _ => false,
            },
            Condition::Exists { path } => path.find(document).is_some(),
            Condition::HasText { path, part } => match path.find(document) {
                Some(Value::String(text)) => text.to_ascii_lowercase().contains(&part.to_ascii_lowercase()),
                _ => false,
            },
        }
    }
}

fn compare(found: Option<&Value>, comparison: Comparison, value: &Value) -> bool {
    let order = found.and_then(|found| Scalar::of(found)?.compare(Scalar::of(value)?));
    match comparison {
        Comparison::Equal => order == Some(Ordering::Equal),
        Comparison::NotEqual => order != Some(Ordering::Equal),
        Comparison::Less => order == Some(Ordering::Less),
        Comparison::LessOrEqual => order.is_some_and(Ordering::is_le),
        Comparison::Greater => order == Some(Ordering::Greater),
        Comparison::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
    }
}

fn equal(a: &Value, b: &Value) -> bool {
    match (Scalar::of(a), Scalar::of(b)) {
        (Some(a), Some(b)) => a.compare(b) == Some(Ordering::Equal),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn holds(comparison: Comparison, stored: Value, asked: Value) -> bool {
        Condition::Compare { path: Path::key("v"), comparison, value: asked }.matches(&json!({ "v": stored }))
    }

    #[test]
    fn integers_and_floats_compare_without_rounding() {
        assert!(holds(Comparison::Equal, json!(3), json!(3.0)));
        assert!(holds(Comparison::Greater, json!(9_007_199_254_740_993_i64), json!(9_007_199_254_740_992.0)));
        assert!(holds(Comparison::Less, json!(-3.5), json!(-3)));
        assert!(holds(Comparison::Less, json!(i64::MAX), json!(1e19)));
    }

    #[test]
    fn kinds_are_kept_apart() {
        assert!(!holds(Comparison::Equal, json!(true), json!(1)));
        assert!(!holds(Comparison::Greater, json!("5"), json!(1)));
        assert!(holds(Comparison::NotEqual, json!("5"), json!(5)));
        assert!(!holds(Comparison::LessOrEqual, json!(null), json!(5)));
        assert!(holds(Comparison::NotEqual, json!(null), json!(5)));
    }
}
