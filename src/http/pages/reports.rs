//! `/reports`: what can be said of data, predictors and models; each also as CSV and as a page for printing.

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use minijinja::{Value as Shown, context};
use serde_json::{Value, json};

use super::assets;
use super::form::Form;
use super::jobs::described_one;
use super::names;
use super::offer;
use super::show as shown_page;
use super::visit::{PageResult, Visit, segment};
use crate::http::{ApiError, AppState};

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/reports", get(list).post(create))
        .route("/reports/{id}", get(show))
        .route("/reports/{id}/csv", get(csv))
        .route("/reports/{id}/print", get(printed))
        .route("/reports/{id}/delete", post(delete))
}

async fn list(visit: Visit) -> PageResult {
    show_list(&visit, None, &Form::default()).await
}

async fn show_list(visit: &Visit, error: Option<&ApiError>, typed: &Form) -> PageResult {
    let query = visit.query(&["kind", "model_id", "sort", "after"], &[("limit", "50"), ("sort", "-id")]);
    let reports = visit.get(&format!("/reports?{query}")).await?;
    let predictors = offer::predictors(visit, None).await?;
    let models = offer::models(visit, &predictors).await?;
    let names = names::of_lists(visit, &[&reports, &models]).await?;
    let shown =
        context! { reports, predictors, models, names, typed => typed.typed(), error => error.map(ApiError::detail) };
    visit.page_with(error.map_or(StatusCode::OK, ApiError::status), "reports/list.html", shown).await
}

/// The subject is `model:id` or `predictor:id`.
async fn create(visit: Visit, form: Form) -> PageResult {
    let mut body = json!({"kind": form.string("kind")});
    match form.string("subject").split_once(':') {
        Some(("model", id)) => body["model_id"] = json!(id),
        Some(("predictor", id)) => body["predictor_id"] = json!(id),
        _ => {}
    }
    if let Some(field) = form.get("segment_by") {
        body["segment_by"] = json!(field);
    }
    if let Some(text) = form.get("agents_free") {
        let numbers = text.split([',', ' ']).filter(|part| !part.is_empty());
        body["agents_free"] =
            numbers.map(|part| part.parse::<u32>().map_or_else(|_| json!(part), |it| json!(it))).collect();
    }
    match visit.post("/reports", &body).await {
        Ok(made) => {
            let to = format!("/reports/{}", made["id"].as_str().unwrap_or_default());
            visit.done(&to, visit.text("The report is being made."))
        }
        Err(error) => show_list(&visit, Some(&error), &form).await,
    }
}

async fn load(visit: &Visit, id: &str) -> Result<(Value, Value, Value, Value), ApiError> {
    let report = visit.get(&format!("/reports/{}", segment(id))).await?;
    let predictor =
        visit.get_if_there(&format!("/predictors/{}", report["predictor_id"].as_str().unwrap_or_default())).await?;
    let model = match report["model_id"].as_str() {
        Some(model) => visit.get_if_there(&format!("/models/{model}")).await?,
        None => Value::Null,
    };
    let under_way = matches!(report["state"].as_str(), Some("queued" | "running"));
    let job = described_one(visit, report["job_id"].as_str().filter(|_| under_way)).await?;
    Ok((report, predictor, model, job))
}

async fn show(visit: Visit, Path(id): Path<String>) -> PageResult {
    let (report, predictor, model, job) = load(&visit, &id).await?;
    let drawn = drawn(&visit, &report);
    visit.page("reports/show.html", context! { report, predictor, model, job, ..drawn }).await
}

async fn printed(visit: Visit, Path(id): Path<String>) -> PageResult {
    let (report, predictor, model, _) = load(&visit, &id).await?;
    let drawn = drawn(&visit, &report);
    print(&visit, "reports/print.html", context! { report, predictor, model, ..drawn })
}

