//! `/datasets/{id}/rows`: the rows themselves, with the filter in the address; and those that were refused.

use axum::extract::Path;
use axum::http::StatusCode;
use minijinja::context;

use super::datasets::{load, shown_or_said};
use super::visit::{PageResult, Visit, segment};

pub(super) async fn page(visit: Visit, Path(id): Path<String>) -> PageResult {
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
pub(super) async fn rejected(visit: Visit, Path(id): Path<String>) -> PageResult {
    let dataset = load(&visit, &id).await?;
    let text = visit.text_of(&format!("/datasets/{id}/rejected")).await?;
    let (head, lines, more) = super::uploads::csv_head(&text, 200);
    visit.page("datasets/rejected.html", context! { dataset, head, lines, more, tab => "overview" }).await
}
