//! `/datasets`: lists, one dataset with its columns, rows, schema and versions, and what can be done with them.

use std::collections::HashSet;

use axum::Router;
use axum::extract::Path;
use axum::http::{Method, StatusCode};
use axum::routing::{get, post};
use minijinja::context;
use serde_json::{Value, json};

use super::choice::Part;
use super::form::Form;
use super::jobs::described_one;
use super::schema_form;
use super::visit::{PageResult, Visit, segment};
use crate::domain::profile::parse_timestamp;
use crate::http::{ApiError, AppState};

/// Fields of a schema a page.
const FIELDS: usize = 100;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/datasets", get(list))
        .route("/datasets/{id}", get(show))
        .route("/datasets/{id}/columns", get(columns))
        .route("/datasets/{id}/columns/{name}", get(column))
        .route("/datasets/{id}/rows", get(rows))
        .route("/datasets/{id}/rejected", get(rejected))
        .route("/datasets/{id}/schema", get(schema).post(change_schema))
        .route("/datasets/{id}/accept", post(accept))
        .route("/datasets/{id}/versions", get(versions))
        .route("/datasets/{id}/revert", post(revert))
        .route("/datasets/{id}/delete_range", post(delete_range))
        .route("/datasets/{id}/count", post(count))
        .route("/datasets/{id}/refresh", post(refresh))
        .route("/datasets/{id}/delete", post(delete))
}

async fn list(visit: Visit) -> PageResult {
    let query = visit.query(&["name", "state", "sort", "after"], &[("limit", "50"), ("sort", "-id")]);
    let datasets = visit.get(&format!("/datasets?{query}")).await?;
    visit.page("datasets/list.html", context! { datasets }).await
}

async fn load(visit: &Visit, id: &str) -> Result<Value, ApiError> {
    visit.get(&format!("/datasets/{}", segment(id))).await
}

async fn show(visit: Visit, Path(id): Path<String>) -> PageResult {
    let dataset = load(&visit, &id).await?;
    let schema = visit.get_if_there(&format!("/datasets/{id}/schema")).await?;
    let job = described_one(&visit, dataset["job_id"].as_str()).await?;
    let time = role(&schema, "timestamp");
    let ready = dataset["state"] == "ready";
    // What only a picture shows must not take the page away.
    let volume = match &time {
        Some(time) if ready => {
            visit.get(&format!("/datasets/{id}/columns/{}", segment(time))).await.map(drawn).unwrap_or(Value::Null)
        }
        _ => Value::Null,
    };
    let predictors = visit.get(&format!("/predictors?limit=100&dataset_id={id}")).await?;
    let shown = context! { dataset, schema, job, volume, predictors, tab => "overview" };
    visit.page("datasets/show.html", shown).await
}

/// Adds what a chart draws: `bars` with their `axis`, and curves over time.
pub(super) fn drawn(mut column: Value) -> Value {
    if column.is_null() {
        return column;
    }
    let empty = Vec::new();
    let name = column["name"].clone();
    let is_time = column["type"] == "Timestamp";
    let histogram = column["histogram"].as_array().unwrap_or(&empty);
    if histogram.is_empty() {
        let top = column["top"].as_array().unwrap_or(&empty);
        let bars: Vec<Value> = top.iter().enumerate().map(|(at, it)| json!([at, at + 1, it["rows"]])).collect();
        let words = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let values: Vec<String> = top.iter().map(|it| words(&it["value"])).collect();
        column["bars"] = json!(bars);
        column["axis"] = json!({"label": name, "format": "text", "values": values});
    } else {
        let bars: Vec<Value> = histogram.iter().map(|it| json!([it["from"], it["to"], it["rows"]])).collect();
        column["bars"] = json!(bars);
        column["axis"] = json!({"label": name, "format": if is_time { "day" } else { "num" }});
    }
    if is_time {
        let day = |value: &Value| {
            let seconds = value.as_f64().map(|it| it as i64);
            seconds.and_then(|it| chrono::DateTime::from_timestamp(it, 0)).map(|it| it.format("%Y-%m-%d").to_string())
        };
        column["top_from"] = json!(day(&column["quantiles"]["p05"]));
        column["top_to"] = json!(day(&column["quantiles"]["p95"]));
    }
    let periods = column["over_time"].as_array().cloned().unwrap_or_default();
    let curve = |value: &dyn Fn(&Value) -> Value| -> Vec<Value> {
        periods.iter().map(|it| json!([it["from"], value(it)])).collect()
    };
    let missing = |it: &Value| {
        let (rows, missing) = (it["rows"].as_f64().unwrap_or(0.0), it["missing"].as_f64().unwrap_or(0.0));
        if rows > 0.0 { json!(missing / rows) } else { Value::Null }
    };
    let curves = json!({
        "distinct_points": curve(&|it| it["distinct"].clone()),
        "so_far_points": curve(&|it| it["distinct_so_far"].clone()),
        "missing_points": curve(&missing),
    });
    for (key, points) in curves.as_object().into_iter().flatten() {
        column[key] = points.clone();
    }
    if periods.iter().any(|it| it["mean"].is_number()) {
        column["mean_points"] = json!(curve(&|it| it["mean"].clone()));
    }
    column
}

