//! Distinct texts of a column, each kept and hashed once.

use crate::sketch::hash_text;

/// Gives each distinct text a code: 0, 1, 2 … in the order of appearance.
#[derive(Debug, Default)]
pub(super) struct Interner {
    bytes: Vec<u8>,
    /// The end of each text in `bytes`.
    ends: Vec<u32>,
    hashes: Vec<u64>,
    /// Open addressing: code + 1, or 0 where free.
    slots: Vec<u32>,
}

impl Interner {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// All texts, one after the other; see [`Self::range`].
    pub fn all_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where a text is in [`Self::all_bytes`].
    pub fn range(&self, code: usize) -> std::ops::Range<usize> {
        let start = if code == 0 { 0 } else { self.ends[code - 1] as usize };
        start..self.ends[code] as usize
    }

    /// The bytes of a text are known to be UTF-8: they come from a decoded file or from a `str`.
    pub fn bytes(&self, code: u32) -> &[u8] {
        &self.bytes[self.range(code as usize)]
    }

    pub fn text(&self, code: u32) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(self.bytes(code))
    }

    pub fn hash(&self, code: u32) -> u64 {
        self.hashes[code as usize]
    }

    pub fn memory_bytes(&self) -> usize {
        self.bytes.len() + self.ends.len() * 12 + self.slots.len() * 4
    }

    /// The text's code; new texts are added.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a segment's memory limit is far below 4 GiB")]
    pub fn intern(&mut self, text: &[u8]) -> u32 {
        if self.ends.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let hash = hash_text(text);
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            match self.slots[at] {
                0 => {
                    self.bytes.extend_from_slice(text);
                    self.ends.push(self.bytes.len() as u32);
                    self.hashes.push(hash);
                    self.slots[at] = self.ends.len() as u32;
                    return self.ends.len() as u32 - 1;
                }
                slot => {
                    let code = slot - 1;
                    if self.hashes[code as usize] == hash && self.bytes(code) == text {
                        return code;
                    }
                }
            }
            at = (at + 1) & mask;
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a segment's memory limit is far below 4 GiB")]
    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(64);
        self.slots.clear();
        self.slots.resize(size, 0);
        let mask = size - 1;
        for (code, hash) in self.hashes.iter().enumerate() {
            let mut at = *hash as usize & mask;
            while self.slots[at] != 0 {
                at = (at + 1) & mask;
            }
            self.slots[at] = code as u32 + 1;
        }
    }
}
