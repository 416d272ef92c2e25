//! What happens in this contact centre: its reasons for contact, languages, tiers and channels.

/// A reason for contact.
#[derive(Debug, Clone, Copy)]
pub struct Reason {
    pub name: &'static str,
    /// Share of all contacts (the shares add up to 1).
    pub share: f64,
    /// Position in [`SKILLS`] of the skill that it needs.
    pub skill: usize,
    /// Log odds of resolution at the first contact by an average agent.
    pub log_odds: f64,
    /// Typical handle time.
    pub seconds: f64,
}

const fn reason(name: &'static str, share: f64, skill: usize, log_odds: f64, seconds: f64) -> Reason {
    Reason { name, share, skill, log_odds, seconds }
}

pub const SKILLS: [&str; 5] = ["billing", "technical", "sales", "retention", "logistics"];

pub const REASONS: [Reason; 13] = [
    reason("billing_question", 0.15, 0, 0.7, 360.0),
    reason("password_reset", 0.13, 1, 1.3, 240.0),
    reason("internet_fault", 0.13, 1, -0.4, 780.0),
    reason("plan_change", 0.09, 2, 0.6, 480.0),
    reason("delivery_status", 0.09, 4, 1.0, 280.0),
    reason("billing_dispute", 0.08, 0, -0.5, 620.0),
    reason("device_setup", 0.07, 1, 0.3, 560.0),
    reason("cancellation", 0.06, 3, -0.9, 690.0),
    reason("payment_arrangement", 0.05, 0, 0.4, 430.0),
    reason("tv_fault", 0.05, 1, -0.1, 640.0),
    reason("complaint", 0.04, 3, -0.8, 720.0),
    reason("upgrade_offer", 0.03, 2, 0.1, 520.0),
    reason("return_or_exchange", 0.03, 4, 0.2, 410.0),
];

/// Name and share.
pub const LANGUAGES: [(&str, f64); 4] = [("english", 0.58), ("spanish", 0.24), ("french", 0.11), ("german", 0.07)];

/// Name, share, log odds.
pub const TIERS: [(&str, f64, f64); 4] =
    [("basic", 0.52, 0.0), ("silver", 0.27, 0.1), ("gold", 0.15, 0.2), ("platinum", 0.06, 0.35)];

/// Name, share, log odds.
pub const SEGMENTS: [(&str, f64, f64); 3] =
    [("consumer", 0.8, 0.0), ("small_business", 0.16, -0.2), ("enterprise", 0.04, -0.45)];

/// Name, share, log odds, factor on the handle time.
pub const CHANNELS: [(&str, f64, f64, f64); 3] =
    [("voice", 0.62, 0.0, 1.0), ("chat", 0.26, -0.15, 1.25), ("email", 0.12, -0.35, 1.6)];

pub const REGIONS: [&str; 5] = ["north", "south", "east", "west", "islands"];
pub const SITES: [&str; 3] = ["lisbon", "dublin", "krakow"];

/// Monday to Sunday, relative volume.
pub(super) const WEEKDAYS: [f64; 7] = [1.2, 1.05, 1.0, 1.0, 1.05, 0.6, 0.4];
/// Hours 8 to 21, relative volume.
pub(super) const FIRST_HOUR: u32 = 8;
pub(super) const HOURS: [f64; 14] = [0.7, 1.1, 1.3, 1.3, 1.1, 0.9, 0.95, 1.0, 1.05, 1.1, 1.0, 0.8, 0.55, 0.35];
