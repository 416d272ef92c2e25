//! The wizard that makes a predictor: three steps, whose answers are in the address until the last one.

use axum::http::StatusCode;
use minijinja::context;
use serde_json::{Value, json};

use super::choice::{Choice, Part, side_of};
use super::columns::drawn;
use super::form::Form;
use super::offer;
use super::visit::{PageResult, Visit, segment};
use crate::expression::Expression;
use crate::http::ApiError;

/// The steps are pages of their own: back and forward work, and nothing is stored before the last.
pub(super) async fn page(visit: Visit) -> PageResult {
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
pub(super) async fn create(visit: Visit, form: Form) -> PageResult {
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
