//! How much agents differ in the outcome once the context is accounted for.
//!
//! A regression predicts each interaction out of fold as an average agent would end it; what is left over is averaged by agent
//! and pooled (see [`super::pooling`]). The regression knows the agents, so that a reason which mostly good agents serve does not
//! look easy, but its predictions leave them out. Everything is in the metric's unit, so that a deviation can be read as what another
//! agent would change.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::breakdown::{Category, categories};
use super::error::TrainError;
use super::fit::{Choices, LinearFit, predictions};
use super::part::{FitPart, Task};
use super::pooling::{Measured, expected_best, shrink, variance_between};
use super::quality::Estimate;
use super::spec::{TrainingSpec, TrainingTable, check_settings};
use super::target::{self, NO_AGENT};
use super::train::in_pool;
use crate::domain::job::Reporter;
use crate::domain::model::{ModelSettings, ModelType};
use crate::domain::predictor::{Goal, MetricKind};
use crate::score::encoding::Side;

/// Context fields that are looked at, and that are listed.
const MAX_TRIED: usize = 40;
const MAX_FIELDS: usize = 10;
/// Values of a field that are listed.
const MAX_VALUES: usize = 20;
/// Groups of agents that the gain is told for.
const FREE_AGENTS: [u32; 4] = [2, 5, 10, 20];
/// Rows by which an agent's own noise is drawn to that of all (Smyth, Statistical Applications in Genetics 3, 2004).
const PRIOR_ROWS: f64 = 10.0;

/// What the choice among so many agents is worth, in the metric's unit; above 0, whichever way is better.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BestOf {
    /// Agents who are free at the same time.
    pub agents: u32,
    /// The best of them instead of an average one, if the true effects were known.
    pub if_known: f64,
    /// Likewise by the shrunken effects, which are all that these rows tell.
    pub by_estimates: f64,
}

/// One agent's mean effect on the outcome, compared with the average agent in the same contexts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AgentEffect {
    pub agent_id: String,
    pub rows: u64,
    /// Mean outcome less what the context lets expect; not shrunk.
    pub measured: f64,
    /// Partially pooled, with its 95 % interval.
    pub effect: Estimate,
    /// The share of the measured deviation that was kept, 0 to 1.
    pub kept: f64,
}

/// How much agents differ where a field has one value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ValueVariance {
    /// Null where the value is missing.
    pub value: Option<String>,
    pub rows: u64,
    pub agents: u64,
    /// Standard deviation between agents.
    pub deviation: Estimate,
}

/// How much an agent's effect changes with a field's value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ContextVariance {
    pub field: String,
    /// Standard deviation of the agents' effects between values of the field, around each agent's own level: what is gained
    /// by knowing who is good at what. An interval from 0 on means that the data show no such difference.
    pub deviation: Estimate,
    /// By falling number of rows, at most 20.
    pub values: Vec<ValueVariance>,
}

/// The report. Deviations are standard deviations in the metric's unit (classification: 0.05 are five percentage points).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AgentVariance {
    /// Rows with an outcome and an agent.
    pub rows: u64,
    pub agents: u64,
    pub rows_without_agent: u64,
    /// Mean outcome.
    pub mean: f64,
    /// Variance between agents.
    pub variance: Estimate,
    /// Its root.
    pub deviation: Estimate,
    /// Standard deviation of a single interaction's outcome around what is expected of it.
    pub noise: f64,
    /// Variance between agents ÷ all variance that the context does not explain.
    pub share: f64,
    pub best_of: Vec<BestOf>,
    /// What it means, in words.
    pub meaning: String,
    /// How it was computed, what it rests on, and its sources.
    pub method: String,
    /// The fields with the largest deviation first, at most 10.
    pub by_context: Vec<ContextVariance>,
    /// By agent id.
    pub effects: Vec<AgentEffect>,
    pub warnings: Vec<String>,
}

