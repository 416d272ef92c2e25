//! `GET /api/v1/predictors/{id or name}/production`: what production says of a predictor.

mod agents;
mod body;
mod outcomes;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use body::ProductionAnswer;

use self::body::{Drift, DriftBin, ModelProduction, ScoringBody};
use super::error::ProblemBody;
use super::json::{ApiPath, ApiQuery, optional_time};
use super::predictors::{self, models_of};
use super::{ApiError, ApiResult, AppState, Session};
use crate::domain::Timestamp;
use crate::domain::id::ModelId;
use crate::domain::predictor::{Predictor, PredictorDefinition};
use crate::domain::scoring::{ScoringCounts, ScoringHour};
use crate::learn::monitor::{StabilityVerdict, stability};
use crate::learn::{Quality, ReferenceInput, monitor};
use crate::live::artifacts::{self, Part};
use crate::store::{Collection, Comparison, Condition, Path, Query, StoreExt};

/// The period when none is given.
const DEFAULT_DAYS: i64 = 30;
const HOUR_MS: i64 = 3_600_000;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(production))
}

/// The period: `from` ≤ time < `to`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Period {
    /// A day, which begins at 00:00 UTC, or a time (RFC 3339); 30 days before `to` when absent. Counts of scoring begin with the full hour.
    #[serde(default, deserialize_with = "optional_time")]
    #[param(value_type = Option<String>, example = "2026-01-31")]
    from: Option<Timestamp>,
    /// As `from`; now when absent.
    #[serde(default, deserialize_with = "optional_time")]
    #[param(value_type = Option<String>, example = "2026-01-31")]
    to: Option<Timestamp>,
}

/// Does routing by scores help, do predictions hold, are the inputs what training saw: from the score log and from what every server
/// counted.
#[utoipa::path(get, path = "/api/v1/predictors/{predictor}/production", tag = "predictors",
    params(("predictor" = String, Path, description = "Id or name"), Period),
    responses(
        (status = OK, body = ProductionAnswer),
        (status = NOT_FOUND, body = ProblemBody, description = "`predictor_not_found`"),
        (status = UNPROCESSABLE_ENTITY, body = ProblemBody, description = "`bad_period`, `period_too_long`")))]
async fn production(
    State(app): State<AppState>,
    session: Session,
    ApiPath(predictor): ApiPath<String>,
    ApiQuery(period): ApiQuery<Period>,
) -> ApiResult<Json<ProductionAnswer>> {
    let predictor = predictors::load(&app, &session.account_id, &predictor).await?.value;
    let to = period.to.unwrap_or_else(|| app.ctx.clock.now());
    let from = period.from.unwrap_or(to - chrono::Duration::days(DEFAULT_DAYS));
    if from >= to {
        let text = "`from` must be before `to`.";
        return Err(ApiError::unprocessable("bad_period", text).field("from", "is not before `to`"));
    }
    // What this node counted in the last seconds, too. When the store does not take it, what it has is told.
    if let Err(error) = app.production.flush().await {
        tracing::debug!(%error, "the production report goes without the last seconds");
    }
    let hours = read_hours(&app, &predictor, from, to).await?;
    let mut all = ScoringCounts::default();
    hours.iter().for_each(|hour| all.add(&hour.counts));
    let models = by_version(&app, hours).await?;
    let log = outcomes::read(&app, &predictor, from, to).await?;
    let agent_drift = agents::drift(&app, &models, &log.served).await?;
    let (lift, calibration) = match &predictor.definition {
        PredictorDefinition::Simple { metric, .. } => {
            let smaller_is_better = metric.goal == crate::domain::predictor::Goal::Minimize;
            let lift = monitor::lift(&log.on, &log.off, smaller_is_better);
            let at_training = error_at_training(&app, &predictor).await?;
            (Some(lift), Some(monitor::calibration(log.predictions, at_training)))
        }
        PredictorDefinition::Composite { .. } => (None, None),
    };
    Ok(Json(ProductionAnswer {
        predictor_id: predictor.id,
        from,
        to,
        scoring: ScoringBody::from(&all),
        models,
        agent_drift,
        score_log: log.counts,
        lift,
        calibration,
        assumptions: body::ASSUMPTIONS.iter().map(|text| (*text).to_owned()).collect(),
    }))
}

