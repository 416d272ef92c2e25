//! From scores to the answer: defaults for unknown agents, order, summary.

use pulp::{Arch, NullaryFnOnce};

use super::agents::AgentSet;
use super::request::{AgentScore, DefaultPolicy, ScoreInput, ScoreOutput, ScoreSource};

/// Agents that the model scored.
pub(super) struct Scored<'a> {
    /// In the agent set.
    pub positions: &'a [u32],
    pub scores: Vec<f64>,
    pub p_scores: Vec<f64>,
    /// So many of them have a local model.
    pub local: usize,
}

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
    summary_of_keys(&keys(scores))
}

fn summary_of_keys(keys: &[i64]) -> Option<Summary> {
    if keys.is_empty() {
        return None;
    }
    let score = |key_of: i64| f64::from_bits(key(key_of) as u64);
    let Selected { min, before, own, max } = select(keys, keys.len() / 2);
    let own = score(own);
    let median = if keys.len().is_multiple_of(2) { score(before).midpoint(own) } else { own };
    Some(Summary { median, max: score(max), min: score(min) })
}

/// Of some keys in ascending order: the first, one with the one before it (itself if it is the first), and the last.
struct Selected {
    min: i64,
    before: i64,
    own: i64,
    max: i64,
}

/// The key that `less` others come before.
fn select(keys: &[i64], less: usize) -> Selected {
    Arch::new().dispatch(Select { keys, less })
}

/// Bounds close in on the key by counting, many at once, how many are below half way between them.
struct Select<'a> {
    keys: &'a [i64],
    less: usize,
}

impl NullaryFnOnce for Select<'_> {
    type Output = Selected;

    // Short loops, each of which becomes a few instructions on many keys.
    #[inline(always)]
    fn call(self) -> Selected {
        let Self { keys, less } = self;
        let (mut min, mut max) = (i64::MAX, i64::MIN);
        for key in keys {
            min = min.min(*key);
            max = max.max(*key);
        }
        // It is one of the `until - from` keys in `low..=high`.
        let (mut low, mut high, mut from, mut until) = (min, max, 0, keys.len());
        while low < high && until - from > 1 {
            let half = low + (high.wrapping_sub(low) as u64 / 2) as i64;
            let mut count = 0;
            for key in keys {
                count += usize::from(*key <= half);
            }
            if count > less {
                (high, until) = (half, count);
            } else {
                (low, from) = (half + 1, count);
            }
        }
        let (mut own, mut below) = (i64::MIN, i64::MIN);
        for key in keys {
            own = own.max(if *key <= high { *key } else { i64::MIN });
            below = below.max(if *key < low { *key } else { i64::MIN });
        }
        Selected { min, before: if less == from && less > 0 { below } else { own }, own, max }
    }
}

/// From a float's bits to a whole number that is ordered as floats are by `total_cmp`, and back: whole numbers are quicker to select from.
fn key(bits: i64) -> i64 {
    bits ^ ((bits >> 63) as u64 >> 1) as i64
}

fn keys(scores: impl IntoIterator<Item = f64>) -> Vec<i64> {
    scores.into_iter().map(|score| key(score.to_bits() as i64)).collect()
}

/// Sorts best first, breaks ties by agent id, keeps the best `top`, and writes the ranks from 1.
pub fn rank(scores: &mut Vec<AgentScore<'_>>, top: Option<usize>) {
    let order = best_first(&keys(scores.iter().map(|score| score.score)), top, |at| scores[at].agent_id);
    *scores = order.into_iter().zip(1..).map(|(at, rank)| AgentScore { rank, ..scores[at].clone() }).collect();
}

