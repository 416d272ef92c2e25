//! The known truth: what to expect of an interaction with any agent, and what a ranking is worth.

use super::dice::{Dice, exp, logistic};
use super::world::{CHANNELS, REASONS, SEGMENTS, TIERS};
use super::{Centre, Interaction};

/// Standard deviation of the logarithm of the handle time around what is typical.
pub(super) const HANDLE_TIME_NOISE: f64 = 0.35;

/// What an interaction can be judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A probability; more is better.
    FirstContactResolution,
    /// Seconds; less is better.
    HandleTime,
}

/// An interaction and the agents who happen to be free for it (positions, never empty).
#[derive(Debug, Clone)]
pub struct Choice {
    pub interaction: Interaction,
    pub free: Vec<usize>,
}

/// Mean true expectations over many choices, each by another way of choosing among the same free agents.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// By the ranking that is judged.
    pub by_score: f64,
    /// Anybody who is free.
    pub random: f64,
    /// Today's skill-based routing (who may not be among the free ones drawn).
    pub today: f64,
    /// By the truth itself: nobody can do better.
    pub best: f64,
}

impl Centre {
    /// The true probability of first-contact resolution, between 0 and 1.
    pub fn true_probability(&self, interaction: &Interaction, agent: usize) -> f64 {
        let reason = REASONS[interaction.reason];
        let customer = &self.customers[interaction.customer];
        let agent = &self.agents[agent];
        let context = reason.log_odds + CHANNELS[interaction.channel].2
            - 0.28 * interaction.previous_contacts as f64
            - 0.0012 * interaction.wait_seconds as f64;
        let about_customer = TIERS[customer.tier].2 + SEGMENTS[customer.segment].2 + customer.ease
            - 0.08 * (customer.products - 1) as f64
            + 0.002 * customer.tenure_months.min(60) as f64;
        let known_of_agent = 0.07 * (f64::from(agent.skills[reason.skill]) - 6.0)
            + 0.06 * (f64::from(agent.languages[interaction.language]) - 8.0)
            + 0.012 * (agent.tenure_months.min(36) - 12) as f64;
        let hidden = agent.hidden.general
            + agent.hidden.by_reason[interaction.reason]
            + agent.hidden.by_tier[customer.tier]
            + agent.hidden.by_channel[interaction.channel];
        logistic(context + about_customer + known_of_agent + hidden)
    }

    /// The median handle time in seconds.
    pub(super) fn typical_handle_seconds(&self, interaction: &Interaction, agent: usize) -> f64 {
        let reason = REASONS[interaction.reason];
        let customer = &self.customers[interaction.customer];
        let agent = &self.agents[agent];
        let log_factor = agent.hidden.slowness + agent.hidden.slowness_by_reason[interaction.reason]
            - 0.02 * (f64::from(agent.skills[reason.skill]) - 6.0)
            - 0.004 * (agent.tenure_months.min(36) - 12) as f64
            + 0.06 * interaction.previous_contacts as f64
            + 0.04 * (customer.products - 1) as f64;
        reason.seconds * CHANNELS[interaction.channel].3 * exp(log_factor)
    }

    /// The true expectation of an outcome: a probability, or seconds.
    pub fn expected(&self, outcome: Outcome, interaction: &Interaction, agent: usize) -> f64 {
        match outcome {
            Outcome::FirstContactResolution => self.true_probability(interaction, agent),
            // The mean of a lognormal is its median times e^(σ²/2).
            Outcome::HandleTime => {
                self.typical_handle_seconds(interaction, agent) * exp(HANDLE_TIME_NOISE * HANDLE_TIME_NOISE / 2.0)
            }
        }
    }

    /// Draws up to `free` eligible agents for each interaction, as if they were those free at that moment.
    pub fn choices(&self, interactions: &[Interaction], free: usize) -> Vec<Choice> {
        let mut dice = Dice::new(self.settings.seed, 5);
        let draw = |interaction: &Interaction| {
            let mut agents = self.eligible(interaction);
            dice.sample(&mut agents, free.max(1));
            Choice { interaction: interaction.clone(), free: agents }
        };
        interactions.iter().map(draw).collect()
    }

    /// What choosing by `choose` (a position in [`Centre::agents`]) is truly worth. `None` without choices.
    pub fn compare(
        &self,
        outcome: Outcome,
        choices: &[Choice],
        mut choose: impl FnMut(&Choice) -> usize,
    ) -> Option<Comparison> {
        let mut sums = Comparison { by_score: 0.0, random: 0.0, today: 0.0, best: 0.0 };
        for choice in choices {
            let expected = |agent: usize| self.expected(outcome, &choice.interaction, agent);
            let values: Vec<f64> = choice.free.iter().map(|&agent| expected(agent)).collect();
            sums.by_score += expected(choose(choice));
            sums.today += expected(choice.interaction.agent);
            sums.random += values.iter().sum::<f64>() / values.len() as f64;
            sums.best += match outcome {
                Outcome::FirstContactResolution => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                Outcome::HandleTime => values.iter().copied().fold(f64::INFINITY, f64::min),
            };
        }
        let count = choices.len() as f64;
        let mean = |sum: f64| sum / count;
        (!choices.is_empty()).then(|| Comparison {
            by_score: mean(sums.by_score),
            random: mean(sums.random),
            today: mean(sums.today),
            best: mean(sums.best),
        })
    }
}