const METHOD: &str = "Each interaction is predicted as an average agent would end it, by a ridge-shrunk regression on the context \
    and customer features that also knows the agents (so that a reason which mostly good agents serve does not look easy), whose \
    part is left out of the prediction; no feature of agents is used. The model of a row did not see the row's fold (5 folds). The \
    residuals' mean of an agent is its measured effect. Variance between agents: restricted maximum likelihood (Patterson & Thompson, \
    Biometrika 58, 1971), with the profile likelihood's 95 % interval (Hardy & Thompson, Statistics in Medicine 15, 1996). Effects: \
    empirical Bayes (Efron & Morris, JASA 70, 1975), with intervals after Morris (JASA 78, 1983). By context: the same, from the \
    differences between values within each agent. It rests on this: within the same context, who served an interaction had nothing \
    to do with how hard it was. Where routing gives some agents the harder cases in a way that no feature shows, or combinations of \
    features matter that the regression does not have, their difference is counted as the agents'.";

/// Measures it. Only rows with an agent count. `segment_by` names the one context or customer field to break it down by;
/// without it all categorical ones are tried. `threads` as in [`super::train()`].
pub fn agent_variance(
    mut table: TrainingTable,
    spec: &TrainingSpec,
    segment_by: Option<&str>,
    reporter: &dyn Reporter,
    threads: Option<usize>,
) -> Result<AgentVariance, TrainError> {
    check_settings(&spec.settings)?;
    if table.agent_id.is_none() {
        return Err(TrainError::unusable(
            "no_agent_id",
            "agent variance needs to know who served each interaction: give a field of the dataset the role agent_id",
        ));
    }
    table.features.retain(|feature| feature.side != Side::Agent);
    let settings = ModelSettings { monotone: BTreeMap::new(), ..spec.settings.clone() };
    let spec = TrainingSpec { model_type: ModelType::Disjoint, settings, ..spec.clone() };
    in_pool(threads, || in_this_pool(&table, &spec, segment_by, reporter))
}

/// What the context leaves of each row's outcome.
struct Left {
    /// Index of the agent.
    agent: u32,
    /// Position among the fitted rows.
    row: u32,
    residual: f64,
    /// Variance of the outcome around its expectation.
    noise: f64,
}