async fn read_hours(
    app: &AppState,
    predictor: &Predictor,
    from: Timestamp,
    to: Timestamp,
) -> ApiResult<Vec<ScoringHour>> {
    let hour = |comparison, at: i64| Condition::Compare { path: Path::key("hour_ms"), comparison, value: at.into() };
    let first = from.timestamp_millis().div_euclid(HOUR_MS) * HOUR_MS;
    let query = Query::new(Collection::ScoringHours, predictor.account_id.as_str())
        .filter(Condition::equal(Path::key("predictor_id"), predictor.id.as_str()))
        .filter(hour(Comparison::GreaterOrEqual, first))
        .filter(hour(Comparison::Less, to.timestamp_millis()))
        .limit(500);
    let hours = app.ctx.store.list_all::<ScoringHour>(query).await?;
    Ok(hours.into_iter().map(|stored| stored.value).collect())
}

/// Each model version that answered, the newest first. Components of composites are in their own predictor's report.
async fn by_version(app: &AppState, hours: Vec<ScoringHour>) -> ApiResult<Vec<ModelProduction>> {
    let mut versions: Vec<((ModelId, u32), ScoringCounts)> = Vec::new();
    for hour in hours {
        let Some(model) = hour.model_id else { continue };
        let version = (model, hour.model_version);
        match versions.iter_mut().find(|(known, _)| *known == version) {
            Some((_, counts)) => counts.add(&hour.counts),
            None => versions.push((version, hour.counts)),
        }
    }
    versions.sort_by(|a, b| b.0.cmp(&a.0));
    let mut models = Vec::new();
    for ((model_id, version), counts) in versions {
        let bytes = artifacts::read_part(&app.ctx.store, &model_id, version, Part::Reference).await?;
        // A version of an earlier program has none; one that cannot be read is as good as none.
        let reference: Vec<ReferenceInput> =
            bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let drift = drift(&reference, &counts.inputs);
        let worst = drift.iter().map(|drift| drift.stability.verdict).max();
        models.push(ModelProduction {
            model_id,
            version,
            scoring: ScoringBody::from(&counts),
            predicted: counts.predicted,
            drift,
            verdict: worst.unwrap_or(StabilityVerdict::Stable),
        });
    }
    Ok(models)
}

/// Inputs by falling index.
fn drift(reference: &[ReferenceInput], counted: &[Vec<u64>]) -> Vec<Drift> {
    let mut found: Vec<Drift> = reference
        .iter()
        .zip(counted)
        .filter_map(|(training, counted)| {
            let stability = stability(&training.rows, counted)?;
            let at = |counts: &[u64], bin: usize| counts.get(bin).copied().unwrap_or(0);
            let bins = training.bins.iter().enumerate().map(|(bin, name)| DriftBin {
                value: name.clone(),
                training_rows: at(&training.rows, bin),
                requests: at(counted, bin),
            });
            let (input, field) = (training.input.clone(), training.field.clone());
            Some(Drift { input, field, stability, bins: bins.collect() })
        })
        .collect();
    found.sort_by(|a, b| b.stability.psi.total_cmp(&a.stability.psi));
    found
}

/// Of the model that answers most requests now.
async fn error_at_training(app: &AppState, predictor: &Predictor) -> ApiResult<Option<f64>> {
    let models = models_of(app, predictor).await?;
    let active = models.into_iter().map(|model| model.value).filter(|model| model.active);
    let main = active.max_by(|a, b| a.share.unwrap_or(1.0).total_cmp(&b.share.unwrap_or(1.0)));
    let quality: Option<Quality> =
        main.and_then(|model| model.quality).and_then(|quality| serde_json::from_value(quality).ok());
    Ok(quality.and_then(|quality| quality.classification).and_then(|q| monitor::training_error(&q.calibration)))
}
