//! Distinct texts of a column, each kept once.

use crate::sketch::hash_text;

/// Texts up to this length are identified by their key alone.
const SHORT_BYTES: usize = 15;
/// Marks the key of a longer text.
const LONG: u64 = 0xff << 56;

/// A short text itself (zeros behind it) and its length in the highest byte; of a longer text the hash and the length.
type Key = [u64; 2];

/// Gives each distinct text a code: 0, 1, 2 … in the order of appearance.
#[derive(Debug, Default)]
pub(super) struct Interner {
    bytes: Vec<u8>,
    /// The end of each text in `bytes`.
    ends: Vec<u32>,
    keys: Vec<Key>,
    /// Open addressing: 32 bits of a hash of the key, then code + 1; 0 where free. A slot's place is given by the upper
    /// bits of the 32.
    slots: Vec<u64>,
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

    /// See [`hash_text`].
    pub fn hash(&self, code: u32) -> u64 {
        match self.keys[code as usize] {
            [hash, length] if length >= LONG => hash,
            _ => hash_text(self.bytes(code)),
        }
    }

    pub fn memory_bytes(&self) -> usize {
        self.bytes.len() + self.ends.len() * (4 + size_of::<Key>()) + self.slots.len() * 8
    }

    /// The text's code; new texts are added.
    pub fn intern(&mut self, text: &[u8]) -> u32 {
        let mut padded = [0; 16];
        if text.len() <= SHORT_BYTES {
            padded[..text.len()].copy_from_slice(text);
        }
        self.intern_padded(u128::from_le_bytes(padded), text)
    }

    /// The code of a text in a buffer, of which a short text is taken by one load.
    #[inline]
    pub fn intern_at(&mut self, buffer: &[u8], start: usize, end: usize) -> u32 {
        let text = &buffer[start..end];
        match buffer[start..].first_chunk::<16>() {
            Some(bytes) if text.len() <= SHORT_BYTES => {
                self.intern_padded(u128::from_le_bytes(*bytes) & ((1 << (8 * text.len())) - 1), text)
            }
            _ => self.intern(text),
        }
    }

    /// `short` is the text with zeros behind it; not used for long texts.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a segment's memory limit is far below 4 GiB; parts of hashes")]
    fn intern_padded(&mut self, short: u128, text: &[u8]) -> u32 {
        let long = text.len() > SHORT_BYTES;
        let key: Key = if long {
            [hash_text(text), LONG | text.len() as u64]
        } else {
            [short as u64, (short >> 64) as u64 | (text.len() as u64) << 56]
        };
        if self.ends.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let mixed = u128::from(key[0] ^ 0x9e37_79b9_7f4a_7c15) * u128::from(key[1] ^ 0xd6e8_feb8_6659_fd93);
        let tag = ((mixed as u64) ^ (mixed >> 64) as u64) >> 32;
        let mask = self.slots.len() - 1;
        let mut at = self.place(tag);
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                self.bytes.extend_from_slice(text);
                self.ends.push(self.bytes.len() as u32);
                self.keys.push(key);
                self.slots[at] = tag << 32 | self.ends.len() as u64;
                return self.ends.len() as u32 - 1;
            }
            if slot >> 32 == tag {
                let code = slot as u32 - 1;
                if self.keys[code as usize] == key && (!long || self.bytes(code) == text) {
                    return code;
                }
            }
            at = (at + 1) & mask;
        }
    }

    /// Where the search for a tag starts: there are a power of two slots.
    #[inline]
    fn place(&self, tag: u64) -> usize {
        ((tag * self.slots.len() as u64) >> 32) as usize
    }

    #[cold]
    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(64);
        let old = std::mem::replace(&mut self.slots, vec![0; size]);
        for slot in old.into_iter().filter(|slot| *slot != 0) {
            let mut at = self.place(slot >> 32);
            while self.slots[at] != 0 {
                at = (at + 1) & (size - 1);
            }
            self.slots[at] = slot;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_share_a_code_and_others_do_not() {
        let mut texts = Interner::default();
        let words: Vec<String> = (0..20_000)
            .map(|i: u32| match i % 4 {
                0 => i.to_string(),
                1 => format!("{i:015}"),
                2 => format!("{i:016}"),
                _ => format!("a text that is longer than a key {i}"),
            })
            .chain(["".to_owned(), "\0".to_owned(), "\0\0".to_owned()])
            .collect();
        for (code, word) in (0..).zip(&words) {
            assert_eq!(texts.intern(word.as_bytes()), code);
        }
        let all: Vec<u8> = words.concat().into_bytes();
        let mut start = 0;
        for (code, word) in (0..).zip(&words) {
            assert_eq!(texts.intern_at(&all, start, start + word.len()), code, "{word:?}");
            assert_eq!((texts.text(code).as_ref(), texts.hash(code)), (word.as_str(), hash_text(word.as_bytes())));
            start += word.len();
        }
        assert_eq!(texts.len(), words.len());
    }
}
