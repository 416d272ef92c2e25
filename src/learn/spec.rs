//! What to learn and from what.

use super::error::TrainError;
use crate::domain::column::{Column, Table};
use crate::domain::model::{ModelSettings, ModelType};
use crate::domain::predictor::{AgentSource, Features, Goal, MetricKind};
use crate::domain::schema::FieldType;
use crate::score::encoding::Side;

/// A feature and the column that holds its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureColumn {
    /// The name by which score requests and profiles give the value.
    pub name: String,
    /// The column of the table; usually the same name.
    pub column: String,
    pub side: Side,
}

/// Past interactions, one a row, and what their columns mean.
#[derive(Debug, Clone, Default)]
pub struct TrainingTable {
    pub table: Table,
    /// The column with the outcome. Rows where it is missing are left out.
    pub metric: String,
    /// The column with the agent's id (text, or whole numbers); needed by `DISJOINT` and `HYBRID`.
    pub agent_id: Option<String>,
    /// The column with the interaction's time (a `Timestamp`): for holdout by time, ages and half-life.
    pub timestamp: Option<String>,
    pub features: Vec<FeatureColumn>,
}

impl TrainingTable {
    /// The chosen features where every feature's column has the feature's name.
    pub fn feature_columns(features: &Features) -> Vec<FeatureColumn> {
        let side = |names: &[String], side: Side| {
            names
                .iter()
                .map(|name| FeatureColumn { name: name.clone(), column: name.clone(), side })
                .collect::<Vec<_>>()
        };
        let mut columns = side(&features.context, Side::Context);
        columns.extend(side(&features.customer, Side::Customer));
        columns.extend(side(&features.agent, Side::Agent));
        columns
    }
}

/// What to learn.
#[derive(Debug, Clone)]
pub struct TrainingSpec {
    pub model_type: ModelType,
    pub settings: ModelSettings,
    pub kind: MetricKind,
    pub goal: Goal,
    /// The value that counts as success of a classification; true or 1 when absent.
    pub positive: Option<serde_json::Value>,
    /// Where scoring takes agent features from: today's profile, or each agent's latest values of this table.
    pub agent_source: AgentSource,
    pub seed: u64,
}

/// Checks ranges before anything is stored: the text names the setting and its range.
pub fn check_settings(settings: &ModelSettings) -> Result<(), TrainError> {
    let bad = |text: &str| Err(TrainError::unusable("bad_settings", text));
    if settings.trees > 5_000 {
        return bad("settings.trees must be 0 to 5000");
    }
    if !(2..=64).contains(&settings.max_leaves) {
        return bad("settings.max_leaves must be 2 to 64");
    }
    if !(settings.learning_rate > 0.0 && settings.learning_rate <= 1.0) {
        return bad("settings.learning_rate must be above 0 and at most 1");
    }
    if !(settings.l2 >= 0.0 && settings.l2 <= 1e6) {
        return bad("settings.l2 must be 0 to 1000000");
    }
    if !(settings.holdout_share > 0.0 && settings.holdout_share <= 0.5) {
        return bad("settings.holdout_share must be above 0 and at most 0.5");
    }
    if settings.half_life_days.is_some_and(|days| !(days > 0.0 && days.is_finite())) {
        return bad("settings.half_life_days must be above 0");
    }
    if settings.crosses.as_ref().is_some_and(|crosses| crosses.len() > 50) {
        return bad("settings.crosses may name at most 50 fields");
    }
    if let Some(name) = settings.crosses.iter().flatten().find(|name| settings.monotone.contains_key(*name)) {
        return bad(&format!(
            "settings.crosses and settings.monotone both name {name:?}: what is crossed with agents goes each agent's own way"
        ));
    }
    Ok(())
}

/// The type of a column's values as a schema names it.
pub fn field_type(column: &Column) -> FieldType {
    match column {
        Column::Boolean(_) => FieldType::Boolean,
        Column::Integer(_) => FieldType::Integer,
        Column::Float(_) => FieldType::Float,
        Column::Text { .. } => FieldType::String,
        Column::Timestamp(_) => FieldType::Timestamp,
        Column::List(_) => FieldType::List,
        Column::Dict(_) => FieldType::Dict,
    }
}
