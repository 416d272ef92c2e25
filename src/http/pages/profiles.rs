//! `/agents` and `/customers`: records, the schema, and what is known of the values. One implementation for both.

use axum::Router;
use axum::extract::Path;
use axum::http::{Method, StatusCode};
use axum::routing::{get, post};
use minijinja::context;
use serde_json::{Map, Value, json};

use super::form::Form;
use super::visit::{PageResult, Visit, segment};
use crate::domain::profile::ProfileKind;
use crate::http::{ApiError, AppState};
use crate::store::{Collection, Query};

pub(super) fn routes() -> Router<AppState> {
    let mut router = Router::new();
    for kind in [ProfileKind::Agents, ProfileKind::Customers] {
        let of = kind.as_str();
        router = router
            .route(&format!("/{of}"), get(move |visit: Visit| records(visit, kind)))
            .route(&format!("/{of}/new"), get(move |visit: Visit| new_record(visit, kind)))
            .route(
                &format!("/{of}/records/{{id}}"),
                get(move |visit: Visit, Path(id): Path<String>| record(visit, kind, id))
                    .post(move |visit: Visit, Path(id): Path<String>, form: Form| change(visit, kind, id, form)),
            )
            .route(&format!("/{of}/records"), post(move |visit: Visit, form: Form| create(visit, kind, form)))
            .route(
                &format!("/{of}/records/{{id}}/delete"),
                post(move |visit: Visit, Path(id): Path<String>| delete(visit, kind, id)),
            )
            .route(
                &format!("/{of}/schema"),
                get(move |visit: Visit| schema(visit, kind))
                    .post(move |visit: Visit, form: Form| change_schema(visit, kind, form)),
            )
            .route(&format!("/{of}/values"), get(move |visit: Visit| values(visit, kind)))
            .route(&format!("/{of}/count"), post(move |visit: Visit| count(visit, kind)));
    }
    router
}

async fn common(visit: &Visit, kind: ProfileKind) -> Result<(Value, u64), ApiError> {
    let schema = visit.get(&format!("/{}/schema", kind.as_str())).await?;
    let collection = match kind {
        ProfileKind::Agents => Collection::Agents,
        ProfileKind::Customers => Collection::Customers,
    };
    let total = visit.app.ctx.store.count(&Query::new(collection, visit.session.account_id.as_str())).await?;
    Ok((schema, total))
}

async fn records(visit: Visit, kind: ProfileKind) -> PageResult {
    let (schema, total) = common(&visit, kind).await?;
    let query = visit.query(&["filter", "sort", "after"], &[("limit", "50")]);
    let (records, error) = match visit.get(&format!("/{}/records?{query}", kind.as_str())).await {
        Ok(records) => (records, None),
        Err(error) if error.status().is_client_error() => (Value::Null, Some(error.detail().to_owned())),
        Err(error) => return Err(error.into()),
    };
    let status = if error.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let shown = context! { kind => kind.as_str(), schema, total, records, error, tab => "records" };
    visit.page_with(status, "profiles/records.html", shown).await
}

async fn new_record(visit: Visit, kind: ProfileKind) -> PageResult {
    show_record(&visit, kind, Value::Null, None, &Form::default()).await
}

async fn record(visit: Visit, kind: ProfileKind, id: String) -> PageResult {
    let record = visit.get(&format!("/{}/records/{}", kind.as_str(), segment(&id))).await?;
    show_record(&visit, kind, record, None, &Form::default()).await
}

async fn show_record(visit: &Visit, kind: ProfileKind, record: Value, error: Option<&str>, typed: &Form) -> PageResult {
    let (schema, total) = common(visit, kind).await?;
    let status = if error.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let shown = context! {
        kind => kind.as_str(), schema, total, record, error, typed => typed.typed(), tab => "records",
    };
    visit.page_with(status, "profiles/record.html", shown).await
}

/// What was typed for each field, as the API takes it. Lists are lines, dictionaries `key = value` lines.
fn typed_fields(schema: &Value, form: &Form) -> Map<String, Value> {
    let mut fields = Map::new();
    for field in schema["fields"].as_array().into_iter().flatten() {
        let Some(name) = field["name"].as_str() else { continue };
        let Some(text) = form.all(&format!("field.{name}")).pop() else { continue };
        let text = text.trim();
        let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
        let number = |text: &str| serde_json::from_str::<serde_json::Number>(text).ok().map(Value::Number);
        let value = match field["type"].as_str().unwrap_or_default() {
            _ if text.is_empty() => Value::Null,
            "List" => lines().map(|line| json!(line)).collect(),
            "Dict" => {
                let pair = |line: &str| {
                    let (key, value) = line.rsplit_once('=').unwrap_or((line, "1"));
                    let value = value.trim();
                    let parsed = value.parse::<bool>().ok().map(Value::Bool).or_else(|| number(value));
                    (key.trim().to_owned(), parsed.unwrap_or_else(|| json!(value)))
                };
                Value::Object(lines().map(pair).collect())
            }
            "Boolean" => text.parse::<bool>().map_or_else(|_| json!(text), Value::Bool),
            "Integer" | "Float" => number(text).unwrap_or_else(|| json!(text)),
            _ => json!(text),
        };
        fields.insert(name.to_owned(), value);
    }
    fields
}

