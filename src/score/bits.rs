//! A set of positions, one bit each.

/// Bits beyond the last word are not set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bits(Vec<u64>);

impl Bits {
    pub fn has(&self, position: u32) -> bool {
        self.0.get(position as usize / 64).is_some_and(|word| word >> (position % 64) & 1 == 1)
    }

    pub fn set(&mut self, position: u32, present: bool) {
        let word = position as usize / 64;
        if word >= self.0.len() {
            if !present {
                return;
            }
            self.0.resize(word + 1, 0);
        }
        let bit = 1 << (position % 64);
        if present {
            self.0[word] |= bit;
        } else {
            self.0[word] &= !bit;
        }
    }

    /// Keeps what is in both.
    pub fn keep(&mut self, other: &Self) {
        self.0.truncate(other.0.len());
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word &= other;
        }
    }

    /// Adds what is in the other.
    pub fn add(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word |= other;
        }
    }

    /// Removes what is in the other.
    pub fn remove_all(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word &= !other;
        }
    }

    /// Ascending.
    pub fn positions(&self) -> Vec<u32> {
        let count: u32 = self.0.iter().map(|word| word.count_ones()).sum();
        let mut positions = Vec::with_capacity(count as usize);
        for (at, word) in self.0.iter().enumerate() {
            let mut rest = *word;
            while rest != 0 {
                positions.push(at as u32 * 64 + rest.trailing_zeros());
                rest &= rest - 1;
            }
        }
        positions
    }
}
