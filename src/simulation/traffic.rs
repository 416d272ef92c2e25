//! Interactions: who calls, when, why, and who takes it.

use chrono::{Datelike, Duration, Timelike};

use super::dice::Dice;
use super::people::Agent;
use super::world::{CHANNELS, FIRST_HOUR, HOURS, LANGUAGES, REASONS, WEEKDAYS};
use super::{Centre, Outcome};
use crate::domain::Timestamp;

/// One interaction, as it was routed and as it ended.
#[derive(Debug, Clone)]
pub struct Interaction {
    pub id: String,
    pub started_at: Timestamp,
    /// Position in [`Centre::customers`].
    pub customer: usize,
    /// Position in [`REASONS`].
    pub reason: usize,
    pub language: usize,
    pub channel: usize,
    /// Contacts of the same customer in the week before.
    pub previous_contacts: i64,
    pub wait_seconds: i64,
    /// Position in [`Centre::agents`]: whom today's routing chose.
    pub agent: usize,
    pub first_contact_resolution: bool,
    pub handle_time_seconds: i64,
}

impl Interaction {
    pub fn reason_name(&self) -> &'static str {
        REASONS[self.reason].name
    }

    pub fn language_name(&self) -> &'static str {
        LANGUAGES[self.language].0
    }

    pub fn channel_name(&self) -> &'static str {
        CHANNELS[self.channel].0
    }

    /// What is known while the interaction waits: the context of a score request.
    pub fn context(&self) -> serde_json::Map<String, serde_json::Value> {
        let context = serde_json::json!({
            "start_time": self.started_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            "reason": self.reason_name(),
            "language": self.language_name(),
            "channel": self.channel_name(),
            "previous_contacts": self.previous_contacts,
            "wait_seconds": self.wait_seconds,
        });
        match context {
            serde_json::Value::Object(map) => map,
            _ => serde_json::Map::new(),
        }
    }
}

/// Start times of `count` interactions over `days` days, in order.
pub(super) fn start_times(first_day: Timestamp, days: u32, count: usize, dice: &mut Dice) -> Vec<Timestamp> {
    let weekday = |day: usize| (first_day.weekday().num_days_from_monday() as usize + day) % 7;
    let volumes: Vec<f64> = (0..days.max(1) as usize).map(|day| WEEKDAYS[weekday(day)]).collect();
    let mut offsets: Vec<i64> = (0..count)
        .map(|_| {
            let day = dice.weighted(volumes.iter().copied()) as i64;
            let hour = i64::from(FIRST_HOUR) + dice.weighted(HOURS.into_iter()) as i64;
            (day * 24 + hour) * 3_600 + dice.below(3_600) as i64
        })
        .collect();
    offsets.sort_unstable();
    offsets.into_iter().map(|seconds| first_day + Duration::seconds(seconds)).collect()
}

impl Centre {
    /// Draws everything about one interaction, its routing and its outcome included.
    pub(super) fn draw_interaction(&self, id: String, started_at: Timestamp, dice: &mut Dice) -> Interaction {
        let skew = dice.unit();
        // Few customers call often: the square puts half of the contacts on a quarter of them.
        let customer = ((skew * skew * self.customers.len() as f64) as usize).min(self.customers.len() - 1);
        let language = if dice.chance(0.96) { self.customers[customer].language } else { dice.below(LANGUAGES.len()) };
        let busy = HOURS[(started_at.hour().saturating_sub(FIRST_HOUR) as usize).min(HOURS.len() - 1)];
        let patience = dice.unit();
        let mut interaction = Interaction {
            id,
            started_at,
            customer,
            reason: dice.weighted(REASONS.iter().map(|reason| reason.share)),
            language,
            channel: dice.weighted(CHANNELS.iter().map(|channel| channel.1)),
            previous_contacts: dice.weighted([0.6, 0.22, 0.1, 0.05, 0.03].into_iter()) as i64,
            wait_seconds: (busy * patience * patience * 400.0) as i64,
            agent: 0,
            first_contact_resolution: false,
            handle_time_seconds: 0,
        };
        interaction.agent = self.route_as_today(&interaction, dice);
        interaction.first_contact_resolution =
            dice.chance(self.expected(Outcome::FirstContactResolution, &interaction, interaction.agent));
        let noise = super::dice::exp(super::truth::HANDLE_TIME_NOISE * dice.normal());
        interaction.handle_time_seconds =
            (self.typical_handle_seconds(&interaction, interaction.agent) * noise).round().max(15.0) as i64;
        interaction
    }

    /// The agents whom today's rules allow: language and skill at a minimum level, on shift. When nobody
    /// fits, the rules are relaxed step by step, as a routing strategy widens its target.
    pub fn eligible(&self, interaction: &Interaction) -> Vec<usize> {
        let skill = REASONS[interaction.reason].skill;
        let weekday = interaction.started_at.weekday().num_days_from_monday();
        let hour = interaction.started_at.hour();
        let fits = |agent: &Agent| agent.can_take(interaction.language, skill);
        let works = |agent: &Agent| agent.works_at(weekday, hour);
        let select = |allowed: &dyn Fn(&Agent) -> bool| -> Vec<usize> {
            (0..self.agents.len()).filter(|&position| allowed(&self.agents[position])).collect()
        };
        for rule in [&(|agent: &Agent| fits(agent) && works(agent)) as &dyn Fn(&Agent) -> bool, &fits, &works] {
            let agents = select(rule);
            if !agents.is_empty() {
                return agents;
            }
        }
        (0..self.agents.len()).collect()
    }

    /// Skill-based routing: among a few free agents the most skilled, or simply the one who is free.
    fn route_as_today(&self, interaction: &Interaction, dice: &mut Dice) -> usize {
        let mut free = self.eligible(interaction);
        let by_skill = dice.chance(0.5);
        dice.sample(&mut free, if by_skill { 3 } else { 1 });
        let skill = REASONS[interaction.reason].skill;
        free.into_iter().max_by_key(|&agent| self.agents[agent].skills[skill]).unwrap_or(0)
    }
}
