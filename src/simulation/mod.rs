//! A simulated contact centre with known truth: for demonstrations, tests and benchmarks.
//!
//! Everything is drawn from a seed and is the same on every platform. Agents have strengths for
//! particular reasons that no file contains; a model has to find them in the outcomes, and because
//! the truth is known here, what it found can be judged exactly.
//!
//! Invariant: pure and synchronous; knows nothing of the rest of the program but its words.

mod dice;
mod files;
mod people;
mod table;
mod traffic;
mod truth;
pub mod world;

use chrono::TimeZone;

pub use people::{Agent, Customer, Hidden, MINIMUM_LEVEL};
pub use traffic::Interaction;
pub use truth::{Choice, Comparison, Outcome};

use crate::domain::Timestamp;
use dice::Dice;

/// How large the centre is, and the seed of all its draws.
#[derive(Debug, Clone)]
pub struct Settings {
    pub seed: u64,
    pub interactions: usize,
    /// At least 1.
    pub agents: usize,
    /// At least 1.
    pub customers: usize,
    pub days: u32,
    /// Midnight before the first interaction.
    pub first_day: Timestamp,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 1,
            interactions: 200_000,
            agents: 300,
            customers: 20_000,
            days: 90,
            // A Monday. Fixed, not "ninety days ago": the same seed has to give the same files.
            first_day: chrono::Utc.with_ymd_and_hms(2026, 1, 5, 0, 0, 0).single().unwrap_or_default(),
        }
    }
}

/// The centre: its people, and what happened in it.
#[derive(Debug, Clone)]
pub struct Centre {
    pub settings: Settings,
    pub agents: Vec<Agent>,
    pub customers: Vec<Customer>,
    /// In order of time.
    pub interactions: Vec<Interaction>,
}

impl Centre {
    pub fn generate(settings: Settings) -> Self {
        let mut agent_dice = Dice::new(settings.seed, 1);
        let mut customer_dice = Dice::new(settings.seed, 2);
        let mut centre = Self {
            agents: (1..=settings.agents.max(1)).map(|number| Agent::draw(number, &mut agent_dice)).collect(),
            customers: (1..=settings.customers.max(1)).map(|n| Customer::draw(n, &mut customer_dice)).collect(),
            interactions: Vec::new(),
            settings,
        };
        let Settings { seed, first_day, days, interactions, .. } = centre.settings;
        centre.interactions = centre.draw_interactions("int", first_day, days, interactions, Dice::new(seed, 3));
        centre
    }

    /// Interactions of the day after the last: in no file, so a model cannot have seen them.
    pub fn waiting(&self, count: usize) -> Vec<Interaction> {
        let day = self.settings.first_day + chrono::Duration::days(i64::from(self.settings.days));
        self.draw_interactions("waiting", day, 1, count, Dice::new(self.settings.seed, 4))
    }

    fn draw_interactions(
        &self,
        prefix: &str,
        first_day: Timestamp,
        days: u32,
        count: usize,
        mut dice: Dice,
    ) -> Vec<Interaction> {
        let times = traffic::start_times(first_day, days, count, &mut dice);
        let draw = |(number, time)| self.draw_interaction(format!("{prefix}-{:07}", number + 1), time, &mut dice);
        times.into_iter().enumerate().map(draw).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Centre {
        Centre::generate(Settings { interactions: 6_000, agents: 60, customers: 500, ..Settings::default() })
    }

    #[test]
    fn the_same_seed_gives_the_same_files_and_another_seed_others() {
        let bytes = |centre: &Centre| {
            let mut out = Vec::new();
            centre.write_interactions(&mut out).unwrap();
            centre.write_agents(&mut out).unwrap();
            centre.write_customers(&mut out).unwrap();
            xxhash_rust::xxh3::xxh3_64(&out)
        };
        assert_eq!(bytes(&small()), bytes(&small()));
        let other = Centre::generate(Settings { seed: 2, ..small().settings });
        assert_ne!(bytes(&small()), bytes(&other));
    }

    #[test]
    fn outcomes_follow_the_truth() {
        let centre = small();
        let resolved = centre.interactions.iter().filter(|i| i.first_contact_resolution).count() as f64;
        let expected: f64 = centre.interactions.iter().map(|i| centre.true_probability(i, i.agent)).sum();
        let count = centre.interactions.len() as f64;
        assert!((resolved - expected).abs() / count < 0.02, "{resolved} {expected}");
        assert!((0.45..0.75).contains(&(resolved / count)), "{}", resolved / count);
        assert!(centre.interactions.is_sorted_by_key(|i| i.started_at));
    }

    #[test]
    fn routing_by_the_truth_beats_chance_and_nothing_beats_the_truth() {
        let centre = small();
        for (outcome, sign) in [(Outcome::FirstContactResolution, 1.0), (Outcome::HandleTime, -1.0)] {
            let choices = centre.choices(&centre.waiting(400), 8);
            let by_truth = |choice: &Choice| {
                let value = |&&agent: &&usize| sign * centre.expected(outcome, &choice.interaction, agent);
                *choice.free.iter().max_by(|a, b| value(a).total_cmp(&value(b))).unwrap()
            };
            let informed = centre.compare(outcome, &choices, by_truth).unwrap();
            assert_eq!(informed.by_score, informed.best);
            assert!(sign * (informed.best - informed.random) > 0.05, "{informed:?}");
            let first = centre.compare(outcome, &choices, |choice| choice.free[0]).unwrap();
            assert!(sign * (first.best - first.by_score) > 0.0);
        }
        assert!(centre.compare(Outcome::HandleTime, &[], |_| 0).is_none());
    }
}
