//! What a report is to look at: refused where it is asked for, not when a job has read the data.

use super::ReportBody;
use crate::domain::model::Model;
use crate::domain::predictor::{Predictor, PredictorDefinition};
use crate::domain::report::ReportKind;
use crate::domain::schema::FieldType;
use crate::http::predictors::surroundings;
use crate::http::{ApiError, ApiResult, AppState};
use crate::learn::LiftOptions;

/// Options of other kinds of reports are not accepted and ignored.
pub fn check(body: &ReportBody) -> ApiResult<()> {
    if let Some(numbers) = &body.agents_free {
        if body.kind != ReportKind::LiftEstimation {
            return Err(refused("agents_free", "Only a lift_estimation takes agents_free: leave it out.".to_owned()));
        }
        let options = LiftOptions { agents_free: numbers.clone(), segment_by: None };
        if let Err(error) = options.check() {
            return Err(refused("agents_free", format!("{error}.")));
        }
    }
    if body.segment_by.is_some() && !matches!(body.kind, ReportKind::LiftEstimation | ReportKind::AgentVariance) {
        let text = "Only lift_estimation and agent_variance take segment_by: leave it out.";
        return Err(refused("segment_by", text.to_owned()));
    }
    Ok(())
}

/// A report is broken down by a context or customer feature whose values can be told apart one by one. How many values a
/// number has is known only when the data are read.
pub async fn check_segment(
    app: &AppState,
    kind: ReportKind,
    field: &str,
    predictor: &Predictor,
    model: Option<&Model>,
) -> ApiResult<()> {
    let PredictorDefinition::Simple { dataset_id, features, .. } = &predictor.definition else { return Ok(()) };
    let around = surroundings::load(app, &predictor.account_id, Some(dataset_id)).await?;
    let features = model.and_then(|model| model.features.as_ref()).unwrap_or(features);
    let fits = |name: &str| {
        let known = around.dataset.field(name).or_else(|| around.customers.field(name));
        match known.map(|field| field.field_type) {
            Some(FieldType::Timestamp | FieldType::List | FieldType::Dict) => false,
            Some(FieldType::Float) => kind == ReportKind::LiftEstimation,
            Some(FieldType::Boolean | FieldType::Integer | FieldType::String) => true,
            // Gone from the schema since: the job says so of every feature.
            None => true,
        }
    };
    let candidates: Vec<&str> =
        features.context.iter().chain(&features.customer).map(String::as_str).filter(|name| fits(name)).collect();
    if candidates.contains(&field) {
        return Ok(());
    }
    let types = match kind {
        ReportKind::LiftEstimation => "a text, a number or Boolean",
        _ => "a text, a whole number or Boolean",
    };
    let choice = match candidates.as_slice() {
        [] => "there is none here: leave it out".to_owned(),
        names => format!("name one of {}", names.join(", ")),
    };
    let text = format!("segment_by is {field:?}, which is no context or customer feature that is {types}: {choice}.");
    Err(refused("segment_by", text))
}

fn refused(path: &str, text: String) -> ApiError {
    ApiError::unprocessable("invalid_body", text.clone()).field(path, text)
}
