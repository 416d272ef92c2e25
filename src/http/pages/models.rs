//! `/models`: train, look at the quality, activate.

use axum::Router;
use axum::extract::Path;
use axum::http::{Method, StatusCode};
use axum::routing::{get, post};
use minijinja::context;
use serde_json::{Map, Value, json};

use super::form::{Form, Refused};
use super::jobs::described_one;
use super::sure::{self, Question};
use super::visit::{PageResult, Visit, segment};
use crate::domain::model::ModelSettings;
use crate::http::{ApiError, AppState};

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/predictors/{id}/models", get(new).post(create))
        .route("/models/{id}", get(page))
        .route("/models/{id}/agents", get(agents))
        .route("/models/{id}/card", get(card))
        .route("/models/{id}/train", post(train))
        .route("/models/{id}/activate", post(activate))
        .route("/models/{id}/deactivate", post(deactivate))
        .route("/models/{id}/delete", post(delete))
}

async fn new(visit: Visit, Path(id): Path<String>) -> PageResult {
    show_new(&visit, &id, None, &Form::default()).await
}

async fn show_new(visit: &Visit, id: &str, error: Option<&ApiError>, typed: &Form) -> PageResult {
    let predictor = visit.get(&format!("/predictors/{}", segment(id))).await?;
    let defaults = serde_json::to_value(ModelSettings::default()).unwrap_or_default();
    let reports = super::predictor::reports_of(visit, predictor["id"].as_str().unwrap_or_default()).await?;
    let ready = reports.iter().find(|it| it["kind"] == "feature_analysis" && it["state"] == "ready");
    let analysis = match ready.and_then(|it| it["id"].as_str()) {
        Some(report) => visit.get_if_there(&format!("/reports/{report}")).await?,
        None => Value::Null,
    };
    let shown = context! {
        predictor, defaults, analysis, typed => typed.typed(), chosen => typed.all("feature"), again => error.is_some(),
        error => error.map(ApiError::detail),
    };
    visit.page_with(error.map_or(StatusCode::OK, ApiError::status), "models/new.html", shown).await
}

async fn create(visit: Visit, Path(id): Path<String>, form: Form) -> PageResult {
    let mut settings = Map::new();
    for name in ["trees", "max_leaves", "learning_rate", "l2", "holdout_share", "half_life_days"] {
        if let Some(text) = form.get(name) {
            let number = visit.language.number(text).unwrap_or_else(|| json!(text));
            settings.insert(name.to_owned(), number);
        }
    }
    if let Some(holdout) = form.get("holdout") {
        settings.insert("holdout".to_owned(), json!(holdout));
    }
    settings.insert("early_stop".to_owned(), json!(form.has("early_stop")));
    let mut body = json!({
        "name": form.string("name"), "type": form.get("type").unwrap_or("HYBRID"), "settings": settings,
    });
    if form.has("choose_features") {
        let side = |side: &str| -> Vec<String> {
            let all = form.all("feature");
            all.iter().filter_map(|it| it.strip_prefix(side)?.strip_prefix(':').map(str::to_owned)).collect()
        };
        body["features"] = json!({"context": side("context"), "customer": side("customer"), "agent": side("agent")});
    }
    let made = match visit.post(&format!("/predictors/{}/models", segment(&id)), &body).await {
        Ok(made) => made,
        Err(error) if error.status() == StatusCode::NOT_FOUND => return Err(error.into()),
        Err(error) => return show_new(&visit, &id, Some(&error), &form).await,
    };
    let model = made["id"].as_str().unwrap_or_default();
    let started = visit.post(&format!("/models/{model}/train"), &json!({})).await;
    visit.outcome(started, &format!("/models/{model}"), visit.text("The training is in the queue."))
}

struct Loaded {
    model: Value,
    predictor: Value,
}

async fn load(visit: &Visit, id: &str) -> Result<Loaded, ApiError> {
    let model = visit.get(&format!("/models/{}", segment(id))).await?;
    let predictor =
        visit.get_if_there(&format!("/predictors/{}", model["predictor_id"].as_str().unwrap_or_default())).await?;
    Ok(Loaded { model, predictor })
}

async fn page(visit: Visit, Path(id): Path<String>) -> PageResult {
    show(&visit, &id, None).await
}

async fn show(visit: &Visit, id: &str, refused: Option<&Refused<'_>>) -> PageResult {
    let Loaded { model, predictor } = load(visit, id).await?;
    let id = model["id"].as_str().unwrap_or_default();
    let quality = drawn(visit.get_if_there(&format!("/models/{id}/quality")).await?);
    let under_way = matches!(model["state"].as_str(), Some("queued" | "training"));
    let job = described_one(visit, model["job_id"].as_str().filter(|_| under_way)).await?;
    let trained_on = match model["trained_on"]["dataset_id"].as_str() {
        Some(dataset) => visit.get_if_there(&format!("/datasets/{dataset}")).await?,
        None => Value::Null,
    };
    let rivals = rivals(visit, &model).await?;
    let roc = roc(&quality);
    let deciles = deciles(&quality);
    let shown = context! {
        model, predictor, quality, job, trained_on, rivals, roc, deciles, tab => "quality", refused => Refused::shown(refused),
    };
    visit.page_with(Refused::status(refused), "models/show.html", shown).await
}

