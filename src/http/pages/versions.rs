//! `/datasets/{id}/versions`: what happened to the data, an earlier version brought back, a period deleted.

use axum::extract::Path;
use axum::http::StatusCode;
use minijinja::context;
use serde_json::{Value, json};

use super::datasets::{load, role};
use super::figures::count;
use super::form::Form;
use super::sure::{self, Question};
use super::visit::{PageResult, Visit, segment};
use crate::domain::profile::parse_timestamp;
use crate::http::ApiError;

pub(super) async fn page(visit: Visit, Path(id): Path<String>) -> PageResult {
    show(&visit, &id, None, Value::Null, &Form::default()).await
}

/// `asked`: what goes with the period that the form names, to be said yes to.
async fn show(visit: &Visit, id: &str, error: Option<&ApiError>, asked: Value, typed: &Form) -> PageResult {
    let dataset = load(visit, id).await?;
    let query = visit.query(&["after"], &[("limit", "50"), ("sort", "-id")]);
    let versions = visit.get(&format!("/datasets/{id}/versions?{query}")).await?;
    let schema = visit.get_if_there(&format!("/datasets/{id}/schema")).await?;
    let has_time = role(&schema, "timestamp").is_some();
    let shown = context! {
        dataset, versions, has_time, going => asked, typed => typed.typed(), error => error.map(ApiError::detail),
        tab => "versions",
    };
    visit.page_with(error.map_or(StatusCode::OK, ApiError::status), "datasets/versions.html", shown).await
}

/// Says first what is present now and would be no more, then brings the version back.
pub(super) async fn revert(visit: Visit, Path(id): Path<String>, form: Form) -> PageResult {
    if !form.has("sure") {
        return ask_to_revert(&visit, &id, &form).await;
    }
    let version: u64 = form.string("version").parse().unwrap_or_default();
    let started = visit.post(&format!("/datasets/{id}/revert"), &json!({"version": version})).await;
    let said = visit.text("The earlier version is being brought back, as a new version.");
    visit.outcome(started, &format!("/datasets/{id}/versions"), said)
}

async fn ask_to_revert(visit: &Visit, id: &str, form: &Form) -> PageResult {
    let dataset = load(visit, id).await?;
    let versions = visit.get(&format!("/datasets/{id}/versions?limit=500&sort=-id")).await?;
    let version = form.string("version");
    let mut all = versions["items"].as_array().into_iter().flatten();
    let wanted = all.find(|it| it["version"].as_u64() == version.parse().ok());
    let rows = |value: &Value| value["rows"].as_i64().map_or_else(|| "–".to_owned(), |it| count(it, visit.language));
    let fill = |text: &str| {
        text.replace("{name}", dataset["name"].as_str().unwrap_or_default())
            .replace("{n}", &version)
            .replace("{rows}", &wanted.map_or_else(|| "–".to_owned(), rows))
            .replace("{present}", &rows(&dataset))
            .replace("{m}", &dataset["version"].to_string())
    };
    let days = visit.app.ctx.config.object_grace_days.to_string();
    let lost = [
        visit.text("Rows and schema become those of version {n} ({rows} rows), in place of version {m} ({present} rows). Rows and fields that came later are no longer in the data."),
        visit.text("Version {m} stays in this list for {days} days and can be brought back in turn. Models keep what they learned."),
    ];
    let question = Question {
        title: fill(visit.text("Bring version {n} of {name} back?")),
        lost: lost.iter().map(|text| fill(text).replace("{days}", &days)).collect(),
        yes: visit.text("Yes, bring it back"),
        back: &format!("/datasets/{id}/versions"),
    };
    sure::ask(visit, form, question).await
}

/// Says first how many rows go, then deletes them.
pub(super) async fn delete_range(visit: Visit, Path(id): Path<String>, form: Form) -> PageResult {
    let (from, to) = (form.string("from"), form.string("to"));
    if !form.has("sure") {
        return match in_period(&visit, &id, &from, &to).await {
            Ok(going) => show(&visit, &id, None, going, &form).await,
            Err(error) if error.status().is_client_error() && error.status() != StatusCode::NOT_FOUND => {
                show(&visit, &id, Some(&error), Value::Null, &form).await
            }
            Err(error) => Err(error.into()),
        };
    }
    match visit.post(&format!("/datasets/{id}/delete_range"), &json!({"from": from, "to": to})).await {
        Ok(_) => {
            let said = visit.text("The rows of the period are being deleted. Earlier versions have them for a while.");
            visit.done(&format!("/datasets/{id}/versions"), said)
        }
        Err(error) if error.status() == StatusCode::UNAUTHORIZED => Err(error.into()),
        Err(error) => show(&visit, &id, Some(&error), Value::Null, &form).await,
    }
}

/// Rows of a period: all of them when they fit a page, else about how many, from how the times are spread.
async fn in_period(visit: &Visit, id: &str, from: &str, to: &str) -> Result<Value, ApiError> {
    const COUNTED: usize = 500;
    let time = |text: &str| {
        parse_timestamp(text).ok_or_else(|| {
            let said = visit
                .text("{name} is no time: write a day such as 2026-01-31, or a time such as 2026-01-31T08:30:00Z.");
            ApiError::unprocessable("bad_period", said.replace("{name}", &format!("“{text}”")))
        })
    };
    let (start, end) = (time(from)?, time(to)?);
    if start >= end {
        let said = visit.text("The period ends before it begins: give an end that is after its beginning.");
        return Err(ApiError::unprocessable("bad_period", said));
    }
    let schema = visit.get(&format!("/datasets/{id}/schema")).await?;
    let name = segment(&role(&schema, "timestamp").unwrap_or_default());
    let query = format!("from={}&to={}&limit={COUNTED}&columns={name}", segment(from), segment(to));
    let rows = visit.get(&format!("/datasets/{id}/rows?{query}")).await?;
    if rows["next"].is_null() {
        return Ok(json!({"rows": rows["items"].as_array().map_or(0, Vec::len), "exactly": true}));
    }
    let column = visit.get(&format!("/datasets/{id}/columns/{name}")).await?;
    Ok(json!({"rows": spread_over(&column, start.timestamp() as f64, end.timestamp() as f64), "exactly": false}))
}

/// About how many rows of a dataset have a time of this period, from the histogram of a sample of them.
fn spread_over(column: &Value, from: f64, to: f64) -> u64 {
    let bars = column["histogram"].as_array().into_iter().flatten();
    let part = bars.filter_map(|bar| {
        let (low, high, rows) = (bar["from"].as_f64()?, bar["to"].as_f64()?, bar["rows"].as_f64()?);
        let inside = (to.min(high) - from.max(low)).max(0.0);
        Some(if high > low { rows * inside / (high - low) } else { rows })
    });
    let looked = column["rows"].as_f64().unwrap_or(0.0).max(1.0);
    let total = column["rows_total"].as_f64().unwrap_or(looked);
    (part.sum::<f64>() * total / looked).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_period_are_estimated_from_the_spread_of_a_sample() {
        let column = json!({"rows": 30, "rows_total": 300, "histogram": [
            {"from": 0, "to": 10, "rows": 10}, {"from": 10, "to": 20, "rows": 20},
        ]});
        assert_eq!(spread_over(&column, 5.0, 15.0), 150);
        assert_eq!(spread_over(&column, -9.0, 99.0), 300);
        assert_eq!(spread_over(&column, 20.0, 30.0), 0);
    }
}