/// What the charts of a report draw.
fn drawn(visit: &Visit, report: &Value) -> Shown {
    let content = &report["content"];
    let quality = super::models::drawn(content.clone());
    let curve = |estimator: &str, with_interval: bool| -> Vec<Value> {
        let point = |point: &Value| {
            let (x, it) = (&point["agents_free"], &point[estimator]);
            match with_interval {
                true => json!([x, it["estimate"], it["interval"][0], it["interval"][1]]),
                false => json!([x, it["estimate"]]),
            }
        };
        items(content, "curve").map(point).collect()
    };
    // Three intervals on each other could not be told apart; the table has all of them.
    let lift_series = json!([
        {"name": visit.text("doubly robust"), "kind": "line", "points": curve("doubly_robust", true)},
        {"name": visit.text("self-normalised IPS"), "kind": "line", "points": curve("snips", false)},
        {"name": visit.text("direct method"), "kind": "line", "points": curve("direct_method", false)},
    ]);
    let effects: Vec<Value> = items(content, "effects")
        .enumerate()
        .map(|(at, it)| json!([at, it["effect"]["value"], it["effect"]["low"], it["effect"]["high"]]))
        .take(300)
        .collect();
    context! {
        roc => super::models::roc(content), deciles => super::models::deciles(content), quality, lift_series, effects,
    }
}

/// A page that needs nothing else: its styles are inside, and there is no script.
pub(super) fn print(visit: &Visit, template: &str, shown: Shown) -> PageResult {
    let styles = assets::content("style.css").unwrap_or_default();
    let now = visit.app.ctx.clock.now().to_rfc3339();
    let common = context! {
        styles, now, lang => visit.language.code(), version => env!("CARGO_PKG_VERSION"),
        username => visit.session.username, path => visit.uri.path(),
    };
    let mut response = shown_page(StatusCode::OK, template, context! { ..shown, ..common })?;
    // Nothing but this page's own styles.
    response.headers_mut().insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
        ),
    );
    Ok(response)
}

async fn csv(visit: Visit, Path(id): Path<String>) -> PageResult {
    let report = visit.get(&format!("/reports/{}", segment(&id))).await?;
    let kind = report["kind"].as_str().unwrap_or_default();
    let content = &report["content"];
    if content.is_null() {
        let text = "The report is not ready: there is nothing to download yet.";
        return Err(ApiError::conflict("report_not_ready", text).into());
    }
    csv_answer(kind, rows(kind, content))
}

async fn delete(visit: Visit, Path(id): Path<String>) -> PageResult {
    match visit.send(Method::DELETE, &format!("/reports/{}", segment(&id)), &Value::Null).await {
        Ok(_) => visit.done("/reports", visit.text("The report is deleted.")),
        Err(error) => visit.refused(&format!("/reports/{id}"), &error),
    }
}

/// A table: its first row names the columns.
pub(super) type Rows = Vec<Vec<String>>;

pub(super) fn csv_answer(name: &str, rows: Rows) -> PageResult {
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    for row in rows {
        writer.write_record(row.iter().map(|cell| harmless(cell))).map_err(ApiError::internal)?;
    }
    let bytes = writer.into_inner().map_err(|error| ApiError::internal(error.to_string()))?;
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}.csv\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