/// Which of the scores are the best `top`, in their order. What moves is small: a score's key and where it comes from.
fn best_first<'a>(keys: &[i64], top: Option<usize>, id: impl Fn(usize) -> &'a str) -> Vec<usize> {
    let top = top.unwrap_or(keys.len()).min(keys.len());
    if top == 0 {
        return Vec::new();
    }
    let least = if top < keys.len() { select(keys, keys.len() - top).own } else { i64::MIN };
    // The lower the better.
    let mut order: Vec<(i64, u32)> = Vec::with_capacity(top);
    order.extend(keys.iter().zip(0..).filter(|(key, _)| **key >= least).map(|(key, at)| (!key, at)));
    let by_id = |a: &(i64, u32), b: &(i64, u32)| id(a.1 as usize).cmp(id(b.1 as usize));
    if top < order.len() {
        // As good as the last one: the ids decide.
        order.select_nth_unstable_by(top - 1, |a, b| a.0.cmp(&b.0).then_with(|| by_id(a, b)));
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
    scored: Scored<'_>,
    agents: &'a AgentSet,
    unknown: &[&'a str],
    global: f64,
    input: &ScoreInput<'_, '_>,
    warnings: Vec<String>,
) -> ScoreOutput<'a> {
    let Scored { positions, scores, p_scores, local } = scored;
    debug_assert_eq!(positions.len(), p_scores.len());
    let mut keys = keys(scores.iter().copied());
    let known = summary_of_keys(&keys);
    let default = input.default.score(known, global);
    let summary = known.or_else(|| summarize(unknown.iter().map(|_| default)));
    // A position that was scored has an id.
    let known_id = |at: usize| agents.id(positions[at]).unwrap_or("");
    let id = |at: usize| if at < positions.len() { known_id(at) } else { unknown[at - positions.len()] };
    keys.extend(unknown.iter().map(|_| key(default.to_bits() as i64)));
    let answered = best_first(&keys, input.top, id)
        .into_iter()
        .zip(1..)
        .map(|(at, rank)| match positions.get(at) {
            Some(position) => AgentScore {
                agent_id: known_id(at),
                score: scores[at],
                p_score: Some(p_scores[at]),
                source: if agents.is_local(*position) { ScoreSource::Local } else { ScoreSource::Global },
                rank,
            },
            None => AgentScore { agent_id: id(at), score: default, p_score: None, source: ScoreSource::Default, rank },
        })
        .collect();
    ScoreOutput {
        scores: answered,
        median: summary.map(|summary| summary.median),
        max: summary.map(|summary| summary.max),
        min: summary.map(|summary| summary.min),
        global,
        eligible: positions.len() + unknown.len(),
        local,
        predicted: p_scores,
        warnings,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Any number, and those at the ends.
    fn odd() -> impl Strategy<Value = f64> {
        prop_oneof![
            8 => -1e6f64..1e6,
            1 => prop::sample::select(vec![0.0, -0.0, f64::MIN_POSITIVE, f64::MAX, f64::MIN, f64::INFINITY, f64::NEG_INFINITY]),
        ]
    }

    proptest! {
        #[test]
        fn the_best_few_are_the_first_of_all(
            scores in prop_oneof![
                prop::collection::vec((-3i32..3).prop_map(|n| f64::from(n) / 2.0), 0..80),
                prop::collection::vec(odd(), 0..300),
            ],
            top in 0usize..80,
        ) {
            let ids: Vec<String> = (0..scores.len()).map(|at| (at * 7 % 80 + at / 80 * 80).to_string()).collect();
            let keys = keys(scores.iter().copied());
            let first = |top| best_first(&keys, top, |at| ids[at].as_str());
            let mut all: Vec<usize> = (0..scores.len()).collect();
            all.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then_with(|| ids[*a].cmp(&ids[*b])));
            prop_assert_eq!(&first(None), &all);
            all.truncate(top);
            prop_assert_eq!(first(Some(top)), all);
        }

        #[test]
        fn summaries_are_those_of_sorted_scores(scores in prop_oneof![
            prop::collection::vec(odd(), 1..40),
            prop::collection::vec((0i32..4).prop_map(f64::from), 1..40),
            prop::collection::vec(-1e6f64..1e6, 1..1_500),
        ]) {
            let mut sorted = scores.clone();
            sorted.sort_by(f64::total_cmp);
            let middle = sorted.len() / 2;
            let below = if sorted.len().is_multiple_of(2) { sorted[middle - 1] } else { sorted[middle] };
            let expected = [below.midpoint(sorted[middle]), sorted[0], sorted[sorted.len() - 1]];
            let found = summarize(scores).map(|found| [found.median, found.min, found.max].map(f64::to_bits));
            prop_assert_eq!(found, Some(expected.map(f64::to_bits)));
        }
    }
}