async fn change(visit: Visit, kind: ProfileKind, id: String, form: Form) -> PageResult {
    let schema = visit.get(&format!("/{}/schema", kind.as_str())).await?;
    let path = format!("/{}/records/{}", kind.as_str(), segment(&id));
    let changes = Value::Object(typed_fields(&schema, &form));
    match visit.send(Method::PATCH, &path, &changes).await {
        Ok(_) => visit.done(&path, visit.text("The record is stored: the next score uses it.")),
        Err(error) if error.status() == StatusCode::NOT_FOUND => Err(error.into()),
        Err(error) => {
            let record = visit.get(&path).await?;
            show_record(&visit, kind, record, Some(error.detail()), &form).await
        }
    }
}

async fn create(visit: Visit, kind: ProfileKind, form: Form) -> PageResult {
    let schema = visit.get(&format!("/{}/schema", kind.as_str())).await?;
    let mut record = typed_fields(&schema, &form);
    record.retain(|_, value| !value.is_null());
    let id = form.string("id");
    record.insert("id".to_owned(), json!(id));
    let body = json!({"records": [record], "recount": "incremental"});
    let stored = visit.post(&format!("/{}/records", kind.as_str()), &body).await;
    let refused = match &stored {
        Ok(answer) => answer["rejected"][0]["reason"].as_str(),
        Err(error) => Some(error.detail()),
    };
    match refused {
        Some(reason) => show_record(&visit, kind, Value::Null, Some(reason), &form).await,
        None => {
            let path = format!("/{}/records/{}", kind.as_str(), segment(&id));
            visit.done(&path, visit.text("The record is stored: the next score uses it."))
        }
    }
}

async fn delete(visit: Visit, kind: ProfileKind, id: String) -> PageResult {
    let path = format!("/{}/records/{}", kind.as_str(), segment(&id));
    let deleted = visit.send(Method::DELETE, &path, &Value::Null).await;
    let said = visit.text("{name} is deleted.").replace("{name}", &id);
    visit.outcome(deleted, &format!("/{}", kind.as_str()), &said)
}

async fn schema(visit: Visit, kind: ProfileKind) -> PageResult {
    show_schema(&visit, kind, None, &Form::default()).await
}

async fn show_schema(visit: &Visit, kind: ProfileKind, error: Option<&ApiError>, typed: &Form) -> PageResult {
    let (schema, total) = common(visit, kind).await?;
    let mandatory: Vec<String> = kind.mandatory_fields().into_iter().map(|field| field.name).collect();
    let shown = context! {
        kind => kind.as_str(), schema, total, mandatory, error => error.map(ApiError::detail),
        typed => typed.typed(), tab => "schema",
    };
    visit.page_with(error.map_or(StatusCode::OK, ApiError::status), "profiles/schema.html", shown).await
}

async fn change_schema(visit: Visit, kind: ProfileKind, form: Form) -> PageResult {
    let mut fields = Vec::new();
    for index in 0.. {
        let value = |name: &str| form.all(&format!("{name}.{index}")).pop();
        let Some(name) = value("name") else { break };
        if value("drop").is_some() || name.trim().is_empty() {
            continue;
        }
        fields.push(json!({"name": name, "type": value("type"), "visible": value("visible").is_some()}));
    }
    let path = format!("/{}/schema", kind.as_str());
    match visit.send(Method::PUT, &path, &json!({"fields": fields})).await {
        Ok(_) => visit.done(
            &path,
            visit.text("The schema is accepted: from now on a field that it does not have refuses its record."),
        ),
        Err(error) => show_schema(&visit, kind, Some(&error), &form).await,
    }
}

async fn values(visit: Visit, kind: ProfileKind) -> PageResult {
    let (schema, total) = common(&visit, kind).await?;
    let cardinalities = visit.get(&format!("/{}/cardinalities", kind.as_str())).await?;
    let indexes = visit.get(&format!("/{}/indexes", kind.as_str())).await?;
    let shown = context! {
        kind => kind.as_str(), schema, total, cardinalities, indexes, tab => "values",
        every => visit.app.ctx.config.add_cardinalities_every_n_records,
    };
    visit.page("profiles/values.html", shown).await
}

async fn count(visit: Visit, kind: ProfileKind) -> PageResult {
    let path = format!("/{}/compute_cardinalities", kind.as_str());
    let started = visit.post(&path, &Value::Null).await;
    visit.outcome(started, &format!("/{}/values", kind.as_str()), visit.text("Every record is being counted anew."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_becomes_values_of_the_fields_types() {
        let schema = json!({"fields": [
            {"name": "skills", "type": "Dict"}, {"name": "groups", "type": "List"}, {"name": "age", "type": "Integer"},
            {"name": "vip", "type": "Boolean"}, {"name": "note", "type": "String"}, {"name": "left", "type": "String"},
        ]});
        let form =
            "field.skills=English+%3D+5%0D%0Abilling%3Dtrue&field.groups=a%0Ab&field.age=4x&field.vip=true&field.note=";
        let fields = typed_fields(&schema, &Form::parse(form.as_bytes()));
        let wanted = json!({"skills": {"English": 5, "billing": true}, "groups": ["a", "b"], "age": "4x", "vip": true, "note": null});
        assert_eq!(Value::Object(fields), wanted);
    }
}
