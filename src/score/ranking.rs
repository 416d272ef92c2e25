//! From scores to the answer: defaults for unknown agents, order, summary.

use std::cmp::Ordering;

use super::agents::AgentSet;
use super::request::{AgentScore, DefaultPolicy, ScoreInput, ScoreOutput, ScoreSource};

/// An agent that the model scored.
pub(super) struct Scored {
    /// In the agent set.
    pub position: u32,
    pub score: f64,
    pub p_score: f64,
    pub local: bool,
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
    if scores.is_empty() {
        return None;
    }
    let middle = scores.len() / 2;
    let even = scores.len().is_multiple_of(2);
    let (lower, upper, higher) = scores.select_nth_unstable_by(middle, f64::total_cmp);
    let greatest = |scores: &[f64]| scores.iter().copied().max_by(f64::total_cmp);
    let median = match greatest(lower).filter(|_| even) {
        Some(below) => (below + *upper) / 2.0,
        None => *upper,
    };
    let max = greatest(higher).unwrap_or(*upper);
    let min = lower.iter().copied().min_by(f64::total_cmp).unwrap_or(*upper);
    Some(Summary { median, max, min })
}

/// Sorts best first, breaks ties by agent id, keeps the best `top`, and writes the ranks from 1.
pub fn rank(scores: &mut Vec<AgentScore<'_>>, top: Option<usize>) {
    let order = best_first(scores.iter().map(|score| score.score), top, |at| scores[at].agent_id);
    *scores = order.into_iter().zip(1..).map(|(at, rank)| AgentScore { rank, ..scores[at].clone() }).collect();
}

/// Which of the scores are the best `top`, in their order. What moves is small: a score and where it comes from.
fn best_first<'a>(scores: impl Iterator<Item = f64>, top: Option<usize>, id: impl Fn(usize) -> &'a str) -> Vec<usize> {
    let mut order: Vec<(f64, u32)> = scores.zip(0..).collect();
    let compare = |a: &(f64, u32), b: &(f64, u32)| -> Ordering {
        b.0.total_cmp(&a.0).then_with(|| id(a.1 as usize).cmp(id(b.1 as usize)))
    };
    if let Some(top) = top.filter(|top| *top < order.len()) {
        if top > 0 {
            order.select_nth_unstable_by(top - 1, compare);
        }
        order.truncate(top);
    }
    order.sort_unstable_by(compare);
    order.into_iter().map(|(_, at)| at as usize).collect()
}

pub(super) fn answer<'a>(
    scored: &[Scored],
    agents: &'a AgentSet,
    unknown: &[&'a str],
    global: f64,
    input: &ScoreInput<'_, '_>,
    warnings: Vec<String>,
) -> ScoreOutput<'a> {
    let known = summarize(scored.iter().map(|agent| agent.score));
    let default = match (input.default, known) {
        (DefaultPolicy::Zero, _) => 0.0,
        (DefaultPolicy::Max, Some(known)) => known.max,
        (DefaultPolicy::Median, Some(known)) => known.median,
        (DefaultPolicy::Min, Some(known)) => known.min,
        _ => global,
    };
    let summary = known.or_else(|| summarize(unknown.iter().map(|_| default)));
    // A position that was scored has an id.
    let known_id = |at: usize| agents.id(scored[at].position).map_or("", |id| id.as_ref());
    let id = |at: usize| if at < scored.len() { known_id(at) } else { unknown[at - scored.len()] };
    let all = scored.iter().map(|agent| agent.score).chain(unknown.iter().map(|_| default));
    let scores = best_first(all, input.top, id)
        .into_iter()
        .zip(1..)
        .map(|(at, rank)| match scored.get(at) {
            Some(agent) => AgentScore {
                agent_id: known_id(at),
                score: agent.score,
                p_score: Some(agent.p_score),
                source: if agent.local { ScoreSource::Local } else { ScoreSource::Global },
                rank,
            },
            None => AgentScore { agent_id: id(at), score: default, p_score: None, source: ScoreSource::Default, rank },
        })
        .collect();
    ScoreOutput {
        scores,
        median: summary.map(|summary| summary.median),
        max: summary.map(|summary| summary.max),
        min: summary.map(|summary| summary.min),
        global,
        eligible: scored.len() + unknown.len(),
        local: scored.iter().filter(|agent| agent.local).count(),
        predicted: scored.iter().map(|agent| agent.p_score).collect(),
        warnings,
    }
}
