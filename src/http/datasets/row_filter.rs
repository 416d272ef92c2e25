//! A filter as a scan of segments understands it: a conjunction that can leave segments, pages and rows unread,
//! and whatever else it says, evaluated on each row that is left.

use serde_json::{Map, Value};

use crate::domain::column::{Column, MISSING_CODE, Table};
use crate::domain::profile::timestamp_text;
use crate::domain::{Timestamp, schema::Schema};
use crate::filter::{CompiledFilter, Filter, Operator, Target, Test};
use crate::http::{ApiError, ApiResult};
use crate::ingest::{RowComparison, RowFilter, RowTest};

/// A filter split in two.
#[derive(Debug, Default)]
pub struct SplitFilter {
    pub pushed: RowFilter,
    /// Evaluated on each row when the first part does not say all.
    pub rest: Option<CompiledFilter>,
    /// Columns that `rest` needs.
    pub columns: Vec<String>,
}

/// Parses a filter for a dataset's rows. 422 `bad_filter` with the position.
pub fn split(text: &str, schema: &Schema) -> ApiResult<SplitFilter> {
    if text.trim().is_empty() {
        return Ok(SplitFilter::default());
    }
    let bad = |error: crate::domain::language::LanguageError| {
        let position = error.position;
        ApiError::unprocessable("bad_filter", format!("The filter is not understood {error}."))
            .with("position", position)
            .field("filter", error.message)
    };
    let compiled = Filter::parse(text).and_then(|filter| filter.compile(schema)).map_err(bad)?;
    let mut split = SplitFilter::default();
    let complete = push(compiled.test(), &mut split.pushed.tests);
    if !complete {
        columns_of(compiled.test(), &mut split.columns);
        split.rest = Some(compiled);
    }
    Ok(split)
}

/// Adds what can be pushed down; false when something is left to evaluate.
fn push(test: &Test, tests: &mut Vec<RowTest>) -> bool {
    match test {
        Test::All(parts) => {
            // Every part is looked at, also after one that cannot be pushed.
            let left = parts.iter().filter(|part| !push(part, tests)).count();
            left == 0
        }
        Test::Compare { target, operator, value } => {
            let column = match target {
                Target::Field(field) => field.clone(),
                Target::Entry { field, key } => format!("{field}.{key}"),
                Target::Id => return false,
            };
            tests.push(RowTest { column, comparison: comparison(*operator), value: value.clone() });
            true
        }
        Test::Contains { field, element } => {
            let value = Value::from(element.as_str());
            tests.push(RowTest { column: field.clone(), comparison: RowComparison::Contains, value });
            true
        }
        Test::Any(_) | Test::Not(_) => false,
    }
}

fn comparison(operator: Operator) -> RowComparison {
    match operator {
        Operator::Equal => RowComparison::Equal,
        Operator::NotEqual => RowComparison::NotEqual,
        Operator::Less => RowComparison::Less,
        Operator::LessOrEqual => RowComparison::LessOrEqual,
        Operator::Greater => RowComparison::Greater,
        Operator::GreaterOrEqual => RowComparison::GreaterOrEqual,
    }
}

fn columns_of(test: &Test, columns: &mut Vec<String>) {
    let name = match test {
        Test::All(parts) | Test::Any(parts) => return parts.iter().for_each(|part| columns_of(part, columns)),
        Test::Not(part) => return columns_of(part, columns),
        Test::Compare { target: Target::Field(field) | Target::Entry { field, .. }, .. } => field,
        Test::Contains { field, .. } => field,
        Test::Compare { target: Target::Id, .. } => return,
    };
    if !columns.contains(name) {
        columns.push(name.clone());
    }
}

/// One row as JSON: times as RFC 3339 with six decimals, missing values as null.
pub fn row_json(table: &Table, row: usize) -> Map<String, Value> {
    table.columns.iter().map(|(name, column)| (name.clone(), value_json(column, row).unwrap_or(Value::Null))).collect()
}

fn value_json(column: &Column, row: usize) -> Option<Value> {
    match column {
        Column::Boolean(values) => values.get(row)?.map(Value::from),
        Column::Integer(values) => values.get(row)?.map(Value::from),
        Column::Float(values) => {
            values.get(row).and_then(|value| serde_json::Number::from_f64(*value)).map(Value::from)
        }
        Column::Text { codes, dictionary } => {
            let code = codes.get(row).filter(|code| **code != MISSING_CODE)?;
            dictionary.get(usize::try_from(*code).ok()?).map(|text| Value::from(&**text))
        }
        Column::Timestamp(values) => {
            let micros = (*values.get(row)?)?;
            Timestamp::from_timestamp_micros(micros).map(|time| Value::from(timestamp_text(time)))
        }
        Column::List(values) => {
            let elements = values.get(row)?.as_ref()?;
            Some(elements.iter().map(|element| Value::from(&**element)).collect())
        }
        Column::Dict(values) => {
            let entries = values.get(row)?.as_ref()?;
            Some(Value::Object(entries.iter().map(|(key, value)| (key.to_string(), number(*value))).collect()))
        }
    }
}

/// Whole numbers without a point.
fn number(value: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within ±2^53")]
        let whole = value as i64;
        return Value::from(whole);
    }
    Value::from(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::{Field, FieldType};

    fn schema() -> Schema {
        let fields = vec![Field::new("customer", FieldType::String), Field::new("seconds", FieldType::Integer)];
        Schema { version: 1, accepted: true, fields }
    }

    #[test]
    fn a_conjunction_is_pushed_down_whole() {
        let split = split("customer = \"c-7\" & seconds > 10", &schema()).unwrap();
        assert_eq!(split.pushed.tests.len(), 2);
        assert!(split.rest.is_none());
    }

    #[test]
    fn what_cannot_be_pushed_down_is_evaluated_beside_the_rest() {
        let split = split("customer = \"c-7\" & (seconds > 10 | seconds = 3)", &schema()).unwrap();
        assert_eq!(split.pushed.tests.len(), 1);
        assert!(split.rest.is_some());
        assert_eq!(split.columns, ["customer", "seconds"]);
    }

    #[test]
    fn a_bad_filter_names_the_position() {
        let error = super::split("customer = ", &schema()).unwrap_err();
        assert_eq!((error.status().as_u16(), error.code()), (422, "bad_filter"));
    }
}
