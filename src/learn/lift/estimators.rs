//! Estimates from weighted interactions, with asymptotic 95 % intervals.
//!
//! Each estimate is a mean, or a ratio of means, over interactions; its interval comes from the spread of the
//! interactions' influences on it. Interactions are independent given the agents and the training part, so nothing is clustered by
//! agent: the question is about these agents, not about others like them.
//!
//! Replay: Li, Chu, Langford & Wang, WSDM 2011. IPS: Horvitz & Thompson, JASA 47, 1952. Self-normalised: Swaminathan &
//! Joachims, NeurIPS 2015. Direct method and doubly robust: Dudík, Langford & Li, ICML 2011. Effective sample size: Kish,
//! Survey Sampling, 1965.

use super::super::quality::Z;
use super::choice::Chosen;
use super::outcome::{Observed, OutcomeModel};
use super::result::{Estimated, FreeAgentsPoint, Interval};

/// An estimate with each interaction's influence on it (they sum to about 0).
#[derive(Debug, Clone)]
struct Measured {
    estimate: f64,
    influence: Vec<f64>,
    /// Variance by what the influences do not show.
    doubt: f64,
}

/// All five for one number of free agents.
pub(super) struct Estimates {
    replay: Measured,
    ips: Measured,
    snips: Measured,
    direct: Measured,
    doubly_robust: Measured,
}

/// What estimates are made of.
pub(super) struct Evidence<'a> {
    /// In the metric's unit; one an interaction, as all others.
    pub outcomes: &'a [f64],
    pub observed: &'a [Option<Observed>],
    pub model: &'a OutcomeModel,
    pub mean: f64,
    pub deviation: f64,
    /// 1 when the metric is to be high, -1 when low.
    pub sign: f64,
}

impl Evidence<'_> {
    /// Mean of what happened to these interactions.
    pub fn actual(&self, rows: &[u32]) -> Interval {
        self.happened(rows).interval()
    }

    fn happened(&self, rows: &[u32]) -> Measured {
        mean(rows.iter().map(|at| self.outcomes[*at as usize]).collect())
    }

    /// The error of the outcome model on what happened, in the metric's unit.
    fn residual(&self, at: usize) -> f64 {
        let expected = |observed: &Observed| self.mean + self.deviation * self.model.expected(at, &observed.terms).0;
        self.observed[at].as_ref().map_or(0.0, |observed| self.outcomes[at] - expected(observed))
    }

    /// Estimates from these interactions.
    pub fn estimate(&self, chosen: &Chosen, rows: &[u32]) -> Estimates {
        let of = |value: &dyn Fn(usize) -> f64| rows.iter().map(|at| value(*at as usize)).collect::<Vec<f64>>();
        let outcomes = of(&|at| self.outcomes[at]);
        let weights = of(&|at| chosen.weight[at]);
        let mut direct = mean(of(&|at| chosen.direct[at]));
        for (influence, at) in direct.influence.iter_mut().zip(rows) {
            // How far the outcome model itself hangs on this interaction.
            *influence += self.observed[*at as usize]
                .as_ref()
                .map_or(0.0, |observed| self.model.influence(*at as usize, observed, &chosen.gradient));
        }
        Estimates {
            replay: ratio(&of(&|at| chosen.matched[at]), &outcomes),
            ips: inverse_propensity(&weights, &outcomes),
            snips: ratio(&weights, &outcomes),
            direct,
            doubly_robust: mean(of(&|at| chosen.direct[at] + chosen.weight[at] * self.residual(at))),
        }
    }

    /// One of them in full. `random` are the estimates for one free agent.
    fn estimated(&self, own: &Measured, random: &Measured, happened: &Measured, agents_free: u32) -> Estimated {
        let Interval { estimate, interval } = own.interval();
        // The only free agent is the actual one: there is nothing to choose and nothing to estimate.
        let nothing = Interval { estimate: 0.0, interval: [0.0; 2] };
        let against_actual = if agents_free == 1 { nothing } else { own.less(happened, self.sign) };
        Estimated { estimate, interval, against_actual, against_random: own.less(random, self.sign) }
    }

    /// The doubly robust estimate alone.
    pub fn doubly_robust(&self, chosen: &Chosen, random: &Chosen, rows: &[u32]) -> Estimated {
        let (own, random) = (self.estimate(chosen, rows), self.estimate(random, rows));
        self.estimated(&own.doubly_robust, &random.doubly_robust, &self.happened(rows), chosen.agents_free)
    }

    /// A point of the curve, from all interactions.
    pub fn point(&self, chosen: &Chosen, random: &Estimates) -> FreeAgentsPoint {
        let rows: Vec<u32> = (0..self.outcomes.len() as u32).collect();
        let own = self.estimate(chosen, &rows);
        let happened = self.happened(&rows);
        let average = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let full = |own: &Measured, random: &Measured| self.estimated(own, random, &happened, chosen.agents_free);
        FreeAgentsPoint {
            agents_free: chosen.agents_free,
            distinct_agents: average(&chosen.distinct),
            replay: full(&own.replay, &random.replay),
            ips: full(&own.ips, &random.ips),
            snips: full(&own.snips, &random.snips),
            direct_method: full(&own.direct, &random.direct),
            doubly_robust: full(&own.doubly_robust, &random.doubly_robust),
            model_expects: average(&chosen.expected),
            effective_sample_size: effective_sample_size(&chosen.weight),
            mean_weight: average(&chosen.weight),
            largest_weight: chosen.weight.iter().copied().fold(0.0, f64::max),
            matched: chosen.matched.iter().sum::<f64>() as u64,
        }
    }
}

