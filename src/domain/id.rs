//! Typed ids: a prefix that names the kind, then 26 characters that sort by creation time. Cheap to clone.

use std::fmt;
use std::sync::Arc;

use rand::RngExt as _;
use serde::{Deserialize, Serialize, Serializer};

use super::Timestamp;

/// Crockford's base 32, lower case: sorts like the number it encodes.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// 48 bits of milliseconds and 80 random bits, as in a ULID, in 26 characters.
fn time_ordered(now: Timestamp) -> impl Iterator<Item = char> {
    let millis = u128::from(now.timestamp_millis().max(0).unsigned_abs()) & ((1 << 48) - 1);
    // The thread's own generator, seeded by the operating system: asking that each time costs more than the rest of a request's name.
    let mut bits = (millis << 80) | (rand::rng().random::<u128>() & ((1 << 80) - 1));
    let mut text = [b'0'; 26];
    for slot in text.iter_mut().rev() {
        *slot = ALPHABET[(bits & 31) as usize];
        bits >>= 5;
    }
    text.into_iter().map(char::from)
}

/// The milliseconds in [`time_ordered`]'s first ten characters.
fn created_at_ms(text: &str) -> Option<i64> {
    if text.len() != 26 {
        return None;
    }
    let mut bits: u64 = 0;
    for byte in text.bytes().take(10) {
        let digit = ALPHABET.iter().position(|letter| *letter == byte)?;
        bits = (bits << 5) | u64::try_from(digit).ok()?;
    }
    // 26 characters hold 130 bits, the number 128: the first ten hold its upper 48.
    i64::try_from(bits).ok()
}

/// The text is not an id of this kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an id of this kind: ids start with \"{prefix}_\" and hold lower-case letters and digits")]
pub struct BadId {
    pub prefix: &'static str,
    pub text: String,
}

macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            /// A new id: ids made later sort later.
            pub fn generate(now: Timestamp) -> Self {
                let mut text = String::with_capacity(concat!($prefix, "_").len() + 26);
                text.push_str(concat!($prefix, "_"));
                text.extend(time_ordered(now));
                Self(text.into())
            }

            /// Checks prefix, characters and length (at most 64).
            pub fn parse(text: &str) -> Result<Self, BadId> {
                let rest = text.strip_prefix(concat!($prefix, "_"));
                match rest {
                    Some(rest) if !rest.is_empty()
                        && text.len() <= 64
                        && rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) =>
                    {
                        Ok(Self(text.into()))
                    }
                    _ => Err(BadId { prefix: $prefix, text: text.chars().take(80).collect() }),
                }
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Milliseconds since 1970 when it was made; `None` for an id that [`Self::generate`] did not make.
            pub fn created_at_ms(&self) -> Option<i64> {
                created_at_ms(self.0.get($prefix.len() + 1..)?)
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadId;
            fn try_from(text: String) -> Result<Self, BadId> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

typed_id!(/// A tenant.
    AccountId, "acc");
typed_id!(/// A person or program that signs in.
    UserId, "usr");
typed_id!(UploadId, "upl");
typed_id!(DatasetId, "ds");
typed_id!(SegmentId, "seg");
typed_id!(PredictorId, "prd");
typed_id!(ModelId, "mdl");
typed_id!(ReportId, "rep");
typed_id!(JobId, "job");
typed_id!(/// One write of profile records that waits to be counted.
    JournalId, "jrn");
typed_id!(/// One HTTP request, as named in errors and logs.
    RequestId, "req");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_creation_time_and_parse_back() {
        let at = |ms| Timestamp::from_timestamp_millis(ms).unwrap();
        let early = DatasetId::generate(at(1_000));
        let late = DatasetId::generate(at(2_000));
        assert!(early < late);
        assert_eq!((early.created_at_ms(), late.created_at_ms()), (Some(1_000), Some(2_000)));
        assert_eq!(DatasetId::parse(early.as_str()).unwrap(), early);
        assert!(UploadId::parse(early.as_str()).is_err());
        assert!(DatasetId::parse("ds_../etc").is_err());
    }
}