/// A spreadsheet would take a text that begins like this for a formula.
fn harmless(cell: &str) -> String {
    let formula =
        cell.starts_with(['=', '+', '@', '\t', '\r']) || (cell.starts_with('-') && cell.parse::<f64>().is_err());
    if formula { format!("'{cell}") } else { cell.to_owned() }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn row(label: &str, values: &[&Value]) -> Vec<String> {
    std::iter::once(label.to_owned()).chain(values.iter().map(|value| text(value))).collect()
}

fn head(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn items<'a>(content: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    content[key].as_array().into_iter().flatten()
}

/// What a report holds, as one table.
fn rows(kind: &str, content: &Value) -> Rows {
    match kind {
        "feature_analysis" => {
            let mut rows = vec![head(&[
                "feature",
                "side",
                "importance",
                "low",
                "high",
                "alone",
                "alone_low",
                "alone_high",
                "contributes",
                "reason",
            ])];
            for it in items(content, "features") {
                let (importance, alone) = (&it["importance"], &it["alone"]);
                let name = text(&it["feature"]);
                rows.push(row(
                    &name,
                    &[
                        &it["side"],
                        &importance["value"],
                        &importance["low"],
                        &importance["high"],
                        &alone["value"],
                        &alone["low"],
                        &alone["high"],
                        &it["contributes"],
                        &it["reason"],
                    ],
                ));
            }
            rows
        }
        "agent_variance" => {
            let mut rows = vec![head(&["agent_id", "rows", "measured", "effect", "low", "high", "kept"])];
            for it in items(content, "effects") {
                let effect = &it["effect"];
                rows.push(row(
                    &text(&it["agent_id"]),
                    &[&it["rows"], &it["measured"], &effect["value"], &effect["low"], &effect["high"], &it["kept"]],
                ));
            }
            rows
        }
        "lift_estimation" => {
            let mut rows = vec![head(&[
                "agents_free",
                "estimator",
                "estimate",
                "low",
                "high",
                "against_actual",
                "effective_sample_size",
            ])];
            for point in items(content, "curve") {
                for estimator in ["replay", "ips", "snips", "direct_method", "doubly_robust"] {
                    let it = &point[estimator];
                    rows.push(row(
                        &text(&point["agents_free"]),
                        &[
                            &json!(estimator),
                            &it["estimate"],
                            &it["interval"][0],
                            &it["interval"][1],
                            &it["against_actual"]["estimate"],
                            &point["effective_sample_size"],
                        ],
                    ));
                }
            }
            rows
        }
        "agent_coverage" => {
            let mut rows = vec![head(&["agent_id", "local", "reason", "samples", "outcomes", "mean"])];
            for it in items(content, "agents") {
                rows.push(row(
                    &text(&it["agent_id"]),
                    &[&it["local"], &it["reason"], &it["samples"], &it["outcomes"], &it["mean"]],
                ));
            }
            rows
        }
        _ => quality_rows(content),
    }
}

fn quality_rows(content: &Value) -> Rows {
    let mut rows = vec![head(&["measure", "value", "low", "high"])];
    for part in ["classification", "regression"] {
        for (name, value) in content[part].as_object().into_iter().flatten() {
            if value["value"].is_number() {
                rows.push(row(name, &[&value["value"], &value["low"], &value["high"]]));
            } else if value.is_number() {
                rows.push(row(name, &[value]));
            }
        }
    }
    for point in items(&content["classification"], "gains") {
        rows.push(row("gains", &[&point["share"], &point["captured"]]));
    }
    for bin in items(&content["classification"], "calibration") {
        rows.push(row("calibration", &[&bin["predicted"], &bin["observed"], &bin["rows"]]));
    }
    for bin in items(&content["regression"]["residuals"], "histogram") {
        rows.push(row("residuals", &[&bin["from"], &bin["to"], &bin["rows"]]));
    }
    rows
}

pub(super) fn production_rows(production: &Value) -> Rows {
    let mut rows = vec![head(&["what", "value", "low", "high"])];
    for (name, value) in production["scoring"].as_object().into_iter().flatten() {
        rows.push(row(&format!("scoring.{name}"), &[value]));
    }
    for (name, value) in production["score_log"].as_object().into_iter().flatten() {
        rows.push(row(&format!("score_log.{name}"), &[value]));
    }
    let lift = &production["lift"];
    for arm in ["on", "off"] {
        rows.push(row(&format!("lift.{arm}.outcomes"), &[&lift[arm]["outcomes"]]));
        rows.push(row(&format!("lift.{arm}.mean"), &[&lift[arm]["mean"]]));
    }
    let every = &lift["every_look"];
    rows.push(row("lift.difference", &[&lift["difference"], &every["low"], &every["high"]]));
    for model in items(production, "models") {
        for drift in items(model, "drift") {
            rows.push(row(&format!("drift.{}", text(&drift["input"])), &[&drift["psi"]]));
        }
    }
    let served = &production["agent_drift"];
    for name in ["psi", "interactions", "new_agents", "new_agents_share", "absent_agents"] {
        rows.push(row(&format!("agent_drift.{name}"), &[&served[name]]));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_never_a_formula() {
        assert_eq!(harmless("=1+1"), "'=1+1");
        assert_eq!(harmless("-0.5"), "-0.5");
        assert_eq!(harmless("-cmd"), "'-cmd");
        assert_eq!(harmless("plain"), "plain");
    }

    #[test]
    fn every_kind_has_a_table() {
        let content = json!({"effects": [{"agent_id": "a", "rows": 3, "effect": {"value": 0.5}}]});
        assert_eq!(rows("agent_variance", &content)[1], ["a", "3", "", "0.5", "", "", ""]);
        for kind in ["feature_analysis", "lift_estimation", "model_quality", "agent_coverage"] {
            assert_eq!(rows(kind, &json!({})).len(), 1, "{kind}");
        }
    }
}