impl Estimates {
    pub fn random(&self) -> Interval {
        self.doubly_robust.interval()
    }
}

/// Kish's; 0 without weights.
pub(super) fn effective_sample_size(weights: &[f64]) -> f64 {
    let (sum, squares) = weights.iter().fold((0.0, 0.0), |(sum, squares), w| (sum + w, squares + w * w));
    if squares > 0.0 { sum * sum / squares } else { 0.0 }
}

fn mean(values: Vec<f64>) -> Measured {
    let estimate = values.iter().sum::<f64>() / values.len().max(1) as f64;
    Measured { estimate, influence: values.into_iter().map(|value| value - estimate).collect(), doubt: 0.0 }
}

/// The mean of weighted outcomes. Weights have a mean of 1 when the propensities are right, and theirs shows how wrong these
/// may be: the error that this brings lies somewhere between none and all that scaling the weights to 1 would change, any of
/// it as likely as the rest (the variance of a uniform distribution from 0).
fn inverse_propensity(weights: &[f64], outcomes: &[f64]) -> Measured {
    let plain = mean(weights.iter().zip(outcomes).map(|(weight, outcome)| weight * outcome).collect());
    let change = plain.estimate - ratio(weights, outcomes).estimate;
    Measured { doubt: change * change / 3.0, ..plain }
}

/// The weighted mean; its influences by the delta method. The plain mean when nothing has weight.
fn ratio(weights: &[f64], outcomes: &[f64]) -> Measured {
    let sum: f64 = weights.iter().sum();
    if sum <= 0.0 {
        return mean(outcomes.to_vec());
    }
    let estimate = weights.iter().zip(outcomes).map(|(w, y)| w * y).sum::<f64>() / sum;
    let scale = weights.len() as f64 / sum;
    let influence = weights.iter().zip(outcomes).map(|(w, y)| scale * w * (y - estimate)).collect();
    Measured { estimate, influence, doubt: 0.0 }
}

impl Measured {
    fn interval(&self) -> Interval {
        interval(self.estimate, &self.influence, self.doubt)
    }

    /// `sign · (self − other)`, of the same interactions.
    fn less(&self, other: &Measured, sign: f64) -> Interval {
        let influence: Vec<f64> =
            self.influence.iter().zip(&other.influence).map(|(own, other)| sign * (own - other)).collect();
        // Of the same weights, these doubts are the same.
        let doubt = (self.doubt.sqrt() - other.doubt.sqrt()).powi(2);
        interval(sign * (self.estimate - other.estimate), &influence, doubt)
    }
}

fn interval(estimate: f64, influence: &[f64], doubt: f64) -> Interval {
    let rows = influence.len() as f64;
    let center = influence.iter().sum::<f64>() / rows.max(1.0);
    let squares: f64 = influence.iter().map(|own| (own - center).powi(2)).sum();
    let error = Z * (squares / (rows * (rows - 1.0)).max(1.0) + doubt).sqrt();
    Interval { estimate, interval: [estimate - error, estimate + error] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_weights_are_the_mean_and_unequal_ones_say_less() {
        let outcomes = [0.0, 1.0, 1.0, 0.0, 1.0];
        let equal = ratio(&[2.0; 5], &outcomes);
        assert_eq!(equal.estimate, 0.6);
        assert_eq!(equal.interval(), mean(outcomes.to_vec()).interval());
        let unequal = ratio(&[4.0, 1.0, 1.0, 1.0, 1.0], &outcomes);
        assert_eq!(unequal.estimate, 3.0 / 8.0);
        assert!(unequal.interval().interval[1] - unequal.interval().interval[0] > 0.0);
        assert_eq!(effective_sample_size(&[2.0; 5]), 5.0);
        assert_eq!(effective_sample_size(&[4.0, 1.0, 1.0, 1.0, 1.0]), 64.0 / 20.0);
        assert_eq!(effective_sample_size(&[0.0; 3]), 0.0);
        assert_eq!(mean(outcomes.to_vec()).less(&equal, -1.0).interval, [0.0, 0.0]);
    }

    #[test]
    fn weights_whose_mean_is_not_1_make_the_plain_estimate_less_sure() {
        let outcomes = [0.0, 1.0, 1.0, 0.0, 1.0, 1.0];
        let weights = [0.5, 2.0, 1.0, 0.5, 1.5, 0.5];
        let width = |scale: f64| {
            let scaled: Vec<f64> = weights.iter().map(|weight| scale * weight).collect();
            let interval = inverse_propensity(&scaled, &outcomes).interval().interval;
            (interval[1] - interval[0]) / scale
        };
        assert!(width(0.8) > 1.02 * width(1.0) && width(1.3) > 1.02 * width(1.0));
        let all = [1.0; 6];
        assert_eq!(inverse_propensity(&all, &outcomes).interval(), mean(outcomes.to_vec()).interval());
    }
}
