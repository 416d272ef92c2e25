//! `/predictors`: what is to be predicted. A wizard in three steps, whose answers are in the address until the last one.

use axum::Router;
use axum::extract::Path;
use axum::http::{Method, StatusCode};
use axum::routing::{get, post};
use minijinja::context;
use serde_json::{Value, json};

use super::choice::{Choice, Part, side_of};
use super::datasets::drawn;
use super::form::Form;
use super::jobs::described_one;
use super::visit::{PageResult, Visit, segment};
use super::{names, offer, reports, turns};
use crate::expression::Expression;
use crate::http::{ApiError, AppState};

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/predictors", get(list).post(create))
        .route("/predictors/new", get(wizard))
        .route("/predictors/combine", get(combine).post(create_composite))
        .route("/predictors/{id}", get(show))
        .route("/predictors/{id}/delete", post(delete))
        .route("/predictors/{id}/compare", get(compare))
        .route("/predictors/{id}/production", get(production))
        .route("/predictors/{id}/retraining", post(retraining))
        .route("/predictors/{id}/retraining/run", post(retrain_now))
        .route("/predictors/{id}/outcomes", post(outcomes))
}

async fn list(visit: Visit) -> PageResult {
    let query = visit.query(&["contains", "dataset_id", "sort", "after"], &[("limit", "50"), ("sort", "-id")]);
    let predictors = visit.get(&format!("/predictors?{query}")).await?;
    let datasets = offer::datasets(&visit, "", visit.asked("dataset_id").as_deref()).await?;
    let names = names::of_lists(&visit, &[&predictors]).await?;
    visit.page("predictors/list.html", context! { predictors, datasets, names }).await
}

/// The steps are pages of their own: back and forward work, and nothing is stored before the last.
async fn wizard(visit: Visit) -> PageResult {
    let step: u8 = visit.asked("step").and_then(|text| text.parse().ok()).unwrap_or(1);
    let answers = Form::parse(visit.uri.query().unwrap_or_default().as_bytes());
    show_wizard(&visit, step, None, &answers).await
}

async fn show_wizard(visit: &Visit, step: u8, error: Option<&ApiError>, typed: &Form) -> PageResult {
    let answer = |name: &str| typed.get(name).map(str::to_owned).or_else(|| visit.asked(name));
    let dataset_id = answer("dataset");
    let datasets = offer::datasets(visit, "&state=ready", dataset_id.as_deref()).await?;
    let (mut dataset, mut schema, mut volume, mut metric) = Default::default();
    let mut offer = Value::Null;
    let mut profiles = json!({});
    if let Some(id) = dataset_id.as_deref().map(segment) {
        dataset = visit.get(&format!("/datasets/{id}")).await?;
        schema = visit.get_if_there(&format!("/datasets/{id}/schema")).await?;
        let time = with_role(&schema, "timestamp");
        if let Some(time) = time.filter(|_| step == 1) {
            volume = drawn(visit.get_if_there(&format!("/datasets/{id}/columns/{}", segment(&time))).await?);
        }
        if let Some(name) = answer("metric").filter(|_| step >= 2) {
            let path = format!("/datasets/{id}/columns/{}", segment(&name));
            metric = drawn(visit.get_if_there(&path).await.unwrap_or(Value::Null));
        }
        if step == 3 {
            let target = match metric["type"].as_str() {
                Some("Boolean" | "Integer" | "Float") => answer("metric"),
                _ => None,
            };
            offer = offered(visit, &id, &schema, typed, answer("metric").as_deref(), target.as_deref()).await?;
            profiles = json!({
                "agents": visit.get("/agents/schema").await?["fields"],
                "customers": visit.get("/customers/schema").await?["fields"],
            });
        }
    }
    let answers = json!({
        "dataset": dataset_id, "from": answer("from"), "to": answer("to"), "metric": answer("metric"),
        "goal": answer("goal"), "kind": answer("kind"), "positive": answer("positive"),
        "agent_source": answer("agent_source"), "customer_source": answer("customer_source"),
        "name": answer("name"), "score_expression": answer("score_expression"),
        "picked": if offer.is_null() { json!(answer("picked")) } else { offer["picked"].clone() },
    });
    let expression = answers["score_expression"].as_str().map(preview);
    let shown = context! {
        step, datasets, dataset, schema, volume, offer, metric_column => metric, answers, profiles, expression,
        chosen => typed.all("feature"),
        error => error.map(ApiError::detail),
        fields => error.map(|error| serde_json::to_value(error.fields()).unwrap_or_default()),
    };
    visit.page_with(error.map_or(StatusCode::OK, ApiError::status), "predictors/wizard.html", shown).await
}

