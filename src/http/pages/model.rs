//! `/home/models/{id}`: a model's card, for a person.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;

use super::figures::{bytes, grouped};
use super::own_api::call;
use super::plot::{Bars, Curve};
use super::{render, signed_in};
use crate::domain::model::{Direction, Holdout, ModelType};
use crate::domain::predictor::Goal;
use crate::http::{ApiError, ApiResult, AppState, Session};
use crate::learn::{Estimate, ModelCard};

#[derive(Template)]
#[template(path = "model.html")]
struct ModelPage<'a> {
    id: &'a str,
    username: &'a str,
    card: &'a ModelCard,
    trained_at: String,
    goal: String,
    facts: Vec<(&'static str, String)>,
    features: Vec<(&'static str, &'a [String])>,
    measures: Vec<Measure>,
    calibration: Option<Curve>,
    gains: Option<Curve>,
    residuals: Option<Bars>,
}

/// A measured value, its interval, and what to hold it against.
struct Measure {
    name: &'static str,
    value: String,
    interval: String,
    note: String,
}

pub(super) async fn page(
    State(app): State<AppState>,
    session: ApiResult<Session>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    signed_in(session, |session| async move { read(&app, &session, &headers, &id).await }).await
}

async fn read(app: &AppState, session: &Session, headers: &HeaderMap, id: &str) -> ApiResult<Response> {
    let path = format!("/models/{id}/card");
    let card = call(app, headers, Method::GET, &path, "application/json", String::new()).await?;
    let card: ModelCard = serde_json::from_value(card).map_err(ApiError::internal)?;
    let classification = card.quality.classification.as_ref();
    let page = ModelPage {
        id,
        username: &session.username,
        trained_at: card.trained_at.format("%Y-%m-%d %H:%M UTC").to_string(),
        goal: format!("{} {}", if card.metric.goal == Goal::Maximize { "more" } else { "less" }, card.metric.field),
        facts: facts(&card),
        features: features(&card),
        measures: measures(&card),
        calibration: classification
            .map(|quality| Curve::new(quality.calibration.iter().map(|bin| (bin.predicted, bin.observed)), false)),
        gains: classification.map(|quality| Curve::new(quality.gains.iter().map(|p| (p.share, p.captured)), true)),
        residuals: card.quality.regression.as_ref().map(|quality| Bars::new(&quality.residuals.histogram)),
        card: &card,
    };
    Ok(render(StatusCode::OK, &page))
}

fn facts(card: &ModelCard) -> Vec<(&'static str, String)> {
    let kind = match card.model_type {
        ModelType::Global => "GLOBAL: one for all agents",
        ModelType::Disjoint => "DISJOINT: one for each agent",
        ModelType::Hybrid => "HYBRID: one for all agents, and a part for each",
    };
    let data = &card.data;
    let text = |key: &str| data[key].as_str().unwrap_or("?").chars().take(10).collect::<String>();
    let (rows, in_period) = (data["rows"].as_u64().unwrap_or(0), data["rows_in_period"].as_u64().unwrap_or(0));
    let sampled = if rows < in_period { format!(" of {}", grouped(in_period)) } else { String::new() };
    let held = match (card.quality.holdout, card.quality.holdout_from) {
        (Holdout::Time, Some(from)) => {
            format!("the latest {} rows, from {}", grouped(card.quality.holdout_rows), from.format("%Y-%m-%d"))
        }
        _ => format!("{} rows, chosen at random", grouped(card.quality.holdout_rows)),
    };
    let settings = &card.settings;
    let mut chosen = format!("{} trees", card.choices.trees);
    if !card.choices.crosses.is_empty() {
        chosen.push_str(&format!("; crossed with the agent: {}", card.choices.crosses.join(", ")));
    }
    if !card.choices.drifting.is_empty() {
        chosen
            .push_str(&format!("; only seen values of {}, which move on with time", card.choices.drifting.join(", ")));
    }
    let monotone: Vec<String> = settings
        .monotone
        .iter()
        .map(|(name, direction)| format!("{name} {}", if *direction == Direction::Increasing { "up" } else { "down" }))
        .collect();
    let monotone = if monotone.is_empty() { "no feature".to_owned() } else { monotone.join(", ") };
    vec![
        ("Type", kind.to_owned()),
        ("Data", format!("{}, version {}", data["dataset_id"].as_str().unwrap_or("?"), data["dataset_version"])),
        ("Rows", format!("{}{sampled}, {} to {}", grouped(rows), text("from"), text("to"))),
        ("Measured on", held),
        (
            "Settings",
            format!(
                "at most {} trees of {} leaves, learning rate {}, l2 {}, {}, seed {}",
                settings.trees,
                settings.max_leaves,
                settings.learning_rate,
                settings.l2,
                settings.half_life_days.map_or("no half-life".to_owned(), |days| format!("half-life {days} days")),
                card.seed
            ),
        ),
        ("Held monotone", monotone),
        ("Chosen", chosen),
        (
            "Agents",
            format!("{} with a local part, {} without", grouped(card.coverage.local), grouped(card.coverage.global)),
        ),
        ("Trained by", format!("tango {}", card.program_version)),
        ("Artifact", format!("{}, SHA-256 {}", bytes(card.artifact_bytes), card.artifact_sha256)),
    ]
}

fn features(card: &ModelCard) -> Vec<(&'static str, &[String])> {
    let sides =
        [("Context", &card.features.context), ("Customer", &card.features.customer), ("Agent", &card.features.agent)];
    sides.into_iter().filter(|(_, names)| !names.is_empty()).map(|(side, names)| (side, names.as_slice())).collect()
}

fn measures(card: &ModelCard) -> Vec<Measure> {
    let measure = |name, estimate: Estimate, note: String| Measure {
        name,
        value: figure(estimate.value),
        interval: format!("{} to {}", figure(estimate.low), figure(estimate.high)),
        note,
    };
    let mut found = Vec::new();
    if let Some(quality) = &card.quality.classification {
        found.extend(quality.auc.map(|auc| measure("AUC", auc, "chance: 0.5".to_owned())));
        let note = format!("always the mean: {}", figure(quality.baseline_log_loss));
        found.push(measure("Log loss", quality.log_loss, note));
        found.push(measure("Brier score", quality.brier, String::new()));
        let chance = format!("chance: {}", figure(quality.base_rate));
        found.extend(quality.average_precision.map(|area| measure("Average precision", area, chance)));
        found.push(Measure {
            name: "Calibration error",
            value: figure(quality.calibration_error),
            interval: String::new(),
            note: format!("by chance: {}", figure(quality.calibration_error_by_chance)),
        });
    }
    if let Some(quality) = &card.quality.regression {
        let note = format!("always the mean: {}", figure(quality.baseline_mae));
        found.push(measure("Mean absolute error", quality.mae, note));
        found.push(measure("Root mean squared error", quality.rmse, String::new()));
        found.extend(quality.r2.map(|r2| measure("R²", r2, String::new())));
        found.push(Measure {
            name: "Mean residual",
            value: figure(quality.residuals.mean),
            interval: String::new(),
            note: "observed less predicted".to_owned(),
        });
    }
    found
}

/// Four digits that count.
fn figure(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let before = value.abs().log10().floor() as i32 + 1;
    format!("{value:.*}", (4 - before.max(0)).clamp(0, 4) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_four_digits() {
        for (value, text) in
            [(0.73519, "0.7352"), (481.23, "481.2"), (12_345.6, "12346"), (0.0, "0"), (-0.05, "-0.0500")]
        {
            assert_eq!(figure(value), text);
        }
    }
}
