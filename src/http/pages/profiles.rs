//! `/agents` and `/customers`: records, the schema, and what is known of the values. One implementation for both.

use std::collections::HashSet;

use axum::Router;
use axum::extract::Path;
use axum::http::{Method, StatusCode};
use axum::routing::{get, post};
use minijinja::context;
use serde_json::{Value, json};

use super::choice::Part;
use super::form::Form;
use super::visit::{PageResult, Visit, segment};
use super::{record_form, schema_form};
use crate::domain::profile::ProfileKind;
use crate::http::{ApiError, AppState};
use crate::store::{Collection, Query};

/// Fields a page, of the schema, of a record and of what is known of the values.
const FIELDS: usize = 100;
/// Columns of the list when nobody asks for others.
const COLUMNS: usize = 12;

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
    let empty = Vec::new();
    let fields = schema["fields"].as_array().unwrap_or(&empty);
    let wanted = visit.asked("columns").unwrap_or_default();
    let wanted: Vec<&str> = wanted.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    let columns: Vec<&Value> = match wanted.is_empty() {
        true => fields.iter().take(COLUMNS).collect(),
        false => wanted.iter().filter_map(|name| fields.iter().find(|field| field["name"] == *name)).collect(),
    };
    let unknown: Vec<&&str> = wanted.iter().filter(|name| fields.iter().all(|field| field["name"] != **name)).collect();
    let hidden = if wanted.is_empty() { fields.len() - columns.len() } else { 0 };
    let shown = context! {
        kind => kind.as_str(), schema, total, records, columns, unknown, hidden, error, tab => "records",
    };
    visit.page_with(status, "profiles/records.html", shown).await
}

async fn new_record(visit: Visit, kind: ProfileKind) -> PageResult {
    show_record(&visit, kind, Value::Null, None, &Form::default()).await
}

async fn record(visit: Visit, kind: ProfileKind, id: String) -> PageResult {
    let record = visit.get(&format!("/{}/records/{}", kind.as_str(), segment(&id))).await?;
    show_record(&visit, kind, record, None, &Form::default()).await
}

/// The part of the fields that is asked for; the others of a record stay as they are.
fn part(visit: &Visit, fields: &[Value]) -> Part {
    let names = fields.iter().enumerate().filter_map(|(place, it)| Some((place, it["name"].as_str()?)));
    let asked = |name: &str| visit.asked(name).unwrap_or_default();
    Part::of(names, &asked("find"), &asked("page"), FIELDS)
}

async fn show_record(visit: &Visit, kind: ProfileKind, record: Value, error: Option<&str>, typed: &Form) -> PageResult {
    let (schema, total) = common(visit, kind).await?;
    let status = if error.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let empty = Vec::new();
    let all = schema["fields"].as_array().unwrap_or(&empty);
    let part = part(visit, all);
    let field = |place: &usize| {
        let field = &all[*place];
        let name = field["name"].as_str().unwrap_or_default();
        let was = record_form::text(&record[name]);
        let text = typed.all(&format!("field.{name}")).pop().unwrap_or_else(|| was.clone());
        json!({"name": name, "type": field["type"], "was": was, "text": text, "lines": text.contains('\n')})
    };
    let fields: Vec<Value> = part.places.iter().map(field).collect();
    let shown = context! {
        kind => kind.as_str(), schema, total, record, fields, part, error, typed => typed.typed(), tab => "records",
    };
    visit.page_with(status, "profiles/record.html", shown).await
}

async fn change(visit: Visit, kind: ProfileKind, id: String, form: Form) -> PageResult {
    let schema = visit.get(&format!("/{}/schema", kind.as_str())).await?;
    let path = format!("/{}/records/{}", kind.as_str(), segment(&id));
    let record = visit.get(&path).await?;
    let changes = record_form::changes(&schema, &record, &form, visit.language);
    if !changes.clashes.is_empty() {
        let text =
            visit.text("Somebody else changed {name} meanwhile. Nothing is stored: send it again if yours is to hold.");
        let said = text.replace("{name}", &changes.clashes.join(", "));
        return show_record(&visit, kind, record, Some(&said), &form).await;
    }
    let to = stay(&visit, &path);
    if changes.fields.is_empty() {
        return visit.done(&to, visit.text("Nothing was changed."));
    }
    match visit.send(Method::PATCH, &path, &Value::Object(changes.fields)).await {
        Ok(_) => visit.done(&to, visit.text("The record is stored: the next score uses it.")),
        Err(error) if error.status() == StatusCode::NOT_FOUND => Err(error.into()),
        Err(error) => show_record(&visit, kind, record, Some(error.detail()), &form).await,
    }
}

