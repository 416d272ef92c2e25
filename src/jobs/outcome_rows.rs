//! What an outcome dataset looks like: its schema, and a row for a score log entry.

use serde_json::{Map, Value, json};

use crate::config::Limits;
use crate::domain::predictor::PredictorDefinition;
use crate::domain::profile::parse_timestamp;
use crate::domain::schema::{Field, FieldType, Role, Schema};
use crate::domain::score_log::ScoreLogEntry;

/// The columns that every outcome dataset has, with their types and roles.
const OWN: [(&str, FieldType, Role); 10] = [
    ("interaction_id", FieldType::String, Role::Ignored),
    ("time", FieldType::Timestamp, Role::Timestamp),
    ("context_id", FieldType::String, Role::CustomerId),
    ("agent_id", FieldType::String, Role::AgentId),
    ("score", FieldType::Float, Role::Ignored),
    ("p_score", FieldType::Float, Role::Ignored),
    ("rank", FieldType::Integer, Role::Ignored),
    ("mode", FieldType::String, Role::Ignored),
    ("outcome", FieldType::String, Role::Ignored),
    ("reported_at", FieldType::Timestamp, Role::Ignored),
];

/// Names of the columns of a predictor's outcome dataset. A column of ours whose name the predictor uses is called `log_…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    own: Vec<String>,
    metric: String,
}

impl Names {
    /// None for a composite predictor, which has no metric.
    pub fn of(definition: &PredictorDefinition) -> Option<Names> {
        let PredictorDefinition::Simple { metric, features, .. } = definition else { return None };
        let taken = |name: &str| {
            let features = [&features.context, &features.customer, &features.agent];
            name == metric.field || features.iter().any(|side| side.iter().any(|feature| feature == name))
        };
        let own = OWN.iter().map(|(name, ..)| {
            let mut name = (*name).to_owned();
            while taken(&name) {
                name = format!("log_{name}");
            }
            name
        });
        Some(Names { own: own.collect(), metric: metric.field.clone() })
    }

    pub fn interaction_id(&self) -> &str {
        &self.own[0]
    }

    pub fn time(&self) -> &str {
        &self.own[1]
    }

    /// Of the report that the row was made from: tells whether a later one came.
    pub fn reported_at(&self) -> &str {
        &self.own[9]
    }
}

/// The schema: our columns, the metric, and the predictor's context and customer features, of the types that the dataset or the customer
/// profile has for them. None for a composite predictor.
pub fn schema(definition: &PredictorDefinition, dataset: &Schema, customers: &Schema) -> Option<Schema> {
    let names = Names::of(definition)?;
    let PredictorDefinition::Simple { features, .. } = definition else { return None };
    let mut fields: Vec<Field> = names
        .own
        .iter()
        .zip(OWN)
        .map(|(name, (_, field_type, role))| Field::new(name.clone(), field_type).with_role(role))
        .collect();
    let type_of = |name: &str| {
        let known = dataset.field(name).or_else(|| customers.field(name));
        known.map_or(FieldType::String, |field| field.field_type)
    };
    fields.push(Field::new(names.metric.clone(), type_of(&names.metric)).with_role(Role::Metric));
    for (side, role) in [(&features.context, Role::Context), (&features.customer, Role::Customer)] {
        for name in side {
            if !fields.iter().any(|field| field.name == *name) {
                fields.push(Field::new(name.clone(), type_of(name)).with_role(role));
            }
        }
    }
    Some(Schema { version: 1, accepted: true, fields })
}

/// Makes rows of a schema.
pub struct Rows<'a> {
    pub names: &'a Names,
    pub schema: &'a Schema,
    pub limits: &'a Limits,
    /// The field of the interaction's own time among the context features, if any.
    pub time_feature: Option<&'a str>,
    /// Values of another type than their field's, or beyond a limit: left out.
    pub left_out: u64,
}

impl Rows<'_> {
    /// A row by field name. What the entry and `scored` (the values that were kept when it was scored) do not say is taken from `before`,
    /// the row as it was.
    pub fn row(
        &mut self,
        entry: &ScoreLogEntry,
        scored: Option<&Map<String, Value>>,
        before: Option<Map<String, Value>>,
    ) -> Map<String, Value> {
        let mut row = before.unwrap_or_default();
        let own = [
            json!(entry.interaction_id),
            json!(entry.created_at),
            json!(entry.context_id),
            json!(entry.agent_id),
            json!(entry.score),
            json!(entry.p_score),
            json!(entry.rank),
            json!(entry.mode.as_str()),
            json!(entry.outcome.as_str()),
            json!(entry.updated_at),
        ];
        let told = entry.context.as_ref();
        for field in &self.schema.fields {
            let is_own = self.names.own.iter().position(|name| *name == field.name);
            let value = match is_own {
                Some(at) => Some(&own[at]),
                None if field.name == self.names.metric => entry.metric.as_ref(),
                None => told
                    .and_then(|told| told.get(&field.name))
                    .or_else(|| scored.and_then(|scored| scored.get(&field.name)))
                    .or_else(|| {
                        let is_time = self.time_feature == Some(field.name.as_str());
                        (is_time && !row.contains_key(&field.name)).then_some(&own[1])
                    }),
            };
            let Some(value) = value.filter(|value| !value.is_null()) else { continue };
            match typed(field.field_type, value, self.limits) {
                Some(value) => drop(row.insert(field.name.clone(), value)),
                None => self.left_out += 1,
            }
        }
        row
    }
}