/// Fields a page of the last step.
const FIELDS: usize = 50;
/// Longest address of a look at columns.
const MOST_BYTES: usize = 30_000;

/// The fields that can be features, a page of them at a time, with what is chosen so far and what each tells about the outcome alone.
async fn offered(
    visit: &Visit,
    dataset: &str,
    schema: &Value,
    typed: &Form,
    metric: Option<&str>,
    target: Option<&str>,
) -> Result<Value, ApiError> {
    let fields = schema["fields"].as_array().map(Vec::as_slice).unwrap_or_default();
    let name = |field: &Value| field["name"].as_str().unwrap_or_default().to_owned();
    let able = fields.iter().enumerate().filter(|(_, it)| side_of(it).is_some() && it["name"].as_str() != metric);
    let able = able.filter_map(|(place, it)| Some((place, it["name"].as_str()?)));
    let part = Part::of(able, &typed.string("find"), &typed.string("page"), FIELDS);
    let mut choice = Choice::of(schema, typed);
    if let Some(all) = typed.get("all") {
        part.all.iter().for_each(|place| choice.set(*place, all == "on"));
    }
    // A list of names is separated by commas.
    let names: Vec<String> = part.places.iter().map(|at| name(&fields[*at])).filter(|it| !it.contains(',')).collect();
    let path = format!(
        "/datasets/{dataset}/columns?limit={FIELDS}&names={}&target={}",
        segment(&names.join(",")),
        segment(target.unwrap_or_default())
    );
    let looked = match target {
        Some(_) if !names.is_empty() && path.len() < MOST_BYTES => visit.get(&path).await.unwrap_or(Value::Null),
        _ => Value::Null,
    };
    let looked = looked["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let items: Vec<Value> = part
        .places
        .iter()
        .map(|at| {
            let look = looked.iter().find(|it| it["name"] == fields[*at]["name"]);
            json!({
                "place": at, "name": fields[*at]["name"], "side": side_of(&fields[*at]), "picked": choice.has(*at),
                "association": look.map(|it| it["association"].clone()),
            })
        })
        .collect();
    let metric = metric.unwrap_or_default();
    let chosen: usize =
        ["context", "customer", "agent"].iter().map(|side| choice.names(schema, side, metric).len()).sum();
    Ok(json!({"part": part, "items": items, "picked": choice.encode(), "chosen": chosen}))
}

fn with_role(schema: &Value, role: &str) -> Option<String> {
    let mut fields = schema["fields"].as_array()?.iter();
    fields.find(|field| field["role"] == role)?["name"].as_str().map(str::to_owned)
}

/// What a score expression makes of some predictions, or why it is none.
fn preview(text: &str) -> Value {
    match Expression::parse(text) {
        Err(error) => json!({"error": error.message}),
        Ok(expression) => {
            let at = |p: f64| {
                let score = expression.eval(&|_| p);
                json!([p, score])
            };
            let values = [0.1, 0.25, 0.5, 0.75, 0.9].map(at);
            json!({"values": values})
        }
    }
}

/// The last step. Features of the dataset come as a [`Choice`], those of profiles as `side:name`, one a box.
async fn create(visit: Visit, form: Form) -> PageResult {
    let schema = match form.has("picked") {
        true => visit.get_if_there(&format!("/datasets/{}/schema", segment(&form.string("dataset")))).await?,
        false => Value::Null,
    };
    let choice = Choice::of(&schema, &form);
    let side = |side: &str| -> Vec<String> {
        let mut names = choice.names(&schema, side, &form.string("metric"));
        let others = form.all("feature");
        let others = others.iter().filter_map(|it| it.strip_prefix(side)?.strip_prefix(':').map(str::to_owned));
        names.extend(others.collect::<Vec<_>>());
        names
    };
    let mut metric = json!({
        "field": form.string("metric"),
        "kind": form.get("kind").unwrap_or("classification"),
        "goal": form.get("goal").unwrap_or("maximize"),
    });
    if let Some(positive) = form.get("positive").filter(|_| metric["kind"] == "classification") {
        // `5` and `true` are what they are in the data, other words are texts.
        metric["positive"] = serde_json::from_str(positive).unwrap_or_else(|_| json!(positive));
    }
    let mut body = json!({
        "name": form.string("name"), "dataset_id": form.string("dataset"), "metric": metric,
        "agent_source": form.get("agent_source").unwrap_or("dataset"),
        "customer_source": form.get("customer_source").unwrap_or("none"),
        "features": {"context": side("context"), "customer": side("customer"), "agent": side("agent")},
    });
    for name in ["from", "to", "score_expression"] {
        if let Some(value) = form.get(name) {
            body[name] = json!(value);
        }
    }
    match visit.post("/predictors", &body).await {
        Ok(made) => {
            let to = format!("/predictors/{}", made["id"].as_str().unwrap_or_default());
            let mut said =
                visit.text("The predictor is there, with a model over all its features. Train it next.").to_owned();
            for warning in made["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                said.push(' ');
                said.push_str(&visit.said(warning));
            }
            visit.done(&to, &said)
        }
        Err(error) => show_wizard(&visit, 3, Some(&error), &form).await,
    }
}

async fn combine(visit: Visit) -> PageResult {
    show_combine(&visit, None, &Form::default()).await
}

async fn show_combine(visit: &Visit, error: Option<&ApiError>, typed: &Form) -> PageResult {
    let predictors = visit.get("/predictors?limit=500&sort=name").await?;
    let shown = context! { predictors, typed => typed.typed(), error => error.map(ApiError::detail) };
    visit.page_with(error.map_or(StatusCode::OK, ApiError::status), "predictors/combine.html", shown).await
}

async fn create_composite(visit: Visit, form: Form) -> PageResult {
    let body = json!({"name": form.string("name"), "combine": form.string("combine")});
    match visit.post("/predictors", &body).await {
        Ok(made) => {
            let to = format!("/predictors/{}", made["id"].as_str().unwrap_or_default());
            visit.done(&to, visit.text("The predictor is there."))
        }
        Err(error) => show_combine(&visit, Some(&error), &form).await,
    }
}

async fn show(visit: Visit, Path(id): Path<String>) -> PageResult {
    let id = segment(&id);
    let predictor = visit.get(&format!("/predictors/{id}")).await?;
    let models = visit.get(&format!("/predictors/{id}/models?limit=100")).await.unwrap_or(json!({"items": []}));
    let dataset = match predictor["dataset_id"].as_str() {
        Some(dataset) => visit.get_if_there(&format!("/datasets/{dataset}")).await?,
        None => Value::Null,
    };
    let mut shown_models = Vec::new();
    for model in models["items"].as_array().into_iter().flatten() {
        let mut model = model.clone();
        if model["version"].as_u64().unwrap_or(0) > 0 {
            let id = model["id"].as_str().unwrap_or_default();
            model["quality"] = visit.get_if_there(&format!("/models/{id}/quality")).await?;
        }
        if matches!(model["state"].as_str(), Some("queued" | "training"))
            && let Some(job) = model["job_id"].as_str()
        {
            model["job"] = described_one(&visit, Some(job)).await?;
        }
        shown_models.push(model);
    }
    // Who answered before the present ones.
    let retired = shown_models.iter().filter(|it| it["active"] == false && it["retired_at"].is_string());
    let previous = retired.max_by_key(|it| it["retired_at"].as_str().unwrap_or_default().to_owned()).cloned();
    let turns = turns::shown(&predictor, &shown_models, visit.app.ctx.clock.now(), visit.language);
    let retraining = visit.get_if_there(&format!("/predictors/{id}/retraining")).await?;
    let reports = reports_of(&visit, predictor["id"].as_str().unwrap_or_default()).await?;
    let shown = context! { predictor, dataset, models => shown_models, previous, turns, retraining, reports };
    visit.page("predictors/show.html", shown).await
}

/// Newest reports about a predictor or its models.
pub(super) async fn reports_of(visit: &Visit, predictor: &str) -> Result<Vec<Value>, ApiError> {
    let reports = visit.get(&format!("/reports?limit=10&sort=-id&predictor_id={}", segment(predictor))).await?;
    Ok(reports["items"].as_array().cloned().unwrap_or_default())
}

async fn delete(visit: Visit, Path(id): Path<String>) -> PageResult {
    let predictor = visit.get(&format!("/predictors/{}", segment(&id))).await?;
    let name = predictor["name"].as_str().unwrap_or_default();
    match visit.send(Method::DELETE, &format!("/predictors/{id}"), &Value::Null).await {
        Ok(_) => visit.done("/predictors", &visit.text("{name} is deleted.").replace("{name}", name)),
        Err(error) => visit.refused(&format!("/predictors/{id}"), &error),
    }
}

/// `?model=…&model=…`: two to ten side by side.
async fn compare(visit: Visit, Path(id): Path<String>) -> PageResult {
    let predictor = visit.get(&format!("/predictors/{}", segment(&id))).await?;
    let pairs = form_urlencoded::parse(visit.uri.query().unwrap_or_default().as_bytes());
    let wanted: Vec<String> = pairs.filter(|(name, _)| name == "model").map(|(_, id)| id.into_owned()).collect();
    let all = visit.get(&format!("/predictors/{}/models?limit=100", segment(&id))).await?;
    let mut compared = Vec::new();
    for model in wanted.iter().take(10) {
        let mut found = visit.get(&format!("/models/{}", segment(model))).await?;
        // Figures of different outcomes are not comparable.
        if found["predictor_id"] != predictor["id"] {
            continue;
        }
        found["quality"] = visit.get_if_there(&format!("/models/{}/quality", segment(model))).await?;
        found["card"] = visit.get_if_there(&format!("/models/{}/card", segment(model))).await?;
        compared.push(found);
    }
    let curves = |part: &str, x: &str, y: &str| -> Vec<Value> {
        let series = compared.iter().map(|model| {
            let entries = model["quality"]["classification"][part].as_array().into_iter().flatten();
            let points: Vec<Value> = entries.map(|it| json!([it[x], it[y]])).collect();
            json!({"name": model["name"], "kind": "line", "points": points})
        });
        series.collect()
    };
    let (compared_gains, compared_calibration) =
        (curves("gains", "share", "captured"), curves("calibration", "predicted", "observed"));
    let shown = context! {
        predictor, all, compared, wanted, too_many => wanted.len() > 10, compared_gains, compared_calibration,
    };
    visit.page("predictors/compare.html", shown).await
}

async fn production(visit: Visit, Path(id): Path<String>) -> PageResult {
    let predictor = visit.get(&format!("/predictors/{}", segment(&id))).await?;
    let query = visit.query(&["from", "to"], &[]);
    let (production, error) = match visit.get(&format!("/predictors/{}/production?{query}", segment(&id))).await {
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
    let names = names::of_lists(&visit, &[&models]).await?;
    let (served_names, served_bars) = served(&production["agent_drift"], [visit.text("Training"), visit.text("now")]);
    let shown =
        context! { predictor, production => &production, error, names, calibration_points, served_names, served_bars };
    match visit.asked("as").as_deref() {
        Some("csv") => reports::csv_answer("production", reports::production_rows(&production)),
        Some("print") => reports::print(&visit, "predictors/production_print.html", shown),
        _ => visit.page("predictors/production.html", shown).await,
    }
}

/// Agents in a picture; the others are in the answer of the API.
const MOST_SERVED: usize = 40;

/// Names of agents, and their shares of the interactions in the training data and now, side by side.
fn served(drift: &Value, [before, now]: [&str; 2]) -> (Vec<String>, Value) {
    let bins = drift["bins"].as_array().map(Vec::as_slice).unwrap_or_default();
    let total = |member: &str| bins.iter().filter_map(|it| it[member].as_f64()).sum::<f64>().max(1.0);
    let names = bins.iter().take(MOST_SERVED).filter_map(|it| it["value"].as_str().map(str::to_owned)).collect();
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
    (names, json!([series(before, "training_rows", 0.1), series(now, "requests", 0.5)]))
}

async fn retraining(visit: Visit, Path(id): Path<String>, form: Form) -> PageResult {
    let to = format!("/predictors/{id}");
    let path = format!("/predictors/{}/retraining", segment(&id));
    if form.has("remove") {
        let removed = visit.send(Method::DELETE, &path, &Value::Null).await;
        return visit.outcome(removed, &to, visit.text("The model is not trained by itself any more."));
    }
    let body = json!({
        "every_hours": form.string("every_hours").parse::<u32>().unwrap_or(0), "model_id": form.string("model_id"),
        "activate": form.get("activate").unwrap_or("if_better"), "enabled": true,
    });
    let kept = visit.send(Method::PUT, &path, &body).await;
    visit.outcome(kept, &to, visit.text("The schedule is kept."))
}

async fn retrain_now(visit: Visit, Path(id): Path<String>) -> PageResult {
    let started = visit.post(&format!("/predictors/{}/retraining/run", segment(&id)), &Value::Null).await;
    visit.outcome(started, &format!("/predictors/{id}"), visit.text("The training is in the queue."))
}

/// A dataset of what became of the scores.
async fn outcomes(visit: Visit, Path(id): Path<String>, form: Form) -> PageResult {
    let mut body = json!({});
    if let Some(name) = form.get("name") {
        body["name"] = json!(name);
    }
    if let Some(minutes) = form.get("refresh_minutes").and_then(|text| text.parse::<u32>().ok()) {
        body["refresh_minutes"] = json!(minutes);
    }
    match visit.post(&format!("/predictors/{}/outcome_dataset", segment(&id)), &body).await {
        Ok(made) => {
            let to = format!("/datasets/{}", made["dataset"]["id"].as_str().unwrap_or_default());
            visit.done(&to, visit.text("The dataset is being made from the score log."))
        }
        Err(error) => visit.refused(&format!("/predictors/{id}/production"), &error),
    }
}
