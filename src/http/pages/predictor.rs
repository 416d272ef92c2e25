//! `/predictors/{id}`: one predictor, its models, who answers when, and training by itself; two to ten models side by side.

use axum::Router;
use axum::extract::Path;
use axum::http::Method;
use axum::routing::{get, post};
use minijinja::context;
use serde_json::{Value, json};

use super::form::{Form, Refused};
use super::jobs::described_one;
use super::sure::{self, Question};
use super::visit::{PageResult, Visit, segment};
use super::{names, turns};
use crate::http::{ApiError, AppState};
use crate::store::{self, Collection, Condition, Query};

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/predictors/{id}", get(page))
        .route("/predictors/{id}/delete", post(delete))
        .route("/predictors/{id}/compare", get(compare))
        .route("/predictors/{id}/retraining", post(retraining))
        .route("/predictors/{id}/retraining/run", post(retrain_now))
}

async fn page(visit: Visit, Path(id): Path<String>) -> PageResult {
    show(&visit, &id, None).await
}

/// `refused`: the form of this page that was, to be shown again with what was typed.
pub(super) async fn show(visit: &Visit, id: &str, refused: Option<&Refused<'_>>) -> PageResult {
    let id = segment(id);
    let predictor = visit.get(&format!("/predictors/{id}")).await?;
    let of_it = format!("predictor_id={}", predictor["id"].as_str().unwrap_or_default());
    let query = visit.query(&["sort", "after"], &[("limit", "50"), ("sort", "-id")]);
    let models = visit.get(&format!("/models?{of_it}&{query}")).await?;
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
            model["job"] = described_one(visit, Some(job)).await?;
        }
        shown_models.push(model);
    }
    let id_of_it = predictor["id"].as_str().unwrap_or_default();
    let standing = match models["next"].is_null() && visit.asked("after").is_none() {
        true => Standing::of(&shown_models),
        false => Standing::read(visit, id_of_it).await?,
    };
    let Standing { live, previous, count } = standing;
    let turns = turns::shown(&predictor, &live, visit.app.ctx.clock.now(), visit.language);
    let retraining = visit.get_if_there(&format!("/predictors/{id}/retraining")).await?;
    let reports = reports_of(visit, predictor["id"].as_str().unwrap_or_default()).await?;
    let names = names::of_lists(visit, &[&json!({"items": reports})]).await?;
    let shown = context! {
        names, predictor, dataset, models => shown_models, next => models["next"], count, previous, turns, retraining, reports,
        refused => Refused::shown(refused),
    };
    visit.page_with(Refused::status(refused), "predictors/show.html", shown).await
}

/// What the page says of all models, whichever of them are listed.
struct Standing {
    live: Vec<Value>,
    /// Who answered before the present ones.
    previous: Option<Value>,
    count: u64,
}

impl Standing {
    /// When these are all of them.
    fn of(models: &[Value]) -> Self {
        let live = models.iter().filter(|it| it["active"] == true).cloned().collect();
        let retired = models.iter().filter(|it| it["active"] == false && it["retired_at"].is_string());
        let previous = retired.max_by_key(|it| it["retired_at"].as_str().unwrap_or_default().to_owned()).cloned();
        Self { live, previous, count: models.len() as u64 }
    }

    async fn read(visit: &Visit, predictor: &str) -> Result<Self, ApiError> {
        let of_it = format!("/models?predictor_id={predictor}");
        let mut live = visit.get(&format!("{of_it}&active=true&limit=100")).await?;
        let mut retired = visit.get(&format!("{of_it}&active=false&limit=1&sort=-retired_at")).await?;
        let all = Query::new(Collection::Models, visit.session.account_id.as_str())
            .filter(Condition::equal(store::Path::key("predictor_id"), predictor));
        Ok(Self {
            live: live["items"].as_array_mut().map(std::mem::take).unwrap_or_default(),
            previous: Some(retired["items"][0].take()).filter(|it| it["retired_at"].is_string()),
            count: visit.app.ctx.store.count(&all).await.map_err(ApiError::from)?,
        })
    }
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
    let all = visit.get(&format!("/predictors/{}/models?limit=500", segment(&id))).await?;
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

async fn retraining(visit: Visit, Path(id): Path<String>, form: Form) -> PageResult {
    let to = format!("/predictors/{id}");
    let path = format!("/predictors/{}/retraining", segment(&id));
    if form.has("remove") {
        if !form.has("sure") {
            return ask_to_stop(&visit, &id, &form).await;
        }
        let removed = visit.send(Method::DELETE, &path, &Value::Null).await;
        return visit.outcome(removed, &to, visit.text("The model is not trained by itself any more."));
    }
    let hours = form.string("every_hours");
    let body = json!({
        "every_hours": visit.language.number(&hours).unwrap_or(json!(hours)), "model_id": form.string("model_id"),
        "activate": form.get("activate").unwrap_or("if_better"), "enabled": true,
    });
    match visit.send(Method::PUT, &path, &body).await {
        Ok(_) => visit.done(&to, visit.text("The schedule is kept.")),
        Err(error) => show(&visit, &id, Some(&Refused { which: "retraining", error: &error, form: &form })).await,
    }
}

async fn ask_to_stop(visit: &Visit, id: &str, form: &Form) -> PageResult {
    let predictor = visit.get(&format!("/predictors/{}", segment(id))).await?;
    let schedule = visit.get(&format!("/predictors/{}/retraining", segment(id))).await?;
    let every = schedule["every_hours"].to_string();
    let lost = match every.as_str() {
        "1" => visit.text("The schedule, every hour, is lost.").to_owned(),
        every => visit.text("The schedule, every {n} hours, is lost.").replace("{n}", every),
    };
    let name = predictor["name"].as_str().unwrap_or_default();
    let question = Question {
        title: visit.text("Stop training {name} by itself?").replace("{name}", name),
        lost: vec![lost, visit.text("Models and their versions stay.").to_owned()],
        yes: visit.text("Yes, stop it"),
        back: &format!("/predictors/{id}"),
    };
    sure::ask(visit, form, question).await
}

async fn retrain_now(visit: Visit, Path(id): Path<String>) -> PageResult {
    let started = visit.post(&format!("/predictors/{}/retraining/run", segment(&id)), &Value::Null).await;
    visit.outcome(started, &format!("/predictors/{id}"), visit.text("The training is in the queue."))
}