/// The first field with this role.
fn role(schema: &Value, role: &str) -> Option<String> {
    let fields = schema["fields"].as_array()?;
    fields.iter().find(|field| field["role"] == role)?["name"].as_str().map(str::to_owned)
}

async fn columns(visit: Visit, Path(id): Path<String>) -> PageResult {
    let dataset = load(&visit, &id).await?;
    let query = visit.query(&["name", "target", "after"], &[("limit", "25")]);
    let columns = visit.get(&format!("/datasets/{id}/columns?{query}")).await;
    let (mut columns, error) = shown_or_said(columns)?;
    if let Some(items) = columns.get_mut("items").and_then(Value::as_array_mut) {
        items.iter_mut().for_each(|item| *item = drawn(item.take()));
    }
    let schema = visit.get_if_there(&format!("/datasets/{id}/schema")).await?;
    let mut cardinalities = visit.get_if_there(&format!("/datasets/{id}/cardinalities")).await?;
    let mut indexes = visit.get_if_there(&format!("/datasets/{id}/indexes")).await?;
    // What is told beside the columns is told of those on this page.
    let here: HashSet<&str> =
        columns["items"].as_array().into_iter().flatten().filter_map(|it| it["name"].as_str()).collect();
    for list in [cardinalities.get_mut("fields"), indexes.get_mut("items")] {
        if let Some(list) = list.and_then(Value::as_array_mut) {
            list.retain(|it| it["field"].as_str().is_some_and(|name| here.contains(name)));
        }
    }
    let shown = context! { dataset, columns, schema, cardinalities, indexes, error, tab => "columns" };
    let status = if error.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    visit.page_with(status, "datasets/columns.html", shown).await
}

/// What a person asked for is refused beside the question, not instead of the page.
fn shown_or_said(result: Result<Value, ApiError>) -> Result<(Value, Option<String>), ApiError> {
    match result {
        Ok(value) => Ok((value, None)),
        Err(error) if error.status().is_client_error() && error.status() != StatusCode::NOT_FOUND => {
            Ok((Value::Null, Some(error.detail().to_owned())))
        }
        Err(error) if error.status() == StatusCode::SERVICE_UNAVAILABLE => {
            Ok((Value::Null, Some(error.detail().to_owned())))
        }
        Err(error) => Err(error),
    }
}

async fn column(visit: Visit, Path((id, name)): Path<(String, String)>) -> PageResult {
    let dataset = load(&visit, &id).await?;
    let column = drawn(visit.get(&format!("/datasets/{id}/columns/{}", segment(&name))).await?);
    let cardinalities = visit.get_if_there(&format!("/datasets/{id}/cardinalities")).await?;
    let counted = cardinalities["fields"].as_array().and_then(|all| all.iter().find(|it| it["field"] == name.as_str()));
    let shown = context! { dataset, column, counted, cardinalities, tab => "columns" };
    visit.page("datasets/column.html", shown).await
}

async fn rows(visit: Visit, Path(id): Path<String>) -> PageResult {
    /// Columns of a wide table that are shown when nobody asks for others.
    const COLUMNS: usize = 20;
    let dataset = load(&visit, &id).await?;
    let schema = visit.get_if_there(&format!("/datasets/{id}/schema")).await?;
    let wanted = visit.asked("columns").unwrap_or_default();
    let fields = schema["fields"].as_array().into_iter().flatten().filter(|it| it["visible"] != false);
    let mut names: Vec<String> = match wanted.is_empty() {
        true => fields.filter_map(|it| it["name"].as_str().map(str::to_owned)).collect(),
        false => wanted.split(',').map(|name| name.trim().to_owned()).collect(),
    };
    let all = names.len();
    let mut query = visit.query(&["filter", "columns", "from", "to", "after"], &[("limit", "50")]);
    if wanted.is_empty() {
        names.truncate(COLUMNS);
        // What is not shown need not be read. A list of names is separated by commas.
        if all > COLUMNS && names.iter().all(|name| !name.contains(',')) {
            query = format!("{query}&columns={}", segment(&names.join(",")));
        }
    }
    let hidden = all - names.len();
    let (rows, error) = shown_or_said(visit.get(&format!("/datasets/{id}/rows?{query}")).await)?;
    let status = if error.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let fields = schema["fields"].as_array().into_iter().flatten();
    let times: Vec<&str> = fields.filter(|it| it["type"] == "Timestamp").filter_map(|it| it["name"].as_str()).collect();
    let shown = context! { dataset, rows, names, times, hidden, error, tab => "rows" };
    visit.page_with(status, "datasets/rows.html", shown).await
}