/// The value as the type has it; none when it is of another, or too large.
fn typed(field_type: FieldType, value: &Value, limits: &Limits) -> Option<Value> {
    let fits = |text: &str| text.len() <= limits.max_value_bytes && !text.contains('\0');
    let value = match (field_type, value) {
        (FieldType::Boolean, Value::Bool(_)) => value.clone(),
        (FieldType::Boolean, Value::Number(number)) => match number.as_f64() {
            Some(number) if number == 0.0 || number == 1.0 => Value::Bool(number == 1.0),
            _ => return None,
        },
        (FieldType::Integer, Value::Bool(flag)) => json!(u8::from(*flag)),
        (FieldType::Integer, Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => json!(number),
            #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53")]
            (None, Some(number)) if number.fract() == 0.0 && number.abs() < 9e15 => json!(number as i64),
            _ => return None,
        },
        (FieldType::Float, Value::Bool(flag)) => json!(f64::from(u8::from(*flag))),
        (FieldType::Float, Value::Number(_)) => value.clone(),
        (FieldType::String, Value::String(text)) if fits(text) => value.clone(),
        (FieldType::String, Value::Bool(_) | Value::Number(_)) => Value::String(value.to_string()),
        (FieldType::Timestamp, Value::String(text)) => json!(parse_timestamp(text)?),
        (FieldType::List, Value::Array(elements)) => {
            let all_texts = elements.iter().all(|element| element.as_str().is_some_and(fits));
            return (all_texts && value.to_string().len() <= limits.max_value_bytes).then(|| value.clone());
        }
        (FieldType::Dict, Value::Object(entries)) => {
            let plain = entries.values().all(|value| value.is_number() || value.is_boolean());
            return (plain && entries.len() <= limits.max_dict_keys).then(|| value.clone());
        }
        _ => return None,
    };
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;

    fn definition() -> PredictorDefinition {
        let value = json!({
            "kind": "simple", "dataset_id": "ds_1", "from": null, "to": null,
            "metric": {"field": "score", "kind": "classification", "goal": "maximize"},
            "agent_source": "profile", "customer_source": "profile",
            "features": {"context": ["start", "reason"], "customer": ["tier"], "agent": ["agent_id"]},
            "score_expression": null,
        });
        serde_json::from_value(value).unwrap()
    }

    fn entry(change: Value) -> ScoreLogEntry {
        let mut value = json!({
            "interaction_id": "call-1", "predictor_id": "prd_1", "context_id": "cust-1", "agent_id": "ann", "score": 700.5, "rank": 1,
            "mode": "on", "outcome": "routed", "metric": null, "connection_ids": null,
            "created_at": Timestamp::UNIX_EPOCH, "updated_at": Timestamp::UNIX_EPOCH,
        });
        for (key, member) in change.as_object().unwrap() {
            value[key] = member.clone();
        }
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn rows_have_what_was_told_what_was_scored_and_what_was_known_before() {
        let field = |name: &str, field_type| Field::new(name, field_type);
        let dataset = Schema {
            version: 1,
            accepted: true,
            fields: vec![
                field("score", FieldType::Boolean),
                field("start", FieldType::Timestamp),
                field("reason", FieldType::String),
            ],
        };
        let customers = Schema { version: 1, accepted: true, fields: vec![field("tier", FieldType::Integer)] };
        let schema = schema(&definition(), &dataset, &customers).unwrap();
        let names = Names::of(&definition()).unwrap();
        let all: Vec<&str> = schema.fields.iter().map(|field| field.name.as_str()).collect();
        assert!(all.contains(&"log_score") && all.contains(&"log_agent_id") && all.contains(&"tier"), "{all:?}");
        assert_eq!(
            schema.field("score").map(|field| (field.field_type, field.role)),
            Some((FieldType::Boolean, Some(Role::Metric)))
        );
        let limits = Limits::default();
        let mut rows =
            Rows { names: &names, schema: &schema, limits: &limits, time_feature: Some("start"), left_out: 0 };
        let scored = json!({"reason": "bill", "tier": 2});
        let first = rows.row(&entry(json!({"context": {"reason": "help", "other": 1}})), scored.as_object(), None);
        assert_eq!(
            (&first["reason"], &first["tier"], &first["start"]),
            (&json!("help"), &json!(2), &json!("1970-01-01T00:00:00Z"))
        );
        assert!(!first.contains_key("score") && !first.contains_key("other"));
        // Much later the outcome comes, when nothing is kept of what was scored.
        let late = rows.row(&entry(json!({"metric": 1, "outcome": "abandoned"})), None, Some(first));
        assert_eq!((&late["score"], &late["reason"], &late["tier"]), (&json!(true), &json!("help"), &json!(2)));
        assert_eq!((&late["outcome"], rows.left_out), (&json!("abandoned"), 0));
        let odd =
            rows.row(&entry(json!({"metric": "maybe", "context": {"tier": "gold", "start": "soon"}})), None, None);
        assert!(!odd.contains_key("score") && !odd.contains_key("tier") && !odd.contains_key("start"));
        assert_eq!(rows.left_out, 3);
    }
}
