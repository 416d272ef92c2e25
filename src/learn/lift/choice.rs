//! What becomes of each interaction when the model chooses among `k` agents drawn from those who usually take its kind of
//! contact.
//!
//! Nothing is drawn. Of `k` independent draws, the best-ranked is agent `a` with probability `F(a)^k − F(a−)^k`, where `F(a)` is the
//! probability of an agent not ranked above `a` (the distribution of a maximum). If the actual agent was one such draw,
//! its interaction is evidence for the model's choices with weight `(F^k − F⁻^k) / p`, which is at most about `k`: the mean
//! over all free sets that hold the actual draw of `k · [it is the model's choice]`.

use rayon::prelude::*;

use super::super::random::Random;
use super::outcome::{OutcomeModel, TERMS, Terms};
use super::policy::Ranked;
use super::propensity::Propensities;

/// What is true in a simulation: the expected outcome of a row of the table with an agent of the target.
pub(super) type Truth<'a> = &'a (dyn Fn(u32, u32) -> f64 + Sync);

/// The interactions as a choice among so many agents has them; one entry an interaction.
#[derive(Debug, Clone, Default)]
pub(super) struct Chosen {
    pub agents_free: u32,
    /// Probability of the actual agent as the model's choice, divided by that of having taken the interaction.
    pub weight: Vec<f64>,
    /// 1 where the model chose the actual draw from one free set that holds it, else 0.
    pub matched: Vec<f64>,
    /// What the outcome model expects of the choice, in the metric's unit.
    pub direct: Vec<f64>,
    /// What the choosing model itself expects.
    pub expected: Vec<f64>,
    /// Mean number of different agents in the set.
    pub distinct: Vec<f64>,
    /// What is truly to be expected; empty when no truth was given.
    pub truth: Vec<f64>,
    /// Of the mean of `direct`, by the outcome model's coefficients.
    pub gradient: Terms,
}

/// Everything that the choices are computed from.
pub(super) struct Interactions<'a> {
    pub rows: &'a [Ranked],
    pub propensities: &'a Propensities,
    pub model: &'a OutcomeModel,
    /// The link's value as an expected outcome of the choosing model, before it is standardised back.
    pub own_mean: fn(f64) -> f64,
    /// Share of the interactions whose agent usually takes such contacts.
    pub inside: f64,
    pub seed: u64,
    /// From standardised to the metric's unit.
    pub mean: f64,
    pub deviation: f64,
}

/// One interaction's part in [`Chosen`].
#[derive(Clone, Copy, Default)]
struct Part {
    weight: f64,
    matched: f64,
    direct: f64,
    expected: f64,
    distinct: f64,
    truth: f64,
    gradient: Terms,
}

impl Interactions<'_> {
    /// One entry a number of free agents, in their order.
    pub fn choose(&self, agents_free: &[u32], truth: Option<Truth<'_>>) -> Vec<Chosen> {
        let parts: Vec<Vec<Part>> =
            (0..self.rows.len()).into_par_iter().map(|at| self.parts(at, agents_free, truth)).collect();
        let rows = self.rows.len().max(1) as f64;
        agents_free
            .iter()
            .enumerate()
            .map(|(point, agents_free)| {
                let of = |value: fn(&Part) -> f64| parts.iter().map(|parts| value(&parts[point])).collect::<Vec<f64>>();
                Chosen {
                    agents_free: *agents_free,
                    weight: of(|part| part.weight),
                    matched: of(|part| part.matched),
                    direct: of(|part| part.direct).into_iter().map(|value| self.in_unit(value)).collect(),
                    expected: of(|part| part.expected).into_iter().map(|value| self.in_unit(value)).collect(),
                    distinct: of(|part| part.distinct),
                    truth: if truth.is_some() { of(|part| part.truth) } else { Vec::new() },
                    gradient: std::array::from_fn(|term| {
                        self.deviation * parts.iter().map(|parts| parts[point].gradient[term]).sum::<f64>() / rows
                    }),
                }
            })
            .collect()
    }

    fn in_unit(&self, value: f64) -> f64 {
        self.mean + self.deviation * value
    }

    fn parts(&self, at: usize, agents_free: &[u32], truth: Option<Truth<'_>>) -> Vec<Part> {
        let ranked = &self.rows[at];
        let cell = &self.propensities.cells[self.propensities.of_row[ranked.row as usize] as usize];
        let mut parts = vec![Part::default(); agents_free.len()];
        let mut below = 0.0;
        let drawn = Random::new(self.seed ^ (u64::from(ranked.row) << 20)).unit();
        for (rank, (place, link)) in ranked.places.iter().zip(&ranked.links).enumerate() {
            let probability = cell.probabilities[*place as usize] / cell.kept;
            // The last one closes the distribution whatever was rounded.
            let up_to = if rank + 1 == ranked.places.len() { 1.0 } else { (below + probability).min(1.0) };
            let terms = terms(f64::from(*link), ranked.mean_link);
            let (expected, slope) = self.model.expected(at, &terms);
            let own = (self.own_mean)(f64::from(*link));
            let true_value = truth.map_or(0.0, |truth| truth(ranked.row, cell.agents[*place as usize]));
            for (part, k) in parts.iter_mut().zip(agents_free) {
                let (free, k) = (f64::from(*k), *k as i32);
                let chosen = up_to.powi(k) - below.powi(k);
                part.direct += chosen * expected;
                part.expected += chosen * own;
                part.distinct += 1.0 - (1.0 - probability).powi(k);
                part.truth += chosen * true_value;
                (0..TERMS).for_each(|term| part.gradient[term] += chosen * slope * terms[term]);
                if ranked.actual == Some(rank as u32) {
                    part.weight = chosen / probability / self.inside;
                    part.matched = f64::from(u8::from(drawn < chosen / probability / free));
                }
            }
            below = up_to;
        }
        parts
    }
}

/// What the outcome model reads of an agent.
pub(super) fn terms(link: f64, mean_link: f64) -> Terms {
    [1.0, mean_link, link - mean_link]
}
