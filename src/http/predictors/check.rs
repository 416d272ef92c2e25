//! What makes a predictor's definition acceptable. Every finding names its place in the body and what to do.

use serde_json::Value;

use super::body::PredictorBody;
use crate::domain::cardinality::{Cardinalities, FieldCardinality};
use crate::domain::predictor::{
    AgentSource, CustomerSource, Features, Goal, Metric, MetricKind, PredictorDefinition, is_predictor_name,
};
use crate::domain::schema::{Field, FieldType, Role, Schema};
use crate::expression::{Expression, Range, RangeError};
use crate::http::ApiError;

/// What a definition is checked against.
pub struct Surroundings {
    pub dataset: Schema,
    /// The dataset's counts, when they are there.
    pub cardinalities: Option<Cardinalities>,
    pub agents: Schema,
    pub customers: Schema,
}

/// The name of the variable in a score expression.
pub const P_SCORE: &str = "p_score";

/// Highest score that is taken as possible for a regression: only used to judge composites.
const REGRESSION_LIMIT: f64 = 1e9;

pub fn name(name: &str) -> Result<(), ApiError> {
    if is_predictor_name(name) {
        return Ok(());
    }
    let text = "A predictor's name holds 1 to 100 letters (A to Z), digits and underscores, and starts with a letter \
                or an underscore.";
    Err(ApiError::unprocessable("bad_name", text).field("name", "not such a name"))
}

/// The definition of a simple predictor, with warnings for people.
pub fn simple(body: PredictorBody, around: &Surroundings) -> Result<(PredictorDefinition, Vec<String>), ApiError> {
    let missing = |path: &str| {
        let text = format!("A simple predictor needs {path}; a composite one has `combine` instead.");
        ApiError::unprocessable("invalid_body", text).field(path, "missing")
    };
    let dataset_id = body.dataset_id.ok_or_else(|| missing("dataset_id"))?;
    let metric = body.metric.ok_or_else(|| missing("metric"))?;
    let features = body.features.ok_or_else(|| missing("features"))?;
    let agent_source = body.agent_source.unwrap_or(AgentSource::Profile);
    let customer_source = body.customer_source.unwrap_or(CustomerSource::None);
    if around.dataset.with_role(Role::AgentId).is_none() {
        let text = "No field of the dataset has the role agent_id, so nobody can be scored. Give the field that says \
                    who served the interaction that role: PUT /api/v1/datasets/{id}/schema.";
        return Err(ApiError::unprocessable("no_agent_id", text).field("dataset_id", "no field has the role agent_id"));
    }
    if let (Some(from), Some(to)) = (body.from, body.to)
        && from >= to
    {
        let text = "`from` is not before `to`: the range holds no interaction.";
        return Err(ApiError::unprocessable("bad_range", text).field("from", "not before `to`"));
    }
    if (body.from.is_some() || body.to.is_some()) && around.dataset.with_role(Role::Timestamp).is_none() {
        let text = "The dataset has no field with the role timestamp, so a date range selects nothing. Give a field \
                    that role, or leave `from` and `to` out.";
        return Err(ApiError::unprocessable("no_timestamp", text).field("from", "the dataset has no timestamp"));
    }
    check_metric(&metric, around)?;
    let warnings = check_features(&features, &metric, agent_source, customer_source, around)?;
    if let Some(text) = &body.score_expression {
        score_expression(text, metric.kind)?;
    }
    let definition = PredictorDefinition::Simple {
        dataset_id,
        from: body.from,
        to: body.to,
        metric,
        agent_source,
        customer_source,
        features,
        score_expression: body.score_expression,
    };
    Ok((definition, warnings))
}

fn check_metric(metric: &Metric, around: &Surroundings) -> Result<(), ApiError> {
    let Some(field) = around.dataset.field(&metric.field) else {
        return Err(missing_field("metric.field", &metric.field, "the dataset", &around.dataset));
    };
    let counts = around.cardinalities.as_ref().and_then(|all| all.fields.iter().find(|f| f.field == metric.field));
    match metric.kind {
        MetricKind::Regression => {
            if !matches!(field.field_type, FieldType::Integer | FieldType::Float) {
                let text = format!(
                    "A regression predicts a number, but {} is {}. Choose an Integer or Float field, or the kind classification.",
                    field.name,
                    type_name(field.field_type)
                );
                return Err(ApiError::unprocessable("bad_metric", text).field("metric.field", "not a number"));
            }
            if metric.positive.is_some() {
                let text = "`positive` names the success of a classification; a regression has none. Leave it out.";
                return Err(
                    ApiError::unprocessable("bad_metric", text).field("metric.positive", "only for classification")
                );
            }
            match counts {
                Some(counts) if counts.exact && counts.distinct <= 1 => Err(one_value(field, counts)),
                _ => Ok(()),
            }
        }
        MetricKind::Classification => {
            let positive = positive_value(metric, field)?;
            match counts {
                Some(counts) => check_classes(field, &positive, counts),
                None => Ok(()),
            }
        }
    }
}