/// The same part of the fields.
fn stay(visit: &Visit, path: &str) -> String {
    let query = visit.query(&["find", "page"], &[]);
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

async fn create(visit: Visit, kind: ProfileKind, form: Form) -> PageResult {
    let schema = visit.get(&format!("/{}/schema", kind.as_str())).await?;
    let id = form.string("id");
    let path = format!("/{}/records/{}", kind.as_str(), segment(&id));
    // A post of an id that is there would replace the whole record.
    if !id.is_empty() && !visit.get_if_there(&path).await?.is_null() {
        let text = visit.text("There is a record {name} already: open it to change it, or take another id.");
        return show_record(&visit, kind, Value::Null, Some(&text.replace("{name}", &id)), &form).await;
    }
    let mut record = record_form::changes(&schema, &Value::Null, &form, visit.language).fields;
    record.retain(|_, value| !value.is_null());
    record.insert("id".to_owned(), json!(id));
    let body = json!({"records": [record], "recount": "incremental"});
    let stored = visit.post(&format!("/{}/records", kind.as_str()), &body).await;
    let refused = match &stored {
        Ok(answer) => answer["rejected"][0]["reason"].as_str().map(|reason| visit.said(reason)),
        Err(error) => Some(error.detail().to_owned()),
    };
    match refused {
        Some(reason) => {
            let field = stored.as_ref().ok().and_then(|answer| answer["rejected"][0]["field"].as_str());
            let said = field.map_or_else(|| reason.clone(), |field| format!("{field}: {reason}"));
            show_record(&visit, kind, Value::Null, Some(&said), &form).await
        }
        None => visit.done(&path, visit.text("The record is stored: the next score uses it.")),
    }
}

async fn delete(visit: Visit, kind: ProfileKind, id: String) -> PageResult {
    let path = format!("/{}/records/{}", kind.as_str(), segment(&id));
    let deleted = visit.send(Method::DELETE, &path, &Value::Null).await;
    let said = visit.text("{name} is deleted.").replace("{name}", &id);
    visit.outcome(deleted, &format!("/{}", kind.as_str()), &said)
}

async fn schema(visit: Visit, kind: ProfileKind) -> PageResult {
    show_schema(&visit, kind, None, &[], &Form::default()).await
}

/// `dropping`: fields of which the form asks once more whether they are to go.
async fn show_schema(
    visit: &Visit,
    kind: ProfileKind,
    error: Option<&ApiError>,
    dropping: &[String],
    typed: &Form,
) -> PageResult {
    let (mut schema, total) = common(visit, kind).await?;
    let mandatory: Vec<String> = kind.mandatory_fields().into_iter().map(|field| field.name).collect();
    let mut fields = schema["fields"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let part = part(visit, &fields);
    let rows = schema_form::shown(&mut fields, &part.places, typed);
    schema["fields"] = fields.into();
    let shown = context! {
        kind => kind.as_str(), schema, total, mandatory, rows, part, dropping, error => error.map(ApiError::detail),
        typed => typed.typed(), tab => "schema",
    };
    visit.page_with(error.map_or(StatusCode::OK, ApiError::status), "profiles/schema.html", shown).await
}

async fn change_schema(visit: Visit, kind: ProfileKind, form: Form) -> PageResult {
    let path = format!("/{}/schema", kind.as_str());
    let present = visit.get(&path).await?;
    let mut wanted = match schema_form::wanted(&present, &form, true) {
        Ok(wanted) => wanted,
        Err(fault) => return show_schema(&visit, kind, Some(&fault.refused(&visit)), &[], &form).await,
    };
    if !wanted.dropped.is_empty() && !form.has("sure") {
        return show_schema(&visit, kind, None, &wanted.dropped, &form).await;
    }
    // A profile's fields have no roles.
    for field in wanted.fields.iter_mut().filter_map(Value::as_object_mut) {
        field.remove("role");
    }
    let body = json!({"fields": wanted.fields, "version": present["version"]});
    match visit.send(Method::PUT, &path, &body).await {
        Ok(_) => visit.done(
            &stay(&visit, &path),
            visit.text("The schema is accepted: from now on a field that it does not have refuses its record."),
        ),
        Err(error) => show_schema(&visit, kind, Some(&error), &[], &form).await,
    }
}

async fn values(visit: Visit, kind: ProfileKind) -> PageResult {
    let (schema, total) = common(&visit, kind).await?;
    let mut cardinalities = visit.get(&format!("/{}/cardinalities", kind.as_str())).await?;
    let mut indexes = visit.get(&format!("/{}/indexes", kind.as_str())).await?;
    let taken = |list: &mut Value, key: &str| list[key].as_array_mut().map(std::mem::take).unwrap_or_default();
    let (counted, indexed) = (taken(&mut cardinalities, "fields"), taken(&mut indexes, "items"));
    // What is counted and what is indexed need not be the same fields: a page shows both of the same names.
    let name = |it: &Value| it["field"].as_str().unwrap_or_default().to_owned();
    let mut names: Vec<String> = counted.iter().map(name).collect();
    let known: HashSet<String> = names.iter().cloned().collect();
    names.extend(indexed.iter().map(name).filter(|name| !known.contains(name)));
    let asked = |name: &str| visit.asked(name).unwrap_or_default();
    let entries = names.iter().map(String::as_str).enumerate();
    let part = Part::of(entries, &asked("find"), &asked("page"), FIELDS);
    let here: HashSet<&str> = part.places.iter().map(|place| names[*place].as_str()).collect();
    let on_page = |list: Vec<Value>| -> Vec<Value> {
        list.into_iter().filter(|it| it["field"].as_str().is_some_and(|name| here.contains(name))).collect()
    };
    cardinalities["fields"] = on_page(counted).into();
    indexes["items"] = on_page(indexed).into();
    let shown = context! {
        kind => kind.as_str(), schema, total, cardinalities, indexes, part, tab => "values",
        every => visit.app.ctx.config.add_cardinalities_every_n_records,
    };
    visit.page("profiles/values.html", shown).await
}

async fn count(visit: Visit, kind: ProfileKind) -> PageResult {
    let path = format!("/{}/compute_cardinalities", kind.as_str());
    let started = visit.post(&path, &Value::Null).await;
    visit.outcome(started, &format!("/{}/values", kind.as_str()), visit.text("Every record is being counted anew."))
}