fn in_this_pool(
    table: &TrainingTable,
    spec: &TrainingSpec,
    segment_by: Option<&str>,
    reporter: &dyn Reporter,
) -> Result<AgentVariance, TrainError> {
    let mut warnings = Vec::new();
    let target = target::read(table, spec, &mut warnings)?;
    let task = Task { table, spec, target: &target };
    let fit = task.fit_part(&target.positions(), &[], &mut warnings)?;
    let choices = Choices { ridge: 1.0, cross_ridge: 1.0, crosses: Vec::new(), drifting: Vec::new(), trees: 0 };
    let margins =
        LinearFit::estimate(&task, &fit, &[], reporter)?.out_of_fold(&task, &fit, &choices, false, reporter)?;
    let predicted = predictions(spec.kind, &fit, &margins);
    let mut left: Vec<Left> = (0..target.rows.len())
        .filter(|row| target.agents[*row] != NO_AGENT)
        .map(|row| Left {
            agent: target.agents[row],
            row: row as u32,
            residual: target.outcomes[row] - predicted[row],
            noise: (predicted[row] * (1.0 - predicted[row])).max(1e-4),
        })
        .collect();
    left.sort_by_key(|one| one.agent);
    if spec.kind == MetricKind::Regression {
        set_noise(&mut left);
    }
    let by_agent: Vec<&[Left]> = left.chunk_by(|a, b| a.agent == b.agent).collect();
    if by_agent.len() < 2 {
        return Err(TrainError::unusable(
            "too_few_agents",
            format!("{} agents served the interactions of the data, at least 2 are needed to compare", by_agent.len()),
        ));
    }
    let measured: Vec<Measured> = by_agent.iter().map(|rows| measure(rows.iter())).collect();
    let variance =
        variance_between(std::slice::from_ref(&measured)).unwrap_or(Estimate { value: 0.0, low: 0.0, high: 0.0 });
    let shrunken = shrink(&measured, variance.value);
    let noise = left.iter().map(|one| one.noise).sum::<f64>() / left.len() as f64;
    let deviation = root(variance);
    let known = shrunken.iter().map(|one| one.kept).sum::<f64>() / shrunken.len() as f64;
    let best_of: Vec<BestOf> = FREE_AGENTS
        .iter()
        .map(|agents| {
            let if_known = expected_best(*agents) * deviation.value;
            BestOf { agents: *agents, if_known, by_estimates: if_known * known.sqrt() }
        })
        .collect();
    let effects = by_agent
        .iter()
        .zip(&measured)
        .zip(&shrunken)
        .map(|((rows, measured), shrunken)| AgentEffect {
            agent_id: target.agent_ids[rows[0].agent as usize].to_string(),
            rows: rows.len() as u64,
            measured: measured.value,
            effect: shrunken.effect,
            kept: shrunken.kept,
        })
        .collect();
    let tried = tried(&fit, segment_by, &mut warnings)?;
    let mut by_context: Vec<ContextVariance> = tried
        .par_iter()
        .filter_map(|category| context_variance(category, &fit.part.columns[category.input].levels, &left))
        .collect();
    by_context.sort_by(|a, b| b.deviation.value.total_cmp(&a.deviation.value));
    by_context.truncate(MAX_FIELDS);
    Ok(AgentVariance {
        rows: left.len() as u64,
        agents: by_agent.len() as u64,
        rows_without_agent: (target.rows.len() - left.len()) as u64,
        mean: left.iter().map(|one| target.outcomes[one.row as usize]).sum::<f64>() / left.len() as f64,
        meaning: meaning(table, spec, deviation, &best_of, &by_context),
        variance,
        deviation,
        noise: noise.sqrt(),
        share: variance.value / (variance.value + noise),
        best_of,
        method: METHOD.to_owned(),
        by_context,
        effects,
        warnings,
    })
}

/// The fields to break it down by.
fn tried<'a>(
    fit: &'a FitPart,
    segment_by: Option<&str>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Category<'a>>, TrainError> {
    let mut found = categories(fit);
    if let Some(wanted) = segment_by {
        let names: Vec<&str> = found.iter().map(|category| category.field).collect();
        if !names.contains(&wanted) {
            return Err(TrainError::unusable(
                "unknown_field",
                format!(
                    "segment_by is {wanted:?}, which is no context or customer feature whose values repeat: those are {names:?}"
                ),
            ));
        }
        found.retain(|category| category.field == wanted);
    }
    if found.len() > MAX_TRIED {
        warnings
            .push(format!("{MAX_TRIED} of {} categorical fields were looked at: name one as segment_by", found.len()));
        found.truncate(MAX_TRIED);
    }
    Ok(found)
}

/// A metric's noise: each agent's own around its mean, drawn to that of all. Sorted by agent.
fn set_noise(left: &mut [Left]) {
    let within = |rows: &[Left]| {
        let mean = rows.iter().map(|one| one.residual).sum::<f64>() / rows.len() as f64;
        rows.iter().map(|one| (one.residual - mean).powi(2)).sum::<f64>()
    };
    let (mut sum, mut degrees) = (0.0, 0.0);
    for rows in left.chunk_by(|a, b| a.agent == b.agent) {
        sum += within(rows);
        degrees += rows.len() as f64 - 1.0;
    }
    let pooled = (sum / f64::max(degrees, 1.0)).max(1e-12);
    for rows in left.chunk_by_mut(|a, b| a.agent == b.agent) {
        let own = (within(rows) + PRIOR_ROWS * pooled) / (rows.len() as f64 - 1.0 + PRIOR_ROWS);
        rows.iter_mut().for_each(|one| one.noise = own);
    }
}

