//! How the active models of a predictor take turns, so that they can be compared with each other, or with routing without scores.

use chrono::{Datelike, TimeDelta, Timelike};
use serde::{Deserialize, Serialize};

use super::Timestamp;

/// Most periods of a cycle.
pub const MAX_PERIODS: usize = 10;
/// Longest period: a week.
pub const MAX_PERIOD_SECONDS: u32 = 7 * 86_400;

/// Who answers when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "by", rename_all = "snake_case", deny_unknown_fields)]
pub enum Rotation {
    /// Each interaction by its customer or context, in proportion to the models' shares: the same interaction always meets the same model.
    #[default]
    Share,
    /// Hour by hour (UTC). The first hour of odd days of the month is the first model's, that of even days the second's, so that each is
    /// seen at every time of day. With one active model, every other hour is `off`.
    Hourly,
    /// Period after period, counted from 1970-01-01T00:00:00Z. With one active model, every period but the first of a cycle is `off`.
    Periods {
        /// 2 to 10 of them, each at least 1 and at most 604,800 (a week).
        seconds: Vec<u32>,
    },
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Turns are not taken in time: each interaction is answered by its share.
    ByShare,
    /// The active model at this place, in the order of their ids.
    Model(usize),
    /// The only active model answers, and its scores are not to be followed.
    Off,
}

impl Rotation {
    /// Whose turn it is among so many active models.
    pub fn whose(&self, at: Timestamp, models: usize) -> Whose {
        match self.turn(at) {
            None => Whose::ByShare,
            Some(turn) if models == 1 && !turn.is_multiple_of(self.turns()) => Whose::Off,
            Some(turn) => Whose::Model(turn % models.max(1)),
        }
    }

    /// When the turn ends that it is at this time; none when turns are not taken in time.
    pub fn end_of_turn(&self, at: Timestamp) -> Option<Timestamp> {
        let left = match self {
            Rotation::Share => return None,
            Rotation::Hourly => 3_600 - at.timestamp().rem_euclid(3_600),
            Rotation::Periods { seconds } => {
                let mut rest = at.timestamp().rem_euclid(self.cycle_seconds()?.max(1));
                let mut left = 0;
                for length in seconds.iter().map(|seconds| i64::from(*seconds)) {
                    left = length - rest;
                    if left > 0 {
                        break;
                    }
                    rest -= length;
                }
                left
            }
        };
        Timestamp::from_timestamp(at.timestamp(), 0)?.checked_add_signed(TimeDelta::seconds(left.max(1)))
    }

    /// Seconds until the first period comes again.
    pub fn cycle_seconds(&self) -> Option<i64> {
        match self {
            Rotation::Share => None,
            Rotation::Hourly => Some(7_200),
            Rotation::Periods { seconds } => Some(seconds.iter().map(|seconds| i64::from(*seconds)).sum()),
        }
    }

    /// Which of the turns it is at this time; none when turns are not taken in time.
    fn turn(&self, at: Timestamp) -> Option<usize> {
        match self {
            Rotation::Share => None,
            Rotation::Hourly => Some(at.hour() as usize + usize::from(at.day().is_multiple_of(2))),
            Rotation::Periods { seconds } => {
                let mut rest = at.timestamp().rem_euclid(self.cycle_seconds()?.max(1));
                seconds.iter().position(|seconds| {
                    let is_now = rest < i64::from(*seconds);
                    rest -= i64::from(*seconds);
                    is_now
                })
            }
        }
    }

    /// How many turns there are before the first one's comes again.
    fn turns(&self) -> usize {
        match self {
            Rotation::Share => 1,
            Rotation::Hourly => 2,
            Rotation::Periods { seconds } => seconds.len(),
        }
    }

    /// Why it cannot be used.
    pub fn check(&self) -> Result<(), String> {
        let Rotation::Periods { seconds } = self else { return Ok(()) };
        if !(2..=MAX_PERIODS).contains(&seconds.len()) {
            return Err(format!("`seconds` has {} periods; 2 to {MAX_PERIODS} are possible", seconds.len()));
        }
        match seconds.iter().find(|seconds| !(1..=MAX_PERIOD_SECONDS).contains(*seconds)) {
            Some(wrong) => Err(format!("a period has {wrong} seconds; 1 to {MAX_PERIOD_SECONDS} are possible")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(rotation: &Rotation, time: &str) -> Option<usize> {
        rotation.turn(time.parse().unwrap())
    }

    #[test]
    fn hours_change_places_from_day_to_day() {
        let hours = |day: u32| -> Vec<usize> {
            (0..24)
                .map(|hour| turn(&Rotation::Hourly, &format!("2026-11-{day:02}T{hour:02}:59:59Z")).unwrap() % 2)
                .collect()
        };
        let (odd, even) = (hours(25), hours(26));
        assert_eq!(odd[..4], [0, 1, 0, 1]);
        assert!(odd.iter().zip(&even).all(|(a, b)| a != b));
    }

    #[test]
    fn a_model_alone_is_on_and_off() {
        let rotation = Rotation::Periods { seconds: vec![60, 30, 30] };
        let at = |seconds: i64, models| rotation.whose(Timestamp::from_timestamp(seconds, 0).unwrap(), models);
        assert_eq!([0, 60, 90].map(|second| at(second, 1)), [Whose::Model(0), Whose::Off, Whose::Off]);
        assert_eq!([0, 60, 90].map(|second| at(second, 2)), [Whose::Model(0), Whose::Model(1), Whose::Model(0)]);
        assert_eq!(Rotation::Share.whose(Timestamp::UNIX_EPOCH, 2), Whose::ByShare);
        assert_eq!(Rotation::Share.end_of_turn(Timestamp::UNIX_EPOCH), None);
    }

    #[test]
    fn periods_follow_each_other() {
        let rotation = Rotation::Periods { seconds: vec![60, 30] };
        let at = |seconds: i64| rotation.turn(Timestamp::from_timestamp(seconds, 0).unwrap());
        assert_eq!([0, 59, 60, 89, 90, -1].map(at), [0, 0, 1, 1, 0, 1].map(Some));
        assert!(rotation.check().is_ok());
        let end =
            |seconds: i64| rotation.end_of_turn(Timestamp::from_timestamp(seconds, 0).unwrap()).unwrap().timestamp();
        assert_eq!([0, 59, 60, 89, 90, -1].map(end), [60, 60, 90, 90, 150, 0]);
        for seconds in [vec![60], vec![0, 60], vec![1; 11], vec![604_801, 1]] {
            assert!(Rotation::Periods { seconds }.check().is_err());
        }
    }
}