/// The value that counts as success, checked against the field's type.
fn positive_value(metric: &Metric, field: &Field) -> Result<Value, ApiError> {
    let wrong =
        |text: String| ApiError::unprocessable("bad_metric", text).field("metric.positive", "does not fit the field");
    match (field.field_type, &metric.positive) {
        (FieldType::Boolean, None) => Ok(Value::Bool(true)),
        (FieldType::Integer, None) => Ok(Value::from(1)),
        (FieldType::Boolean, Some(Value::Bool(flag))) => Ok(Value::Bool(*flag)),
        (FieldType::Integer, Some(Value::Number(number))) if number.is_i64() => Ok(Value::Number(number.clone())),
        (FieldType::String, Some(Value::String(text))) => Ok(Value::String(text.clone())),
        (FieldType::Boolean | FieldType::Integer, Some(other)) => {
            Err(wrong(format!("`positive` is {other}, but {} is {}.", field.name, type_name(field.field_type))))
        }
        (FieldType::String, _) => Err(wrong(format!(
            "{} is text: say which value counts as success, such as \"positive\": \"yes\".",
            field.name
        ))),
        (other, _) => Err(ApiError::unprocessable(
            "bad_metric",
            format!(
                "A classification needs a Boolean, Integer or String field, but {} is {}. Choose another field, or the \
                 kind regression for numbers.",
                field.name,
                type_name(other)
            ),
        )
        .field("metric.field", "not a class")),
    }
}

fn check_classes(field: &Field, positive: &Value, counts: &FieldCardinality) -> Result<(), ApiError> {
    if counts.rows == counts.nulls || (counts.exact && counts.distinct <= 1) {
        return Err(one_value(field, counts));
    }
    // Counts are listed while values are few; the list is complete when it has every distinct value.
    let Some(values) = counts.values.as_ref().filter(|v| counts.exact && v.len() as u64 == counts.distinct) else {
        return Ok(());
    };
    if values.iter().any(|value| value.value == *positive) {
        return Ok(());
    }
    let known: Vec<String> = values.iter().take(10).map(|value| value.value.to_string()).collect();
    let text = format!(
        "No row of the dataset has {} = {positive}, so there is only one class to learn. Its values are {}. Choose one of \
         them as `positive`.",
        field.name,
        known.join(", ")
    );
    Err(ApiError::unprocessable("one_class", text).field("metric.positive", "no row has this value"))
}

fn one_value(field: &Field, counts: &FieldCardinality) -> ApiError {
    let found = match counts.min.as_ref() {
        Some(value) => format!("only the value {value}"),
        None => "no value at all".to_owned(),
    };
    let text = format!(
        "{} has {found} in all {} rows: there is nothing to tell apart. Choose a metric with at least two different outcomes.",
        field.name, counts.rows
    );
    ApiError::unprocessable("one_class", text).field("metric.field", "has only one value")
}

/// Where each feature comes from must be known; answers warnings about features taken from today's profile.
fn check_features(
    features: &Features,
    metric: &Metric,
    agent_source: AgentSource,
    customer_source: CustomerSource,
    around: &Surroundings,
) -> Result<Vec<String>, ApiError> {
    if features.context.is_empty() && features.customer.is_empty() && features.agent.is_empty() {
        let text = "A predictor needs at least one feature: list some in `features.context`, `.customer` or `.agent`.";
        return Err(ApiError::unprocessable("no_features", text).field("features", "empty"));
    }
    let agent_profile = (agent_source == AgentSource::Profile).then_some((&around.agents, "agent profile"));
    let customer_profile =
        (customer_source == CustomerSource::Profile).then_some((&around.customers, "customer profile"));
    let sides = [
        ("context", &features.context, None),
        ("customer", &features.customer, customer_profile),
        ("agent", &features.agent, agent_profile),
    ];
    let agent_id = around.dataset.with_role(Role::AgentId).map(|field| field.name.as_str());
    let mut seen: Vec<&str> = Vec::new();
    let mut warnings = Vec::new();
    for (side, names, profile) in sides {
        for (index, name) in names.iter().enumerate() {
            let path = format!("features.{side}[{index}]");
            let refuse = |text: String, short: &str| {
                Err(ApiError::unprocessable("bad_feature", text).field(path.clone(), short))
            };
            if seen.contains(&name.as_str()) {
                return refuse(
                    format!("{name} is listed twice among the features: list each once, on one side."),
                    "twice",
                );
            }
            seen.push(name);
            if *name == metric.field {
                return refuse(format!("{name} is the metric: it cannot predict itself."), "is the metric");
            }
            if Some(name.as_str()) == agent_id {
                let text =
                    format!("{name} is the agent's id: models learn about single agents by themselves. Leave it out.");
                return refuse(text, "is the agent's id");
            }
            let in_dataset = around.dataset.field(name).is_some();
            match profile {
                Some((schema, what)) if schema.field(name).is_none() => {
                    if in_dataset {
                        let text = format!(
                            "{name} is a field of the dataset, but not of the {what}, from which it would be read when \
                             scoring. Add it to the profile, or set {side}_source to {}.",
                            if side == "agent" { "dataset" } else { "none" }
                        );
                        return Err(ApiError::unprocessable("missing_field", text).field(path, "not in the profile"));
                    }
                    return Err(missing_field(&path, name, &format!("the dataset and the {what}"), schema));
                }
                Some((_, what)) if !in_dataset => warnings.push(format!(
                    "{name} is not in the dataset: training uses today's {what}, which may hold knowledge of later times \
                     (leakage)."
                )),
                None if !in_dataset => return Err(missing_field(&path, name, "the dataset", &around.dataset)),
                _ => {}
            }
        }
    }
    Ok(warnings)
}

