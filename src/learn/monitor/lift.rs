//! Routing by scores against routing without them.
//!
//! People look at this every day and stop when they like what they see. An interval for a sample whose size was fixed before is
//! wrong far more often than it says when it is looked at again and again; a *confidence sequence* is right at all looks together.

use serde::Serialize;

use super::Interval;
use crate::learn::quality::Z;

/// Share of all sequences that may ever leave the truth outside.
const ALPHA: f64 = 0.05;
/// Interactions of both arms at which the sequence is tightest. Chosen before any data is seen, as it has to be.
const TIGHTEST_AT: f64 = 1_000.0;
/// Outcomes that each arm needs before anything is said: the sequence is asymptotic.
const LEAST: u64 = 50;

/// Outcomes of one way of routing, added up one by one (Welford, Technometrics 1962).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Arm {
    count: u64,
    mean: f64,
    squares: f64,
    /// Other values than 0 and 1 occurred.
    numbers: bool,
}

impl Arm {
    pub fn add(&mut self, outcome: f64) {
        self.count += 1;
        let before = outcome - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (outcome - self.mean);
        self.numbers |= outcome != 0.0 && outcome != 1.0;
    }

    /// Of shares held away from 0, which few outcomes reach by chance: one of each kind is added.
    fn variance(&self) -> f64 {
        let count = self.count as f64;
        if self.numbers {
            return self.squares / (count - 1.0);
        }
        let share = (self.mean * count + 1.0) / (count + 2.0);
        share * (1.0 - share)
    }
}

/// One arm, as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct ArmSummary {
    /// Interactions whose outcome is known.
    pub outcomes: u64,
    /// Share of successes, or mean metric.
    pub mean: Option<f64>,
}

/// The difference that scores make.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Lift {
    pub on: ArmSummary,
    pub off: ArmSummary,
    /// Mean with scores less mean without.
    pub difference: Option<f64>,
    /// Difference as a share of the mean without scores.
    pub relative: Option<f64>,
    /// 95 % interval for a single look at a moment that was fixed before.
    pub single_look: Option<Interval>,
    /// Interval that holds at every look, with at least 95 % for all of them together: the one to decide by.
    pub every_look: Option<Interval>,
    /// What that means, in words.
    pub verdict: String,
}

/// Compares the arms.
///
/// `single_look` is Welch's interval with the normal distribution's quantile. `every_look` is the asymptotic confidence sequence of
/// Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, *Time-uniform central limit theory and asymptotic confidence sequences*, Annals of
/// Statistics 52 (2024), theorem 2.2: `± σ √(2 (tρ² + 1) / (t²ρ²) · log(√(tρ² + 1) / α))`, applied to the influence function of the difference of
/// means (their section on treatment effects, with the arms' means as outcome models and the arms' shares as propensities), so
/// `t = n₁ + n₀` and `σ² = t (s₁²/n₁ + s₀²/n₀)`.
pub fn lift(on: &Arm, off: &Arm, smaller_is_better: bool) -> Lift {
    let summary = |arm: &Arm| ArmSummary { outcomes: arm.count, mean: (arm.count > 0).then_some(arm.mean) };
    let both = on.count > 0 && off.count > 0;
    let difference = both.then_some(on.mean - off.mean);
    let enough = on.count >= LEAST && off.count >= LEAST;
    let known = difference.filter(|_| enough).map(|difference| {
        let variance = on.variance() / on.count as f64 + off.variance() / off.count as f64;
        (difference, variance, (on.count + off.count) as f64)
    });
    let single_look = known.map(|(difference, variance, _)| Interval::around(difference, Z * variance.sqrt()));
    let every_look =
        known.map(|(difference, variance, t)| Interval::around(difference, variance.sqrt() * t.sqrt() * width(t)));
    let verdict = match every_look {
        None => format!("At least {LEAST} outcomes with scores and {LEAST} without are needed."),
        Some(interval) if interval.has(0.0) => {
            "No difference is shown yet: more outcomes may show one, and looking again does no harm.".to_owned()
        }
        Some(interval) => {
            let better = (interval.low > 0.0) != smaller_is_better;
            format!(
                "Routing by scores is {}: that holds however often this was looked at.",
                if better { "better" } else { "worse" }
            )
        }
    };
    Lift {
        on: summary(on),
        off: summary(off),
        difference,
        relative: difference.filter(|_| off.mean != 0.0).map(|difference| difference / off.mean.abs()),
        single_look,
        every_look,
        verdict,
    }
}

