//! Names to fields, skills and groups of a schema; values checked against their types.

use serde_json::{Map, Value};

use super::ast::{Expr, Filter, Literal, Operator};
use super::evaluate::matches;
use super::lexer::shortened;
use crate::domain::language::LanguageError;
use crate::domain::profile::{GROUPS, SKILLS, parse_timestamp, timestamp_text};
use crate::domain::schema::{FieldType, Schema};

/// The name under which the record's own id is compared, unless the schema has such a field.
const ID: &str = "id";

/// Where a value is in a record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// The record's id.
    Id,
    Field(String),
    /// One key of a Dict field (a skill, for instance).
    Entry {
        field: String,
        key: String,
    },
}

/// A resolved condition: what a store, a scan or the engine evaluates.
///
/// A missing (absent or null) value makes `Compare` and `Contains` false, except `Compare` with
/// [`Operator::NotEqual`], which it makes true. Values of different kinds (number, text, Boolean) are
/// never equal and have no order; integers and floats compare as numbers; text compares by code point.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Test {
    All(Vec<Test>),
    Any(Vec<Test>),
    Not(Box<Test>),
    Compare {
        target: Target,
        operator: Operator,
        value: Value,
    },
    /// The field is a list that has the element.
    Contains {
        field: String,
        element: String,
    },
}

/// A filter that is ready to be evaluated on records of one schema. Cheap to keep, expensive to make:
/// cache it by text and schema version.
#[derive(Debug, Clone, PartialEq)]
pub struct CompiledFilter {
    test: Test,
}

impl CompiledFilter {
    /// Whether a record matches. Values are as a profile stores them: timestamps as
    /// [`timestamp_text`] writes them.
    pub fn matches(&self, id: &str, fields: &Map<String, Value>) -> bool {
        self.test.matches(id, fields)
    }

    /// For translation to another evaluator.
    pub fn test(&self) -> &Test {
        &self.test
    }

    /// Entries of lists and dictionaries that are named: pairs of a field and an entry. No schema says whether they exist.
    pub fn entries(&self) -> Vec<(&str, &str)> {
        let mut found = Vec::new();
        self.test.collect_entries(&mut found);
        found
    }
}

impl Test {
    /// Whether a record satisfies it; see [`CompiledFilter::matches`].
    pub fn matches(&self, id: &str, fields: &Map<String, Value>) -> bool {
        matches(self, id, fields)
    }

    fn collect_entries<'t>(&'t self, found: &mut Vec<(&'t str, &'t str)>) {
        match self {
            Test::All(parts) | Test::Any(parts) => parts.iter().for_each(|part| part.collect_entries(found)),
            Test::Not(part) => part.collect_entries(found),
            Test::Compare { target: Target::Entry { field, key }, .. } => found.push((field, key)),
            Test::Compare { .. } => {}
            Test::Contains { field, element } => found.push((field, element)),
        }
    }
}

impl Filter {
    /// Resolves names and checks values.
    ///
    /// `name op value`: a field if the schema has it, else a skill (when the schema has a Dict field
    /// `skills`). A bare name: member of that group (when the schema has a List field `groups`), or a Boolean field
    /// that is true. `id` is the record's id.
    pub fn compile(&self, schema: &Schema) -> Result<CompiledFilter, LanguageError> {
        Ok(CompiledFilter { test: resolve(self.expr(), schema)? })
    }
}

fn resolve(expr: &Expr, schema: &Schema) -> Result<Test, LanguageError> {
    let all = |parts: &[Expr]| parts.iter().map(|part| resolve(part, schema)).collect::<Result<Vec<_>, _>>();
    match expr {
        Expr::And(parts) => Ok(Test::All(all(parts)?)),
        Expr::Or(parts) => Ok(Test::Any(all(parts)?)),
        Expr::Not(part) => Ok(Test::Not(Box::new(resolve(part, schema)?))),
        Expr::Name { name, position } => bare_name(schema, name, *position),
        Expr::Compare { name, name_position, operator, value, value_position } => {
            let comparison = Comparison { name, operator: *operator, value, value_position: *value_position };
            match schema.field(name).map(|field| field.field_type) {
                Some(field_type) => comparison.with_field(field_type, *name_position),
                None if name == ID => comparison.with_text(Target::Id),
                None if has_type(schema, SKILLS, FieldType::Dict) => comparison.with_skill(),
                None => Err(unknown(schema, name, *name_position)),
            }
        }
    }
}

fn has_type(schema: &Schema, name: &str, field_type: FieldType) -> bool {
    schema.field(name).is_some_and(|field| field.field_type == field_type)
}