/// The predictor's other models that are live.
async fn rivals(visit: &Visit, model: &Value) -> Result<Vec<Value>, ApiError> {
    let predictor = model["predictor_id"].as_str().unwrap_or_default();
    let mut live = visit.get(&format!("/models?predictor_id={}&active=true&limit=100", segment(predictor))).await?;
    let mut live = live["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
    live.retain(|it| it["id"] != model["id"]);
    Ok(live)
}

/// Adds to each entry of a quality's curves the `point` that a chart draws.
pub(super) fn drawn(mut quality: Value) -> Value {
    let mut add = |part: &[&str], coordinates: &[&str]| {
        let found = part.iter().try_fold(&mut quality, |value, key| value.get_mut(*key));
        for entry in found.and_then(Value::as_array_mut).into_iter().flatten() {
            entry["point"] = coordinates.iter().map(|name| entry[*name].clone()).collect();
        }
    };
    add(&["classification", "calibration"], &["predicted", "observed"]);
    add(&["classification", "gains"], &["share", "captured"]);
    add(&["classification", "precision_recall"], &["recall", "precision"]);
    add(&["regression", "residuals", "histogram"], &["from", "to", "rows"]);
    // Of nobody nothing is reached.
    if let Some(gains) = quality.pointer_mut("/classification/gains").and_then(Value::as_array_mut)
        && gains.first().is_some_and(|it| it["share"] != 0.0)
    {
        gains.insert(0, json!({"share": 0.0, "captured": 0.0, "point": [0.0, 0.0]}));
    }
    quality
}

/// Shares of false and true positives, from the gains and the base rate.
pub(super) fn roc(quality: &Value) -> Vec<[f64; 2]> {
    let found = &quality["classification"];
    let Some(base) = found["base_rate"].as_f64().filter(|base| *base > 0.0 && *base < 1.0) else { return Vec::new() };
    let points = found["gains"].as_array().into_iter().flatten().filter_map(|point| {
        let (share, captured) = (point["share"].as_f64().filter(|it| *it > 0.0)?, point["captured"].as_f64()?);
        Some([((share - captured * base) / (1.0 - base)).clamp(0.0, 1.0), captured])
    });
    std::iter::once([0.0, 0.0]).chain(points).collect()
}

/// From, to and lift of each tenth of the rows, best scored first: how much more often it succeeds than the average.
pub(super) fn deciles(quality: &Value) -> Vec<[f64; 3]> {
    let gains = quality["classification"]["gains"].as_array().cloned().unwrap_or_default();
    let captured = |share: f64| -> Option<f64> {
        let mut before = (0.0, 0.0);
        for point in &gains {
            let (x, y) = (point["share"].as_f64()?, point["captured"].as_f64()?);
            if x >= share - 1e-9 {
                let part = if x > before.0 { (share - before.0) / (x - before.0) } else { 1.0 };
                return Some(before.1 + (y - before.1) * part);
            }
            before = (x, y);
        }
        (!gains.is_empty()).then_some(1.0)
    };
    let tenth = |at: u32| {
        let (from, to) = (f64::from(at) / 10.0, f64::from(at + 1) / 10.0);
        let low = if at == 0 { 0.0 } else { captured(from)? };
        Some([f64::from(at + 1) - 0.5, f64::from(at + 1) + 0.5, (captured(to)? - low) * 10.0])
    };
    (0..10).filter_map(tenth).collect()
}

async fn agents(visit: Visit, Path(id): Path<String>) -> PageResult {
    let Loaded { model, predictor } = load(&visit, &id).await?;
    let query = visit.query(&["after", "sort"], &[("limit", "50"), ("sort", "-rows")]);
    let agents = visit.get(&format!("/models/{}/quality/agents?{query}", segment(&id))).await?;
    let coverage = visit.get(&format!("/models/{}/coverage", segment(&id))).await?;
    let empty = Vec::new();
    let all = coverage["agents"].as_array().unwrap_or(&empty);
    let global: Vec<&Value> = all.iter().filter(|it| it["local"] == false).collect();
    let without = global.len();
    let shown = context! {
        model, predictor, agents, coverage => json!({
            "local": coverage["local"], "global": coverage["global"],
            "samples_without_agent": coverage["samples_without_agent"],
        }),
        global => global.into_iter().take(200).collect::<Vec<_>>(), without, tab => "agents",
    };
    visit.page("models/agents.html", shown).await
}

async fn card(visit: Visit, Path(id): Path<String>) -> PageResult {
    let Loaded { model, predictor } = load(&visit, &id).await?;
    let card = visit.get(&format!("/models/{}/card", segment(&id))).await?;
    visit.page("models/card.html", context! { model, predictor, card, tab => "card" }).await
}

async fn train(visit: Visit, Path(id): Path<String>) -> PageResult {
    let started = visit.post(&format!("/models/{}/train", segment(&id)), &json!({})).await;
    visit.outcome(started, &format!("/models/{id}"), visit.text("The training is in the queue."))
}

async fn activate(visit: Visit, Path(id): Path<String>, form: Form) -> PageResult {
    let mut body = json!({});
    if let Some(text) = form.get("share") {
        let percent: f64 = text.trim_end_matches(['%', ' ', '\u{a0}']).replace(',', ".").parse().unwrap_or(f64::NAN);
        if !(percent > 0.0 && percent <= 100.0) {
            let said = visit.text("{name} is no share: write a number above 0 and at most 100, in percent.");
            let error = ApiError::unprocessable("bad_share", said.replace("{name}", &format!("“{text}”")));
            return show(&visit, &id, Some(&Refused { which: "share", error: &error, form: &form })).await;
        }
        body["share"] = json!(percent / 100.0);
    }
    match visit.post(&format!("/models/{}/activate", segment(&id)), &body).await {
        Err(error) if form.has("share") => {
            show(&visit, &id, Some(&Refused { which: "share", error: &error, form: &form })).await
        }
        done => {
            let to = came_from(&id, &form, &done);
            visit.outcome(done, &to, visit.text("The model answers scores now."))
        }
    }
}

async fn deactivate(visit: Visit, Path(id): Path<String>, form: Form) -> PageResult {
    if !form.has("sure") {
        return ask_to_deactivate(&visit, &id, &form).await;
    }
    let done = visit.post(&format!("/models/{}/deactivate", segment(&id)), &Value::Null).await;
    let to = came_from(&id, &form, &done);
    visit.outcome(done, &to, visit.text("The model answers no scores any more."))
}

async fn ask_to_deactivate(visit: &Visit, id: &str, form: &Form) -> PageResult {
    let Loaded { model, predictor } = load(visit, id).await?;
    let rivals = rivals(visit, &model).await?;
    let others: Vec<&str> = rivals.iter().filter_map(|it| it["name"].as_str()).collect();
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let effect = match others.is_empty() {
        true => visit.text("No other model of {name} is live: scores that ask for it will be refused.").to_owned(),
        false => visit.text("Its scores come from {others} then.").replace("{others}", &others.join(", ")),
    };
    let question = Question {
        title: visit.text("Deactivate {name}?").replace("{name}", &name(&model)),
        lost: vec![
            effect.replace("{name}", &name(&predictor)),
            visit.text("The model stays as it is and can be activated again.").to_owned(),
        ],
        yes: visit.text("Yes, deactivate it"),
        back: &came_from(id, form, &Ok(model)),
    };
    sure::ask(visit, form, question).await
}

/// Back to the predictor's page when the button was there.
fn came_from(id: &str, form: &Form, model: &Result<Value, ApiError>) -> String {
    let predictor = model.as_ref().ok().and_then(|model| model["predictor_id"].as_str());
    match predictor.filter(|_| form.get("from") == Some("predictor")) {
        Some(predictor) => format!("/predictors/{predictor}"),
        None => format!("/models/{id}"),
    }
}

async fn delete(visit: Visit, Path(id): Path<String>) -> PageResult {
    let Loaded { model, .. } = load(&visit, &id).await?;
    let name = model["name"].as_str().unwrap_or_default();
    match visit.send(Method::DELETE, &format!("/models/{}", segment(&id)), &Value::Null).await {
        Ok(_) => {
            let to = format!("/predictors/{}", model["predictor_id"].as_str().unwrap_or_default());
            visit.done(&to, &visit.text("{name} is deleted.").replace("{name}", name))
        }
        Err(error) => visit.refused(&format!("/models/{id}"), &error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_come_from_the_gains() {
        let quality = json!({"classification": {"base_rate": 0.5, "gains": [
            {"share": 0.5, "captured": 0.8}, {"share": 1.0, "captured": 1.0},
        ]}});
        let points = roc(&quality);
        assert_eq!(points[0], [0.0, 0.0]);
        assert!((points[1][0] - 0.2).abs() < 1e-9 && points[1][1] == 0.8, "{points:?}");
        let tenths = deciles(&quality);
        assert_eq!(tenths.len(), 10);
        assert!((tenths[0][2] - 1.6).abs() < 1e-9 && (tenths[9][2] - 0.4).abs() < 1e-9, "{tenths:?}");
        assert!(roc(&Value::Null).is_empty() && deciles(&Value::Null).is_empty());
    }
}
