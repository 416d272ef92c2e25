//! From scores to the answer: defaults for unknown agents, order, summary.

use std::sync::Arc;

use super::request::{AgentScore, DefaultPolicy, ScoreInput, ScoreOutput, ScoreSource};

/// An agent that the model scored.
pub(super) struct Scored {
    pub agent_id: Arc<str>,
    pub score: f64,
    pub p_score: f64,
    pub source: ScoreSource,
}

/// Median, maximum and minimum of some scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    pub median: f64,
    pub max: f64,
    pub min: f64,
}

/// None when there are no scores. An even number's median is the mean of the middle two.
pub fn summarize(scores: impl IntoIterator<Item = f64>) -> Option<Summary> {
    let mut scores: Vec<f64> = scores.into_iter().collect();
    scores.sort_unstable_by(f64::total_cmp);
    let (min, max) = (*scores.first()?, *scores.last()?);
    let middle = scores.len() / 2;
    let median = if scores.len() % 2 == 1 { scores[middle] } else { (scores[middle - 1] + scores[middle]) / 2.0 };
    Some(Summary { median, max, min })
}

/// Sorts best first, breaks ties by agent id, and writes the ranks from 1.
pub fn rank(scores: &mut [AgentScore]) {
    scores.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.agent_id.cmp(&b.agent_id)));
    for (index, score) in scores.iter_mut().enumerate() {
        score.rank = index as u32 + 1;
    }
}

pub(super) fn answer(
    scored: Vec<Scored>,
    unknown: Vec<Arc<str>>,
    global: f64,
    input: &ScoreInput<'_>,
    warnings: Vec<String>,
) -> ScoreOutput {
    let known = summarize(scored.iter().map(|agent| agent.score));
    let default = match (input.default, known) {
        (DefaultPolicy::Zero, _) => 0.0,
        (DefaultPolicy::Max, Some(known)) => known.max,
        (DefaultPolicy::Median, Some(known)) => known.median,
        (DefaultPolicy::Min, Some(known)) => known.min,
        _ => global,
    };
    let mut scores: Vec<AgentScore> = scored
        .into_iter()
        .map(|agent| AgentScore {
            agent_id: agent.agent_id,
            score: agent.score,
            p_score: Some(agent.p_score),
            source: agent.source,
            rank: 0,
        })
        .collect();
    scores.extend(unknown.into_iter().map(|agent_id| AgentScore {
        agent_id,
        score: default,
        p_score: None,
        source: ScoreSource::Default,
        rank: 0,
    }));
    rank(&mut scores);
    let eligible = scores.len();
    let summary = known.or_else(|| summarize(scores.iter().map(|agent| agent.score)));
    if let Some(top) = input.top {
        scores.truncate(top);
    }
    ScoreOutput {
        scores,
        median: summary.map(|summary| summary.median),
        max: summary.map(|summary| summary.max),
        min: summary.map(|summary| summary.min),
        global,
        eligible,
        warnings,
    }
}