fn bare_name(schema: &Schema, name: &str, position: usize) -> Result<Test, LanguageError> {
    let is_true = has_type(schema, name, FieldType::Boolean).then(|| Test::Compare {
        target: Target::Field(name.to_owned()),
        operator: Operator::Equal,
        value: Value::Bool(true),
    });
    let in_group = has_type(schema, GROUPS, FieldType::List)
        .then(|| Test::Contains { field: GROUPS.to_owned(), element: name.to_owned() });
    match (in_group, is_true) {
        (Some(in_group), Some(is_true)) => Ok(Test::Any(vec![in_group, is_true])),
        (Some(test), None) | (None, Some(test)) => Ok(test),
        (None, None) => Err(LanguageError::new(
            position,
            match schema.field(name) {
                Some(_) => format!("{} is not a Boolean field: compare it with a value", shortened(name)),
                None => unknown(schema, name, position).message,
            },
        )),
    }
}

fn unknown(schema: &Schema, name: &str, position: usize) -> LanguageError {
    let close = schema.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name));
    let hint = match close {
        Some(field) => format!("did you mean {}?", field.name),
        None => "the schema lists the fields".to_owned(),
    };
    LanguageError::new(position, format!("there is no field {:?}; {hint}", shortened(name)))
}

struct Comparison<'a> {
    name: &'a str,
    operator: Operator,
    value: &'a Literal,
    value_position: usize,
}

