//! `/datasets/{id}/columns`: the column explorer, and one column with how it changed over time.

use std::collections::HashSet;

use axum::extract::Path;
use axum::http::StatusCode;
use minijinja::context;
use serde_json::{Value, json};

use super::datasets::{load, shown_or_said};
use super::visit::{PageResult, Visit, segment};

pub(super) async fn list(visit: Visit, Path(id): Path<String>) -> PageResult {
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

pub(super) async fn one(visit: Visit, Path((id, name)): Path<(String, String)>) -> PageResult {
    let dataset = load(&visit, &id).await?;
    let column = drawn(visit.get(&format!("/datasets/{id}/columns/{}", segment(&name))).await?);
    let cardinalities = visit.get_if_there(&format!("/datasets/{id}/cardinalities")).await?;
    let counted = cardinalities["fields"].as_array().and_then(|all| all.iter().find(|it| it["field"] == name.as_str()));
    let shown = context! { dataset, column, counted, cardinalities, tab => "columns" };
    visit.page("datasets/column.html", shown).await
}

pub(super) async fn count(visit: Visit, Path(id): Path<String>) -> PageResult {
    let started = visit.post(&format!("/datasets/{id}/compute_cardinalities"), &Value::Null).await;
    visit.outcome(started, &format!("/datasets/{id}/columns"), visit.text("All rows are being counted anew."))
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