fn measure<'a>(rows: impl Iterator<Item = &'a Left>) -> Measured {
    let (mut count, mut sum, mut noise) = (0.0, 0.0, 0.0);
    for one in rows {
        count += 1.0;
        sum += one.residual;
        noise += one.noise;
    }
    Measured { value: sum / count, error: noise / (count * count) }
}

fn root(variance: Estimate) -> Estimate {
    Estimate { value: variance.value.sqrt(), low: variance.low.sqrt(), high: variance.high.sqrt() }
}

/// None when no agent has two values of the field.
fn context_variance(category: &Category<'_>, levels: &[u32], left: &[Left]) -> Option<ContextVariance> {
    let level = |one: &Left| levels[one.row as usize];
    let mut sorted: Vec<&Left> = left.iter().collect();
    sorted.sort_by_key(|one| (one.agent, level(one)));
    let by_agent: Vec<Vec<Measured>> = sorted
        .chunk_by(|a, b| a.agent == b.agent)
        .map(|rows| rows.chunk_by(|a, b| level(a) == level(b)).map(|cell| measure(cell.iter().copied())).collect())
        .collect();
    let deviation = root(variance_between(&by_agent)?);
    sorted.sort_by_key(|one| (level(one), one.agent));
    let mut groups: Vec<&[&Left]> = sorted.chunk_by(|a, b| level(a) == level(b)).collect();
    groups.sort_by_key(|rows| std::cmp::Reverse(rows.len()));
    let values = groups
        .into_iter()
        .filter_map(|rows| {
            let value = category.label(level(rows[0]))?;
            let agents: Vec<Measured> =
                rows.chunk_by(|a, b| a.agent == b.agent).map(|cell| measure(cell.iter().copied())).collect();
            let count = agents.len() as u64;
            let deviation = root(variance_between(&[agents])?);
            Some(ValueVariance { value, rows: rows.len() as u64, agents: count, deviation })
        })
        .take(MAX_VALUES)
        .collect();
    Some(ContextVariance { field: category.field.to_owned(), deviation, values })
}

fn meaning(
    table: &TrainingTable,
    spec: &TrainingSpec,
    deviation: Estimate,
    best_of: &[BestOf],
    by_context: &[ContextVariance],
) -> String {
    let amount = |value: f64| match spec.kind {
        MetricKind::Classification => format!("{:.1} percentage points", 100.0 * value),
        MetricKind::Regression => format!("{value:.3}"),
    };
    let metric = &table.metric;
    if deviation.low == 0.0 {
        return format!(
            "These data do not show that agents differ in {metric} once the context is accounted for: the standard deviation \
             between them may be anything from 0 to {}. More interactions an agent narrow that down.",
            amount(deviation.high)
        );
    }
    let direction = if spec.goal == Goal::Maximize { "raise" } else { "lower" };
    let mut text = format!(
        "Once the context is accounted for, agents differ in {metric} by {} (standard deviation; 95 % interval {} to {}).",
        amount(deviation.value),
        amount(deviation.low),
        amount(deviation.high)
    );
    if let Some(ten) = best_of.iter().find(|best| best.agents == 10) {
        text.push_str(&format!(
            " Routing to the best of 10 free agents instead of an average one would {direction} it by about {} if their true \
             effects were known, and by about {} with what these data tell of them; this is before agents' strengths in particular \
             contexts are used.",
            amount(ten.if_known),
            amount(ten.by_estimates)
        ));
    }
    if let Some(first) = by_context.first().filter(|first| first.deviation.low > 0.0) {
        text.push_str(&format!(
            " Beyond that, an agent's effect changes most with {} (standard deviation {} between its values).",
            first.field,
            amount(first.deviation.value)
        ));
    }
    text
}