impl Comparison<'_> {
    fn with_field(&self, field_type: FieldType, name_position: usize) -> Result<Test, LanguageError> {
        let target = Target::Field(self.name.to_owned());
        match field_type {
            FieldType::Integer | FieldType::Float => match self.value {
                Literal::Integer(value) => Ok(self.test(target, (*value).into())),
                Literal::Float(value) => Ok(self.test(target, (*value).into())),
                _ => Err(self.wrong_value("holds numbers", "a number without quotes")),
            },
            FieldType::Boolean => {
                let value = match self.value {
                    Literal::Boolean(value) => *value,
                    Literal::Integer(value @ (0 | 1)) => *value == 1,
                    _ => return Err(self.wrong_value("holds true or false", "true or false")),
                };
                self.needs_no_order("true or false")?;
                Ok(self.test(target, value.into()))
            }
            FieldType::String => self.with_text(target),
            FieldType::Timestamp => {
                let Literal::Text(text) = self.value else {
                    return Err(self.wrong_value("holds times", "a quoted time such as \"2024-05-01T08:30:00Z\""));
                };
                match parse_timestamp(text) {
                    Some(time) => Ok(self.test(target, timestamp_text(time).into())),
                    None => {
                        Err(self
                            .wrong_value("holds times", "a time such as \"2024-05-01\" or \"2024-05-01T08:30:00Z\""))
                    }
                }
            }
            FieldType::List => {
                let Literal::Text(element) = self.value else {
                    return Err(self.wrong_value("is a list of texts", "a quoted text that is one of its elements"));
                };
                self.needs_no_order("a list")?;
                let contains = Test::Contains { field: self.name.to_owned(), element: element.clone() };
                Ok(if self.operator == Operator::Equal { contains } else { Test::Not(Box::new(contains)) })
            }
            FieldType::Dict => Err(LanguageError::new(
                name_position,
                format!("{} is a dictionary: compare one of its entries by the entry's name", shortened(self.name)),
            )),
        }
    }

    fn with_text(&self, target: Target) -> Result<Test, LanguageError> {
        match self.value {
            Literal::Text(text) => Ok(self.test(target, text.clone().into())),
            other => {
                let quoted = format!("a quoted text, as in \"{other}\"");
                Err(self.wrong_value("holds text", &quoted))
            }
        }
    }

    /// A skill's level is a number, or true.
    fn with_skill(&self) -> Result<Test, LanguageError> {
        let target = Target::Entry { field: SKILLS.to_owned(), key: self.name.to_owned() };
        match self.value {
            Literal::Integer(value) => Ok(self.test(target, (*value).into())),
            Literal::Float(value) => Ok(self.test(target, (*value).into())),
            Literal::Boolean(value) => {
                self.needs_no_order("true or false")?;
                Ok(self.test(target, (*value).into()))
            }
            Literal::Text(_) => Err(self.wrong_value(
                "is no field, so it is taken for a skill, and a skill has a number or true",
                "a number without quotes",
            )),
        }
    }

    fn test(&self, target: Target, value: Value) -> Test {
        Test::Compare { target, operator: self.operator, value }
    }

    fn needs_no_order(&self, what: &str) -> Result<(), LanguageError> {
        if !self.operator.is_ordered() {
            return Ok(());
        }
        let symbol = self.operator.symbol();
        Err(LanguageError::new(self.value_position, format!("{symbol} does not order {what}: use = or !=")))
    }

    fn wrong_value(&self, holds: &str, expected: &str) -> LanguageError {
        LanguageError::new(self.value_position, format!("{} {holds}: compare it with {expected}", shortened(self.name)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::profile::ProfileKind;
    use crate::domain::schema::Field;

    fn agents() -> Schema {
        let mut fields = ProfileKind::Agents.mandatory_fields();
        fields.push(Field::new("vip desk", FieldType::Boolean));
        fields.push(Field::new("site", FieldType::String));
        fields.push(Field::new("hired", FieldType::Timestamp));
        fields.push(Field::new("tenure", FieldType::Float));
        Schema { version: 1, accepted: true, fields }
    }

    fn matches(text: &str, record: Value) -> bool {
        let Value::Object(fields) = record else { panic!("an object") };
        Filter::parse(text).unwrap().compile(&agents()).unwrap().matches("a-7", &fields)
    }

    fn error(text: &str) -> LanguageError {
        Filter::parse(text).unwrap().compile(&agents()).unwrap_err()
    }

    #[test]
    fn the_example_of_a_routing_strategy() {
        let text = "&English>3 & (loginStatus=4|loginStatus=9)";
        assert!(matches(text, json!({"loginStatus": 9, "skills": {"English": 4}})));
        assert!(!matches(text, json!({"loginStatus": 9, "skills": {"English": 3}})));
        assert!(!matches(text, json!({"loginStatus": 0, "skills": {"English": 4}})));
        assert!(!matches(text, json!({"loginStatus": 9, "skills": {"English": true}})));
        assert!(!matches(text, json!({})));
    }

    #[test]
    fn a_bare_name_is_a_group_or_a_true_field() {
        assert!(matches("Billing", json!({"groups": ["Sales", "Billing"]})));
        assert!(!matches("Billing", json!({"groups": []})));
        assert!(matches("\"vip desk\"", json!({"vip desk": true})));
        assert!(matches("\"vip desk\"", json!({"groups": ["vip desk"]})));
        assert!(!matches("\"vip desk\"", json!({"vip desk": false})));
        assert!(matches("!\"vip desk\"", json!({})));
    }

    #[test]
    fn a_missing_value_is_false_except_for_not_equal() {
        for text in ["site = \"Oslo\"", "site < \"Oslo\"", "French = 3", "tenure <= 9", "groups = \"x\""] {
            assert!(!matches(text, json!({"site": null})), "{text}");
        }
        for text in ["site != \"Oslo\"", "French != 3", "tenure != 9", "groups != \"x\"", "!(site = \"Oslo\")"] {
            assert!(matches(text, json!({"site": null})), "{text}");
        }
    }

    #[test]
    fn times_and_ids_compare() {
        let record = json!({"hired": "2024-05-01T08:30:00.000000Z"});
        assert!(matches("hired >= \"2024-05-01\"", record.clone()));
        assert!(matches("hired = \"2024-05-01T10:30:00+02:00\"", record.clone()));
        assert!(!matches("hired > \"2024-05-01 08:30:00\"", record));
        assert!(matches("id = \"a-7\"", json!({})));
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named_with_its_position() {
        for (text, position, hint) in [
            ("site = 3", 7, "\"3\""),
            ("loginStatus = \"4\"", 14, "without quotes"),
            ("\"vip desk\" > true", 13, "use = or !="),
            ("hired > \"soon\"", 8, "2024-05-01"),
            ("groups < \"a\"", 9, "does not order"),
            ("skills = 3", 0, "dictionary"),
            ("French = \"good\"", 9, "taken for a skill"),
        ] {
            let error = error(text);
            assert_eq!(error.position, position, "{text}: {error}");
            assert!(error.message.contains(hint), "{text}: {error}");
        }
        let customers = Schema { version: 1, accepted: true, fields: vec![Field::new("tier", FieldType::String)] };
        let error = Filter::parse("a & Tier = \"x\"").unwrap().compile(&customers).unwrap_err();
        assert_eq!((error.position, error.message.contains("no field \"a\"")), (0, true));
        let error = Filter::parse("Tier = \"x\"").unwrap().compile(&customers).unwrap_err();
        assert!(error.message.contains("did you mean tier?"), "{error}");
    }
}
