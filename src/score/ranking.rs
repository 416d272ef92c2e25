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

/// So many of the best are kept in order on the way; more are selected, then sorted.
const FEW: usize = 32;

/// Median, maximum and minimum of some scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    pub median: f64,
    pub max: f64,
    pub min: f64,
}

impl DefaultPolicy {
    /// What an unknown agent is given beside scores of known ones; where there are none, `global`.
    pub fn score(self, known: Option<Summary>, global: f64) -> f64 {
        match (self, known) {
            (DefaultPolicy::Zero, _) => 0.0,
            (DefaultPolicy::Max, Some(known)) => known.max,
            (DefaultPolicy::Median, Some(known)) => known.median,
            (DefaultPolicy::Min, Some(known)) => known.min,
            _ => global,
        }
    }
}

/// None when there are no scores. An even number's median is the mean of the middle two.
pub fn summarize(scores: impl IntoIterator<Item = f64>) -> Option<Summary> {
    let mut keys: Vec<i64> = scores.into_iter().map(|score| key(score.to_bits() as i64)).collect();
    if keys.is_empty() {
        return None;
    }
    let score = |key_of: i64| f64::from_bits(key(key_of) as u64);
    let middle = keys.len() / 2;
    let even = keys.len().is_multiple_of(2);
    let (lower, upper, higher) = keys.select_nth_unstable(middle);
    let upper = *upper;
    let median = match lower.iter().max().filter(|_| even) {
        Some(below) => (score(*below) + score(upper)) / 2.0,
        None => score(upper),
    };
    let max = higher.iter().copied().max().unwrap_or(upper);
    let min = lower.iter().copied().min().unwrap_or(upper);
    Some(Summary { median, max: score(max), min: score(min) })
}

/// From a float's bits to a whole number that is ordered as floats are by `total_cmp`, and back: whole numbers are quicker to select from.
fn key(bits: i64) -> i64 {
    bits ^ ((bits >> 63) as u64 >> 1) as i64
}

/// Sorts best first, breaks ties by agent id, keeps the best `top`, and writes the ranks from 1.
pub fn rank(scores: &mut Vec<AgentScore<'_>>, top: Option<usize>) {
    let order = best_first(scores.iter().map(|score| score.score), top, |at| scores[at].agent_id);
    *scores = order.into_iter().zip(1..).map(|(at, rank)| AgentScore { rank, ..scores[at].clone() }).collect();
}

/// Which of the scores are the best `top`, in their order. What moves is small: a score's key and where it comes from.
fn best_first<'a>(scores: impl Iterator<Item = f64>, top: Option<usize>, id: impl Fn(usize) -> &'a str) -> Vec<usize> {
    // The lower the better.
    let keys = scores.map(|score| !key(score.to_bits() as i64)).zip(0..);
    let by_id = |a: &(i64, u32), b: &(i64, u32)| id(a.1 as usize).cmp(id(b.1 as usize));
    let compare = |a: &(i64, u32), b: &(i64, u32)| -> Ordering { a.0.cmp(&b.0).then_with(|| by_id(a, b)) };
    if let Some(few) = top.filter(|top| (1..=FEW).contains(top)) {
        // In order, the worst one last: nearly every score is no better than that.
        let mut best: Vec<(i64, u32)> = Vec::with_capacity(few + 1);
        for one in keys {
            if best.len() == few && (one.0 > best[few - 1].0 || compare(&one, &best[few - 1]).is_ge()) {
                continue;
            }
            let place = best.partition_point(|better| compare(better, &one).is_lt());
            best.insert(place, one);
            best.truncate(few);
        }
        return best.into_iter().map(|(_, at)| at as usize).collect();
    }
    let mut order: Vec<(i64, u32)> = keys.collect();
    if let Some(top) = top.filter(|top| *top < order.len()) {
        if top > 0 {
            order.select_nth_unstable_by(top - 1, compare);
        }
        order.truncate(top);
    }
    // By keys alone there is nothing to branch on; then those with the same one, seldom many.
    order.sort_unstable_by_key(|(key, _)| *key);
    for same in order.chunk_by_mut(|a, b| a.0 == b.0).filter(|same| same.len() > 1) {
        same.sort_unstable_by(by_id);
    }
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
    let default = input.default.score(known, global);
    let summary = known.or_else(|| summarize(unknown.iter().map(|_| default)));
    // A position that was scored has an id.
    let known_id = |at: usize| agents.id(scored[at].position).unwrap_or("");
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_best_few_are_the_first_of_all(
            scores in prop::collection::vec((-3i32..3).prop_map(|n| f64::from(n) / 2.0), 0..80),
            top in 0usize..80,
        ) {
            let ids: Vec<String> = (0..scores.len()).map(|at| (at * 7 % 80).to_string()).collect();
            let first = |top| best_first(scores.iter().copied(), top, |at| ids[at].as_str());
            let mut all: Vec<usize> = (0..scores.len()).collect();
            all.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then_with(|| ids[*a].cmp(&ids[*b])));
            prop_assert_eq!(&first(None), &all);
            all.truncate(top);
            prop_assert_eq!(first(Some(top)), all);
        }

        #[test]
        fn summaries_are_those_of_sorted_scores(scores in prop::collection::vec(-1e6f64..1e6, 1..40)) {
            let mut sorted = scores.clone();
            sorted.sort_by(f64::total_cmp);
            let middle = sorted.len() / 2;
            let below = if sorted.len().is_multiple_of(2) { sorted[middle - 1] } else { sorted[middle] };
            let expected = Summary { median: (below + sorted[middle]) / 2.0, max: sorted[sorted.len() - 1], min: sorted[0] };
            prop_assert_eq!(summarize(scores), Some(expected));
        }
    }
}
