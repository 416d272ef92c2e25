//! A predictor in production: what was scored and what became of it, as a page, as CSV and for printing, and as a dataset
//! to learn from.

use axum::extract::Path;
use axum::http::StatusCode;
use minijinja::context;
use serde_json::{Value, json};

use super::form::{Form, Refused};
use super::visit::{PageResult, Visit, segment};
use super::{names, reports};

pub(super) async fn page(visit: Visit, Path(id): Path<String>) -> PageResult {
    show(&visit, &id, None).await
}

async fn show(visit: &Visit, id: &str, refused: Option<&Refused<'_>>) -> PageResult {
    let predictor = visit.get(&format!("/predictors/{}", segment(id))).await?;
    let query = visit.query(&["from", "to"], &[]);
    let (production, error) = match visit.get(&format!("/predictors/{}/production?{query}", segment(id))).await {
        Ok(production) => (production, None),
        Err(error)
            if error.status() == StatusCode::UNPROCESSABLE_ENTITY || error.status() == StatusCode::BAD_REQUEST =>
        {
            (Value::Null, Some(error.detail().to_owned()))
        }
        Err(error) => return Err(error.into()),
    };
    let bins = production["calibration"]["bins"].as_array().into_iter().flatten();
    let calibration_points: Vec<Value> = bins
        .map(|it| json!([it["predicted"], it["observed"], it["interval"]["low"], it["interval"]["high"]]))
        .collect();
    let models = json!({"items": production["models"]});
    let names = names::of_lists(visit, &[&models]).await?;
    let (served_names, served_bars) = served(&production["agent_drift"], visit);
    let shown = context! {
        predictor, production => &production, error, names, calibration_points, served_names, served_bars,
        refused => Refused::shown(refused),
    };
    match visit.asked("as").as_deref() {
        Some("csv") => reports::csv_answer("production", reports::production_rows(&production)),
        Some("print") => reports::print(visit, "predictors/production_print.html", shown),
        _ => visit.page_with(Refused::status(refused), "predictors/production.html", shown).await,
    }
}

/// Agents in a picture; the others are in the answer of the API.
const MOST_SERVED: usize = 40;

/// Names of agents, and their shares of the interactions in the training data and now, side by side.
fn served(drift: &Value, visit: &Visit) -> (Vec<String>, Value) {
    let bins = drift["bins"].as_array().map(Vec::as_slice).unwrap_or_default();
    let total = |member: &str| bins.iter().filter_map(|it| it[member].as_f64()).sum::<f64>().max(1.0);
    let names =
        bins.iter().take(MOST_SERVED).filter_map(|it| it["value"].as_str().map(|name| visit.said(name))).collect();
    if bins.is_empty() {
        return (names, Value::Null);
    }
    let series = |name: &str, member: &str, left: f64| {
        let all = total(member);
        let points = bins.iter().take(MOST_SERVED).enumerate().map(|(at, it)| {
            let from = at as f64 + left;
            json!([from, from + 0.4, it[member].as_f64().unwrap_or(0.0) / all])
        });
        json!({"name": name, "kind": "bars", "points": points.collect::<Vec<_>>()})
    };
    (names, json!([series(visit.text("Training"), "training_rows", 0.1), series(visit.text("now"), "requests", 0.5)]))
}

/// A dataset of what became of the scores.
pub(super) async fn make_dataset(visit: Visit, Path(id): Path<String>, form: Form) -> PageResult {
    let mut body = json!({});
    if let Some(name) = form.get("name") {
        body["name"] = json!(name);
    }
    if let Some(text) = form.get("refresh_minutes") {
        // What is no number is refused as what was typed.
        body["refresh_minutes"] = visit.language.number(text).unwrap_or_else(|| json!(text));
    }
    match visit.post(&format!("/predictors/{}/outcome_dataset", segment(&id)), &body).await {
        Ok(made) => {
            let to = format!("/datasets/{}", made["dataset"]["id"].as_str().unwrap_or_default());
            visit.done(&to, visit.text("The dataset is being made from the score log."))
        }
        Err(error) => show(&visit, &id, Some(&Refused { which: "outcomes", error: &error, form: &form })).await,
    }
}
