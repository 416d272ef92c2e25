//! `/datasets/{id}/schema`: the schema editor, a page of fields at a time.

use axum::extract::Path;
use axum::http::{Method, StatusCode};
use minijinja::context;
use serde_json::{Value, json};

use super::choice::Part;
use super::datasets::load;
use super::form::Form;
use super::schema_form;
use super::visit::{PageResult, Visit};
use crate::http::ApiError;

/// Fields of a schema a page.
const FIELDS: usize = 100;

pub(super) async fn page(visit: Visit, Path(id): Path<String>) -> PageResult {
    show(&visit, &id, None, &[], &Form::default()).await
}

/// `dropping`: fields of which the form asks once more whether they are to go.
async fn show(visit: &Visit, id: &str, error: Option<&ApiError>, dropping: &[String], typed: &Form) -> PageResult {
    let dataset = load(visit, id).await?;
    let mut schema = visit.get(&format!("/datasets/{id}/schema")).await?;
    let mut fields = schema["fields"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let names = fields.iter().enumerate().filter_map(|(place, it)| Some((place, it["name"].as_str()?)));
    let asked = |name: &str| visit.asked(name).unwrap_or_default();
    let part = Part::of(names, &asked("find"), &asked("page"), FIELDS);
    schema["fields"] = schema_form::shown(&mut fields, &part.places, typed).into();
    let status = error.map_or(StatusCode::OK, ApiError::status);
    let fields = error.map(|error| serde_json::to_value(error.fields()).unwrap_or_default());
    let error = error.map(ApiError::detail);
    let shown = context! { dataset, schema, part, error, fields, dropping, tab => "schema" };
    visit.page_with(status, "datasets/schema.html", shown).await
}

/// `name.0`, `was.0`, `type.0`, `role.0`, `visible.0`, `drop.0`, and so on: one of each for a field of the page
/// ([`schema_form`]). The others stay as they are.
pub(super) async fn change(visit: Visit, Path(id): Path<String>, form: Form) -> PageResult {
    let path = format!("/datasets/{id}/schema");
    let present = visit.get(&path).await?;
    let wanted = match schema_form::wanted(&present, &form, false) {
        Ok(wanted) => wanted,
        Err(fault) => return show(&visit, &id, Some(&fault.refused(&visit)), &[], &form).await,
    };
    if !wanted.dropped.is_empty() && !form.has("sure") {
        return show(&visit, &id, None, &wanted.dropped, &form).await;
    }
    let body = json!({"fields": wanted.fields, "remove": wanted.dropped});
    let answer = match visit.send(Method::PUT, &path, &body).await {
        Ok(answer) => answer,
        Err(error) if error.status() == StatusCode::NOT_FOUND => return Err(error.into()),
        Err(error) => return show(&visit, &id, Some(&error), &[], &form).await,
    };
    if form.has("accept") {
        let accepted = visit.post(&format!("{path}/accept"), &Value::Null).await;
        let said = visit.text("The schema is accepted: the rows are being stored.");
        return visit.outcome(accepted, &format!("/datasets/{id}"), said);
    }
    let said = if answer["job_id"].is_string() {
        visit.text("The rows are being written anew by the new schema.")
    } else {
        visit.text("The schema is changed.")
    };
    visit.done(&here(&visit, &path, form.get("to")), said)
}

/// The same part of a list, or another page of it.
fn here(visit: &Visit, path: &str, page: Option<&str>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in [("find", visit.asked("find")), ("page", page.map(str::to_owned).or(visit.asked("page")))] {
        if let Some(value) = value {
            query.append_pair(name, &value);
        }
    }
    let query = query.finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

pub(super) async fn accept(visit: Visit, Path(id): Path<String>) -> PageResult {
    let accepted = visit.post(&format!("/datasets/{id}/schema/accept"), &Value::Null).await;
    let said = visit.text("The schema is accepted: the rows are being stored.");
    visit.outcome(accepted, &format!("/datasets/{id}"), said)
}
