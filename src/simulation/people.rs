//! Agents and customers, with what a business knows of them and what it does not.

use super::dice::Dice;
use super::world::{CHANNELS, LANGUAGES, REASONS, REGIONS, SEGMENTS, SITES, SKILLS, TIERS};

/// Below this level an agent is not offered the work.
pub const MINIMUM_LEVEL: u8 = 3;

/// One agent. `hidden` is what no file contains: the truth that a model has to find in outcomes.
#[derive(Debug, Clone)]
pub struct Agent {
    pub id: String,
    pub site: usize,
    pub tenure_months: i64,
    /// Level 0 to 10 by [`LANGUAGES`]; 0: does not speak it.
    pub languages: [u8; LANGUAGES.len()],
    /// Level 0 to 10 by [`SKILLS`].
    pub skills: [u8; SKILLS.len()],
    /// First hour of the shift and the weekday (0 Monday) after which two days off begin.
    pub shift_start_hour: u32,
    pub first_day_off: u32,
    pub hidden: Hidden,
}

/// An agent's strengths, in log odds of first-contact resolution and log seconds of handle time.
#[derive(Debug, Clone)]
pub struct Hidden {
    pub general: f64,
    pub by_reason: [f64; REASONS.len()],
    pub by_tier: [f64; TIERS.len()],
    pub by_channel: [f64; CHANNELS.len()],
    pub slowness: f64,
    pub slowness_by_reason: [f64; REASONS.len()],
}

/// One customer.
#[derive(Debug, Clone)]
pub struct Customer {
    pub id: String,
    pub tier: usize,
    pub segment: usize,
    pub region: usize,
    pub language: usize,
    pub tenure_months: i64,
    pub products: i64,
    /// Log odds that no file contains.
    pub ease: f64,
}

impl Agent {
    pub(super) fn draw(number: usize, dice: &mut Dice) -> Self {
        let mut languages = [0u8; LANGUAGES.len()];
        let mother_tongue = dice.weighted(LANGUAGES.iter().map(|language| language.1));
        languages[mother_tongue] = dice.between(8, 10) as u8;
        if mother_tongue != 0 && dice.chance(0.8) {
            languages[0] = dice.between(3, 9) as u8;
        }
        if dice.chance(0.3) {
            let other = dice.below(LANGUAGES.len());
            languages[other] = languages[other].max(dice.between(3, 8) as u8);
        }
        let mut skills = [0u8; SKILLS.len()];
        for _ in 0..3 {
            let skill = dice.below(SKILLS.len());
            skills[skill] = skills[skill].max(dice.between(i64::from(MINIMUM_LEVEL), 10) as u8);
        }
        let tenure = dice.unit();
        Self {
            id: format!("agent-{number:04}"),
            site: dice.below(SITES.len()),
            // Many are new: contact centres turn over a third of their people a year.
            tenure_months: 1 + (tenure * tenure * 95.0) as i64,
            languages,
            skills,
            shift_start_hour: [7, 10, 13][dice.below(3)],
            first_day_off: dice.below(7) as u32,
            hidden: Hidden {
                general: 0.30 * dice.normal(),
                by_reason: std::array::from_fn(|_| 0.60 * dice.normal()),
                by_tier: std::array::from_fn(|_| 0.15 * dice.normal()),
                by_channel: std::array::from_fn(|_| 0.15 * dice.normal()),
                slowness: 0.15 * dice.normal(),
                slowness_by_reason: std::array::from_fn(|_| 0.12 * dice.normal()),
            },
        }
    }

    /// Whether the routing may offer this work to the agent.
    pub fn can_take(&self, language: usize, skill: usize) -> bool {
        self.languages[language] >= MINIMUM_LEVEL && self.skills[skill] >= MINIMUM_LEVEL
    }

    /// `weekday` 0 is Monday. A shift lasts nine hours.
    pub fn works_at(&self, weekday: u32, hour: u32) -> bool {
        let off = (weekday + 7 - self.first_day_off) % 7 < 2;
        !off && hour >= self.shift_start_hour && hour < self.shift_start_hour + 9
    }

    /// Names of the agent's groups: site and team.
    pub fn groups(&self) -> Vec<String> {
        let strongest = (0..SKILLS.len()).max_by_key(|&skill| (self.skills[skill], SKILLS.len() - skill)).unwrap_or(0);
        vec![SITES[self.site].to_owned(), format!("{}_team", SKILLS[strongest])]
    }

    /// Skill levels by name, languages included; only those above 0.
    pub fn skill_levels(&self) -> Vec<(&'static str, u8)> {
        let languages = LANGUAGES.iter().map(|language| language.0).zip(self.languages);
        languages.chain(SKILLS.into_iter().zip(self.skills)).filter(|&(_, level)| level > 0).collect()
    }
}

impl Customer {
    pub(super) fn draw(number: usize, dice: &mut Dice) -> Self {
        let tenure = dice.unit();
        Self {
            id: format!("customer-{number:06}"),
            tier: dice.weighted(TIERS.iter().map(|tier| tier.1)),
            segment: dice.weighted(SEGMENTS.iter().map(|segment| segment.1)),
            region: dice.below(REGIONS.len()),
            language: dice.weighted(LANGUAGES.iter().map(|language| language.1)),
            tenure_months: (tenure * tenure * 140.0) as i64,
            products: 1 + dice.weighted([0.5, 0.27, 0.14, 0.06, 0.03].into_iter()) as i64,
            ease: 0.25 * dice.normal(),
        }
    }
}