/// Half the sequence's width after `t` observations of variance 1. ρ makes it tightest at [`TIGHTEST_AT`] (ibid., appendix on choosing ρ).
fn width(t: f64) -> f64 {
    let log = -2.0 * ALPHA.ln();
    let rho2 = (log + (log + 1.0).ln()) / TIGHTEST_AT;
    let spread = t * rho2 + 1.0;
    (2.0 * spread / (t * t * rho2) * (spread.sqrt() / ALPHA).ln()).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::random::Random;

    /// Runs experiments and looks after each outcome; in how many did each interval ever leave `truth` outside.
    fn ever_wrong(runs: u64, outcomes: usize, truth: f64, draw: impl Fn(&mut Random, bool) -> f64) -> (f64, f64) {
        let (mut single, mut every) = (0, 0);
        for run in 0..runs {
            let mut random = Random::new(run + 1);
            let (mut on, mut off) = (Arm::default(), Arm::default());
            let (mut single_wrong, mut every_wrong) = (false, false);
            for _ in 0..outcomes {
                let scored = random.unit() < 0.5;
                let outcome = draw(&mut random, scored);
                if scored {
                    on.add(outcome)
                } else {
                    off.add(outcome)
                }
                let found = lift(&on, &off, false);
                single_wrong |= found.single_look.is_some_and(|interval| !interval.has(truth));
                every_wrong |= found.every_look.is_some_and(|interval| !interval.has(truth));
            }
            single += u64::from(single_wrong);
            every += u64::from(every_wrong);
        }
        (single as f64 / runs as f64, every as f64 / runs as f64)
    }

    #[test]
    fn looking_at_every_outcome_is_wrong_seldom_with_the_sequence_and_often_with_a_fixed_sample() {
        let flag = |hit: bool| f64::from(u8::from(hit));
        for (truth, share_on, share_off) in [(0.0, 0.6, 0.6), (0.0, 0.05, 0.05), (0.1, 0.5, 0.4)] {
            let draw = |random: &mut Random, scored| flag(random.unit() < if scored { share_on } else { share_off });
            let (single, every) = ever_wrong(400, 3_000, truth, draw);
            assert!(
                every <= 0.05 && single >= 0.25,
                "{share_on} {share_off}: every look {every}, single look {single}"
            );
        }
        // A skewed metric, such as a handle time.
        let metric = |random: &mut Random, _| -300.0 * (1.0 - random.unit()).ln();
        let (single, every) = ever_wrong(400, 3_000, 0.0, metric);
        assert!(every <= 0.05 && single >= 0.25, "every look {every}, single look {single}");
    }

    #[test]
    fn a_real_difference_is_found_and_told_in_words() {
        let arm = |hits: u32, of: u32| {
            let mut arm = Arm::default();
            (0..of).for_each(|at| arm.add(f64::from(u8::from(at < hits))));
            arm
        };
        let found = lift(&arm(1_240, 2_000), &arm(1_100, 2_000), false);
        assert!(
            (found.difference.unwrap() - 0.07).abs() < 1e-12 && (found.relative.unwrap() - 0.07 / 0.55).abs() < 1e-12
        );
        let (single, every) = (found.single_look.unwrap(), found.every_look.unwrap());
        assert!(every.low > 0.0 && every.low < single.low && every.high > single.high, "{found:?}");
        assert!(found.verdict.contains("better"), "{found:?}");
        assert!(lift(&arm(1_240, 2_000), &arm(1_100, 2_000), true).verdict.contains("worse"));
        let early = lift(&arm(30, 49), &arm(1_100, 2_000), false);
        assert!(early.every_look.is_none() && early.difference.is_some() && early.verdict.contains("50"));
        assert_eq!(lift(&arm(0, 0), &arm(1, 1), false).difference, None);
        // Fifty successes out of fifty prove nothing certain.
        let all = lift(&arm(50, 50), &arm(50, 50), false);
        assert!(all.every_look.unwrap().has(0.05));
    }

    #[test]
    fn the_sequence_is_as_the_paper_has_it() {
        // ρ² for α = 0.05 and 1,000: (5.99146 + ln 6.99146) / 1000 = 0.0079361, so tρ² + 1 = 8.9361, and
        // √(2 · 8.9361 / 7936.1 · ln(√8.9361 / 0.05)) = 0.09598.
        assert!((width(1_000.0) - 0.095_98).abs() < 1e-5, "{}", width(1_000.0));
        let relative = |t: f64| width(t) * t.sqrt();
        assert!(relative(1_000.0) < relative(100.0) && relative(1_000.0) < relative(10_000.0));
    }
}
