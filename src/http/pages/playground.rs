//! `/playground`: a score as a routing strategy would ask for it, with the reasons; and the same request for `curl`.

use axum::Json;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use minijinja::context;
use serde_json::{Map, Value, json};

use super::form::Form;
use super::language::Language;
use super::offer;
use super::visit::{PageResult, Visit, header_text, segment};
use crate::expression::Expression;
use crate::http::{ApiError, AppState};

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/playground", get(page)).route("/playground/filter", get(filter))
}

/// The whole request is in the address: it can be kept, sent to somebody, and gone back to.
async fn page(visit: Visit) -> PageResult {
    let wanted = visit.asked("predictor");
    let predictors = offer::predictors(&visit, wanted.as_deref()).await?;
    let empty = Vec::new();
    let all = predictors["items"].as_array().unwrap_or(&empty);
    let active = |it: &&Value| it["active_models"].as_array().is_some_and(|models| !models.is_empty());
    let chosen = match wanted {
        Some(name) => visit.get(&format!("/predictors/{}", segment(&name))).await?,
        None => all.iter().find(active).or_else(|| all.first()).cloned().unwrap_or_default(),
    };
    let fields = inputs(&visit, &chosen).await?;
    let form = Form::parse(visit.uri.query().unwrap_or_default().as_bytes());
    let (mut request, mut answer, mut error) = (Value::Null, Value::Null, None);
    if form.has("score") && chosen["id"].is_string() {
        request = body(&form, &fields, visit.language);
        // What is tried out counts nowhere.
        let path = format!("/predictors/{}/score/playground", chosen["id"].as_str().unwrap_or_default());
        match visit.post(&path, &request).await {
            Ok(scored) => answer = scored,
            Err(refused) => error = Some(refused),
        }
    }
    // Some to pick from; any other id can be typed.
    let customers = visit.get_if_there("/customers/records?limit=50").await?;
    let curl = (!request.is_null()).then(|| curl(&visit, &chosen, &request));
    let status = error.as_ref().map_or(StatusCode::OK, ApiError::status);
    let shown = context! {
        predictors, chosen, fields, customers, answer, request, curl, typed => form.typed(),
        error => error.as_ref().map(ApiError::detail),
        // Said beside the field.
        who_wrong => error.as_ref().is_some_and(|it| ["bad_filter", "no_action_set"].contains(&it.code())),
        agents_typed => form.string("agents"),
    };
    visit.page_with(status, "playground.html", shown).await
}

/// The predictor's context and customer features with their types and some samples; of a composite predictor those of all
/// that it combines.
async fn inputs(visit: &Visit, predictor: &Value) -> Result<Vec<Value>, ApiError> {
    let mut predictors = vec![predictor.clone()];
    if let Some(Ok(combine)) = predictor["combine"].as_str().map(Expression::parse) {
        for name in combine.names() {
            predictors.push(visit.get_if_there(&format!("/predictors/{}", segment(name))).await?);
        }
    }
    let mut fields: Vec<Value> = Vec::new();
    let mut profile = None;
    for predictor in &predictors {
        let Some(dataset) = predictor["dataset_id"].as_str() else { continue };
        let schema = visit.get_if_there(&format!("/datasets/{dataset}/schema")).await?;
        for side in ["context", "customer"] {
            for name in predictor["features"][side].as_array().into_iter().flatten() {
                if fields.iter().any(|known| known["name"] == *name) {
                    continue;
                }
                let mut field = with_name(&schema, name);
                if field.is_none() && side == "customer" {
                    if profile.is_none() {
                        profile = Some(visit.get("/customers/schema").await?);
                    }
                    field = profile.as_ref().and_then(|schema| with_name(schema, name));
                }
                let from_profile = side == "customer" && predictor["customer_source"] == "profile";
                fields.push(json!({
                    "name": name, "side": side, "type": field.map(|it| it["type"].clone()),
                    "samples": field.map(|it| it["samples"].clone()), "profile": from_profile,
                }));
            }
        }
    }
    Ok(fields)
}

fn with_name<'a>(schema: &'a Value, name: &Value) -> Option<&'a Value> {
    schema["fields"].as_array()?.iter().find(|field| field["name"] == *name)
}

/// The request that the form stands for.
fn body(form: &Form, fields: &[Value], language: Language) -> Value {
    let mut context = Map::new();
    for field in fields {
        let Some(name) = field["name"].as_str() else { continue };
        let Some(text) = form.get(&format!("context.{name}")) else { continue };
        let value = match field["type"].as_str().unwrap_or_default() {
            "Integer" | "Float" => language.number(text).unwrap_or_else(|| json!(text)),
            "Boolean" => text.parse::<bool>().map_or_else(|_| json!(text), Value::Bool),
            "List" => text.split(',').map(|part| json!(part.trim())).collect(),
            _ => json!(text),
        };
        context.insert(name.to_owned(), value);
    }
    let mut body = json!({"context": context, "explain": form.has("explain")});
    if let Some(id) = form.get("context_id") {
        body["context_id"] = json!(id);
    }
    if let Some(filter) = form.get("action_filters") {
        body["action_filters"] = json!(filter);
    }
    // Ids may have blanks inside.
    let typed = form.get("agents").unwrap_or_default();
    let agents: Vec<&str> = typed.split([',', '\n']).map(str::trim).filter(|id| !id.is_empty()).collect();
    if !agents.is_empty() || body["action_filters"].is_null() {
        body["agents"] = json!(agents);
    }
    body["top"] = json!(form.get("top").and_then(|text| text.parse::<usize>().ok()).unwrap_or(20));
    body
}

/// As a shell takes it: everything between single quotes.
fn curl(visit: &Visit, predictor: &Value, request: &Value) -> String {
    let scheme = if visit.app.secure { "https" } else { "http" };
    let host = header_text(&visit.headers, header::HOST).unwrap_or("localhost:3031");
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    format!(
        "curl -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' \\\n  {} \\\n  -d {}",
        quoted(&format!(
            "{scheme}://{host}/api/v1/predictors/{}/score",
            predictor["name"].as_str().unwrap_or_default()
        )),
        quoted(&request.to_string())
    )
}

/// Whether a filter is understood, and how many agents it finds: asked while it is typed.
async fn filter(visit: Visit) -> Result<Json<Value>, super::visit::Failure> {
    let text = visit.asked("text").unwrap_or_default();
    if text.trim().is_empty() {
        return Ok(Json(json!({"ok": true})));
    }
    // The filter language of scores and of the agents' list is the same.
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("filter", &text)
        .append_pair("limit", "500")
        .finish();
    match visit.get(&format!("/agents/records?{query}")).await {
        Ok(found) => {
            let count = found["items"].as_array().map_or(0, Vec::len);
            Ok(Json(json!({"ok": true, "agents": count, "more": found["next"].is_string()})))
        }
        Err(error) if error.status().is_client_error() => Ok(Json(json!({"ok": false, "detail": error.detail()}))),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_becomes_the_request() {
        let fields = [json!({"name": "age", "type": "Integer"}), json!({"name": "reason", "type": "String"})];
        let form = Form::parse(b"context.age=42&context.reason=it%27s&agents=a+b%0D%0Ac&top=3&explain=on&context_id=");
        let wanted = json!({
            "context": {"age": 42, "reason": "it's"}, "explain": true, "agents": ["a b", "c"], "top": 3,
        });
        assert_eq!(body(&form, &fields, Language::English), wanted);
        assert_eq!(body(&Form::parse(b"action_filters=x%3D1"), &fields, Language::German)["agents"], Value::Null);
    }
}
