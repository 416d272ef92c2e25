//! Filters and orders of records as the store's conditions, so that indexes answer them.

use crate::filter::{CompiledFilter, Operator, Target, Test};
use crate::store::{Comparison, Condition, Path};

/// The same answer as [`CompiledFilter::matches`], as a condition on stored records.
pub fn condition(filter: &CompiledFilter) -> Condition {
    translate(filter.test())
}

/// Where a field's values are in stored records.
pub fn field_path(field: &str) -> Path {
    Path::new(["fields", field])
}

fn translate(test: &Test) -> Condition {
    match test {
        Test::All(parts) => Condition::All(parts.iter().map(translate).collect()),
        Test::Any(parts) => Condition::Any(parts.iter().map(translate).collect()),
        Test::Not(part) => Condition::Not(Box::new(translate(part))),
        Test::Contains { field, element } => {
            Condition::Contains { path: field_path(field), element: element.as_str().into() }
        }
        Test::Compare { target, operator, value } => {
            Condition::Compare { path: path(target), comparison: comparison(*operator), value: value.clone() }
        }
    }
}

fn path(target: &Target) -> Path {
    match target {
        Target::Id => Path::key("id"),
        Target::Field(field) => field_path(field),
        Target::Entry { field, key } => Path::new(["fields", field.as_str(), key.as_str()]),
    }
}

fn comparison(operator: Operator) -> Comparison {
    match operator {
        Operator::Equal => Comparison::Equal,
        Operator::NotEqual => Comparison::NotEqual,
        Operator::Less => Comparison::Less,
        Operator::LessOrEqual => Comparison::LessOrEqual,
        Operator::Greater => Comparison::Greater,
        Operator::GreaterOrEqual => Comparison::GreaterOrEqual,
    }
}
