//! `/upload`: a file by drag and drop, in parts that survive a reload (by script), or a small CSV as text (without one).

use axum::Router;
use axum::http::{Method, StatusCode};
use axum::routing::{get, post};
use minijinja::context;
use serde_json::{Value, json};

use super::form::Form;
use super::visit::{PageResult, Visit};
use crate::http::{ApiError, AppState};

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/upload", get(page)).route("/upload/text", post(text))
}

async fn page(visit: Visit) -> PageResult {
    show(&visit, StatusCode::OK, None, &Form::default()).await
}

async fn show(visit: &Visit, status: StatusCode, error: Option<&ApiError>, typed: &Form) -> PageResult {
    let target = typed.get("target").map(str::to_owned).or_else(|| visit.asked("target"));
    let target = target.unwrap_or_else(|| "dataset".to_owned());
    let dataset = match typed.get("dataset_id").map(str::to_owned).or_else(|| visit.asked("dataset")) {
        Some(id) => visit.get(&format!("/datasets/{}", super::visit::segment(&id))).await?,
        None => Value::Null,
    };
    let shown = context! { error => error.map(ApiError::detail), typed => typed.typed(), target, dataset };
    visit.page_with(status, "upload.html", shown).await
}

/// A small CSV from the text field: asked for, sent through tango, completed.
async fn text(visit: Visit, form: Form) -> PageResult {
    let target = form.get("target").unwrap_or("dataset").to_owned();
    // Browsers send the text field's lines with two characters each.
    let csv = form.all("csv").pop().unwrap_or_default().replace("\r\n", "\n");
    let name = form.get("name").unwrap_or("pasted").to_owned();
    let outcome = async {
        let mut ask = json!({
            // A name that is too long is refused as a name.
            "target": target, "filename": format!("{}.csv", name.chars().take(100).collect::<String>()), "size_bytes": csv.len(), "mode": "create",
        });
        if let Some(id) = form.get("dataset_id") {
            ask["dataset_id"] = json!(id);
            ask["mode"] = json!("append");
        } else if target == "dataset" {
            ask["name"] = json!(name);
        }
        if target != "dataset"
            && let Some(field) = form.get("id_field")
        {
            ask["id_field"] = json!(field);
        }
        let made = visit.post("/uploads", &ask).await?;
        let id = made["id"].as_str().unwrap_or_default();
        let sent = visit.put_bytes(&format!("/uploads/{id}/parts/1"), csv).await?;
        let parts = json!([{"number": 1, "etag": sent["etag"]}]);
        let accept = target != "dataset" || form.has("accept");
        visit
            .send(Method::POST, &format!("/uploads/{id}/complete"), &json!({"parts": parts, "accept_schema": accept}))
            .await
    };
    match outcome.await {
        Ok(done) => {
            let to = match done["dataset_id"].as_str().or(form.get("dataset_id")) {
                Some(id) if target == "dataset" => format!("/datasets/{id}"),
                _ => format!("/{target}"),
            };
            visit.done(&to, visit.text("The text is in the queue: it is read in a moment."))
        }
        Err(error) => show(&visit, error.status(), Some(&error), &form).await,
    }
}

/// The header and the first lines of a CSV text, and whether there are more.
pub(super) fn csv_head(text: &str, most: usize) -> (Vec<String>, Vec<Vec<String>>, bool) {
    let mut reader = csv::ReaderBuilder::new().flexible(true).has_headers(false).from_reader(text.as_bytes());
    let cells = |record: csv::StringRecord| record.iter().map(str::to_owned).collect::<Vec<String>>();
    let mut records = reader.records().filter_map(Result::ok).map(cells);
    let head = records.next().unwrap_or_default();
    let lines: Vec<Vec<String>> = records.by_ref().take(most).collect();
    let more = records.next().is_some();
    (head, lines, more)
}