fn missing_field(path: &str, name: &str, place: &str, schema: &Schema) -> ApiError {
    let close = schema.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name));
    let hint = match close {
        Some(field) => format!("Did you mean {}?", field.name),
        None => {
            let names: Vec<&str> = schema.fields.iter().map(|field| field.name.as_str()).take(20).collect();
            let more = if schema.fields.len() > 20 { ", …" } else { "" };
            format!("Its fields are: {}{more}.", names.join(", "))
        }
    };
    let text = format!("There is no field {name:?} in {place}. {hint}");
    ApiError::unprocessable("missing_field", text).field(path, "no such field")
}

fn type_name(field_type: FieldType) -> &'static str {
    match field_type {
        FieldType::Boolean => "a Boolean",
        FieldType::Integer => "an Integer",
        FieldType::Float => "a Float",
        FieldType::String => "a String",
        FieldType::Timestamp => "a Timestamp",
        FieldType::List => "a List",
        FieldType::Dict => "a Dict",
    }
}

/// A score expression over `p_score`; answers the range of its scores.
pub fn score_expression(text: &str, kind: MetricKind) -> Result<Range, ApiError> {
    const PATH: &str = "score_expression";
    let refuse = |position: Option<usize>, message: String| bad_expression(PATH, position, message);
    let expression = Expression::parse(text).map_err(|error| refuse(Some(error.position), error.message))?;
    if let Some(other) = expression.names().into_iter().find(|name| *name != P_SCORE) {
        let position = expression.position_of(other);
        return Err(refuse(position, format!("{other} is not known here: a score expression knows p_score only")));
    }
    match kind {
        MetricKind::Classification => {
            expression.check_range(&|_| Some(Range::UNIT)).map_err(|error| range_error(PATH, &error))
        }
        // A predicted metric has no bounds to check against; what an expression gives is held to finite and ≥ 0.
        MetricKind::Regression => match expression.check_range(&|_| Some(Range::new(0.0, REGRESSION_LIMIT))) {
            Err(error @ RangeError::DivisionByZero { .. }) => Err(range_error(PATH, &error)),
            Err(_) => Ok(Range::new(0.0, REGRESSION_LIMIT)),
            Ok(range) => Ok(range),
        },
    }
}

/// The range of a simple predictor's scores.
pub fn score_range(metric: &Metric, expression: Option<&str>) -> Range {
    let by_default = match (metric.kind, metric.goal) {
        (MetricKind::Classification, Goal::Maximize | Goal::Minimize) => Range::new(0.0, 1000.0),
        (MetricKind::Regression, _) => Range::new(0.0, REGRESSION_LIMIT),
    };
    expression.and_then(|text| score_expression(text, metric.kind).ok()).unwrap_or(by_default)
}

/// A composite's expression, given the simple predictors of the account.
pub fn combine(text: &str, simple: &[(String, Range)]) -> Result<(), ApiError> {
    const PATH: &str = "combine";
    let expression =
        Expression::parse(text).map_err(|error| bad_expression(PATH, Some(error.position), error.message))?;
    if expression.names().is_empty() {
        return Err(bad_expression(PATH, None, "it names no predictor".to_owned()));
    }
    let range = |name: &str| simple.iter().find(|(known, _)| known == name).map(|(_, range)| *range);
    for name in expression.names() {
        if range(name).is_none() {
            let text = format!("there is no simple predictor {name} in this account");
            return Err(bad_expression(PATH, expression.position_of(name), text));
        }
    }
    expression.check_range(&range).map(|_| ()).map_err(|error| range_error(PATH, &error))
}

fn range_error(path: &str, error: &RangeError) -> ApiError {
    let position = match error {
        RangeError::UnknownName { position, .. } | RangeError::DivisionByZero { position } => Some(*position),
        RangeError::Infinite | RangeError::Negative { .. } => None,
    };
    bad_expression(path, position, error.to_string())
}

fn bad_expression(path: &str, position: Option<usize>, message: String) -> ApiError {
    let text = match position {
        Some(position) => format!("{path} is not usable at position {position}: {message}."),
        None => format!("{path} is not usable: {message}."),
    };
    let error = ApiError::unprocessable("bad_expression", text).field(path, message);
    match position {
        Some(position) => error.with("position", position),
        None => error,
    }
}