/// The refused rows, as far as a page can show them.
async fn rejected(visit: Visit, Path(id): Path<String>) -> PageResult {
    let dataset = load(&visit, &id).await?;
    let text = visit.text_of(&format!("/datasets/{id}/rejected")).await?;
    let (head, lines, more) = super::uploads::csv_head(&text, 200);
    visit.page("datasets/rejected.html", context! { dataset, head, lines, more, tab => "overview" }).await
}

async fn schema(visit: Visit, Path(id): Path<String>) -> PageResult {
    show_schema(&visit, &id, None, &[], &Form::default()).await
}

/// `dropping`: fields of which the form asks once more whether they are to go.
async fn show_schema(
    visit: &Visit,
    id: &str,
    error: Option<&ApiError>,
    dropping: &[String],
    typed: &Form,
) -> PageResult {
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
async fn change_schema(visit: Visit, Path(id): Path<String>, form: Form) -> PageResult {
    let path = format!("/datasets/{id}/schema");
    let present = visit.get(&path).await?;
    let wanted = match schema_form::wanted(&present, &form, false) {
        Ok(wanted) => wanted,
        Err(fault) => return show_schema(&visit, &id, Some(&fault.refused(&visit)), &[], &form).await,
    };
    if !wanted.dropped.is_empty() && !form.has("sure") {
        return show_schema(&visit, &id, None, &wanted.dropped, &form).await;
    }
    let body = json!({"fields": wanted.fields, "remove": wanted.dropped});
    let answer = match visit.send(Method::PUT, &path, &body).await {
        Ok(answer) => answer,
        Err(error) if error.status() == StatusCode::NOT_FOUND => return Err(error.into()),
        Err(error) => return show_schema(&visit, &id, Some(&error), &[], &form).await,
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

async fn accept(visit: Visit, Path(id): Path<String>) -> PageResult {
    let accepted = visit.post(&format!("/datasets/{id}/schema/accept"), &Value::Null).await;
    let said = visit.text("The schema is accepted: the rows are being stored.");
    visit.outcome(accepted, &format!("/datasets/{id}"), said)
}

async fn versions(visit: Visit, Path(id): Path<String>) -> PageResult {
    show_versions(&visit, &id, None, Value::Null, &Form::default()).await
}

/// `asked`: what goes with the period that the form names, to be said yes to.
async fn show_versions(visit: &Visit, id: &str, error: Option<&ApiError>, asked: Value, typed: &Form) -> PageResult {
    let dataset = load(visit, id).await?;
    let query = visit.query(&["after"], &[("limit", "50"), ("sort", "-id")]);
    let versions = visit.get(&format!("/datasets/{id}/versions?{query}")).await?;
    let schema = visit.get_if_there(&format!("/datasets/{id}/schema")).await?;
    let has_time = role(&schema, "timestamp").is_some();
    let shown = context! {
        dataset, versions, has_time, going => asked, typed => typed.typed(), error => error.map(ApiError::detail),
        tab => "versions",
    };
    visit.page_with(error.map_or(StatusCode::OK, ApiError::status), "datasets/versions.html", shown).await
}

async fn revert(visit: Visit, Path(id): Path<String>, form: Form) -> PageResult {
    let version: u64 = form.string("version").parse().unwrap_or_default();
    let started = visit.post(&format!("/datasets/{id}/revert"), &json!({"version": version})).await;
    let said = visit.text("The earlier version is being brought back, as a new version.");
    visit.outcome(started, &format!("/datasets/{id}/versions"), said)
}

/// Says first how many rows go, then deletes them.
async fn delete_range(visit: Visit, Path(id): Path<String>, form: Form) -> PageResult {
    let (from, to) = (form.string("from"), form.string("to"));
    if !form.has("sure") {
        return match in_period(&visit, &id, &from, &to).await {
            Ok(going) => show_versions(&visit, &id, None, going, &form).await,
            Err(error) if error.status().is_client_error() && error.status() != StatusCode::NOT_FOUND => {
                show_versions(&visit, &id, Some(&error), Value::Null, &form).await
            }
            Err(error) => Err(error.into()),
        };
    }
    match visit.post(&format!("/datasets/{id}/delete_range"), &json!({"from": from, "to": to})).await {
        Ok(_) => {
            let said = visit.text("The rows of the period are being deleted. Earlier versions have them for a while.");
            visit.done(&format!("/datasets/{id}/versions"), said)
        }
        Err(error) if error.status() == StatusCode::UNAUTHORIZED => Err(error.into()),
        Err(error) => show_versions(&visit, &id, Some(&error), Value::Null, &form).await,
    }
}

/// Rows of a period: all of them when they fit a page, else about how many, from how the times are spread.
async fn in_period(visit: &Visit, id: &str, from: &str, to: &str) -> Result<Value, ApiError> {
    const COUNTED: usize = 500;
    let time = |text: &str| {
        parse_timestamp(text).ok_or_else(|| {
            let said = visit
                .text("{name} is no time: write a day such as 2026-01-31, or a time such as 2026-01-31T08:30:00Z.");
            ApiError::unprocessable("bad_period", said.replace("{name}", &format!("“{text}”")))
        })
    };
    let (start, end) = (time(from)?, time(to)?);
    if start >= end {
        let said = visit.text("The period ends before it begins: give an end that is after its beginning.");
        return Err(ApiError::unprocessable("bad_period", said));
    }
    let schema = visit.get(&format!("/datasets/{id}/schema")).await?;
    let name = segment(&role(&schema, "timestamp").unwrap_or_default());
    let query = format!("from={}&to={}&limit={COUNTED}&columns={name}", segment(from), segment(to));
    let rows = visit.get(&format!("/datasets/{id}/rows?{query}")).await?;
    if rows["next"].is_null() {
        return Ok(json!({"rows": rows["items"].as_array().map_or(0, Vec::len), "exactly": true}));
    }
    let column = visit.get(&format!("/datasets/{id}/columns/{name}")).await?;
    Ok(json!({"rows": spread_over(&column, start.timestamp() as f64, end.timestamp() as f64), "exactly": false}))
}

/// About how many rows of a dataset have a time of this period, from the histogram of a sample of them.
fn spread_over(column: &Value, from: f64, to: f64) -> u64 {
    let bars = column["histogram"].as_array().into_iter().flatten();
    let part = bars.filter_map(|bar| {
        let (low, high, rows) = (bar["from"].as_f64()?, bar["to"].as_f64()?, bar["rows"].as_f64()?);
        let inside = (to.min(high) - from.max(low)).max(0.0);
        Some(if high > low { rows * inside / (high - low) } else { rows })
    });
    let looked = column["rows"].as_f64().unwrap_or(0.0).max(1.0);
    let total = column["rows_total"].as_f64().unwrap_or(looked);
    (part.sum::<f64>() * total / looked).round() as u64
}

async fn count(visit: Visit, Path(id): Path<String>) -> PageResult {
    let started = visit.post(&format!("/datasets/{id}/compute_cardinalities"), &Value::Null).await;
    visit.outcome(started, &format!("/datasets/{id}/columns"), visit.text("All rows are being counted anew."))
}

async fn refresh(visit: Visit, Path(id): Path<String>) -> PageResult {
    let started = visit.post(&format!("/datasets/{id}/refresh"), &json!({})).await;
    visit.outcome(started, &format!("/datasets/{id}"), visit.text("New outcomes are being taken in."))
}

async fn delete(visit: Visit, Path(id): Path<String>) -> PageResult {
    let name = load(&visit, &id).await?["name"].as_str().unwrap_or_default().to_owned();
    match visit.send(Method::DELETE, &format!("/datasets/{id}"), &Value::Null).await {
        Ok(_) => visit.done("/datasets", &visit.text("{name} is deleted.").replace("{name}", &name)),
        Err(error) => visit.refused(&format!("/datasets/{id}"), &error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_period_are_estimated_from_the_spread_of_a_sample() {
        let column = json!({"rows": 30, "rows_total": 300, "histogram": [
            {"from": 0, "to": 10, "rows": 10}, {"from": 10, "to": 20, "rows": 20},
        ]});
        assert_eq!(spread_over(&column, 5.0, 15.0), 150);
        assert_eq!(spread_over(&column, -9.0, 99.0), 300);
        assert_eq!(spread_over(&column, 20.0, 30.0), 0);
    }
}
