//! How many distinct values there are: an exact set of hashes, then a HyperLogLog sketch.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use datasketches::hll::{Coupon, HllSketch, HllType, HllUnion};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Up to so many distinct values are counted exactly.
pub const EXACT_LIMIT: usize = 16_384;

/// 2^14 registers: a relative standard error of about 0.8 %.
const LG_REGISTERS: u8 = 14;

/// A text's hash, in exact sets and sketches alike.
pub fn hash_text(text: &[u8]) -> u64 {
    xxh3_64(text)
}

/// An integer's, Boolean's or time's hash: MurmurHash3's 64-bit finaliser, a bijection.
pub fn hash_integer(value: i64) -> u64 {
    let mut x = value.cast_unsigned();
    x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

/// A float's hash; both zeros are one value.
pub fn hash_float(value: f64) -> u64 {
    let value = if value == 0.0 { 0.0 } else { value };
    hash_integer(value.to_bits().cast_signed())
}

/// A set of hashes that turns into a sketch above [`EXACT_LIMIT`].
#[derive(Debug, Clone)]
pub enum Distinct {
    Exact(HashSet64),
    Sketch(Box<HllSketch>),
}

impl Default for Distinct {
    fn default() -> Self {
        Distinct::Exact(HashSet64::default())
    }
}

fn empty_sketch() -> HllSketch {
    HllSketch::new(LG_REGISTERS, HllType::Hll8).expect("14 is within the allowed 4 to 21")
}

impl Distinct {
    pub fn insert(&mut self, hash: u64) {
        match self {
            Distinct::Exact(set) => {
                set.insert(hash);
                if set.len() > EXACT_LIMIT {
                    *self = Distinct::Sketch(Box::new(sketch_of(set)));
                }
            }
            Distinct::Sketch(sketch) => sketch.update_with_coupon(Coupon::from_value(hash)),
        }
    }

    pub fn is_exact(&self) -> bool {
        matches!(self, Distinct::Exact(_))
    }

    /// The number of distinct values. The estimate depends on the values only, not on their order or on merges.
    pub fn count(&self) -> u64 {
        match self {
            Distinct::Exact(set) => set.len() as u64,
            Distinct::Sketch(sketch) => sketch.composite_estimate().round() as u64,
        }
    }

    /// The union. Commutative, associative and idempotent.
    pub fn merge(&mut self, other: &Distinct) {
        match (&mut *self, other) {
            (_, Distinct::Exact(theirs)) => theirs.iter().for_each(|hash| self.insert(hash)),
            (Distinct::Exact(mine), Distinct::Sketch(theirs)) => {
                let mut merged = theirs.clone();
                mine.iter().for_each(|hash| merged.update_with_coupon(Coupon::from_value(hash)));
                *self = Distinct::Sketch(merged);
            }
            (Distinct::Sketch(mine), Distinct::Sketch(theirs)) => {
                let mut union = HllUnion::new(LG_REGISTERS).expect("14 is within the allowed 4 to 21");
                union.update(mine);
                union.update(theirs);
                **mine = union.to_sketch(HllType::Hll8);
            }
        }
    }
}

fn sketch_of(set: &HashSet64) -> HllSketch {
    let mut sketch = empty_sketch();
    set.iter().for_each(|hash| sketch.update_with_coupon(Coupon::from_value(hash)));
    sketch
}

/// Sets are equal when they hold the same hashes, sketches when they estimate the same.
impl PartialEq for Distinct {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Distinct::Exact(a), Distinct::Exact(b)) => a.sorted() == b.sorted(),
            (Distinct::Sketch(_), Distinct::Sketch(_)) => self.count() == other.count(),
            _ => false,
        }
    }
}

/// How a [`Distinct`] is stored: sorted little-endian hashes, or the sketch's own form, in base64.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stored {
    Hashes(String),
    Hll(String),
}

impl Serialize for Distinct {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Distinct::Exact(set) => {
                let bytes: Vec<u8> = set.sorted().iter().flat_map(|hash| hash.to_le_bytes()).collect();
                Stored::Hashes(STANDARD.encode(bytes))
            }
            Distinct::Sketch(sketch) => Stored::Hll(STANDARD.encode(sketch.serialize())),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Distinct {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        match Stored::deserialize(deserializer)? {
            Stored::Hashes(text) => {
                let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
                let (hashes, rest) = bytes.as_chunks::<8>();
                if !rest.is_empty() {
                    return Err(D::Error::custom("the hashes are not a multiple of 8 bytes"));
                }
                let mut set = HashSet64::default();
                hashes.iter().for_each(|hash| set.insert(u64::from_le_bytes(*hash)));
                Ok(Distinct::Exact(set))
            }
            Stored::Hll(text) => {
                let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
                HllSketch::deserialize(&bytes).map(|s| Distinct::Sketch(Box::new(s))).map_err(D::Error::custom)
            }
        }
    }
}

/// A set of hashes by open addressing; a slot of 0 is free, so the hash 0 is kept as 1.
#[derive(Debug, Clone, Default)]
pub struct HashSet64 {
    slots: Vec<u64>,
    len: usize,
}

impl HashSet64 {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn insert(&mut self, hash: u64) {
        if self.len * 4 >= self.slots.len() * 3 {
            self.grow();
        }
        let hash = hash.max(1);
        let mask = self.slots.len() - 1;
        let mut at = (hash >> 20) as usize & mask;
        loop {
            match self.slots[at] {
                0 => {
                    self.slots[at] = hash;
                    self.len += 1;
                    return;
                }
                taken if taken == hash => return,
                _ => at = (at + 1) & mask,
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.slots.iter().copied().filter(|hash| *hash != 0)
    }

    fn sorted(&self) -> Vec<u64> {
        let mut hashes: Vec<u64> = self.iter().collect();
        hashes.sort_unstable();
        hashes
    }

    fn grow(&mut self) {
        let old = std::mem::take(&mut self.slots);
        self.slots = vec![0; (old.len() * 2).max(16)];
        self.len = 0;
        old.into_iter().filter(|hash| *hash != 0).for_each(|hash| self.insert(hash));
    }
}
