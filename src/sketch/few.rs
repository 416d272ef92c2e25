//! The values of a field while they are few, each with its count.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Bound, MAX_FEW, MAX_FEW_BYTES};

/// In the order of the values. Stored as an object: a text that names the value → the value and its count.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Few(Vec<(Bound, u64)>);

/// There are more than [`MAX_FEW`], or one is longer than [`MAX_FEW_BYTES`].
#[derive(Debug)]
pub(super) struct TooMany;

impl Few {
    pub(super) fn add(&mut self, value: Bound, count: u64) -> Result<(), TooMany> {
        match self.0.binary_search_by(|(known, _)| order(known, &value)) {
            Ok(at) => self.0[at].1 += count,
            Err(at) => self.insert(at, value, count)?,
        }
        Ok(())
    }

    /// As [`Self::add`], of a text that need not be copied when it is known.
    pub(super) fn add_text(&mut self, text: &str, count: u64) -> Result<(), TooMany> {
        let order = |known: &Bound| match known {
            Bound::Text(known) => known.as_str().cmp(text),
            other => rank(other).cmp(&RANK_OF_TEXT),
        };
        match self.0.binary_search_by(|(known, _)| order(known)) {
            Ok(at) => self.0[at].1 += count,
            Err(_) if text.len() > MAX_FEW_BYTES => return Err(TooMany),
            Err(at) => self.insert(at, Bound::Text(text.to_owned()), count)?,
        }
        Ok(())
    }

    fn insert(&mut self, at: usize, value: Bound, count: u64) -> Result<(), TooMany> {
        if self.0.len() >= MAX_FEW || matches!(&value, Bound::Text(text) if text.len() > MAX_FEW_BYTES) {
            return Err(TooMany);
        }
        self.0.insert(at, (value, count));
        Ok(())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(Bound, u64)> {
        self.0.iter()
    }
}

const RANK_OF_TEXT: u8 = 4;

/// Orders values of different kinds, which no field has.
fn rank(value: &Bound) -> u8 {
    match value {
        Bound::Boolean(_) => 0,
        Bound::Integer(_) => 1,
        Bound::Float(_) => 2,
        Bound::Time(_) => 3,
        Bound::Text(_) => RANK_OF_TEXT,
    }
}

/// A total order in which both zeros are one value.
fn order(one: &Bound, other: &Bound) -> Ordering {
    match (one, other) {
        (Bound::Boolean(one), Bound::Boolean(other)) => one.cmp(other),
        (Bound::Integer(one), Bound::Integer(other)) | (Bound::Time(one), Bound::Time(other)) => one.cmp(other),
        (Bound::Float(one), Bound::Float(other)) => (one + 0.0).total_cmp(&(other + 0.0)),
        (Bound::Text(one), Bound::Text(other)) => one.cmp(other),
        _ => rank(one).cmp(&rank(other)),
    }
}

/// The text that names a value where it is stored.
fn name(value: &Bound) -> String {
    match value {
        Bound::Boolean(value) => value.to_string(),
        Bound::Integer(value) | Bound::Time(value) => value.to_string(),
        Bound::Float(value) => (value + 0.0).to_string(),
        Bound::Text(text) => text.clone(),
    }
}

impl Serialize for Few {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let by_name: BTreeMap<String, &(Bound, u64)> = self.0.iter().map(|entry| (name(&entry.0), entry)).collect();
        by_name.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Few {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let by_name = BTreeMap::<String, (Bound, u64)>::deserialize(deserializer)?;
        let mut few: Vec<(Bound, u64)> = by_name.into_values().collect();
        few.sort_by(|(one, _), (other, _)| order(one, other));
        Ok(Self(few))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_kept_in_order_and_stored_by_name() {
        let mut few = Few::default();
        for value in [10.0, -0.0, 2.5, 0.0, 10.0] {
            few.add(Bound::Float(value), 1).unwrap();
        }
        let stored = serde_json::to_string(&few).unwrap();
        assert_eq!(stored, r#"{"0":[{"float":-0.0},2],"10":[{"float":10.0},2],"2.5":[{"float":2.5},1]}"#);
        assert_eq!(serde_json::from_str::<Few>(&stored).unwrap(), few);
        let counts: Vec<u64> = few.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [2, 1, 2]);
    }

    #[test]
    fn too_many_or_too_long_ones_are_refused() {
        let mut few = Few::default();
        for value in 0..MAX_FEW {
            few.add_text(&value.to_string(), 1).unwrap();
        }
        few.add(Bound::Text("7".to_owned()), 1).unwrap();
        few.add_text("one more", 1).unwrap_err();
        let long = "x".repeat(MAX_FEW_BYTES + 1);
        Few::default().add_text(&long, 1).unwrap_err();
        Few::default().add(Bound::Text(long), 1).unwrap_err();
    }
}
